"""Forms made from types: an app's settings, a command's parameters. One declaration, one form.

A field of a `msgspec.Struct` or a parameter becomes an input by its type, with the title and
description of its `msgspec.Meta`, or the app's own words for it in the reader's language.
What people typed comes back typed, or as an error by field.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from beira.kernel.command import Command

Words: TypeAlias = Mapping[str, tuple[str, str]]
Widget: TypeAlias = Literal[
    "text", "number", "select", "check", "lines", "json", "datetime", "date"
]


@dataclass(frozen=True, slots=True)
class Input:
    """One input. `inherited` is what holds where nothing is given."""

    name: str
    label: str
    help: str
    widget: Widget
    python_type: Any
    required: bool = False
    options: tuple[str, ...] = ()
    inherited: Any = None
    value: str = ""
    step: str = "any"


def settings_inputs(
    kind: type[msgspec.Struct], own: Mapping[str, Any], inherited: Mapping[str, Any], words: Words
) -> list[Input]:
    """An app's settings: what is set at this level, and what would hold without it."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in msgspec.structs.fields(kind):
        value = own.get(field.name)
        found.append(
            _input(
                field.name,
                hints[field.name],
                words,
                inherited=inherited.get(field.name),
                value="" if value is None else as_text(value),
            )
        )
    return found


def command_inputs(command: Command, typed: Mapping[str, str], words: Words) -> list[Input]:
    """A command's parameters."""
    return [
        _input(
            name,
            param.python_type,
            words,
            required=param.required,
            inherited=None if param.required else param.default,
            value=typed.get(f"p.{name}", ""),
        )
        for name, param in command.params.items()
    ]


def given(
    inputs: list[Input], form: Mapping[str, str], prefix: str = "p."
) -> tuple[dict[str, Any], dict[str, str]]:
    """What was typed, as values; and for what does not fit, the reason by the input's name. Empty
    inputs are left out, so that what they inherit holds."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for item in inputs:
        text = form.get(prefix + item.name, "").strip()
        if not text:
            continue
        try:
            values[item.name] = _value(item, text)
        except (ValueError, msgspec.ValidationError, msgspec.DecodeError) as error:
            errors[item.name] = str(error)[:200]
    return values, errors


def as_text(value: Any) -> str:
    """A value as it stands in its input."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        if all(isinstance(item, str) for item in value):
            return "\n".join(value)
        return msgspec.json.encode(value).decode()
    if isinstance(value, dict):
        return msgspec.json.format(msgspec.json.encode(value)).decode()
    return str(msgspec.to_builtins(value))


def _input(name: str, hint: Any, words: Words, **more: Any) -> Input:
    plain = plain_type(hint)
    widget, options = _widget(plain)
    label, help_text = words.get(name) or _words(hint, name)
    step = "1" if plain is int else "any"
    return Input(
        name=name,
        label=label,
        help=help_text,
        widget=widget,
        python_type=hint,
        options=options,
        step=step,
        **more,
    )


def _words(hint: Any, name: str) -> tuple[str, str]:
    """Title and description from the type's own annotations."""
    metas = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    title = next((m.title for m in metas if m.title), name.replace("_", " ").capitalize())
    return title, next((m.description for m in metas if m.description), "")


def plain_type(hint: Any) -> Any:
    """The type without its annotations, and without None."""
    inner = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    if typing.get_origin(inner) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(inner) if a is not type(None)]
        return plain_type(rest[0]) if len(rest) == 1 else Any
    return inner


def _widget(plain: Any) -> tuple[Widget, tuple[str, ...]]:
    if typing.get_origin(plain) is Literal:
        return "select", tuple(str(option) for option in typing.get_args(plain))
    if plain is bool:
        return "check", ()
    if plain in (int, float):
        return "number", ()
    if plain is datetime:
        return "datetime", ()
    if plain is date:
        return "date", ()
    if plain is str:
        return "text", ()
    is_list = typing.get_origin(plain) in (list, tuple, set, frozenset)
    if is_list and typing.get_args(plain)[:1] == (str,):
        return "lines", ()
    return "json", ()


def _value(item: Input, text: str) -> Any:
    plain: Any = text
    if item.widget == "check":
        plain = text == "true"
    elif item.widget == "number":
        whole = plain_type(item.python_type) is int
        plain = int(text) if whole else float(text.replace(",", "."))
    elif item.widget == "lines":
        plain = [line.strip() for line in text.splitlines() if line.strip()]
    elif item.widget == "json":
        plain = msgspec.json.decode(text)
    elif item.widget == "datetime" and len(text) == 16:
        plain = text + ":00"
    return msgspec.to_builtins(msgspec.convert(plain, item.python_type))

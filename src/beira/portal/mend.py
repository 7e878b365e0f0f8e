"""A form for a refused record: one input a field of its collection, and what was typed as values.

Unlike other forms it must show values that do not fit, for those are what is to be mended. A field
left as it was is left as it came, to the last bit.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, Literal

import msgspec

from beira.kernel.collection import Collection, Field, FieldType
from beira.kernel.errors import BeiraError
from beira.portal.forms import Words, as_text, plain_type

Say = Callable[[str, str], str]
LONG_CHARS = 80
EXPECTED: dict[FieldType, tuple[str, str]] = {
    FieldType.TEXT: ("Um texto.", "A text."),
    FieldType.INTEGER: ("Um número inteiro.", "A whole number."),
    FieldType.REAL: ("Um número.", "A number."),
    FieldType.BOOLEAN: ("Sim ou não.", "Yes or no."),
    FieldType.TIMESTAMP: (
        "Dia e hora, como 2026-11-20T14:30. Sem fuso, vale o da loja.",
        "Day and time, like 2026-11-20T14:30. Without a zone, the site's holds.",
    ),
    FieldType.DATE: ("Um dia, como 2026-11-20.", "A day, like 2026-11-20."),
    FieldType.JSON: ("JSON, com chaves e aspas.", "JSON, with its braces and quotes."),
}


@dataclass(frozen=True, slots=True)
class Mend:
    """One input. `is_new`: the node sent nothing for this field."""

    name: str
    label: str
    text: str
    expected: str
    options: tuple[str, ...] = ()
    long: bool = False
    required: bool = False
    is_new: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """A field this release does not know; it goes along unless it is taken out."""

    name: str
    text: str


class Mending:
    """The form of one refused record's `fields`, in a reader's words and a site's time zone."""

    def __init__(
        self,
        collection: Collection,
        fields: Mapping[str, Any],
        *,
        words: Words,
        say: Say,
        zone: tzinfo,
    ) -> None:
        self._collection = collection
        self._fields = fields
        self._words = words
        self._say = say
        self._zone = zone

    @property
    def others(self) -> list[Other]:
        unknown = [name for name in self._fields if name not in self._collection.fields]
        return [Other(name, as_text(self._fields[name])) for name in unknown]

    def inputs(
        self, typed: Mapping[str, str] | None = None, errors: Mapping[str, str] | None = None
    ) -> list[Mend]:
        """All inputs, holding what was typed (None: what came)."""
        return [
            self._input(field, typed, (errors or {}).get(field.name, ""))
            for field in self._collection.fields.values()
        ]

    def wrong(self) -> dict[str, str]:
        """What is wrong with the fields as they came, by name."""
        return self._checked(dict(self._fields))

    def given(self, form: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """All fields as mended, and by name what still does not fit."""
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for at, other in enumerate(self.others):
            if form.get(f"drop.{at}") != "yes":
                values[other.name] = self._fields[other.name]
        for field in self._collection.fields.values():
            text = _lines(form.get(f"p.{field.name}", ""))
            if text == self._shown(field):
                if field.name in self._fields:
                    values[field.name] = self._fields[field.name]
                continue
            try:
                self._take(field, text, values)
            except (ValueError, msgspec.DecodeError):
                errors[field.name] = self._must(field)
        return values, {**self._checked(values), **errors}

    def _checked(self, values: Mapping[str, Any]) -> dict[str, str]:
        errors: dict[str, str] = {}
        for field in self._collection.fields.values():
            if field.name not in values:
                if field.required and self._collection.is_fact:
                    errors[field.name] = self._say("Falta este campo.", "This field is missing.")
                continue
            try:
                self._collection.check({field.name: values[field.name]}, whole=False)
            except BeiraError:
                errors[field.name] = self._must(field)
        return errors

    def _take(self, field: Field, text: str, values: dict[str, Any]) -> None:
        """Put what was typed into `values`; nothing typed leaves the field to its default."""
        plain = text.strip()
        if plain:
            values[field.name] = self._parsed(field.type, plain if not _is_text(field) else text)
        elif field.nullable:
            values[field.name] = None
        elif _is_text(field):
            values[field.name] = ""

    def _parsed(self, kind: FieldType, text: str) -> Any:
        if kind is FieldType.INTEGER:
            return int(text)
        if kind is FieldType.REAL:
            return float(text.replace(",", "."))
        if kind is FieldType.BOOLEAN:
            return {"true": True, "false": False}[text] if text in ("true", "false") else text
        if kind is FieldType.TIMESTAMP:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).isoformat()
        if kind is FieldType.DATE:
            return date.fromisoformat(text).isoformat()
        return msgspec.json.decode(text) if kind is FieldType.JSON else text

    def _input(self, field: Field, typed: Mapping[str, str] | None, error: str) -> Mend:
        text = self._shown(field) if typed is None else _lines(typed.get(f"p.{field.name}", ""))
        options = _options(field)
        if options and text not in options:
            options = (text, *options)
        return Mend(
            name=field.name,
            label=(self._words.get(field.name) or (field.name.replace("_", " ").capitalize(),))[0],
            text=text,
            expected="" if options or _is_text(field) else self._say(*EXPECTED[field.type]),
            options=options,
            long=field.type is FieldType.JSON or len(text) > LONG_CHARS or "\n" in text,
            required=field.required,
            is_new=field.name not in self._fields,
            error=error,
        )

    def _shown(self, field: Field) -> str:
        value = self._fields.get(field.name)
        if value is None:
            return ""
        if field.type is FieldType.TIMESTAMP and isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
                local = moment.astimezone(self._zone).isoformat() if moment.tzinfo else value
            except (ValueError, OverflowError):
                return _lines(value)
            return local
        if field.type is FieldType.JSON and not isinstance(value, str):
            return msgspec.json.format(msgspec.json.encode(value)).decode()
        return _lines(as_text(value))

    def _must(self, field: Field) -> str:
        options = _options(field)
        if options:
            return self._say("Escolha um da lista.", "Choose one of the list.")
        return self._say(*EXPECTED[field.type])


def _lines(text: str) -> str:
    """Line ends as a browser gives a value back, whichever way they came."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_text(field: Field) -> bool:
    return field.type is FieldType.TEXT


def _options(field: Field) -> tuple[str, ...]:
    """What can be chosen, for fields that hold one of a few things."""
    plain = plain_type(field.python_type)
    if field.type is FieldType.BOOLEAN:
        return ("true", "false")
    if typing.get_origin(plain) is Literal:
        found = tuple(str(option) for option in typing.get_args(plain))
        return ("", *found) if field.nullable or not field.required else found
    return ()

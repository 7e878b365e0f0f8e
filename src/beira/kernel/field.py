"""A collection's fields: their types, what they are marked as, and how a declaration tells of them."""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, IntEnum
from typing import Any, Literal

import msgspec

from beira.kernel import limits
from beira.kernel.errors import Invalid
from beira.kernel.record import DELETED, Fact, Record, State, Value

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class Personal:
    """Marks a field as personal data: `employee: Annotated[str, Personal]`."""


class Pseudonym(Personal):
    """Marks a personal text that leaves the node only as a keyed pseudonym (see `kernel.disguise`)."""


class Withheld(Personal):
    """Marks a personal field that never leaves the node; it needs a default."""


class Travel(Enum):
    """How a field leaves the node."""

    AS_IT_IS = "as it is"
    PSEUDONYM = "pseudonym"
    WITHHELD = "withheld"


class Fetch(Enum):
    """When a node gets the blobs its records name."""

    EAGER = "eager"
    LAZY = "lazy"


@dataclass(frozen=True, slots=True)
class Blob:
    """Marks a text, or a list of texts, as naming blobs by their SHA-256 in lower-case hex:
    `audio: Annotated[str, Blob()]`. An empty text names none. Sync carries the blobs themselves."""

    fetch: Fetch = Fetch.EAGER


class FieldType(Enum):
    """What a field is kept as. Timestamps and dates travel as ISO 8601 text, times in UTC with a Z."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATE = "date"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One typed field of a collection."""

    name: str
    type: FieldType
    python_type: Any
    nullable: bool
    required: bool
    default: Value
    personal: bool
    plain: FieldType | None
    """Its type, if any value of that type will do."""
    blob: Blob | None = None
    """How the blobs it names are fetched, if it names any."""
    travel: Travel = Travel.AS_IT_IS


DELETED_FIELD = Field(
    name=DELETED,
    type=FieldType.BOOLEAN,
    python_type=bool,
    nullable=False,
    required=False,
    default=False,
    personal=False,
    plain=FieldType.BOOLEAN,
)


def checked_name(name: str) -> str:
    if not NAME.match(name) or len(name) > limits.NAME_CHARS:
        raise Invalid(f"{name!r} cannot name a collection or field: use a-z, 0-9 and _.")
    return name


def fields_of(name: str, record: type[Record]) -> dict[str, Field]:
    if not issubclass(record, Fact | State):
        raise Invalid(f"{record.__name__} must derive from Fact or State.")
    hints = typing.get_type_hints(record, include_extras=True)
    infos = [info for info in msgspec.structs.fields(record) if info.name != "id"]
    if len(infos) > limits.FIELDS_PER_COLLECTION:
        raise Invalid(f"{name} has more than {limits.FIELDS_PER_COLLECTION} fields.")
    return {checked_name(info.name): _field(info, hints[info.name]) for info in infos}


def _field(info: msgspec.structs.FieldInfo, hint: Any) -> Field:
    marks = [m for m in getattr(hint, "__metadata__", ()) if _is_personal(m)]
    inner = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    args = typing.get_args(inner)
    is_union = typing.get_origin(inner) in (typing.Union, types.UnionType)
    nullable = is_union and type(None) in args
    plain = [a for a in args if a is not type(None)] if is_union else [inner]
    kind = _field_type(plain[0]) if len(plain) == 1 else FieldType.JSON
    return Field(
        name=info.name,
        type=kind,
        python_type=hint,
        nullable=nullable,
        required=info.required,
        default=None if info.required else msgspec.to_builtins(_default(info)),
        personal=bool(marks),
        plain=_plain(hint, plain),
        blob=_blob(hint),
        travel=next((_TRAVELS[m] for m in marks if m in _TRAVELS), Travel.AS_IT_IS),
    )


_TRAVELS = {Pseudonym: Travel.PSEUDONYM, Withheld: Travel.WITHHELD}


def _is_personal(mark: Any) -> bool:
    return isinstance(mark, type) and issubclass(mark, Personal)


def _blob(hint: Any) -> Blob | None:
    marks = getattr(hint, "__metadata__", ())
    given = [Blob() if mark is Blob else mark for mark in marks]
    return next((mark for mark in given if isinstance(mark, Blob)), None)


def _plain(hint: Any, options: list[Any]) -> FieldType | None:
    """The type for which any value will do: one annotated with more than `Personal` has rules."""
    marks = getattr(hint, "__metadata__", ())
    if len(options) != 1 or not all(map(_is_personal, marks)):
        return None
    return PLAIN.get(options[0])


def _default(info: msgspec.structs.FieldInfo) -> object:
    if info.default is not msgspec.NODEFAULT:
        return info.default
    return info.default_factory()


def _field_type(hint: Any) -> FieldType:
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if typing.get_origin(hint) is Literal:
        hint = type(typing.get_args(hint)[0])
    if isinstance(hint, type):
        if issubclass(hint, IntEnum):
            return FieldType.INTEGER
        if issubclass(hint, Enum):
            return FieldType.TEXT
        for python, kind in _TYPES:
            if issubclass(hint, python):
                return kind
    return FieldType.JSON


_TYPES: tuple[tuple[type, FieldType], ...] = (
    (bool, FieldType.BOOLEAN),
    (int, FieldType.INTEGER),
    (float, FieldType.REAL),
    (str, FieldType.TEXT),
    (datetime, FieldType.TIMESTAMP),
    (date, FieldType.DATE),
)


PLAIN: dict[object, FieldType] = {
    str: FieldType.TEXT,
    int: FieldType.INTEGER,
    float: FieldType.REAL,
    bool: FieldType.BOOLEAN,
}

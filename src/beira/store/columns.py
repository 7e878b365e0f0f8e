"""What a column of values is, found out for all of them at once: whether they fit a type, and the
moments and dates they stand for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime

import msgspec

from beira.kernel import limits
from beira.kernel.collection import FieldType
from beira.kernel.record import Value

_NONE = type(None)


def are_of(kinds: set[type], raw: Sequence[Value]) -> bool:
    """Whether all values are of these types, or null."""
    return set(map(type, raw)) <= {*kinds, _NONE}


def are_integers(raw: Sequence[Value]) -> bool:
    """Whether all are integers of 64 bits, or null."""
    if not are_of({int}, raw):
        return False
    present = list(filter(None, raw))
    return min(present, default=0) >= -(2**63) and max(present, default=0) < 2**63


def moments(raw: Sequence[Value]) -> list[datetime | None] | None:
    """The moments whose canonical texts these are; None if any is no such text."""
    try:
        made = msgspec.convert(raw, list[datetime | None])
    except msgspec.ValidationError:
        return None
    return made if moment_texts(made) == list(raw) else None


def moment_texts(made: Iterable[datetime | None]) -> list[Value]:
    """The texts that `kernel.collection.timestamp` gives, many times faster. PostgreSQL's driver makes
    the first and the last moment of the calendar the infinities, and gives those back without a zone."""
    return [
        text
        if text is None or len(text) == 20
        else text[:-1].rstrip("0") + "Z"
        if text[-1] == "Z"
        else text + "Z"
        for text in msgspec.to_builtins(made)
    ]


def dates(raw: Sequence[Value]) -> list[date | None] | None:
    """The days whose texts these are; None if any is no such text."""
    try:
        made = msgspec.convert(raw, list[date | None])
    except msgspec.ValidationError:
        return None
    return made if date_texts(made) == list(raw) else None


def date_texts(days: Iterable[date | None]) -> list[Value]:
    return [None if day is None else day.isoformat() for day in days]


def fit_exactly(kind: FieldType, raw: Sequence[Value]) -> bool:
    """Whether each is null or of just the type that a field of `kind` holds."""
    if kind is FieldType.TEXT:
        return are_of({str}, raw)
    if kind is FieldType.INTEGER:
        return are_integers(raw)
    if kind is FieldType.REAL:
        return are_of({float}, raw) and all(map(math.isfinite, filter(None, raw)))
    if kind is FieldType.BOOLEAN:
        return are_of({bool}, raw)
    if kind is FieldType.TIMESTAMP:
        return moments(raw) is not None
    return kind is FieldType.JSON or dates(raw) is not None


def are_ids(ids: Sequence[str]) -> bool:
    """Whether they are ids that a store can keep, no two of them alike."""
    widths = list(map(len, ids))
    good = min(widths) > 0 and max(widths) <= limits.ID_CHARS and "\x00" not in "".join(ids)
    return good and len(set(ids)) == len(ids)

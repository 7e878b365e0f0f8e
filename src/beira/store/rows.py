"""How a commit changes one row, and how rows lie in typed columns: the same in every store.

A table has a column for each field ever declared. What such columns cannot say goes beside them:
`_stamps` is a JSON object of the fields that differ from the row's own stamp, `[hlc, lane, node]`,
or null for a field the row does not have; `_extra` is one of the values that have no column, or do
not fit theirs. Both are NULL for most rows. So every row comes back exactly as it went in, fields
of other releases included (law 8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import msgspec

from beira.kernel import limits
from beira.kernel.clock import Stamp
from beira.kernel.collection import Collection, FieldType
from beira.kernel.errors import Conflict, Invalid
from beira.kernel.merge import changed_fields, merge
from beira.kernel.record import DELETED, Row, Value
from beira.store.sql import Dialect, fixed_width, shortest


@dataclass(frozen=True, slots=True)
class Settled:
    """What merging did: the row as it is now, and the smallest stamp number among what changed."""

    row: Row
    since_hlc: int


def normal(row: Row) -> Row:
    """`row` in normal form. Raises Invalid for one that no store can keep."""
    if not row.id or len(row.id) > limits.ID_CHARS or "\x00" in row.id:
        raise Invalid(
            f"{row.collection} has a record with the id {row.id!r:.80}.",
            code="id.invalid",
            hint=f"An id is a text of 1 to {limits.ID_CHARS} characters.",
        )
    if not row.fields:
        raise Invalid(f"{row.collection} {row.id} comes without any field.", code="row.empty")
    if not row.stamps:
        return msgspec.structs.replace(row, fields=dict(sorted(row.fields.items())))
    stamps = {name: row.stamp_of(name) for name in row.fields}
    return Row.of(row.collection, row.id, row.partition, row.fields, stamps)


def settled_new(row: Row) -> Settled:
    """What writing a row means where there was none."""
    return Settled(row, min([row.stamp.hlc, *(stamp.hlc for stamp in row.stamps.values())]))


def settle(collection: Collection, before: Row | None, row: Row) -> Settled | None:
    """Merge `row` (in normal form) into what is stored; None if that teaches nothing new.

    Raises Conflict `partition.fixed`.
    """
    if before is None:
        return settled_new(row)
    after = merge(collection, before, row)
    changed = changed_fields(before, after)
    if not changed:
        return None
    return Settled(after, min(after.stamp_of(name).hlc for name in changed))


def sent_since(collection: Collection, row: Row, since_hlc: int) -> Row:
    """What of `row` must be sent when it has changed since `since_hlc`: a fact always whole."""
    if collection.is_fact or not row.stamps:
        return row
    names = frozenset(name for name in row.fields if row.stamp_of(name).hlc >= since_hlc)
    return row.only(names) or row


def row_bytes(row: Row) -> int:
    """Roughly what a row weighs as JSON."""
    return len(msgspec.json.encode(row.fields)) + 96 + 32 * len(row.stamps)


def plain_value(value: Value) -> Value:
    """A mark's value as it comes back: what JSON makes of it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def check_marks(present: Mapping[str, Value], expect: Mapping[str, Value] | None) -> None:
    """Raise Conflict `marks.moved` unless marks are what a writer thinks they are."""
    for name, value in (expect or {}).items():
        if present.get(name) != plain_value(value):
            raise Conflict(
                f"The mark {name} is {present.get(name)!r:.80}, not {value!r:.80}.",
                code="marks.moved",
                hint="Another writer was first: read the marks again and decide anew.",
            )


def raised(mark: Value, number: int, before_hlc: int) -> list[int]:
    """A floor's mark once tombstones up to `number`, from before `before_hlc`, are gone."""
    old_number, old_hlc = mark or (0, 0)
    return [max(old_number, number), max(old_hlc, before_hlc)]


_ABSENT = object()
META = ("id", "_partition", "_hlc", "_lane", "_node", "_deleted", "_stamps", "_extra")
"""The columns that `Layout.pack` fills before those of the fields, in this order."""


@dataclass(slots=True)
class Layout:
    """The columns of one collection's table: every field ever declared, with the type it has there."""

    collection: str
    dialect: Dialect
    kinds: Mapping[str, FieldType]
    columns: tuple[tuple[str, FieldType], ...] = field(init=False)
    _names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = tuple(sorted(self.kinds.items()))
        self._names = frozenset(self.kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, in the order of `pack` and `unpack`."""
        return (*META, *(name for name, _ in self.columns))

    def pack(self, row: Row) -> tuple[Any, ...]:
        """A row in normal form as the driver's values of `names`."""
        fields, encode = row.fields, self.dialect.encode
        values: list[Any] = []
        stamps: dict[str, Any] = dict(row.stamps)
        extra: dict[str, Value] = {}
        if not fields.keys() <= self._names:
            extra = {n: v for n, v in fields.items() if n not in self._names and n != DELETED}
        for name, kind in self.columns:
            value = fields.get(name, _ABSENT)
            if type(value) is str and kind is FieldType.TEXT:  # most are, in every dialect
                values.append(value)
            elif value is _ABSENT:
                stamps[name] = None
                values.append(None)
            elif _fits(kind, value):
                values.append(encode(kind, value))
            else:
                extra[name] = value
                values.append(None)
        stamp, deleted = row.stamp, fields.get(DELETED)
        meta = (row.id, row.partition, stamp.hlc, stamp.lane, stamp.node)
        return (
            *meta,
            encode(FieldType.BOOLEAN, deleted),
            encode(FieldType.JSON, stamps) if stamps else None,
            encode(FieldType.JSON, extra) if extra else None,
            *values,
        )

    def unpack(self, packed: Sequence[Any]) -> Row:
        """The row of a driver's values of `names`."""
        id, partition, hlc, lane, node, deleted, stamps_json, extra_json, *values = packed
        decode = self.dialect.decode
        stamps: dict[str, Any] = decode(FieldType.JSON, stamps_json) or {}
        fields: dict[str, Value] = {}
        if deleted is not None:
            fields[DELETED] = decode(FieldType.BOOLEAN, deleted)
        for (name, kind), value in zip(self.columns, values, strict=True):
            if value is not None:
                fields[name] = decode(kind, value)
            elif not stamps or stamps.get(name, ()) is not None:
                fields[name] = None
        if extra_json is not None:
            fields = dict(sorted((fields | decode(FieldType.JSON, extra_json)).items()))
        return Row(
            collection=self.collection,
            id=id,
            partition=partition,
            fields=fields,
            stamp=Stamp(hlc, lane, node),
            stamps={n: Stamp(*stamps[n]) for n in sorted(stamps) if stamps[n] is not None},
        )


def _fits(kind: FieldType, value: Value) -> bool:
    """Whether a column of this type gives back exactly `value`."""
    if value is None or kind is FieldType.JSON:
        return True
    if kind is FieldType.TEXT or kind is FieldType.DATE:
        return type(value) is str and (kind is FieldType.TEXT or _is_date(value))
    if kind is FieldType.TIMESTAMP:
        return type(value) is str and _is_moment(value)
    if kind is FieldType.INTEGER:
        return type(value) is int and -(2**63) <= value < 2**63
    if kind is FieldType.BOOLEAN:
        return type(value) is bool
    return type(value) is float and math.isfinite(value)


def _is_moment(text: str) -> bool:
    """Whether it is a time in canonical form, which `fixed_width` and `shortest` keep."""
    if not (text.endswith("Z") and 20 <= len(text) <= 27 and text[10] == "T"):
        return False
    try:
        datetime.fromisoformat(text[:-1])
    except ValueError:
        return False
    return shortest(fixed_width(text)) == text


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False

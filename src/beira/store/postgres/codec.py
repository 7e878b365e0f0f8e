"""Rows to columns and back, a whole batch at a time: what makes bulk writes fast.

A value is in its field's column when that column can hold it exactly; otherwise it is in `_extra`,
a JSON object. There are three such: fields no column is known for (law 8), an explicit null (a NULL
column means that the row says nothing of the field), and values that do not fit the column's type,
such as what a release with another declaration wrote. So whatever is written is read back the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from beira.kernel.batch import Block, group_of
from beira.kernel.clock import Stamp
from beira.kernel.collection import FieldType
from beira.kernel.record import Row, Value
from beira.store.columns import are_integers, are_of, date_texts, dates, moment_texts, moments
from beira.store.sql import POSTGRES

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_decode_stamps = msgspec.json.Decoder(dict[str, Stamp]).decode
_NONE = type(None)
_OWN = ("id", "_partition", "_node", "_lane", "_hlc", "_stamps", "_extra")
_OWN_TYPES = ("text", "text", "text", "smallint", "bigint", "json", "json")
SQL_TYPES = {
    kind: made.removesuffix(' COLLATE "C"') for kind, made in POSTGRES.column_types.items()
}


@dataclass(frozen=True, slots=True)
class Table:
    """How a collection is kept: the field columns of its table, in the order of their names, and the
    statements that write and read them. `$1` is the tenant in each of them."""

    name: str
    sql_name: str
    fields: Mapping[str, FieldType]
    insert: str = field(init=False)
    upsert: str = field(init=False)
    select: str = field(init=False)
    select_all: str = field(init=False)
    """Those of some ids."""
    insert_new: str = field(init=False)
    """After the tenant it takes partition, node and lane of all rows; then ids, stamp numbers, what goes
    beside the columns, and each column, all as texts (`bulk.literal`). Fails if any is there."""
    insert_missing: str = field(init=False)
    """The same for those that are not there. Gives the ids of these."""

    def __post_init__(self) -> None:
        columns = [f'"{name}"' for name in (*_OWN, *self.fields)]
        types = [*_OWN_TYPES, *(SQL_TYPES[kind] for kind in self.fields.values())]
        arrays = ", ".join(f"${at}::{kind}[]" for at, kind in enumerate(types, start=2))
        listed = ", ".join(columns)
        insert = (
            f"INSERT INTO {self.sql_name} AS t (tenant_id, {listed}) "  # noqa: S608
            f"SELECT $1::text, u.* FROM unnest({arrays}) AS u ON CONFLICT (tenant_id, id) "
        )
        object.__setattr__(self, "insert_new", self._insert_new())
        missing = " ON CONFLICT (tenant_id, id) DO NOTHING RETURNING id"
        object.__setattr__(self, "insert_missing", self._insert_new() + missing)
        sets = ", ".join(f"{column} = excluded.{column}" for column in columns[2:])
        object.__setattr__(self, "insert", insert + "DO NOTHING RETURNING id")
        object.__setattr__(
            self,
            "upsert",
            insert + f"DO UPDATE SET {sets} WHERE t._partition = excluded._partition",
        )
        select = f"SELECT {listed} FROM {self.sql_name} AS t WHERE t.tenant_id = $1 "  # noqa: S608
        object.__setattr__(self, "select", select)
        object.__setattr__(self, "select_all", select + "AND t.id = ANY($2::text[])")

    def _insert_new(self) -> str:
        own = ("id", "_hlc", "_extra")
        columns = [f'"{name}"' for name in (*own, *self.fields)]
        types = ["text", "bigint", "json", *(SQL_TYPES[kind] for kind in self.fields.values())]
        arrays = ", ".join(f"${at}::text::{kind}[]" for at, kind in enumerate(types, start=5))
        listed = ", ".join(columns)
        return (
            f"INSERT INTO {self.sql_name} (tenant_id, _partition, _node, _lane, {listed}) "  # noqa: S608
            f"SELECT $1::text, $2::text, $3::text, $4::smallint, {listed} "
            f"FROM unnest({arrays}) AS u ({listed})"
        )

    def encode(self, rows: Sequence[Row]) -> list[list[Value]]:
        """The arrays that `insert` and `upsert` take after the tenant."""
        contents = [row.fields for row in rows]
        extras: dict[int, dict[str, Value]] = {}
        known = self.fields.keys()
        for at, content in enumerate(contents):
            if None in content.values() or not content.keys() <= known:
                extras[at] = {n: v for n, v in content.items() if v is None or n not in known}
        columns = []
        for name, kind in self.fields.items():
            raw = [content.get(name) for content in contents]
            column, misfits = encoded_column(kind, raw)
            for at in misfits:
                extras.setdefault(at, {})[name] = raw[at]
            columns.append(column)
        nulls: list[Value] = [None] * len(rows)
        stamps, extra = nulls, nulls
        if any(row.stamps for row in rows):
            stamps = [_encode(row.stamps).decode() if row.stamps else None for row in rows]
        if extras:
            extra = [_json(extras.get(at)) for at in range(len(rows))]
        return [
            [row.id for row in rows],
            [row.partition for row in rows],
            [row.stamp.node for row in rows],
            [row.stamp.lane for row in rows],
            [row.stamp.hlc for row in rows],
            stamps,
            extra,
            *columns,
        ]

    def decode(self, records: Sequence[Any]) -> list[Row]:
        """The rows of what `select` returned."""
        if not records:
            return []
        ids, partitions, nodes, lanes, hlcs, stamps, extras, *columns = zip(*records, strict=True)
        contents = self._contents(columns, len(records))
        for content, extra in zip(contents, extras, strict=True):
            if extra is not None:
                whole = sorted((content | _decode(extra)).items())
                content.clear()
                content.update(whole)
        return [
            Row(
                collection=self.name,
                id=id,
                partition=where,
                fields=content,
                stamp=Stamp(hlc, lane, node),
                stamps=_decode_stamps(own) if own else {},
            )
            for id, where, content, hlc, lane, node, own in zip(
                ids, partitions, contents, hlcs, lanes, nodes, stamps, strict=True
            )
        ]

    def block(self, records: Sequence[Any]) -> Block | None:
        """The same in columns; None if not all have the same fields, or one has others beside them."""
        ids, partitions, nodes, lanes, hlcs, stamps, extras, *columns = zip(*records, strict=True)
        nulls = _nulls(extras)
        if nulls is None or not nulls.keys() <= self.fields.keys():
            return None
        kept: dict[str, list[Value]] = {}
        for (name, kind), column in zip(self.fields.items(), columns, strict=True):
            missing, said = column.count(None), nulls.get(name, 0)
            if missing == said:
                kept[name] = list(_DECODERS[kind](column) if kind in _DECODERS else column)
            elif said or missing < len(records):
                return None
        if not kept:
            return None
        group = group_of(
            self.name,
            list(kept),
            ids=list(ids),
            hlcs=hlcs,
            lanes=lanes,
            nodes=nodes,
            partitions=partitions,
            columns=list(kept.values()),
            stamps=[
                (at, name, stamp)
                for at, text in enumerate(stamps)
                if text
                for name, stamp in _decode_stamps(text).items()
            ],
        )
        return Block([group])

    def _contents(self, columns: Sequence[Sequence[Value]], count: int) -> list[dict[str, Value]]:
        names = tuple(self.fields)
        decoded = [
            _DECODERS[kind](column) if kind in _DECODERS else column
            for kind, column in zip(self.fields.values(), columns, strict=True)
        ]
        if not decoded:
            return [{} for _ in range(count)]
        return [
            {name: value for name, value in zip(names, values, strict=True) if value is not None}
            for values in zip(*decoded, strict=True)
        ]


def encoded_column(kind: FieldType, raw: list[Value]) -> tuple[list[Value], Collection[int]]:
    """`raw` as the driver takes it for a column of `kind`, and where it holds what does not fit
    (NULL in the column). The whole list is tried first; only if that fails, each value."""
    whole = _ENCODERS[kind](raw)
    if whole is not None:
        return whole, ()
    column: list[Value] = []
    misfits = set()
    for at, value in enumerate(raw):
        fitting = _ENCODERS[kind]([value])
        column.append(fitting[0] if fitting is not None else None)
        if fitting is None:
            misfits.add(at)
    return column, misfits


def fits(kind: FieldType, raw: list[Value]) -> bool:
    """Whether a column of `kind` gives all of `raw` back as it is."""
    return _ENCODERS[kind](raw) is not None if kind is not FieldType.JSON else True


def _nulls(extras: Sequence[str | None]) -> dict[str, int] | None:
    """How many rows say null of each field; None if one says anything else beside its columns."""
    count: Counter[str] = Counter()
    for text, times in Counter(extras).items():
        extra = {} if text is None else _decode(text)
        if any(value is not None for value in extra.values()):
            return None
        count.update(dict.fromkeys(extra, times))
    return count


def _json(value: Value) -> str | None:
    return None if value is None else _encode(value).decode()


def _plain(allowed: set[type], raw: list[Value]) -> list[Value] | None:
    return raw if are_of(allowed, raw) else None


def _integers(raw: list[Value]) -> list[Value] | None:
    return raw if are_integers(raw) else None


def _reals(raw: list[Value]) -> list[Value] | None:
    """An integer fits if it is the same number as a float (it is read back as that)."""
    kinds = set(map(type, raw))
    if kinds <= {float, _NONE}:
        return raw
    exact = kinds <= {float, int, _NONE} and all(
        value is None or abs(value) <= 2**53 for value in raw if type(value) is int
    )
    return raw if exact else None


_ENCODERS: dict[FieldType, Callable[[list[Value]], list[Value] | None]] = {
    FieldType.TEXT: partial(_plain, {str}),
    FieldType.INTEGER: _integers,
    FieldType.REAL: _reals,
    FieldType.BOOLEAN: partial(_plain, {bool}),
    FieldType.TIMESTAMP: moments,
    FieldType.DATE: dates,
    FieldType.JSON: lambda raw: [_json(value) for value in raw],
}
_DECODERS: dict[FieldType, Callable[[Sequence[Value]], Sequence[Value]]] = {
    FieldType.TIMESTAMP: moment_texts,
    FieldType.DATE: date_texts,
    FieldType.JSON: lambda column: [None if text is None else _decode(text) for text in column],
}

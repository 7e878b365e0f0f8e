"""Rows that come in columns go into their table in columns, as long as they are new there: no row is
made in Python. A feed that fills a fresh node is nearly all such rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import msgspec

from beira.kernel.batch import Group, each, hlcs_of
from beira.kernel.clock import Stamp
from beira.kernel.collection import FieldType
from beira.kernel.record import DELETED, Row, Value
from beira.store.columns import are_ids, fit_exactly
from beira.store.rows import Layout
from beira.store.sql import SQLITE, fixed_width

_encode = msgspec.json.encode
_WHOLE_SECOND_CHARS = 20


def packed(group: Group, layout: Layout) -> Iterable[tuple[Any, ...]] | None:
    """The group's rows as `Layout.pack` packs each; None if any needs a closer look."""
    columns = dict(zip(group.fields, group.columns, strict=True))
    deleted = columns.pop(DELETED, None)
    if not columns.keys() <= layout.kinds.keys() or not (group.ids and are_ids(group.ids)):
        return None
    if not all(fit_exactly(layout.kinds[name], column) for name, column in columns.items()):
        return None
    if deleted is not None and not fit_exactly(FieldType.BOOLEAN, deleted):
        return None
    hlcs, lanes, nodes = hlcs_of(group), each(group, group.lanes), each(group, group.nodes)
    absent = {name: None for name, _ in layout.columns if name not in columns}
    stamps = _stamps(group, list(map(Stamp, hlcs, lanes, nodes)), absent)
    if stamps is None:
        return None
    return zip(
        group.ids,
        each(group, group.partitions),
        hlcs,
        lanes,
        nodes,
        repeat(None) if deleted is None else map(_flag, deleted),
        stamps,
        repeat(None),
        *(_encoded(k, columns[n]) if n in columns else repeat(None) for n, k in layout.columns),
        strict=False,
    )


def _stamps(group: Group, own: list[Stamp], absent: dict[str, None]) -> Iterable[str | None] | None:
    """What of `_stamps` each row has; None if a row is not in normal form."""
    usual = _encode(absent).decode() if absent else None
    if not group.stamps:
        return repeat(usual)
    beside: dict[int, dict[str, Stamp]] = {}
    for at, name, stamp in group.stamps:
        beside.setdefault(at, {})[name] = stamp
    for at, stamps in beside.items():
        if len(stamps) == len(group.fields) or max(stamps.values()) >= own[at]:
            return None
    return [
        _encode(absent | beside[at]).decode() if at in beside else usual for at in range(len(own))
    ]


def samples(group: Group) -> Iterable[Row]:
    """A row, without its fields, for each partition, lane and node: to ask a route about."""
    shared = (each(group, group.partitions), each(group, group.lanes), each(group, group.nodes))
    hlc = hlcs_of(group)[0]
    for partition, lane, node in set(zip(*shared, strict=True)):
        yield Row(
            collection=group.collection,
            id=group.ids[0],
            partition=partition,
            fields={},
            stamp=Stamp(hlc, lane, node),
        )


def _encoded(kind: FieldType, column: Sequence[Value]) -> Iterable[Any]:
    """A column's values, as `SqliteDialect.encode` gives each."""
    if kind is FieldType.TIMESTAMP:
        return [None if text is None else _moment(text) for text in column]
    if kind is FieldType.BOOLEAN:
        return map(_flag, column)
    return (SQLITE.encode(kind, value) for value in column) if kind is FieldType.JSON else column


def _moment(text: str) -> str:
    return text[:-1] + ".000000Z" if len(text) == _WHOLE_SECOND_CHARS else fixed_width(text)


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)

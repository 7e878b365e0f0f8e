"""Batches: rows laid out in columns, so that what repeats stands together and compresses away.

Rows of one collection with the same fields make a group. Stamp numbers travel as differences; lanes,
nodes and partitions that are all alike travel once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

import msgspec

from beira.kernel.clock import Stamp
from beira.kernel.errors import Corrupt
from beira.kernel.record import Row, Value

T = TypeVar("T")


class Group(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Rows of one collection that have the same fields.

    `hlcs` are differences from row to row; `lanes`, `nodes` and `partitions` hold one item for all
    rows or one for each; `columns` runs as `fields` does, each with a value a row; `stamps` holds
    (row, field, stamp) where a field's stamp differs from its row's.
    """

    collection: str
    fields: list[str]
    ids: list[str]
    hlcs: list[int]
    lanes: list[int]
    nodes: list[str]
    partitions: list[str]
    columns: list[list[Value]]
    stamps: list[tuple[int, str, Stamp]] = []


def pack(rows: Iterable[Row]) -> list[Group]:
    """Rows in columns. Their order is kept within a group only: merging needs no more."""
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.collection, *row.fields), []).append(row)
    return [_group(key[0], list(key[1:]), members) for key, members in alike.items()]


def unpack(groups: Iterable[Group]) -> list[Row]:
    """The rows of `groups`. Raises Corrupt if the columns do not fit together."""
    return [row for group in groups for row in _rows(group)]


def _group(collection: str, fields: list[str], rows: list[Row]) -> Group:
    hlcs = [row.stamp.hlc for row in rows]
    return Group(
        collection=collection,
        fields=fields,
        ids=[row.id for row in rows],
        hlcs=[b - a for a, b in zip([0, *hlcs], hlcs, strict=False)],
        lanes=_once([row.stamp.lane for row in rows]),
        nodes=_once([row.stamp.node for row in rows]),
        partitions=_once([row.partition for row in rows]),
        columns=[[row.fields[name] for row in rows] for name in fields],
        stamps=[(i, f, s) for i, row in enumerate(rows) for f, s in row.stamps.items()],
    )


def _rows(group: Group) -> list[Row]:
    size = len(group.ids)
    if len(group.columns) != len(group.fields) or not group.fields:
        raise _corrupt(group, "fields and columns")
    if any(len(column) != size for column in (group.hlcs, *group.columns)):
        raise _corrupt(group, "columns")
    hlcs = list(accumulate(group.hlcs))
    lanes = _each(group, group.lanes)
    nodes = _each(group, group.nodes)
    partitions = _each(group, group.partitions)
    rows = [
        Row(
            collection=group.collection,
            id=group.ids[i],
            partition=partitions[i],
            fields=dict(zip(group.fields, values, strict=True)),
            stamp=Stamp(hlcs[i], lanes[i], nodes[i]),
            stamps={},
        )
        for i, values in enumerate(zip(*group.columns, strict=True))
    ]
    for i, field, stamp in group.stamps:
        if not 0 <= i < size or field not in rows[i].fields:
            raise _corrupt(group, "stamps")
        rows[i].stamps[field] = stamp
    return rows


def _once(values: list[T]) -> list[T]:
    return values[:1] if len(set(values)) == 1 else values


def _each(group: Group, values: Sequence[T]) -> Sequence[T]:
    if len(values) == 1:
        return [values[0]] * len(group.ids)
    if len(values) != len(group.ids):
        raise _corrupt(group, "lanes, nodes or partitions")
    return values


def _corrupt(group: Group, what: str) -> Corrupt:
    return Corrupt(
        f"A batch of {group.collection} has {what} that do not fit.", code="batch.corrupt"
    )

"""Batches: rows laid out in columns, so that what repeats stands together and compresses away.

Rows of one collection with the same fields make a group. Stamp numbers travel as differences; lanes,
nodes and partitions that are all alike travel once. Where nothing has to be decided row by row they
stay in columns from the link to the database and back: a `Block` is both columns and rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from typing import TypeVar, overload

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


class Block(Sequence[Row]):
    """Rows still in columns: who can work on columns takes `groups`, to all others it is a sequence
    of rows, made when the first is asked for. `canonical`: ids and values are known to be what
    `Collection.check` would make of them. Raises Corrupt if the columns do not fit together."""

    __slots__ = ("_rows", "_size", "canonical", "groups")

    def __init__(self, groups: Sequence[Group], *, canonical: bool = False) -> None:
        for group in groups:
            _check(group)
        self.groups = groups
        self.canonical = canonical
        self._size = sum(len(group.ids) for group in groups)
        self._rows: list[Row] | None = None

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        return self._made()[at]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._made())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def joined(self, other: Block) -> Block:
        """These rows and then those; groups that are alike become one."""
        canonical = self.canonical and other.canonical
        groups = {(group.collection, *group.fields): group for group in self.groups}
        if len(groups) < len(self.groups):
            return Block([*self.groups, *other.groups], canonical=canonical)
        for group in other.groups:
            key = (group.collection, *group.fields)
            groups[key] = _joined(groups[key], group) if key in groups else group
        return Block(list(groups.values()), canonical=canonical)

    def _made(self) -> list[Row]:
        if self._rows is None:
            self._rows = unpack(self.groups)
        return self._rows


def hlcs_of(group: Group) -> list[int]:
    """The stamp number of each row."""
    return list(accumulate(group.hlcs))


def oldest_hlc(rows: Sequence[Row]) -> int:
    """The smallest stamp number of some rows."""
    if isinstance(rows, Block):
        return min(min(hlcs_of(group)) for group in rows.groups if group.ids)
    return min(row.stamp.hlc for row in rows)


def newest_hlc(rows: Sequence[Row]) -> int:
    """The greatest stamp number of some rows; 0 of none."""
    if isinstance(rows, Block):
        return max((max(hlcs_of(group), default=0) for group in rows.groups), default=0)
    return max((row.stamp.hlc for row in rows), default=0)


def most_urgent(rows: Sequence[Row]) -> int:
    """The greatest lane that rows were written in; 0 of none."""
    if isinstance(rows, Block):
        return max((max(group.lanes, default=0) for group in rows.groups), default=0)
    return max((row.stamp.lane for row in rows), default=0)


def names_of(rows: Sequence[Row]) -> tuple[tuple[str, str, str], ...]:
    """Collection, id and partition of each row."""
    if not isinstance(rows, Block):
        return tuple((row.collection, row.id, row.partition) for row in rows)
    return tuple(
        name
        for group in rows.groups
        for name in zip(repeat(group.collection), group.ids, each(group, group.partitions))
    )


def pack(rows: Iterable[Row]) -> list[Group]:
    """Rows in columns. Their order is kept within a group only: merging needs no more."""
    if isinstance(rows, Block):
        return list(rows.groups)
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.collection, *row.fields), []).append(row)
    return [_group(key[0], list(key[1:]), members) for key, members in alike.items()]


def unpack(groups: Iterable[Group]) -> list[Row]:
    """The rows of `groups`. Raises Corrupt if the columns do not fit together."""
    return [row for group in groups for row in _rows(group)]


def group_of(
    collection: str,
    fields: list[str],
    *,
    ids: list[str],
    hlcs: Sequence[int],
    lanes: Sequence[int],
    nodes: Sequence[str],
    partitions: Sequence[str],
    columns: list[list[Value]],
    stamps: Sequence[tuple[int, str, Stamp]] = (),
) -> Group:
    """A group from what each row has."""
    return Group(
        collection=collection,
        fields=fields,
        ids=ids,
        hlcs=[b - a for a, b in zip([0, *hlcs], hlcs, strict=False)],
        lanes=_once(lanes),
        nodes=_once(nodes),
        partitions=_once(partitions),
        columns=columns,
        stamps=list(stamps),
    )


def cut(group: Group, count: int) -> Group:
    """The first `count` rows of a group."""
    return Group(
        collection=group.collection,
        fields=group.fields,
        ids=group.ids[:count],
        hlcs=group.hlcs[:count],
        lanes=group.lanes[:count],
        nodes=group.nodes[:count],
        partitions=group.partitions[:count],
        columns=[column[:count] for column in group.columns],
        stamps=[stamp for stamp in group.stamps if stamp[0] < count],
    )


def _group(collection: str, fields: list[str], rows: list[Row]) -> Group:
    return group_of(
        collection,
        fields,
        ids=[row.id for row in rows],
        hlcs=[row.stamp.hlc for row in rows],
        lanes=[row.stamp.lane for row in rows],
        nodes=[row.stamp.node for row in rows],
        partitions=[row.partition for row in rows],
        columns=[[row.fields[name] for row in rows] for name in fields],
        stamps=[(i, f, s) for i, row in enumerate(rows) for f, s in row.stamps.items()],
    )


def _joined(one: Group, other: Group) -> Group:
    size = len(one.ids)
    return group_of(
        one.collection,
        one.fields,
        ids=one.ids + other.ids,
        hlcs=hlcs_of(one) + hlcs_of(other),
        lanes=[*each(one, one.lanes), *each(other, other.lanes)],
        nodes=[*each(one, one.nodes), *each(other, other.nodes)],
        partitions=[*each(one, one.partitions), *each(other, other.partitions)],
        columns=[a + b for a, b in zip(one.columns, other.columns, strict=True)],
        stamps=one.stamps + [(at + size, field, stamp) for at, field, stamp in other.stamps],
    )


def _check(group: Group) -> None:
    size = len(group.ids)
    if len(group.columns) != len(group.fields) or not group.fields:
        raise _corrupt(group, "fields and columns")
    if any(len(column) != size for column in (group.hlcs, *group.columns)):
        raise _corrupt(group, "columns")
    for shared in (group.lanes, group.nodes, group.partitions):
        if len(shared) not in (1, size):
            raise _corrupt(group, "lanes, nodes or partitions")
    if any(not 0 <= at < size or name not in group.fields for at, name, _ in group.stamps):
        raise _corrupt(group, "stamps")


def _rows(group: Group) -> list[Row]:
    _check(group)
    hlcs = hlcs_of(group)
    lanes = each(group, group.lanes)
    nodes = each(group, group.nodes)
    partitions = each(group, group.partitions)
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
        rows[i].stamps[field] = stamp
    return rows


def _once(values: Sequence[T]) -> list[T]:
    return list(values[:1] if len(set(values)) == 1 else values)


def each(group: Group, values: Sequence[T]) -> Sequence[T]:
    """What is held once for all rows, or for each, as one for each."""
    return [values[0]] * len(group.ids) if len(values) == 1 else values


def _corrupt(group: Group, what: str) -> Corrupt:
    return Corrupt(
        f"A batch of {group.collection} has {what} that do not fit.", code="batch.corrupt"
    )

"""Rows that come in columns go into their table in columns: one statement a group, nothing looked at
first, no row made in Python.

It is for rows that are new, as nearly all that nodes push are. What turns out to be there already is
left to the store, which merges it. An array travels as one text, which PostgreSQL takes apart: that
costs the program a tenth of what the driver's arrays do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import asyncpg
import msgspec

from beira.kernel.batch import Block, Group, hlcs_of
from beira.kernel.clock import Stamp
from beira.kernel.collection import Collection, FieldType, Registry
from beira.kernel.record import Row, Value
from beira.store.columns import are_ids
from beira.store.postgres.codec import Table, fits

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Insertion:
    """A group made ready for its table, all of one partition and lane."""

    group: Group
    table: Table
    columns: list[Sequence[Value]]
    hlcs: list[int]

    async def run(self, connection: asyncpg.Connection, tenant: str) -> None:
        """Insert the rows. Raises asyncpg's UniqueViolationError if any is there already."""
        arrays = map(literal, self.columns)
        await connection.execute(self.table.insert_new, tenant, *self._shared(), *arrays)

    async def run_carefully(self, connection: asyncpg.Connection, tenant: str) -> frozenset[str]:
        """The same in the order of the ids, in which no two commits wait for each other. Returns the
        ids of those that were there already: nothing became of them."""
        arrays = map(literal, _sorted(self.group.ids, self.columns))
        shared = self._shared()
        made = await connection.fetch(self.table.insert_missing, tenant, *shared, *arrays)
        return frozenset(self.group.ids).difference(id for (id,) in made)

    def _shared(self) -> tuple[str, str, int]:
        return self.group.partitions[0], self.group.nodes[0], self.group.lanes[0]

    def sample(self) -> Row:
        """The first of the rows, to ask a route about all of them."""
        group = self.group
        fields = {name: column[0] for name, column in zip(group.fields, group.columns, strict=True)}
        stamp = Stamp(self.hlcs[0], group.lanes[0], group.nodes[0])
        return Row(
            collection=group.collection,
            id=group.ids[0],
            partition=group.partitions[0],
            fields=fields,
            stamp=stamp,
            stamps={},
        )


def insertions(
    rows: Sequence[Row], registry: Registry, tables: dict[str, Table]
) -> list[Insertion] | None:
    """How to insert a block; None for rows that have to be merged one by one."""
    if not isinstance(rows, Block):
        return None
    seen = {group.collection for group in rows.groups}
    if len(seen) < len(rows.groups):
        return None
    made = [
        _insertion(group, registry[group.collection], tables[group.collection], rows.canonical)
        for group in sorted(rows.groups, key=lambda group: group.collection)
    ]
    found = [item for item in made if item is not None]
    return found if len(found) == len(made) else None


def _insertion(
    group: Group, collection: Collection, table: Table, canonical: bool
) -> Insertion | None:
    """None unless the rows are plain, alike and likely to be new."""
    size = len(group.ids)
    shared = (group.lanes, group.nodes, group.partitions)
    if not size or group.stamps or any(len(values) > 1 for values in shared):
        return None
    if not collection.is_fact and not collection.fields.keys() <= set(group.fields):
        return None
    if not set(group.fields) <= table.fields.keys() or not (canonical or are_ids(group.ids)):
        return None
    columns = dict(zip(group.fields, group.columns, strict=True))
    for name, column in columns.items():
        declared = collection.fields.get(name)
        known = canonical and declared is not None and declared.type is table.fields[name]
        if not (known or fits(table.fields[name], column)):
            return None
    hlcs = hlcs_of(group)
    own: list[Sequence[Value]] = [group.ids, hlcs, _extras(columns, size)]
    fields = [
        _texts(columns.get(name, ()), kind is FieldType.JSON) for name, kind in table.fields.items()
    ]
    return Insertion(group, table, [*own, *fields], hlcs)


def _extras(columns: dict[str, list[Value]], size: int) -> list[Value]:
    """What of `_extra` a plain row has: the fields that are null."""
    nulls: dict[int, dict[str, None]] = {}
    for name, column in columns.items():
        if None in column:
            for at, value in enumerate(column):
                if value is None:
                    nulls.setdefault(at, {})[name] = None
    if not nulls:
        return []
    return [_encode(nulls[at]).decode() if at in nulls else None for at in range(size)]


def _texts(column: Sequence[Value], is_json: bool) -> Sequence[Value]:
    if not is_json:
        return column
    return [None if value is None else _encode(value).decode() for value in column]


def _sorted(ids: list[str], arrays: Sequence[Sequence[Value]]) -> Sequence[Sequence[Value]]:
    """In the order of the ids, in which all commits write; those of a node nearly always are."""
    order = sorted(range(len(ids)), key=ids.__getitem__)
    if order == list(range(len(ids))):
        return arrays
    pick = itemgetter(*order)
    return [pick(array) if array else array for array in arrays]


def literal(values: Sequence[Value]) -> str:
    """The array as PostgreSQL writes it: texts, numbers, booleans and None."""
    text = _encode(values).decode()
    if "\\" in text and "\\" in text.replace("\\\\", "").replace('\\"', ""):
        return "{" + ",".join(map(_quoted, values)) + "}"
    return "{" + text[1:-1] + "}"


def _quoted(value: Value) -> str:
    if not isinstance(value, str):
        return _encode(value).decode()
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

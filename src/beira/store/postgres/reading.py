"""Rows by their names, for streams: in columns where they allow it, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import asyncpg
import msgspec

from beira.kernel import limits
from beira.kernel.batch import Block
from beira.kernel.collection import Registry
from beira.kernel.record import Row
from beira.store.postgres.codec import Table
from beira.store.postgres.streams import Entry
from beira.store.rows import sent_since

Key = tuple[str, str]


class Reading:
    """What one transaction reads."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        tenant: str,
        tables: Mapping[str, Table],
        registry: Registry,
    ) -> None:
        self._connection = connection
        self._tenant = tenant
        self._tables = tables
        self._registry = registry

    async def present(self, keys: Iterable[Key]) -> dict[Key, Row]:
        """Those that there are, also of collections that only a newer release declares (it made
        their tables), so that a node of that release gets them through this one too."""
        ids: dict[str, list[str]] = {}
        for collection, id in keys:
            ids.setdefault(collection, []).append(id)
        found: dict[Key, Row] = {}
        for collection, wanted in ids.items():
            table = self._tables.get(collection)
            if table is not None:
                records = await self._connection.fetch(table.select_all, self._tenant, wanted)
                found |= {(collection, row.id): row for row in table.decode(records)}
        return found

    async def named(
        self,
        entries: Sequence[Entry],
        whole: bool,
        most_bytes: int,
    ) -> tuple[Sequence[Row], int | None]:
        """The rows that entries name, and the number of the last one if not all had room."""
        room, at = most_bytes, 0
        found: list[Sequence[Row]] = []
        while at < len(entries):
            count = _step(used=most_bytes - room, room=room, had=at)
            step = entries[at : at + count]
            block = await self._block(step, whole)
            if block is not None and (size := _block_bytes(block)) <= room:
                found.append(block)
                room -= size
            else:
                least = 0 if any(found) else 1
                rows, room, upto = await self._one_by_one(step, whole, room, least)
                found.append(rows)
                if upto is not None:
                    return _together(found), upto
            at += len(step)
        return _together(found), None

    async def _block(self, entries: Sequence[Entry], whole: bool) -> Block | None:
        """The rows of entries in columns, if all are there, of one collection and alike."""
        name = entries[0].collection
        table = self._tables.get(name)
        if table is None or any(entry.collection != name for entry in entries):
            return None
        records = await self._connection.fetch(
            table.select_all, self._tenant, [e.id for e in entries]
        )
        by_id = {record["id"]: record for record in records}
        if len(by_id) < len(entries):
            return None
        block = table.block([by_id[entry.id] for entry in entries])
        return block if block is None or whole or not block.groups[0].stamps else None

    async def _one_by_one(
        self,
        entries: Sequence[Entry],
        whole: bool,
        room: int,
        least: int,
    ) -> tuple[list[Row], int, int | None]:
        """The rows of entries, the room that is left after them, and the number of the last one if
        not all had room: `least` of them have."""
        rows: list[Row] = []
        upto = entries[0].number - 1
        present = await self.present([(e.collection, e.id) for e in entries])
        for entry in entries:
            row = present.get((entry.collection, entry.id))
            if row is None:
                continue
            if not whole and entry.collection in self._registry:
                row = sent_since(self._registry[entry.collection], row, entry.since_hlc)
            room -= _row_bytes(row)
            if room < 0 and len(rows) >= least:
                return rows, room, upto
            rows.append(row)
            upto = entry.number
        return rows, room, None


def _step(*, used: int, room: int, had: int) -> int:
    """How many rows to read next: about as many as there is room for."""
    if not had:
        return limits.READ_ROWS
    return max(limits.READ_ROWS, min(limits.READ_ROWS_MOST, room * had // max(1, used)))


def _together(found: Sequence[Sequence[Row]]) -> Sequence[Row]:
    """In columns, if all is in columns of one collection."""
    blocks = [rows for rows in found if isinstance(rows, Block)]
    if 0 < len(blocks) == len(found):
        joined = reduce(Block.joined, blocks)
        if len(joined.groups) == 1:
            return joined
    return tuple(row for rows in found for row in rows)


def _block_bytes(block: Block) -> int:
    """Roughly what the rows of a block weigh as JSON."""
    return sum(
        len(msgspec.json.encode(group.columns))
        + len(group.ids) * (96 + sum(len(name) + 3 for name in group.fields))
        + 32 * len(group.stamps)
        for group in block.groups
    )


def _row_bytes(row: Row) -> int:
    """Roughly what a row weighs as JSON."""
    return len(msgspec.json.encode(row.fields)) + 96 + 32 * len(row.stamps)

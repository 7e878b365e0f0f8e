"""One tenant's store in PostgreSQL: `store.port.Store`, set by set rather than row by row.

Two commits that touch one partition run one after the other (an advisory lock, taken before
anything is read), so that merging in Python sees what the other has written; commits to different
partitions and tenants run side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from beira.kernel import limits
from beira.kernel.collection import Registry
from beira.kernel.contest import Contest, contests
from beira.kernel.errors import Conflict, Invalid, Unavailable
from beira.kernel.merge import merge
from beira.kernel.query import Page, Query
from beira.kernel.record import Row, Value
from beira.store.plan import plan
from beira.store.port import Commit, Dropped, News, Pending, Route, Slice
from beira.store.postgres import bulk, listen, streams
from beira.store.postgres.listen import CHANNEL, payloads
from beira.store.postgres.reading import Reading
from beira.store.rows import Settled, normal, raised, settle
from beira.store.sql import compiled

if TYPE_CHECKING:
    from beira.store.postgres.cloud import PostgresCloud


T = TypeVar("T")
Key = tuple[str, str]
Work = Callable[[asyncpg.Connection], Awaitable[T]]


class PostgresStore:
    """A view of `cloud` for one tenant."""

    def __init__(self, cloud: PostgresCloud, tenant: str) -> None:
        if not tenant or "\x00" in tenant:
            raise Invalid("A store belongs to a tenant.", code="tenant.missing")
        self._cloud = cloud
        self._tenant = tenant
        self._closed = False

    @property
    def registry(self) -> Registry:
        return self._cloud.registry

    async def commit(
        self,
        rows: Sequence[Row],
        *,
        route: Route | None = None,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
        dropped: Dropped | None = None,
    ) -> Commit:
        marks, expect = marks or {}, expect or {}
        new = bulk.insertions(rows, self.registry, self._cloud.tables)
        folded = self._folded(rows) if new is None else {}
        if not (rows or marks or expect):
            return Commit()

        met: list[Contest] = []
        careful = new is None or not all(self.registry[item.table.name].is_fact for item in new)

        async def work(connection: asyncpg.Connection) -> Sequence[Row]:
            met.clear()
            if expect:
                await streams.demand(connection, self._tenant, expect, marks)
            elif marks:
                await streams.set_marks(connection, self._tenant, marks)
            if new is not None:
                old = await self._insert(connection, new, careful)
                return await self._inserted(connection, rows, new, old, route, met, dropped)
            settled = await self._settle_all(connection, folded, met)
            settled += await self._write_down(connection, met, route, dropped)
            return await self._changed(connection, settled, route)

        if new is not None:
            partitions = {("partition", item.group.partitions[0]) for item in new}
        else:
            partitions = {("partition", row.partition) for row in folded.values()}
        named = {("mark", name) for name in (*marks, *expect)}
        locks = self._locks(partitions | named)
        try:
            changed = await self._run(work, locks=locks)
        except asyncpg.UniqueViolationError:
            if careful:
                raise
            careful = True
            changed = await self._run(work, locks=locks)
        return Commit(rows=changed, contests=met)

    async def since(
        self, stream: str, after: int, *, whole: bool = False, most: int, most_bytes: int
    ) -> Slice:
        async def work(connection: asyncpg.Connection) -> Slice:
            last = await streams.last(connection, self._tenant, stream, lock=False)
            if last <= after:
                return Slice(stream=stream, after=after, upto=after, rows=(), more=False)
            entries = await streams.entries(connection, self._tenant, stream, after, most + 1)
            rows, upto = await self._reading(connection).named(entries[:most], whole, most_bytes)
            more = upto is not None or len(entries) > most
            if upto is None:
                upto = entries[most - 1].number if more else last
            return Slice(stream=stream, after=after, upto=upto, rows=rows, more=more)

        return await self._run(work, snapshot=True)

    async def trim(
        self, stream: str, upto: int, *, marks: Mapping[str, Value] | None = None
    ) -> None:
        async def work(connection: asyncpg.Connection) -> None:
            await streams.trim(connection, self._tenant, stream, upto)
            if marks:
                await streams.set_marks(connection, self._tenant, marks)

        locks = self._locks({("mark", name) for name in marks or {}})
        await self._run(work, locks=locks)

    async def pending(self, stream: str) -> Pending:
        return await self._run(lambda c: streams.pending(c, self._tenant, stream), snapshot=True)

    async def end(self, stream: str) -> int:
        return await self._run(lambda c: streams.last(c, self._tenant, stream, lock=False))

    async def look(
        self, prefixes: Sequence[str], names: Sequence[str]
    ) -> tuple[dict[str, Value], dict[str, int]]:
        return await self._run(lambda c: streams.look(c, self._tenant, prefixes, names))

    async def get(self, collection: str, id: str) -> Row | None:
        key = (self.registry[collection].name, id)
        present = await self._run(lambda c: self._reading(c).present([key]))
        return present.get(key)

    async def rows(
        self, collection: str, partition: str, *, after: tuple[int, str], most: int
    ) -> tuple[Row, ...]:
        table = self._cloud.tables[self.registry[collection].name]
        text = (
            table.select + "AND t._partition = $2 AND (t._hlc, t.id) > ($3, $4) "
            "ORDER BY t._hlc, t.id LIMIT $5"
        )

        async def work(connection: asyncpg.Connection) -> tuple[Row, ...]:
            found = await connection.fetch(text, self._tenant, partition, *after, most)
            return tuple(table.decode(found))

        return await self._run(work)

    async def query(self, query: Query, partitions: Iterable[str] | None = None) -> Page:
        collection = self.registry[query.collection]
        made = compiled(
            plan(query, collection, partitions),
            self._cloud.dialect,
            tenant=self._tenant,
            table=self._cloud.tables[collection.name].sql_name,
        )

        async def work(connection: asyncpg.Connection) -> Page:
            total = None
            if made.count_text is not None:
                total = await connection.fetchval(made.count_text, *made.count_parameters)
            found = await connection.fetch(made.text, *made.parameters)
            return Page(rows=made.rows(found), total=total)

        return await self._run(work, snapshot=True)

    async def marks(self, prefix: str = "") -> dict[str, Value]:
        return await self._run(lambda c: streams.marks(c, self._tenant, prefix), snapshot=True)

    async def forget(self, collection: str, before_hlc: int, *, most: int = 1_000) -> int:
        table = self._cloud.tables[self.registry[collection].name].sql_name
        text = _FORGET.format(table=table)

        async def work(connection: asyncpg.Connection) -> int:
            done = await connection.execute(text, self._tenant, before_hlc, collection, most)
            return int(done.rpartition(" ")[2])

        return await self._run(work)

    async def collect(
        self, stream: str, upto: int, before_hlc: int, *, floor: str, most: int = 1_000
    ) -> int:
        async def work(connection: asyncpg.Connection) -> int:
            await streams.last(connection, self._tenant, stream, lock=True)
            greatest, room = 0, most
            for collection in self.registry:
                text = _COLLECT.format(table=self._cloud.tables[collection.name].sql_name)
                count, last = await connection.fetchrow(
                    text, self._tenant, stream, collection.name, upto, before_hlc, room
                )
                greatest, room = max(greatest, last or 0), room - count
            if greatest:
                present = await streams.marks(connection, self._tenant, floor)
                marks = {floor: raised(present.get(floor), greatest, before_hlc)}
                await streams.set_marks(connection, self._tenant, marks)
            return most - room

        return await self._run(work, locks=self._locks({("mark", floor)}))

    def subscribe(self, listener: Callable[[News], None]) -> Callable[[], None]:
        return self._cloud.news.subscribe(self._tenant, listener)

    async def close(self) -> None:
        """Only this view; the connections are the cloud's."""
        self._closed = True

    async def _run(self, work: Work[T], *, locks: Sequence[int] = (), snapshot: bool = False) -> T:
        if self._closed:
            raise Unavailable("The store is closed.", code="store.closed")
        return await self._cloud.run(self._tenant, work, locks=locks, snapshot=snapshot)

    def _reading(self, connection: asyncpg.Connection) -> Reading:
        return Reading(connection, self._tenant, self._cloud.tables, self.registry)

    def _folded(self, rows: Sequence[Row]) -> dict[Key, Row]:
        """One row a record, in the order in which they came last."""
        folded: dict[Key, Row] = {}
        for row in rows:
            collection = self.registry[row.collection]
            if row.stamps or not _is_plain(row):
                row = normal(row)
            key = (row.collection, row.id)
            before = folded.pop(key, None)
            folded[key] = merge(collection, before, row)
        return folded

    def _locks(self, names: Iterable[tuple[str, str]]) -> list[int]:
        """Lock numbers; two names that share one only wait for each other."""
        return sorted(
            {
                int.from_bytes(
                    hashlib.blake2b(
                        "\0".join((self._tenant, *name)).encode(), digest_size=8
                    ).digest(),
                    signed=True,
                )
                for name in names
            }
        )

    async def _insert(
        self, connection: asyncpg.Connection, new: Sequence[bulk.Insertion], careful: bool
    ) -> set[Key]:
        """Insert a block. Facts are nearly always new, and to look first costs a third more: that is
        for when it turns out that they are not. Returns what was there already."""
        old: set[Key] = set()
        for item in new:
            if careful:
                there = await item.run_carefully(connection, self._tenant)
                old |= {(item.table.name, id) for id in there}
            else:
                await item.run(connection, self._tenant)
        return old

    async def _inserted(
        self,
        connection: asyncpg.Connection,
        rows: Sequence[Row],
        new: Sequence[bulk.Insertion],
        old: set[Key],
        route: Route | None,
        met: list[Contest],
        dropped: Dropped | None,
    ) -> Sequence[Row]:
        """Merge what was there already as any other rows, and tell of all."""
        if old:
            known = {key: row for row in rows if (key := (row.collection, row.id)) in old}
            merged = await self._settle_all(connection, known, met)
            merged += await self._write_down(connection, met, route, dropped)
            fresh = (row for row in rows if (row.collection, row.id) not in old)
            settled = [*(Settled(row, row.stamp.hlc) for row in fresh), *merged]
            return await self._changed(connection, settled, route)
        routed: dict[str, streams.Names] = {}
        for item in new:
            stream = None if route is None else route(item.sample())
            if stream is not None:
                names = routed.setdefault(stream, streams.Names())
                names.add(item.group.collection, item.group.ids, item.hlcs)
        await streams.name(connection, self._tenant, routed)
        groups = [item.group for item in new]
        runs = ((group.collection, group.partitions[0], group.ids) for group in groups)
        await _notify(connection, listen.told(self._tenant, runs))
        return rows

    async def _write_down(
        self,
        connection: asyncpg.Connection,
        met: list[Contest],
        route: Route | None,
        dropped: Dropped | None,
    ) -> list[Settled]:
        """Complete what was met, and write what was dropped by it."""
        if not met:
            return []
        met[:] = await streams.numbered(connection, self._tenant, met, route)
        rows = dropped(met) if dropped is not None else ()
        return await self._settle_all(connection, self._folded(rows), []) if rows else []

    async def _changed(
        self, connection: asyncpg.Connection, changed: Sequence[Settled], route: Route | None
    ) -> Sequence[Row]:
        """Name what changed in its streams and tell of it."""
        rows = tuple(item.row for item in changed)
        await streams.name(connection, self._tenant, _routed(changed, route))
        await _notify(connection, payloads(self._tenant, rows))
        return rows

    async def _settle_all(
        self, connection: asyncpg.Connection, folded: Mapping[Key, Row], met: list[Contest]
    ) -> list[Settled]:
        """Merge and write; what changed, in the order given. What met another writer's value is
        added to `met`."""
        by_collection: dict[str, list[Row]] = {}
        for row in folded.values():
            by_collection.setdefault(row.collection, []).append(row)
        changed: dict[Key, Settled] = {}
        for name in sorted(by_collection):
            rows = sorted(by_collection[name], key=lambda row: row.id)
            for item in await self._settle(connection, name, rows, met):
                changed[name, item.row.id] = item
        return [changed[key] for key in folded if key in changed]

    async def _settle(
        self, connection: asyncpg.Connection, name: str, rows: list[Row], met: list[Contest]
    ) -> list[Settled]:
        collection, table = self.registry[name], self._cloud.tables[name]
        settled: list[Settled] = []
        if collection.is_fact:  # nearly always new: written without looking first
            found = await connection.fetch(table.insert, self._tenant, *table.encode(rows))
            fresh = {record[0] for record in found}
            settled = [Settled(row, row.stamp.hlc) for row in rows if row.id in fresh]
            rows = [row for row in rows if row.id not in fresh]
            if not rows:
                return settled
        present = await self._reading(connection).present([(name, row.id) for row in rows])
        merged = [settle(collection, present.get((name, row.id)), row) for row in rows]
        for row, item in zip(rows, merged, strict=True):
            before = present.get((name, row.id))
            met += contests(collection, before, row, item.row if item else before or row)
        taught = [item for item in merged if item is not None]
        if taught:
            written = await connection.execute(
                table.upsert, self._tenant, *table.encode([item.row for item in taught])
            )
            if int(written.rpartition(" ")[2]) < len(taught):
                raise Conflict(
                    f"A record of {name} was written to another partition at this moment.",
                    code="partition.fixed",
                    hint="A record never moves between partitions: write a new one.",
                )
        return settled + taught


async def _notify(connection: asyncpg.Connection, texts: Sequence[str]) -> None:
    if texts:
        await connection.execute(
            "SELECT pg_notify($1, u) FROM unnest($2::text[]) AS u", CHANNEL, texts
        )


def _is_plain(row: Row) -> bool:
    """Whether a row without stamps of its own is in normal form, but for the order of its fields,
    which no table keeps: nearly every row is, and finding out is ten times faster."""
    return bool(row.fields) and 0 < len(row.id) <= limits.ID_CHARS and "\x00" not in row.id


def _routed(changed: Sequence[Settled], route: Route | None) -> dict[str, streams.Names]:
    routed: dict[str, streams.Names] = {}
    if route is not None:
        for item in changed:
            stream = route(item.row)
            if stream is not None:
                names = routed.setdefault(stream, streams.Names())
                names.add(item.row.collection, [item.row.id], [item.since_hlc])
    return routed


_FORGET = """
DELETE FROM {table} WHERE tenant_id = $1 AND _hlc < $2 AND id IN (
  SELECT t.id FROM {table} AS t WHERE t.tenant_id = $1 AND t._hlc < $2 AND NOT EXISTS (
    SELECT FROM beira._streams AS s
    WHERE s.tenant_id = $1 AND s.collection = $3 AND s.id = t.id
  ) ORDER BY t._hlc LIMIT $4
)
"""
_COLLECT = """
WITH dead AS (
  SELECT s.id, s.number FROM beira._streams AS s
  JOIN {table} AS t ON t.tenant_id = s.tenant_id AND t.id = s.id
  WHERE s.tenant_id = $1 AND s.stream = $2 AND s.collection = $3 AND s.number <= $4
    AND t._deleted AND t._hlc < $5 ORDER BY s.number LIMIT $6
), entries AS (
  DELETE FROM beira._streams AS s USING dead
  WHERE s.tenant_id = $1 AND s.stream = $2 AND s.collection = $3 AND s.id = dead.id
), rows AS (
  DELETE FROM {table} AS t USING dead WHERE t.tenant_id = $1 AND t.id = dead.id
)
SELECT count(*), max(number) FROM dead
"""

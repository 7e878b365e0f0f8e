"""What the writer does inside its transaction: merge rows, keep streams and marks.

All of it runs on the writer's thread, on its one connection; each call is one savepoint there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apsw
import msgspec

from beira.kernel.batch import Block, Group
from beira.kernel.collection import Flow, Registry
from beira.kernel.contest import Contest, contests
from beira.kernel.record import Row, Value
from beira.store.port import Commit, Dropped, Route
from beira.store.restamp import Restamping
from beira.store.rows import Layout, Settled, check_marks, normal, raised, settle, settled_new
from beira.store.sql import quoted
from beira.store.sqlite import bulk
from beira.store.sqlite.schema import insert_sql, select_sql, upsert_sql

_NAME = """INSERT INTO _streams (stream, collection, id, number, since_hlc, state)
VALUES (?, ?, ?, ?, ?, """
_NAME_FACT = f"{_NAME}0)"
_NAME_STATE = f"""{_NAME}1) ON CONFLICT (stream, collection, id) WHERE state DO UPDATE SET
number = excluded.number, since_hlc = min(since_hlc, excluded.since_hlc)"""
_COUNT = "INSERT INTO _counters VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last"
_MARK = "INSERT INTO _marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_STATE_NAMED = (
    "EXISTS (SELECT 1 FROM _streams AS s WHERE s.collection = ?1 AND s.id = t.id AND s.state "
    "AND s.stream IN (SELECT value FROM json_each(?2)))"
)
_FACT_NAMED = (
    "t.id IN (SELECT s.id FROM _streams AS s WHERE s.collection = ?1 "
    "AND s.stream IN (SELECT value FROM json_each(?2)))"
)
"""A fact is named once and hardly ever sought by its id: it has no index, which makes writing and
trimming twice as fast. What seeks it reads the streams once for all it asks about."""


class Changes:
    """The writer's connection, with the layouts of its tables and the statements on them."""

    def __init__(
        self, connection: apsw.Connection, registry: Registry, layouts: Mapping[str, Layout]
    ) -> None:
        self.connection = connection
        self._registry = registry
        self._layouts = layouts
        self._cursor = connection.cursor()
        self._known = known_collections(registry)
        self._counters: dict[str, int] = {}
        self._moved: set[str] = set()
        self._insert = {name: insert_sql(layout) for name, layout in layouts.items()}
        self._upsert = {name: upsert_sql(layout) for name, layout in layouts.items()}
        self._select = {name: f"{select_sql(at)} WHERE t.id = ?" for name, at in layouts.items()}

    def rolled_back(self) -> None:
        """The transaction is undone: the numbers on disk count again, not those remembered."""
        self._counters.clear()
        self._moved.clear()

    def commit(
        self,
        rows: Sequence[Row],
        route: Route | None,
        marks: Mapping[str, Value] | None,
        expect: Mapping[str, Value] | None,
        dropped: Dropped | None,
    ) -> Commit:
        if expect:
            check_marks(self._present(expect), expect)
        inserted: Sequence[Row] = ()
        if isinstance(rows, Block):
            inserted, rows = self._insert_new(rows, route)
        changed: dict[tuple[str, str], Row] = {}
        met: list[Contest] = []
        self._take(rows, route, changed, met)
        if met and dropped is not None:
            self._take(dropped(met), route, changed, [])
        self.set_marks(marks)
        if not changed:
            return Commit(rows=inserted, contests=met)
        kept = (row for row in inserted if (row.collection, row.id) not in changed)
        return Commit(rows=(*kept, *changed.values()), contests=met)

    def _take(
        self,
        rows: Sequence[Row],
        route: Route | None,
        changed: dict[tuple[str, str], Row],
        met: list[Contest],
    ) -> None:
        for row in map(normal, rows):
            merged = self._merge(row, route, met)
            if merged is None:
                continue
            settled, is_new = merged
            changed.pop((row.collection, row.id), None)
            changed[row.collection, row.id] = settled.row
            stream = route(settled.row) if route else None
            if stream is not None:
                (self._name if is_new else self._name_again)(stream, settled)

    def _insert_new(self, block: Block, route: Route | None) -> tuple[Sequence[Row], Sequence[Row]]:
        """Insert those of a block's rows that are new here, plain, and named by no stream. Returns
        them, and the others."""
        inserted: list[Group] = []
        others: list[Row] = []
        partly: list[Row] = []
        for group in block.groups:
            packed = bulk.packed(group, self._layouts[group.collection])
            if packed is None or (route is not None and any(map(route, bulk.samples(group)))):
                others += Block([group])
                continue
            there = self._there(group)
            put = packed if not there else (row for row in packed if row[0] not in there)
            self._cursor.executemany(self._insert[group.collection], put)
            if not there:
                inserted.append(group)
            else:
                for row in Block([group]):
                    (others if row.id in there else partly).append(row)
        if not partly:
            return Block(inserted), others
        return [*Block(inserted), *partly], others

    def _there(self, group: Group) -> set[str]:
        """The ids of the group that its table has."""
        found = self._cursor.execute(
            f"SELECT id FROM {quoted(group.collection)} "  # noqa: S608
            "WHERE id IN (SELECT value FROM json_each(?))",
            (_json(group.ids),),
        )
        return {id for (id,) in found}

    def trim(self, stream: str, upto: int, marks: Mapping[str, Value] | None) -> None:
        """Entries of collections that no app here declares stay: they were never handed out."""
        self._cursor.execute(
            "DELETE FROM _streams WHERE stream = ? AND number <= ? "
            "AND collection IN (SELECT value FROM json_each(?))",
            (stream, upto, self._known),
        )
        self.set_marks(marks)

    def set_marks(self, marks: Mapping[str, Value] | None) -> None:
        for name, value in (marks or {}).items():
            if value is None:
                self._cursor.execute("DELETE FROM _marks WHERE name = ?", (name,))
            else:
                self._cursor.execute(_MARK, (name, msgspec.json.encode(value).decode()))

    def forget(self, collection: str, before_hlc: int, most: int) -> int:
        streams = [stream for (stream,) in self._cursor.execute("SELECT stream FROM _counters")]
        table = quoted(self._registry[collection].name)
        self._cursor.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT t.id FROM {table} AS t "  # noqa: S608
            f"WHERE t._hlc < ?3 AND NOT {self._named(collection)} "
            "ORDER BY t._hlc, t.id LIMIT ?4)",
            (collection, _json(streams), before_hlc, most),
        )
        return self.connection.changes()

    def collect(self, stream: str, upto: int, before_hlc: int, floor: str, most: int) -> int:
        gone: list[tuple[Any, ...]] = []
        for declared in self._registry:
            table = quoted(declared.name)
            gone += self._cursor.execute(
                f"SELECT s.number, s.collection, s.id FROM _streams AS s CROSS JOIN {table} AS t "  # noqa: S608
                "ON t.id = s.id WHERE s.stream = ? AND s.collection = ? AND s.number <= ? "
                "AND t._deleted AND t._hlc < ? ORDER BY s.number LIMIT ?",
                (stream, declared.name, upto, before_hlc, most),
            ).fetchall()
        gone = sorted(gone)[:most]
        for number, collection, id in gone:
            self._cursor.execute(f"DELETE FROM {quoted(collection)} WHERE id = ?", (id,))  # noqa: S608
            self._cursor.execute(
                "DELETE FROM _streams WHERE stream = ? AND number = ?", (stream, number)
            )
        if gone:
            mark = self._present({floor: None}).get(floor)
            self.set_marks({floor: raised(mark, gone[-1][0], before_hlc)})
        return len(gone)

    def relog(self, keys: Sequence[tuple[str, str]], route: Route) -> Commit:
        rows = [row for row in map(self._found, dict.fromkeys(keys)) if row is not None]
        routed: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            stream = route(row)
            if stream is not None:
                routed.setdefault((stream, row.collection), []).append(row)
        for (stream, collection), named in routed.items():
            self._unname(stream, collection, [row.id for row in named])
            for row in named:
                self._name(stream, Settled(row, 0))
        return Commit(rows=tuple(rows))

    def remove(self, keys: Sequence[tuple[str, str]]) -> int:
        gone = 0
        ids: dict[str, list[str]] = {}
        for collection, id in keys:
            ids.setdefault(collection, []).append(id)
        for collection, listed in ids.items():
            self._cursor.execute(
                f"DELETE FROM {quoted(self._registry[collection].name)} WHERE id IN "  # noqa: S608
                "(SELECT value FROM json_each(?1)) AND id NOT IN (SELECT s.id FROM _streams AS s "
                "WHERE s.collection = ?2 AND s.id IN (SELECT value FROM json_each(?1)))",
                (_json(listed), collection),
            )
            gone += self.connection.changes()
        return gone

    def restamp(self, streams: Sequence[str], node: str, ceiling: int, floor: int) -> int:
        work = Restamping(node, ceiling, floor)
        for declared in self._registry:
            for row, since_hlc in self._unsent(declared.name, streams):
                work.see(row, since_hlc)
            for hlc in self._sent(declared.name, streams, node):
                work.see_sent(hlc)
        if work.decide():
            for declared in self._registry:
                since: dict[str, int] = {}
                for row, since_hlc in list(self._unsent(declared.name, streams)):
                    moved = work.moved(row, since_hlc)
                    if moved is not None:
                        self._put(moved[0])
                        since[row.id] = moved[1]
                self._unsent_since(declared.name, since, streams)
        return work.greatest

    def _unsent_since(
        self, collection: str, since: Mapping[str, int], streams: Sequence[str]
    ) -> None:
        if since:
            self._cursor.execute(
                "UPDATE _streams SET since_hlc = u.value FROM json_each(?1) AS u "
                "WHERE collection = ?2 AND _streams.id = u.key "
                "AND stream IN (SELECT value FROM json_each(?3))",
                (_json(since), collection, _json(streams)),
            )

    def _unsent(self, collection: str, streams: Sequence[str]) -> Iterator[tuple[Row, int]]:
        """Rows that the streams name, and all of a collection that never leaves the node."""
        layout = self._layouts[collection]
        listed = ", ".join(f"t.{quoted(name)}" for name in layout.names)
        if self._registry[collection].flow is Flow.LOCAL:
            query = f"SELECT 0, {listed} FROM {quoted(collection)} AS t"  # noqa: S608
            found = self.connection.execute(query)
        else:
            found = self.connection.execute(
                f"SELECT min(s.since_hlc), {listed} FROM _streams AS s "  # noqa: S608
                f"CROSS JOIN {quoted(collection)} AS t ON t.id = s.id WHERE s.collection = ? "
                "AND s.stream IN (SELECT value FROM json_each(?)) GROUP BY s.id",
                (collection, _json(streams)),
            )
        return ((layout.unpack(values), since_hlc) for since_hlc, *values in found)

    def _sent(self, collection: str, streams: Sequence[str], node: str) -> Iterator[int]:
        """The greatest stamp numbers of the node in rows that no stream names."""
        if self._registry[collection].flow is Flow.LOCAL:
            return
        table, named = quoted(collection), (collection, _json(streams))
        unnamed = f"FROM {table} AS t WHERE NOT {self._named(collection)}"
        query = f"SELECT max(_hlc) {unnamed} AND _node = ?3"
        yield self.connection.execute(query, (*named, node)).get or 0
        query = f"SELECT _stamps {unnamed} AND _stamps IS NOT NULL"
        for (stamps,) in self.connection.execute(query, named):
            for stamp in msgspec.json.decode(stamps).values():
                if stamp is not None and stamp[2] == node:
                    yield stamp[0]

    def _merge(
        self, row: Row, route: Route | None, met: list[Contest]
    ) -> tuple[Settled, bool] | None:
        """Merge one row into its table, and say whether it is new there. A fact that is new needs no
        look at what is there."""
        declared = self._registry[row.collection]
        if declared.is_fact:
            packed = self._layouts[row.collection].pack(row)
            self._cursor.execute(self._insert[row.collection], packed)
            if self.connection.changes():
                return settled_new(row), True
        before = self._found((row.collection, row.id))
        settled = settle(declared, before, row)
        if before is not None:
            after = settled.row if settled else before
            met += self._numbered(contests(declared, before, row, after), before, route)
        if settled is None:
            return None
        self._put(settled.row)
        return settled, before is None

    def _numbered(self, met: list[Contest], row: Row, route: Route | None) -> list[Contest]:
        """Contests with the place of their row in the feed, as it is before the commit, and whether
        what they met is named in a log."""
        if not met or route is None:
            return met
        query = """SELECT stream, number, since_hlc FROM _streams WHERE collection = ? AND id = ?
            AND state AND stream IN (SELECT stream FROM _counters)"""
        found: list[tuple[Any, ...]]
        found = self._cursor.execute(query, (row.collection, row.id)).fetchall()
        fed = route(row)
        number = next((number for stream, number, _ in found if stream == fed), 0)
        since_hlc = min((since_hlc for _, _, since_hlc in found), default=1 << 63)
        return [
            msgspec.structs.replace(one, number=number, unsent=one.mine_stamp.hlc >= since_hlc)
            for one in met
        ]

    def _found(self, key: tuple[str, str]) -> Row | None:
        collection, id = key
        found = self._cursor.execute(self._select[collection], (id,)).fetchone()
        return None if found is None else self._layouts[collection].unpack(found)

    def _put(self, row: Row) -> None:
        layout = self._layouts[row.collection]
        self._cursor.execute(self._upsert[row.collection], layout.pack(row))

    def _named(self, collection: str) -> str:
        """The condition that ?1 is the collection and a stream of ?2 names `t`."""
        return _FACT_NAMED if self._registry[collection].is_fact else _STATE_NAMED

    def _unname(self, stream: str, collection: str, ids: Sequence[str]) -> list[int]:
        """Take facts out of a stream, where they would else be twice, reading all of it. Returns
        since when they were unsent."""
        if not self._registry[collection].is_fact:
            return []
        gone: list[tuple[Any, ...]] = self._cursor.execute(
            "DELETE FROM _streams WHERE stream = ? AND collection = ? "
            "AND id IN (SELECT value FROM json_each(?)) RETURNING since_hlc",
            (stream, collection, _json(ids)),
        ).fetchall()
        return [since_hlc for (since_hlc,) in gone]

    def _name_again(self, stream: str, settled: Settled) -> None:
        """Put a row that may be in the stream already at its end."""
        row = settled.row
        since_hlcs = self._unname(stream, row.collection, [row.id])
        self._name(stream, Settled(row, min([settled.since_hlc, *since_hlcs])))

    def _name(self, stream: str, settled: Settled) -> None:
        """Put the row at the end of a stream, in which it is not yet if it is a fact."""
        last = self._counters.get(stream)
        if last is None:
            query = "SELECT last FROM _counters WHERE stream = ?"
            found = self._cursor.execute(query, (stream,)).fetchone()
            last = 0 if found is None else found[0]
        self._counters[stream] = last + 1
        self._moved.add(stream)
        row = settled.row
        entry = (stream, row.collection, row.id, last + 1, settled.since_hlc)
        is_fact = self._registry[row.collection].is_fact
        self._cursor.execute(_NAME_FACT if is_fact else _NAME_STATE, entry)

    def keep_counters(self) -> None:
        """Write the streams' last numbers, before a COMMIT. A write that was undone by itself has
        left a gap in them, which nobody will fill."""
        for stream in self._moved:
            self._cursor.execute(_COUNT, (stream, self._counters[stream]))
        self._moved.clear()

    def _present(self, names: Mapping[str, Any]) -> dict[str, Value]:
        found = self._cursor.execute(
            "SELECT name, value FROM _marks WHERE name IN (SELECT value FROM json_each(?))",
            (_json(list(names)),),
        )
        return {name: msgspec.json.decode(value) for name, value in found}


def known_collections(registry: Registry) -> str:
    """The names of the collections declared, as JSON."""
    return _json(sorted(declared.name for declared in registry))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

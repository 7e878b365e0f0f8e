"""A node's store: one SQLite file, one writer that commits in groups, readers beside it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import msgspec

from beira.kernel import limits
from beira.kernel.batch import most_urgent, names_of
from beira.kernel.collection import Lane, Registry
from beira.kernel.errors import Full
from beira.kernel.query import Page, Query
from beira.kernel.record import Row, Value
from beira.store.news import Listeners
from beira.store.plan import plan
from beira.store.port import Commit, Dropped, News, Pending, Route, Slice
from beira.store.rows import Layout
from beira.store.sql import SQLITE, compiled
from beira.store.sqlite import files
from beira.store.sqlite.changes import Changes, known_collections
from beira.store.sqlite.readers import Readers
from beira.store.sqlite.rewriting import finish_swap, forget_copy
from beira.store.sqlite.room import Ballast, release
from beira.store.sqlite.schema import check_owner, prepare, select_sql
from beira.store.sqlite.slices import SliceReader
from beira.store.sqlite.writer import Writer


class SqliteStore:
    """Implements `NodeStore`. Open it with `await SqliteStore.open(...)`."""

    def __init__(
        self,
        path: Path,
        tenant: str,
        lock: files.Lock,
        changes: Changes,
        layouts: Mapping[str, Layout],
        registry: Registry,
        readers: Readers,
        writer: Writer,
    ) -> None:
        self.path = path
        self.tenant = tenant
        self._lock = lock
        self._changes = changes
        self._layouts = layouts
        self._registry = registry
        self._readers = readers
        self._writer = writer
        self._listeners = Listeners()
        self._known = known_collections(registry)
        self._slices = SliceReader(registry, layouts, self._known)
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path | str,
        registry: Registry,
        *,
        key: bytes | None = None,
        tenant: str = "",
        reserve_bytes: int = limits.DISK_RESERVE_BYTES,
        ballast_bytes: int = 0,
    ) -> SqliteStore:
        """Open the database at `path`, making or migrating it; 32 bytes of `key` encrypt it.

        `tenant` is told in news. Below `reserve_bytes` of free disk, only critical rows are taken; and
        `ballast_bytes` are kept from others for them, and for opening on a disk that is full.

        Raises: Misconfigured (no right to write, open in another process, another program's file, a
        newer Beira's, a field of another type), Corrupt (the file is left untouched), Full.
        """
        path = Path(path)
        ballast = Ballast(path, ballast_bytes, reserve_bytes)
        lock, connection, layouts = await asyncio.to_thread(_opened, path, registry, key, ballast)
        changes = Changes(connection, registry, layouts)
        readers = Readers(path, key)
        writer = Writer(changes, path, reserve_bytes, ballast)
        return cls(path, tenant, lock, changes, layouts, registry, readers, writer)

    @property
    def registry(self) -> Registry:
        return self._registry

    async def commit(
        self,
        rows: Sequence[Row],
        *,
        route: Route | None = None,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
        dropped: Dropped | None = None,
    ) -> Commit:
        return await self._writer.run(
            lambda: self._changes.commit(rows, route, marks, expect, dropped),
            weight=len(rows),
            urgent=not rows or most_urgent(rows) >= Lane.CRITICAL,
            done=self._tell,
        )

    async def since(
        self, stream: str, after: int, *, whole: bool = False, most: int, most_bytes: int
    ) -> Slice:
        return await self._readers.run(
            lambda connection: self._slices.read(
                connection, stream, after, whole=whole, most=most, most_bytes=most_bytes
            )
        )

    async def trim(
        self, stream: str, upto: int, *, marks: Mapping[str, Value] | None = None
    ) -> None:
        await self._writer.run(lambda: self._changes.trim(stream, upto, marks))

    async def pending(self, stream: str) -> Pending:
        def read(connection: apsw.Connection) -> Pending:
            count, oldest = connection.execute(
                "SELECT count(*), min(since_hlc) FROM _streams WHERE stream = ? "
                "AND collection IN (SELECT value FROM json_each(?))",
                (stream, self._known),
            ).get
            return Pending(count=count, oldest_hlc=oldest, last=_last(connection, stream))

        return await self._readers.run(read)

    async def end(self, stream: str) -> int:
        return await self._readers.run(lambda connection: _last(connection, stream))

    async def look(
        self, prefixes: Sequence[str], streams: Sequence[str]
    ) -> tuple[dict[str, Value], dict[str, int]]:
        def read(connection: apsw.Connection) -> tuple[dict[str, Value], dict[str, int]]:
            marks: dict[str, Value] = {}
            with connection:
                for prefix in prefixes:
                    marks |= _marks(connection, prefix)
                ends = {stream: _last(connection, stream) for stream in streams}
            return marks, ends

        return await self._readers.run(read)

    async def get(self, collection: str, id: str) -> Row | None:
        layout = self._layouts[self._registry[collection].name]
        query = f"{select_sql(layout)} WHERE t.id = ?"

        def read(connection: apsw.Connection) -> Row | None:
            found = connection.execute(query, (id,)).fetchone()
            return None if found is None else layout.unpack(found)

        return await self._readers.run(read)

    async def rows(
        self, collection: str, partition: str, *, after: tuple[int, str], most: int
    ) -> tuple[Row, ...]:
        layout = self._layouts[self._registry[collection].name]
        query = (
            f"{select_sql(layout)} WHERE (t._hlc, t.id) > (?, ?) AND t._partition = ? "
            "ORDER BY t._hlc, t.id LIMIT ?"
        )

        def read(connection: apsw.Connection) -> tuple[Row, ...]:
            return tuple(map(layout.unpack, connection.execute(query, (*after, partition, most))))

        return await self._readers.run(read)

    async def query(self, query: Query, partitions: Iterable[str] | None = None) -> Page:
        made = compiled(plan(query, self._registry[query.collection], partitions), SQLITE)

        def read(connection: apsw.Connection) -> Page:
            rows = made.rows(connection.execute(made.text, made.parameters))
            total = None
            if made.count_text is not None:
                total = connection.execute(made.count_text, made.count_parameters).get
            return Page(rows=rows, total=total)

        return await self._readers.run(read)

    async def marks(self, prefix: str = "") -> dict[str, Value]:
        return await self._readers.run(lambda connection: _marks(connection, prefix))

    async def forget(self, collection: str, before_hlc: int, *, most: int = 1_000) -> int:
        def work() -> int:
            gone = self._changes.forget(collection, before_hlc, most)
            release(self._changes.connection)
            return gone

        return await self._writer.run(work, weight=most)

    async def collect(
        self, stream: str, upto: int, before_hlc: int, *, floor: str, most: int = 1_000
    ) -> int:
        return await self._writer.run(
            lambda: self._changes.collect(stream, upto, before_hlc, floor, most), weight=most
        )

    async def relog(self, keys: Sequence[tuple[str, str]], route: Route) -> int:
        def work() -> Commit:
            return self._changes.relog(keys, route)

        done = await self._writer.run(work, weight=len(keys), done=self._tell)
        return len(done.rows)

    async def remove(self, keys: Sequence[tuple[str, str]]) -> int:
        return await self._writer.run(lambda: self._changes.remove(keys), weight=len(keys))

    async def restamp(self, streams: Sequence[str], node: str, ceiling: int, floor: int = 0) -> int:
        return await self._writer.run(lambda: self._changes.restamp(streams, node, ceiling, floor))

    def subscribe(self, listener: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(listener)

    async def integrity(self) -> list[str]:
        """What is wrong in the file, in SQLite's words: nothing, if it is whole. Takes long."""

        def read(connection: apsw.Connection) -> list[str]:
            said = [str(line) for (line,) in connection.execute("PRAGMA quick_check(20)")]
            return [] if said == ["ok"] else said

        return await self._readers.run(read, timeout_s=math.inf)

    def size_bytes(self) -> int:
        """The size of the database on disk, with its write-ahead log."""
        return files.size_bytes(self.path)

    async def close(self) -> None:
        """Finish what waits, then close. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.close()
        try:
            self._changes.connection.close(True)
        finally:
            self._lock.release()

    def _tell(self, commit: Commit) -> None:
        if commit.rows:
            self._listeners.tell(News(tenant=self.tenant, rows=names_of(commit.rows)))


def _last(connection: apsw.Connection, stream: str) -> int:
    query = "SELECT last FROM _counters WHERE stream = ?"
    found: tuple[Any, ...] | None = connection.execute(query, (stream,)).fetchone()
    return 0 if found is None else int(found[0])


def _marks(connection: apsw.Connection, prefix: str) -> dict[str, Value]:
    query = "SELECT name, value FROM _marks WHERE substr(name, 1, ?) = ? ORDER BY name"
    found = connection.execute(query, (len(prefix), prefix))
    return {name: msgspec.json.decode(value) for name, value in found}


_Opened: TypeAlias = tuple[files.Lock, apsw.Connection, dict[str, Layout]]


def _opened(path: Path, registry: Registry, key: bytes | None, ballast: Ballast) -> _Opened:
    """Open; on a full disk in the room that was kept for it."""
    try:
        opened = _opened_once(path, registry, key)
    except Full:
        if not ballast.give_up():
            raise
        return _opened_once(path, registry, key)
    ballast.keep()
    return opened


def _opened_once(path: Path, registry: Registry, key: bytes | None) -> _Opened:
    """Everything of opening that may touch the disk; nothing stays open if it fails."""
    lock = files.Lock(path)
    connection: apsw.Connection | None = None
    try:
        finish_swap(path)
        forget_copy(path)
        files.create(path)
        files.check_key(path, key)
        connection = files.connect(path, key, writer=True)
        check_owner(connection, path)
        files.check_pages(connection, path)
        files.start_log(connection, path)
        return lock, connection, prepare(connection, registry)
    except BaseException as error:
        if connection is not None:
            files.close_untouched(connection)
        lock.release()
        if isinstance(error, apsw.Error | OSError):
            raise files.explained(error, path) from error
        raise

"""What changed in a tenant's data, read once for all who listen on this host.

A store tells only which records changed. A feed reads them, works out what happened to each, which
of the filters in use they match, and passes that to its listeners. When it cannot follow (a flood,
a database that is away) it says so once, by `None`: whoever listens must fetch again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from beira.host import Host
from beira.kernel import limits
from beira.kernel.collection import Collection
from beira.kernel.errors import BeiraError
from beira.kernel.query import Column, Compare, Filter, Op, Query, both, checked
from beira.kernel.record import Row
from beira.store.port import News

log = structlog.get_logger(__name__)
SEEN = limits.CHANGES_SEEN
"""How many records a feed remembers to have told of, to tell an update from an insert."""
ALL = ""
"""As a collection's name: every collection."""


@dataclass(frozen=True)
class Change:
    """One record that changed: `kind` is INSERT, UPDATE or DELETE; `matched` are the filters in use
    that it fulfils now."""

    collection: Collection
    row: Row
    kind: str
    matched: frozenset[Filter]


Listener = Callable[[Change | None], None]


class Feed:
    """The changes of one host. Runs while somebody listens."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._listeners: dict[object, Listener] = {}
        self._wanted: Counter[tuple[str, Filter | None]] = Counter()
        self._news: asyncio.Queue[News] = asyncio.Queue(limits.SUBSCRIBER_QUEUE)
        self._lost = False
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._end: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def listen(
        self, listener: Listener, wanted: Sequence[tuple[str, Filter | None]]
    ) -> Callable[[], None]:
        """Pass changes of the collections `wanted` to `listener`, with which of their filters they
        match; the result ends it."""
        if self._task is None:
            self._end = self._host.store.subscribe(self._heard)
            self._task = asyncio.get_running_loop().create_task(self._follow())
        key = object()
        self._listeners[key] = listener
        self._wanted.update(wanted)

        def end() -> None:
            if self._listeners.pop(key, None) is not None:
                self._wanted.subtract(wanted)
                self._wanted += Counter()
                if not self._listeners:
                    self._stop()

        return end

    async def close(self) -> None:
        """End it for all."""
        self._listeners.clear()
        task = self._task
        self._stop()
        if task is not None:
            with suppress(asyncio.CancelledError):
                await task

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        if self._task is not None:
            self._task.cancel()
        self._end = self._task = None
        self._news = asyncio.Queue(limits.SUBSCRIBER_QUEUE)
        self._lost = False

    def _heard(self, news: News) -> None:
        try:
            self._news.put_nowait(news)
        except asyncio.QueueFull:
            self._lost = True

    async def _follow(self) -> None:
        while True:
            news = await self._news.get()
            try:
                changes = await self._changes(news)
            except BeiraError as error:
                log.warning("realtime.read_failed", code=error.code)
                self._lost, changes = True, []
            except Exception:
                log.exception("realtime.failed")
                self._lost, changes = True, []
            for change in changes:
                self._tell(change)
            if self._lost and self._news.empty():
                self._lost = False
                self._tell(None)

    async def _changes(self, news: News) -> list[Change]:
        present = await self._rows(news)
        matched = await self._matched(present)
        registry = self._host.store.registry
        return [
            Change(
                registry[row.collection],
                row,
                self._kind(registry[row.collection], row),
                frozenset(matched.get((row.collection, row.id), ())),
            )
            for row in present
        ]

    async def _rows(self, news: News) -> list[Row]:
        """The records as they are now, of the collections that somebody listens to."""
        names = {name for name, _ in self._wanted}
        keys = [(name, id) for name, id, _ in news.rows if name in names or ALL in names]
        rows: list[Row | None] = []
        for start in range(0, len(keys), limits.CHANGES_READ_AT_ONCE):
            part = keys[start : start + limits.CHANGES_READ_AT_ONCE]
            rows += await asyncio.gather(*(self._host.store.get(name, id) for name, id in part))
        return [row for row in rows if row is not None]

    async def _matched(self, rows: list[Row]) -> dict[tuple[str, str], list[Filter]]:
        """Which filters in use each record fulfils: asked of the store, so that they mean the same
        as in a query."""
        matched: dict[tuple[str, str], list[Filter]] = {}
        for name, term in list(self._wanted):
            if term is None:
                continue
            ids = [row.id for row in rows if row.collection == name and not row.deleted]
            for start in range(0, len(ids), limits.QUERY_ROWS):
                part = Compare("id", Op.IN, tuple(ids[start : start + limits.QUERY_ROWS]))
                question = Query(
                    collection=name,
                    columns=(Column("id"),),
                    where=both(part, term),
                    limit=limits.QUERY_ROWS,
                )
                declared = self._host.store.registry[name]
                page = await self._host.store.query(checked(question, declared))
                for row in page.rows:
                    matched.setdefault((name, str(row["id"])), []).append(term)
        return matched

    def _kind(self, collection: Collection, row: Row) -> str:
        """A record all of whose fields were written at once, and that was not told of, is new."""
        key = (row.collection, row.id)
        if row.deleted:
            self._seen.pop(key, None)
            return "DELETE"
        known = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return "UPDATE" if not collection.is_fact and (known or row.stamps) else "INSERT"

    def _tell(self, change: Change | None) -> None:
        for listener in list(self._listeners.values()):
            try:
                listener(change)
            except Exception:
                log.exception("realtime.listener_failed")


class Feeds:
    """A feed for each host that somebody listens to."""

    def __init__(self) -> None:
        self._feeds: dict[int, tuple[Host, Feed]] = {}

    def of(self, host: Host) -> Feed:
        for key, (_, feed) in list(self._feeds.items()):
            if not len(feed):
                del self._feeds[key]
        return self._feeds.setdefault(id(host), (host, Feed(host)))[1]

    async def close(self) -> None:
        for _, feed in self._feeds.values():
            await feed.close()
        self._feeds.clear()

"""News between replicas: NOTIFY within the commit's transaction, and one connection that listens.

A replica's own commits come back the same way, so all replicas tell their subscribers alike. While
the listening connection is away news is missed; when it is back every subscriber is told a `News`
without rows, which means: look again.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from itertools import accumulate, groupby, repeat
from typing import Any

import asyncpg
import msgspec
import structlog

from beira.kernel import limits
from beira.kernel.errors import BeiraError
from beira.kernel.record import Row
from beira.store.news import Listeners
from beira.store.port import News
from beira.store.postgres.failures import BROKEN, translated

CHANNEL = "beira_news"
PING_EVERY_S = 15.0
RETRY_FIRST_S = 0.1

_log = structlog.get_logger(__name__)


class _Payload(msgspec.Struct, array_like=True):
    """What one NOTIFY carries: ids of one partition of one collection."""

    tenant: str
    collection: str
    partition: str
    ids: list[str]


_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(list[_Payload]).decode


def payloads(tenant: str, rows: Iterable[Row]) -> list[str]:
    """News of `rows` in as few payloads as hold it, none of them too long."""
    alike = groupby(rows, key=lambda row: (row.collection, row.partition))
    return told(tenant, ((*key, [row.id for row in found]) for key, found in alike))


def told(tenant: str, runs: Iterable[tuple[str, str, list[str]]]) -> list[str]:
    """The same for (collection, partition, ids)."""
    made: list[list[_Payload]] = []
    room = 0
    for collection, partition, ids in runs:
        head = _size_bytes([tenant, collection, partition, []])
        ends = list(accumulate(map(_size_bytes, ids), initial=0))
        start = 0
        while start < len(ids):
            upto = bisect_right(ends, ends[start] + room - head) - 1
            if upto <= start:
                made.append([])
                room = limits.NOTIFY_BYTES
                upto = max(start + 1, bisect_right(ends, ends[start] + room - head) - 1)
            made[-1].append(_Payload(tenant, collection, partition, ids[start:upto]))
            room -= head + ends[upto] - ends[start]
            start = upto
    return [_encode(payload).decode() for payload in made]


def _size_bytes(part: object) -> int:
    return len(_encode(part)) + 1


class NewsDesk:
    """Subscribers by tenant, and the task that keeps a connection listening for them."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._connect = connect
        self._listeners: dict[str, Listeners] = {}
        self._listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start listening. Raises Unavailable if the database cannot be reached now."""
        with translated():
            connection = await self._listen()
        self._task = asyncio.create_task(self._run(connection), name="beira-news")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._listeners.clear()

    @property
    def listening(self) -> bool:
        return self._listening.is_set()

    def subscribe(self, tenant: str, listener: Callable[[News], None]) -> Callable[[], None]:
        """Raises Full beyond `limits.SUBSCRIBERS` for one tenant."""
        return self._listeners.setdefault(tenant, Listeners()).add(listener)

    async def _listen(self) -> asyncpg.Connection:
        connection = await self._connect()
        try:
            await connection.add_listener(CHANNEL, self._heard)
        except BaseException:
            connection.terminate()
            raise
        self._listening.set()
        return connection

    async def _run(self, connection: asyncpg.Connection) -> None:
        """Watch over one connection after the other until cancelled."""
        while True:
            try:
                await self._watch(connection)
            except (*BROKEN, asyncpg.PostgresError) as error:
                _log.warning("news of the database interrupted", error=str(error))
            finally:
                self._listening.clear()
                connection.terminate()
            connection = await self._again()
            for tenant in list(self._listeners):
                self._tell(News(tenant=tenant, rows=()))

    async def _watch(self, connection: asyncpg.Connection) -> None:
        """Return when the connection is lost; a question now and then finds one half open."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        while not connection.is_closed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), PING_EVERY_S)
                return
            await connection.execute("SELECT 1", timeout=limits.LISTEN_ANSWER_S)

    async def _again(self) -> asyncpg.Connection:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                return await self._listen()
            except (*BROKEN, asyncpg.PostgresError, BeiraError):
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, limits.LISTEN_RETRY_S)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            parts = _decode(str(payload))
        except msgspec.DecodeError:
            _log.warning("news that is not ours", channel=CHANNEL)
            return
        rows: dict[str, list[tuple[str, str, str]]] = {}
        for part in parts:
            told = rows.setdefault(part.tenant, [])
            told += zip(repeat(part.collection), part.ids, repeat(part.partition))
        for tenant, told in rows.items():
            self._tell(News(tenant=tenant, rows=tuple(told)))

    def _tell(self, news: News) -> None:
        if news.tenant in self._listeners:
            self._listeners[news.tenant].tell(news)

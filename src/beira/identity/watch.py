"""What was revoked, told to every replica at once, and the short memory that this makes safe.

Each replica keeps one connection on LISTEN. While it is heard, what a session or node may do is
remembered for `RIGHTS_FRESH_S`; news of a change drops it. While it is not, nothing is remembered and
every check asks the database. When it is back, subscribers are told what was revoked meanwhile,
and then `lost`: rights may have changed too, so check again what is live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import structlog

from beira.identity.database import CHANNEL, Database
from beira.identity.shapes import Revocation
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.errors import BeiraError, Full

log = structlog.get_logger(__name__)
Listener = Callable[[Revocation], None]


class Watch:
    """Revocations in, to subscribers and to the memory of principals."""

    def __init__(
        self,
        database: Database,
        on_keys: Callable[[], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._heard_s = now()
        self._database = database
        self._on_keys = on_keys
        self._listeners: list[Listener] = []
        self._memory: dict[str, tuple[Principal, float]] = {}
        self._heard = False
        self._told = 0
        self._task: asyncio.Task[None] | None = None
        self._keys_stale = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen; returns once heard, or after the first failure (it goes on trying)."""
        first = asyncio.Event()
        self._task = asyncio.create_task(self._listen(first))
        await first.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the event loop at each revocation; the returned function ends it."""
        if len(self._listeners) >= limits.SUBSCRIBERS:
            raise Full(
                "Too many connections watch for revocations.",
                hint="Add a replica, or close connections that are idle.",
            )
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    async def remembered(
        self, key: str, now_s: float, ask: Callable[[], Awaitable[Principal]]
    ) -> Principal:
        """The principal under `key`, from memory or by `ask`; what `ask` raises is not remembered."""
        kept = self._memory.get(key)
        if kept is not None and self._heard and now_s < kept[1]:
            return kept[0]
        told = self._told
        principal = await ask()
        if self._heard and told == self._told:
            if len(self._memory) >= limits.RIGHTS_REMEMBERED:
                self._memory.clear()
            self._memory[key] = (principal, now_s + limits.RIGHTS_FRESH_S)
        return principal

    def tell(self, news: Revocation) -> None:
        """Forget what `news` touches and pass it on."""
        if news.kind == "keys":
            self._keys_stale.set()
            return
        self._told += 1
        self._memory = {k: v for k, v in self._memory.items() if not _touches(news, k, v[0])}
        for listener in list(self._listeners):
            try:
                listener(news)
            except Exception:
                log.exception("identity.listener_failed")

    def _received(self, connection: Any, pid: int, channel: str, payload: Any) -> None:
        try:
            news = msgspec.json.decode(payload, type=Revocation)
        except msgspec.MsgspecError:
            news = Revocation(kind="lost")
        self.tell(news)

    async def _listen(self, first: asyncio.Event) -> None:
        wait_s = limits.RECONNECT_FIRST_S
        while True:
            try:
                async with self._database.cloud.pool.acquire(
                    timeout=limits.IDENTITY_ANSWER_S
                ) as connection:
                    await connection.add_listener(CHANNEL, self._received)
                    self._heard, wait_s = True, limits.RECONNECT_FIRST_S
                    if first.is_set():
                        self._keys_stale.set()
                        await self._catch_up()
                    first.set()
                    try:
                        await self._attend(connection)
                    finally:
                        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                            await connection.remove_listener(CHANNEL, self._received)
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                BeiraError,
            ) as error:
                log.warning("identity.listen_lost", why=str(error))
            except Exception:
                log.exception("identity.listen_failed")
            finally:
                self._heard = False
                self._memory.clear()
                first.set()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, limits.IDENTITY_RETRY_S)

    async def _catch_up(self) -> None:
        """Tell what was revoked while nothing was heard, and then that rights may have changed too."""
        async with self._database.open() as connection:
            since = self._heard_s - limits.CLOCKS_APART_S
            rows = await connection.fetch("SELECT * FROM revoked_since($1)", since)
        for row in rows:
            self.tell(Revocation(kind=row["kind"], id=row["id"], tenant=row["tenant"]))
        self.tell(Revocation(kind="lost"))

    async def _attend(self, connection: Any) -> None:
        """Until the connection ends: ask now and then whether it still lives, and reload keys."""
        ended = asyncio.Event()

        def end(_: Any) -> None:
            ended.set()
            self._keys_stale.set()  # wakes the wait below

        connection.add_termination_listener(end)
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._keys_stale.wait(), limits.RIGHTS_FRESH_S / 2)
            if self._keys_stale.is_set() and not ended.is_set():
                self._keys_stale.clear()
                await self._on_keys()
            await connection.fetchval("SELECT 1", timeout=limits.IDENTITY_ANSWER_S)
            self._heard_s = self._now()


def _touches(news: Revocation, key: str, principal: Principal) -> bool:
    if news.kind == "lost":
        return True
    if news.kind == "tenant":
        return principal.tenant == news.tenant
    if news.kind == "session":
        return key == f"session:{news.id}"
    return principal.id == news.id

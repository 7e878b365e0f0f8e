"""A disk that takes its time, fills up, and loses what was not yet written when the power goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from beira.kernel.collection import Lane
from beira.kernel.errors import Full, Unavailable
from beira.kernel.record import Row, Value
from beira.store.memory import MemoryStore
from beira.store.port import Commit, Dropped, News, Route

T = TypeVar("T")
Committed = Callable[[Sequence[Row], Mapping[str, Value], Mapping[str, Value]], None]


class PowerCut(Unavailable):
    """The machine is off. Nobody is told whether what was being written is there."""


class SimDisk:
    """A program's hold on a `MemoryStore`, which is what the disk keeps. A write is there some time
    before its caller hears of it, so a power cut meanwhile may leave all of it, or nothing."""

    def __init__(self, kept: MemoryStore, chance: random.Random | None = None) -> None:
        self.kept = kept
        self.full = False
        self.deaf = False
        self.stalled = asyncio.Event()
        self.stalled.set()
        self.committing: Callable[[Sequence[Row]], None] | None = None
        self.committed: Committed | None = None
        self._chance = chance
        self._on = True
        self._turn = asyncio.Lock()
        self._ends: list[Callable[[], None]] = []
        self._listeners: list[Callable[[News], None]] = []

    @property
    def registry(self) -> Any:
        return self.kept.registry

    @property
    def tenant(self) -> str:
        return self.kept.tenant

    def cut(self) -> None:
        """The power goes."""
        self._on = False
        self.stalled.set()
        for end in self._ends:
            end()

    async def commit(
        self,
        rows: Sequence[Row],
        *,
        route: Route | None = None,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
        dropped: Dropped | None = None,
    ) -> Commit:
        rows = list(rows)
        if self.full and any(row.stamp.lane < Lane.CRITICAL for row in rows):
            raise Full("The disk is full.", code="disk.full")

        async def work() -> Commit:
            if self.committing is not None:
                self.committing(rows)
            done = await self.kept.commit(
                rows, route=route, marks=marks, expect=expect, dropped=dropped
            )
            if self.committed is not None:
                self.committed(rows, marks or {}, expect or {})
            return done

        return await self._write(work)

    async def trim(
        self, stream: str, upto: int, *, marks: Mapping[str, Value] | None = None
    ) -> None:
        await self._write(lambda: self.kept.trim(stream, upto, marks=marks))

    async def restamp(self, streams: Sequence[str], node: str, ceiling: int, floor: int = 0) -> int:
        return await self._write(lambda: self.kept.restamp(streams, node, ceiling, floor))

    async def relog(self, keys: Sequence[tuple[str, str]], route: Route) -> int:
        return await self._write(lambda: self.kept.relog(keys, route))

    async def remove(self, keys: Sequence[tuple[str, str]]) -> int:
        return await self._write(lambda: self.kept.remove(keys))

    async def forget(self, collection: str, before_hlc: int, *, most: int = 1_000) -> int:
        return await self._write(lambda: self.kept.forget(collection, before_hlc, most=most))

    async def collect(
        self, stream: str, upto: int, before_hlc: int, *, floor: str, most: int = 1_000
    ) -> int:
        return await self._write(
            lambda: self.kept.collect(stream, upto, before_hlc, floor=floor, most=most)
        )

    def subscribe(self, listener: Callable[[News], None]) -> Callable[[], None]:
        """News may come a little late, as a NOTIFY does, and not at all while `deaf`."""
        loop = asyncio.get_running_loop()

        def told(news: News) -> None:
            if self._on and not self.deaf:
                listener(news)

        def soon(news: News) -> None:
            if self._chance is None:
                told(news)
            else:
                loop.call_later(self._chance.random() / 10, told, news)

        end = self.kept.subscribe(soon)
        self._ends.append(end)
        self._listeners.append(listener)

        def over() -> None:
            end()
            if listener in self._listeners:
                self._listeners.remove(listener)

        return over

    def hears_again(self) -> None:
        """What listens to the database was away: anything may have changed."""
        self.deaf = False
        for listener in list(self._listeners):
            listener(News(tenant=self.tenant, rows=()))

    def __getattr__(self, name: str) -> Any:
        """Reading: no different from the store's, but for a machine that is off."""
        read = getattr(self.kept, name)

        async def reading(*args: Any, **kwargs: Any) -> Any:
            await self.stalled.wait()
            self._check()
            return await read(*args, **kwargs)

        return reading

    async def _write(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            await self._pass(0.02)
            done = await work()
            await self._pass(0.01)
        return done

    async def _pass(self, most_s: float) -> None:
        await self.stalled.wait()
        if self._chance is not None:
            await asyncio.sleep(self._chance.random() * most_s)
        self._check()

    def _check(self) -> None:
        if not self._on:
            raise PowerCut("The power is off.", code="power.cut")

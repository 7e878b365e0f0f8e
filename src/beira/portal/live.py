"""What an open page hears: that records of some collection changed, and whether the database answers.

Only names of collections travel, never records: the page asks again for the part it shows, through
the same door as ever, so that nothing can reach it here that it may not see. One stream a page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from beira.host import Host, News, tracing
from beira.kernel import limits
from beira.kernel.access import Principal, may_read, partitions
from beira.kernel.errors import BeiraError, TooMany

log = structlog.get_logger(__name__)
GATHER_S = 0.05
HEARTBEAT_S = 15.0
PULSE_S = 2.0
STREAMS_PER_PERSON = limits.STREAMS_PER_PERSON
RETRY_MS = 1_500

Still = Callable[[], Awaitable[Principal]]


@dataclass(eq=False)
class Ear:
    """One open page. `wake` is set when there is something to say. The first news goes out at once;
    what follows within `GATHER_S` goes together."""

    principal: Principal
    host: Host
    names: set[str] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    recheck: bool = False
    told_at_s: float = 0.0

    def heard(self, news: News) -> None:
        """Take note of what changed and may be known to this person."""
        granted = partitions(self.principal)
        registry = self.host.store.registry
        for collection, _, partition in news.rows:
            if collection in self.names or (granted is not None and partition not in granted):
                continue
            if collection in registry and may_read(self.principal, registry[collection]):
                self.names.add(collection)
        if self.names:
            self.wake.set()
            tracing.shown(news.rows)

    def say(self, name: str) -> None:
        self.names.add(name)
        self.wake.set()


class Live:
    """All open streams of this process, and the pulse of the database they look at."""

    def __init__(self) -> None:
        self._ears: set[Ear] = set()
        self._pulse: asyncio.Task[None] | None = None
        self.up = True
        self.down_since_s = 0.0
        self._closed = False

    def open(self, principal: Principal, host: Host) -> Ear:
        """Raises TooMany when the person, or everybody, has too many pages open."""
        mine = sum(ear.principal.id == principal.id for ear in self._ears)
        if mine >= STREAMS_PER_PERSON or len(self._ears) >= limits.SUBSCRIBERS:
            raise TooMany("Too many pages are open.", retry_after_s=30, code="live.too_many")
        return Ear(principal, host)

    def _listen(self, ear: Ear) -> None:
        self._ears.add(ear)
        if self._pulse is None or self._pulse.done():
            self._pulse = asyncio.create_task(self._beat())

    async def events(
        self,
        ear: Ear,
        *,
        expires_at: float,
        still: Still,
        stopping: asyncio.Event | None,
    ) -> AsyncIterator[bytes]:
        """The stream's bytes, until it expires, its right ends or the server stops.

        `still` is awaited when rights may have changed, and raises BeiraError when they ended.
        """
        end = ear.host.store.subscribe(ear.heard)
        self._listen(ear)
        try:
            yield f"retry: {RETRY_MS}\nevent: hello\ndata: {'up' if self.up else 'down'}\n\n".encode()
            while not self._closed and not (stopping and stopping.is_set()):
                await self._wait(ear, stopping)
                if time.time() >= expires_at:
                    return
                if ear.recheck and not await _holds(ear, still):
                    yield b"event: bye\ndata: -\n\n"
                    return
                names, ear.names = sorted(ear.names), set()
                yield b"".join(_event(name) for name in names) or b": still\n\n"
        finally:
            end()
            self._ears.discard(ear)

    async def _wait(self, ear: Ear, stopping: asyncio.Event | None) -> None:
        waits = [asyncio.ensure_future(e.wait()) for e in (ear.wake, stopping) if e is not None]
        try:
            await asyncio.wait(waits, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        soon = ear.told_at_s + GATHER_S - time.monotonic()
        if ear.wake.is_set() and soon > 0 and not (stopping and stopping.is_set()):
            await asyncio.sleep(soon)
        ear.told_at_s = time.monotonic()
        ear.wake.clear()

    def recheck(self, touched: Callable[[Principal], bool]) -> None:
        """Have those whom `touched` says look again at whether they may still listen."""
        for ear in self._ears:
            if touched(ear.principal):
                ear.recheck = True
                ear.wake.set()

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        for ear in self._ears:
            ear.wake.set()
        if self._pulse is not None:
            self._pulse.cancel()
            with suppress(asyncio.CancelledError):
                await self._pulse

    async def _beat(self) -> None:
        """While somebody listens, ask the database whether it is there, and tell of a change."""
        while self._ears and not self._closed:
            await self._ask(next(iter(self._ears)).host)
            await asyncio.sleep(PULSE_S)

    async def _ask(self, host: Host) -> None:
        try:
            async with asyncio.timeout(limits.PULSE_TIMEOUT_S):
                await host.store.marks("portal.")
            up = True
        except (BeiraError, TimeoutError, OSError):
            up = False
        if up != self.up:
            self.up = up
            self.down_since_s = 0.0 if up else time.time()
            log.info("portal.database", up=up)
            for ear in self._ears:
                ear.say("back" if up else "outage")


async def _holds(ear: Ear, still: Still) -> bool:
    ear.recheck = False
    try:
        ear.principal = await still()
    except BeiraError as error:
        return error.status >= 500
    return True


def _event(name: str) -> bytes:
    return f"event: live\ndata: {name}\n\n".encode()

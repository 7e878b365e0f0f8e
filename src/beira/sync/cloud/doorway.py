"""How many nodes come in at once, and how many of their requests are served at once.

A node's coming is the dearest moment of its session, and after an outage all of a cloud's nodes come
together: let in a few at a time they are all back sooner than if each waited on the others' half-done
work until it gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.errors import TooMany, Unavailable

RETRY_AFTER_S = 1.0


class Doorway:
    """Few are in it, some wait in line, the others are asked to come again later."""

    def __init__(
        self, at_once: int = limits.OPENINGS_AT_ONCE, waiting: int = limits.OPENINGS_WAITING
    ) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most_waiting = waiting
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and have it. Raises Unavailable `sync.busy` when too many wait already."""
        if self._waiting >= self._most_waiting:
            raise Unavailable(
                "Too many nodes come at this moment.",
                code="sync.busy",
                hint="Come again later; a node does so by itself.",
            )
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()


class Turnstile:
    """Lets through so many requests for `what` at a time, of each principal and of all: their bodies
    are held in memory."""

    def __init__(self, what: str, each: int, all_together: int) -> None:
        self._what, self._each, self._all = what, each, all_together
        self._of: dict[tuple[str, str], int] = {}

    @contextmanager
    def passing(self, who: Principal) -> Iterator[None]:
        """Raises TooMany."""
        key = (who.tenant, who.id)
        mine = self._of.get(key, 0)
        if mine >= self._each or sum(self._of.values()) >= self._all:
            raise TooMany(f"Too many {self._what} at once.", retry_after_s=RETRY_AFTER_S)
        self._of[key] = mine + 1
        try:
            yield
        finally:
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]

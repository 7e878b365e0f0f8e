"""How many nodes come in at once. A node's coming is the dearest moment of its session, and after an
outage all of a cloud's nodes come together: let in a few at a time they are all back sooner than if each
waited on the others' half-done work until it gave up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from beira.kernel import limits
from beira.kernel.errors import Unavailable


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

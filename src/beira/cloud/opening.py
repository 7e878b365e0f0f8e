"""Reaching the database at the start: it may come up after us, and a service that ends over that would
have to be started by hand at three in the morning.

Until it is there the program serves all the same: what it is asked raises Unavailable, which pages and
API tell as such, and `/healthz` says degraded. What waiting cannot cure (a wrong password, a database
that does not exist, rights that are missing, another server's key) ends the program with its error.
"""

from __future__ import annotations

import asyncio

import structlog

from beira.identity import Identity
from beira.kernel import limits
from beira.kernel.errors import Unavailable
from beira.store.postgres import PostgresCloud

log = structlog.get_logger(__name__)


class Opening:
    """Connects the database and starts identity on it: at once, or again and again."""

    def __init__(self, database: PostgresCloud, identity: Identity, *, persevere: bool) -> None:
        self._database = database
        self._identity = identity
        self._persevere = persevere
        self._trying: asyncio.Task[None] | None = None
        self.done = False

    @property
    def away(self) -> bool:
        """Whether the database is not there, as far as is known without asking it."""
        return not self.done or self._database.away

    async def begin(self) -> None:
        """Try once; if the database is away and may come, go on trying beside.

        Raises: Misconfigured, Corrupt; Unavailable unless it perseveres.
        """
        try:
            await self._open()
        except Unavailable as error:
            if not self._persevere:
                raise
            self._trying = asyncio.create_task(self._again(error), name="beira-database")

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`. Raises what showed meanwhile that the database will never be usable."""
        if self._trying is not None:
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({stopped, self._trying}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
            if self._trying.done():
                self._trying.result()
        await stop.wait()

    async def close(self) -> None:
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)

    async def _open(self) -> None:
        await self._database.connect()
        await self._identity.start()
        self.done = True

    async def _again(self, error: Unavailable) -> None:
        wait_s = limits.RECONNECT_FIRST_S
        while not self.done:
            log.warning("cloud.database_away", why=error.message, again_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, limits.DATABASE_RETRY_S)
            try:
                await self._open()
            except Unavailable as again:
                error = again
        log.info("cloud.database_there")

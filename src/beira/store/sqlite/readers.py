"""Readers beside the writer: a few threads, each with its connection. WAL lets them read meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from beira.kernel import limits
from beira.kernel.errors import Unavailable
from beira.store.sqlite.files import connect, explained

T = TypeVar("T")

WAITING = limits.READS_WAITING
"""Reads that may wait; more are refused, for whoever asks has given up by then."""


TIMEOUT_S = limits.READ_TIMEOUT_S
_STEPS = 50_000
"""SQLite's own instructions between two looks at the clock: some milliseconds."""


class Readers:
    def __init__(self, path: Path, key: bytes | None) -> None:
        self._path = path
        self._key = key
        self._mine = threading.local()
        self._connections: list[apsw.Connection] = []
        self._waiting = 0
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(
            limits.READER_THREADS, f"reader {path.name}"
        )

    async def run(
        self, read: Callable[[apsw.Connection], T], *, timeout_s: float | None = None
    ) -> T:
        """Do `read` on a connection within one snapshot, for `timeout_s` (or TIMEOUT_S) at most.

        Raises: Unavailable `store.closed`, `reads.full`, `query.slow`; and what `files.explained`
        makes of an error.
        """
        if self._pool is None:
            raise Unavailable("The store is closed.", code="store.closed")
        if self._waiting >= WAITING:
            raise Unavailable(
                f"{WAITING} reads are waiting already.", code="reads.full", hint="Try again soon."
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._read, read, timeout_s)
        finally:
            self._waiting -= 1

    def _read(self, read: Callable[[apsw.Connection], T], timeout_s: float | None) -> T:
        end = time.monotonic() + (TIMEOUT_S if timeout_s is None else timeout_s)
        try:
            connection = self._connection()
            connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except apsw.Error as error:
            raise explained(error, self._path) from error

    def _connection(self) -> apsw.Connection:
        found: apsw.Connection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = self._mine.connection = connect(self._path, self._key, writer=False)
            self._connections.append(found)
        return found

    def close(self) -> None:
        """Finish what waits. Not to be called on the event loop."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close(True)
        self._connections.clear()

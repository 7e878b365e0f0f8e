"""Group commit: one thread takes all the writes that wait and commits them together.

A sync of the disk costs milliseconds and writing a row microseconds, so while one group is being
synced the next gathers. Each write has a savepoint of its own: one that fails does not fail the
others. A write is answered only after the COMMIT that holds it (law 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw

from beira.kernel import limits
from beira.kernel.errors import Full, Unavailable
from beira.store.sqlite.changes import Changes
from beira.store.sqlite.files import explained, free_bytes, full
from beira.store.sqlite.room import Ballast

T = TypeVar("T")
REST_AFTER_S = 30.0
"""With nothing to write for so long, the writer gives its page cache back to the machine."""


@dataclass(eq=False, slots=True)
class _Write:
    """One write: what to do in its savepoint, how many rows it has, and whether it may use the
    disk's reserve."""

    work: Callable[[], Any]
    weight: int
    urgent: bool
    future: asyncio.Future[Any]
    done: Callable[[Any], None] | None
    result: Any = None
    error: Exception | None = None


class Writer:
    """The thread. `run` is called on the event loop; everything else happens on the thread."""

    def __init__(self, changes: Changes, path: Path, reserve_bytes: int, ballast: Ballast) -> None:
        self._changes = changes
        self._connection = changes.connection
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._ballast = ballast
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Write] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"writer {path.name}", daemon=True)
        self._thread.start()

    async def run(
        self,
        work: Callable[[], T],
        *,
        weight: int = 1,
        urgent: bool = True,
        done: Callable[[T], None] | None = None,
    ) -> T:
        """Do `work` in a savepoint and return its result once it is durable; `done` is called with
        it on the event loop just before.

        Raises: Full `queue.full`, `disk.full`; Unavailable; Corrupt; and what `work` raises. A
        caller that is cancelled may still have written.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        write = _Write(work, weight, urgent, future, done)
        with self._wake:
            if self._closing:
                raise Unavailable("The store is closed.", code="store.closed")
            if len(self._waiting) >= limits.WRITE_QUEUE:
                raise Full(
                    f"{limits.WRITE_QUEUE} writes are waiting already.",
                    code="queue.full",
                    hint="The disk is slower than what is written: try again in a moment.",
                )
            self._waiting.append(write)
            self._wake.notify()
        return await future

    def close(self) -> None:
        """Finish what waits, then end the thread. Not to be called on the event loop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._take():
            self._write(group)
            try:
                self._loop.call_soon_threadsafe(_answer, group)
            except RuntimeError:  # the event loop is gone, and all who waited with it
                return

    def _take(self) -> list[_Write]:
        """All that waits, up to a bound; nothing once closed and empty."""
        with self._wake:
            rested = False
            while not self._waiting and not self._closing:
                if not self._wake.wait(None if rested else REST_AFTER_S):
                    rested = True
                    with contextlib.suppress(apsw.Error):
                        self._connection.execute("PRAGMA shrink_memory")
            group: list[_Write] = []
            weight = 0
            while self._waiting and weight < limits.GROUP_COMMIT_CHANGES:
                write = self._waiting.popleft()
                weight += write.weight
                group.append(write)
            return group

    def _write(self, group: list[_Write]) -> None:
        """Commit a group. If that fails, each gets a try alone: the urgent ones first."""
        try:
            admitted = self._admitted(group)
            if not admitted or self._commit(admitted):
                return
            if not self._more_room(admitted) and len(admitted) == 1:
                return
            for write in sorted(admitted, key=lambda write: not write.urgent):
                write.error = None
                self._commit([write])
        except Exception as error:
            for write in group:
                write.error = explained(error, self._path)

    def _admitted(self, group: list[_Write]) -> list[_Write]:
        """Those that may write: below the reserve only what is urgent, and what frees room."""
        if all(write.urgent for write in group):
            return group
        free = free_bytes(self._path)
        if free >= self._reserve_bytes:
            self._ballast.keep()
            return group
        for write in group:
            if not write.urgent:
                write.error = full(
                    self._path, f"{free} bytes are free, all kept for critical records"
                )
        return [write for write in group if write.urgent]

    def _more_room(self, refused: list[_Write]) -> bool:
        """Give up what is kept for the worst day, if it would let something urgent in."""
        wanted = any(write.urgent and isinstance(write.error, Full) for write in refused)
        return wanted and self._ballast.give_up()

    def _commit(self, group: list[_Write]) -> bool:
        """One transaction for all of them; False if it failed as a whole, with the error in each."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write in group:
                self._one(write)
            self._changes.keep_counters()
            self._connection.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            for write in group:
                write.error = explained(error, self._path)
            return False
        return True

    def _one(self, write: _Write) -> None:
        """One write in its savepoint. Raises only what ends the whole transaction."""
        self._connection.execute("SAVEPOINT one")
        try:
            write.result = write.work()
        except Exception as error:
            if not self._connection.in_transaction or isinstance(error, _FATAL):
                raise
            self._connection.execute("ROLLBACK TO one")
            write.error = explained(error, self._path) if isinstance(error, apsw.Error) else error
        self._connection.execute("RELEASE one")

    def _roll_back(self) -> None:
        self._changes.rolled_back()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            pass  # the next BEGIN fails with the reason, and is answered with it


_FATAL = (apsw.FullError, apsw.IOError, apsw.CorruptError, apsw.NoMemError)


def _answer(group: list[_Write]) -> None:
    """On the event loop: tell everybody."""
    for write in group:
        if write.error is None and write.done is not None:
            write.done(write.result)
        if write.future.done():
            continue
        if write.error is None:
            write.future.set_result(write.result)
        else:
            write.future.set_exception(write.error)

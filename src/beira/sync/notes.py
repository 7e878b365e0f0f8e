"""What the cloud writes down of its nodes: how they are and how far they got. None of it is acknowledged,
all of it is frequent, so what many nodes say meanwhile is committed together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from beira.kernel.errors import BeiraError
from beira.kernel.record import Row
from beira.store.port import Store

MOST = 500
"""Notes in one commit."""
PAUSE_S = 0.25
"""From one commit to the next: what hundreds of nodes say in that time costs as much as what one says.
The first after a rest goes at once."""


@dataclass(eq=False, slots=True)
class _Note:
    rows: list[Row]
    marks: dict[str, int]
    written: asyncio.Future[None] = field(default_factory=asyncio.Future)


class Notes:
    """One tenant's. While a commit is under way the next ones gather."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: list[_Note] = []
        self._task: asyncio.Task[None] | None = None
        self._next_s = 0.0

    async def write(self, *rows: Row, marks: dict[str, int] | None = None) -> None:
        """Returns once it is on disk. Raises what the commit raised."""
        note = _Note(list(rows), marks or {})
        self._waiting.append(note)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
        await note.written

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(max(0.0, self._next_s - loop.time()))
            self._next_s = loop.time() + PAUSE_S
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            if not await self._commit(group):
                for note in group:
                    await self._commit([note])

    async def _commit(self, group: list[_Note]) -> bool:
        """Whether it is decided: a group that fails is tried again one by one."""
        marks = {mark: upto for note in group for mark, upto in note.marks.items()}
        try:
            await self.store.commit([row for note in group for row in note.rows], marks=marks)
        except BeiraError as error:
            if len(group) > 1:
                return False
            self._answer(group, error)
        except BaseException:
            self._answer(group, asyncio.CancelledError())
            raise
        else:
            self._answer(group, None)
        return True

    @staticmethod
    def _answer(group: list[_Note], error: BaseException | None) -> None:
        for note in group:
            if note.written.done():
                continue
            if error is None:
                note.written.set_result(None)
            elif isinstance(error, asyncio.CancelledError):
                note.written.cancel()
            else:
                note.written.set_exception(error)

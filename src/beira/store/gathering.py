"""Questions that many ask at once, asked together: while one question is under way the next ones gather,
and one round trip to the database answers all of them. At rest a question goes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from beira.kernel import limits
from beira.kernel.errors import BeiraError, Unavailable

Q = TypeVar("Q")
A = TypeVar("A")


class Gathering(Generic[Q, A]):
    """`together` answers questions in their order; an error among its answers is raised to who asked.

    What it raises itself is raised to all if the database is away; else each is asked again alone, so
    that one question that cannot be answered spoils no other. `pause_s` passes from one group's
    beginning to the next one's: what gathers in that time costs as much as one.
    """

    __slots__ = ("_most", "_next_s", "_pause_s", "_task", "_together", "_waiting")

    def __init__(
        self,
        together: Callable[[list[Q]], Awaitable[Sequence[A | BeiraError]]],
        *,
        pause_s: float = 0.0,
        most: int = limits.QUESTIONS_GATHERED,
    ) -> None:
        self._together = together
        self._pause_s, self._most = pause_s, most
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._task: asyncio.Task[None] | None = None
        self._next_s = 0.0

    async def ask(self, question: Q) -> A:
        """The answer. Whoever is cancelled meanwhile cancels nobody's question."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(max(0.0, self._next_s - loop.time()))
            self._next_s = loop.time() + self._pause_s
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._answer(group)

    async def _answer(self, group: list[tuple[Q, asyncio.Future[A]]]) -> None:
        answers: Sequence[A | Exception]
        try:
            answers = await self._together([question for question, _ in group])
        except BeiraError as error:
            if len(group) > 1 and not isinstance(error, Unavailable):
                for one in group:
                    await self._answer([one])
                return
            answers = [error] * len(group)
        except Exception as error:  # a fault: who asked hears of it, and those that wait go on
            answers = [error] * len(group)
        except BaseException:
            for _, future in [*group, *self._waiting]:
                future.cancel()
            raise
        for (_, future), answer in zip(group, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

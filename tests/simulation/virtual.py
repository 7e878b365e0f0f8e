"""Virtual time: an event loop whose clock jumps to the next thing due instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
MOST_S = 30_000
"""No world lives longer: one that does is stuck."""
ENDINGS = 20
"""Tasks that end may begin others, to say goodbye."""


class _Jumping(selectors.SelectSelector):
    """Never waits; tells the loop how far it may jump."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError(
                    "the simulated world stands still: everything waits for everything"
                )
            self.loop.now_s += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


async def _bounded(main: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(main)
    done, _ = await asyncio.wait({task}, timeout=MOST_S)
    if not done:
        stuck = "\n".join(str(frame) for frame in task.get_stack())
        raise RuntimeError(f"the simulated world waits for ever: {stuck} {task}")
    return task.result()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_bounded(main))
    finally:
        for _ in range(ENDINGS):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        loop.close()

"""A run taken from step to step until all of it waits or it has ended. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from beira.apps.home.scenarios.program import (
    Again,
    Await,
    BranchEnd,
    Do,
    End,
    Fork,
    Jump,
    Pause,
    Reset,
    Step,
    Unless,
)
from beira.apps.home.scenarios.spec import Condition
from beira.apps.home.scenarios.state import Run, Thread

LEAST_MS = 50
STEPS_AT_ONCE = 10_000
"""As many steps without any wait are a loop without an end."""


@dataclass(frozen=True, slots=True)
class Stepper:
    """Takes runs on. `hold` says whether conditions hold now, `do` is given what is to be done, with its
    place."""

    steps: tuple[Step, ...]
    now_ms: int
    hold: Callable[[tuple[Condition, ...]], bool]
    do: Callable[[int, Do], None]

    def go(self, run: Run, thread: Thread) -> str | None:
        """From where `thread` is. Why the run has ended ("": it is through), or None while it waits."""
        ready = [thread]
        for _ in range(STEPS_AT_ONCE):
            if not ready:
                return None
            step = self.steps[ready[-1].place]
            if isinstance(step, End):
                return step.why
            self._take(step, run, ready)
        return "endless"

    def _take(self, step: Step, run: Run, ready: list[Thread]) -> None:
        thread = ready[-1]
        place = thread.place
        thread.place += 1
        match step:
            case Do():
                self.do(place, step)
            case Pause() | Await():
                if self._waits(step, thread):
                    ready.pop()
            case Fork() | BranchEnd():
                self._branch(step, run, ready)
            case _:
                self._move(step, thread)

    def _waits(self, step: Pause | Await, thread: Thread) -> bool:
        """Put a thread to sleep, but for no time at all: what waits so would keep the hub busy for ever
        where scenarios set each other going."""
        wait_s = step.for_s if isinstance(step, Pause) else step.timeout_s
        if wait_s <= 0:
            return False
        if isinstance(step, Await):
            thread.place -= 1
        thread.due_ms = self.now_ms + max(LEAST_MS, round(wait_s * 1000))
        return True

    def _move(self, step: Step, thread: Thread) -> None:
        match step:
            case Jump(to):
                thread.place = to
            case Unless(conditions, to):
                if not self.hold(conditions):
                    thread.place = to
            case Again(counter, most, to):
                turns = thread.counters.get(counter, 0)
                if turns >= most:
                    thread.place = to
                else:
                    thread.counters[counter] = turns + 1
            case Reset(counter):
                thread.counters.pop(counter, None)

    def _branch(self, step: Fork | BranchEnd, run: Run, ready: list[Thread]) -> None:
        thread = ready[-1]
        if isinstance(step, Fork):
            thread.place, thread.branches = step.to, len(step.starts)
            if step.starts:
                ready.pop()
            for start in reversed(step.starts):
                made = Thread(run.given, start, dict(thread.counters), None, thread.id)
                run.given += 1
                run.threads.append(made)
                ready.append(made)
            return
        ready.pop()
        run.threads.remove(thread)
        parent = next(one for one in run.threads if one.id == thread.parent)
        parent.branches -= 1
        if parent.branches == 0:
            ready.append(parent)

"""A scenario's actions as a list of steps with jumps, so that where a run is can be kept as a number.

A power cut then costs nothing: a run is its place in this list, its counters and when it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from beira.apps.home.scenarios.spec import (
    Action,
    Choose,
    Command,
    Condition,
    Delay,
    Notify,
    OnEvent,
    OnNumber,
    OnState,
    Parallel,
    Repeat,
    Scenario,
    Scene,
    Script,
    Stop,
    Tell,
    Wait,
)

TURNS_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Do:
    """Something whose effect is outside."""

    action: Command | Notify | Scene | Script | Tell


@dataclass(frozen=True, slots=True)
class Pause:
    for_s: float


@dataclass(frozen=True, slots=True)
class Await:
    until: tuple[OnState | OnNumber | OnEvent, ...]
    timeout_s: float
    go_on: bool


@dataclass(frozen=True, slots=True)
class Jump:
    to: int


@dataclass(frozen=True, slots=True)
class Unless:
    """Jump where not all of the conditions hold."""

    conditions: tuple[Condition, ...]
    to: int


@dataclass(frozen=True, slots=True)
class Again:
    """Count a turn; jump once there were `most`."""

    counter: int
    most: int
    to: int


@dataclass(frozen=True, slots=True)
class Reset:
    counter: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Begin a branch at each place; go on when all have come to their `BranchEnd`."""

    starts: tuple[int, ...]
    to: int


@dataclass(frozen=True, slots=True)
class BranchEnd:
    pass


@dataclass(frozen=True, slots=True)
class End:
    why: str = ""


Step: TypeAlias = Do | Pause | Await | Jump | Unless | Again | Reset | Fork | BranchEnd | End


@dataclass(frozen=True, slots=True)
class Program:
    """`fingerprint` is another one for other actions: a run of it cannot go on in this one."""

    steps: tuple[Step, ...]
    fingerprint: str


def compiled(scenario: Scenario) -> Program:
    """The steps of a scenario's actions."""
    made = _Maker()
    made.add_all(scenario.actions)
    made.steps.append(End())
    text = msgspec.json.encode(scenario.actions, order="deterministic")
    return Program(tuple(made.steps), blake2b(text, digest_size=8).hexdigest())


@dataclass
class _Maker:
    steps: list[Step] = field(default_factory=list)
    counters: int = 0

    def add_all(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._add(action)

    def _add(self, action: Action) -> None:
        match action:
            case Delay(for_s=for_s):
                self.steps.append(Pause(for_s))
            case Wait(until=until, timeout_s=timeout_s, go_on=go_on):
                self.steps.append(Await(until, timeout_s, go_on))
            case Choose():
                self._choose(action)
            case Repeat():
                self._repeat(action)
            case Parallel():
                self._parallel(action)
            case Stop(why=why):
                self.steps.append(End(why or "stop"))
            case _:
                self.steps.append(Do(action))

    def _choose(self, action: Choose) -> None:
        ends = []
        for choice in action.choices:
            test = self._place()
            self.add_all(choice.actions)
            ends.append(self._place())
            self.steps[test] = Unless(choice.conditions, len(self.steps))
        self.add_all(action.otherwise)
        for end in ends:
            self.steps[end] = Jump(len(self.steps))

    def _repeat(self, action: Repeat) -> None:
        counter, self.counters = self.counters, self.counters + 1
        most = TURNS_MOST if action.count is None else action.count
        head, test = self._place(), None
        if action.while_:
            test = self._place()
        self.add_all(action.actions)
        if action.until:
            self.steps.append(Unless(action.until, head))
        else:
            self.steps.append(Jump(head))
        self.steps[head] = Again(counter, most, len(self.steps))
        if test is not None:
            self.steps[test] = Unless(action.while_, len(self.steps))
        self.steps.append(Reset(counter))

    def _parallel(self, action: Parallel) -> None:
        fork, starts = self._place(), []
        for branch in action.branches:
            starts.append(len(self.steps))
            self.add_all(branch)
            self.steps.append(BranchEnd())
        self.steps[fork] = Fork(tuple(starts), len(self.steps))

    def _place(self) -> int:
        """Room for a step that is known later."""
        self.steps.append(End("unfinished"))
        return len(self.steps) - 1

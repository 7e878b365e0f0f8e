"""What the engine is told, what it says, and what it must not forget. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from beira.apps.home.scenarios.spec import Command, Notify, Scene, Value


class Now(NamedTuple):
    """The wall clock and one that never jumps, in milliseconds."""

    wall_ms: int
    steady_ms: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A trait of a device is another."""

    device: str
    trait: str
    value: Value


@dataclass(frozen=True, slots=True)
class Happened:
    """Something with a name."""

    name: str
    data: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A scenario is to begin: one asks for another, or its turn has come."""

    scenario: str
    cause: str


Event: TypeAlias = Changed | Happened | Wanted


class Timer(Struct):
    """A trigger that holds, and must go on to until `due_ms`."""

    scenario: str
    trigger: int
    due_ms: int


class Thread(Struct):
    """A place in a run's steps. It waits for time, for events, or for its branches."""

    id: int
    place: int = 0
    counters: dict[int, int] = {}
    due_ms: int | None = None
    parent: int | None = None
    branches: int = 0


class Run(Struct):
    """A scenario under way. `cause` says what began it, `fingerprint` by which program it goes, `given`
    what number its next thread gets."""

    id: int
    scenario: str
    fingerprint: str
    cause: str
    began_ms: int
    threads: list[Thread]
    given: int = 1


class Saved(Struct):
    """All that must outlive the program. `seen_ms` is up to when times of day were looked at."""

    seen_ms: int = 0
    runs: list[Run] = []
    timers: list[Timer] = []
    queued: list[tuple[str, str]] = []
    given: int = 0


@dataclass(frozen=True, slots=True)
class Began:
    run: int
    scenario: str
    cause: str


@dataclass(frozen=True, slots=True)
class Act:
    """Carry out an action of a run, as its step `place`."""

    run: int
    scenario: str
    place: int
    action: Command | Notify | Scene


@dataclass(frozen=True, slots=True)
class Ended:
    """`why` is empty for a run that came to its end."""

    run: int
    scenario: str
    why: str


@dataclass(frozen=True, slots=True)
class Passed:
    """A trigger came and nothing began: `why` is condition, single, full or late."""

    scenario: str
    cause: str
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A time came while the hub was off: people are to say whether to make up for it."""

    scenario: str
    at_ms: int


Effect: TypeAlias = Began | Act | Ended | Passed | Asked

"""What a scenario is: triggers, conditions and actions as data, as they are stored and edited.

Devices and traits are named as in the device model; durations are in seconds, times of day by the
house's clock. Everything is checked here, so that the engine meets nothing it cannot carry out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=31 * 86_400)]
OfDay: TypeAlias = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$")]
Weekday: TypeAlias = Annotated[int, Meta(ge=0, le=6)]
"""0 is Monday."""
Value: TypeAlias = bool | int | float | str | None


class Part(Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """Anything in a scenario; `kind` says what."""


# Triggers


class AtTime(Part, frozen=True, tag="time"):
    """At a time of day, on `days` (none: every day)."""

    at: OfDay
    days: tuple[Weekday, ...] = ()


class AtCron(Part, frozen=True, tag="cron"):
    """By a cron expression of five fields, in the house's time zone."""

    expression: Annotated[str, Meta(max_length=120)]


class AtSun(Part, frozen=True, tag="sun"):
    """At sunrise or sunset, `offset_s` after it (before, if negative)."""

    event: Literal["rise", "set"]
    offset_s: Annotated[float, Meta(ge=-43_200, le=43_200)] = 0


class OnState(Part, frozen=True, tag="state"):
    """A trait of a device becomes `to` (None: anything else), was `before` (None: anything), and has
    stayed so for `for_s`."""

    device: str
    trait: str
    to: Value = None
    before: Value = None
    for_s: Seconds = 0


class OnNumber(Part, frozen=True, tag="number"):
    """A number comes to lie above and below the bounds given, and has stayed so for `for_s`."""

    device: str
    trait: str
    above: float | None = None
    below: float | None = None
    for_s: Seconds = 0


class OnEvent(Part, frozen=True, tag="event"):
    """Something with a name: `mqtt:<topic>`, `webhook:<id>`, `voice:<id>`, `person:<id>:home` and what
    scenarios tell each other. `data` must be among the event's."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    data: dict[str, Value] = {}


Trigger: TypeAlias = AtTime | AtCron | AtSun | OnState | OnNumber | OnEvent
Clockwork: TypeAlias = AtTime | AtCron | AtSun
"""Triggers that come by themselves."""


# Conditions


class StateIs(Part, frozen=True, tag="state"):
    """A trait of a device is one of the values."""

    device: str
    trait: str
    among: tuple[Value, ...]


class NumberIs(Part, frozen=True, tag="number"):
    """A number lies above and below the bounds given."""

    device: str
    trait: str
    above: float | None = None
    below: float | None = None


class TimeIs(Part, frozen=True, tag="time"):
    """From `after` until before `before`, past midnight if that is not later, on `days`. Equal times:
    the whole day."""

    after: OfDay = "00:00"
    before: OfDay = "00:00"
    days: tuple[Weekday, ...] = ()


class All(Part, frozen=True, tag="and"):
    conditions: tuple[Condition, ...]


class Some(Part, frozen=True, tag="or"):
    conditions: tuple[Condition, ...]


class Not(Part, frozen=True, tag="not"):
    """None of them holds."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = StateIs | NumberIs | TimeIs | All | Some | Not


# Actions


class Command(Part, frozen=True, tag="command"):
    """Ask a device for something its capabilities name."""

    device: str
    command: str
    params: dict[str, Any] = {}


class Notify(Part, frozen=True, tag="notify"):
    """Tell people. `to` names them (none: all of the house's)."""

    text: Annotated[str, Meta(min_length=1, max_length=500)]
    to: tuple[str, ...] = ()
    level: Literal["info", "warning", "critical"] = "info"


class Scene(Part, frozen=True, tag="scene"):
    """Bring devices to the states that a scene has kept."""

    scene: str


class Script(Part, frozen=True, tag="script"):
    """Begin another scenario, and do not wait for it."""

    scenario: str


class Tell(Part, frozen=True, tag="event"):
    """Let an event happen, for other scenarios."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    data: dict[str, Value] = {}


class Delay(Part, frozen=True, tag="delay"):
    for_s: Seconds


class Wait(Part, frozen=True, tag="wait"):
    """Until one of the triggers comes, at most `timeout_s`; then go on, or end the run. (At a `timeout_s`
    of 0 nothing is waited for.)"""

    until: tuple[OnState | OnNumber | OnEvent, ...]
    timeout_s: Seconds = 3_600
    go_on: bool = True


class Choice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do where all of the conditions hold."""

    conditions: tuple[Condition, ...]
    actions: tuple[Action, ...]


class Choose(Part, frozen=True, tag="choose"):
    """The first choice that holds; else `otherwise`."""

    choices: tuple[Choice, ...]
    otherwise: tuple[Action, ...] = ()


class Repeat(Part, frozen=True, tag="repeat"):
    """`actions` again and again: `count` times, while conditions hold (asked before each turn), or until
    they do (asked after it); 10,000 times at most."""

    actions: tuple[Action, ...]
    count: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    while_: tuple[Condition, ...] = ()
    until: tuple[Condition, ...] = ()


class Parallel(Part, frozen=True, tag="parallel"):
    """Branches at once; what follows waits for all of them."""

    branches: tuple[tuple[Action, ...], ...]


class Stop(Part, frozen=True, tag="stop"):
    """The run ends here."""

    why: str = ""


Action: TypeAlias = (
    Command | Notify | Scene | Script | Tell | Delay | Wait | Choose | Repeat | Parallel | Stop
)
Mode: TypeAlias = Literal["single", "restart", "queued", "parallel"]
Missed: TypeAlias = Literal["late", "skip", "ask"]


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`mode` says what another trigger does while a run goes on, of which there are `most` at most.
    `missed` says what becomes of a time that came while the hub was off, if it is not older than
    `late_s`."""

    id: str
    name: str
    triggers: Annotated[tuple[Trigger, ...], Meta(max_length=50)] = ()
    conditions: Annotated[tuple[Condition, ...], Meta(max_length=50)] = ()
    actions: Annotated[tuple[Action, ...], Meta(max_length=200)] = ()
    mode: Mode = "single"
    most: Annotated[int, Meta(ge=1, le=100)] = 10
    missed: Missed = "skip"
    late_s: Seconds = 3_600
    active: bool = True

"""Whether a value, an event or the hour is what a scenario is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from beira.apps.home.scenarios.program import Await
from beira.apps.home.scenarios.spec import (
    All,
    Condition,
    Not,
    NumberIs,
    OnEvent,
    OnNumber,
    OnState,
    Some,
    StateIs,
    TimeIs,
    Trigger,
    Value,
)
from beira.apps.home.scenarios.state import Changed, Event, Happened
from beira.apps.home.scenarios.when import House, moment, open_at

States = Mapping[tuple[str, str], Value]


def hold(conditions: Iterable[Condition], states: States, wall_ms: int, house: House) -> bool:
    """Whether all of the conditions hold."""
    return all(holds(condition, states, wall_ms, house) for condition in conditions)


def holds(condition: Condition, states: States, wall_ms: int, house: House) -> bool:
    match condition:
        case StateIs(device=device, trait=trait, among=among):
            return any(same(states.get((device, trait)), one) for one in among)
        case NumberIs(device=device, trait=trait, above=above, below=below):
            return between(states.get((device, trait)), above, below)
        case TimeIs():
            return open_at(condition, moment(wall_ms), house)
        case All(conditions=parts):
            return hold(parts, states, wall_ms, house)
        case Some(conditions=parts):
            return any(holds(part, states, wall_ms, house) for part in parts)
        case Not(conditions=parts):
            return not any(holds(part, states, wall_ms, house) for part in parts)


def met(trigger: OnState | OnNumber, value: Value) -> bool:
    """Whether the value is one that the trigger is about."""
    if isinstance(trigger, OnNumber):
        return between(value, trigger.above, trigger.below)
    return trigger.to is None or same(value, trigger.to)


def comes(trigger: OnState | OnNumber, before: Value, value: Value) -> bool:
    """Whether a change to `value`, which it is about, makes it come."""
    if isinstance(trigger, OnNumber):
        return not between(before, trigger.above, trigger.below)
    return trigger.before is None or same(before, trigger.before)


def awaited(step: Await, event: Event, before: Value) -> bool:
    """Whether an event is one that a wait is for."""
    return any(_is(trigger, event, before) for trigger in step.until)


def _is(trigger: Trigger, event: Event, before: Value) -> bool:
    match trigger, event:
        case OnEvent(name=name), Happened(happened, data):
            return name == happened and among(trigger, data)
        case ((OnState() | OnNumber()), Changed(device, trait, value)):
            about = (trigger.device, trigger.trait) == (device, trait)
            return about and met(trigger, value) and comes(trigger, before, value)
    return False


def among(trigger: OnEvent, data: Mapping[str, Value]) -> bool:
    """Whether an event's data are those that a trigger is about."""
    return all(name in data and same(data[name], one) for name, one in trigger.data.items())


def same(one: Value, other: Value) -> bool:
    """True is not 1 here."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def between(value: Value, above: float | None, below: float | None) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (above is None or value > above) and (below is None or value < below)

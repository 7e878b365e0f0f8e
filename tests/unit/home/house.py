"""A house whose time moves when told, and that remembers what its scenarios did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from beira.apps.home.scenarios.engine import Engine
from beira.apps.home.scenarios.spec import Scenario, Value
from beira.apps.home.scenarios.state import (
    Act,
    Changed,
    Effect,
    Ended,
    Happened,
    Now,
    Passed,
    Saved,
)
from beira.apps.home.scenarios.when import House

SAO_PAULO = House(ZoneInfo("America/Sao_Paulo"), -23.55, -46.63)
LISBON = House(ZoneInfo("Europe/Lisbon"), 38.72, -9.14)


def scenario(**fields: object) -> Scenario:
    """From plain data, as it is stored."""
    return msgspec.convert({"id": "s", "name": "S", **fields}, Scenario)


class Clock:
    """Both clocks."""

    def __init__(self, start: datetime) -> None:
        self.wall_ms, self.steady_ms = int(start.timestamp() * 1000), 0

    @property
    def now(self) -> Now:
        return Now(self.wall_ms, self.steady_ms)

    def go(self, ms: int) -> None:
        self.wall_ms += ms
        self.steady_ms += ms


class Running:
    """An engine with its clock. `cut` takes its power, and brings it back from what was saved."""

    def __init__(
        self,
        *scenarios: Scenario,
        start: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC),
        house: House = SAO_PAULO,
        states: Mapping[tuple[str, str], Value] | None = None,
    ) -> None:
        self.scenarios, self.house = scenarios, house
        self.clock = Clock(start)
        self.did: list[Effect] = []
        self.engine = Engine(scenarios, house, states or {})
        self._heard(self.engine.begin(self.clock.now))

    def change(self, trait: str, value: Value) -> None:
        """A trait, as `device.trait`."""
        device, _, name = trait.partition(".")
        self._heard(self.engine.hear(Changed(device, name, value), self.clock.now))

    def happen(self, name: str, **data: Value) -> None:
        self._heard(self.engine.hear(Happened(name, data), self.clock.now))

    def ask(self, scenario: str) -> None:
        self._heard(self.engine.run(scenario, "person", self.clock.now))

    def pass_(self, **span: float) -> None:
        """Time goes by; the engine is called when it asked to be."""
        until_ms = self.clock.wall_ms + round(timedelta(**span).total_seconds() * 1000)
        while True:
            due_ms = self.engine.due_ms()
            if due_ms is None or due_ms > until_ms:
                break
            self.clock.go(max(0, due_ms - self.clock.wall_ms))
            self._heard(self.engine.tick(self.clock.now))
        self.clock.go(until_ms - self.clock.wall_ms)
        self._heard(self.engine.tick(self.clock.now))

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock."""
        self.clock.wall_ms += round(by.total_seconds() * 1000)
        self._heard(self.engine.tick(self.clock.now))

    def cut(self, off: timedelta = timedelta()) -> None:
        saved = msgspec.json.decode(msgspec.json.encode(self.engine.saved), type=Saved)
        states = self.engine.states
        self.clock.go(round(off.total_seconds() * 1000))
        self.clock.steady_ms = 0
        self.engine = Engine(self.scenarios, self.house, states, saved)
        self._heard(self.engine.begin(self.clock.now))

    @property
    def commands(self) -> list[str]:
        """What devices were asked for, in order."""
        return [
            f"{effect.action.device}.{effect.action.command}"  # type: ignore[union-attr]
            for effect in self.did
            if isinstance(effect, Act)
        ]

    @property
    def passed(self) -> list[str]:
        return [effect.why for effect in self.did if isinstance(effect, Passed)]

    @property
    def ended(self) -> list[str]:
        return [effect.why for effect in self.did if isinstance(effect, Ended)]

    def _heard(self, effects: list[Effect]) -> None:
        self.did += effects


def command(device: str, name: str = "on") -> dict[str, object]:
    return {"kind": "command", "device": device, "command": name}

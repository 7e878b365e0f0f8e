"""Which scenarios run, and what they do: pure, driven by events and time, its state plain data.

The driver says what happened and when, carries out what comes back, and keeps `saved` on disk together
with it. After a power cut the engine goes on from there: delays, `for_s` and waits end when they would
have; a time that came meanwhile is made up for, skipped or asked about, as its scenario says.

Durations are measured by the steady clock: where the wall clock jumps, what is under way moves along
with it, and no time of day comes twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime

from beira.apps.home.scenarios.matching import among, awaited, comes, hold, met
from beira.apps.home.scenarios.program import Await, Do, Program, compiled
from beira.apps.home.scenarios.spec import (
    AtCron,
    AtSun,
    AtTime,
    OnEvent,
    OnNumber,
    OnState,
    Scenario,
    Script,
    Tell,
    Value,
)
from beira.apps.home.scenarios.state import (
    Act,
    Asked,
    Began,
    Changed,
    Effect,
    Ended,
    Event,
    Happened,
    Now,
    Passed,
    Run,
    Saved,
    Thread,
    Timer,
    Wanted,
)
from beira.apps.home.scenarios.stepping import Stepper
from beira.apps.home.scenarios.when import House, last_until, moment, next_after

JUMP_MS = 2_000
BACK_MS = 3_600_000
"""A clock that goes back no further repeats nothing."""
LATE_MS = 60_000
"""A time looked at so much later is one that was missed."""
EVENTS_AT_ONCE = 200
"""What one event or moment may set going, before it is taken for a loop without an end."""


class Engine:
    """One house's. `states` are the devices' traits as known at the start."""

    def __init__(
        self,
        scenarios: Iterable[Scenario],
        house: House,
        states: Mapping[tuple[str, str], Value],
        saved: Saved | None = None,
    ) -> None:
        self.saved = saved or Saved()
        self.states = dict(states)
        self._house = house
        self._scenarios: dict[str, Scenario] = {}
        self._programs: dict[str, Program] = {}
        self._by_trait: dict[tuple[str, str], list[tuple[str, int]]] = {}
        self._by_name: dict[str, list[tuple[str, int]]] = {}
        self._before: Now | None = None
        self._next_ms: int | None = None
        self._looked = False
        self._events: deque[Event] = deque()
        self._effects: list[Effect] = []
        self._take(scenarios)

    def begin(self, now: Now) -> list[Effect]:
        """The program has started: end what cannot go on, and go on with the rest."""
        if self.saved.seen_ms == 0 or self.saved.seen_ms > now.wall_ms + BACK_MS:
            self.saved.seen_ms = now.wall_ms
        self._end_unknown()
        return self.tick(now)

    def use(self, scenarios: Iterable[Scenario], now: Now) -> list[Effect]:
        """They were edited: runs of those whose actions are others end."""
        self._take(scenarios)
        self._end_unknown()
        return self.tick(now)

    def hear(self, event: Event, now: Now) -> list[Effect]:
        """Something happened."""
        self._clock(now)
        self._events.append(event)
        return self._settle(now)

    def run(self, scenario: str, cause: str, now: Now) -> list[Effect]:
        """Somebody asks for a scenario: its triggers and conditions are not looked at."""
        return self.hear(Wanted(scenario, cause), now)

    def tick(self, now: Now) -> list[Effect]:
        """Time passed."""
        self._clock(now)
        self._times(now)
        for timer in [t for t in self.saved.timers if t.due_ms <= now.wall_ms]:
            self.saved.timers.remove(timer)
            self._trigger(timer.scenario, f"trigger {timer.trigger}", now)
        for run in list(self.saved.runs):
            for thread in list(run.threads):
                due_ms = thread.due_ms if run in self.saved.runs else None
                if due_ms is not None and due_ms <= now.wall_ms:
                    self._wake(run, thread, now, came=False)
        return self._settle(now)

    def due_ms(self) -> int | None:
        """When `tick` must be called next, by the wall clock; and at once if that was set."""
        dues = [timer.due_ms for timer in self.saved.timers]
        dues += [t.due_ms for run in self.saved.runs for t in run.threads if t.due_ms is not None]
        if self._next_ms is not None:
            dues.append(self._next_ms)
        return min(dues, default=None)

    # Time

    def _clock(self, now: Now) -> None:
        """Where the wall clock jumped, durations under way move along with it."""
        before, self._before = self._before, now
        if before is None:
            return
        jump_ms = (now.wall_ms - before.wall_ms) - (now.steady_ms - before.steady_ms)
        if abs(jump_ms) < JUMP_MS:
            return
        for timer in self.saved.timers:
            timer.due_ms += jump_ms
        for run in self.saved.runs:
            for thread in run.threads:
                if thread.due_ms is not None:
                    thread.due_ms += jump_ms
        if self.saved.seen_ms > now.wall_ms + BACK_MS:
            self.saved.seen_ms = now.wall_ms
        self._looked = False

    def _times(self, now: Now) -> None:
        """Triggers that came by themselves since they were last looked at."""
        if self._looked and (self._next_ms is None or now.wall_ms < self._next_ms):
            self.saved.seen_ms = max(self.saved.seen_ms, now.wall_ms)
            return
        seen, at = moment(self.saved.seen_ms), moment(now.wall_ms)
        for scenario in self._scenarios.values():
            came = [
                last
                for trigger in scenario.triggers
                if isinstance(trigger, AtTime | AtCron | AtSun)
                and (last := last_until(trigger, seen, at, self._house)) is not None
            ]
            if came and scenario.active:
                self._came(scenario, max(came), now)
        self.saved.seen_ms = max(self.saved.seen_ms, now.wall_ms)
        self._next_ms, self._looked = self._soonest(), True

    def _came(self, scenario: Scenario, at: datetime, now: Now) -> None:
        at_ms = int(at.timestamp() * 1000)
        late_ms, cause = now.wall_ms - at_ms, f"time {at:%Y-%m-%dT%H:%M:%S}Z"
        made_up = scenario.missed == "late" and late_ms <= scenario.late_s * 1000
        if late_ms <= LATE_MS or made_up:
            self._trigger(scenario.id, cause, now)
        elif scenario.missed == "ask" and late_ms <= scenario.late_s * 1000:
            self._effects.append(Asked(scenario.id, at_ms))
        else:
            self._effects.append(Passed(scenario.id, cause, "late"))

    def _soonest(self) -> int | None:
        seen = moment(self.saved.seen_ms)
        moments = [
            following
            for scenario in self._scenarios.values()
            if scenario.active
            for trigger in scenario.triggers
            if isinstance(trigger, AtTime | AtCron | AtSun)
            and (following := next_after(trigger, seen, self._house)) is not None
        ]
        return int(min(moments).timestamp() * 1000) if moments else None

    # Events

    def _settle(self, now: Now) -> list[Effect]:
        """Deal with all events there are, those that scenarios tell each other included."""
        heard = 0
        while self._events:
            event = self._events.popleft()
            heard += 1
            if heard > EVENTS_AT_ONCE:
                self._events.clear()
                self._effects.append(Passed("", str(event), "endless"))
                break
            self._hear(event, now)
        effects, self._effects = self._effects, []
        return effects

    def _hear(self, event: Event, now: Now) -> None:
        match event:
            case Wanted(scenario, cause):
                if scenario in self._scenarios:
                    self._start(self._scenarios[scenario], cause, now)
            case Changed(device, trait, value):
                before = self.states.get((device, trait))
                self.states[device, trait] = value
                if before != value or type(before) is not type(value):
                    self._changed(event, before, now)
            case Happened(name, data):
                self._wake_waiting(event, None, now)
                for id, at in self._by_name.get(name, ()):
                    trigger = self._scenarios[id].triggers[at]
                    if isinstance(trigger, OnEvent) and among(trigger, data):
                        self._trigger(id, f"trigger {at}", now)

    def _changed(self, event: Changed, before: Value, now: Now) -> None:
        watching = self._by_trait.get((event.device, event.trait), ())
        came = [(id, at) for id, at in watching if self._edge(id, at, before, event.value, now)]
        self._wake_waiting(event, before, now)
        for id, at in came:
            self._trigger(id, f"trigger {at}", now)

    def _edge(self, id: str, at: int, before: Value, value: Value, now: Now) -> bool:
        """Whether a change makes a trigger come at once; one that must go on is timed, or no longer."""
        trigger = self._scenarios[id].triggers[at]
        if not isinstance(trigger, OnState | OnNumber):
            return False
        about = met(trigger, value)
        if isinstance(trigger, OnState) or not about:
            timers = self.saved.timers
            self.saved.timers = [t for t in timers if (t.scenario, t.trigger) != (id, at)]
        if not about or not comes(trigger, before, value):
            return False
        if trigger.for_s > 0:
            due_ms = now.wall_ms + round(trigger.for_s * 1000)
            self.saved.timers.append(Timer(id, at, due_ms))
        return trigger.for_s <= 0

    def _trigger(self, id: str, cause: str, now: Now) -> None:
        scenario = self._scenarios.get(id)
        if scenario is None or not scenario.active:
            return
        if hold(scenario.conditions, self.states, now.wall_ms, self._house):
            self._start(scenario, cause, now)
        else:
            self._effects.append(Passed(id, cause, "condition"))

    def _start(self, scenario: Scenario, cause: str, now: Now) -> None:
        if not self._may_start(scenario, cause):
            return
        self.saved.given += 1
        fingerprint = self._programs[scenario.id].fingerprint
        run = Run(self.saved.given, scenario.id, fingerprint, cause, now.wall_ms, [Thread(0)])
        self.saved.runs.append(run)
        self._effects.append(Began(run.id, scenario.id, cause))
        self._go(run, run.threads[0], now)

    def _may_start(self, scenario: Scenario, cause: str) -> bool:
        """By its mode, beside the runs of it that are under way."""
        under_way = [run for run in self.saved.runs if run.scenario == scenario.id]
        queued = sum(id == scenario.id for id, _ in self.saved.queued)
        full = len(under_way) + queued >= scenario.most
        match scenario.mode:
            case "restart":
                for run in under_way:
                    self._end(run, "restart")
                return True
            case "queued" if under_way and not full:
                self.saved.queued.append((scenario.id, cause))
                return False
            case "single" | "queued" if not under_way:
                return True
            case "parallel" if not full:
                return True
        why = "single" if scenario.mode == "single" else "full"
        self._effects.append(Passed(scenario.id, cause, why))
        return False

    # Runs

    def _go(self, run: Run, thread: Thread, now: Now) -> None:
        def do(place: int, step: Do) -> None:
            match step.action:
                case Tell(name=name, data=data):
                    self._events.append(Happened(name, data))
                case Script(scenario=scenario):
                    self._events.append(Wanted(scenario, f"scenario {run.scenario}"))
                case action:
                    self._effects.append(Act(run.id, run.scenario, place, action))

        stepper = Stepper(
            self._programs[run.scenario].steps,
            now.wall_ms,
            lambda conditions: hold(conditions, self.states, now.wall_ms, self._house),
            do,
        )
        why = stepper.go(run, thread)
        if why is not None:
            self._end(run, why)

    def _wake(self, run: Run, thread: Thread, now: Now, *, came: bool) -> None:
        """A thread's time has come, or what it waited for."""
        step = self._programs[run.scenario].steps[thread.place]
        thread.due_ms = None
        if isinstance(step, Await):
            thread.place += 1
            if not came and not step.go_on:
                self._end(run, "timeout")
                return
        self._go(run, thread, now)

    def _wake_waiting(self, event: Event, before: Value, now: Now) -> None:
        for run in list(self.saved.runs):
            steps = self._programs[run.scenario].steps
            for thread in list(run.threads):
                step = steps[thread.place]
                waits = thread.due_ms is not None and run in self.saved.runs
                if waits and isinstance(step, Await) and awaited(step, event, before):
                    self._wake(run, thread, now, came=True)

    def _end(self, run: Run, why: str) -> None:
        self.saved.runs.remove(run)
        self._effects.append(Ended(run.id, run.scenario, why))
        waiting = next((q for q in self.saved.queued if q[0] == run.scenario), None)
        if waiting is not None:
            self.saved.queued.remove(waiting)
            self._events.appendleft(Wanted(*waiting))

    # Scenarios

    def _take(self, scenarios: Iterable[Scenario]) -> None:
        self._scenarios = {scenario.id: scenario for scenario in scenarios}
        self._programs = {id: compiled(one) for id, one in self._scenarios.items()}
        self._by_trait, self._by_name, self._looked = {}, {}, False
        for id, scenario in self._scenarios.items():
            for at, trigger in enumerate(scenario.triggers):
                match trigger:
                    case OnState() | OnNumber():
                        key = (trigger.device, trigger.trait)
                        self._by_trait.setdefault(key, []).append((id, at))
                    case OnEvent(name=name):
                        self._by_name.setdefault(name, []).append((id, at))

    def _end_unknown(self) -> None:
        known = {id: program.fingerprint for id, program in self._programs.items()}
        self.saved.queued = [q for q in self.saved.queued if q[0] in known]
        for run in [r for r in self.saved.runs if known.get(r.scenario) != r.fingerprint]:
            self._end(run, "changed")
        self.saved.timers = [t for t in self.saved.timers if self._still_times(t)]

    def _still_times(self, timer: Timer) -> bool:
        scenario = self._scenarios.get(timer.scenario)
        if scenario is None or timer.trigger >= len(scenario.triggers):
            return False
        trigger = scenario.triggers[timer.trigger]
        return (
            isinstance(trigger, OnState | OnNumber)
            and trigger.for_s > 0
            and met(trigger, self.states.get((trigger.device, trigger.trait)))
        )

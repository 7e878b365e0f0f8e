"""A week of sync, drawn: when the calendar holds which lanes, and how much of the link is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from beira.kernel.calendar import conditions
from beira.kernel.collection import Lane
from beira.kernel.system import SyncWindow

STEP_MIN = 30
STEPS = 24 * 60 // STEP_MIN


@dataclass(frozen=True, slots=True)
class Run:
    """A part of a day (0 is Monday), in steps of half an hour, in which the same holds throughout.

    `held`: none, normal or important (as in `SyncWindow.hold`); `share` of the link, 0.05 to 1.
    """

    day: int
    begins: int
    ends: int
    held: str
    share: float

    @property
    def calm(self) -> bool:
        """Whether sync runs as ever."""
        return self.held == "none" and self.share >= 1

    @property
    def hours(self) -> str:
        return f"{_clock(self.begins)}–{_clock(self.ends)}"


def monday_of(day: date) -> date:
    return day - timedelta(days=day.weekday())


def week(windows: Iterable[SyncWindow], places: Iterable[str], monday: date) -> list[list[Run]]:
    """For each day of the week from `monday` on its runs, which cover it without gaps, for a node that
    follows the partitions `places`. What changes within half an hour is drawn from the next one on."""
    known, here = tuple(windows), tuple(places)
    return [_day(known, here, monday, number) for number in range(7)]


def _day(
    windows: tuple[SyncWindow, ...], places: tuple[str, ...], monday: date, number: int
) -> list[Run]:
    midnight = datetime.combine(monday + timedelta(days=number), time())
    runs: list[Run] = []
    for step in range(STEPS):
        found = conditions(windows, places, midnight + timedelta(minutes=step * STEP_MIN))
        held = "important" if Lane.IMPORTANT in found.held else "normal" if found.held else "none"
        last = runs[-1] if runs else None
        if last is not None and (last.held, last.share) == (held, found.share):
            runs[-1] = Run(number, last.begins, step + 1, held, found.share)
        else:
            runs.append(Run(number, step, step + 1, held, found.share))
    return runs


def _clock(step: int) -> str:
    return f"{step * STEP_MIN // 60:02d}:{step * STEP_MIN % 60:02d}"

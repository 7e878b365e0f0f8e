"""Local texts and the moments they mean. Pure.

A shop's windows, slots and fixed times are texts by its own clock. On two nights a year that clock
jumps: a time that is skipped means the first moment after the jump, one that comes twice means the
first of the two. So a window that has ended does not open again, and nothing is played twice.

All moments here are in UTC: two times of one zone compare by their faces, wrongly in a repeated hour.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
EARLIEST = datetime(1970, 1, 3, tzinfo=UTC)
LATEST = datetime(9000, 1, 1, tzinfo=UTC)
"""A clock beyond these is taken to be at them."""
NEVER = datetime(9500, 1, 1, tzinfo=UTC)


class Timed(Protocol):
    """What slots and campaigns have in common: on which days and at which hours they hold."""

    @property
    def days(self) -> tuple[int, ...]: ...
    @property
    def begins(self) -> str: ...
    @property
    def ends(self) -> str: ...
    @property
    def first(self) -> date | None: ...
    @property
    def last(self) -> date | None: ...


def zone_of(name: str, otherwise: tzinfo) -> tzinfo:
    """The zone of this name; `otherwise` if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return otherwise


def within_reason(moment: datetime) -> datetime:
    """In UTC, and so far from the ends of the calendar that days can be added."""
    try:
        return min(max(moment.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:
        return EARLIEST if moment.year < LATEST.year else LATEST


@lru_cache(maxsize=100_000)
def moment_of(local: datetime, zone: tzinfo) -> datetime:
    """When the clock of the zone shows `local` (naive) for the first time; if it never does, because
    it jumps over it, when it has jumped."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _face(first, zone) == local:
        return first
    before, after = local.replace(tzinfo=zone, fold=1).astimezone(UTC), first
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        before, after = (before, middle) if _face(middle, zone) > local else (middle, after)
    return after.replace(microsecond=0)


def _face(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


@lru_cache(maxsize=10_000)
def moment_of_text(text: str, zone: tzinfo) -> datetime | None:
    """When the clock shows a LocalTime; None for a text that is no time, such as 2026-02-31T10:00."""
    try:
        return within_reason(moment_of(datetime.fromisoformat(text), zone))
    except (ValueError, OverflowError):
        return None


def day_of(moment: datetime, zone: tzinfo) -> date:
    """The date on the shop's calendar."""
    return moment.astimezone(zone).date()


def at_time(day: date, of_day: str, zone: tzinfo) -> datetime:
    return moment_of(datetime.combine(day, time.fromisoformat(of_day)), zone)


def span(timed: Timed, day: date, zone: tzinfo) -> tuple[datetime, datetime] | None:
    """From when until before when it holds, having begun on this day; None if it does not that day.
    Past midnight it belongs to the day on which it began."""
    if timed.days and day.weekday() not in timed.days:
        return None
    if (timed.first and day < timed.first) or (timed.last and day > timed.last):
        return None
    over = day if timed.ends > timed.begins else day + DAY
    return at_time(day, timed.begins, zone), at_time(over, timed.ends, zone)


def begun(timed: Timed, moment: datetime, zone: tzinfo) -> datetime | None:
    """When it began to hold, if it holds at this moment."""
    today = day_of(moment, zone)
    for day in (today, today - DAY):
        found = span(timed, day, zone)
        if found and found[0] <= moment < found[1]:
            return found[0]
    return None

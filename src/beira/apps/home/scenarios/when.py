"""When a trigger that comes by itself comes next, by the house's clock. Pure.

A time that the clock skips in spring comes as much later as the clock was put forward; one that it has
twice in autumn comes the first time only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from astral import LocationInfo
from astral.sun import sun
from cronsim import CronSim, CronSimError

from beira.apps.home.scenarios.spec import AtCron, AtSun, AtTime, Clockwork, TimeIs
from beira.sdk import Invalid

DAYS_AHEAD = 370
"""Polar nights last half a year."""


@dataclass(frozen=True, slots=True)
class House:
    """Where the house stands, in degrees, and its clock."""

    zone: tzinfo
    latitude: float = 0.0
    longitude: float = 0.0


def next_after(trigger: Clockwork, after: datetime, house: House) -> datetime | None:
    """The first moment (UTC) later than `after` at which it comes; None if there is none for a year.

    Raises: Invalid `scenario.cron` for an expression that is none.
    """
    match trigger:
        case AtTime(at=at, days=days):
            return _next_of_day(time.fromisoformat(at), days, after, house.zone)
        case AtSun():
            return _next_sun(trigger, after, house)
        case AtCron(expression=expression):
            return _next_cron(expression, after, house.zone)


def last_until(
    trigger: Clockwork, after: datetime, until: datetime, house: House
) -> datetime | None:
    """The last moment later than `after`, and not than `until`, at which it came."""
    last, following = None, next_after(trigger, after, house)
    while following is not None and following <= until:
        last, following = following, next_after(trigger, following, house)
    return last


def open_at(condition: TimeIs, now: datetime, house: House) -> bool:
    """Whether a window of the day is open. One past midnight belongs to the day it began on."""
    local = now.astimezone(house.zone)
    after, before = time.fromisoformat(condition.after), time.fromisoformat(condition.before)
    at, day = local.time(), local.date()
    if after < before:
        inside = after <= at < before
    elif at >= after:
        inside = True
    else:
        inside, day = at < before, day - timedelta(days=1)
    return inside and (not condition.days or day.weekday() in condition.days)


def _next_of_day(at: time, days: tuple[int, ...], after: datetime, zone: tzinfo) -> datetime | None:
    day = after.astimezone(zone).date() - timedelta(days=1)
    for _ in range(10):
        moment = datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
        if moment > after and (not days or day.weekday() in days):
            return moment
        day += timedelta(days=1)
    return None


def _next_sun(trigger: AtSun, after: datetime, house: House) -> datetime | None:
    offset = timedelta(seconds=trigger.offset_s)
    day = after.astimezone(house.zone).date() - timedelta(days=2)
    for _ in range(DAYS_AHEAD):
        moment = _sun(day, trigger.event, house)
        if moment is not None and moment + offset > after:
            return moment + offset
        day += timedelta(days=1)
    return None


def _sun(day: date, event: str, house: House) -> datetime | None:
    """None where the sun does not rise or set that day."""
    place = LocationInfo(latitude=house.latitude, longitude=house.longitude)
    try:
        found = sun(place.observer, date=day, tzinfo=house.zone)
    except ValueError:
        return None
    at: datetime = found["sunrise" if event == "rise" else "sunset"]
    return at.replace(microsecond=0).astimezone(UTC)


def _next_cron(expression: str, after: datetime, zone: tzinfo) -> datetime | None:
    try:
        return next(CronSim(expression, after.astimezone(zone))).astimezone(UTC)
    except StopIteration:
        return None
    except CronSimError as error:
        raise Invalid(
            f"{expression!r} is no cron expression: {error}.",
            code="scenario.cron",
            hint="Five fields: minute, hour, day of the month, month, day of the week.",
        ) from None


def moment(ms: int) -> datetime:
    """Milliseconds since 1970 as a moment."""
    return datetime.fromtimestamp(ms / 1000, UTC)

"""Pure decisions of a shop: which moment was meant, in or out, hours, prices, units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from beira.apps.voice.language import Quantity, SaidTime
from beira.apps.voice.records import Punch, PunchCorrection, PunchKind

AHEAD = timedelta(minutes=2)
AROUND_HOURS_MIN = 60
NIGHT_BACK = timedelta(hours=6)
SHIFT_LONGEST = timedelta(hours=16)
DAY_MIN = 1_440


@dataclass(frozen=True)
class Hours:
    """A shop's working hours in minutes of the day; closing before opening means past midnight."""

    opens_min: int = 6 * 60
    closes_min: int = 22 * 60

    def near(self, minute: int) -> bool:
        """Whether a minute of the day lies within them, give or take an hour."""
        start = self.opens_min - AROUND_HOURS_MIN
        span = (self.closes_min - self.opens_min) % DAY_MIN or DAY_MIN
        return (minute - start) % DAY_MIN <= span + 2 * AROUND_HOURS_MIN


def moments(said: SaidTime, now: datetime, hours: Hours) -> list[datetime]:
    """The moments a said time can mean, the latest first: of those that have been, those within
    working hours if there are any. Two mean that it must be asked, none that it is yet to come.

    `now` has the shop's zone.
    """
    if said.ago_min is not None:
        return [(now - timedelta(minutes=said.ago_min)).replace(microsecond=0)]
    been = [m for minute in said.minutes for m in _lately(minute, now, said.days_ago)]
    fitting = [m for m in been if hours.near(m.hour * 60 + m.minute)]
    return sorted(fitting or been, reverse=True)


def _lately(minute: int, now: datetime, days_ago: int | None) -> list[datetime]:
    """Today's such moment if it has been, or last night's shortly after midnight; or the day's."""
    wall = now.replace(tzinfo=None)
    today = wall.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
    if days_ago:
        return [(today - timedelta(days=days_ago)).replace(tzinfo=now.tzinfo)]
    if today <= wall + AHEAD:
        return [today.replace(tzinfo=now.tzinfo)]
    yesterday = today - timedelta(days=1)
    last_night = days_ago is None and wall - yesterday <= NIGHT_BACK
    return [yesterday.replace(tzinfo=now.tzinfo)] if last_night else []


@dataclass(frozen=True)
class Worked:
    """A punch as it holds after its corrections."""

    punch: str
    person: str
    employee: str
    kind: PunchKind
    at: datetime
    corrected: bool


def effective(punches: Iterable[Punch], corrections: Iterable[PunchCorrection]) -> list[Worked]:
    """Punches as their latest corrections leave them, by time; those taken out are gone."""
    latest: dict[str, PunchCorrection] = {}
    for c in sorted(corrections, key=lambda c: (c.said_at, c.id)):
        latest[c.punch] = c
    held = []
    for p in punches:
        fixed = latest.get(p.id)
        if fixed is None:
            held.append(Worked(p.id, p.person, p.employee, p.kind, p.at, False))
        elif not fixed.void:
            held.append(Worked(p.id, p.person, p.employee, fixed.kind, fixed.at, True))
    return sorted(held, key=lambda w: (w.at, w.punch))


def next_kind(before: Sequence[Worked], at: datetime) -> PunchKind:
    """In or out, for somebody whose earlier punches are `before`: out only from an open shift."""
    earlier = [w for w in before if w.at <= at]
    if not earlier or earlier[-1].kind == "out" or at - earlier[-1].at > SHIFT_LONGEST:
        return "in"
    return "out"


def worked(held: Sequence[Worked]) -> tuple[timedelta, bool]:
    """Time worked by one person in these punches, and whether a shift lacks its other end."""
    total, since, odd = timedelta(), None, False
    for w in held:
        if w.kind == "in":
            odd, since = odd or since is not None, w.at
        elif since is None:
            odd = True
        else:
            total, since = total + (w.at - since), None
    return total, odd or since is not None


def spent(held: Sequence[Worked], now: datetime | None) -> tuple[timedelta, datetime | None, bool]:
    """Time worked by one person in these punches, when the shift that still runs began, and whether
    some other shift lacks an end. `now`: the shift may still run, and counts until then."""
    last = held[-1] if held else None
    if now is not None and last and last.kind == "in" and now - last.at <= SHIFT_LONGEST:
        time, lacking = worked(held[:-1])
        return time + max(now - last.at, timedelta()), last.at, lacking
    time, lacking = worked(held)
    return time, None, lacking


def in_units(quantity: Quantity, unit: str) -> int | None:
    """Thousandths of the product's `unit`, or None if it is not sold that way ("two kilos" of a
    thing sold by the piece)."""
    if not quantity.unit or quantity.unit == unit:
        fits = unit in ("kg", "l") or quantity.milli % 1000 == 0
        return quantity.milli if fits else None
    if quantity.unit == "un" and unit not in ("kg", "l", "cx"):
        return quantity.milli if quantity.milli % 1000 == 0 else None
    return None


def line_total_cents(price_cents: int, quantity_milli: int) -> int:
    """Price times quantity, half a cent rounded up."""
    return (price_cents * quantity_milli + 500) // 1000


def share_cents(total_cents: int, weights: Sequence[int]) -> list[int]:
    """A total said for several lines, shared by weight, to the cent."""
    whole = sum(weights) or len(weights)
    given = [total_cents * (w or (1 if not sum(weights) else 0)) // whole for w in weights]
    if given:
        given[-1] += total_cents - sum(given)
    return given


def stock_words(stock_milli: int) -> str:
    """Which answer a stock deserves."""
    return "none" if stock_milli == 0 else "below" if stock_milli < 0 else "some"

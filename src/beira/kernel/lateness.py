"""Whether a node's batches keep their deadlines: counted by the hour over a day, and judged once.

A node tells how many batches it has confirmed in time and late since it was started; the cloud makes
hours of that, so that a restart, or a bad week long ago, does not hide or colour the day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

Hours: TypeAlias = dict[str, list[list[int]]]
"""By lane, oldest first: [hour since 1970, batches in time, batches late]."""
Counts: TypeAlias = Mapping[str, Sequence[int]]
"""By lane: [batches in time, batches late] since the node was started."""
DAY_HOURS = 24
SHARE_LEAST = 0.99
BATCHES_LEAST = 20
"""With fewer, one late batch would already be a share below 99 %."""


def fresh(before: Counts, told: Counts, *, restarted: bool) -> dict[str, tuple[int, int]]:
    """What is new in the counts `told` since those of `before`, for lanes in which anything is. Counts
    that went back begin anew, like those of a node that was started again."""
    found: dict[str, tuple[int, int]] = {}
    for lane, counts in told.items():
        met, late = _pair(counts)
        met_before, late_before = (0, 0) if restarted else _pair(before.get(lane, ()))
        if met < met_before or late < late_before:
            met_before = late_before = 0
        if (met, late) != (met_before, late_before):
            found[lane] = (met - met_before, late - late_before)
    return found


def added(hours: Hours, news: Mapping[str, tuple[int, int]], hour: int) -> Hours:
    """`hours` with what is new put into `hour`; what is older than a day is left out."""
    since = hour - DAY_HOURS
    kept = {
        lane: [list(item) for item in items if since < item[0] <= hour]
        for lane, items in hours.items()
    }
    for lane, (met, late) in news.items():
        items = kept.setdefault(lane, [])
        if not items or items[-1][0] != hour:
            items.append([hour, 0, 0])
        items[-1][1] += met
        items[-1][2] += late
    return {lane: items for lane, items in kept.items() if items}


def day_of(hours: Hours, lane: str) -> tuple[int, int]:
    """Batches in time and late over the day."""
    items = hours.get(lane, ())
    return sum(item[1] for item in items), sum(item[2] for item in items)


def judged(raised: bool, met: int, late: int) -> Literal["raise", "resolve"] | None:
    """What to do about a lane of which over the day so many batches were in time and late. An alert
    that is `raised` ends when the share is good again, or the day has no late batch left."""
    enough = met + late >= BATCHES_LEAST
    low = enough and met / (met + late) < SHARE_LEAST
    if low and not raised:
        return "raise"
    good = late == 0 or (enough and not low)
    return "resolve" if raised and good else None


def _pair(counts: Sequence[int]) -> tuple[int, int]:
    met, late = [*counts, 0, 0][:2]
    return max(0, int(met)), max(0, int(late))

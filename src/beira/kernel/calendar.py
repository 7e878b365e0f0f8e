"""What the calendar says of sync: which lanes wait now, and how much of the link may be used.

Windows are records from the cloud, in the site's own time zone. They say when NORMAL (or IMPORTANT)
changes may wait beyond their deadline; CRITICAL ones never do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

from beira.kernel.collection import Lane
from beira.kernel.policy import Conditions
from beira.kernel.system import SyncWindow

_HELD = {
    "none": frozenset[Lane](),
    "normal": frozenset({Lane.NORMAL}),
    "important": frozenset({Lane.NORMAL, Lane.IMPORTANT}),
}


def conditions(
    windows: Iterable[SyncWindow], places: Iterable[str], moment: datetime
) -> Conditions:
    """The conditions at `moment` (in the site's zone) for a node that follows the partitions
    `places`: of several windows, all that any holds is held, and the least share counts."""
    here = frozenset(places)
    held: frozenset[Lane] = frozenset()
    share = 1.0
    for window in windows:
        if (not window.place or window.place in here) and is_open(window, moment):
            held |= _HELD[window.hold]
            share = min(share, window.share)
    return Conditions(held=held, share=share)


def is_open(window: SyncWindow, moment: datetime) -> bool:
    """Whether the window is open at `moment`. One that ends at or before it begins runs past
    midnight, and belongs to the day on which it began."""
    begins, ends = time.fromisoformat(window.begins), time.fromisoformat(window.ends)
    now, today = moment.time().replace(tzinfo=None), moment.date()
    if begins < ends:
        return begins <= now < ends and _on(window, today)
    return (now >= begins and _on(window, today)) or (
        now < ends and _on(window, today - timedelta(days=1))
    )


def _on(window: SyncWindow, day: date) -> bool:
    if window.first is not None and day < window.first:
        return False
    if window.last is not None and day > window.last:
        return False
    return not window.days or day.weekday() in window.days

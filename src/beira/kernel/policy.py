"""What to send next, and how much of it: a pure function of what waits and how the link is.

A lane never waits for a lower one. A batch is kept so small that what is more urgent, and comes up
while it is on its way, waits half a second at most for the link.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from beira.kernel import limits
from beira.kernel.collection import Lane

PATIENCE = 1 / 3
"""The part of a deadline that a change may wait for company where bytes or the battery count."""
SHARE_LEAST = 0.05
BATCH_TIME_S = 0.5
BATCH_BYTES_LEAST = 4_096
SMOOTHING = 0.3


@dataclass(frozen=True, slots=True)
class Link:
    """How the link behaves, as measured; None is not known yet."""

    rtt_ms: float | None = None
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What else counts: lanes the calendar holds (never CRITICAL), the share of the link that may be
    used, whether each byte or each milliwatt counts."""

    held: frozenset[Lane] = frozenset()
    share: float = 1.0
    metered: bool = False
    low_battery: bool = False

    @property
    def frugal(self) -> bool:
        return self.metered or self.low_battery


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a lane: the last number written, the last one sent, and how long the oldest of
    what was not sent has waited."""

    written: int = 0
    sent: int = 0
    waited_ms: float = math.inf

    @property
    def waits(self) -> bool:
        return self.written > self.sent


@dataclass(frozen=True, slots=True)
class Flight:
    """What is on its way, and whether the link has rested enough for the share allowed."""

    batches: int = 0
    size_bytes: int = 0
    rested: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Send a batch of `lane`, of about `most_bytes` before compression."""

    lane: Lane
    most_bytes: int


def plan(
    backlogs: Mapping[Lane, Backlog],
    link: Link,
    flight: Flight,
    conditions: Conditions = Conditions(),
) -> Plan | None:
    """What to send now, or None.

    On an idle, cheap link everything goes at once. Where bytes or the battery count, a lane waits for
    company until a third of its deadline is gone; then all lanes that are not held go along.
    """
    waiting = {
        lane: backlog
        for lane, backlog in backlogs.items()
        if backlog.waits and (lane is Lane.CRITICAL or lane not in conditions.held)
    }
    if not any(_is_ripe(lane, backlog, conditions) for lane, backlog in waiting.items()):
        return None
    lane = max(waiting)
    urgent = lane is Lane.CRITICAL
    if flight.batches >= limits.PUSHES_IN_FLIGHT * (2 if urgent else 1):
        return None
    crowded = flight.batches > 0 and flight.size_bytes >= flight_bytes(link, conditions)
    if not urgent and (crowded or not flight.rested):
        return None
    return Plan(lane, batch_bytes(link))


def batch_bytes(link: Link) -> int:
    """How large a batch may be so that it occupies the link for half a second at most."""
    if link.bytes_per_s is None:
        return limits.BATCH_BYTES // 4
    wanted = int(link.bytes_per_s * BATCH_TIME_S)
    return min(limits.BATCH_BYTES, max(BATCH_BYTES_LEAST, wanted))


def flight_bytes(link: Link, conditions: Conditions) -> float:
    """How much may be on its way before an urgent batch would wait behind it: what the link carries
    in half a second beside what fills a round trip; with a share, one batch at a time. Of a link that is
    not known yet two first batches: it may be a thin one."""
    if conditions.share < 1:
        return 1
    if link.bytes_per_s is None:
        return batch_bytes(link)
    return link.bytes_per_s * (BATCH_TIME_S + (link.rtt_ms or 0) / 1000)


def rest_ms(size_bytes: int, link: Link, conditions: Conditions) -> float:
    """How long the link belongs to others after a batch of ours, for the share allowed."""
    if conditions.share >= 1 or not link.bytes_per_s:
        return 0
    return 1000 * size_bytes / link.bytes_per_s / max(conditions.share, SHARE_LEAST)


def _is_ripe(lane: Lane, backlog: Backlog, conditions: Conditions) -> bool:
    if lane is Lane.CRITICAL or not conditions.frugal:
        return True
    return backlog.waited_ms >= lane.deadline_s * 1000 * PATIENCE


def measured(link: Link, *, rtt_ms: float | None = None, bytes_per_s: float | None = None) -> Link:
    """The link with a new measurement smoothed into what was known."""
    return replace(
        link,
        rtt_ms=_smooth(link.rtt_ms, rtt_ms),
        bytes_per_s=_smooth(link.bytes_per_s, bytes_per_s),
    )


def retry_after_s(failures: int, chance: float) -> float:
    """How long to wait before connecting again: doubling, jittered by `chance` in [0, 1)."""
    doubled: float = limits.RECONNECT_FIRST_S * 2.0 ** min(failures, 16)
    longest = min(limits.RECONNECT_MOST_S, doubled)
    return longest * (0.5 + chance / 2)


def _smooth(old: float | None, new: float | None) -> float | None:
    if old is None or new is None:
        return old if new is None else new
    return old + SMOOTHING * (new - old)

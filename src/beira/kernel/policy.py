"""What to send next, and how much of it: a pure function of what waits and how the link is.

A lane never waits for a lower one. A batch is kept so small that what is more urgent, and comes up
while it is on its way, waits half a second at most for the link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from beira.kernel import limits
from beira.kernel.collection import Lane

BATCH_TIME_S = 0.5
BATCH_BYTES_LEAST = 4_096
SMOOTHING = 0.3


@dataclass(frozen=True, slots=True)
class Link:
    """How the link behaves, as measured; None is not known yet."""

    rtt_ms: float | None = None
    bytes_per_s: float | None = None
    metered: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in a lane: the last number written and the last one sent."""

    written: int = 0
    sent: int = 0

    @property
    def waits(self) -> bool:
        return self.written > self.sent


@dataclass(frozen=True, slots=True)
class Plan:
    """Send a batch of `lane`, of about `most_bytes` before compression."""

    lane: Lane
    most_bytes: int


def plan(
    backlogs: Mapping[Lane, Backlog],
    link: Link,
    *,
    in_flight: int,
    held: frozenset[Lane] = frozenset(),
) -> Plan | None:
    """What to send now, or None. `held` lanes wait (never CRITICAL), `in_flight` counts batches."""
    waiting = [
        lane
        for lane, backlog in backlogs.items()
        if backlog.waits and (lane is Lane.CRITICAL or lane not in held)
    ]
    if not waiting:
        return None
    lane = max(waiting)
    room = limits.PUSHES_IN_FLIGHT + (1 if lane is Lane.CRITICAL else 0)
    return Plan(lane, batch_bytes(link)) if in_flight < room else None


def batch_bytes(link: Link) -> int:
    """How large a batch may be so that it occupies the link for half a second at most."""
    if link.bytes_per_s is None:
        return limits.BATCH_BYTES // 4
    wanted = int(link.bytes_per_s * BATCH_TIME_S)
    return min(limits.BATCH_BYTES, max(BATCH_BYTES_LEAST, wanted))


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

"""Hybrid logical clocks: timestamps that order events even when wall clocks lie (law 10).

A stamp's number holds milliseconds and a counter in one integer: `ms << 11 | counter`. It stays
below 2**53 until the year 2109, so JSON, JavaScript and SQLite all carry it exactly. A counter that
overflows carries into the milliseconds, which is harmless: order is all that matters.

Kulkarni et al., "Logical Physical Clocks" (2014), is the source of the idea.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from beira.kernel import limits
from beira.kernel.errors import Invalid

COUNTER_BITS = 11


def hlc_at(ms: int) -> int:
    """The smallest stamp number of the millisecond `ms` since 1970."""
    return max(ms, 0) << COUNTER_BITS


def ms_of(hlc: int) -> int:
    """The milliseconds since 1970 that `hlc` holds."""
    return hlc >> COUNTER_BITS


class Stamp(NamedTuple):
    """When, how urgently and where a value was written. Unique per write: a node never repeats an hlc."""

    hlc: int
    lane: int
    node: str


class HybridClock:
    """One node's clock. The caller gives the wall time; this only ever moves forward.

    `offset_ms` is what must be added to the wall clock to get the cloud's time, as last measured.
    """

    def __init__(self, *, last: int = 0, offset_ms: int = 0) -> None:
        self.last = last
        self.offset_ms = offset_ms
        self.seen = 0

    def now_ms(self, wall_ms: int) -> int:
        """The wall time, corrected by the measured skew."""
        return wall_ms + self.offset_ms

    def tick(self, wall_ms: int) -> int:
        """A new stamp number, above every one given or observed before."""
        self.last = max(self.last + 1, hlc_at(self.now_ms(wall_ms)))
        return self.last

    def saw(self, hlc: int) -> None:
        """Another's stamp is about to be merged: what is committed after it must come after it."""
        self.seen = max(self.seen, hlc)
        self.last = max(self.last, hlc)

    def observe(self, hlc: int, wall_ms: int) -> None:
        """Take note of another's stamp, so that what is written next comes after it.

        Raises Invalid `clock.drift` for one too far in the future: accepting it would let a single
        mad clock win every conflict from now on.
        """
        if ms_of(hlc) > self.now_ms(wall_ms) + limits.DRIFT_MS:
            raise Invalid(
                f"A stamp is {ms_of(hlc) - self.now_ms(wall_ms)} ms ahead of the time here.",
                code="clock.drift",
                hint="Set the clock of the machine that wrote it, and let it stamp its changes anew.",
            )
        self.last = max(self.last, hlc)


def tolerated(ceiling: int) -> int:
    """The greatest stamp number that the cloud takes when its time is `ceiling`'s."""
    return ceiling + hlc_at(limits.DRIFT_MS)


def relaid(hlcs: Sequence[int], ceiling: int, floor: int = 0) -> list[int]:
    """New numbers for `hlcs` (rising, none acknowledged yet) where they lie in the future; `ceiling`
    is the cloud's time.

    A node whose clock ran ahead must bring its unsent stamps down before others see them. Those no
    further ahead than clocks may drift stay: the cloud takes them so, and may have them already. The
    rest are laid one after the other, ending at the ceiling or as soon after it as their number
    demands, always rising and above `floor`. Order is never changed.
    """
    kept = [h for h in hlcs if h <= tolerated(ceiling)]
    above = len(hlcs) - len(kept)
    base = max([floor, *kept[-1:], ceiling - above])
    return kept + [base + i + 1 for i in range(above)]

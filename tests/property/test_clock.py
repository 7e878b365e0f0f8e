"""Law 10, clocks lie: what a hybrid logical clock promises whatever the wall clock does."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.kernel import limits
from beira.kernel.clock import HybridClock, hlc_at, ms_of, relaid, tolerated
from beira.kernel.errors import Invalid

WALLS = st.integers(-(10**12), 4 * 10**12)
HLCS = st.integers(0, hlc_at(4 * 10**12))


@given(walls=st.lists(WALLS, min_size=1), offset_ms=st.integers(-(10**11), 10**11))
def test_ticks_rise_whatever_the_wall_does(walls: list[int], offset_ms: int) -> None:
    clock = HybridClock(offset_ms=offset_ms)
    ticks = [clock.tick(wall) for wall in walls]
    assert all(a < b for a, b in pairwise(ticks))


@given(wall=st.integers(0, 4 * 10**12), last=HLCS)
def test_a_tick_is_the_time_unless_the_clock_is_ahead(wall: int, last: int) -> None:
    tick = HybridClock(last=last).tick(wall)
    assert tick == max(last + 1, hlc_at(wall))


@given(walls=st.lists(st.tuples(WALLS, st.none() | HLCS), min_size=1))
def test_what_is_written_next_comes_after_what_was_seen(
    walls: list[tuple[int, int | None]],
) -> None:
    clock = HybridClock()
    greatest = 0
    for wall, seen in walls:
        if seen is not None:
            try:
                clock.observe(seen, wall)
                greatest = max(greatest, seen)
            except Invalid as error:
                assert error.code == "clock.drift"
        tick = clock.tick(wall)
        assert tick > greatest
        greatest = tick


@given(wall=st.integers(0, 4 * 10**12), drift_ms=st.integers(0, 10**12))
def test_a_stamp_too_far_ahead_is_refused_and_leaves_no_trace(wall: int, drift_ms: int) -> None:
    clock = HybridClock()
    ahead = hlc_at(wall + drift_ms)
    if drift_ms > limits.DRIFT_MS:
        with pytest.raises(Invalid) as caught:
            clock.observe(ahead, wall)
        assert caught.value.code == "clock.drift" and caught.value.hint
        assert clock.last == 0
    else:
        clock.observe(ahead, wall)
        assert clock.last == ahead


@given(ms=st.integers(0, 2**41), more=st.integers(0, 2047))
def test_a_number_holds_its_milliseconds(ms: int, more: int) -> None:
    assert ms_of(hlc_at(ms) + more) == ms


def test_numbers_stay_exact_in_json_and_javascript_until_2109() -> None:
    year_2109_ms = 139 * 365 * 86_400_000
    assert hlc_at(year_2109_ms) < 2**53


@given(hlcs=st.sets(HLCS).map(sorted), ceiling=HLCS, floor=HLCS)
def test_laying_anew_keeps_order_and_number(hlcs: list[int], ceiling: int, floor: int) -> None:
    laid = relaid(hlcs, ceiling, floor)
    assert len(laid) == len(hlcs)
    assert all(a < b for a, b in pairwise(laid))


@given(hlcs=st.sets(HLCS).map(sorted), ceiling=HLCS)
def test_laying_anew_stays_below_the_ceiling_where_there_is_room(
    hlcs: list[int], ceiling: int
) -> None:
    laid = relaid(hlcs, ceiling)
    kept = [h for h in hlcs if h <= tolerated(ceiling)]
    above = len(hlcs) - len(kept)
    assert laid[: len(kept)] == kept
    if ceiling - above >= max([0, *kept]):
        assert all(h <= ceiling for h in laid)
    else:
        assert all(h <= max([0, *kept]) + above for h in laid)


@given(hlcs=st.sets(HLCS, min_size=1).map(sorted), ceiling=HLCS, floor=HLCS)
def test_what_moves_comes_after_what_was_sent(hlcs: list[int], ceiling: int, floor: int) -> None:
    laid = relaid(hlcs, ceiling, floor)
    assert all(new > floor for old, new in zip(hlcs, laid, strict=True) if old != new)


@given(hlcs=st.sets(HLCS).map(sorted), ceiling=HLCS)
def test_laying_anew_twice_is_laying_once_where_there_is_room(
    hlcs: list[int], ceiling: int
) -> None:
    once = relaid(hlcs, ceiling)
    if not once or once[-1] <= ceiling:
        assert relaid(once, ceiling) == once

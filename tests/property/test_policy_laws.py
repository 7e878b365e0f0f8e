"""What sync sends when: nothing urgent waits for anything, nothing held goes, nothing waits for ever."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.kernel import limits
from beira.kernel.calendar import conditions, is_open
from beira.kernel.collection import Lane
from beira.kernel.policy import (
    Backlog,
    Conditions,
    Flight,
    Link,
    batch_bytes,
    flight_bytes,
    plan,
    rest_ms,
)
from beira.kernel.system import SyncWindow

LINKS = st.builds(
    Link,
    rtt_ms=st.none() | st.floats(0, 5_000),
    bytes_per_s=st.none() | st.floats(100, 1e8),
)
CONDITIONS = st.builds(
    Conditions,
    held=st.sampled_from([frozenset(), {Lane.NORMAL}, {Lane.NORMAL, Lane.IMPORTANT}]).map(
        frozenset
    ),
    share=st.sampled_from([1.0, 0.5, 0.05]),
    metered=st.booleans(),
    low_battery=st.booleans(),
)
FLIGHTS = st.builds(
    Flight,
    batches=st.integers(0, limits.PUSHES_IN_FLIGHT + 2),
    size_bytes=st.integers(0, 1 << 22),
    rested=st.booleans(),
)
BACKLOGS = st.fixed_dictionaries(
    {
        lane: st.builds(
            Backlog,
            written=st.integers(0, 3),
            sent=st.integers(0, 3),
            waited_ms=st.floats(0, 4_000_000),
        )
        for lane in Lane
    }
)


@given(BACKLOGS, LINKS, FLIGHTS, CONDITIONS)
def test_what_is_sent_is_the_most_urgent_that_may_go(
    backlogs: dict[Lane, Backlog], link: Link, flight: Flight, conditions: Conditions
) -> None:
    choice = plan(backlogs, link, flight, conditions)
    critical = backlogs[Lane.CRITICAL].waits
    if critical and flight.batches <= limits.PUSHES_IN_FLIGHT:
        assert choice is not None and choice.lane is Lane.CRITICAL
    if choice is not None:
        assert backlogs[choice.lane].waits
        assert choice.lane is Lane.CRITICAL or choice.lane not in conditions.held
        higher = [lane for lane in Lane if lane > choice.lane and lane not in conditions.held]
        assert not any(backlogs[lane].waits for lane in higher)
        assert limits.BATCH_BYTES >= choice.most_bytes > 0


@given(BACKLOGS, LINKS)
def test_a_cheap_idle_link_sends_at_once(backlogs: dict[Lane, Backlog], link: Link) -> None:
    choice = plan(backlogs, link, Flight())
    assert (choice is not None) == any(backlog.waits for backlog in backlogs.values())


@given(LINKS, st.sampled_from(list(Lane)), st.booleans())
def test_where_bytes_count_a_lane_waits_for_company_but_meets_its_deadline(
    link: Link, lane: Lane, metered: bool
) -> None:
    frugal = Conditions(metered=metered, low_battery=not metered)
    late = Backlog(1, 0, lane.deadline_s * 1000 / 2)
    assert plan({lane: late}, link, Flight(), frugal) is not None
    early = plan({lane: Backlog(1, 0, 1_000)}, link, Flight(), frugal)
    assert (early is not None) == (lane is Lane.CRITICAL)


def test_whoever_waits_goes_along_once_the_link_is_used_anyway() -> None:
    frugal = Conditions(metered=True)
    waiting = {Lane.IMPORTANT: Backlog(1, 0, 0), Lane.NORMAL: Backlog(1, 0, 2_000_000)}
    choice = plan(waiting, Link(), Flight(), frugal)
    assert choice is not None and choice.lane is Lane.IMPORTANT


@given(LINKS, CONDITIONS)
def test_what_is_on_its_way_never_holds_up_an_urgent_batch_for_long(
    link: Link, conditions: Conditions
) -> None:
    if link.bytes_per_s is not None and link.bytes_per_s >= 10_000:
        on_its_way = flight_bytes(link, conditions) + batch_bytes(link)
        assert on_its_way / link.bytes_per_s <= 1.01 + (link.rtt_ms or 0) / 1000


def test_a_share_leaves_the_rest_of_the_time_to_others() -> None:
    link = Link(bytes_per_s=10_000)
    assert rest_ms(5_000, link, Conditions(share=0.5)) == pytest.approx(1_000)
    assert rest_ms(5_000, link, Conditions()) == 0
    held = Flight(rested=False)
    assert plan({Lane.NORMAL: Backlog(1)}, link, held, Conditions(share=0.5)) is None
    assert plan({Lane.CRITICAL: Backlog(1)}, link, held, Conditions(share=0.5)) is not None


ZONE = ZoneInfo("America/Sao_Paulo")


def window(**fields: Any) -> SyncWindow:
    return SyncWindow(title="w", **fields)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE)


def test_windows_open_by_the_sites_clock() -> None:
    night = window(begins="22:00", ends="06:00", days=[4])  # Fridays
    assert is_open(night, at("2026-11-20T23:00"))
    assert is_open(night, at("2026-11-21T05:59"))
    assert not is_open(night, at("2026-11-21T06:00"))
    assert not is_open(night, at("2026-11-21T23:00"))
    day = window(begins="08:00", ends="18:00", first=date(2026, 11, 27), last=date(2026, 11, 27))
    assert is_open(day, at("2026-11-27T08:00")) and not is_open(day, at("2026-11-28T08:00"))
    assert is_open(window(), at("2026-11-27T12:00")), "from midnight to midnight is all day"


def test_windows_add_up_and_hold_for_their_place_only() -> None:
    windows = [
        window(hold="normal", share=0.5),
        window(hold="important", share=0.8, place="site:s1"),
        window(hold="none", share=0.1, place="site:s2"),
    ]
    here = conditions(windows, ["tenant", "site:s1"], at("2026-11-27T12:00"))
    assert here == Conditions(held=frozenset({Lane.NORMAL, Lane.IMPORTANT}), share=0.5)
    there = conditions(windows, ["tenant", "site:s2"], at("2026-11-27T12:00"))
    assert there == Conditions(held=frozenset({Lane.NORMAL}), share=0.1)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(ZONE)))
def test_a_window_and_the_one_that_fills_the_rest_of_the_day_are_never_both_open(
    moment: datetime,
) -> None:
    one, other = window(begins="21:30", ends="05:15"), window(begins="05:15", ends="21:30")
    assert is_open(one, moment) != is_open(other, moment)


def test_what_is_urgent_goes_though_nothing_was_confirmed_for_a_while() -> None:
    """On a thin link confirmations wait behind a feed: urgent changes that go out meanwhile are not what
    the next one has to wait for."""
    link = Link(rtt_ms=100, bytes_per_s=500_000)
    urgent = {Lane.CRITICAL: Backlog(10, 9, 0), Lane.NORMAL: Backlog(10_000, 800, 0)}
    for batches in range(2 * limits.PUSHES_IN_FLIGHT):
        choice = plan(urgent, link, Flight(batches, 10_000_000))
        assert choice is not None and choice.lane is Lane.CRITICAL
    assert plan(urgent, link, Flight(2 * limits.PUSHES_IN_FLIGHT, 0)) is None


def test_of_a_link_that_is_not_known_no_more_is_under_way_than_two_first_batches() -> None:
    normal, first = {Lane.NORMAL: Backlog(10_000, 0, 0)}, limits.BATCH_BYTES // 4
    assert plan(normal, Link(), Flight(1, first - 1)) is not None
    assert plan(normal, Link(), Flight(1, first)) is None
    assert plan(normal, Link(), Flight(2, 1_000)) is not None

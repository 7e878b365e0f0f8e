"""Laws of a house's scenarios, over any of them and anything that happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.home.house import LISBON, Running, command, scenario

from beira.apps.home.scenarios.state import Asked, Began, Effect, Ended

TRAITS = ("a.on", "b.on", "t.celsius")
START = datetime(2026, 10, 24, 20, tzinfo=UTC)
"""Lisbon's clocks go back in the night."""
seconds = st.sampled_from([0, 30, 600, 4_000])
values = st.sampled_from([True, False, 18.0, 25.0, None])


def on_trait(trait: str) -> st.SearchStrategy[dict[str, Any]]:
    device, _, name = trait.partition(".")
    about = {"device": st.just(device), "trait": st.just(name), "for_s": seconds}
    if name == "celsius":
        return st.fixed_dictionaries({"kind": st.just("number"), "above": st.just(20.0), **about})
    return st.fixed_dictionaries({"kind": st.just("state"), "to": st.booleans(), **about})


events = st.fixed_dictionaries({"kind": st.just("event"), "name": st.sampled_from(["x", "y"])})
awaited = st.one_of(events, *(on_trait(trait) for trait in TRAITS))
times = st.sampled_from(
    [
        {"kind": "time", "at": "00:30"},
        {"kind": "time", "at": "01:30"},
        {"kind": "time", "at": "21:05"},
    ]
)
conditions = st.lists(
    st.sampled_from(
        [
            {"kind": "state", "device": "a", "trait": "on", "among": [True]},
            {"kind": "number", "device": "t", "trait": "celsius", "below": 20},
            {"kind": "not", "conditions": [{"kind": "time", "after": "22:00", "before": "01:00"}]},
        ]
    ),
    max_size=2,
)
simple = st.one_of(
    st.sampled_from([command("lamp"), command("bell"), {"kind": "stop"}]),
    st.fixed_dictionaries({"kind": st.just("delay"), "for_s": seconds}),
    st.fixed_dictionaries({"kind": st.just("event"), "name": st.sampled_from(["x", "y"])}),
    st.fixed_dictionaries({"kind": st.just("script"), "scenario": st.sampled_from(["0", "1"])}),
    st.fixed_dictionaries(
        {"kind": st.just("wait"), "until": st.lists(awaited, min_size=1, max_size=2),
         "timeout_s": seconds, "go_on": st.booleans()}
    ),
)  # fmt: skip


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, max_size=3)
    choice = st.fixed_dictionaries({"conditions": conditions, "actions": several})
    return st.one_of(
        st.fixed_dictionaries(
            {
                "kind": st.just("choose"),
                "choices": st.lists(choice, max_size=2),
                "otherwise": several,
            }
        ),
        st.fixed_dictionaries(
            {"kind": st.just("repeat"), "count": st.integers(0, 3), "actions": several}
        ),
        st.fixed_dictionaries(
            {"kind": st.just("parallel"), "branches": st.lists(several, max_size=3)}
        ),
    )


actions = st.lists(st.recursive(simple, nested, max_leaves=6), max_size=4)
scenarios = st.lists(
    st.fixed_dictionaries(
        {
            "triggers": st.lists(st.one_of(awaited, times), max_size=3),
            "conditions": conditions,
            "actions": actions,
            "mode": st.sampled_from(["single", "restart", "queued", "parallel"]),
            "most": st.integers(1, 3),
            "missed": st.sampled_from(["late", "skip", "ask"]),
        }
    ),
    min_size=1,
    max_size=3,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(TRAITS), values),
        st.tuples(st.just("happen"), st.sampled_from(["x", "y"]), st.none()),
        st.tuples(st.just("ask"), st.sampled_from(["0", "1"]), st.none()),
        st.tuples(st.just("pass"), st.sampled_from([1, 29, 600, 8_000]), st.none()),
    ),
    max_size=12,
)


def lived(
    made: list[dict[str, Any]], happened: list[tuple[str, Any, Any]], *, cuts: bool
) -> Running:
    house = Running(
        *(scenario(**{"id": str(n), "name": str(n), **fields}) for n, fields in enumerate(made)),
        start=START,
        house=LISBON,
    )
    for what, one, other in happened:
        match what:
            case "change":
                house.change(one, other)
            case "happen":
                house.happen(one)
            case "ask":
                house.ask(one)
            case "pass":
                house.pass_(seconds=one)
        if cuts:
            house.cut()
    return house


@settings(deadline=None, max_examples=150)
@given(scenarios, steps)
def test_a_power_cut_at_any_moment_changes_nothing(
    made: list[dict[str, Any]], happened: list[tuple[str, Any, Any]]
) -> None:
    """As long as it is short."""
    assert lived(made, happened, cuts=True).did == lived(made, happened, cuts=False).did


@settings(deadline=None, max_examples=150)
@given(scenarios, steps)
def test_runs_are_no_more_than_their_mode_allows_and_all_end(
    made: list[dict[str, Any]], happened: list[tuple[str, Any, Any]]
) -> None:
    house = lived(made, happened, cuts=False)
    under_way: dict[int, str] = {}
    for effect in house.did:
        _follow(effect, under_way)
        for n, fields in enumerate(made):
            most = fields["most"] if fields["mode"] == "parallel" else 1
            assert list(under_way.values()).count(str(n)) <= most, (n, effect)
    known = {run.id for run in house.engine.saved.runs}
    assert known == set(under_way)
    for run in house.engine.saved.runs:
        assert any(thread.due_ms is not None for thread in run.threads), "waits for nothing"


def _follow(effect: Effect, under_way: dict[int, str]) -> None:
    match effect:
        case Began(run, id, _):
            assert run not in under_way
            under_way[run] = id
        case Ended(run, id, _):
            assert under_way.pop(run) == id


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["late", "skip", "ask"]), st.lists(st.integers(0, 40_000), max_size=6))
def test_a_time_comes_once_a_day_whatever_the_cuts(missed: str, offs: list[int]) -> None:
    """It is carried out, made up for, passed over or asked about: one of these, and only once."""
    at = {"kind": "time", "at": "00:30"}
    house = Running(
        scenario(triggers=[at], actions=[command("x")], missed=missed, late_s=86_400),
        start=START,
        house=LISBON,
    )
    for off in offs:
        house.pass_(seconds=3_000)
        house.cut(timedelta(seconds=off))
    house.pass_(seconds=1)
    until = datetime.fromtimestamp(house.clock.wall_ms / 1000, UTC)
    nights = [datetime(2026, 10, 24, 23, 30, tzinfo=UTC)]  # still in summer time
    nights += [datetime(2026, 10, day, 0, 30, tzinfo=UTC) for day in range(26, 32)]
    told = len(house.commands) + len(house.passed) + sum(isinstance(e, Asked) for e in house.did)
    assert told == sum(night <= until for night in nights)

"""Scenarios, each as a house would have it: what sets them going, what they do, what survives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from beira.apps.home.scenarios.spec import Scenario
from beira.apps.home.scenarios.state import Asked

from .house import LISBON, SAO_PAULO, Running, command, scenario

MOTION = {"kind": "state", "device": "hall", "trait": "motion", "to": True}
EMPTY = {"kind": "state", "device": "hall", "trait": "motion", "to": False, "for_s": 300}
LATE = {"missed": "late", "late_s": 7_200}


def delay(seconds: float) -> dict[str, object]:
    return {"kind": "delay", "for_s": seconds}


def test_motion_turns_the_light_on_and_its_absence_off() -> None:
    house = Running(
        scenario(id="on", triggers=[MOTION], actions=[command("lamp")]),
        scenario(id="off", triggers=[EMPTY], actions=[command("lamp", "off")]),
    )
    house.change("hall.motion", True)
    assert house.commands == ["lamp.on"]
    house.change("hall.motion", True)
    house.change("hall.motion", False)
    house.pass_(seconds=299)
    house.change("hall.motion", True)
    house.change("hall.motion", False)
    house.pass_(seconds=299)
    assert house.commands == ["lamp.on", "lamp.on"]
    house.pass_(seconds=1)
    assert house.commands[-1] == "lamp.off"


def test_a_number_comes_only_when_it_crosses_and_stays() -> None:
    hot = {"kind": "number", "device": "room", "trait": "celsius", "above": 28, "for_s": 60}
    house = Running(scenario(triggers=[hot], actions=[command("fan")]))
    for celsius in (27.0, 29.0, 30.0, 27.5, 29.0):
        house.change("room.celsius", celsius)
        house.pass_(seconds=20)
    house.change("room.celsius", 31.0)
    house.pass_(seconds=39)
    assert house.commands == []
    house.pass_(seconds=1)
    assert house.commands == ["fan.on"]
    house.change("room.celsius", None)
    house.change("room.celsius", True)
    house.pass_(seconds=600)
    assert house.commands == ["fan.on"]


def test_true_is_not_one() -> None:
    one = {"kind": "state", "device": "d", "trait": "x", "to": 1}
    house = Running(scenario(triggers=[one], actions=[command("lamp")]))
    house.change("d.x", True)
    assert house.commands == []
    house.change("d.x", 1)
    assert house.commands == ["lamp.on"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("single", ["a.on", "b.on"]),
        ("restart", ["a.on", "a.on", "b.on"]),
        ("queued", ["a.on", "b.on", "a.on", "b.on"]),
        ("parallel", ["a.on", "a.on", "b.on", "b.on"]),
    ],
)
def test_what_a_trigger_does_while_a_run_goes_on(mode: str, expected: list[str]) -> None:
    house = Running(
        scenario(
            triggers=[{"kind": "event", "name": "button"}],
            actions=[command("a"), delay(10), command("b")],
            mode=mode,
        )
    )
    house.happen("button")
    house.pass_(seconds=5)
    house.happen("button")
    house.pass_(seconds=60)
    assert house.commands == expected


def test_of_queued_and_parallel_runs_there_are_no_more_than_said() -> None:
    for mode in ("queued", "parallel"):
        trigger = {"kind": "event", "name": "b"}
        house = Running(scenario(triggers=[trigger], actions=[delay(9)], mode=mode, most=3))
        for _ in range(5):
            house.happen("b")
        assert house.passed == ["full", "full"], mode
        house.pass_(seconds=60)
        assert house.ended == [""] * 3, mode


def test_choose_repeat_and_parallel_do_what_they_say() -> None:
    dark = {"kind": "state", "device": "sun", "trait": "up", "among": [False]}
    house = Running(
        scenario(
            actions=[
                {"kind": "choose", "choices": [{"conditions": [dark], "actions": [command("lamp")]}],
                 "otherwise": [command("blind")]},
                {"kind": "repeat", "count": 2, "actions": [
                    {"kind": "repeat", "count": 2, "actions": [command("bell")]}]},
                {"kind": "parallel", "branches": [[delay(5), command("slow")], [command("fast")], []]},
                command("last"),
            ],
        ),
        states={("sun", "up"): False},
    )  # fmt: skip
    house.ask("s")
    assert house.commands == ["lamp.on", *["bell.on"] * 4, "fast.on"]
    house.pass_(seconds=5)
    assert house.commands[-2:] == ["slow.on", "last.on"]
    house.change("sun.up", True)
    house.ask("s")
    assert house.commands[8] == "blind.on"


def test_repeat_while_and_until() -> None:
    open_ = {"kind": "state", "device": "door", "trait": "open", "among": [True]}
    beeps = [command("bell"), delay(10)]
    house = Running(
        scenario(id="while", actions=[{"kind": "repeat", "while_": [open_], "actions": beeps}]),
        scenario(id="until", actions=[
            {"kind": "repeat", "until": [{"kind": "not", "conditions": [open_]}], "actions": beeps}]),
    )  # fmt: skip
    house.ask("while")
    house.ask("until")
    assert house.commands == ["bell.on"]
    house.pass_(seconds=30)
    house.change("door.open", True)
    house.ask("while")
    house.pass_(seconds=25)
    house.change("door.open", False)
    house.pass_(seconds=60)
    assert house.commands == ["bell.on"] * 4


def test_a_loop_without_an_end_is_ended() -> None:
    forever = {"kind": "repeat", "while_": [{"kind": "and", "conditions": []}], "actions": []}
    house = Running(scenario(actions=[forever, command("never")]))
    house.ask("s")
    assert house.ended == ["endless"] and house.commands == []


def test_scenarios_that_call_each_other_without_end_are_stopped() -> None:
    house = Running(
        scenario(id="a", actions=[{"kind": "script", "scenario": "b"}]),
        scenario(id="b", actions=[{"kind": "script", "scenario": "a"}]),
    )
    house.ask("a")
    assert house.passed == ["endless"]
    house.ask("a")
    assert house.passed == ["endless"] * 2


def test_waiting_for_something_and_giving_up() -> None:
    for go_on, expected in ((True, ["lamp.on", "lamp.on"]), (False, ["lamp.on"])):
        wait = {"kind": "wait", "until": [MOTION], "timeout_s": 30, "go_on": go_on}
        house = Running(scenario(actions=[wait, command("lamp")], mode="queued"))
        house.ask("s")
        house.pass_(seconds=20)
        house.change("hall.motion", True)
        assert house.commands == ["lamp.on"]
        house.change("hall.motion", False)
        house.ask("s")
        house.pass_(seconds=30)
        assert house.commands == expected


def test_conditions_are_asked_when_the_trigger_comes() -> None:
    night = {"kind": "time", "after": "22:00", "before": "06:00"}
    house = Running(scenario(triggers=[MOTION], conditions=[night], actions=[command("lamp")]))
    house.change("hall.motion", True)
    assert house.passed == ["condition"]
    house.change("hall.motion", False)
    house.pass_(hours=14)  # 23:00 in São Paulo
    house.change("hall.motion", True)
    assert house.commands == ["lamp.on"]


def test_every_day_at_seven_and_weekdays_only() -> None:
    at = {"kind": "time", "at": "07:00", "days": [0, 1, 2, 3, 4]}
    house = Running(scenario(triggers=[at], actions=[command("coffee")]))
    house.pass_(days=14)  # from a Friday noon UTC
    assert house.commands == ["coffee.on"] * 10


def test_summer_time_neither_skips_nor_repeats() -> None:
    at = {"kind": "time", "at": "01:30"}
    for start in (datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC)):
        house = Running(scenario(triggers=[at], actions=[command("x")]), start=start, house=LISBON)
        house.pass_(days=4)
        assert house.commands == ["x.on"] * 4


def test_the_sun_and_cron_come_too() -> None:
    house = Running(
        scenario(id="sun", triggers=[{"kind": "sun", "event": "set", "offset_s": -1800}],
                 actions=[command("lamp")]),
        scenario(id="cron", triggers=[{"kind": "cron", "expression": "*/30 9-10 * * *"}],
                 actions=[command("pump")]),
    )  # fmt: skip
    house.pass_(hours=24)
    assert sorted(house.commands) == ["lamp.on", *["pump.on"] * 4]


@pytest.mark.parametrize("off", [timedelta(seconds=3), timedelta(hours=9)])
def test_a_power_cut_loses_no_delay_and_no_for(off: timedelta) -> None:
    house = Running(
        scenario(id="off", triggers=[EMPTY], actions=[command("lamp", "off")]),
        scenario(id="iron", actions=[delay(600), command("iron", "off")]),
        states={("hall", "motion"): True},
    )
    house.change("hall.motion", False)
    house.ask("iron")
    house.pass_(seconds=100)
    house.cut(off)
    assert house.commands == (["lamp.off", "iron.off"] if off > timedelta(hours=1) else [])
    house.pass_(seconds=600)
    assert sorted(house.commands) == ["iron.off", "lamp.off"]


def test_times_that_came_meanwhile_are_made_up_for_skipped_or_asked_about() -> None:
    at = {"kind": "time", "at": "10:00"}
    rules = {"late": {"missed": "late"}, "skip": {"missed": "skip"}, "ask": {"missed": "ask"}}
    house = Running(
        *(
            scenario(id=id, triggers=[at], actions=[command(id)], **rule)
            for id, rule in rules.items()
        )
    )
    house.cut(timedelta(hours=1, minutes=30))  # 10:30 in São Paulo
    assert house.commands == ["late.on"]
    assert house.passed == ["late"]
    assert [e.scenario for e in house.did if isinstance(e, Asked)] == ["ask"]
    house.pass_(days=1)
    house.cut(timedelta(days=1, hours=2))  # the time is older than any rule makes up for
    assert sorted(house.commands) == ["ask.on", "late.on", "late.on", "skip.on"]


def test_a_clock_that_jumps_moves_no_delay_and_repeats_no_time() -> None:
    at = {"kind": "time", "at": "10:00"}
    house = Running(
        scenario(id="ten", triggers=[at], actions=[command("ten")], **LATE),
        scenario(id="iron", actions=[delay(600), command("iron")]),
    )
    house.pass_(hours=1, minutes=5)
    assert house.commands == ["ten.on"]
    house.ask("iron")
    house.jump(timedelta(minutes=-30))
    house.pass_(seconds=599)
    assert house.commands == ["ten.on"]
    house.pass_(seconds=1)
    assert house.commands == ["ten.on", "iron.on"]
    house.jump(timedelta(minutes=30))
    house.pass_(hours=20)
    assert house.commands == ["ten.on", "iron.on"]


def test_a_clock_years_ahead_and_put_right_keeps_the_days_going() -> None:
    at = {"kind": "time", "at": "10:00"}
    house = Running(scenario(triggers=[at], actions=[command("ten")]))
    house.jump(timedelta(days=4 * 365))
    house.pass_(hours=1)
    house.jump(timedelta(days=-4 * 365))
    before = len(house.commands)
    house.pass_(days=3)
    assert len(house.commands) == before + 3


def test_runs_of_a_scenario_that_was_edited_end() -> None:
    house = Running(scenario(actions=[delay(60), command("old")], mode="queued"))
    house.ask("s")
    house.ask("s")
    house.did += house.engine.use([scenario(actions=[command("new")])], house.clock.now)
    assert house.ended == ["changed", ""] and house.commands == ["new.on"]
    house.ask("s")
    house.pass_(seconds=60)
    assert house.commands == ["new.on", "new.on"]


def test_what_is_not_a_scenario_says_what_is_wrong() -> None:
    for fields, wrong in (
        ({"triggers": [{"kind": "moon"}]}, "moon"),
        ({"actions": [{"kind": "delay", "for_s": -1}]}, "for_s"),
        ({"actions": [{"kind": "delay", "for": 1}]}, "for"),
        ({"mode": "often"}, "often"),
        ({"triggers": [{"kind": "time", "at": "25:00"}]}, "at"),
    ):
        with pytest.raises(msgspec.ValidationError, match=wrong):
            scenario(**fields)
    assert isinstance(scenario(), Scenario) and SAO_PAULO.zone is not None

"""Which moment was meant, in or out, hours worked, units and cents."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.voice.shop import MORNING, ZONE

from beira.apps.voice.language import Quantity, SaidTime, fold, tongue
from beira.apps.voice.records import Punch, PunchCorrection, PunchKind
from beira.apps.voice.rules import (
    AHEAD,
    Hours,
    effective,
    in_units,
    line_total_cents,
    moments,
    next_kind,
    share_cents,
    worked,
)

SHOP = Hours(6 * 60, 22 * 60)


def meant(said: str, hour: int, minute: int = 0, hours: Hours = SHOP) -> list[str]:
    time = tongue("pt-BR").parse_time(fold(tongue("pt-BR").spell(said)))
    assert time is not None, said
    now = MORNING.replace(hour=hour, minute=minute)
    return [f"{m:%d %H:%M}" for m in moments(time, now, hours)]


@pytest.mark.parametrize(
    ("said", "hour", "moment"),
    [
        ("duas e meia", 15, ["20 14:30"]),
        ("às duas e meia da tarde", 15, ["20 14:30"]),
        ("sete e meia", 21, ["20 19:30", "20 07:30"]),
        ("sete e meia", 12, ["20 07:30"]),
        ("14:30", 10, []),
        ("dez para as três", 15, ["20 14:50"]),
        ("meio-dia e quinze", 15, ["20 12:15"]),
        ("23:50", 1, ["19 23:50"]),
        ("agora", 9, ["20 09:00"]),
        ("ontem às 14h", 15, ["19 14:00"]),
        ("às 18:00 de ontem", 15, ["19 18:00"]),
        ("hoje às oito", 15, ["20 08:00"]),
        ("hoje às 18:00", 15, []),
        ("há dez minutos", 9, ["20 08:50"]),
        ("quatro", 5, ["20 04:00"]),
        ("vinte e duas e dez", 23, ["20 22:10"]),
    ],
)  # fmt: skip
def test_the_moment_meant(said: str, hour: int, moment: list[str]) -> None:
    assert meant(said, hour) == moment


def test_a_night_shop_has_its_own_half_past_two() -> None:
    assert meant("duas e meia", 15, hours=Hours(20 * 60, 5 * 60)) == ["20 02:30"]


@given(st.integers(0, 1_439), st.integers(0, 1_439), st.integers(0, 1_439))
def test_no_moment_is_ever_in_the_future(minute: int, other: int, now_min: int) -> None:
    now = MORNING.replace(hour=now_min // 60, minute=now_min % 60)
    for moment in moments(SaidTime((minute, other)), now, SHOP):
        assert moment <= now + AHEAD
        assert moment.hour * 60 + moment.minute in (minute, other)


def punch(id: str, hour: float, kind: PunchKind = "in") -> Punch:
    at = MORNING.replace(hour=0) + timedelta(hours=hour)
    return Punch(id=id, person="p", employee="P", kind=kind, at=at, said_at=at)


def fix(punch: str, hour: float, kind: PunchKind, said: int, void: bool = False) -> PunchCorrection:
    at = MORNING.replace(hour=0) + timedelta(hours=hour)
    return PunchCorrection(id=f"c{said}", punch=punch, person="p", at=at, kind=kind, by="dona",
                           said_at=MORNING + timedelta(minutes=said), void=void)  # fmt: skip


def test_the_latest_correction_of_a_punch_holds() -> None:
    held = effective(
        [punch("a", 8), punch("b", 12, "out"), punch("c", 13)],
        [fix("b", 12.5, "out", 2), fix("b", 11, "out", 1), fix("c", 13, "in", 3, void=True)],
    )
    assert [(w.punch, w.at.hour, w.at.minute, w.corrected) for w in held] == [
        ("a", 8, 0, False), ("b", 12, 30, True),
    ]  # fmt: skip
    assert worked(held) == (timedelta(hours=4, minutes=30), False)


def test_a_shift_without_its_end_is_said_to_be_odd() -> None:
    assert worked(effective([punch("a", 8)], [])) == (timedelta(), True)
    assert worked(effective([punch("a", 8, "out")], [])) == (timedelta(), True)


def test_out_follows_only_an_open_shift() -> None:
    at = datetime(2026, 11, 20, 18, tzinfo=ZONE)
    assert next_kind([], at) == "in"
    assert next_kind(effective([punch("a", 8)], []), at) == "out"
    assert next_kind(effective([punch("a", 8), punch("b", 12, "out")], []), at) == "in"
    assert next_kind(effective([punch("a", 8)], []), at + timedelta(hours=8)) == "in"


@pytest.mark.parametrize(
    ("quantity", "unit", "milli"),
    [
        (Quantity(2_000), "un", 2_000), (Quantity(2_500), "un", None), (Quantity(500), "kg", 500),
        (Quantity(1_500, "kg"), "kg", 1_500), (Quantity(1_500, "kg"), "un", None),
        (Quantity(3_000, "un"), "un", 3_000), (Quantity(3_000, "un"), "kg", None),
        (Quantity(2_000, "cx"), "un", None), (Quantity(2_000, "cx"), "cx", 2_000),
    ],
)  # fmt: skip
def test_what_is_sold_by_the_piece_is_not_weighed(
    quantity: Quantity, unit: str, milli: int | None
) -> None:
    assert in_units(quantity, unit) == milli


@given(st.integers(0, 10_000_000), st.lists(st.integers(0, 100_000), min_size=1, max_size=20))
def test_a_shared_total_loses_no_cent(total: int, weights: list[int]) -> None:
    shares = share_cents(total, weights)
    assert sum(shares) == total and len(shares) == len(weights) and min(shares) >= 0


def test_half_a_cent_is_rounded_up() -> None:
    assert line_total_cents(1_590, 2_500) == 3_975
    assert line_total_cents(1, 500) == 1
    assert line_total_cents(999, 0) == 0

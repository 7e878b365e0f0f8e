"""The portal's small decisions, without a server."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given as example
from hypothesis import strategies as st

from beira.apps.voice.portal_reading import cents_of
from beira.portal import formats
from beira.portal.desk import local_path
from beira.portal.forms import as_text, given, settings_inputs
from beira.portal.kept import BYTES, PAGES_PER_SESSION, Kept, Whose
from beira.portal.pages.entry import browser_name


def test_numbers_as_brazilians_write_them() -> None:
    assert formats.money(123450, "pt-BR") == "R$ 1.234,50"
    assert formats.money(-5, "pt-BR") == "-R$ 0,05"
    assert formats.money(123450, "en") == "R$ 1,234.50"
    assert formats.quantity(1500, "kg", "pt-BR") == "1,5 kg"
    assert formats.quantity(2000, "un", "pt-BR") == "2 un"
    assert formats.hours(27_900, "pt-BR") == "7h45"
    assert formats.day(date(2026, 11, 20), "pt-BR") == "20/11/2026"


@pytest.mark.parametrize(
    ("seconds", "pt", "en"),
    [
        (0, "há 0 s", "0 s ago"), (59, "há 59 s", "59 s ago"), (60, "há 1 min", "1 min ago"),
        (7_300, "há 2 h", "2 h ago"), (86_400, "há 1 dia", "1 d ago"),
        (200_000, "há 2 dias", "2 d ago"), (-600, "em 10 min", "in 10 min"),
    ],
)  # fmt: skip
def test_ages(seconds: int, pt: str, en: str) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    then = now - timedelta(seconds=seconds)
    assert formats.ago(then, now, "pt-BR") == pt
    assert formats.ago(then, now, "en") == en


def test_a_day_is_the_shops_own() -> None:
    start, end = formats.day_bounds(date(2026, 11, 20), ZoneInfo("America/Sao_Paulo"))
    assert start == datetime(2026, 11, 20, 3, tzinfo=UTC)
    assert end - start == timedelta(hours=24)


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("12,90", 1290), ("12.90", 1290), ("R$ 1.234,5", 123450), ("7", 700), ("1.234", 123400),
        ("", None), ("-1", None), ("1,234,5", None), ("12,345", None), ("٣", None), ("1e5", None),
    ],
)  # fmt: skip
def test_prices_as_typed(text: str, cents: int | None) -> None:
    assert cents_of(text) == cents


@example(st.integers(min_value=0, max_value=99_999_99))
def test_a_price_shown_is_read_back(cents: int) -> None:
    assert cents_of(formats.money(cents, "pt-BR")) == cents


@example(st.text(max_size=60))
def test_one_is_never_sent_to_another_site(asked: str) -> None:
    path = local_path(asked)
    assert path.startswith("/")
    assert not path.startswith("//")
    assert "\\" not in path
    assert path.isprintable()


class Sample(msgspec.Struct):
    """One field of each sort."""

    word: Annotated[str, msgspec.Meta(description="A word")] = "a"
    count: Annotated[int, msgspec.Meta(ge=0, le=9)] = 1
    share: float = 0.5
    on: bool = False
    kind: Literal["x", "y"] = "x"
    names: list[str] = []
    more: dict[str, int] = {}
    nothing: str | None = None


def test_a_form_gives_back_what_it_was_filled_with() -> None:
    values = {"word": "b", "count": 3, "share": 0.25, "on": True, "kind": "y",
              "names": ["p", "q"], "more": {"z": 1}, "nothing": "n"}  # fmt: skip
    inputs = settings_inputs(Sample, values, {}, {})
    form = {f"p.{item.name}": item.value for item in inputs}
    assert given(inputs, form) == (values, {})
    assert {i.name: i.widget for i in inputs}["names"] == "lines"
    assert inputs[0].help == "A word"


def test_what_does_not_fit_is_said_by_field() -> None:
    inputs = settings_inputs(Sample, {}, {}, {"word": ("Palavra", "")})
    form = {"p.count": "10", "p.share": "muito", "p.kind": "z", "p.more": "{", "p.word": ""}
    values, errors = given(inputs, form)
    assert values == {}
    assert set(errors) == {"count", "share", "kind", "more"}
    assert inputs[0].label == "Palavra"


def test_what_is_kept_is_each_sessions_own_and_bounded() -> None:
    kept = Kept()
    mine, other = Whose("a", "s1", "t"), Whose("b", "s2", "t")
    kept.keep(mine, "/", "mine", 0)
    assert kept.last(other, "/", 1) is None
    assert kept.last(mine, "/", 1).html == "mine"  # type: ignore[union-attr]
    for number in range(PAGES_PER_SESSION):
        kept.keep(mine, f"/{number}", "x", 0)
    assert kept.last(mine, "/", 1) is None
    kept.keep(other, "/big", "x" * (BYTES + 1), 0)
    assert kept.last(other, "/big", 1) is None
    kept.keep(mine, "/", "mine", 0)
    assert kept.last(mine, "/", 50_000) is None
    kept.keep(mine, "/", "mine", 0)
    kept.know("secret", mine)
    assert kept.whose("secret") == mine
    assert kept.whose("other") is kept.whose("") is None
    kept.forget("s1")
    assert kept.last(mine, "/", 1) is None
    assert kept.whose("secret") is None


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (Linux; Android 14) Chrome/156 Mobile Safari/537", "Chrome · Android"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17 like Mac OS X) Version/17 Safari/604",
            "Safari · iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/156 Safari/537 Edg/156", "Edge · Windows"),
        ("curl/8", ""),
    ],
)
def test_a_session_is_called_by_its_browser(agent: str, name: str) -> None:
    assert browser_name(agent) == name


def test_text_for_an_input() -> None:
    assert as_text(True) == "true"
    assert as_text(["a", "b"]) == "a\nb"
    assert as_text([1]) == "[1]"

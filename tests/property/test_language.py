"""What is said is understood as it was meant: parse(say(x)) == x, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.apps.voice.language import Quantity, SaidTime, Tongue, fold, tongue

LANGUAGES = ["pt-BR", "en"]


@pytest.fixture(params=LANGUAGES)
def said(request: pytest.FixtureRequest) -> Tongue:
    return tongue(str(request.param))


def test_every_minute_of_the_day(said: Tongue) -> None:
    for minute in range(1_440):
        words = said.say_time(minute)
        assert said.parse_time(fold(words)) == SaidTime((minute,)), words


def test_every_typed_minute_of_the_day(said: Tongue) -> None:
    for minute in range(1_440):
        typed = f"{minute // 60:02d}:{minute % 60:02d}"
        assert said.parse_time(fold(said.spell(typed))) == SaidTime((minute,)), typed


@given(st.integers(0, 999_999), st.booleans(), st.sampled_from(LANGUAGES))
def test_numbers(number: int, feminine: bool, language: str) -> None:
    words = tongue(language).say_number(number, feminine=feminine)
    assert tongue(language).parse_number(fold(words)) == number, words
    assert tongue(language).parse_number(fold(tongue(language).spell(str(number)))) == number


def test_all_small_numbers(said: Tongue) -> None:
    for number in range(10_000):
        assert said.parse_number(fold(said.say_number(number))) == number


@given(st.integers(0, 99_999_999), st.sampled_from(LANGUAGES))
def test_money(cents: int, language: str) -> None:
    words = tongue(language).say_money(cents)
    assert tongue(language).parse_money(fold(words)) == cents, words
    shown = tongue(language).show_money(cents)
    assert tongue(language).parse_money(fold(tongue(language).spell(shown))) == cents, shown


@given(
    st.integers(1, 999_999_000), st.sampled_from(["kg", "l", "un", "cx", ""]),
    st.sampled_from(LANGUAGES),
)  # fmt: skip
def test_quantities(milli: int, unit: str, language: str) -> None:
    quantity = Quantity(milli, unit)
    words = tongue(language).say_quantity(quantity)
    assert tongue(language).parse_quantity(fold(words)) == quantity, words


@given(st.integers(1, 99_999), st.sampled_from(["kg", "l"]), st.sampled_from(LANGUAGES))
def test_typed_decimals(milli: int, unit: str, language: str) -> None:
    comma = "," if language == "pt-BR" else "."
    typed = f"{milli // 1000}{comma}{milli % 1000:03d} {unit}"
    parsed = tongue(language).parse_quantity(fold(tongue(language).spell(typed)))
    assert parsed == Quantity(milli, unit), typed


@given(
    st.text(alphabet="abcdeé ãço0123456789:,.$R-'hkgml", max_size=40), st.sampled_from(LANGUAGES)
)
def test_nothing_typed_breaks_it(text: str, language: str) -> None:
    way = tongue(language)
    words = fold(way.spell(text))
    (
        way.parse_time(words),
        way.parse_money(words),
        way.parse_number(words),
        way.parse_quantity(words),
    )
    assert fold(words) == words

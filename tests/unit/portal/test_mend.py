"""The form of a refused record: what is left alone stays, to the last bit, whatever it was."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.apps.voice.records import Interaction, Product, Punch
from beira.kernel.collection import Collection, collection_of
from beira.portal.mend import Mending

ZONE = ZoneInfo("America/Sao_Paulo")
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT
PLAIN |= st.floats(allow_nan=False, allow_infinity=False)
ANY = st.recursive(
    PLAIN, lambda s: st.lists(s, max_size=3) | st.dictionaries(TEXT, s, max_size=3), max_leaves=6
)


def form_of(kind: Any, fields: dict[str, Any]) -> Mending:
    declared: Collection = collection_of(kind)
    return Mending(declared, fields, words={}, say=lambda pt, en: en, zone=ZONE)


def sent(mending: Mending) -> dict[str, str]:
    """What a browser sends when nothing was touched."""
    return {f"p.{item.name}": item.text.replace("\n", "\r\n") for item in mending.inputs()}


@pytest.mark.parametrize("kind", [Interaction, Product, Punch])
@given(data=st.data())
def test_what_nobody_touched_comes_back_as_it_was(kind: Any, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(collection_of(kind).fields))
    fields = data.draw(st.dictionaries(names | st.just("not_known_here"), ANY, max_size=8))
    mending = form_of(kind, fields)
    values, errors = mending.given(sent(mending))
    assert values == fields
    assert errors == mending.wrong()


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("2026-11-20T08:30", "2026-11-20T08:30:00-03:00"),
        ("2026-11-20T08:30:00Z", "2026-11-20T08:30:00+00:00"),
    ],
)
def test_a_time_without_its_zone_is_the_sites(typed: str, value: str) -> None:
    mending = form_of(Punch, {"at": "ontem"})
    values, errors = mending.given({**sent(mending), "p.at": typed})
    assert values == {"at": value}
    assert "at" not in errors


def test_each_field_is_told_what_it_must_be() -> None:
    mending = form_of(Product, {"name": 5, "price_cents": "dear", "active": "perhaps"})
    wrong = mending.wrong()
    assert set(wrong) == {"name", "price_cents", "active"}
    values, errors = mending.given(
        {**sent(mending), "p.name": "Pão", "p.price_cents": "990", "p.active": "true"}
    )
    assert (values, errors) == ({"name": "Pão", "price_cents": 990, "active": True}, {})
    _, errors = mending.given({**sent(mending), "p.price_cents": "9,90"})
    assert errors["price_cents"] == "A whole number."


def test_a_fact_needs_all_its_fields_and_a_state_does_not() -> None:
    assert form_of(Punch, {}).wrong()["at"] == "This field is missing."
    assert form_of(Product, {}).wrong() == {}


def test_what_is_not_known_here_goes_along_unless_it_is_taken_out() -> None:
    mending = form_of(Product, {"name": "Pão", "colour": "brown"})
    assert [other.name for other in mending.others] == ["colour"]
    assert mending.given(sent(mending))[0]["colour"] == "brown"
    assert "colour" not in mending.given({**sent(mending), "drop.0": "yes"})[0]

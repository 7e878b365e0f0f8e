"""What the contract tests cannot show of queries: that no pattern is slow, and what SQL is made."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.records import REGISTRY

from beira.kernel.query import Compare, Every, Op, Order, Query, where
from beira.store.plan import Wild, pattern, plan
from beira.store.sql import (
    POSTGRES,
    SQLITE,
    Dialect,
    compiled,
    fixed_width,
    like_matches,
    shortest,
)


@pytest.mark.parametrize("fold", [False, True])
def test_no_pattern_takes_for_ever(fold: bool) -> None:
    """A regular expression of such stars, matched naively, would not end before the sun does."""
    assert not like_matches("*a" * 200 + "*b", "a" * 16_384, fold=fold)
    assert not like_matches("*a_" * 200 + "*b", "a" * 16_384, fold=fold)


@given(
    text=st.text("ab*%_\\", max_size=8),
    value=st.text("ab*%_\\", max_size=8),
)
def test_matching_is_what_a_naive_matcher_finds(text: str, value: str) -> None:
    signs = {Wild.ANY: ".*", Wild.ONE: "."}
    naive = "".join(signs[p] if isinstance(p, Wild) else re.escape(p) for p in pattern(text))
    assert like_matches(text, value, fold=False) == (re.fullmatch(naive, value, re.S) is not None)


@given(moment=st.datetimes())
def test_times_at_fixed_width_sort_as_times_do(moment: object) -> None:
    text = f"{moment:%Y}".zfill(4) + f"{moment:-%m-%dT%H:%M:%S.%f}"
    canonical = text.rstrip("0").rstrip(".") + "Z" if "." in text else text + "Z"
    assert shortest(fixed_width(canonical)) == canonical
    assert len(fixed_width(canonical)) == 27


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES])
def test_values_are_never_in_the_text(dialect: Dialect) -> None:
    evil = "x'; DROP TABLE things; --"
    query = Query(
        collection="things",
        where=Every((where(name=evil), where(name__in=[evil]), Compare("name", Op.ILIKE, evil))),
        order=(Order("at"),),
    )
    made = compiled(plan(query, REGISTRY["things"], [evil]), dialect, tenant=evil)
    assert "DROP" not in made.text
    assert sum("DROP" in str(value).upper() for value in made.parameters) == 5
    assert '"tenant_id" = ' in made.text


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES])
def test_one_text_serves_every_list(dialect: Dialect) -> None:
    """So that prepared statements are found again."""
    texts = {
        compiled(
            plan(Query(collection="things", where=where(id__in=ids)), REGISTRY["things"], ids),
            dialect,
        ).text
        for ids in (["a"], ["a", "b"], [])
    }
    assert len(texts) == 1

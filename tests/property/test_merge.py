"""Law 3, replay is harmless: merging is a join, for every sort of collection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.records import REGISTRY, sale, thing
from tests.property.rows import ALARM, THING, facts, states

from beira.kernel.collection import Collection
from beira.kernel.errors import Conflict
from beira.kernel.merge import changed_fields, merge
from beira.kernel.record import Row

THREE = st.one_of(
    *(
        st.tuples(kind, kind, kind)
        for kind in (states("things", THING), states("alarms", ALARM), facts())
    )
)


def declared(row: Row) -> Collection:
    return REGISTRY[row.collection]


@given(rows=THREE)
def test_merging_is_commutative(rows: tuple[Row, Row, Row]) -> None:
    a, b, _ = rows
    assert merge(declared(a), a, b) == merge(declared(a), b, a)


@given(rows=THREE)
def test_merging_is_associative(rows: tuple[Row, Row, Row]) -> None:
    a, b, c = rows
    kind = declared(a)
    assert merge(kind, merge(kind, a, b), c) == merge(kind, a, merge(kind, b, c))


@given(rows=THREE)
def test_merging_again_changes_nothing(rows: tuple[Row, Row, Row]) -> None:
    a, b, _ = rows
    kind = declared(a)
    joined = merge(kind, a, b)
    assert merge(kind, a, a) == a
    for again in (a, b, joined):
        assert merge(kind, joined, again) == joined
        assert not changed_fields(joined, merge(kind, joined, again))


@given(rows=THREE)
def test_nothing_said_of_a_field_is_lost(rows: tuple[Row, Row, Row]) -> None:
    a, b, _ = rows
    joined = merge(declared(a), a, b)
    assert joined.fields.keys() == a.fields.keys() | b.fields.keys()
    for name, value in joined.fields.items():
        assert any(name in row.fields and row.fields[name] == value for row in (a, b))


@given(row=states("things", THING))
def test_a_state_is_the_join_of_its_parts(row: Row) -> None:
    """So it does not matter how fields are spread over changes."""
    joined: Row | None = None
    for name in row.fields:
        part = row.only({name})
        assert part is not None
        joined = merge(declared(row), joined, part)
    assert joined == row


@given(rows=THREE)
def test_a_change_is_noticed(rows: tuple[Row, Row, Row]) -> None:
    a, b, _ = rows
    joined = merge(declared(a), a, b)
    assert bool(changed_fields(a, joined)) == (joined != a)


def test_a_record_never_moves_between_partitions() -> None:
    with pytest.raises(Conflict) as caught:
        merge(REGISTRY["things"], thing("a"), thing("a", partition="site:2"))
    assert caught.value.code == "partition.fixed"


def test_a_fact_belongs_to_its_node() -> None:
    with pytest.raises(Conflict) as caught:
        merge(REGISTRY["sales"], sale("a", node="n1"), sale("a", node="n2"))
    assert caught.value.code == "fact.taken"

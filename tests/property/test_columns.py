"""Columns are checked as rows are: what `check_columns` lets through is what `check` makes of each."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from beira.kernel.collection import NORMAL, UP, collection, collection_of
from beira.kernel.errors import BeiraError
from beira.kernel.record import State


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@collection("column_things", flow=UP, lane=NORMAL)
class ColumnThing(State):
    """A field of every type, with and without rules."""

    name: str
    note: str | None = None
    number: int = 0
    small: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0
    ratio: float | None = None
    open: bool = False
    at: datetime | None = None
    day: date | None = None
    kind: Literal["in", "out"] = "in"
    colour: Colour = Colour.RED
    data: dict[str, float] = {}


DECLARED = collection_of(ColumnThing)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["in", "out", "red", "2026-11-20", "2026-11-20T14:30:00Z", "\x00", "\ud800"]),
    st.sampled_from(["2026-11-20T14:30:00.250Z", "2026-11-20T14:30:00-03:00", "2026-13-20T14:30:00Z"]),
    st.sampled_from([-0.0, 0.0, 1.0, "x" * 20_000]),
    st.dictionaries(st.text(max_size=3), st.floats() | st.integers(0, 3), max_size=2),
)  # fmt: skip
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "name": st.text(max_size=9),
    "note": st.none() | st.text(max_size=9),
    "number": st.integers(-9, 9),
    "small": st.integers(0, 9),
    "ratio": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "open": st.booleans(),
    "at": st.none() | st.datetimes().map(lambda at: at.isoformat() + "Z"),
    "day": st.none() | st.dates().map(str),
    "kind": st.sampled_from(["in", "out"]),
    "colour": st.sampled_from(["red", "blue"]),
    "data": st.dictionaries(st.text(max_size=3), st.floats(0, 1) | st.integers(0, 3), max_size=2),
    "_deleted": st.booleans(),
    "stranger": st.integers(0, 3),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]]]:
    names = draw(st.lists(st.sampled_from(sorted(FITTING)), min_size=1, unique=True))
    size = draw(st.integers(1, 4))
    odd = draw(st.integers(0, 3)) == 0
    columns = []
    for name in names:
        values = ANYTHING if odd and draw(st.booleans()) else FITTING[name]
        columns.append(draw(st.lists(values, min_size=size, max_size=size)))
    return names, columns


@given(tables())
@example((["at"], [["2000-01-01T00:00:00.000070Z"]]))
def test_what_passes_in_columns_is_what_passes_row_by_row(
    table: tuple[list[str], list[list[Any]]],
) -> None:
    names, columns = table
    made = DECLARED.check_columns(names, columns)
    if made is None:
        return
    for at, values in enumerate(zip(*columns, strict=True)):
        try:
            checked = DECLARED.check(dict(zip(names, values, strict=True)), whole=False)
        except BeiraError as error:
            raise AssertionError(f"row {at} is refused alone: {error}") from error
        got = {name: column[at] for name, column in zip(names, made, strict=True)}
        assert repr(sorted(got.items())) == repr(sorted(checked.items()))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=1))
def test_plain_columns_need_no_closer_look(texts: list[str]) -> None:
    numbers = list(range(len(texts)))
    made = DECLARED.check_columns(["name", "number"], [texts, numbers])
    assert made == [texts, numbers]

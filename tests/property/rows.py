"""Random rows for the property tests: few ids, few moments and few nodes, so that they collide."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.contract.records import T0

from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.record import Row

STAMPS = st.builds(
    Stamp,
    st.integers(0, 6).map(lambda n: hlc_at(T0) + n),
    st.integers(0, 2),
    st.sampled_from(["n1", "n2"]),
)
TEXTS = st.sampled_from(["", "a", "á", "z\u2028"])
FLOATS = st.sampled_from([0.0, 1.0, -2.5, 1e300])
THING = {
    "name": st.none() | TEXTS,
    "number": st.none() | st.integers(-(2**63), 2**63 - 1),
    "ratio": st.none() | FLOATS,
    "open": st.none() | st.booleans(),
    "at": st.none() | st.sampled_from(["2026-11-20T14:30:00Z", "2026-11-20T14:30:00.25Z"]),
    "day": st.none() | st.sampled_from(["2026-11-20", "1999-12-31"]),
    "data": st.none() | st.dictionaries(TEXTS, st.lists(st.integers(0, 3) | st.none(), max_size=2)),
    "unknown": st.none() | TEXTS | st.integers(0, 3),
    "_deleted": st.booleans(),
}
ALARM = {"level": TEXTS, "seen": st.booleans(), "_deleted": st.booleans()}


@st.composite
def states(draw: st.DrawFn, collection: str, values: dict[str, Any], ids: str = "a") -> Row:
    """A state with some of its fields, each under a stamp of its own."""
    names = draw(st.sets(st.sampled_from(sorted(values)), min_size=1))
    fields = {name: draw(values[name]) for name in sorted(names)}
    stamps = {name: draw(STAMPS) for name in fields}
    return Row.of(collection, draw(st.sampled_from(ids)), "site:1", fields, stamps)


@st.composite
def facts(draw: st.DrawFn, ids: str = "a") -> Row:
    """A sale; each id has the one node that may write it."""
    id = draw(st.sampled_from(ids))
    fields = {
        "product": draw(TEXTS),
        "cents": draw(st.integers(0, 3)),
        "at": "2026-11-20T14:30:00Z",
    }
    written = draw(STAMPS)._replace(node=f"n{ids.index(id)}")
    return Row.of("sales", id, "site:1", fields, dict.fromkeys(fields, written))


def rows(ids: str = "a") -> st.SearchStrategy[Row]:
    """Rows of every sort of collection."""
    return st.one_of(states("things", THING, ids), states("alarms", ALARM, ids), facts(ids))

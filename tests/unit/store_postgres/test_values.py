"""Whatever is written is read back the same, whether or not the column's type can hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.postgres_fixture import fresh_tenant
from tests.unit.store_postgres.collections_ import row, sale

from beira.kernel.clock import Stamp
from beira.kernel.collection import timestamp
from beira.kernel.errors import Invalid
from beira.kernel.record import Row
from beira.store.postgres import PostgresCloud, PostgresStore
from beira.store.rows import normal

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def _moment(moment: datetime) -> str | None:
    try:
        return timestamp(moment)
    except OverflowError:  # the first and last day of the calendar, in some zones
        return None


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
json_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | numbers | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=6,
)
moments = st.datetimes(timezones=st.timezones()).map(_moment).filter(bool)
columns: dict[str, st.SearchStrategy[Any]] = {
    "product": texts,
    "quantity": st.integers(-(2**63), 2**63 - 1),
    "price": numbers,
    "at": moments,
    "paid": st.booleans(),
    "day": st.dates().map(lambda day: day.isoformat()),
    "lines": json_values,
    "order": texts,
    "_deleted": st.booleans(),
}
strange = st.none() | st.integers(-3, 3) | st.just([1]) | moments | st.sampled_from(
    ["2026-01-31", "2026-1-31", "2026-01-31T10:00:00", "2026-01-31T10:00:00.50Z",
     "2026-01-31T10:00:00-03:00", "20260131T100000Z", "2026-01-31T24:00:00Z",
     "2026-12-31T23:59:60Z", "0000-01-01", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"]
)  # fmt: skip
contents = st.fixed_dictionaries(
    {"product": texts},
    optional={name: kind | strange for name, kind in columns.items() if name != "product"}
    | {"of_another_release": json_values},
)
stamps = st.builds(Stamp, st.integers(0, 2**53), st.integers(0, 2), st.sampled_from(["a", "b"]))


@st.composite
def rows_of(draw: st.DrawFn, collection: str) -> Row:
    fields = draw(contents)
    given_stamps = {name: draw(stamps) for name in fields}
    return Row.of(collection, draw(st.uuids()).hex, "site:1", fields, given_stamps)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types: 1 and true are two values."""
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@pytest_asyncio.fixture(loop_scope="session")
async def run() -> Run:
    """The session's loop for a test that is not a coroutine, as hypothesis wants it."""
    return asyncio.get_running_loop().run_until_complete


@pytest.mark.parametrize("collection", ["sales", "products"])
def test_round_trip(postgres_cloud: PostgresCloud, run: Run, collection: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(rows_of(collection), min_size=1, max_size=20, unique_by=lambda r: r.id))
    def check(rows: list[Row]) -> None:
        store = postgres_cloud.tenant(fresh_tenant())
        run(store.commit(rows, route=lambda _: "s"))
        found = run(store.since("s", 0, whole=True, most=100, most_bytes=10**8)).rows
        assert list(found) == rows
        for left, right in zip(found, rows, strict=True):
            real = {name for name, value in right.fields.items() if name == "price"}
            assert all(
                same(left.fields[name], right.fields[name]) for name in right.fields.keys() - real
            )
            assert left.stamps == right.stamps
        assert run(store.commit(rows, route=lambda _: "s")).rows == ()

    check()


async def test_absent_and_null_are_two_things(store: PostgresStore) -> None:
    part, null = row("products", "1", 1, name="x"), row("products", "2", 1, name="x", price=None)
    await store.commit([part, null])
    assert await store.get("products", "1") == part
    assert await store.get("products", "2") == null
    taught = await store.commit([row("products", "1", 1, price=None)])
    assert [r.fields for r in taught.rows] == [{"name": "x", "price": None}]


async def test_order_of_keys_and_great_numbers_in_structured_values(store: PostgresStore) -> None:
    lines = [{"z": 1, "a": 1e22, "m": -0.0, "b": 2**64 - 1, "nul": "\x00", "": None}]
    await store.commit([sale("1", lines=lines)])
    found = await store.get("sales", "1")
    assert found is not None
    assert repr(found.fields["lines"]) == repr(lines)


async def test_what_fits_is_in_its_column(postgres_cloud: PostgresCloud) -> None:
    """So that people who open the database find it where they look."""
    tenant = fresh_tenant()
    await postgres_cloud.tenant(tenant).commit([normal(sale("1", day="2026-01-31", lines=[1]))])
    async with postgres_cloud.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT set_config('beira.tenant', $1, true)", tenant)
        found = await connection.fetchrow(
            "SELECT product, quantity, price, at::text, paid, day::text, lines::text, _extra, _stamps "
            "FROM beira.sales WHERE id = '1'"
        )
    moment = "2026-01-31 14:30:00+00"
    assert tuple(found) == ("café", 1, 2.5, moment, None, "2026-01-31", "[1]", None, None)


@pytest.mark.parametrize("id", ["é" * 64, "a b/c?d=e&f", "x" * 64])
async def test_ids(store: PostgresStore, id: str) -> None:
    await store.commit([sale(id)])
    assert (await store.get("sales", id)) == sale(id)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
async def test_what_is_no_text_is_refused(store: PostgresStore, text: str) -> None:
    with pytest.raises(Invalid):
        await store.commit([sale("ok"), sale("1", product=text)])
    with pytest.raises(Invalid):
        await store.commit([sale("1", lines=[], strange=text + "\ud800")])
    assert await store.get("sales", "ok") is None
    with pytest.raises(Invalid):
        await store.since(text, 0, most=1, most_bytes=1)
    await store.commit([sale("ok")])

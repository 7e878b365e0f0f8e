"""Releases come and go, and the file stays: columns are only added, and nothing is lost (law 8)."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.contract.records import one_stream, row, stamp

from beira.kernel.collection import UP, Registry, collection, collection_of
from beira.kernel.errors import Misconfigured
from beira.kernel.query import Query, where
from beira.kernel.record import State
from beira.store.port import Slice
from beira.store.sqlite import SqliteStore


@collection("things", flow=UP)
class First(State):
    """As the first release declares it."""

    name: str = ""


@collection("things", flow=UP)
class Second(State):
    """The second release knows more."""

    name: str = ""
    number: int = 0
    ratio: float | None = None
    at: datetime | None = None
    seen: datetime = datetime.fromisoformat("2026-01-01T00:00:00Z")


@collection("things", flow=UP)
class Changed(State):
    """A release that breaks the rule."""

    name: date | None = None


@collection("visits", flow=UP)
class Visit(State):
    """Found by when it was."""

    seen: datetime


@collection("others", flow=UP)
class Other(State):
    """An app beside it."""

    x: int = 0


async def opened(folder: Path, *records: Any) -> SqliteStore:
    return await SqliteStore.open(folder / "node.db", Registry(map(collection_of, records)))


async def everything(store: SqliteStore) -> Slice:
    return await store.since("s", 0, whole=True, most=1_000, most_bytes=1 << 20)


KNOWN = {"name": "x", "number": 7, "ratio": None, "at": "2026-11-20T14:30:00.5Z"}


async def test_a_new_field_is_absent_from_old_rows(tmp_path: Path) -> None:
    first = await opened(tmp_path, First)
    await first.commit([row("things", "a", {"name": "x"})], route=one_stream)
    before = await everything(first)
    await first.close()
    second = await opened(tmp_path, Second)
    assert await everything(second) == before
    found = await second.query(Query(collection="things", where=where(number=0, at=None)))
    assert found.rows[0]["number"] == 0, "what a query answers is the default"
    await second.commit([row("things", "a", KNOWN, ms=5)])
    assert (await second.get("things", "a")).fields == KNOWN  # type: ignore[union-attr]
    await second.close()


async def test_values_that_waited_move_into_their_columns(tmp_path: Path) -> None:
    first = await opened(tmp_path, First)
    rows = [row("things", f"t{i:04}", {**KNOWN, "later": i}, ms=i) for i in range(1_200)]
    await first.commit(rows, route=one_stream)
    await first.commit([row("things", "t0003", {"number": 8}, ms=5_000)], route=one_stream)
    before = {r.id: r for r in (await _all(first))}
    await first.close()
    second = await opened(tmp_path, Second)
    assert {r.id: r for r in await _all(second)} == before
    made = Query(
        collection="things", where=where(number=7, at="2026-11-20T14:30:00.5Z"), count=True
    )
    assert (await second.query(made)).total == 1_199
    extra = second._changes.connection.execute(
        "SELECT DISTINCT json_remove(_extra, '$.later') FROM things"
    )
    assert extra.fetchall() == [("{}",)]
    await second.close()


async def _all(store: SqliteStore) -> list[Any]:
    rows: list[Any] = []
    after, more = 0, True
    while more:
        found = await store.since("s", after, whole=True, most=500, most_bytes=1 << 20)
        rows += found.rows
        after, more = found.upto, found.more
    return rows


async def test_a_value_that_does_not_fit_its_new_column_waits_on(tmp_path: Path) -> None:
    first = await opened(tmp_path, First)
    odd = {"name": "x", "number": "seven", "at": "yesterday", "ratio": 2**70}
    await first.commit([row("things", "a", odd)])
    await first.close()
    second = await opened(tmp_path, Second)
    assert (await second.get("things", "a")).fields == odd  # type: ignore[union-attr]
    await second.close()


async def test_a_release_can_be_taken_back(tmp_path: Path) -> None:
    second = await opened(tmp_path, Second)
    await second.commit([row("things", "a", KNOWN)], route=one_stream)
    before = await second.get("things", "a")
    await second.close()
    first = await opened(tmp_path, First)
    assert await first.get("things", "a") == before
    await first.commit([row("things", "a", {"name": "y"}, ms=3)], route=one_stream)
    await first.commit([row("things", "b", {"name": "new"}, ms=4)], route=one_stream)
    await first.close()
    again = await opened(tmp_path, Second)
    found = await again.get("things", "a")
    assert found is not None and found.fields == {**KNOWN, "name": "y"}
    assert found.stamp_of("number") == stamp(0)
    assert (await again.get("things", "b")).fields == {"name": "new"}  # type: ignore[union-attr]
    await again.close()


async def test_a_changed_type_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    first = await opened(tmp_path, First)
    await first.commit([row("things", "a", {"name": "x"})])
    await first.close()
    with pytest.raises(Misconfigured) as caught:
        await opened(tmp_path, Other, Changed)
    assert caught.value.code == "store.type_changed" and "new field" in caught.value.hint
    again = await opened(tmp_path, First)
    assert (await again.get("things", "a")) is not None
    assert not again._changes.connection.table_exists(None, "others")
    await again.close()


async def test_changes_of_an_app_that_is_away_wait_for_it(tmp_path: Path) -> None:
    """Law 2: they are neither handed out nor trimmed."""
    both = await opened(tmp_path, First, Other)
    rows = [row("others", "o", {"x": 1}), row("things", "a", {"name": "x"}, ms=1)]
    await both.commit(rows, route=one_stream)
    await both.close()
    alone = await opened(tmp_path, First)
    found = await everything(alone)
    assert [r.id for r in found.rows] == ["a"] and (await alone.pending("s")).count == 1
    await alone.trim("s", found.upto)
    await alone.close()
    both = await opened(tmp_path, First, Other)
    assert [r.id for r in (await everything(both)).rows] == ["o"]
    await both.close()


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    await (await opened(tmp_path, Second)).close()
    schema = "SELECT sql FROM sqlite_schema ORDER BY name"
    store = await opened(tmp_path, Second)
    before = store._changes.connection.execute(schema).fetchall()
    await store.close()
    store = await opened(tmp_path, Second)
    assert store._changes.connection.execute(schema).fetchall() == before
    await store.close()


async def test_times_are_found_by_an_index(tmp_path: Path) -> None:
    from beira.kernel.query import Order
    from beira.store.plan import plan
    from beira.store.sql import SQLITE, compiled

    store = await opened(tmp_path, Visit)
    made = plan(
        Query(collection="visits", order=(Order("seen", True),)), collection_of(Visit), ["site:1"]
    )
    asked = compiled(made, SQLITE)
    steps = store._changes.connection.execute("EXPLAIN QUERY PLAN " + asked.text, asked.parameters)
    said = " ".join(str(step[3]) for step in steps)
    assert "visits.seen" in said and "ORDER BY" not in said
    await store.close()

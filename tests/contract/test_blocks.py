"""Rows that come in columns mean what they mean one by one, in every store."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.contract.records import one_stream, sale, stamp, thing

from beira.kernel.batch import Block, pack
from beira.kernel.errors import Conflict
from beira.kernel.record import Row
from beira.store.port import News

ODD = {
    "name": 'aspas "duplas", barra \\ e \\n, {chaves}, NULL e uma\nlinha\tnova \x01',
    "number": -(2**63),
    "ratio": 1e-300,
    "open": True,
    "at": "0001-01-01T00:00:00Z",
    "day": "9999-12-31",
    "data": {"a\\": ['"', None, "\n"]},
}


def block(*rows: Row) -> Block:
    return Block(pack(rows))


def _key(row: Row) -> tuple[str, str]:
    return row.collection, row.id


async def held(store: Any, *rows: Row) -> list[Row | None]:
    return [await store.get(row.collection, row.id) for row in rows]


async def named(store: Any, stream: str = "s") -> list[Row]:
    return list((await store.since(stream, 0, most=1_000, most_bytes=1 << 20)).rows)


@pytest.mark.parametrize(
    "rows",
    [
        [sale("b"), sale("a"), sale("c")],
        [thing("a", **ODD), thing("b"), thing("c", name="")],
        [thing("a", name="null"), thing("b", name="NULL", data=None), thing("c", data={})],
        [thing("a", at="9999-12-31T23:59:59.999999Z"), thing("b", at="2026-11-20T14:30:00.25Z")],
        [sale("a"), thing("a"), sale("b")],
        [thing("a", unknown=[1]), thing("b", unknown="x")],
        [thing("a"), thing("b", number=None)],
        [thing("a", number=None), thing("b", number=None)],
        [thing("a", number=None), thing("b", number=1), thing("c", number=None)],
        [thing("a", number="no number"), thing("b")],
        [sale(f"id-{n:04}") for n in range(1_200)],
    ],
)
async def test_a_block_comes_back_as_its_rows(store: Any, rows: list[Row]) -> None:
    commit = await store.commit(block(*rows), route=one_stream)
    assert {(r.collection, r.id) for r in commit.rows} == {(r.collection, r.id) for r in rows}
    assert await held(store, *rows) == rows
    assert sorted(await named(store), key=_key) == sorted(rows[:1_000], key=_key)
    assert len((await store.since("s", 0, most=2_000, most_bytes=1 << 24)).rows) == len(rows)


async def test_rows_known_already_are_merged_and_only_news_is_told(store: Any) -> None:
    old, same, new = thing("a", name="x"), sale("same"), sale("new")
    await store.commit([old, same], route=one_stream)
    later = thing("a", ms=5, name="y")
    commit = await store.commit(block(same, new, later), route=one_stream)
    assert {r.id for r in commit.rows} == {"new", "a"}
    found = await store.get("things", "a")
    assert found is not None and found.fields["name"] == "y"
    assert {r.id for r in await named(store)} == {"a", "same", "new"}


async def test_a_block_committed_again_teaches_nothing(store: Any) -> None:
    rows = block(sale("a"), sale("b"))
    await store.commit(rows, route=one_stream)
    end = await store.end("s")
    assert list((await store.commit(rows, route=one_stream)).rows) == []
    assert await store.end("s") == end


async def test_a_record_twice_in_a_block_is_merged(store: Any) -> None:
    rows = block(thing("a", name="x"), thing("a", ms=5, name="y"))
    await store.commit(rows, route=one_stream)
    found = await store.get("things", "a")
    assert found is not None and found.fields["name"] == "y"
    assert len(await named(store)) == 1


async def test_a_fact_of_another_nodes_is_refused_whole(store: Any) -> None:
    await store.commit([sale("a")])
    foreign = msgspec.structs.replace(sale("a"), stamp=stamp(5, node="n9"))
    with pytest.raises(Conflict):
        await store.commit(block(sale("b"), foreign))
    assert await store.get("sales", "b") is None


async def test_subscribers_hear_of_a_block(store: Any) -> None:
    heard: list[News] = []
    end = store.subscribe(heard.append)
    rows = [sale(f"id-{n:03}") for n in range(500)]
    await store.commit(block(*rows))

    async with asyncio.timeout(20):
        while sum(len(news.rows) for news in heard) < len(rows):
            await asyncio.sleep(0.01)
    end()
    assert {id for news in heard for _, id, _ in news.rows} == {r.id for r in rows}


async def test_marks_and_rows_of_a_block_stand_or_fall_together(store: Any) -> None:
    await store.commit(block(sale("a")), marks={"up": 1}, expect={"up": None})
    with pytest.raises(Conflict):
        await store.commit(block(sale("b")), marks={"up": 2}, expect={"up": None})
    assert await store.get("sales", "b") is None
    assert await store.marks("up") == {"up": 1}


@pytest.mark.parametrize("there", [(), ("a",), ("a", "c"), ("a", "b", "c")])
async def test_a_feed_of_rows_partly_there_is_merged(store: Any, there: tuple[str, ...]) -> None:
    """No stream is named: so a node takes what the cloud feeds it."""
    await store.commit([thing(id, name="old", number=1) for id in there])
    parts = [thing(id, ms=5, name="new") for id in ("a", "b")] + [thing("c", ms=5, _deleted=True)]
    commit = await store.commit(block(*parts), marks={"cursor": 3})
    assert {row.id for row in commit.rows} == {"a", "b", "c"}
    for part, found in zip(parts, await held(store, *parts), strict=True):
        old = {"name": "old", "number": 1} if part.id in there else {}
        assert found is not None and found.fields == old | part.fields
    assert await store.marks("cursor") == {"cursor": 3}


async def test_stamps_of_a_block_are_kept(store: Any) -> None:
    rows = [thing("a", ms=1, name="x"), thing("b", ms=1, name="x")]
    patched = [msgspec.structs.replace(r, stamps={"number": stamp(0)}) for r in rows]
    patched = [msgspec.structs.replace(r, fields=r.fields | {"number": 7}) for r in patched]
    await store.commit(block(*patched, thing("c", name="y", number=8)))
    assert await held(store, *patched) == patched
    again = await store.commit(block(*patched))
    assert list(again.rows) == []

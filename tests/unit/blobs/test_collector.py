"""The cloud's collector: what no record names goes, and nothing else, whatever happens beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.blobs.world import Sound, Track, World, content, gone, principal, put, sha

from beira.kernel import limits
from beira.kernel.blob import BlobRef, StoredBlob
from beira.kernel.collection import collection_of
from beira.sync.blobs.collector import COLLECT_EVERY_S, FIELDS_MARK, Collector
from beira.sync.blobs.gate import CONDEMNED

NAMED, LISTED, SPARE = (content(10_000, seed=n) for n in (1, 2, 3))
NODE = principal("acme/n1")
SPARED = timedelta(seconds=limits.BLOB_SPARED_S + 60)


def collector(world: World) -> Collector:
    return Collector(world.storage, world.cloud())


async def kept(world: World) -> None:
    for data in (NAMED, LISTED, SPARE):
        await world.keeps(data)
    await put(world.cloud(), Track(id="t", audio=sha(NAMED), extras=[sha(LISTED)]))


async def test_what_nothing_names_goes_once_it_was_spared_long_enough(world: World) -> None:
    await kept(world)
    assert await collector(world).collect() == 0
    world.wall.ahead = SPARED
    assert await collector(world).collect() == 1
    assert await world.has(NAMED) and await world.has(LISTED) and not await world.has(SPARE)
    assert await world.cloud().store.get("blobs", sha(SPARE)) is not None
    (told,) = await world.gate.ask(NODE, [BlobRef(sha256=sha(SPARE), size_bytes=len(SPARE))])
    assert told.state == "missing"


async def test_it_goes_with_the_last_record_that_names_it(world: World) -> None:
    await kept(world)
    await put(world.cloud(), Track(id="u", audio=sha(NAMED)))
    world.wall.ahead = SPARED
    await gone(world.cloud(), Track(id="t"))
    await collector(world).collect()
    assert await world.has(NAMED) and not await world.has(LISTED)
    await gone(world.cloud(), Track(id="u"))
    world.wall.ahead += timedelta(seconds=COLLECT_EVERY_S)
    await collector(world).collect()
    assert not await world.has(NAMED)


async def test_what_a_node_has_just_asked_about_is_spared(world: World) -> None:
    ref = BlobRef(sha256=sha(SPARE), size_bytes=len(SPARE))
    await world.gate.append(NODE, ref, 0, SPARE)
    world.wall.ahead = SPARED
    assert (await world.gate.ask(NODE, [ref]))[0].state == "present"
    assert await collector(world).collect() == 0
    assert await world.has(SPARE)


async def test_who_asks_while_it_is_condemned_hears_later_and_it_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between condemning and removing, a node asks, and another writes a record that names it."""
    ref = BlobRef(sha256=sha(SPARE), size_bytes=len(SPARE))
    await world.gate.append(NODE, ref, 0, SPARE)
    world.wall.ahead = SPARED
    collecting = collector(world)
    unnamed = collecting._unnamed
    heard: list[str] = []

    async def meanwhile(names: Any) -> list[str]:
        names = list(names)
        row = await world.cloud().store.get("blobs", sha(SPARE))
        assert row is not None
        if row.fields.get("condemned_at") is not None and not heard:
            heard.append((await world.gate.ask(NODE, [ref]))[0].state)
            heard.append((await world.gate.append(NODE, ref, ref.size_bytes, b"")).state)
        return await unnamed(names)

    monkeypatch.setattr(collecting, "_unnamed", meanwhile)
    assert await collecting.collect() == 0
    assert heard == ["later", "later"]
    assert await world.has(SPARE)
    assert (await world.gate.ask(NODE, [ref]))[0].state == "present"


async def test_a_collector_that_died_frees_what_it_condemned(world: World) -> None:
    ref = BlobRef(sha256=sha(SPARE), size_bytes=len(SPARE))
    await world.gate.append(NODE, ref, 0, SPARE)
    await collector(world)._mark([ref.sha256], condemned_at=world.cloud().now())
    assert (await world.gate.ask(NODE, [ref]))[0].state == "later"
    world.wall.ahead = CONDEMNED
    assert (await world.gate.ask(NODE, [ref]))[0].state == "present"


async def test_replicas_take_turns(world: World) -> None:
    await kept(world)
    world.wall.ahead = SPARED
    assert await collector(world).collect() == 1
    await gone(world.cloud(), Track(id="t"))
    assert await collector(world).collect() == 0, "it was done within the hour"
    world.wall.ahead += timedelta(seconds=COLLECT_EVERY_S)
    assert await collector(world).collect() == 2


async def test_a_field_only_a_newer_release_knows_stops_the_collecting(world: World) -> None:
    await kept(world)
    await collector(world).collect()
    marks = await world.cloud().store.marks(FIELDS_MARK)
    known = marks[FIELDS_MARK]
    assert f"{collection_of(Sound).name}.audio" in known
    await world.cloud().store.commit([], marks={FIELDS_MARK: [*known, "films.file"]})
    world.wall.ahead = SPARED
    assert await collector(world).collect() == 0
    assert await world.has(SPARE)


async def test_parts_nobody_went_on_with_go_and_their_name_with_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = BlobRef(sha256=sha(SPARE), size_bytes=len(SPARE))
    await world.gate.append(NODE, ref, 0, SPARE[:100])
    assert await world.storage.staged("acme", "n1", ref.sha256) == 100
    world.wall.ahead = timedelta(seconds=limits.BLOB_STAGED_S + 60)
    await collector(world).collect()
    assert await world.storage.staged("acme", "n1", ref.sha256) == 0
    row = await world.cloud().store.get("blobs", ref.sha256)
    assert row is not None and row.deleted, "it no longer counts against its tenant's room"


async def test_holdings_go_with_their_blob(world: World) -> None:
    ref = BlobRef(sha256=sha(SPARE), size_bytes=len(SPARE))
    await world.gate.append(NODE, ref, 0, SPARE)
    world.wall.ahead = SPARED
    assert await collector(world).collect() == 1
    await world.keeps(SPARE)
    (told,) = await world.gate.ask(NODE, [ref])
    assert told.state == "prove"


def test_what_is_written_of_a_blob_fits_its_declaration() -> None:
    declared = collection_of(StoredBlob)
    assert not declared.goes_up and not declared.goes_down and not declared.read

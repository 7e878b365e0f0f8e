"""Repairing a damaged database, killed at any step: the damaged one is there until the repaired one is
whole in its place, with its log beside it, and repairing again saves all."""

from __future__ import annotations

import random
from pathlib import Path

import apsw

from beira.store.sqlite import SqliteStore
from tests.contract.records import REGISTRY, one_stream, sale, thing
from tests.crash.killed import repair
from tests.crash.test_rekey import SEED, STEPS_APART, kills

SALES = 200


async def damaged(path: Path) -> None:
    """A page of the index of sales is gone, and the last commits are in the log beside the file."""
    path.parent.mkdir(parents=True)
    live = path.with_name("live.db")
    store = await SqliteStore.open(live, REGISTRY)
    await store.commit([sale(f"s{n:04}") for n in range(SALES)], route=one_stream)
    await store.commit([thing(f"t{n}", name="x" * 900) for n in range(20)])
    await store.close()
    store = await SqliteStore.open(live, REGISTRY)
    await store.commit([sale("last")], route=one_stream)
    for ending in ("", "-wal"):
        path.with_name(path.name + ending).write_bytes(
            live.with_name(live.name + ending).read_bytes()
        )
    await store.close()
    reader = apsw.Connection(str(live))
    query = "SELECT min(pageno) FROM dbstat WHERE name = 'things' AND pagetype = 'leaf'"
    page = reader.execute(query).get
    reader.close()
    for left in path.parent.glob("live.db*"):
        left.unlink()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(bytes(4_096))


async def test_a_repair_killed_at_any_step_loses_nothing_that_could_be_read(tmp_path: Path) -> None:
    template = tmp_path / "template"
    await damaged(template / "node" / "node.db")
    first = random.Random(SEED).randrange(1, STEPS_APART + 1)
    folders = kills(template, tmp_path / "copies", first, "repair")
    assert len(folders) > 3, f"BEIRA_CRASH_SEED={SEED}"
    for folder in folders:
        path = folder / "node" / "node.db"
        assert path.exists(), f"BEIRA_CRASH_SEED={SEED}, step {folder.name}"
        repair(path)
        store = await SqliteStore.open(path, REGISTRY, reserve_bytes=0)
        try:
            assert await store.integrity() == []
            where = f"BEIRA_CRASH_SEED={SEED}, step {folder.name}"
            assert (await store.pending("s")).count == SALES + 1, where
            assert await store.get("sales", "last") is not None, where
        finally:
            await store.close()

"""The store, cut from power before and after every sync of a workload and between: whatever the disk
made of what was not synced, each confirmed commit is there, none is there by halves, the streams name
what the rows say, and the file is whole.

What must be there is asked of the store in memory, which lives through the same workload: the state on
the disk must be the one after some number of its steps, and not before the last that was confirmed.

    BEIRA_CRASH_SEED=N replays; BEIRA_CRASH_ROUNDS=N goes on with N-1 seeds more and all cuts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from beira.kernel.clock import hlc_at
from beira.kernel.collection import BOTH, IMPORTANT, NORMAL, UP, Registry, collection, collection_of
from beira.kernel.record import Fact, State
from beira.store.memory import MemoryStore
from beira.store.port import NodeStore
from beira.store.sqlite import SqliteStore, files
from beira.store.sqlite.schema import select_sql
from tests.contract.records import REGISTRY, T0, one_stream, row, sale
from tests.crash.disk import Disk, recorder

ROUNDS = int(os.environ.get("BEIRA_CRASH_ROUNDS", "1"))
SEED = int(os.environ.get("BEIRA_CRASH_SEED", "20261121"))
STEPS = 60
KEY = bytes(range(32))
Step = Callable[[NodeStore], Awaitable[Any]]


@collection("sales", flow=UP, lane=IMPORTANT)
class OldSale(Fact):
    """Sales as an earlier release declared them."""

    product: str


@collection("things", flow=BOTH, lane=NORMAL)
class OldThing(State):
    """Things, likewise."""

    name: str | None = None


OLD = Registry([collection_of(OldSale), collection_of(OldThing)])


def workload(dice: random.Random) -> list[Step]:
    """What a node does: facts, states that change field by field, marks, trims, retention."""
    return [_step(number, dice) for number in range(STEPS)]


def _step(number: int, dice: random.Random) -> Step:
    kind = dice.choices(
        ("facts", "state", "both", "trim", "forget", "restamp"), (4, 4, 3, 2, 1, 1)
    )[0]
    ids = [f"t{dice.randrange(6)}" for _ in range(3)]
    size = dice.choice((10, 600, 9_000))
    sales = [sale(f"s{number}-{i}", ms=number, cents=i) for i in range(dice.randrange(1, 5))]
    name = dice.choice("abcdef") * size
    things = [row("things", id, {"name": name, "later": number}, ms=number) for id in ids]
    rows = {"facts": sales, "state": things, "both": sales + things}.get(kind)
    upto = dice.randrange(1, 3 * number + 2)

    async def write(store: NodeStore) -> None:
        await store.commit(rows or (), route=one_stream, marks={"step": number, name[0]: size})

    async def trim(store: NodeStore) -> None:
        await store.trim("s", upto, marks={"trimmed": upto})

    async def forget(store: NodeStore) -> None:
        await store.forget("sales", hlc_at(T0 + number // 2), most=3)

    async def restamp(store: NodeStore) -> None:
        await store.restamp(["s"], "n1", hlc_at(T0 + number))

    return {"trim": trim, "forget": forget, "restamp": restamp}.get(kind, write)


async def history(steps: list[Step]) -> list[bytes]:
    """What a store holds before the first step and after each."""
    store = MemoryStore(REGISTRY)
    states = [await held(store)]
    for step in steps:
        await step(store)
        states.append(await held(store))
    return states


async def held(store: NodeStore) -> bytes:
    """All of it: rows, the stream with its numbers, marks."""
    if isinstance(store, MemoryStore):
        rows = [row for table in store._tables.values() for row in table.values()]
    else:
        assert isinstance(store, SqliteStore)
        rows = [
            layout.unpack(values)
            for layout in store._layouts.values()
            for values in store._changes.connection.execute(select_sql(layout))
        ]
    rows.sort(key=lambda row: (row.collection, row.id))
    stream = await store.since("s", 0, most=10_000, most_bytes=1 << 30)
    named = [(row.collection, row.id, sorted(row.fields)) for row in stream.rows]
    pending = await store.pending("s")
    return msgspec.json.encode(
        (rows, named, stream.upto, pending, await store.end("s"), await store.marks())
    )


class Recording:
    """A workload lived through by a real store on a recorded disk."""

    def __init__(self, folder: Path, key: bytes | None, patch: pytest.MonkeyPatch) -> None:
        self.path, self._key = folder / "node.db", key
        self.disk = recorder()
        self.disk.forget()
        self.confirmed: list[tuple[int, int]] = []
        self._done = 0
        patch.setattr(files, "sync_folder", self.disk.sync_folder)
        patch.setattr(files, "WAL_PAGES", 24)
        patch.setattr(files, "WAL_LEFT_BYTES", 65_536)

    async def live(self, steps: list[Step], dice: random.Random) -> None:
        """First as an earlier release, then as this one, with stops between."""
        at = 0
        for end, registry in ((STEPS // 3, OLD), (2 * STEPS // 3, REGISTRY), (STEPS, REGISTRY)):
            with usual_vfs(self.disk.name):
                store = await SqliteStore.open(self.path, registry, key=self._key, reserve_bytes=0)
                while at < end:
                    some = steps[at : min(end, at + dice.choice((1, 1, 1, 4)))]
                    at += len(some)
                    await asyncio.gather(*(self._confirmed(step(store)) for step in some))
                await store.close()

    async def _confirmed(self, work: Awaitable[Any]) -> None:
        await work
        self._done += 1  # answered in the order they were asked
        self.confirmed.append((len(self.disk.events), self._done))

    def confirmed_at(self, moment: int) -> int:
        """How many steps were confirmed when so many events had happened."""
        return max((done for when, done in self.confirmed if when <= moment), default=0)


@contextlib.contextmanager
def usual_vfs(name: str) -> Iterator[None]:
    """SQLite works on this disk meanwhile."""
    before = apsw.vfs_names()[0]
    apsw.Connection(":memory:", vfs=name).close()  # the layer that encrypts is made at first use
    apsw.set_default_vfs(name)
    try:
        yield
    finally:
        apsw.set_default_vfs(before)


def moments(recording: Recording, dice: random.Random, share: float) -> list[int]:
    """Before and after each sync, and somewhere between them; `share` of all that."""
    events = recording.disk.events
    syncs = [n for n, event in enumerate(events) if event.what.startswith("sync")]
    found = {n for at in syncs for n in (at, at + 1)}
    found |= {dice.randrange(len(events) + 1) for _ in syncs}
    return sorted({n for n in sorted(found) if dice.random() < share} | {len(events)})


async def cut_and_check(
    recording: Recording, states: list[bytes], dice: random.Random, folder: Path, share: float
) -> int:
    """Cut at each moment; the store must open and be what it was after some step. Returns how many."""
    disk, played = Disk(), 0
    chosen = moments(recording, dice, share)
    for moment in chosen:
        for event in recording.disk.events[played:moment]:
            disk.play(event)
        played = moment
        left = folder / str(moment)
        disk.after_a_cut(dice, left)
        at_least = recording.confirmed_at(moment)
        store = await SqliteStore.open(
            left / "node.db", REGISTRY, key=recording._key, reserve_bytes=0
        )
        try:
            found = await held(store)
            assert await store.integrity() == []
        finally:
            await store.close()
        assert found in states, f"cut at {moment}: half a commit"
        newest = len(states) - 1 - states[::-1].index(found)
        assert newest >= at_least, f"cut at {moment}: {at_least} were confirmed, {newest} are there"
    return len(chosen)


async def a_life(
    folder: Path, seed: int, key: bytes | None, share: float, patch: pytest.MonkeyPatch
) -> int:
    dice = random.Random(seed)
    steps = workload(dice)
    states = await history(steps)
    (folder / "live").mkdir(parents=True)
    try:
        with patch.context() as patched:
            recording = Recording(folder / "live", key, patched)
            await recording.live(steps, dice)
        return await cut_and_check(recording, states, dice, folder, share)
    except BaseException as error:
        error.add_note(f"Again: BEIRA_CRASH_SEED={seed}")
        raise


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_no_power_cut_loses_or_halves_a_commit(
    tmp_path: Path, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = 1.0 if ROUNDS > 1 or key is None else 0.25
    for seed in range(SEED, SEED + ROUNDS):
        cuts = await a_life(tmp_path / str(seed), seed, key, share, monkeypatch)
        assert cuts > 50 * share, f"BEIRA_CRASH_SEED={seed}"


async def test_a_store_that_does_not_sync_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: by what is lost when commits are not synced."""
    start = files.start_log

    def lax(connection: apsw.Connection, path: Path) -> None:
        start(connection, path)
        connection.pragma("synchronous", "normal")

    with monkeypatch.context() as patched, pytest.raises(AssertionError, match="were confirmed"):
        patched.setattr(files, "start_log", lax)
        await a_life(tmp_path, SEED, None, 1.0, monkeypatch)

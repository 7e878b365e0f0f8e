"""Saving what can be read of a damaged database: around every page that is lost."""

from __future__ import annotations

import os
import random
from pathlib import Path

import apsw
import pytest
from tests.contract.records import REGISTRY, T0, one_stream, sale, thing

from beira.kernel.clock import hlc_at
from beira.kernel.errors import BeiraError, Corrupt, Full
from beira.store.sqlite import (
    Salvaged,
    SqliteStore,
    alone,
    files,
    replace,
    salvage,
    written_by,
)

KEY = bytes(range(32))
PAGE_BYTES = 4_096
SEED = int(os.environ.get("BEIRA_CRASH_SEED", "20261121"))
PAGES = int(os.environ.get("BEIRA_CRASH_ROUNDS", "1")) * 12
SALES = 600
"""How many rows are written; the first half was confirmed."""


async def made(path: Path, key: bytes | None) -> None:
    """A database as a node leaves it: rows, a log of which a part is trimmed, marks."""
    store = await SqliteStore.open(path, REGISTRY, key=key)
    for first in range(0, SALES, 100):
        rows = [sale(f"s{n:04}", ms=n) for n in range(first, first + 100)]
        await store.commit(rows, route=one_stream, marks={"cursor:tenant": first, "ticket": first})
    await store.trim("s", SALES // 2, marks={"acked": SALES // 2})
    await store.commit([thing(f"t{n}", name="x" * 900) for n in range(40)])
    await store.close()


def damage(path: Path, page: int, dice: random.Random) -> None:
    """What a card does to a page: other bytes, none, or a few that are wrong."""
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        content = bytearray(file.read(PAGE_BYTES))
        kind = dice.choice(("random", "zeros", "bits"))
        if kind == "random":
            content[:] = dice.randbytes(PAGE_BYTES)
        elif kind == "zeros":
            content[:] = bytes(PAGE_BYTES)
        else:
            for _ in range(20):
                content[dice.randrange(100)] ^= 1 << dice.randrange(8)
        file.seek(page * PAGE_BYTES)
        file.write(content)


async def saved(path: Path, key: bytes | None) -> Salvaged:
    """Salvage and put in place."""
    before = path.read_bytes()
    fresh, aside = path.with_name("fresh.db"), path.with_name("aside.db")
    with alone(path):
        found = salvage(path, key, fresh, REGISTRY)
        assert path.read_bytes() == before
        replace(path, fresh, aside)
    assert aside.read_bytes() == before and not fresh.exists()
    return found


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_around_any_lost_page_all_other_rows_are_saved(
    tmp_path: Path, key: bytes | None
) -> None:
    dice = random.Random(SEED)
    whole = tmp_path / "whole.db"
    await made(whole, key)
    content = whole.read_bytes()
    pages = len(content) // PAGE_BYTES
    for page in dice.sample(range(1, pages), min(PAGES, pages - 1)):
        path = tmp_path / f"{page}" / "node.db"
        path.parent.mkdir()
        path.write_bytes(content)
        damage(path, page, dice)
        try:
            found = await saved(path, key)
        except Corrupt as error:  # the page was that of the schema's table
            assert error.code == "store.lost" and error.hint
            continue
        await check(path, key, found, f"page {page}, BEIRA_CRASH_SEED={SEED}")


async def check(path: Path, key: bytes | None, found: Salvaged, where: str) -> None:
    """What is there is whole and true; what is missing is said."""
    store = await SqliteStore.open(path, REGISTRY, key=key)
    try:
        assert await store.integrity() == [], where
        there = [n for n in range(SALES) if await store.get("sales", f"s{n:04}")]
        pending = await store.pending("s")
        if "sales" not in found.damaged:
            assert len(there) == SALES, where
        if found.log_whole:
            unsent = [n for n in there if n >= SALES // 2]
            assert pending.count == len(unsent), where
            assert found.unsent_lost == SALES // 2 - len(unsent), where
        for n in there[:: len(there) // 20 or 1]:
            row = await store.get("sales", f"s{n:04}")
            assert row is not None and row.stamp.hlc == hlc_at(T0 + n), where
        last = await store.end("s")
        await store.commit([sale("after", ms=SALES)], route=one_stream)
        assert await store.end("s") > last >= (SALES if found.log_whole else 0), where
        if "_marks" not in found.damaged:
            assert (await store.marks())["acked"] == SALES // 2, where
    finally:
        await store.close()


async def test_a_whole_database_is_saved_whole(tmp_path: Path) -> None:
    await made(tmp_path / "node.db", None)
    found = await saved(tmp_path / "node.db", None)
    assert found.damaged == () and found.unsent_lost == 0
    await check(tmp_path / "node.db", None, found, "")


async def test_a_try_that_was_cut_short_leaves_nothing_that_harms_the_next(tmp_path: Path) -> None:
    path, fresh = tmp_path / "node.db", tmp_path / "fresh.db"
    await made(path, None)
    other = await SqliteStore.open(tmp_path / "other.db", REGISTRY)
    await other.commit([sale("of another try")])
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"fresh.db{ending}").write_bytes((tmp_path / f"other.db{ending}").read_bytes())
    await other.close()
    found = await saved(path, None)
    assert found.damaged == () and not fresh.exists()
    await check(path, None, found, "")


async def test_without_room_for_a_copy_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "node.db"
    await made(path, None)
    before = path.read_bytes()
    connect = files.connect

    def small(path: Path, key: bytes | None, *, writer: bool) -> apsw.Connection:
        connection = connect(path, key, writer=writer)
        if writer:
            connection.pragma("max_page_count", 8)
        return connection

    monkeypatch.setattr(files, "connect", small)
    with alone(path), pytest.raises(Full) as refused:
        salvage(path, None, tmp_path / "fresh.db", REGISTRY)
    assert refused.value.code == "disk.full" and path.read_bytes() == before
    assert not list(tmp_path.glob("fresh*"))


async def test_what_was_only_in_the_log_of_writes_is_saved(tmp_path: Path) -> None:
    """A killed node leaves its last commits in the file beside."""
    live = tmp_path / "live"
    store = await SqliteStore.open(live / "node.db", REGISTRY)
    await store.commit([sale("s1"), sale("s2")], route=one_stream)
    for name in ("node.db", "node.db-wal"):
        (tmp_path / name).write_bytes((live / name).read_bytes())
    await store.close()
    found = await saved(tmp_path / "node.db", None)
    assert found.damaged == () and (tmp_path / "aside.db-wal").exists()
    again = await SqliteStore.open(tmp_path / "node.db", REGISTRY)
    assert (await again.pending("s")).count == 2
    await again.close()


async def test_what_a_node_wrote_is_known_by_its_stamps(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = await SqliteStore.open(path, REGISTRY)
    await store.commit([sale("mine"), sale("theirs", node="n2"), thing("both", node="n2")])
    await store.commit([thing("both", ms=5, name="x").only(frozenset({"name"}))])
    assert written_by(path, None, "sales", "n1") == ["mine"]
    assert written_by(path, None, "things", "n1") == ["both"]
    await store.close()


@pytest.mark.parametrize("content", [b"", b"nothing of a database" * 500, bytes(8_192)])
async def test_of_nothing_nothing_is_saved_and_it_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(content)
    with alone(path):
        try:
            found = salvage(path, None, tmp_path / "fresh.db", REGISTRY)
        except BeiraError as error:
            assert error.code == "store.lost" and error.hint
        else:
            assert found.rows == 0
    assert path.read_bytes() == content

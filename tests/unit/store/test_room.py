"""Room on the disk: what is kept for critical rows when others fill it, and what is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.contract.records import CRITICAL, REGISTRY, T0, one_stream, sale
from tests.unit.store.test_power_cut import ForgetfulVFS

from beira.kernel.clock import hlc_at
from beira.kernel.errors import Full
from beira.store.sqlite import SqliteStore, files
from beira.store.sqlite.room import ENDING

RESERVE_BYTES = 1 << 20
BALLAST_BYTES = 1 << 16


class Disk:
    """A disk that others can fill to the last byte: then SQLite writes only where room was kept."""

    def __init__(self, folder: Path, vfs: ForgetfulVFS) -> None:
        self.path = folder / "node.db"
        self.ballast = folder / f"node.db{ENDING}"
        self.full = self.to_the_brim = False
        vfs.fault = self._fault

    def free_bytes(self, path: Path) -> int:
        return 0 if self.full else 100 * RESERVE_BYTES

    def _fault(self, call: str) -> None:
        if self.full and call == "write" and (self.to_the_brim or self.ballast.exists()):
            raise apsw.FullError("filled by others")

    async def open(self, ballast_bytes: int = BALLAST_BYTES) -> SqliteStore:
        return await SqliteStore.open(
            self.path, REGISTRY, reserve_bytes=RESERVE_BYTES, ballast_bytes=ballast_bytes
        )


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    (tmp_path / "shadow").mkdir()
    vfs = ForgetfulVFS(tmp_path / "shadow")
    made = Disk(tmp_path, vfs)
    monkeypatch.setattr(files, "free_bytes", made.free_bytes)
    monkeypatch.setattr("beira.store.sqlite.writer.free_bytes", made.free_bytes)
    yield made
    apsw.set_default_vfs(vfs.usual)
    vfs.unregister()


async def test_on_a_disk_others_filled_a_critical_row_finds_the_room_kept_for_it(
    disk: Disk,
) -> None:
    store = await disk.open()
    assert disk.ballast.stat().st_size == BALLAST_BYTES
    await store.commit([sale("before")])
    disk.full = True
    with pytest.raises(Full) as refused:
        await store.commit([sale("normal")])
    assert refused.value.code == "disk.full" and refused.value.hint
    assert disk.ballast.exists()
    await store.commit([sale("critical", lane=CRITICAL)])
    assert not disk.ballast.exists()
    assert await store.get("sales", "before") and await store.get("sales", "critical")
    assert await store.get("sales", "normal") is None
    disk.full = False
    await store.commit([sale("normal")])
    assert disk.ballast.exists()
    await store.close()


async def test_a_group_of_writes_gets_its_critical_ones_in(disk: Disk) -> None:
    store = await disk.open()
    disk.full = True
    tries = [store.commit([sale(f"n{i}")]) for i in range(4)]
    tries += [store.commit([sale(f"c{i}", lane=CRITICAL)]) for i in range(4)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [isinstance(each, Full) for each in done] == [True] * 4 + [False] * 4
    await store.close()


async def test_a_node_starts_on_a_full_disk_and_can_be_read(disk: Disk) -> None:
    store = await disk.open()
    await store.commit([sale("s")], route=one_stream)
    await store.close()
    disk.full = True
    again = await disk.open()
    assert await again.get("sales", "s") is not None
    await again.trim("s", 1)
    assert (await again.pending("s")).count == 0
    await again.close()


async def test_where_no_room_is_left_at_all_a_critical_row_is_refused_too(disk: Disk) -> None:
    store = await disk.open()
    disk.full = disk.to_the_brim = True
    with pytest.raises(Full) as refused:
        await store.commit([sale("critical", lane=CRITICAL)])
    assert refused.value.code == "disk.full" and refused.value.hint
    disk.to_the_brim = False
    await store.commit([sale("critical", lane=CRITICAL)])
    await store.close()


async def test_a_disk_that_is_nearly_full_already_is_not_filled_by_what_is_kept(
    disk: Disk,
) -> None:
    disk.full = True
    store = await disk.open()
    assert not disk.ballast.exists()
    await store.close()


async def written(store: SqliteStore, count: int, first: int = 0) -> None:
    for start in range(first, first + count, 500):
        await store.commit([sale(f"s{n:08}", ms=n) for n in range(start, start + 500)])


async def forgotten(store: SqliteStore, before_ms: int) -> None:
    while await store.forget("sales", hlc_at(T0 + before_ms)):
        pass


def pragma(store: SqliteStore) -> Callable[[str], Any]:
    return store._changes.connection.pragma


async def test_what_is_forgotten_makes_the_file_smaller(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "node.db", REGISTRY)
    await written(store, 8_000)
    pages = await asyncio.to_thread(pragma(store), "page_count")
    await forgotten(store, 7_900)
    left = await asyncio.to_thread(pragma(store), "page_count")
    unused = await asyncio.to_thread(pragma(store), "freelist_count")
    assert left < pages / 3 and unused <= left / 8 + 1
    assert await store.integrity() == []
    await store.close()
    assert (tmp_path / "node.db").stat().st_size == left * 4_096


async def test_a_node_that_forgets_as_it_writes_stays_as_large_as_it_was(tmp_path: Path) -> None:
    """Years of days, each forgotten when its time has come."""
    store = await SqliteStore.open(tmp_path / "node.db", REGISTRY)
    sizes = []
    for day in range(12):
        await written(store, 1_000, first=day * 1_000)
        await forgotten(store, (day - 2) * 1_000)
        sizes.append(await asyncio.to_thread(pragma(store), "page_count"))
    assert max(sizes[6:]) <= max(sizes[:6]) * 1.1
    await store.close()


async def test_a_file_of_an_earlier_release_is_left_as_it_was_made(tmp_path: Path) -> None:
    """Its unused pages wait for rows to come."""
    connection = apsw.Connection(str(tmp_path / "node.db"))
    connection.pragma("auto_vacuum", 0)
    connection.pragma("journal_mode", "wal")
    connection.pragma("application_id", files.APPLICATION_ID)
    connection.execute(
        "CREATE TABLE _fields (collection TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, "
        "PRIMARY KEY (collection, name)) STRICT, WITHOUT ROWID"
    )
    connection.close()
    store = await SqliteStore.open(tmp_path / "node.db", REGISTRY)
    await written(store, 1_000)
    before = await asyncio.to_thread(pragma(store), "page_count")
    await forgotten(store, 2_000)
    assert await asyncio.to_thread(pragma(store), "page_count") == before
    await written(store, 1_000, first=5_000)
    assert await asyncio.to_thread(pragma(store), "page_count") <= before + 4
    await store.close()

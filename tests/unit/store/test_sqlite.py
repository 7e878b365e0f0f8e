"""What only the node's file can show: that it is durable, bounded, private, and fails in plain words."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.contract.records import REGISTRY, one_stream, sale, thing

from beira.kernel import limits
from beira.kernel.collection import CRITICAL, IMPORTANT, NORMAL
from beira.kernel.errors import BeiraError, Corrupt, Full, Misconfigured, Unavailable
from beira.store.sqlite import SqliteStore, readers, writer

KEY = bytes(range(32))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = await open_store(tmp_path)
    yield made
    await made.close()


async def open_store(folder: Path, **options: Any) -> SqliteStore:
    return await SqliteStore.open(folder / "node.db", REGISTRY, **options)


async def pragma(store: SqliteStore, name: str, value: Any = None) -> Any:
    """Ask or set a pragma of the writer's connection, as the writer would."""
    connection = store._changes.connection
    return await asyncio.to_thread(connection.pragma, name, *([] if value is None else [value]))


class TestDurability:
    """Law 1."""

    async def test_a_commit_is_synced(self, store: SqliteStore) -> None:
        assert await pragma(store, "journal_mode") == "wal"
        assert await pragma(store, "synchronous") == 2

    async def test_everything_is_there_after_reopening(self, tmp_path: Path) -> None:
        store = await open_store(tmp_path)
        await store.commit([sale("s1"), thing("t1", name="x")], route=one_stream, marks={"m": 1})
        found = await store.since("s", 0, most=10, most_bytes=10_000)
        await store.close()
        again = await open_store(tmp_path)
        assert await again.since("s", 0, most=10, most_bytes=10_000) == found
        assert await again.marks() == {"m": 1}
        await again.trim("s", found.upto)
        await again.close()
        third = await open_store(tmp_path)
        await third.commit([sale("s2")], route=one_stream)
        assert (await third.pending("s")).last > found.upto
        await third.close()

    async def test_another_connection_sees_a_commit_once_it_is_confirmed(
        self, store: SqliteStore
    ) -> None:
        await store.commit([sale("s1")])
        other = apsw.Connection(str(store.path), apsw.SQLITE_OPEN_READONLY)
        assert other.execute("SELECT cents FROM sales").fetchall() == [(100,)]
        other.close()

    async def test_people_can_read_the_table_with_their_own_tools(self, store: SqliteStore) -> None:
        await store.commit([thing("t", name="x", open=True, at="2026-11-20T14:30:00Z")])
        other = apsw.Connection(str(store.path), apsw.SQLITE_OPEN_READONLY)
        query = "SELECT name, open, at, datetime(at, '+1 hour') FROM things"
        assert other.execute(query).fetchall() == [
            ("x", 1, "2026-11-20T14:30:00.000000Z", "2026-11-20 15:30:00")
        ]
        other.close()

    async def test_closing_answers_what_waits(self, tmp_path: Path) -> None:
        store = await open_store(tmp_path)
        waiting = [asyncio.create_task(store.commit([sale(f"s{i}")])) for i in range(50)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*waiting)
        again = await open_store(tmp_path)
        assert (await again.get("sales", "s49")) is not None
        await again.close()

    async def test_a_caller_that_gives_up_leaves_the_others_alone(self, store: SqliteStore) -> None:
        tasks = [asyncio.create_task(store.commit([sale(f"s{i}")])) for i in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(d, BaseException) for d in done].count(True) == 1


class TestRoom:
    """Law 9."""

    async def test_below_the_reserve_only_critical_rows_are_taken(self, tmp_path: Path) -> None:
        store = await open_store(tmp_path, reserve_bytes=1 << 60)
        with pytest.raises(Full) as caught:
            await store.commit([sale("s1", lane=IMPORTANT), sale("s2", lane=NORMAL)])
        assert caught.value.code == "disk.full" and str(tmp_path) in caught.value.hint
        await store.commit([sale("s3", lane=CRITICAL), sale("s4", lane=NORMAL)])
        await store.commit([], marks={"x": 1})
        await store.trim("s", 1)
        assert await store.get("sales", "s1") is None
        assert await store.get("sales", "s4") is not None
        await store.close()

    async def test_both_at_once_below_the_reserve(self, tmp_path: Path) -> None:
        store = await open_store(tmp_path, reserve_bytes=1 << 60)
        lanes = [CRITICAL if i % 2 else NORMAL for i in range(20)]
        tries = [store.commit([sale(f"s{i}", lane=lane)]) for i, lane in enumerate(lanes)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert [isinstance(d, Full) for d in done] == [lane is NORMAL for lane in lanes]
        await store.close()

    async def test_a_full_disk_keeps_nothing_by_halves_and_works_again(
        self, store: SqliteStore
    ) -> None:
        await store.commit([thing("before", name="x")])
        pages = await pragma(store, "page_count")
        await pragma(store, "max_page_count", pages + 20)
        rows = [thing(f"t{i}", name="x" * 4_000) for i in range(100)]
        with pytest.raises(Full) as caught:
            await store.commit([*rows], route=one_stream, marks={"half": 1})
        assert caught.value.code == "disk.full" and "safe" in caught.value.hint
        assert await store.marks() == {}
        assert (await store.pending("s")).count == 0
        assert await store.get("things", "t0") is None
        assert await store.get("things", "before") is not None
        await pragma(store, "max_page_count", 1 << 30)
        await store.commit(rows, route=one_stream)
        assert (await store.pending("s")).count == 100
        assert await store.integrity() == []

    async def test_on_a_full_disk_what_fits_is_kept_critical_first(
        self, store: SqliteStore
    ) -> None:
        await pragma(store, "max_page_count", await pragma(store, "page_count") + 6)
        big = [thing(f"t{i}", name="x" * 9_000) for i in range(20)]
        tries = [store.commit([row]) for row in big]
        tries.append(store.commit([sale("urgent", lane=CRITICAL)]))
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert not isinstance(done[-1], BaseException)
        failed = [isinstance(d, Full) for d in done[:-1]]
        assert any(failed)
        kept = [await store.get("things", f"t{i}") is None for i in range(20)]
        assert kept == failed

    async def test_a_disk_that_is_really_full(self, tmp_path: Path) -> None:
        """On a file system of 3 MB of its own, where mounting one is allowed."""
        disk = tmp_path / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=3m", "beira-test", str(disk)]
        try:
            mounted = subprocess.run(command, capture_output=True).returncode == 0
        except FileNotFoundError:
            mounted = False
        if not mounted:
            pytest.skip("file systems cannot be mounted here")
        try:
            await self._fill(disk)
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    async def _fill(self, disk: Path) -> None:
        store = await open_store(disk, reserve_bytes=0)
        kept = []
        with pytest.raises(Full) as caught:
            for i in range(2_000):
                await store.commit([thing(f"t{i}", name="x" * 8_000)], route=one_stream)
                kept.append(f"t{i}")
        assert caught.value.code == "disk.full" and len(kept) > 50
        assert (await store.pending("s")).count == len(kept)
        await store.close()
        assert (await self._reopened(disk, kept)) == []

    async def _reopened(self, disk: Path, kept: list[str]) -> list[str]:
        again = await open_store(disk, reserve_bytes=0)
        missing = [id for id in kept if await again.get("things", id) is None]
        assert await again.integrity() == []
        await again.close()
        return missing

    async def test_the_queue_is_bounded(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "WRITE_QUEUE", 5)
        held = asyncio.Event()
        blocker = asyncio.create_task(
            store._writer.run(_wait_for(held, asyncio.get_running_loop()))
        )
        await asyncio.sleep(0.05)
        tries = [asyncio.create_task(store.commit([sale(f"s{i}")])) for i in range(7)]
        await asyncio.sleep(0.05)
        held.set()
        done = await asyncio.gather(*tries, return_exceptions=True)
        await blocker
        full = [d for d in done if isinstance(d, Full)]
        assert [f.code for f in full] == ["queue.full"] * 2 and full[0].hint
        await store.commit([sale("after")])

    async def test_reads_are_bounded(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(readers, "WAITING", 3)
        done = await asyncio.gather(
            *(store.get("sales", "x") for _ in range(10)), return_exceptions=True
        )
        assert [getattr(d, "code", None) for d in done] == [None] * 3 + ["reads.full"] * 7

    async def test_a_question_that_takes_too_long_is_ended(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(readers, "TIMEOUT_S", 0.05)
        endless = (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
        )
        with pytest.raises(Unavailable) as caught:
            await store._readers.run(lambda connection: connection.execute(endless).fetchall())
        assert caught.value.code == "query.slow" and caught.value.hint
        assert await store.get("sales", "s1") is None
        assert await store.integrity() == []

    async def test_the_log_does_not_grow_without_end(self, store: SqliteStore) -> None:
        for i in range(40):
            await store.commit([thing(f"t{i}-{j}", name="x" * 4_000) for j in range(100)])
        log = store.path.with_name("node.db-wal")
        assert log.stat().st_size < 16_777_216 + 4_194_304
        assert store.size_bytes() >= store.path.stat().st_size


def _wait_for(held: asyncio.Event, loop: asyncio.AbstractEventLoop) -> Any:
    return lambda: asyncio.run_coroutine_threadsafe(held.wait(), loop).result(10)


class TestOpening:
    async def test_a_second_writer_is_refused(self, store: SqliteStore) -> None:
        with pytest.raises(Misconfigured) as caught:
            await open_store(store.path.parent)
        assert caught.value.code == "store.locked" and caught.value.hint
        await store.commit([sale("s1")])

    async def test_a_second_process_is_refused(self, store: SqliteStore) -> None:
        code = (
            "import asyncio, sys\n"
            "from beira.store.sqlite import SqliteStore\n"
            "from tests.contract.records import REGISTRY\n"
            "asyncio.run(SqliteStore.open(sys.argv[1], REGISTRY))\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, str(store.path)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert ran.returncode != 0 and "already open in another process" in ran.stderr

    async def test_the_lock_goes_with_the_store(self, tmp_path: Path) -> None:
        for _ in range(3):
            await (await open_store(tmp_path)).close()

    @pytest.mark.parametrize("cut", ["header", "middle", "schema", "short"])
    async def test_a_corrupt_file_is_said_and_left_untouched(
        self, tmp_path: Path, cut: str
    ) -> None:
        store = await open_store(tmp_path)
        await store.commit([thing(f"t{i}", name="x" * 3_000) for i in range(100)])
        await store.close()
        path = tmp_path / "node.db"
        data = bytearray(path.read_bytes())
        if cut == "short":
            data = data[: len(data) // 2 + 100]
        else:
            at = {"header": 0, "schema": 200, "middle": 4_096 * 2}[cut]
            data[at : at + 40_000] = os.urandom(40_000)
        path.write_bytes(data)
        with pytest.raises(Corrupt) as caught:
            await open_store(tmp_path)
        assert caught.value.code == "store.corrupt"
        assert str(path) in caught.value.message and "beira node repair" in caught.value.hint
        assert path.read_bytes() == bytes(data)

    async def test_a_damaged_file_keeps_its_log(self, tmp_path: Path) -> None:
        """Whoever repairs it needs both as they were."""
        store = await open_store(tmp_path / "killed")
        await store.commit([thing(f"t{i}", name="x" * 3_000) for i in range(100)])
        await pragma(store, "wal_checkpoint", "truncate")
        await store.commit([sale("s1")])
        copies = {}
        for name in ("node.db", "node.db-wal"):
            copies[name] = bytearray((tmp_path / "killed" / name).read_bytes())
        await store.close()
        copies["node.db"][8_192:60_000] = os.urandom(60_000 - 8_192)
        for name, data in copies.items():
            (tmp_path / name).write_bytes(data)
        with pytest.raises(Corrupt):
            await open_store(tmp_path)
        for name, data in copies.items():
            assert (tmp_path / name).read_bytes() == bytes(data), name

    async def test_a_failed_opening_can_be_tried_again(self, tmp_path: Path) -> None:
        path = tmp_path / "node.db"
        path.write_bytes(b"not a database" * 100)
        with pytest.raises(Corrupt):
            await open_store(tmp_path)
        path.unlink()
        await (await open_store(tmp_path)).close()

    async def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(Misconfigured) as caught:
            await SqliteStore.open(tmp_path / "file" / "node.db", REGISTRY)
        assert caught.value.code == "store.denied" and caught.value.hint

    def test_a_folder_without_the_right_to_write(self, tmp_path: Path) -> None:
        """In a process that is nobody, for root may write everywhere."""
        tmp_path.chmod(0o555)
        code = (
            "import asyncio, os, sys\n"
            "from beira.store.sqlite import SqliteStore\n"
            "from tests.contract.records import REGISTRY\n"
            "os.chdir('/')\n"
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "asyncio.run(SqliteStore.open(sys.argv[1], REGISTRY))\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "node.db")],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        tmp_path.chmod(0o755)
        assert ran.returncode != 0
        assert "Misconfigured" in ran.stderr and "cannot be written" in ran.stderr

    async def test_another_programs_database_is_left_alone(self, tmp_path: Path) -> None:
        other = apsw.Connection(str(tmp_path / "node.db"))
        other.execute("CREATE TABLE theirs (x)")
        other.close()
        before = (tmp_path / "node.db").read_bytes()
        with pytest.raises(Misconfigured) as caught:
            await open_store(tmp_path)
        assert caught.value.code == "store.foreign"
        assert (tmp_path / "node.db").read_bytes() == before

    async def test_a_newer_format_is_refused(self, tmp_path: Path) -> None:
        await (await open_store(tmp_path)).close()
        other = apsw.Connection(str(tmp_path / "node.db"))
        other.execute("PRAGMA user_version = 99")
        other.close()
        with pytest.raises(Misconfigured) as caught:
            await open_store(tmp_path)
        assert caught.value.code == "store.newer" and "Update" in caught.value.hint

    async def test_an_older_format_is_refused(self, tmp_path: Path) -> None:
        await (await open_store(tmp_path)).close()
        other = apsw.Connection(str(tmp_path / "node.db"))
        other.execute("PRAGMA user_version = 1")
        other.close()
        with pytest.raises(Misconfigured) as caught:
            await open_store(tmp_path)
        assert caught.value.code == "store.older" and "enrol" in caught.value.hint

    async def test_files_are_private(self, store: SqliteStore) -> None:
        await store.commit([sale("s1")])
        for name in ("node.db", "node.db-wal", "node.db.lock"):
            mode = stat.S_IMODE((store.path.parent / name).stat().st_mode)
            assert mode & 0o077 == 0, name

    async def test_another_that_holds_the_database_is_waited_for_then_said(
        self, store: SqliteStore
    ) -> None:
        await asyncio.to_thread(store._changes.connection.set_busy_timeout, 50)
        other = apsw.Connection(str(store.path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            await store.commit([sale("s1")])
        assert caught.value.code == "store.busy"
        other.execute("ROLLBACK")
        other.close()
        await store.commit([sale("s1")])


class TestEncryption:
    async def test_nothing_readable_is_on_the_disk(self, tmp_path: Path) -> None:
        store = await open_store(tmp_path, key=KEY)
        await store.commit([thing("t", name="segredo-de-estado")])
        for file in tmp_path.iterdir():
            assert b"segredo" not in file.read_bytes() and b"SQLite" not in file.read_bytes()[:16]
        await store.close()
        again = await open_store(tmp_path, key=KEY)
        assert (await again.get("things", "t")) is not None
        await again.close()

    @pytest.mark.parametrize("key", [None, bytes(32)])
    async def test_another_key_opens_nothing(self, tmp_path: Path, key: bytes | None) -> None:
        await (await open_store(tmp_path, key=KEY)).close()
        with pytest.raises(Corrupt) as caught:
            await open_store(tmp_path, key=key)
        assert "key" in caught.value.hint

    async def test_keys_that_cannot_be(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured):
            await open_store(tmp_path, key=b"short")
        await (await open_store(tmp_path)).close()
        with pytest.raises(Misconfigured) as caught:
            await open_store(tmp_path, key=KEY)
        assert "not encrypted" in caught.value.message


class TestErrorsInTheGroup:
    async def test_a_bug_in_a_route_fails_that_commit_alone(self, store: SqliteStore) -> None:
        def broken(row: Any) -> str:
            raise ZeroDivisionError

        tries = [store.commit([sale(f"s{i}")], route=one_stream) for i in range(6)]
        tries.insert(3, store.commit([sale("bad")], route=broken))
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(d).__name__ for d in done].count("ZeroDivisionError") == 1
        assert await store.get("sales", "bad") is None
        assert (await store.pending("s")).count == 6

    async def test_numbers_stay_unique_when_one_of_a_group_fails(self, store: SqliteStore) -> None:
        await store.commit([thing("a", name="x")])
        bad = thing("a", ms=5, partition="site:2")
        for _ in range(5):
            tries = [store.commit([sale(os.urandom(8).hex())], route=one_stream) for _ in range(4)]
            tries.insert(2, store.commit([sale(os.urandom(8).hex()), bad], route=one_stream))
            await asyncio.gather(*tries, return_exceptions=True)
        found = await store.since("s", 0, most=100, most_bytes=1 << 20)
        assert len(found.rows) == 20
        assert (await store.pending("s")).last >= 20

    async def test_the_writer_survives_anything(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def gone(path: Path) -> int:
            raise OSError("stale file handle")

        monkeypatch.setattr("beira.store.sqlite.writer.free_bytes", gone)
        with pytest.raises(BeiraError):
            await store.commit([sale("s1")])
        monkeypatch.undo()
        await store.commit([sale("s2")])


async def test_readers_cannot_write(tmp_path: Path) -> None:
    async def check() -> None:
        store = await open_store(tmp_path)
        with pytest.raises(Misconfigured):
            await store._readers.run(lambda c: c.execute("DELETE FROM sales"))
        await store.close()

    await check()


def test_the_engine_is_new_enough() -> None:
    assert apsw.sqlite_lib_version() >= "3.45"


async def test_a_writer_at_rest_gives_its_page_cache_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once as it rests, and again after each time that it worked."""

    def look() -> int:
        return store._changes.connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)[0]

    async def cached_bytes() -> int:  # asked on the writer's thread, so it cannot rest meanwhile
        return await store._writer.run(look)

    monkeypatch.setattr(writer, "REST_AFTER_S", 3_600.0)
    store = await open_store(tmp_path)
    try:
        for turn in range(2):
            held = [thing(f"t{turn}-{n}", name="x" * 200) for n in range(500)]
            await store.commit(held, route=one_stream)
            busy = await cached_bytes()
            monkeypatch.setattr(writer, "REST_AFTER_S", 0.01)
            while await cached_bytes() > busy / 2:
                await asyncio.sleep(0.05)
            monkeypatch.setattr(writer, "REST_AFTER_S", 3_600.0)
        assert (await store.get("things", "t0-0")) is not None
    finally:
        await store.close()

"""Law 1, durable before done: what was confirmed survives `kill -9` and a power cut at any moment.

A killed process keeps what it gave to the kernel; a power cut keeps only what was synced. The first
is shown with a real process, the second with a file system that forgets what was not synced.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.contract.records import REGISTRY, one_stream, sale, thing

from beira.kernel.errors import Full
from beira.store.sqlite import SqliteStore

ROUNDS = int(os.environ.get("BEIRA_CHAOS_ROUNDS", "4"))
WRITER = """
import asyncio, os, sys
from beira.store.sqlite import SqliteStore
from tests.contract.records import REGISTRY, one_stream, part, sale

async def write(store, writer, start):
    for i in range(start, 1_000_000):
        id = f"{writer}-{i}"
        rows = [sale(id, ms=i), part(f"t{writer}", ms=i, number=i)]
        await store.commit(rows, route=one_stream, marks={f"w{writer}": i})
        os.write(1, (id + "\\n").encode())
        if i % 50 == 0:
            pending = await store.pending("s")
            await store.trim("s", pending.last - 40)

async def main():
    key = bytes.fromhex(sys.argv[3]) or None
    store = await SqliteStore.open(sys.argv[1], REGISTRY, key=key, reserve_bytes=0)
    os.write(1, b"open\\n")
    start = int(sys.argv[2])
    await asyncio.gather(*(write(store, w, start) for w in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_kill_9_loses_no_confirmed_commit(tmp_path: Path, seed: int) -> None:
    """Every other round on an encrypted database."""
    path, confirmed, dice = tmp_path / "node.db", set[str](), random.Random(seed)
    key = bytes(range(32)) if seed % 2 else None
    for start in (0, 10_000, 20_000):
        confirmed |= _killed_writer(path, start, dice.uniform(0.02, 0.5), key)
        await _check(path, confirmed, key=key)
    assert len(confirmed) > 3


def _killed_writer(path: Path, start: int, after_s: float, key: bytes | None) -> set[str]:
    """The ids a writing process had confirmed when it was killed, `after_s` after its first."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(start), (key or b"").hex()],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    first = process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait(30)
    process.stdout.close()
    return {line for line in (first + rest).decode().split("\n")[:-1] if line}


async def _check(
    path: Path, confirmed: set[str], vfs: ForgetfulVFS | None = None, key: bytes | None = None
) -> None:
    if vfs is not None:
        vfs.fault = lambda call: None
    store = await SqliteStore.open(path, REGISTRY, key=key, reserve_bytes=0)
    try:
        missing = [id for id in confirmed if await store.get("sales", id) is None]
        assert missing == []
        assert await store.integrity() == []
        marks = await store.marks()
        for writer in range(8):
            numbers = [int(id.split("-")[1]) for id in confirmed if id.startswith(f"{writer}-")]
            assert marks.get(f"w{writer}", -1) >= max(numbers, default=-1)
        named = await store.since("s", 0, most=100_000, most_bytes=1 << 30)
        assert len(named.rows) == (await store.pending("s")).count
    finally:
        await store.close()


class ForgetfulVFS(apsw.VFS):
    """The usual file system, with a shadow of each file that holds only what was synced."""

    def __init__(self, shadow: Path) -> None:
        self.shadow = shadow
        self.usual = apsw.vfs_names()[0]
        self.files: list[ForgetfulFile] = []
        self.deleted: list[Path] = []
        self.cuts = 0
        self.fault: Callable[[str], None] = lambda call: None
        super().__init__("forgetful", self.usual, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        file = ForgetfulFile(self, name, flags)
        self.files.append(file)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.deleted.append(self.shadow / Path(filename).name)
        if syncdir:
            self.sync_folder(self.shadow.parent)

    def sync_folder(self, folder: Path) -> None:
        """A name taken away may come back after a power cut, until its folder was synced."""
        for path in self.deleted:
            path.unlink(missing_ok=True)
        self.deleted.clear()


class ForgetfulFile(apsw.VFSFile):
    def __init__(self, vfs: ForgetfulVFS, name: Any, flags: list[int]) -> None:
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.vfs = vfs
        self.shadow = vfs.shadow / Path(filename or "temporary").name
        self.unsynced: list[tuple[str, int, bytes]] = []
        super().__init__(vfs.usual, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.vfs.fault("write")
        self.unsynced.append(("write", offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self.unsynced.append(("truncate", size, b""))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self.vfs.fault("sync")
        super().xSync(flags)
        apply_to(self.shadow, self.unsynced)
        self.unsynced.clear()


def apply_to(path: Path, changes: list[tuple[str, int, bytes]]) -> None:
    path.touch()
    with path.open("r+b") as file:
        for what, at, data in changes:
            if what == "truncate":
                file.truncate(at)
            else:
                file.seek(at)
                file.write(data)


@pytest.fixture
def vfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgetfulVFS]:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    made = ForgetfulVFS(shadow)
    monkeypatch.setattr("beira.store.sqlite.files.sync_folder", made.sync_folder)
    yield made
    apsw.set_default_vfs(made.usual)
    made.unregister()


def cut(vfs: ForgetfulVFS, dice: random.Random) -> Path:
    """The disk as a power cut leaves it now: what was synced, and some of what was not."""
    vfs.cuts += 1
    left = vfs.shadow.with_name(f"cut{vfs.cuts}")
    shutil.copytree(vfs.shadow, left)
    for file in vfs.files:
        torn = [change for change in file.unsynced if dice.random() < 0.5]
        if torn:
            apply_to(left / file.shadow.name, torn)
    return left / "node.db"


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_power_cut_loses_no_confirmed_commit(
    tmp_path: Path, vfs: ForgetfulVFS, seed: int
) -> None:
    dice = random.Random(seed)
    store = await SqliteStore.open(tmp_path / "node.db", REGISTRY, reserve_bytes=0)
    confirmed: list[str] = []
    left: list[tuple[Path, list[str]]] = []

    async def write(number: int) -> None:
        rows = [sale(f"s{number}", ms=number), thing(f"t{number}", ms=number, name="x" * 3_000)]
        await store.commit(rows, route=one_stream)
        confirmed.append(f"s{number}")

    for number in range(120):
        if dice.random() < 0.5:
            await write(number)
        else:
            await asyncio.gather(*(write(number * 1_000 + i) for i in range(dice.randrange(2, 9))))
        if dice.random() < 0.1:
            left.append((cut(vfs, dice), list(confirmed)))
    left.append((cut(vfs, dice), list(confirmed)))
    await store.close()
    for path, ids in left:
        await _check(path, set(ids))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_disk_that_fails_now_and_then_loses_no_confirmed_commit(
    tmp_path: Path, vfs: ForgetfulVFS, seed: int
) -> None:
    """Every refused commit says why; every confirmed one is on the disk; what was refused can be
    written again, and nothing is kept by halves."""
    dice = random.Random(seed)
    store = await SqliteStore.open(tmp_path / "node.db", REGISTRY, reserve_bytes=0)
    confirmed: set[str] = set()
    refused: list[int] = []

    def fault(call: str) -> None:
        if dice.random() < {"write": 0.01, "sync": 0.1}[call]:
            raise dice.choice([apsw.FullError, apsw.IOError])("a fault of the test's")

    async def write(number: int) -> None:
        rows = [sale(f"s{number}", ms=number), thing(f"t{number}", ms=number, name="x" * 3_000)]
        try:
            await store.commit(rows, route=one_stream)
        except Full:
            refused.append(number)
        else:
            confirmed.add(f"s{number}")

    vfs.fault = fault
    for first in range(0, 400, 5):
        await asyncio.gather(*(write(number) for number in range(first, first + 5)))
    await _check(cut(vfs, dice), confirmed, vfs)
    again, refused = list(refused), []
    assert again and confirmed
    await asyncio.gather(*(write(number) for number in again))
    assert not refused and len(confirmed) == 400
    found = await store.since("s", 0, most=1_000, most_bytes=1 << 30)
    assert len(found.rows) == 800 and await store.integrity() == []
    await store.close()


async def test_the_forgetful_file_system_notices_a_missing_sync(
    tmp_path: Path, vfs: ForgetfulVFS
) -> None:
    """The test above can fail: with `synchronous=NORMAL` a confirmed commit is lost."""
    store = await SqliteStore.open(tmp_path / "node.db", REGISTRY, reserve_bytes=0)
    await store.commit([thing("first")])
    await _check(_synced_only(vfs, "before"), set())
    await asyncio.to_thread(store._changes.connection.pragma, "synchronous", "normal")
    await store.commit([sale("s1")])
    with pytest.raises(AssertionError):
        await _check(_synced_only(vfs, "after"), {"s1"})
    await store.close()


def _synced_only(vfs: ForgetfulVFS, name: str) -> Path:
    left = vfs.shadow.with_name(name)
    shutil.copytree(vfs.shadow, left)
    return left / "node.db"

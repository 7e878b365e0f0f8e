"""A node's backup and its restore on a bare machine, beside copying and hashing the same bytes.

    python -m benchmarks.backup [--quick] [--bytes N] [--no-cloud]

The peer is what one would do by hand with the node stopped: `cp`, `sync`, and `sha256sum` of the copy;
nothing is sealed, nothing is incremental, and it brings no identity back. Ours are the commands
themselves, as processes, with the cloud and its embedded PostgreSQL in this one. Half of the bits in
the database can be compressed away, as in records of people.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from beira.cloud import program as cloud_program
from beira.cloud.program import Cloud, CloudConfig
from beira.host.listen import Listen
from beira.identity.tenants import service
from beira.node import backup_files, settled
from beira.node import program as node_program
from beira.store.sqlite.files import connect, start_log
from benchmarks.figures import figure, percentile

FULL_BYTES, QUICK_BYTES = 10_000_000_000, 200_000_000
ROW_BYTES = 8_000
TARGET_S = 600.0
STALL_MS = 50.0
CHANGED_ROWS = 40
SNAPSHOTS = 30
WAIT_S = 3_600
LOOKS = f"""
import pathlib, sys, time
from beira.node.backup_source import snapshot
for _ in range({SNAPSHOTS}):
    with snapshot(pathlib.Path(sys.argv[1]), None):
        time.sleep(0.1)
"""


WRITES = """
import pathlib, sys, threading, time
from beira.store.sqlite.files import connect

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
connection = connect(pathlib.Path(sys.argv[1]), None, writer=True)
connection.execute("CREATE TABLE IF NOT EXISTS ticks (at REAL)")
took_ms = []

def waited_ms():
    # of this thread, in nanoseconds: on a processor, waiting for one
    return int(open("/proc/thread-self/schedstat").read().split()[1]) / 1e6

while not ended.wait(0.005):
    begun, waited = time.perf_counter(), waited_ms()
    connection.execute("INSERT INTO ticks VALUES (?)", (begun,))
    took_ms.append((time.perf_counter() - begun) * 1_000 - (waited_ms() - waited))
connection.close(True)
print(*took_ms)
"""


def fill(path: Path, size_bytes: int) -> None:
    """A database of so many bytes, half of whose bits are noise."""
    connection = connect(path, None, writer=True)
    start_log(connection, path)
    connection.pragma("synchronous", "off")
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, said TEXT)")
    left = size_bytes // ROW_BYTES
    while left > 0:
        some = min(left, 5_000)
        rows = ((os.urandom(ROW_BYTES // 2).hex(),) for _ in range(some))
        with connection:
            connection.executemany("INSERT INTO notes (said) VALUES (?)", rows)
        left -= some
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close(True)


def change(path: Path, rows: int) -> None:
    """Here and there a row is another."""
    connection = connect(path, None, writer=True)
    last = connection.execute("SELECT max(id) FROM notes").get
    with connection:
        for _ in range(rows // 10):
            first = random.randint(1, last - 10)  # people work on what is recent and lies together
            connection.execute(
                "UPDATE notes SET said = ? WHERE id BETWEEN ? AND ?",
                (os.urandom(ROW_BYTES // 2).hex(), first, first + 9),
            )
    connection.close(True)


class Writer:
    """Commits a row every few milliseconds, each synced, as the node's writer does: in a process of its
    own, as a node is. `took_ms` without what a commit waited for a processor: other programs on a
    shared machine take that, and a backup gives way to them."""

    def __init__(self, path: Path) -> None:
        program = [sys.executable, "-c", WRITES, str(path)]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.took_ms: list[float] = []

    def stop(self) -> None:
        said, _ = self._process.communicate()  # its standard input ends, and so does it
        self.took_ms = [float(line) for line in said.split()]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Writer]:
    writer = Writer(path)
    try:
        yield writer
    finally:
        writer.stop()


async def beira(*arguments: str) -> tuple[float, str]:
    """Run a command; how many seconds it took, and what it said."""
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "beira.cli", *arguments,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0, said.decode()
    return time.perf_counter() - begun, said.decode()


def by_hand(database: Path, copy: Path) -> tuple[float, float]:
    """Seconds to copy and sync a file, and to copy it back with its hash compared."""
    begun = time.perf_counter()
    subprocess.run(["cp", str(database), str(copy)], check=True)
    subprocess.run(["sync", str(copy)], check=True)
    middle = time.perf_counter()
    subprocess.run(["sha256sum", str(copy)], check=True, stdout=subprocess.DEVNULL)
    back = copy.with_suffix(".back")
    subprocess.run(["cp", str(copy), str(back)], check=True)
    subprocess.run(["sync", str(back)], check=True)
    took = middle - begun, time.perf_counter() - middle
    copy.unlink(), back.unlink()
    return took


async def measure(cloud: Cloud, address: str, folder: Path, size: int, in_cloud: bool) -> None:
    tenants = cloud.identity.tenants
    await tenants.create(service(""), "Bench", id="bench")
    await tenants.add_site(service("bench"), "s", id="s")
    code = await cloud.identity.nodes.make_code(service("bench"), "s", name="node")
    data, usb = folder / "node", folder / "usb"
    usb.mkdir()
    await node_program.enrol(data, address, code.code)
    database = data / "node.db"
    await asyncio.to_thread(fill, database, size)
    gigabytes = database.stat().st_size / 1e9
    copied_s, _ = await asyncio.to_thread(by_hand, database, folder / "copy")
    key = (await beira("node", "backup-key", "--data", str(data)))[1].split("\n\n")[1].strip()

    with writing(database) as alone:
        await asyncio.sleep(5)
    with writing(database) as frozen:
        looked = await asyncio.create_subprocess_exec(sys.executable, "-c", LOOKS, str(data))
        assert await asyncio.wait_for(looked.wait(), WAIT_S) == 0
    with writing(database) as beside:
        took_s, _ = await beira("node", "backup", "--now", "--data", str(data), "--to", str(usb))
    told = backup_files.status(data).places[str(usb)]
    assert told.checked_ms, "the disk had no room to check it"
    whole_bytes = told.new_bytes
    figure("backup.size", gigabytes, "GB")
    figure(
        "backup.first", took_s, "s", peer="cp, sync", ratio=took_s / copied_s,
        target="sealed, read back whole, its database checked",
    )  # fmt: skip
    figure("backup.stored", whole_bytes / 1e9, "GB", ratio=whole_bytes / 1e9 / gigabytes)
    figure(
        "backup.snapshot_write_worst", max(frozen.took_ms), "ms", peer="no backup, worst",
        ratio=max(frozen.took_ms) / max(alone.took_ms), target=f"< {STALL_MS:.0f}",
        met=max(frozen.took_ms) < STALL_MS,
    )  # fmt: skip
    stall, usual = max(beside.took_ms), percentile(alone.took_ms, 0.99)
    figure("backup.write_p99", percentile(beside.took_ms, 0.99), "ms", peer="no backup",
           ratio=percentile(beside.took_ms, 0.99) / usual)  # fmt: skip
    figure(
        "backup.write_worst", stall, "ms", peer="no backup, worst",
        ratio=stall / max(alone.took_ms), target=f"< {STALL_MS:.0f}", met=stall < STALL_MS,
    )  # fmt: skip

    await asyncio.to_thread(change, database, CHANGED_ROWS)
    took_s, _ = await beira("node", "backup", "--now", "--data", str(data), "--to", str(usb))
    share = backup_files.status(data).places[str(usb)].new_bytes / whole_bytes
    figure("backup.again", took_s, "s", peer="cp, sync", ratio=took_s / copied_s)
    figure("backup.again_stored", share * 100, "% of the first", target="< 5", met=share < 0.05)

    await restored(cloud, address, folder, data, key, ("--from", str(usb)), gigabytes)
    shutil.rmtree(usb)
    if in_cloud:
        took_s, _ = await beira("node", "backup", "--now", "--data", str(data))
        figure("backup.first_to_cloud", took_s, "s", peer="cp, sync", ratio=took_s / copied_s)
        took_s, _ = await beira("node", "backup", "--now", "--data", str(data))
        figure("backup.again_to_cloud", took_s, "s")
        await restored(cloud, address, folder, data, key, (), gigabytes)


async def restored(
    cloud: Cloud,
    address: str,
    folder: Path,
    data: Path,
    key: str,
    where: tuple[str, ...],
    gigabytes: float,
) -> None:
    _, peer_s = await asyncio.to_thread(by_hand, data / "node.db", folder / "copy")
    node = settled.load(data).enrolled.node
    code = await cloud.identity.nodes.make_code(service("bench"), "s", node=node)
    bare = folder / "bare"
    took_s, _ = await beira(
        "node", "restore", code.code, "--cloud", address, "--recovery-key", key,
        "--data", str(bare), *where,
    )  # fmt: skip
    name = "restore.from_folder" if where else "restore.from_cloud"
    figure(
        name, took_s, "s", peer="sha256sum, cp, sync", ratio=took_s / peer_s,
        target=f"< {TARGET_S:.0f} at 10 GB", met=took_s / gigabytes * 10 < TARGET_S,
    )  # fmt: skip
    figure(name + "_rate", gigabytes * 1_000 / took_s, "MB/s")
    (data / "node.key").write_bytes(
        (bare / "node.key").read_bytes()
    )  # so that it is the node again
    (data / "node.json").write_bytes((bare / "node.json").read_bytes())
    shutil.rmtree(bare)


async def main(size: int, in_cloud: bool, place: Path | None) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(dir=place) as made:
        folder = Path(made)
        folder.chmod(0o755)
        assert shutil.disk_usage(folder).free > 5 * size, (
            "this needs five times the size on the disk"
        )
        async with cloud_program.running(CloudConfig(folder / "cloud", Listen())) as (
            cloud,
            address,
        ):
            await measure(cloud, address, folder, size, in_cloud)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--no-cloud", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    size = given.bytes or (QUICK_BYTES if given.quick else FULL_BYTES)
    asyncio.run(main(size, not given.no_cloud, given.folder))

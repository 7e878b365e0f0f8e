"""How fast the node's store is, beside what its disk and a plain SQLite allow.

    python -m benchmarks.store [--quick] [--folder DIR]

One JSON object a line and figure. `peer` is measured in the same run, in the same folder: for one
write at a time the physical limit (4 KiB appended and synced), for many writers and for reads
Python's own sqlite3 with the same durability. Machines differ: look at the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import IMPORTANT, UP, Registry, collection, collection_of
from beira.kernel.query import Column, Measure, Order, Query, where
from beira.kernel.record import Fact, Row
from beira.store.sqlite import SqliteStore
from benchmarks.store_memory import idle_memory

WRITERS = 64
TARGET_WRITES_PER_S = 5_000
T0_MS = 1_790_000_000_000


@collection("interactions", flow=UP, lane=IMPORTANT)
class Interaction(Fact):
    """About 300 bytes of JSON, as a shop's interactions are."""

    at: datetime
    heard: str
    intent: str
    employee: str
    answer: str
    confidence: float
    latency_ms: int
    confirmed: bool = False


REGISTRY = Registry([collection_of(Interaction)])


def row(number: int) -> Row:
    minutes = number // 60
    day, hour = 1 + minutes // 1440 % 28, minutes // 60 % 24
    fields = {
        "at": f"2026-11-{day:02}T{hour:02}:{minutes % 60:02}:{number % 60:02}Z",
        "heard": "aurora registrar ponto do joão às catorze e trinta",
        "intent": "register_punch",
        "employee": f"João da Silva {number % 40}",
        "answer": "Ponto de João da Silva registrado às 14:30.",
        "confidence": 0.97,
        "latency_ms": number % 900,
        "confirmed": False,
    }
    return Row(
        collection="interactions",
        id=f"{number:032x}",
        partition="site:angeloni-1",
        fields=fields,
        stamp=Stamp(hlc_at(T0_MS + number), int(IMPORTANT), "angeloni-1"),
    )


def route(row: Row) -> str:
    return f"up:{row.stamp.lane}"


def say(
    name: str, value: float, unit: str, *, peer: float | None, target: str, met: bool | None
) -> None:
    """One figure. `ratio` is ours to the peer's."""
    ratio = None if not peer else round(value / peer, 3)
    figure = {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "peer": None if peer is None else round(peer, 3),
        "ratio": ratio,
        "target": target,
        "met": met,
    }
    print(json.dumps(figure), flush=True)


def times_ms(work: Callable[[int], object], count: int) -> list[float]:
    taken = []
    for number in range(count):
        start = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def p(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def synced_appends_ms(folder: Path, count: int) -> list[float]:
    """The physical limit of one durable write: 4 KiB appended to a file and synced."""
    with (folder / "appended").open("wb", buffering=0) as file:

        def append(number: int) -> None:
            file.write(b"x" * 4_096)
            os.fdatasync(file.fileno())

        return times_ms(append, count)


PLAIN_TABLE = """
CREATE TABLE interactions (id TEXT PRIMARY KEY, partition TEXT, hlc INTEGER, lane INTEGER,
  node TEXT, at TEXT, heard TEXT, intent TEXT, employee TEXT, answer TEXT, confidence REAL,
  latency_ms INTEGER, confirmed INTEGER);
CREATE INDEX interactions_at ON interactions (at);
CREATE TABLE outbox (number INTEGER PRIMARY KEY, id TEXT);
"""


def plain_sqlite(folder: Path, name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / name, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(PLAIN_TABLE)
    return connection


def plain_insert(connection: sqlite3.Connection, number: int) -> None:
    made = row(number)
    values = (made.id, made.partition, *made.stamp, *made.fields.values())
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO interactions VALUES ({marks})", values)
    connection.execute("INSERT INTO outbox (id) VALUES (?)", (made.id,))


def plain_write(connection: sqlite3.Connection, number: int) -> None:
    """What a program without group commit does: a transaction for each record and its outbox row."""
    connection.execute("BEGIN IMMEDIATE")
    plain_insert(connection, number)
    connection.execute("COMMIT")


@asynccontextmanager
async def opened(folder: Path, name: str, key: bytes | None = None) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(folder / name, REGISTRY, key=key)
    try:
        yield store
    finally:
        await store.close()


async def write_one_at_a_time(folder: Path, count: int) -> None:
    """Interleaved with the peer in turns, for disks are moody."""
    ours: list[float] = []
    limit: list[float] = []
    turns = 4
    async with opened(folder, "one.db") as store:
        for turn in range(turns):
            limit += synced_appends_ms(folder, count // turns)
            for number in range(turn * count, turn * count + count // turns):
                made = row(number)
                start = time.perf_counter()
                await store.commit([made], route=route)
                ours.append((time.perf_counter() - start) * 1e3)
    for percent, target in ((50, 2.5), (99, 3.0)):
        value, peer = p(ours, percent), p(limit, percent)
        say(
            f"store.node.write_one.p{percent}",
            value,
            "ms",
            peer=peer,
            target=f"at most {target} times a synced append",
            met=value <= target * peer,
        )


async def write_with_many(folder: Path, seconds: float, key: bytes | None) -> float:
    """Confirmed writes a second, with 64 writers that each wait for theirs."""
    name = "many-encrypted.db" if key else "many.db"
    async with opened(folder, name, key) as store:
        count, end = 0, time.perf_counter() + seconds

        async def writer(number: int) -> None:
            nonlocal count
            while time.perf_counter() < end:
                count += 1
                await store.commit([row(count)], route=route)

        start = time.perf_counter()
        await asyncio.gather(*(writer(number) for number in range(WRITERS)))
        return count / (time.perf_counter() - start)


async def many_writers(folder: Path, seconds: float) -> None:
    connection = plain_sqlite(folder, "plain.db")
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        plain_write(connection, count)
        count += 1
    peer = count / seconds
    connection.close()
    rates = [
        await write_with_many(folder / str(turn), seconds, None) for turn in made_in(folder, 3)
    ]
    value = statistics.median(rates)
    say(
        "store.node.write_64",
        value,
        "writes/s",
        peer=peer,
        target=f"at least {TARGET_WRITES_PER_S}",
        met=value >= TARGET_WRITES_PER_S,
    )
    encrypted = await write_with_many(folder, seconds, bytes(range(32)))
    say(
        "store.node.write_64.encrypted",
        encrypted,
        "writes/s",
        peer=value,
        target="at least half of the unencrypted",
        met=encrypted >= value / 2,
    )
    say(
        "store.node.encrypted_write_ratio",
        encrypted / value,
        "of unencrypted",
        peer=None,
        target="at least 0.5",
        met=encrypted >= value / 2,
    )


def made_in(folder: Path, count: int) -> list[int]:
    for turn in range(count):
        (folder / str(turn)).mkdir()
    return list(range(count))


async def bulk_and_reads(folder: Path, rows: int) -> None:
    connection = plain_sqlite(folder, "plain-bulk.db")
    start = time.perf_counter()
    for first in range(0, rows, 500):
        connection.execute("BEGIN IMMEDIATE")
        for number in range(first, first + 500):
            plain_insert(connection, number)
        connection.execute("COMMIT")
    peer = rows / (time.perf_counter() - start)
    async with opened(folder, "bulk.db") as store:
        start = time.perf_counter()
        for first in range(0, rows, 500):
            batch = [row(number) for number in range(first, first + 500)]
            await store.commit(batch, route=route)
        value = rows / (time.perf_counter() - start)
        target = "at least 20000 or half of plain sqlite3"
        met = value >= 20_000 or value >= peer / 2
        say("store.node.write_bulk", value, "rows/s", peer=peer, target=target, met=met)
        await reads(store, connection, rows)
        await slices(store, rows)
    connection.close()


async def each_ms(work: Callable[[int], Awaitable[object]], count: int) -> list[float]:
    taken = []
    for number in range(count):
        start = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


async def reads(store: SqliteStore, connection: sqlite3.Connection, rows: int) -> None:
    def number_of(turn: int) -> str:
        return f"{turn * 7919 % rows:032x}"

    ours = await each_ms(lambda turn: store.get("interactions", number_of(turn)), 1_000)
    by_id = "SELECT * FROM interactions WHERE id = ?"
    peer = times_ms(lambda turn: connection.execute(by_id, (number_of(turn),)).fetchone(), 1_000)
    value = p(ours, 50)
    say("store.node.get.p50", value, "ms", peer=p(peer, 50), target="at most 0.5", met=value <= 0.5)

    latest = Query(collection="interactions", order=(Order("at", True),), limit=50)
    ours = await each_ms(lambda turn: store.query(latest, ["site:angeloni-1", "tenant"]), 100)
    sql = "SELECT * FROM interactions ORDER BY at DESC, id DESC LIMIT 50"
    peer = times_ms(lambda turn: connection.execute(sql).fetchall(), 100)
    value = p(ours, 50)
    say(
        "store.node.latest_50.p50",
        value,
        "ms",
        peer=p(peer, 50),
        target="at most 5",
        met=value <= 5,
    )

    hours = Query(
        collection="interactions",
        columns=(Column("at", hour=True), Column(measure=Measure.COUNT)),
        where=where(at__gte="2026-11-01T00:00:00Z"),
        limit=1_000,
    )
    ours = await each_ms(lambda turn: store.query(hours), 5)
    sql = "SELECT substr(at, 1, 13), count(*) FROM interactions WHERE at >= '2026' GROUP BY 1"
    peer = times_ms(lambda turn: connection.execute(sql).fetchall(), 5)
    value, other = p(ours, 50), p(peer, 50)
    target = "at most 3 times plain sqlite3"
    say("store.node.by_hour.p50", value, "ms", peer=other, target=target, met=value <= 3 * other)


async def slices(store: SqliteStore, rows: int) -> None:
    """What the sync's session reads: changes in slices of 1,000."""
    start, after, more, seen = time.perf_counter(), 0, True, 0
    while more:
        found = await store.since("up:1", after, most=1_000, most_bytes=1 << 20)
        after, more, seen = found.upto, found.more, seen + len(found.rows)
    value = seen / (time.perf_counter() - start)
    assert seen == rows
    say("store.node.read_changes", value, "rows/s", peer=None, target="20000", met=value >= 20_000)
    taken = await each_ms(lambda turn: store.pending("up:1"), 10)
    value = p(taken, 50)
    say("store.node.pending.p50", value, "ms", peer=None, target="at most 50", met=value <= 50)


MEMORY = """
import asyncio, sys
from pathlib import Path
from benchmarks.store import memory_of
asyncio.run(memory_of(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def memory_of(folder: Path, rows: int) -> None:
    """Prints how many MB a process grew by while it wrote and read `rows`; run in one of its own."""
    before = memory_kib("VmRSS")
    async with opened(folder, "memory.db") as store:
        for first in range(0, rows, 500):
            await store.commit([row(n) for n in range(first, first + 500)], route=route)
        await store.query(Query(collection="interactions", limit=1_000))
        await slices_quietly(store)
    print((memory_kib("VmHWM") - before) / 1_024)


def memory_kib(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1])


async def slices_quietly(store: SqliteStore) -> None:
    after, more = 0, True
    while more:
        found = await store.since("up:1", after, most=1_000, most_bytes=1 << 20)
        after, more = found.upto, found.more


def memory(folder: Path, rows: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder), str(rows)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    value = float(ran.stdout)
    say(
        f"store.node.memory_{rows}_rows",
        value,
        "MB",
        peer=None,
        target="at most 60",
        met=value <= 60,
    )


def node_at_rest(records: int) -> None:
    """A real node with so many records stored, and no voice, that does nothing."""
    of = f"{records // 1_000}k" if records < 1_000_000 else "1m"
    name = f"store.memory_node_idle_{of}_records_mb"
    value = idle_memory(records).rss
    say(name, value, "MB (RSS)", peer=None, target="at most 80", met=value <= 80)


async def measure(folder: Path, quick: bool) -> None:
    await write_one_at_a_time(folder, 400 if quick else 2_000)
    await many_writers(folder, 2.0 if quick else 6.0)
    await bulk_and_reads(folder, 50_000 if quick else 200_000)
    memory(folder, 50_000 if quick else 300_000)
    node_at_rest(100_000 if quick else 1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="under 50 s")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="beira-bench-") as folder:
        asyncio.run(measure(Path(folder), given.quick))


if __name__ == "__main__":
    main()

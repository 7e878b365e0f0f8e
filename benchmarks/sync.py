"""Push and pull of 10,000 records of about 300 bytes, durable at both ends, beside a bare loop.

    python -m benchmarks.sync [--quick]

The peer is what one would write in an afternoon: batches of 500 as zstd-JSON over HTTP into the same
PostgreSQL, with none of identity, lanes, merging, tenants or feeds. Both run in this process, over
loopback, against an embedded PostgreSQL with full durability; nodes write SQLite with full sync.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import asyncpg
import msgspec
import structlog
import zstandard
from litestar import Litestar, Request, post

from beira.host.host import Host, Place
from beira.host.serve import Listen, serving
from beira.host.wall import SystemWall
from beira.kernel.access import Principal
from beira.kernel.app import App, catalogue
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    IMPORTANT,
    TENANT,
    UP,
    Personal,
    collection,
    collection_of,
)
from beira.kernel.record import Fact, Record, State
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.store.sqlite import SqliteStore
from beira.sync.agent import Agent
from beira.sync.gate import Gate, Still
from beira.sync.link import CloudConnector
from beira.sync.routes import sync_routes
from beira.sync.streams import feed_route, log_route
from benchmarks.figures import figure, percentile

RECORDS = 10_000
BATCH = 500
NAMES = ("João Silva", "Ana Souza", "Maria Lima", "Pedro Alves", "Carla Reis")


@collection("bench_interactions", flow=UP, lane=IMPORTANT)
class Interaction(Fact):
    """What a shop says to its assistant: about 300 bytes of JSON."""

    at: datetime
    text: Annotated[str, Personal]
    intent: str
    outcome: str
    answer: Annotated[str, Personal]
    confidence: float
    latency_ms: int


@collection("bench_goods", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class Good(State):
    """A catalogue entry of about 300 bytes."""

    name: str
    text: str
    price_cents: int
    place: str


@collection("bench_alarms", flow=UP, lane=CRITICAL)
class Alarm(Fact):
    text: str


APP = App(
    name="bench",
    title="Bench",
    collections=tuple(collection_of(record) for record in (Interaction, Good, Alarm)),
)


def interaction(i: int) -> Interaction:
    who = NAMES[i % len(NAMES)]
    return Interaction(
        at=datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(seconds=37 * i),
        text=f"registrar ponto do {who} às {8 + i % 10} e {i % 60:02}",
        intent="register_punch",
        outcome="done",
        answer=f"Ponto de {who} registrado às {8 + i % 10}:{i % 60:02}.",
        confidence=round(0.9 + (i % 97) / 1000, 3),
        latency_ms=400 + i * 7919 % 500,
    )


def good(i: int) -> Good:
    text = f"Produto {i} da prateleira {i % 40}, embalagem de {i % 9 + 1} unidades, lote {i * 31 % 9973}"
    return Good(
        name=f"Produto {i}", text=text, price_cents=100 + i * 13 % 9_000, place=f"C{i % 40}"
    )


class OpenDoor:
    """Tickets for a benchmark in which nobody clones anybody."""

    async def starts_anew(self, tenant: str, node: str, ticket: int) -> bool:
        return False

    async def present_ticket(self, tenant: str, node: str, ticket: int) -> int:
        return ticket + 1

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        pass


class Token(str):
    """A node's name serves as its token here."""

    async def __call__(self) -> str:
        return str(self)

    def forget(self) -> None:
        pass


class Bench:
    """A cloud on PostgreSQL, and nodes on SQLite that sync with it over loopback."""

    def __init__(self, folder: Path, database: PostgresCloud, address: str, host: Host) -> None:
        self.folder, self.database, self.address, self.cloud = folder, database, address, host

    @contextlib.asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[tuple[Host, Agent]]:
        store = await SqliteStore.open(self.folder / f"{name}.db", CATALOGUE.collections)
        host = Host(
            place=Place(tenant="acme", node=name, site="s1"),
            store=store,
            catalogue=CATALOGUE,
            wall=SystemWall(),
            route=log_route(CATALOGUE.collections),
        )
        await host.start()

        connector = CloudConnector(self.address, Token(name))
        agent = Agent(host=host, store=store, connector=connector, release="bench")
        try:
            yield host, agent
        finally:
            await connector.close()
            await store.close()


CATALOGUE = catalogue([APP])


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="beira-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = await EmbeddedPostgres.start(folder / "postgres")
        database = await PostgresCloud.open(
            server.dsn, CATALOGUE.collections, owner_dsn=server.owner_dsn
        )
        host = Host(
            place=Place(tenant="acme", node="cloud"),
            store=database.tenant("acme"),
            catalogue=CATALOGUE,
            wall=SystemWall(),
            route=feed_route(CATALOGUE.collections),
        )
        await host.start()

        async def host_of(tenant: str) -> Host:
            return host

        async def epoch_of(tenant: str) -> str:
            return "bench"

        async def still() -> None:
            pass

        async def admit(token: str) -> tuple[Principal, Still]:
            return Place(tenant="acme", node=token, site="s1").principal, still

        gate = Gate(host_of=host_of, epoch_of=epoch_of, tickets=OpenDoor(), release="bench")
        pool = await asyncpg.create_pool(server.owner_dsn, min_size=2, max_size=4)
        await pool.execute("CREATE TABLE bare (id text PRIMARY KEY, body jsonb)")
        routes = [sync_routes(gate, admit), bare_route(pool)]
        app = Litestar(
            routes, openapi_config=None, logging_config=None, request_max_body_size=1 << 24
        )
        try:
            async with serving(app, Listen()) as address:
                yield Bench(folder, database, address, host)
        finally:
            await pool.close()
            await database.close()
            await server.stop()


def bare_route(pool: asyncpg.Pool) -> Any:
    """The peer's other half: a batch into one table, committed before it answers."""

    @post("/bare")
    async def bare(request: Request[Any, Any, Any]) -> int:
        plain = zstandard.decompress(await request.body(), max_output_size=1 << 24)
        rows = msgspec.json.decode(plain)
        await pool.execute(
            "INSERT INTO bare SELECT * FROM unnest($1::text[], $2::jsonb[])"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            [row["id"] for row in rows],
            [msgspec.json.encode(row).decode() for row in rows],
        )
        return len(rows)

    return bare


async def bare_push(address: str, records: list[Record]) -> tuple[float, int]:
    """Seconds and bytes of the bare loop."""
    size_bytes = 0
    started_s = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for i in range(0, len(records), BATCH):
            batch = [msgspec.to_builtins(record) for record in records[i : i + BATCH]]
            body = zstandard.compress(msgspec.json.encode(batch))
            size_bytes += len(body)
            async with session.post(address + "/bare", data=body) as response:
                assert response.status == 201
    return time.perf_counter() - started_s, size_bytes


async def write(host: Host, records: list[Record]) -> None:
    for i in range(0, len(records), 1_000):
        async with host.writing() as ctx:
            for record in records[i : i + 1_000]:
                ctx.put(record)


async def drained(agent: Agent) -> float:
    """Seconds until the cloud has confirmed all of the node's log, connection included."""
    started_s = time.perf_counter()
    running = asyncio.ensure_future(agent.run())
    while any(held.count for held in (await agent.pending()).values()):
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - started_s
    await _stop(running)
    return took_s


async def pulled(at: Bench, name: str, records: int) -> float:
    """Seconds until a fresh node has the whole catalogue on disk."""
    end = (await at.cloud.store.pending("feed:tenant")).last
    async with at.node(name) as (host, agent):
        started_s = time.perf_counter()
        running = asyncio.ensure_future(agent.run())
        while (await host.store.marks("cursor:tenant")).get("cursor:tenant", 0) < end:
            await asyncio.sleep(0.005)
        took_s = time.perf_counter() - started_s
        await _stop(running)
        assert await host.store.get("bench_goods", "good-0") is not None
    return took_s


async def bare_pull(at: Bench, records: int) -> float:
    """The peer's pull: pages of 500 from PostgreSQL, inserted into SQLite one transaction a page."""
    import sqlite3

    there = sqlite3.connect(at.folder / f"bare-{time.time_ns()}.db")
    there.execute("PRAGMA journal_mode=WAL")
    there.execute("PRAGMA synchronous=FULL")
    there.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, body TEXT)")
    started_s = time.perf_counter()
    async with at.database.connection() as connection:
        await connection.execute("SELECT set_config('beira.tenant', 'acme', false)")
        last = ""
        while True:
            rows = await connection.fetch(
                "SELECT id, row_to_json(g)::text AS body FROM beira.bench_goods g"
                " WHERE id > $1 ORDER BY id LIMIT 500",
                last,
            )
            if not rows:
                break
            last = rows[-1]["id"]
            packed = zstandard.compress(msgspec.json.encode([tuple(row) for row in rows]))
            page = msgspec.json.decode(zstandard.decompress(packed))
            with there:
                there.executemany("INSERT INTO bare VALUES (?, ?)", page)
    took_s = time.perf_counter() - started_s
    there.close()
    return took_s


async def critical_latencies(at: Bench, times: int) -> list[float]:
    """Milliseconds from a node's commit of a critical record to the cloud's."""
    took: list[float] = []
    async with at.node("critical") as (host, agent):
        running = asyncio.ensure_future(agent.run())
        while not agent.state.connected:
            await asyncio.sleep(0.01)
        for i in range(times):
            arrived = asyncio.Event()
            unsubscribe = at.cloud.store.subscribe(lambda news, seen=arrived: _seen(news, seen))
            started_s = time.perf_counter()
            async with host.writing() as ctx:
                ctx.put(Alarm(text=f"alarme {i}"))
            await arrived.wait()
            took.append((time.perf_counter() - started_s) * 1000)
            unsubscribe()
        await _stop(running)
    return took


def _seen(news: Any, seen: asyncio.Event) -> None:
    if any(name == "bench_alarms" for name, _, _ in news.rows):
        seen.set()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run(rounds: int, records: int) -> None:
    async with bench() as at:
        ours, theirs, sizes = [], [], (0, 0)
        for i in range(rounds):
            batch: list[Record] = [interaction(j) for j in range(records)]
            async with at.node(f"push-{i}") as (host, agent):
                await write(host, batch)
                ours.append(await drained(agent))
                up_bytes = agent.state.bytes_sent
            took_s, bare_bytes = await bare_push(at.address, batch)
            theirs.append(took_s)
            sizes = (up_bytes, bare_bytes)
        rate, bare = records / statistics.median(ours), records / statistics.median(theirs)
        name = "bare zstd-JSON loop"
        ratio = rate / bare
        figure("push", rate, "records/s", peer=name, ratio=ratio, target=">= 1.0 x", met=ratio >= 1)
        json_bytes = sum(len(msgspec.json.encode(record)) for record in batch)
        share = sizes[0] / json_bytes * 100
        figure(
            "push bytes",
            share,
            "% of JSON",
            peer=name,
            ratio=sizes[0] / sizes[1],
            target="<= 12",
            met=share <= 12,
        )
        goods: list[Record] = [good(i) for i in range(records)]
        for i, record in enumerate(goods):
            record.id = f"good-{i}"
        await write(at.cloud, goods)
        ours = [await pulled(at, f"pull-{i}", records) for i in range(rounds)]
        theirs = [await bare_pull(at, records) for _ in range(rounds)]
        rate, bare = records / statistics.median(ours), records / statistics.median(theirs)
        figure(
            "fresh pull", rate, "records/s", peer="bare page loop into SQLite", ratio=rate / bare
        )
        took = await critical_latencies(at, 100)
        p95 = percentile(took, 0.95)
        figure("critical record, node commit to cloud commit, p50", percentile(took, 0.5), "ms")
        figure(
            "critical record, node commit to cloud commit, p95",
            p95,
            "ms",
            target="<= 100",
            met=p95 <= 100,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(run(1 if options.quick else 5, RECORDS))


if __name__ == "__main__":
    main()

"""The cloud's half, a process of its own: sync's doors over an embedded PostgreSQL, and the bare loop's.

python -m benchmarks.sync.cloud FOLDER     prints its address, and runs until its input ends
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import structlog
from litestar import Litestar, Request, get, post

from beira.host.host import Host, Place
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.host.wall import SystemWall
from beira.kernel.access import Principal
from beira.store.port import News
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.sync.cloud.conversation import Still
from beira.sync.cloud.gate import Gate
from beira.sync.cloud.routes import sync_routes
from beira.sync.streams import feed_route, feed_stream
from benchmarks.sync import bare
from benchmarks.sync.workload import CATALOGUE, Good, goods

START_S = 60.0


class OpenDoor:
    """Tickets for a benchmark in which nobody clones anybody."""

    async def present_ticket(
        self, tenant: str, node: str, ticket: int, *, sure: bool = False
    ) -> int:
        return ticket + 1

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        pass


class Cloud:
    """The other process, as seen from the benchmark."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.session = session

    async def ask(self, path: str, **query: int) -> Any:
        async with self.session.post(f"{self.address}/bench/{path}", params=query) as answer:
            assert answer.status == 201, await answer.text()
            return await answer.json()

    async def arrived(self) -> dict[str, float]:
        """When (monotonic) each alarm was in the cloud, by its id."""
        async with self.session.get(f"{self.address}/bench/arrived") as answer:
            found: dict[str, float] = await answer.json()
            return found


@contextlib.asynccontextmanager
async def cloud(folder: Path) -> AsyncIterator[Cloud]:
    """The process, started, and stopped at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.sync.cloud", str(folder),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            address = (await process.stdout.readline()).decode().strip()
        assert address, "The cloud's process did not start; its error is above."
        async with aiohttp.ClientSession() as session:
            yield Cloud(address, session)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), START_S)


async def serve(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
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
    pool = await asyncpg.create_pool(server.owner_dsn, min_size=2, max_size=4)
    await bare.make_tables(pool)
    routes = [_sync(host), *_controls(host), *bare.routes(pool)]
    app = Litestar(routes, openapi_config=None, logging_config=None, request_max_body_size=1 << 24)
    try:
        async with serving(app, Listen()) as address:
            print(address, flush=True)
            await asyncio.to_thread(sys.stdin.read)
    finally:
        await pool.close()
        await database.close()
        await server.stop()


def _sync(host: Host) -> Any:
    async def host_of(tenant: str) -> Host:
        return host

    async def epoch_of(tenant: str) -> str:
        return "bench"

    async def still() -> None:
        pass

    async def admit(token: str) -> tuple[Principal, Still]:
        return Place(tenant="acme", node=token, site="s1").principal, still

    async def renew_epoch(tenant: str, old: str) -> str:
        return old

    gate = Gate(
        host_of=host_of,
        epoch_of=epoch_of,
        renew_epoch=renew_epoch,
        tickets=OpenDoor(),
        release="bench",
    )
    return sync_routes(gate, admit)


def _controls(host: Host) -> list[Any]:
    """What the benchmark asks of this process: seed, update, and say when alarms came."""
    arrived: dict[str, float] = {}

    def heard(news: News) -> None:
        now_s = time.monotonic()
        arrived.update((id, now_s) for name, id, _ in news.rows if name == "bench_alarms")

    host.store.subscribe(heard)

    @post("/bench/goods")
    async def seed(count: int) -> int:
        made = goods(count)
        for i in range(0, count, 1_000):
            async with host.writing() as ctx:
                for record in made[i : i + 1_000]:
                    ctx.put(record, partition="tenant")
        return await host.store.end(feed_stream("tenant"))

    @post("/bench/reprice")
    async def reprice(count: int, by: int) -> int:
        made = goods(count)
        for i in range(0, count, 1_000):
            async with host.writing() as ctx:
                for record in made[i : i + 1_000]:
                    assert isinstance(record, Good)
                    record.price_cents += by
                    ctx.put(record, partition="tenant")
        return await host.store.end(feed_stream("tenant"))

    @get("/bench/arrived")
    async def told(request: Request[Any, Any, Any]) -> dict[str, float]:
        return arrived

    return [seed, reprice, told]


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()

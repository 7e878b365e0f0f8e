# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""`kill -9` at any moment, of a node, of the cloud, of the database: nothing confirmed is lost, and
everything arrives once. `make chaos` does the same many times over (tests/chaos)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest

from beira.apps.voice.records import CustomerRequest
from beira.cloud import program as cloud_program
from beira.cloud.program import CloudConfig
from beira.host import Host
from beira.host.listen import Listen
from beira.kernel import limits
from beira.kernel.collection import CRITICAL, IMPORTANT, NORMAL
from beira.kernel.query import Query
from beira.node.program import Node
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    Program,
    Web,
    company,
    company_on,
    connected,
    drained,
    free_port,
    postgres_directory,
    postgres_server,
    program,
    put,
    roomy_folder,
    until,
)

ROUNDS = 2
WRITERS = 4
SEED = 7


@dataclass
class Till:
    """Customers' requests said at a node over HTTP, each under a number of its own, and again under
    the same number until the node has confirmed it: what a careful till does."""

    web: Web
    token: str
    confirmed: list[int] = field(default_factory=list)
    next: int = 0
    stopping: bool = False

    async def write(self) -> None:
        while not self.stopping:
            self.next += 1
            number = self.next
            while not await self._said(number):
                await asyncio.sleep(0.02)
            self.confirmed.append(number)

    async def _said(self, number: int) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            status, told = await self.web.ask(
                "POST",
                "/rest/v1/rpc/log_request",
                {"text": f"pedido {number}"},
                self.token,
                Idempotency_Key=f"call-{number}",
            )
            assert status == 200, told
            return True
        return False


async def texts(host: Host) -> Counter[str]:
    page = await host.store.query(Query(collection="customer_requests", limit=100_000))
    return Counter(str(row["text"]) for row in page.rows)


async def a_node_killed_over_and_over(company: Company, rounds: int, seed: int) -> None:
    """Each round the node's process dies after some more confirmed writes, and starts again."""
    chance = random.Random(seed)
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data, port = await company.enrol(tenant), free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ("node", "run", "--data", str(data), "--port", str(port))
    async with program(company.folder / f"{data.name}.log", *arguments) as node:
        await node.answers(url, company.web.session)
        web = company.web.at(url)
        till = Till(web, await web.sign_in(f"owner@{tenant}.example"))
        writers = [asyncio.create_task(till.write()) for _ in range(WRITERS)]
        try:
            for _ in range(rounds):
                enough = len(till.confirmed) + chance.randint(1, 60)
                await until(lambda enough=enough: len(till.confirmed) >= enough, node.said()[-500:])
                node.kill()
                node.start()
                await node.answers(url, company.web.session)
            till.stopping = True
            await asyncio.gather(*writers)
        finally:
            for writer in writers:
                writer.cancel()

        async def nothing_waits() -> bool:
            _, status = await web.ask("GET", "/node/status")
            return not any(lane["waiting"] for lane in status["lanes"].values())

        await until(nothing_waits, "the log is empty")
    wanted = Counter(f"pedido {number}" for number in till.confirmed)
    assert len(till.confirmed) == till.next and await texts(cloud) == wanted


async def a_cloud_killed_over_and_over(rounds: int, seed: int) -> None:
    """The cloud's process dies with its PostgreSQL while a node pours out what it holds."""
    chance = random.Random(seed)
    with roomy_folder() as folder:
        config = CloudConfig(data=folder / "cloud", listen=Listen())
        async with company_on("", "", data=config.data) as made:
            tenant = await made.tenant("angeloni")
            data = (await made.enrol(tenant)).rename(folder / "node")
        port = free_port()
        arguments = ("cloud", "run", "--data", str(config.data), "--port", str(port))
        url, written = f"http://127.0.0.1:{port}", 0
        async with (
            _impatient(),
            aiohttp.ClientSession() as web,
            program(folder / "cloud.log", *arguments) as cloud,
            Company(None, url, folder, Web(web, url)).node(data) as node,  # type: ignore[arg-type]
        ):
            for _ in range(rounds):
                await cloud.answers(url, web)
                await connected(node)
                for _ in range(chance.randint(1, 12)):
                    written = await _write(node, written, chance)
                await until(_below(node, chance.randint(0, written)), "some of it is acknowledged")
                cloud.kill()
                written = await _write(node, written, chance)
                cloud.start()
            await cloud.answers(url, web)
            await drained(node)
            await cloud.stop()
        async with cloud_program.running(config) as (again, _):
            there = await texts(await again.host_of_tenant(tenant))
    assert there == Counter(f"pedido {n}" for n in range(written))


async def a_database_killed_over_and_over(rounds: int, seed: int) -> None:
    """PostgreSQL alone dies under a running cloud, and comes back by itself."""
    chance = random.Random(seed)
    with roomy_folder() as folder:
        server = await EmbeddedPostgres.start(folder / "postgres")
        written = 0
        try:
            async with company_on(server.dsn, server.owner_dsn) as company:
                tenant = await company.tenant("angeloni")
                cloud = await company.host(tenant)
                async with company.node(await company.enrol(tenant)) as node:
                    await connected(node)
                    for _ in range(rounds):
                        for _ in range(chance.randint(1, 8)):
                            written = await _write(node, written, chance)
                        await until(_below(node, chance.randint(0, written)))
                        assert server.pid is not None
                        os.kill(server.pid, signal.SIGKILL)
                        written = await _write(node, written, chance)
                        await drained(node)
                there = await texts(cloud)
        finally:
            await server.stop()
    assert there == Counter(f"pedido {n}" for n in range(written))


@contextlib.asynccontextmanager
async def _impatient() -> AsyncIterator[None]:
    """A node that was without its cloud for some seconds comes back within one, not within a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "RECONNECT_MOST_S", 1)
        yield


async def _write(node: Node, written: int, chance: random.Random) -> int:
    """Ten more records in a commit, in any lane: how many there are now."""
    async with node.host.writing() as ctx:
        for n in range(written, written + 10):
            record = CustomerRequest(id=f"r{n}", text=f"pedido {n}", at=node.host.now())
            ctx.put(record, lane=chance.choice((CRITICAL, IMPORTANT, NORMAL)))
    return written + 10


def _below(node: Node, most: int) -> Callable[[], object]:
    async def below() -> bool:
        return sum(held.count for held in (await node.agent.pending()).values()) <= most

    return below


@pytest.mark.timeout(240)
async def test_a_node_killed_at_any_moment_loses_nothing_it_confirmed(company: Company) -> None:
    await a_node_killed_over_and_over(company, ROUNDS, SEED)


@pytest.mark.timeout(240)
async def test_a_cloud_killed_with_its_database_loses_nothing_it_acknowledged() -> None:
    await a_cloud_killed_over_and_over(ROUNDS, SEED)


@pytest.mark.timeout(240)
async def test_a_database_killed_under_a_running_cloud_loses_nothing() -> None:
    await a_database_killed_over_and_over(ROUNDS, SEED)

"""A small fleet as real processes: two replicas of the cloud over one PostgreSQL, nodes behind lines of
their own, and tills that write at the nodes. Everything in it can be killed, paused and cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg

from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import PASSWORD, Web, company_on, free_port, roomy_folder, until
from tests.acceptance.test_sync_kill import Till
from tests.chaos.line import Line
from tests.chaos.programs import Forked, Nursery

REPLICAS = 2
TILLS_PER_NODE = 2


@dataclass
class LongTill(Till):
    """A till that signs in again when its token has run out."""

    email: str = ""
    place: str = ""

    async def _said(self, number: int) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            status, told = await self.web.ask(
                "POST",
                "/rest/v1/rpc/log_request",
                {"text": f"{self.place} pedido {number}"},
                self.token,
                Idempotency_Key=f"{self.place}-{number}",
            )
            if status == 401:
                await self._sign_in()
                return False
            assert status in (200, 503), told
            return status == 200
        return False

    async def _sign_in(self) -> None:
        body = {"email": self.email, "password": PASSWORD}
        status, told = await self.web.ask("POST", "/auth/v1/token?grant_type=password", body)
        if status == 200:
            self.token = str(told["access_token"])


@dataclass
class Fleet:
    """What runs, and what it confirmed."""

    server: EmbeddedPostgres
    folder: Path
    tenant: str
    web: aiohttp.ClientSession
    replicas: list[Forked] = field(default_factory=list)
    nodes: list[Forked] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    tills: list[LongTill] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    across: int = 0
    """How many writes were in PostgreSQL when somebody last looked."""
    _writing: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def programs(self) -> list[Forked]:
        return [*self.nodes, *self.replicas]

    @property
    def kills(self) -> int:
        return sum(program.kills for program in self.programs)

    @property
    def confirmed(self) -> int:
        return sum(len(till.confirmed) for till in self.tills)

    @property
    def wanted(self) -> Counter[str]:
        """What must be in PostgreSQL, once each."""
        return Counter(f"{till.place} pedido {n}" for till in self.tills for n in till.confirmed)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The tills write meanwhile, and at the end each finishes what it has begun."""
        self._writing = [asyncio.create_task(till.write()) for till in self.tills]
        try:
            yield
            for till in self.tills:
                till.stopping = True
            await asyncio.gather(*self._writing)
        finally:
            for task in self._writing:
                task.cancel()

    async def work(self, more: int) -> None:
        """Wait until the tills have had so many more confirmed."""
        enough = self.confirmed + more

        def done() -> bool:
            for task in self._writing:
                if task.done():
                    task.result()
            return self.confirmed >= enough

        await until(done, f"work goes on: {self._state()}")

    def _state(self) -> str:
        return " | ".join(program.said()[-500:] for program in self.programs)


async def in_postgres(made: Fleet) -> Counter[str]:
    """What customers asked for, as whoever opens the database with psql sees it."""
    connection = await asyncpg.connect(made.server.owner_dsn)
    try:
        rows = await connection.fetch(
            "SELECT text FROM beira.customer_requests WHERE tenant_id = $1 AND _deleted IS NOT TRUE",
            made.tenant,
        )
    finally:
        await connection.close()
    return Counter(str(row["text"]) for row in rows)


@contextlib.asynccontextmanager
async def fleet(nodes: int, chance: random.Random) -> AsyncIterator[Fleet]:
    """A fleet that is up. At the end its programs are gone."""
    with roomy_folder() as folder:
        server = await EmbeddedPostgres.start(folder / "postgres")
        nursery = Nursery()
        try:
            async with aiohttp.ClientSession() as web, contextlib.AsyncExitStack() as stack:
                ports = [free_port() for _ in range(REPLICAS)]
                made = await _enrolled(server, folder, web, nodes, ports[0])
                stack.push_async_callback(_end, made)
                for at, port in enumerate(ports):
                    made.replicas.append(_replica(made, nursery, at, port, ports[0]))
                for at in range(nodes):
                    line = Line(ports[at % REPLICAS], random.Random(chance.random()))
                    made.lines.append(await stack.enter_async_context(line.serving()))
                    made.nodes.append(_node(made, nursery, at))
                await _up(made)
                yield made
        finally:
            nursery.close()
            await server.stop()


async def _end(made: Fleet) -> None:
    for program in made.programs:
        await program.kill()


async def _enrolled(
    server: EmbeddedPostgres, folder: Path, web: aiohttp.ClientSession, nodes: int, port: int
) -> Fleet:
    """A tenant in the database, and the folders of its nodes and of the replicas."""
    public, folders = f"http://127.0.0.1:{port}", []
    first = folder / "cloud-0"
    async with company_on(server.dsn, server.owner_dsn, data=first, public_url=public) as company:
        tenant = await company.tenant("angeloni")
        for at in range(nodes):
            folders.append((await company.enrol(tenant)).rename(folder / f"node-{at}"))
    for at in range(1, REPLICAS):
        shutil.copytree(first, folder / f"cloud-{at}")
    return Fleet(server, folder, tenant, web, folders=folders)


def _replica(made: Fleet, nursery: Nursery, at: int, port: int, public_port: int) -> Forked:
    data = ("--data", str(made.folder / f"cloud-{at}"), "--port", str(port))
    public = ("--public-url", f"http://127.0.0.1:{public_port}")
    database = ("--database-url", made.server.dsn, "--owner-url", made.server.owner_dsn)
    log, url = made.folder / f"cloud-{at}.log", f"http://127.0.0.1:{port}"
    return Forked(nursery, log, ("cloud", "run", *data, *public, *database), url)


def _node(made: Fleet, nursery: Nursery, at: int) -> Forked:
    port, cloud = free_port(), f"http://127.0.0.1:{made.lines[at].port}"
    data = ("--data", str(made.folders[at]), "--port", str(port), "--cloud", cloud)
    log = made.folder / f"node-{at}.log"
    return Forked(nursery, log, ("node", "run", *data), f"http://127.0.0.1:{port}")


async def _up(made: Fleet) -> None:
    for program in made.programs:
        program.start()
    for program in made.programs:
        await program.answers(made.web)
    email = f"owner@{made.tenant}.example"
    for at, node in enumerate(made.nodes):
        there = Web(made.web, node.url)
        token = await there.sign_in(email)
        made.tills += [
            LongTill(there, token, email=email, place=f"till-{at}-{number}")
            for number in range(TILLS_PER_NODE)
        ]

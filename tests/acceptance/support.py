"""What the stories of sync share: a real cloud on a real PostgreSQL, real nodes on SQLite behind a
plug one can pull, and the programs as processes one can kill.

A module of tests imports the fixtures it uses. Nothing here waits by the clock: `until` waits for
what must become true, with a bound so generous that only a broken program reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from beira.apps.voice import app as voice
from beira.cloud import program as cloud_program
from beira.cloud.program import Cloud, CloudConfig
from beira.demo.plug import Plug
from beira.host import Host
from beira.host.listen import Listen
from beira.identity.tenants import service
from beira.kernel.app import Catalogue, catalogue
from beira.kernel.record import Record, Row
from beira.node import program as node_program
from beira.node.program import Node, NodeConfig
from beira.store.port import Store
from beira.store.postgres import EmbeddedPostgres
from tests.contract.postgres_fixture import (
    fresh_database,
    postgres_directory,
    postgres_place,
    postgres_server,
)

PASSWORD = "correct horse battery"
PATIENCE_S = 45.0
"""How long a thing may take before it counts as broken, on a machine that is busy with others."""
BEIRA = (sys.executable, "-m", "beira.cli")
_END = "-- that was one command --"
_ONE_BY_ONE = f"""
import json, os, sys, traceback
import msgspec
import beira.cli, beira.cloud.program, beira.host.apps, beira.node.__main__, beira.node.program
node = beira.node.__main__
node.become = lambda options: node.main(msgspec.json.encode(options))
if sys.argv[2]:
    beira.host.apps.installed()
    os.setgroups([]), os.setgid(65534), os.setuid(65534), os.chdir("/")
for arguments in json.loads(sys.argv[1]):
    sys.argv, code = ["beira", *arguments], 0
    try:
        beira.cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 2
    sys.stderr.flush()
    print()
    print(code, "{_END}", sep="", flush=True)
"""
_numbers = itertools.count(1)


def deaf(only: tuple[str, ...] = ()) -> Catalogue:
    """Aurora without her ears: records and commands are all that these stories need of her."""
    return catalogue([replace(voice, edge="", pages="", portal_pages="", menu=())])


async def until(
    true: Callable[[], Any], why: str = "", *, within_s: float = PATIENCE_S, every_s: float = 0.02
) -> Any:
    """Wait until `true()` (or what it awaits) is, and return it."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while True:
        found = true()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if loop.time() > deadline_s:
            raise AssertionError(f"It did not come true in {within_s:.0f} s: {why or true}")
        await asyncio.sleep(every_s)


async def row_of(store: Store, collection: str, id: str, **fields: Any) -> Row:
    """The row, once it is there with these fields."""

    async def look() -> Row | None:
        row = await store.get(collection, id)
        there = row is not None and all(row.fields.get(k) == v for k, v in fields.items())
        return row if there else None

    found = await until(look, f"{collection}/{id} {fields}")
    assert isinstance(found, Row)
    return found


async def drained(node: Node) -> None:
    """Wait until the cloud has confirmed all that the node wrote."""

    async def empty() -> bool:
        return not any(held.count for held in (await node.agent.pending()).values())

    await until(empty, f"the log of {node.host.place.name} is empty: {node.agent.state}")


async def connected(node: Node) -> None:
    await until(lambda: node.agent.state.connected, f"connected: {node.agent.state}")


async def put(host: Host, *records: Record, **kwargs: Any) -> None:
    """Commit records on the host's own account, together."""
    async with host.writing() as ctx:
        for record in records:
            ctx.put(record, **kwargs)


@contextlib.contextmanager
def roomy_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own account may pass through."""
    folder = postgres_place()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


class Web:
    """Asks a host over HTTP, as anybody may."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    def at(self, url: str) -> Web:
        return Web(self.session, url)

    async def ask(
        self, method: str, path: str, body: Any = None, token: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Status and decoded answer."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.url + path, json=body, headers=headers
        ) as answer:
            content = await answer.read()
            try:
                return answer.status, json.loads(content) if content else None
            except ValueError:
                return answer.status, content

    async def sign_in(self, email: str, password: str = PASSWORD) -> str:
        """An access token."""
        body = {"email": email, "password": password}
        status, told = await self.ask("POST", "/auth/v1/token?grant_type=password", body)
        assert status == 200, told
        return str(told["access_token"])


@dataclass
class Company:
    """A running cloud with tenants, and a folder for the nodes that a story makes."""

    cloud: Cloud
    address: str
    folder: Path
    web: Web
    tenants: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    async def tenant(self, name: str) -> str:
        """A new tenant with the site `<tenant>-1`, an owner and a member (`owner@<tenant>.example`)."""
        tenant = f"{name}{next(_numbers)}"
        tenants = self.cloud.identity.tenants
        await tenants.create(service(""), name.title(), id=tenant)
        await self.site(tenant, f"{tenant}-1")
        for role in ("owner", "member"):
            invited = await tenants.invite(service(tenant), f"{role}@{tenant}.example", role)
            await tenants.accept(invited.code, PASSWORD, name=f"{role} {name}")
        self.tenants.append(tenant)
        return tenant

    async def site(self, tenant: str, site: str) -> str:
        await self.cloud.identity.tenants.add_site(service(tenant), site, id=site)
        await self.cloud.follow_places(tenant)
        return site

    async def host(self, tenant: str) -> Host:
        return await self.cloud.host_of_tenant(tenant)

    async def owner(self, tenant: str) -> str:
        """The access token of its owner."""
        return await self.web.sign_in(f"owner@{tenant}.example")

    async def enrol(
        self, tenant: str, site: str = "", name: str = "", *, key_from: str = ""
    ) -> Path:
        """A new node: its folder. With a key it is encrypted."""
        site = site or f"{tenant}-1"
        name = name or f"{site} nó {next(_numbers)}"
        code = await self.cloud.identity.nodes.make_code(service(tenant), site, name=name)
        data = self.folder / f"node-{next(_numbers)}"
        await node_program.enrol(data, self.address, code.code, key_from=key_from)
        return data

    @contextlib.asynccontextmanager
    async def plug(self) -> AsyncIterator[Plug]:
        async with Plug(self.port).serving() as plug:
            yield plug

    @contextlib.asynccontextmanager
    async def node(self, data: Path, plug: Plug | None = None, **more: Any) -> AsyncIterator[Node]:
        """The node of `data`, running in this process, behind `plug` if there is one."""
        cloud = more.pop("cloud", f"http://127.0.0.1:{plug.port if plug else self.port}")
        config = NodeConfig(data=data, listen=Listen(), cloud=cloud, **more)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node_program, "installed", deaf)
            running = node_program.running(config)
            node = await running.__aenter__()
        try:
            yield node
        finally:
            await running.__aexit__(None, None, None)


@contextlib.asynccontextmanager
async def company_on(dsn: str, owner_dsn: str, **more: Any) -> AsyncIterator[Company]:
    """A replica of the cloud on that database, in this process."""
    with roomy_folder() as folder:
        data = more.pop("data", folder / "cloud")
        listen = more.pop("listen", Listen())
        config = CloudConfig(
            data=data, listen=listen, database_url=dsn, owner_url=owner_dsn, **more
        )
        async with (
            cloud_program.running(config) as (cloud, address),
            aiohttp.ClientSession() as session,
        ):
            yield Company(cloud, address, folder, Web(session, address))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def company(postgres_server: EmbeddedPostgres) -> AsyncIterator[Company]:
    """One cloud for a module's stories; each makes tenants of its own."""
    async with company_on(*await fresh_database(postgres_server)) as made:
        yield made


class Program:
    """One of the programs as a process of its own. What it says is kept in `log`."""

    def __init__(self, log: Path, *arguments: str, **popen: Any) -> None:
        self.log = log
        self._arguments = arguments
        self._popen = popen
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Program:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [*BEIRA, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                **self._popen,
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """As a power cut does: nothing is said, nothing tidied."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def ended(self) -> int:
        """Wait for its own end."""
        await until(lambda: self.code is not None, f"{self._arguments} ends: {self.said()}")
        assert self.code is not None
        return self.code

    async def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                await self.ended()
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """All that it said; rich breaks lines, so blanks are made single."""
        return " ".join(self.log.read_text(errors="replace").split()) if self.log.exists() else ""

    async def answers(self, url: str, web: aiohttp.ClientSession) -> None:
        """Wait until it serves."""

        async def healthy() -> bool:
            assert self.code is None, self.said()[-2_000:]
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with web.get(url + "/healthz") as answer:
                    return answer.status == 200
            return False

        await until(healthy, f"{url} answers: {self.said()[-2_000:]}")


@contextlib.asynccontextmanager
async def program(log: Path, *arguments: str, **popen: Any) -> AsyncIterator[Program]:
    """The program, started, and gone at the end whatever happens."""
    running = Program(log, *arguments, **popen).start()
    try:
        yield running
    finally:
        await running.stop()


def commands(*asked: tuple[str, ...], nobody: bool = False) -> list[tuple[int, str]]:
    """Run short commands of `beira`, one after the other: the exit code and all each said. They share
    one process, since loading is most of their time. `nobody`: with that account's rights, taken on
    once all is loaded (it may not be able to read our Python)."""
    env = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", _ONE_BY_ONE, json.dumps(asked), "nobody" if nobody else ""],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S * 2,
        env=env,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    told = []
    for part in done.stdout.split(_END)[:-1]:
        said, _, code = part.rpartition("\n")
        told.append((int(code), " ".join(said.split())))
    assert len(told) == len(asked), done.stdout
    return told


def command(*arguments: str) -> tuple[int, str]:
    """Run one short command."""
    return commands(arguments)[0]


__all__ = [
    "PASSWORD", "PATIENCE_S", "Company", "Program", "Web", "command", "commands", "company",
    "company_on", "connected", "deaf", "drained", "free_port", "fresh_database", "postgres_directory",
    "postgres_server", "program", "put", "roomy_folder", "row_of", "until",
]  # fmt: skip

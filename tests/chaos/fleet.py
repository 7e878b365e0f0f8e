"""A small fleet as real processes: two replicas of the cloud over one PostgreSQL, nodes behind lines of
their own, and tills that write at the nodes. Everything in it can be killed, paused and cut.

Programs are forked from a process that has loaded them already: a start costs what the program does,
not what Python does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from beira.demo.plug import Plug
from beira.host.serve import Listen
from beira.kernel.access import partitions
from beira.kernel.wire import Check
from beira.store.postgres import EmbeddedPostgres
from beira.sync.inspect import add_up, compare, inspected
from tests.acceptance.support import (
    PASSWORD,
    Company,
    Web,
    company_on,
    drained,
    free_port,
    roomy_folder,
    until,
)
from tests.acceptance.test_sync_kill import Till, texts

_NURSERY = """
import json, os, signal, sys
import msgspec
import beira.cli, beira.cloud.program, beira.node.__main__, beira.node.program
from beira.kernel import limits
from tests.acceptance.support import deaf
node = beira.node.__main__
node.become = lambda options: node.main(msgspec.json.encode(options))
beira.node.program.installed = beira.cloud.program.installed = deaf
limits.RECONNECT_MOST_S = 1
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        said = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(nothing, 0), os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = ["beira", *asked["arguments"]]
        try:
            beira.cli.main()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    print(pid, flush=True)
"""


class Nursery:
    """Forks programs. They are nobody's children here, so `kill` asks the kernel who is left."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, log: Path, arguments: tuple[str, ...]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(
            json.dumps({"log": str(log), "arguments": arguments}),
            file=self._process.stdin,
            flush=True,
        )
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Forked:
    """One program, again and again. `url` is where it answers."""

    nursery: Nursery
    log: Path
    arguments: tuple[str, ...]
    url: str
    pid: int = 0
    kills: int = 0

    def start(self) -> None:
        self.pid = self.nursery.start(self.log, self.arguments)

    def alive(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return True
        return False

    async def kill(self) -> None:
        """As a power cut does: nothing is said, nothing tidied."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await until(lambda: not self.alive(), "it is gone", every_s=0.002)
        self.kills += 1

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""

    async def answers(self, web: aiohttp.ClientSession) -> None:
        async def healthy() -> bool:
            assert self.alive(), self.said()
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                timeout = aiohttp.ClientTimeout(total=2)
                async with web.get(self.url + "/healthz", timeout=timeout) as answer:
                    return answer.status == 200
            return False

        await until(healthy, f"{self.url} answers: {self.said()}")


class Line(Plug):
    """A node's line to the cloud, whichever replica it leads to. Held, it takes what is sent and
    passes nothing on, as a half-open connection does; slow, it takes its time over each piece."""

    def __init__(self, ports: tuple[int, ...]) -> None:
        super().__init__(ports[0])
        self._ports = ports
        self._free = asyncio.Event()
        self._free.set()
        self.slow_s = 0.0

    def lead_to(self, number: int) -> None:
        """From now on new connections go to another replica."""
        self._target_port = self._ports[number]

    def hold(self) -> None:
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._pass_on(_Slowed(reader, self), writer)  # type: ignore[arg-type]

    async def pause(self) -> None:
        await self._free.wait()
        if self.slow_s:
            await asyncio.sleep(self.slow_s)


class _Slowed:
    """A reader that waits where its line does."""

    def __init__(self, reader: asyncio.StreamReader, line: Line) -> None:
        self._reader, self._line = reader, line

    async def read(self, most: int) -> bytes:
        data = await self._reader.read(most)
        await self._line.pause()
        return data


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
    replicas: list[Forked]
    nodes: list[Forked]
    lines: list[Line]
    tills: list[LongTill] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    writing: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(program.kills for program in (*self.replicas, *self.nodes))

    @property
    def confirmed(self) -> int:
        return sum(len(till.confirmed) for till in self.tills)

    async def something(self, chance: random.Random) -> None:
        """One misfortune, and some more work done in spite of it."""
        at = chance.randrange(len(self.nodes))
        kinds = ["node"] * 4 + ["replica"] * 4 + ["line", "held", "slow", "moved"]
        if chance.random() < 0.03:
            kinds = ["paused", "restarted"]
        kind = chance.choice(kinds)
        self.did[kind] += 1
        match kind:
            case "node":
                await self._killed(self.nodes[at])
            case "replica":
                await self._killed(self.replicas[chance.randrange(len(self.replicas))])
            case "line":
                self.lines[at].pull()
                await self.work(chance.randint(0, 10))
                self.lines[at].put_back()
            case "held":
                self.lines[at].hold()
                await self.work(chance.randint(0, 10))
                self.lines[at].pull()
                self.lines[at].let_go()
                self.lines[at].put_back()
            case "slow":
                self.lines[at].slow_s = chance.choice([0, 0.02, 0.2])
            case "moved":
                self.lines[at].lead_to(chance.randrange(len(self.replicas)))
                self.lines[at].pull()
                self.lines[at].put_back()
            case "paused":
                await self._paused(chance)
            case "restarted":
                assert self.server.pid is not None
                os.kill(self.server.pid, signal.SIGKILL)
                await self.work(3)
                await until(lambda: self.server.pid is not None, "PostgreSQL is back")
        await self.work(chance.randint(0, 6))

    async def work(self, more: int) -> None:
        """Wait until the tills have had so many more confirmed."""
        enough = self.confirmed + more

        def done() -> bool:
            for task in self.writing:
                if task.done():
                    task.result()
            return self.confirmed >= enough

        await until(done, f"work goes on: {self._state()}")

    async def _killed(self, program: Forked) -> None:
        await program.kill()
        program.start()
        await program.answers(self.web)

    async def _paused(self, chance: random.Random) -> None:
        pids = [self.server.pid, *children_of(self.server.pid or 0)]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid or 0, number)
            if number == signal.SIGSTOP:
                await self.work(chance.randint(1, 20))

    def _state(self) -> str:
        return " | ".join(program.said()[-500:] for program in (*self.nodes, *self.replicas))


def children_of(pid: int) -> list[int]:
    """The processes a process has started and that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            text = entry.read_text()
            if int(text.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found


@contextlib.asynccontextmanager
async def fleet(nodes: int = 2) -> AsyncIterator[Fleet]:
    """A fleet at work. At the end its programs are gone."""
    with roomy_folder() as folder:
        server = await EmbeddedPostgres.start(folder / "postgres")
        nursery = Nursery()
        made: Fleet | None = None
        try:
            async with aiohttp.ClientSession() as web, contextlib.AsyncExitStack() as stack:
                made = await _made(server, folder, nursery, web, nodes, stack)
                yield made
        finally:
            for program in (*made.nodes, *made.replicas) if made else ():
                await program.kill()
            nursery.close()
            await server.stop()


async def _made(
    server: EmbeddedPostgres,
    folder: Path,
    nursery: Nursery,
    web: aiohttp.ClientSession,
    count: int,
    stack: contextlib.AsyncExitStack,
) -> Fleet:
    ports = (free_port(), free_port())
    public = f"http://127.0.0.1:{ports[0]}"
    folders = []
    async with company_on(
        server.dsn, server.owner_dsn, data=folder / "cloud-0", public_url=public
    ) as company:
        tenant = await company.tenant("angeloni")
        for at in range(count):
            folders.append((await company.enrol(tenant)).rename(folder / f"node-{at}"))
    shutil.copytree(folder / "cloud-0", folder / "cloud-1")
    database = ("--database-url", server.dsn, "--owner-url", server.owner_dsn)
    replicas = []
    for at, port in enumerate(ports):
        data = ("--data", str(folder / f"cloud-{at}"), "--port", str(port), "--public-url", public)
        replicas.append(
            Forked(
                nursery,
                folder / f"cloud-{at}.log",
                ("cloud", "run", *data, *database),
                f"http://127.0.0.1:{port}",
            )
        )
    lines, nodes = [], []
    for at, data_folder in enumerate(folders):
        line = await stack.enter_async_context(Line(ports).serving())
        assert isinstance(line, Line)
        line.lead_to(at % 2)
        lines.append(line)
        port, cloud = free_port(), f"http://127.0.0.1:{line.port}"
        data = ("--data", str(data_folder), "--port", str(port), "--cloud", cloud)
        nodes.append(
            Forked(
                nursery,
                folder / f"node-{at}.log",
                ("node", "run", *data),
                f"http://127.0.0.1:{port}",
            )
        )
    for program in (*replicas, *nodes):
        program.start()
    for program in (*replicas, *nodes):
        await program.answers(web)
    made = Fleet(server, folder, tenant, web, replicas, nodes, lines, folders=folders)
    for at, node in enumerate(nodes):
        there = Web(web, node.url)
        owner = f"owner@{tenant}.example"
        token = await there.sign_in(owner)
        made.tills += [
            LongTill(there, token, email=owner, place=f"till-{at}-{n}") for n in range(2)
        ]
    return made


async def live(kills: int, seed: int, nodes: int = 2) -> Fleet:
    """Misfortunes until so many programs were killed; then all that was confirmed is in PostgreSQL
    once, and nodes and cloud hold the same."""
    chance = random.Random(seed)
    async with fleet(nodes) as made:
        made.writing = [asyncio.create_task(till.write()) for till in made.tills]
        try:
            while made.kills < kills:
                await made.something(chance)
            for till in made.tills:
                till.stopping = True
            await asyncio.gather(*made.writing)
        finally:
            for task in made.writing:
                task.cancel()
        for program in (*made.nodes, *made.replicas):
            await program.kill()
        await _all_is_there(made)
    return made


async def _all_is_there(made: Fleet) -> None:
    async with company_on(
        made.server.dsn,
        made.server.owner_dsn,
        data=made.folder / "cloud-0",
        public_url=made.replicas[0].url,
    ) as company:
        cloud = await company.host(made.tenant)
        for data in made.folders:
            async with company.node(data) as node:
                await drained(node)
                await until(lambda node=node: node.agent.state.connected, "it is connected")
                await _digests_agree(company, node, made.tenant)
        wanted = Counter(f"{till.place} pedido {n}" for till in made.tills for n in till.confirmed)
        assert await texts(cloud) == wanted


async def _digests_agree(company: Company, node: object, tenant: str) -> None:
    """The product's own sums, added up on both sides."""
    agent = node.agent  # type: ignore[attr-defined]
    place, store = agent.host.place, agent.store
    cloud = (await company.host(tenant)).store
    since = {declared.name: 0 for declared in inspected(store.registry)}

    async def agree() -> bool:
        for partition in sorted(partitions(place.principal) or ()):
            sums = await add_up(
                store, place.node, partition, since, buckets=False, disguise=agent.disguise
            )
            check = Check(partition=partition, since=since, sums=sums)
            if await compare(cloud, place.node, check):
                return False
        return True

    await until(agree, f"{place.node} and the cloud hold the same")


__all__ = ["Fleet", "Listen", "fleet", "live"]

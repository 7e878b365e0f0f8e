"""What an app's tests stand on: a node in memory, or a node and its cloud, with a clock tests move.

    async with node(app) as here:
        receipt = await here.run("note_temperature", fridge="Leite", celsius=4.5)
        assert [t.celsius for t in await here.rows(Temperature)] == [4.5]

It is the product with other time and no network: the same hosts, stores, sessions and codec. An app
itself imports only `beira.sdk`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from beira.host import Host, Place
from beira.kernel.access import Kind, Principal
from beira.kernel.app import App, catalogue
from beira.kernel.command import Receipt
from beira.kernel.query import Filter
from beira.kernel.record import Record
from beira.store.memory import MemoryStore
from beira.store.port import NodeStore
from beira.store.sqlite import SqliteStore
from beira.sync.cloud.gate import Gate
from beira.sync.node.agent import Agent
from beira.sync.streams import feed_route, log_route
from beira.testing.cable import Cable, Tickets, same

R = TypeVar("R", bound=Record)
TENANT, SITE, NODE = "padaria", "s1", "n1"
SYNC_WITHIN_S = 30.0
STEP_S = 0.1


class Clock:
    """Time that stands still until `forward` moves it, and ids that are the same in each run."""

    def __init__(self, start: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)) -> None:
        self._start_ms, self._passed_s, self._ids = int(start.timestamp() * 1000), 0.0, 0

    def forward(self, seconds: float) -> None:
        self._passed_s += seconds

    def now_ms(self) -> int:
        return self._start_ms + int(self._passed_s * 1000)

    def monotonic_s(self) -> float:
        return self._passed_s

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:08d}"


@dataclass
class Side:
    """A host with an app on it: the node, or the cloud."""

    host: Host
    clock: Clock
    store: NodeStore

    async def run(self, command: str, /, *, role: str = "owner", **params: object) -> Receipt:
        """Run a command as a person of that role: owner, member or guest. Refusals are receipts."""
        who = Principal(kind=Kind.PERSON, id=role, tenant=TENANT, name=role, role=role)
        return await self.host.run(command, params, principal=who, door="test")

    async def rows(self, kind: type[R], where: Filter | None = None) -> list[R]:
        """The records there are, the oldest first."""
        async with self.host.writing() as ctx:
            return await ctx.find(kind, where)

    async def put(self, *records: Record, partition: str | None = None) -> None:
        """Write records on the host's own account, together; in the cloud name a site's partition."""
        async with self.host.writing() as ctx:
            for record in records:
                ctx.put(record, partition=partition)


@dataclass
class World:
    """A node and its cloud, with no network between them until `sync_once`."""

    node: Side
    cloud: Side

    async def sync_once(self) -> None:
        """Let both sides exchange all they have; the clock moves on meanwhile.

        Raises TimeoutError if they do not come to rest.
        """
        gate = Gate(
            host_of=self._cloud,
            epoch_of=same,
            renew_epoch=same,
            tickets=Tickets(),
            release="test",
        )
        host = self.node.host
        connector = Cable(gate, host.place.principal)
        agent = Agent(host=host, store=self.node.store, connector=connector, release="test")
        task = asyncio.create_task(agent.run())
        try:
            async with asyncio.timeout(SYNC_WITHIN_S):
                while not await self._level(agent):
                    await asyncio.sleep(0.001)
                    self.node.clock.forward(STEP_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _cloud(self, tenant: str) -> Host:
        return self.cloud.host

    async def _level(self, agent: Agent) -> bool:
        """Whether nothing waits on either side."""
        cursors = await agent.cursors()
        for partition in ("tenant", f"site:{SITE}", f"node:{NODE}"):
            if cursors.get(partition, 0) < await self.cloud.store.end(f"feed:{partition}"):
                return False
        waiting = [held.count for held in (await agent.pending()).values()]
        return agent.state.connected and not any(waiting)


@asynccontextmanager
async def node(*apps: App, folder: Path | None = None) -> AsyncIterator[Side]:
    """A node with these apps: in memory, or on SQLite in `folder`."""
    side = await _side(apps, Clock(), Place(tenant=TENANT, node=NODE, site=SITE), folder)
    try:
        yield side
    finally:
        await side.store.close()


@asynccontextmanager
async def world(*apps: App) -> AsyncIterator[World]:
    """A node and its cloud in memory, on one clock."""
    async with node(*apps) as here:
        yield World(here, await _side(apps, here.clock, Place(tenant=TENANT, node="cloud"), None))


async def _side(apps: Sequence[App], clock: Clock, place: Place, folder: Path | None) -> Side:
    declared = catalogue(apps)
    store: NodeStore = MemoryStore(declared.collections, tenant=TENANT)
    if folder is not None:
        store = await SqliteStore.open(folder / "node.db", declared.collections, tenant=TENANT)
    route = feed_route if place.in_cloud else log_route
    host = Host(
        place=place,
        store=store,
        catalogue=declared,
        wall=clock,
        route=route(declared.collections),
    )
    await host.start()
    return Side(host, clock, store)

"""A seeded world: a cloud of several replicas over one database, nodes, lines that misbehave, and
virtual time.

What runs in it is the product: agents, gates, sessions, codecs, hosts and the HTTP link. Only time,
chance, sockets and the databases (the memory store behind a `SimDisk`) are the world's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from beira.host.host import Host, Place
from beira.kernel import ticket as tickets
from beira.kernel.access import Kind, Principal
from beira.kernel.app import Catalogue
from beira.kernel.collection import Lane, collection_of
from beira.kernel.errors import BeiraError, Conflict, Denied
from beira.kernel.policy import Conditions
from beira.kernel.query import Query
from beira.kernel.record import Row
from beira.kernel.wire import Wire
from beira.store.memory import MemoryStore
from beira.sync.cloud.conversation import Conversation
from beira.sync.cloud.gate import Gate
from beira.sync.node.agent import Agent
from beira.sync.streams import feed_route, lane_stream, log_route
from tests.simulation.disk import SimDisk
from tests.simulation.laws import Witness, Written
from tests.simulation.links import Network, SimConnector
from tests.simulation.releases import (
    TODAY,
    Alarm,
    Good,
    Log,
    Note,
    Rule,
    Shelf,
    Visit,
)

EPOCH_MS = 1_790_000_000_000
T = TypeVar("T")


class SimWall:
    """The world's time with a machine's error, and ids that repeat with the seed."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._ids = 0
        self.error_ms = 0

    def now_ms(self) -> int:
        return EPOCH_MS + int(self._world.loop.time() * 1000) + self.error_ms

    def monotonic_s(self) -> float:
        return self._world.loop.time()

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._name}-{self._ids:08d}"


class SimTickets:
    """The contract of identity's tickets. `duplicated` are those whose owner would be told."""

    def __init__(self, chance: random.Random) -> None:
        self._held: dict[str, int | None] = {}
        self._chance = chance
        self.duplicated: set[str] = set()

    def copy(self) -> SimTickets:
        """As a backup of the cloud has them."""
        other = SimTickets(self._chance)
        other._held = dict(self._held)
        return other

    def clear(self, node: str) -> None:
        """The owner says: whichever comes next is the node."""
        self._held.pop(node, None)
        self.duplicated.discard(node)

    async def present_ticket(
        self, tenant: str, node: str, ticket: int, *, sure: bool = False
    ) -> int:
        if sure and not tickets.is_good(ticket, self._held.get(node)):
            self.duplicated.add(node)
            raise Denied("Two machines use this identity.", code="node.duplicated")
        await self.confirm_ticket(tenant, node, ticket)
        return tickets.following(ticket, self._chance.randrange(tickets.CHANCES))

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        if not tickets.is_good(ticket, self._held.get(node)):
            raise Conflict("The ticket was used before.", code="node.ticket_old")
        self._held[node] = ticket


class Replica:
    """One program of the cloud, over the database that all share."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.wall = SimWall(world, name)
        self.cuts: list[Callable[[], Any]] = []
        self.conversations: list[Conversation] = []
        self.running = False

    async def start(self) -> None:
        self.disk = SimDisk(self.world.store, self.world.random if self.world.rough else None)
        self.disk.committed = self.world.witness.committed
        self.host = Host(
            place=Place(tenant="acme", node=self.name),
            store=self.disk,
            catalogue=self.world.catalogue,
            wall=self.wall,
            route=feed_route(self.world.catalogue.collections),
        )
        await self.host.start()
        self.gate = Gate(
            host_of=self._host_of,
            epoch_of=self.world.epoch_of,
            renew_epoch=self.world.renew_epoch,
            tickets=self.world.tickets,
            release="test",
        )
        self.running = True

    def kill(self) -> None:
        """The program dies at once; what was committed stays."""
        self.running = False
        self.disk.cut()
        for cut in self.cuts[:]:
            cut()

    async def _host_of(self, tenant: str) -> Host:
        return self.host


class SimNode:
    """One node: what is on its disk outlives the programs that run on it."""

    def __init__(
        self, world: World, name: str, site: str, catalogue: Catalogue | None = None
    ) -> None:
        self.world = world
        self.place = Place(tenant="acme", node=name, site=site, name=name)
        self.catalogue = catalogue or world.catalogue
        self.store = MemoryStore(self.catalogue.collections, tenant="acme")
        self.network = Network()
        self.wall = SimWall(world, name)
        self.conditions = Conditions()
        self.confirmed: set[tuple[str, str]] = set()
        self.attempted: set[tuple[str, str]] = set()
        self.troubled_s = 0.0
        self.honest = True
        self.task: asyncio.Task[None] | None = None

    async def boot(self) -> None:
        """Start the program on what the store holds."""
        self.disk = SimDisk(self.store, self.world.random if self.world.rough else None)
        self.disk.committing = self.committing
        self.host = Host(
            place=self.place,
            store=self.disk,
            catalogue=self.catalogue,
            wall=self.wall,
            route=log_route(self.catalogue.collections),
        )
        await self.host.start()
        self.agent = Agent(
            host=self.host,
            store=self.disk,  # type: ignore[arg-type]
            connector=SimConnector(self.world, self.place.principal, self.network),
            release="test",
            machine=lambda: self.conditions,
            pseudonym_key=b"k" * 32,
            chance=self.world.random.random,
        )
        self.trouble()
        self.task = asyncio.ensure_future(self.agent.run())

    def committing(self, rows: Sequence[Row]) -> None:
        """Rows are about to be on the disk."""
        for row in rows:
            old = self.store._tables[row.collection].get(row.id)
            if old is not None:
                self.world.witness.writes_over(self.place.node, old, row)

    async def crash(self) -> None:
        """The power goes: what was committed stays, what was being written may be there or not."""
        assert self.task is not None
        self.trouble()
        self.disk.cut()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.network.cut()

    def upgrade(self, catalogue: Catalogue) -> None:
        """Another release finds what this one wrote. Between a crash and a boot."""
        self.catalogue = catalogue
        self.store._registry = catalogue.collections
        for declared in catalogue.collections:
            self.store._tables.setdefault(declared.name, {})

    def trouble(self) -> None:
        """Something is wrong with the node or its line: from now on, and for a while after."""
        self.troubled_s = self.world.loop.time()

    async def write(self, record: Any, lane: Lane | None = None) -> bool:
        """Whether the node confirmed it."""
        declared = collection_of(record)
        try:
            async with self.host.writing() as ctx:
                written = ctx.put(record, lane=lane)
                key = (declared.name, written.id)
                self.attempted.add(key)
        except BeiraError:
            return False
        self.confirmed.add(key)
        lane = declared.lane if lane is None else lane
        if self.honest:
            self.world.witness.wrote(Written(self, key, lane, self.world.loop.time()))
        return True

    def kept(self) -> set[tuple[str, str]]:
        """What its log names, whatever its release knows of it."""
        return {
            key
            for lane in Lane
            if lane_stream(lane) in self.store._streams
            for key in self.store._streams[lane_stream(lane)].entries
        }

    def waits(self) -> set[tuple[str, str]]:
        """What its log names, of what its release knows."""
        return {key for key in self.kept() if key[0] in self.catalogue.collections}

    def has_written(self, key: tuple[str, str], since_hlc: int) -> bool:
        """Whether anything of a record its release knows, written since, is this node's own still."""
        known = key[0] in self.catalogue.collections
        row = self.store._tables[key[0]].get(key[1]) if known else None
        stamps = [row.stamp_of(field) for field in row.fields] if row is not None else []
        return any(s.node == self.place.node and s.hlc >= since_hlc for s in stamps)

    async def waiting(self) -> int:
        return len(self.waits())


class World:
    """Builds everything from a seed. `trail` keeps (node, lane, rows) of each push, as sent. A rough
    world's disks and news take their time."""

    def __init__(
        self, seed: int, nodes: int = 3, *, replicas: int = 2, rough: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.rough = rough
        self.loop = asyncio.get_running_loop()
        self.catalogue: Catalogue = TODAY
        self.store = MemoryStore(self.catalogue.collections, tenant="acme")
        self.tickets = SimTickets(self.random)
        self.witness = Witness(self)
        self.epoch = 1
        self.replicas = [Replica(self, f"cloud-{i}") for i in range(replicas)]
        self.nodes = [SimNode(self, f"n{i}", f"s{i % 2}") for i in range(nodes)]
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def host(self) -> Host:
        """Any replica's that runs."""
        return next(r for r in self.replicas if r.running).host

    @property
    def trail(self) -> list[tuple[str, int, int]]:
        return self.witness.trail

    async def boot(self) -> None:
        for replica in self.replicas:
            await replica.start()
        for node in self.nodes:
            await node.boot()

    def replica(self) -> Replica | None:
        """One that runs, as a balancer chooses."""
        running = [replica for replica in self.replicas if replica.running]
        return self.random.choice(running) if running else None

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let it run beside the rest."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def spawned(self) -> None:
        """Wait for all that runs beside."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def trouble(self) -> None:
        """Something is wrong with the cloud."""
        for node in self.nodes:
            node.trouble()

    def backup(self) -> tuple[MemoryStore, SimTickets]:
        """The cloud's database as it is now."""
        return self.store.copy(), self.tickets.copy()

    async def restore(self, copy: tuple[MemoryStore, SimTickets]) -> None:
        """The cloud's database becomes an older copy of itself, under the same name."""
        self.trouble()
        for replica in self.replicas:
            if replica.running:
                replica.kill()
        self.store, held = copy
        self.tickets._held = held._held
        self.witness.cloud_restored()
        for replica in self.replicas:
            await replica.start()

    async def quiet(self, within_s: float = 600) -> None:
        """Wait until nothing waits to be sent and all cursors stand at the end of their feeds."""
        deadline_s = self.loop.time() + within_s
        while self.loop.time() < deadline_s:
            await asyncio.sleep(5)
            if not any(node.waits() for node in self.nodes) and await self._fed():
                return
        waits = {
            n.place.node: (
                len(n.waits()),
                await n.store.marks("cursor:"),
                n.agent.state.last_error,
                n.agent.state.stopped,
                n.agent.state.connected,
                n.host.clock.offset_ms,
            )
            for n in self.nodes
        }
        waits["ends"] = {k: v.last for k, v in self.store._streams.items()}
        raise AssertionError(f"the world did not come to rest: {waits}")

    async def _fed(self) -> bool:
        for node in self.nodes:
            cursors = await node.store.marks("cursor:")
            for partition in ("tenant", f"site:{node.place.site}"):
                end = await self.store.end(f"feed:{partition}")
                if end and cursors.get(f"cursor:{partition}", 0) < end:
                    return False
        return True

    def said(self, node: str, messages: Sequence[Wire]) -> None:
        """A node sends these."""
        self.witness.said(node, messages)

    def told(self, node: str, messages: Sequence[Wire]) -> None:
        """A node hears these."""
        self.witness.told(node, messages)

    async def rows(self, store: MemoryStore, name: str) -> dict[str, dict[str, Any]]:
        page = await store.query(Query(collection=name, limit=100_000))
        return {str(row["id"]): row for row in page.rows}

    async def epoch_of(self, tenant: str) -> str:
        return f"epoch-{self.epoch}"

    async def renew_epoch(self, tenant: str, old: str) -> str:
        if old == f"epoch-{self.epoch}":
            self.epoch += 1
        return f"epoch-{self.epoch}"


def person(role: str) -> Principal:
    return Principal(kind=Kind.PERSON, id="p", tenant="acme", role=role)


__all__ = [
    "EPOCH_MS", "Alarm", "Good", "Log", "Note", "Replica", "Rule", "Shelf", "SimNode", "Visit",
    "World", "person",
]  # fmt: skip

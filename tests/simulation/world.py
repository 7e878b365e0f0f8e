"""A seeded world: one cloud, several nodes, a network that misbehaves, and virtual time.

What runs in it is the product: agents, gates, sessions, codec and hosts. Only time, chance, links and
the database (the memory store) are the world's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from beira.host.host import Host, Place
from beira.kernel import ticket as tickets
from beira.kernel.access import Kind, Principal
from beira.kernel.app import App, Catalogue, catalogue
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    DOWN,
    IMPORTANT,
    NORMAL,
    TENANT,
    UP,
    Lane,
    Personal,
    Pseudonym,
    Withheld,
    collection,
    collection_of,
)
from beira.kernel.command import Context, command, command_of
from beira.kernel.errors import Denied, Unavailable
from beira.kernel.query import Query
from beira.kernel.record import Fact, State
from beira.kernel.wire import Hello, Push, Wire
from beira.store.memory import MemoryStore
from beira.sync.agent import Agent
from beira.sync.codec import PackedCodec
from beira.sync.gate import Conversation, Gate
from beira.sync.streams import feed_route, log_route

EPOCH_MS = 1_790_000_000_000
CODEC = PackedCodec()


@collection("notes", flow=UP, lane=IMPORTANT)
class Note(Fact):
    text: Annotated[str, Personal]


@collection("visits", flow=UP, lane=IMPORTANT)
class Visit(Fact):
    who: Annotated[str, Pseudonym]
    seconds: int
    remark: Annotated[str, Withheld] = ""


@collection("alarms", flow=UP, lane=CRITICAL)
class Alarm(Fact):
    text: str


@collection("logs", flow=UP, lane=NORMAL)
class Log(Fact):
    text: str


@collection("goods", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class Good(State):
    name: str
    price: int = 0
    place: str = ""


@collection("rules", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class Rule(State):
    text: str


@command
async def note(ctx: Context, text: str) -> Note:
    return ctx.put(Note(text=text))


APP = App(
    name="world",
    title="World",
    collections=tuple(collection_of(c) for c in (Note, Visit, Alarm, Log, Good, Rule)),
    commands=(command_of(note),),
)


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
    """The contract of identity's tickets: confirmed or pending, or another machine has it."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int | None, int | None]] = {}

    def copy(self) -> SimTickets:
        """As a backup of the cloud has them."""
        other = SimTickets()
        other._held = dict(self._held)
        return other

    def clear(self, node: str) -> None:
        """The owner says: whichever comes next is the node."""
        self._held.pop(node, None)

    async def starts_anew(self, tenant: str, node: str, ticket: int) -> bool:
        return node not in self._held

    async def present_ticket(self, tenant: str, node: str, ticket: int) -> int:
        known = self._held.get(node, (None, None))
        if not tickets.is_good(ticket, *known):
            raise Denied("Two machines use this identity.", code="node.duplicated")
        following = tickets.following(ticket, *known, chance=7)
        self._held[node] = (ticket, following)
        return following

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        _, pending = self._held[node]
        if ticket == pending:
            self._held[node] = (ticket, ticket)


@dataclass
class Network:
    """How one node's link is. `half_open`: what is sent vanishes and nobody says so."""

    up: bool = True
    half_open: bool = False
    delay_s: float = 0.05
    cuts: list[Callable[[], None]] = field(default_factory=list)

    def cut(self) -> None:
        for cut in self.cuts[:]:
            cut()


class SimLink:
    """Ordered and reliable until it is cut, as TCP is; real bytes through the real codec."""

    name = "simulated"

    def __init__(self, world: World, network: Network, node: Principal) -> None:
        self._world = world
        self._network = network
        self._node = node
        self._down: asyncio.Queue[list[Wire] | None] = asyncio.Queue()
        self._up: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[Any]] = []
        self._open = True
        self._dead = False
        network.cuts.append(self.cut)

    async def start(self) -> None:
        self._conversation: Conversation = await self._world.gate.open(self._node, self._from_cloud)
        self._tasks = [
            asyncio.ensure_future(self._conversation.run()),
            asyncio.ensure_future(self._carry_up()),
        ]

    async def send(self, messages: Sequence[Wire]) -> int:
        if not self._open:
            raise Unavailable("cut")
        data = CODEC.encode(messages)
        self._world.saw(self._node.id, messages)
        self._up.put_nowait(data)
        return len(data)

    async def receive(self) -> list[Wire]:
        messages = await self._down.get()
        if messages is None:
            raise Unavailable("cut")
        return messages

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._world.gate.close(self._conversation)

    def cut(self) -> None:
        self._open = False
        self._down.put_nowait(None)
        if self.cut in self._network.cuts:
            self._network.cuts.remove(self.cut)

    async def _carry_up(self) -> None:
        while True:
            data = await self._up.get()
            await asyncio.sleep(self._network.delay_s)
            if self._passes():
                self._conversation.hear(CODEC.decode(data))

    async def _from_cloud(self, messages: list[Wire]) -> None:
        data = CODEC.encode(messages)
        await asyncio.sleep(self._network.delay_s)
        if self._passes():
            self._down.put_nowait(CODEC.decode(data))

    def _passes(self) -> bool:
        """A link that lost something passes nothing any more: TCP never skips."""
        self._dead = self._dead or self._network.half_open
        return self._open and not self._dead


class SimConnector:
    def __init__(self, world: World, node: Principal, network: Network) -> None:
        self._world, self._node, self._network = world, node, network

    async def connect(self, hello: Callable[[], Hello]) -> SimLink:
        await asyncio.sleep(self._network.delay_s)
        if not self._network.up:
            raise Unavailable("no network")
        link = SimLink(self._world, self._network, self._node)
        await link.start()
        return link

    async def close(self) -> None:
        pass


class SimNode:
    """One node: its store outlives the programs that run on it."""

    def __init__(self, world: World, name: str, site: str) -> None:
        self.world = world
        self.place = Place(tenant="acme", node=name, site=site, name=name)
        self.store = MemoryStore(world.catalogue.collections, tenant="acme")
        self.network = Network()
        self.wall = SimWall(world, name)
        self.confirmed: set[tuple[str, str]] = set()
        self.task: asyncio.Task[None] | None = None

    async def boot(self) -> None:
        """Start the program on what the store holds."""
        self.host = Host(
            place=self.place,
            store=self.store,
            catalogue=self.world.catalogue,
            wall=self.wall,
            route=log_route(self.world.catalogue.collections),
        )
        await self.host.start()
        self.agent = Agent(
            host=self.host,
            store=self.store,
            connector=SimConnector(self.world, self.place.principal, self.network),
            release="test",
            pseudonym_key=b"k" * 32,
            chance=self.world.random.random,
        )
        self.task = asyncio.ensure_future(self.agent.run())

    async def crash(self) -> None:
        """The program dies at once; what was committed stays."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.network.cut()

    async def write(self, record: Any, lane: Lane | None = None) -> None:
        async with self.host.writing() as ctx:
            written = ctx.put(record, lane=lane)
        self.confirmed.add((collection_of(record).name, written.id))

    async def waiting(self) -> int:
        return sum(p.count for p in (await self.agent.pending()).values())


class World:
    """Builds everything from a seed. `trail` keeps (node, lane) of each push, in the order sent."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.random = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.catalogue: Catalogue = catalogue([APP])
        self.trail: list[tuple[str, int, int]] = []
        self.store = MemoryStore(self.catalogue.collections, tenant="acme")
        self.wall = SimWall(self, "cloud")
        self.host = self._make_host()
        self.tickets = SimTickets()
        self.gate = Gate(
            host_of=self._host_of,
            epoch_of=self._epoch_of,
            renew_epoch=self._renew_epoch,
            tickets=self.tickets,
            release="test",
        )
        self.epoch = 1
        self.nodes = [SimNode(self, f"n{i}", f"s{i % 2}") for i in range(nodes)]

    def _make_host(self) -> Host:
        return Host(
            place=Place(tenant="acme", node="cloud"),
            store=self.store,
            catalogue=self.catalogue,
            wall=self.wall,
            route=feed_route(self.catalogue.collections),
        )

    async def boot(self) -> None:
        await self.host.start()
        for node in self.nodes:
            await node.boot()

    def backup(self) -> tuple[MemoryStore, SimTickets]:
        """The cloud's database as it is now."""
        return self.store.copy(), self.tickets.copy()

    async def restore(self, copy: tuple[MemoryStore, SimTickets]) -> None:
        """The cloud's database becomes an older copy of itself, under the same name."""
        for node in self.nodes:
            node.network.cut()
        self.store, held = copy
        self.tickets._held = held._held
        self.host = self._make_host()
        await self.host.start()

    async def quiet(self, within_s: float = 600) -> None:
        """Wait until nothing waits to be sent and all cursors stand at the end of their feeds."""
        deadline_s = self.loop.time() + within_s
        while self.loop.time() < deadline_s:
            await asyncio.sleep(5)
            if not any([await node.waiting() for node in self.nodes]) and await self._fed():
                return
        raise AssertionError("the world did not come to rest")

    async def _fed(self) -> bool:
        for node in self.nodes:
            cursors = await node.store.marks("cursor:")
            for partition in ("tenant", f"site:{node.place.site}"):
                end = await self.store.end(f"feed:{partition}")
                if end and cursors.get(f"cursor:{partition}", 0) < end:
                    return False
        return True

    def saw(self, node: str, messages: Sequence[Wire]) -> None:
        for message in messages:
            if isinstance(message, Push) and message.groups:
                self.trail.append((node, message.lane, sum(len(g.ids) for g in message.groups)))

    async def rows(self, store: MemoryStore, name: str) -> dict[str, dict[str, Any]]:
        page = await store.query(Query(collection=name, limit=100_000))
        return {str(row["id"]): row for row in page.rows}

    async def _host_of(self, tenant: str) -> Host:
        return self.host

    async def _epoch_of(self, tenant: str) -> str:
        return f"epoch-{self.epoch}"

    async def _renew_epoch(self, tenant: str, old: str) -> str:
        if old == f"epoch-{self.epoch}":
            self.epoch += 1
        return f"epoch-{self.epoch}"


def person(role: str) -> Principal:
    return Principal(kind=Kind.PERSON, id="p", tenant="acme", role=role)

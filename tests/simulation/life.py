"""What may happen in a world, and one world lived through from its seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from beira.kernel import limits
from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import Lane
from beira.kernel.errors import BeiraError
from beira.kernel.policy import Conditions
from beira.kernel.record import Row
from beira.kernel.system import SyncWindow
from beira.kernel.wire import Hello, Push, Wire
from beira.store.memory import MemoryStore
from beira.sync.cloud import tombstones
from tests.simulation.laws import Given, check_all
from tests.simulation.releases import (
    NEWER,
    OLDER,
    TODAY,
    Alarm,
    Extra,
    Good,
    Log,
    NewerGood,
    Note,
    OlderGood,
    Rule,
    Shelf,
    Visit,
)
from tests.simulation.world import EPOCH_MS, SimNode, World

YEARS_MS = 365 * 86_400_000
STEPS = 40
SHORT_STEPS = 8
"""For the worlds of every run of the tests."""


@dataclass(frozen=True)
class Lived:
    """How long the nodes of a world lived, in virtual days together."""

    node_days: float


async def live(seed: int, *, worn: bool = False, steps: int = STEPS) -> Lived:
    """One world, from its seed to rest, with every law asked on the way and at the end. A `worn` one
    also has restored and cloned machines, rows that rot, deletions and their forgetting: its weeks
    must be made short (`limits`) by whoever lives through it."""
    world = World(seed, nodes=1 + seed % 4, rough=True)
    chance = world.random
    for node in world.nodes:
        node.upgrade(chance.choice([TODAY, TODAY, TODAY, OLDER, NEWER]))
        _line(node, chance)
    for replica in world.replicas:
        replica.wall.error_ms = chance.randrange(-2_000, 2_000)
    await world.boot()
    watching = world.spawn(_watch(world))
    story = _Story(world, worn)
    for _ in range(steps):
        for node in list(world.nodes):
            await story.something(node)
        await asyncio.sleep(chance.choice([0, 0.1, 1, 10, 60]))
        if watching.done():
            break
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    if not watching.cancelled() and watching.exception() is not None:
        raise watching.exception()  # type: ignore[misc]
    await story.heal()
    if worn:
        await _owner_clears(world)
    await _rest(world, worn)
    check_all(world)
    if not worn:
        world.witness.law_8_versions_mix()
    return Lived(len(world.nodes) * world.loop.time() / 86_400)


async def _owner_clears(world: World) -> None:
    """Whoever was taken for a clone, since its disk went back or a clone was there, is let in again."""
    await asyncio.sleep(4 * limits.RECONNECT_MOST_S)
    for node in world.nodes:
        if node.agent.state.stopped and not node.honest:
            await node.crash()
            world.tickets.clear(node.place.node)
            await node.boot()


async def _rest(world: World, worn: bool) -> None:
    """Long enough for every log to drain; in worn worlds also for every partition to be compared."""
    await world.quiet(within_s=1_000)
    for _ in range(3 if worn else 0):
        await asyncio.sleep(limits.CHECK_FULLY_EVERY_S + limits.CHECK_EVERY_S)
        await world.quiet(within_s=4_000)
    await asyncio.sleep(2 * limits.SILENCE_TIMEOUT_S)


async def _watch(world: World) -> None:
    while True:
        await asyncio.sleep(1)
        world.witness.watch()


def _line(node: SimNode, chance: random.Random) -> None:
    network = node.network
    network.http = chance.random() < 0.4
    network.brief = not network.http and chance.random() < 0.5
    network.delay_s = chance.choice([0.002, 0.05, 0.4])
    network.jitter_s = chance.choice([0, network.delay_s, 1.0])
    network.doubled = chance.choice([0, 0.2]) if network.http else 0
    network.lossy = chance.choice([0, 0.1]) if network.http else 0


class _Story:
    """What happens, by chance."""

    def __init__(self, world: World, worn: bool) -> None:
        self.world = world
        self.chance = world.random
        self.worn = worn
        self.turn = 0
        self.copy = world.backup()
        self.disks: dict[str, MemoryStore] = {}
        self.forger = 0

    async def something(self, node: SimNode) -> None:
        wrong: list[Callable[[SimNode], object]] = [
            self.cut, self.mend_line, self.mend_line, self.power_cut, self.half_open, self.clock,
            self.full_disk, self.machine, self.replica_dies, self.database_stalls, self.deafness,
            self.window, self.upgrade, self.forge, self.reroute,
        ]  # fmt: skip
        if self.worn:
            wrong += [self.restore_cloud, self.restore_node, self.clone, self.keep_copy, self.rot]
            wrong += [self.collect, self.delete, self.delete]
        goes_wrong = self.chance.random() < 0.45
        done = self.chance.choice(wrong)(node) if goes_wrong else self.writes(node)
        if asyncio.iscoroutine(done):
            await done

    # Work

    async def writes(self, node: SimNode) -> None:
        for _ in range(self.chance.choice([1, 1, 3, 40])):
            self.turn += 1
            text = f"{self.turn}"
            lane = self.chance.choice([None, None, Lane.CRITICAL])
            record = self.chance.choice([Note, Note, Log, Alarm])(text=text, turn=self.turn)
            match self.chance.randrange(10):
                case 0 | 1:
                    await self.change(node)
                case 2:
                    await node.write(Visit(who="João", seconds=self.turn))
                case 3 if node.catalogue is NEWER:
                    await node.write(Extra(text=text))
                case 4:
                    async with self.world.host.writing() as ctx:
                        ctx.put(Rule(id=f"r{self.chance.randrange(5)}", text=text))
                case _:
                    await node.write(record, lane)

    async def change(self, node: SimNode) -> None:
        """Somebody gives a record a value, having looked at it."""
        shelf = self.chance.random() < 0.4
        name = "shelves" if shelf else "goods"
        kinds = {id(OLDER): OlderGood, id(NEWER): NewerGood}
        kind = Shelf if shelf else kinds.get(id(node.catalogue), Good)
        key = (
            f"{node.place.site}-{self.chance.randrange(3)}"
            if shelf
            else f"g{self.chance.randrange(4)}"
        )
        columns = ["name", "price"]
        if kind is NewerGood:
            columns.append("colour")
        column = self.chance.choice(columns)
        self.turn += 1
        value = self.turn if column == "price" else f"{column} {self.turn}"
        before = node.store._tables[name].get(key)
        given = Given(value)
        self.world.witness.values.setdefault(((name, key), column), []).append(given)
        try:
            async with node.host.writing() as ctx:
                if before is None or before.deleted:
                    ctx.put(kind(id=key, **{"name": "new", column: value}))
                else:
                    ctx.patch(kind, key, **{column: value})
            given.confirmed = node.honest
        except BeiraError:
            pass

    # Lines, machines and clocks

    def cut(self, node: SimNode) -> None:
        node.trouble()
        node.network.up = self.chance.random() < 0.5
        node.network.cut()
        self.until_mended(node)

    def mend_line(self, node: SimNode) -> None:
        if not node.network.up or node.network.half_open:
            node.trouble()
        node.network.up, node.network.half_open = True, False

    def half_open(self, node: SimNode) -> None:
        node.network.half_open = True
        self.until_mended(node)

    def reroute(self, node: SimNode) -> None:
        """Another line: from a WebSocket to HTTP behind a proxy, or from cable to a telephone's."""
        node.trouble()
        node.network.cut()
        _line(node, self.chance)

    def until_mended(self, node: SimNode) -> None:
        """As long as something stays wrong, no deadline counts."""

        async def wrong() -> None:
            while not node.network.up or node.network.half_open or node.disk.full:
                node.trouble()
                await asyncio.sleep(1)

        self.world.spawn(wrong())

    async def power_cut(self, node: SimNode) -> None:
        writing = self.world.spawn(self.writes(node))
        await asyncio.sleep(self.chance.choice([0, 0.01, 0.03, 0.1]))
        await node.crash()
        await asyncio.gather(writing, return_exceptions=True)
        await node.boot()

    def clock(self, node: SimNode) -> None:
        node.trouble()
        years = self.chance.choice([0, 0, -30, -1, 1, 10])
        node.wall.error_ms = years * YEARS_MS + self.chance.choice([0, 50_000, -50_000])

    def full_disk(self, node: SimNode) -> None:
        node.disk.full = not node.disk.full
        self.until_mended(node)

    def machine(self, node: SimNode) -> None:
        node.conditions = Conditions(
            metered=self.chance.random() < 0.5, low_battery=self.chance.random() < 0.3
        )

    async def upgrade(self, node: SimNode) -> None:
        await node.crash()
        node.upgrade(self.chance.choice([TODAY, OLDER, NEWER]))
        await node.boot()

    # The cloud

    async def replica_dies(self, node: SimNode) -> None:
        replica = self.chance.choice(self.world.replicas)
        self.world.trouble()
        if replica.running and sum(r.running for r in self.world.replicas) > 1:
            replica.kill()
            self.killed = True
        elif not replica.running:
            await replica.start()

    def database_stalls(self, node: SimNode) -> None:
        async def stalled() -> None:
            for replica in self.world.replicas:
                if replica.running:  # to a program that died nobody would say that it is over
                    replica.disk.stalled.clear()
            for _ in range(self.chance.choice([1, 20, 80])):
                self.world.trouble()
                await asyncio.sleep(1)
            for replica in self.world.replicas:
                replica.disk.stalled.set()
            self.world.trouble()

        self.world.spawn(stalled())

    def deafness(self, node: SimNode) -> None:
        replica = self.chance.choice(self.world.replicas)
        if replica.disk.deaf:
            replica.disk.hears_again()
        else:
            replica.disk.deaf = True

    async def window(self, node: SimNode) -> None:
        async with self.world.host.writing() as ctx:
            id = f"w{self.chance.randrange(2)}"
            if await ctx.get(SyncWindow, id) is not None:
                ctx.delete(SyncWindow, id)
            else:
                hour = self.chance.randrange(24)
                ctx.put(
                    SyncWindow(
                        id=id,
                        title="night",
                        begins=f"{hour:02d}:00",
                        ends=f"{(hour + self.chance.choice([1, 8])) % 24:02d}:00",
                        hold=self.chance.choice(["none", "normal", "important"]),
                        share=self.chance.choice([1.0, 0.2]),
                    )
                )

    async def forge(self, node: SimNode) -> None:
        """Somebody with a node's rights sends what is not theirs to send."""
        replica = self.world.replica()
        if replica is None:
            return
        self.forger += 1
        me = SimNode(self.world, f"forger-{self.forger}", "s0").place.principal
        heard: list[Wire] = []

        async def hear(messages: list[Wire]) -> None:
            heard.extend(messages)

        conversation = await replica.gate.open(me, hear)
        now_ms = EPOCH_MS + int(self.world.loop.time() * 1000)
        rows = [_forged(self.chance, me.id, i, hlc_at(now_ms)) for i in range(4)]
        conversation.hear(
            [
                Hello(protocol=1, release="x", ticket=0, clock_ms=now_ms),
                Push(lane=1, after=0, upto=4, groups=pack(rows)),
                Push(lane=1, after=40, upto=44, groups=pack(rows)),
            ]
        )
        try:
            await conversation.step()
            await conversation.settled()
        finally:
            replica.gate.forget(conversation)

    # Worn worlds

    def keep_copy(self, node: SimNode) -> None:
        self.copy = self.world.backup()
        self.disks[node.place.node] = node.store.copy()

    async def restore_cloud(self, node: SimNode) -> None:
        await self.world.restore(self.copy)
        self.copy = self.world.backup()

    async def restore_node(self, node: SimNode) -> None:
        """A node's disk becomes an older copy of itself. Its owner lets it in again at once, or once it
        is taken for a clone."""
        if node.place.node not in self.disks:
            return
        await node.crash()
        node.store = self.disks.pop(node.place.node)
        node.upgrade(node.catalogue)
        node.honest = False
        self.world.witness.disk_lost()
        if self.chance.random() < 0.5:
            self.world.tickets.clear(node.place.node)
        await node.boot()

    async def clone(self, node: SimNode) -> None:
        """A copy of a node's disk runs elsewhere for a while, under its name."""
        await asyncio.sleep(0)
        node.honest = False
        twin = SimNode(self.world, node.place.node, node.place.site or "", node.catalogue)
        twin.store, twin.honest = node.store.copy(), False
        twin.wall._name = f"{node.place.node}-twin-{self.turn}"
        self.world.nodes.append(twin)
        await twin.boot()
        await self.writes(twin)
        await asyncio.sleep(self.chance.choice([1, 30, 200]))
        await twin.crash()
        self.world.nodes.remove(twin)
        node.attempted |= twin.attempted
        node.confirmed |= twin.confirmed
        self.world.witness.disk_lost()
        await node.crash()
        self.world.tickets.clear(node.place.node)
        await node.boot()

    def rot(self, node: SimNode) -> None:
        """A row is gone from a disk, and nothing says so."""
        name = self.chance.choice(["rules", "goods"])
        table = node.store._tables.get(name) or {}
        named = node.waits()
        ids = [id for id in table if (name, id) not in named]
        if ids:
            self.world.witness.forgotten(table.pop(self.chance.choice(ids)))

    async def delete(self, node: SimNode) -> None:
        kind = {id(OLDER): OlderGood, id(NEWER): NewerGood}.get(id(node.catalogue), Good)
        key = f"g{self.chance.randrange(4)}"
        try:
            async with node.host.writing() as ctx:
                if await ctx.get(kind, key) is not None:
                    ctx.delete(kind, key)
        except BeiraError:
            pass

    async def collect(self, node: SimNode) -> None:
        tables = self.world.store._tables
        before = {name: dict(rows) for name, rows in tables.items()}
        await tombstones.collect(self.world.host)
        for name, rows in before.items():
            for id in rows.keys() - tables[name].keys():
                self.world.witness.forgotten(rows[id])

    # The end

    async def heal(self) -> None:
        """All is well from now on."""
        for replica in self.world.replicas:
            if replica.running:
                replica.disk.hears_again()
            else:
                await replica.start()
        for node in self.world.nodes:
            node.network.up, node.network.half_open, node.wall.error_ms = True, False, 0
            node.network.doubled = node.network.lossy = 0
            node.disk.full = False
            node.conditions = Conditions()
            if node.agent.state.stopped and node.honest:
                raise AssertionError(f"{node.place.node} stopped: {node.agent.state.last_error}")
        async with self.world.host.writing() as ctx:
            for id in ("w0", "w1"):
                if await ctx.get(SyncWindow, id) is not None:
                    ctx.delete(SyncWindow, id)
        await self.world.spawned()


def _forged(chance: random.Random, me: str, number: int, hlc: int) -> Row:
    name, partition, node = chance.choice(
        [("notes", "site:s1", me), ("notes", "site:s0", "n0"), ("rules", "tenant", me),
         ("goods", "node:n0", me), ("goods", "tenant", "cloud-0")]
    )  # fmt: skip
    fields = {"text": "x"} if name in ("notes", "rules") else {"name": "x"}
    return Row(
        collection=name,
        id=f"forged-{number}-{chance.random()}",
        partition=partition,
        fields=fields,
        stamp=Stamp(hlc - 10 + number, 1, node),
    )

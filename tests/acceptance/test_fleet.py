"""Many nodes at one cloud, over real sockets: a slice of `python -m benchmarks.fleet`, for its laws and
not for its times. Each node enrolled has a key of its own and gets its token by signing a nonce."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from benchmarks.fleet.enrolled import Enrolled, Fleet, write_nodes
from benchmarks.fleet.load import Live, Load

from beira.host.listen import Listen
from beira.kernel import limits
from beira.kernel.collection import Registry
from beira.kernel.errors import Unavailable
from beira.kernel.wire import Status
from beira.store.memory import MemoryStore
from beira.store.port import News
from beira.store.postgres import EmbeddedPostgres
from beira.sync.cloud.doorway import Doorway
from beira.sync.cloud.hearing import Hearing
from tests.acceptance.support import (
    company_on,
    free_port,
    fresh_database,
    postgres_directory,
    postgres_server,
    roomy_folder,
    until,
)

FLEET = Fleet(tenants=2, live=8, cycled=30)
PATIENT_S = 240.0
"""A visit that is turned away comes again; on a machine busy with others that may take many tries."""
__all__ = ["postgres_directory", "postgres_server"]


@dataclass
class World:
    """A database with an enrolled fleet, a cloud on it that can be restarted, and the load."""

    dsn: str
    owner_dsn: str
    data: Path
    port: int
    load: Load
    stack: contextlib.AsyncExitStack

    async def start(self) -> None:
        listen = Listen(port=self.port)
        await self.stack.enter_async_context(
            company_on(self.dsn, self.owner_dsn, listen=listen, data=self.data)
        )

    async def fetch(self, sql: str) -> list[Any]:
        owner = await asyncpg.connect(self.owner_dsn)
        try:
            return list(await owner.fetch(sql))
        finally:
            await owner.close()


@pytest_asyncio.fixture
async def world(postgres_server: EmbeddedPostgres) -> AsyncIterator[World]:
    dsn, owner_dsn = await fresh_database(postgres_server)
    async with contextlib.AsyncExitStack() as outer, aiohttp.ClientSession() as session:
        stack = await outer.enter_async_context(contextlib.AsyncExitStack())
        port, data = free_port(), outer.enter_context(roomy_folder()) / "cloud"
        made = World(dsn, owner_dsn, data, port, Load(port, session), stack)
        made.load.give_up_s = PATIENT_S
        await made.start()
        owner = await asyncpg.connect(owner_dsn)
        await write_nodes(owner, FLEET)
        await owner.close()
        yield made
        for one in made.load.live:
            one.stay_away()


def nodes(first: int, count: int) -> list[Enrolled]:
    return [Enrolled(t, n) for n in range(first, first + count) for t in range(FLEET.tenants)]


def all_live(load: Load) -> bool:
    return all(one.is_live for one in load.live)


async def join(load: Load, enrolled: list[Enrolled]) -> None:
    """Have the nodes connect, all at once, and stay."""
    fresh = [Live(load, node) for node in enrolled]
    load.live += fresh
    await asyncio.gather(*(one.connect() for one in fresh))
    await until(lambda: all_live(load), "all are live", within_s=PATIENT_S)


async def test_what_many_nodes_leave_is_in_the_cloud_once_each(world: World) -> None:
    load = world.load
    await join(load, nodes(0, FLEET.live))
    coming = nodes(FLEET.live, FLEET.cycled)
    for one in load.live:
        one.say()
    await load.cycle(coming, per_s=1e6)
    await until(
        lambda: load.told.met.total() + load.told.missed.total() >= len(coming) + len(load.live)
    )
    talks = await world.fetch('SELECT id, _node FROM beira."interactions"')
    punches = await world.fetch('SELECT id, _node FROM beira."punches"')
    expected = sorted(n.id for n in coming)
    assert sorted(r[1] for r in punches) == expected
    told = sorted([*expected, *expected, *(one.node.id for one in load.live)])
    assert sorted(r[1] for r in talks) == told
    assert len({r[0] for r in talks}) == len(talks)
    assert not any(why.startswith("refused") for why in load.told.failed), load.told.failed


async def test_of_what_a_node_says_of_itself_the_last_is_kept(world: World) -> None:
    load = world.load
    await join(load, nodes(0, 5))
    for skew_ms in range(1, 41):
        for one in load.live:
            assert one.visit is not None
            one.visit._say(Status(fields={"release": "fleet", "skew_ms": skew_ms}))

    async def kept() -> bool:
        found = await world.fetch('SELECT id, skew_ms, online FROM beira."node_status"')
        return {tuple(row) for row in found} == {(one.node.id, 40, True) for one in load.live}

    await until(kept, "the last status of each is there")


async def test_a_herd_comes_back_by_itself(world: World) -> None:
    load = world.load
    await join(load, nodes(0, FLEET.live))
    await world.stack.aclose()
    await until(lambda: not any(one.is_live for one in load.live), "all are cut off")
    await world.start()
    await until(lambda: all_live(load), f"all are back: {load.told.failed}", within_s=PATIENT_S)


async def test_few_come_in_at_once_some_wait_and_the_rest_come_again() -> None:
    doorway = Doorway(at_once=2, waiting=3)
    inside, most, go = 0, 0, asyncio.Event()

    async def come() -> None:
        nonlocal inside, most
        async with doorway.turn():
            inside += 1
            most = max(most, inside)
            await go.wait()
            inside -= 1

    first = [asyncio.ensure_future(come()) for _ in range(2)]
    await until(lambda: inside == 2)
    waiting = [asyncio.ensure_future(come()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as told:
        await come()
    assert told.value.code == "sync.busy"
    waiting[0].cancel()  # who goes away makes room
    await asyncio.gather(waiting[0], return_exceptions=True)
    late = asyncio.ensure_future(come())
    go.set()
    await asyncio.gather(*first, *waiting[1:], late)
    assert (inside, most) == (0, 2)


async def test_news_goes_to_those_who_follow_its_partition_however_many_they_are() -> None:
    class Told(MemoryStore):
        listeners = 0

        def subscribe(self, listener: Any) -> Any:
            self.listeners += 1
            self.tell = listener
            return lambda: setattr(self, "listeners", self.listeners - 1)

    store = Told(Registry([]))
    hearing = Hearing(store)
    heard: dict[int, list[frozenset[str] | None]] = {}
    ends = [
        hearing.listen(["tenant", f"node:{n}"], heard.setdefault(n, []).append)
        for n in range(limits.SUBSCRIBERS + 1)
    ]
    assert store.listeners == 1
    store.tell(News(tenant="t", rows=(("notes", "a", "node:7"), ("notes", "b", "node:7"))))
    assert {n: told for n, told in heard.items() if told} == {7: [frozenset({"node:7"})]}
    store.tell(News(tenant="t", rows=(("notes", "a", "tenant"),)))
    assert all(told[-1] == frozenset({"tenant"}) for told in heard.values())
    ends[7]()
    store.tell(News(tenant="t", rows=()))
    assert heard[8][-1] is None and heard[7][-1] == frozenset({"tenant"})
    for end in ends:
        end()
    assert store.listeners == 0

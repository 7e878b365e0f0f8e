"""Laws 2, 3, 4, 6 and 10 over seeded worlds. A failing world prints its seed; replay one with
`BEIRA_SEED=123 pytest tests/simulation`, and run more of them with `BEIRA_WORLDS=1000`."""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from structlog.testing import capture_logs

from beira.kernel.collection import Lane
from tests.simulation.virtual import run_virtual
from tests.simulation.world import Alarm, Good, Log, Note, Rule, SimNode, World

WORLDS = int(os.environ.get("BEIRA_WORLDS", "60"))
FIRST = int(os.environ.get("BEIRA_SEED", "1"))
SEEDS = [FIRST] if "BEIRA_SEED" in os.environ else range(FIRST, FIRST + WORLDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_and_all_converge(seed: int) -> None:
    run_virtual(_live_through(seed))


def test_offline_backlog_drains_critical_first() -> None:
    async def story() -> None:
        world = World(1, nodes=1)
        node = world.nodes[0]
        node.network.up = False
        await world.boot()
        for i in range(300):
            await node.write(Log(text=f"log {i}"))
            await node.write(Note(text=f"note {i}"))
            await node.write(Alarm(text=f"alarm {i}"))
        node.network.up = True
        await world.quiet()
        lanes = [lane for _, lane, _ in world.trail]
        assert lanes == sorted(lanes, reverse=True) and set(lanes) == {0, 1, 2}
        assert len(await world.rows(world.store, "alarms")) == 300

    run_virtual(story())


def test_clock_years_ahead_loses_nothing_and_reorders_nothing_of_its_own() -> None:
    async def story() -> None:
        world = World(2, nodes=2)
        fast, sane = world.nodes
        fast.wall.error_ms = 3 * 365 * 86_400_000
        fast.network.up = False
        await world.boot()
        for i in range(50):
            await fast.write(Note(text=str(i)))
        await fast.write(Good(id="g", name="from the mad clock"))
        fast.network.up = True
        await world.quiet()
        notes = await world.rows(world.store, "notes")
        in_order = [row["text"] for row in sorted(notes.values(), key=lambda row: row["_hlc"])]
        assert in_order == [str(i) for i in range(50)]
        await sane.write(Good(id="g", name="later, from a sane clock"))
        await world.quiet()
        for store in (world.store, fast.store, sane.store):
            row = await store.get("goods", "g")
            assert row is not None and row.fields["name"] == "later, from a sane clock"
        assert abs(fast.host.clock.offset_ms + fast.wall.error_ms) < 1_000

    run_virtual(story())


def test_half_open_link_is_noticed_and_replaced() -> None:
    async def story() -> None:
        world = World(3, nodes=1)
        node = world.nodes[0]
        await world.boot()
        await world.quiet()
        node.network.half_open = True
        await node.write(Alarm(text="fire"))
        await asyncio.sleep(100)
        node.network.half_open = False
        await world.quiet(within_s=300)
        assert len(await world.rows(world.store, "alarms")) == 1

    run_virtual(story())


def test_a_cloned_node_is_found_out_and_told() -> None:
    async def story() -> None:
        world = World(4, nodes=2)
        first, clone = world.nodes
        await world.boot()
        await world.quiet()
        await clone.crash()
        clone.place = first.place
        clone.store = first.store.__class__(world.catalogue.collections, tenant="acme")
        await clone.boot()
        await clone.write(Note(text="kept"))
        await asyncio.sleep(120)
        assert clone.agent.state.stopped and "identity" in clone.agent.state.last_error
        assert await clone.waiting() == 1

    run_virtual(story())


def test_a_restored_copy_sends_all_it_has_once_its_owner_cleared_it() -> None:
    """The cloud knows numbers of the log as it was before the restore; they say nothing of the copy."""

    async def story() -> None:
        world = World(5, nodes=1)
        node = world.nodes[0]
        await world.boot()
        for i in range(3):
            await node.write(Note(id=f"before-{i}", text="kept in the copy"))
        await world.quiet()
        copy = node.store.copy()
        for i in range(30):
            await node.write(Note(id=f"lost-{i}", text="after the copy"))
        await world.quiet()
        await node.crash()
        node.store = copy
        await node.boot()
        for i in range(5):
            await node.write(Note(id=f"restored-{i}", text="written by the copy"))
        await asyncio.sleep(120)
        assert node.agent.state.stopped and await node.waiting() == 5
        await node.crash()
        world.tickets.clear("n0")
        with capture_logs() as told:
            await node.boot()
            await world.quiet()
        assert [line["event"] for line in told].count("sync.cloud_changed") == 1
        assert set(await world.rows(world.store, "notes")) == {id for _, id in node.confirmed}

    run_virtual(story())


def test_a_machine_replaced_under_its_name_sends_all_it_has() -> None:
    async def story() -> None:
        world = World(6, nodes=1)
        node = world.nodes[0]
        await world.boot()
        for i in range(30):
            await node.write(Note(id=f"old-{i}", text="of the old machine"))
        await world.quiet()
        await node.crash()
        node.store = type(node.store)(world.catalogue.collections, tenant="acme")
        world.tickets.clear("n0")
        await node.boot()
        for i in range(5):
            await node.write(Note(id=f"new-{i}", text="of the new machine"))
        await world.quiet()
        assert set(await world.rows(world.store, "notes")) == {id for _, id in node.confirmed}

    run_virtual(story())


async def _live_through(seed: int) -> None:
    world = World(seed, nodes=1 + seed % 4)
    await world.boot()
    chance = world.random
    for _ in range(40):
        for node in world.nodes:
            await something_happens(world, node, chance)
        await asyncio.sleep(chance.choice([0, 0.1, 1, 30]))
    for node in world.nodes:
        node.network.up, node.network.half_open, node.wall.error_ms = True, False, 0
    await world.quiet(within_s=2_000)
    await check_laws(world)


async def something_happens(world: World, node: SimNode, chance: random.Random) -> None:
    match chance.randrange(11):
        case 0:
            node.network.up = False
            node.network.cut()
        case 1 | 2:
            node.network.up = True
        case 3:
            await node.crash()
            await node.boot()
        case 4:
            node.network.half_open = chance.random() < 0.3
        case 5:
            async with world.host.writing() as ctx:
                ctx.put(Rule(id=f"r{chance.randrange(5)}", text=str(chance.random())))
        case 6:
            node.wall.error_ms = chance.choice([0, 0, 50_000, -9_000_000_000, 90_000_000_000])
        case 7:
            await node.write(Good(id=f"g{chance.randrange(4)}", name=str(chance.random())))
        case 8:
            await node.write(Alarm(text=str(chance.random())))
        case _:
            for _ in range(chance.choice([1, 3, 40])):
                await node.write(
                    chance.choice([Note(text="n"), Log(text="l")]),
                    lane=chance.choice([None, Lane.CRITICAL]),
                )


async def check_laws(world: World) -> None:
    for name in ("notes", "alarms", "logs"):
        cloud = await world.rows(world.store, name)
        mine = {id for node in world.nodes for kind, id in node.confirmed if kind == name}
        assert set(cloud) == mine, f"{name}: lost or invented (law 2)"
    for name in ("goods", "rules"):
        cloud = await world.rows(world.store, name)
        for node in world.nodes:
            assert await world.rows(node.store, name) == cloud, (
                f"{name} differ at {node.place.node}"
            )
    assert not await world.rows(world.store, "quarantine")

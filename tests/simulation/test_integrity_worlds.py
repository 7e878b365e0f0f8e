"""Replicas that differ find it out and mend it: restored clouds, rotten rows, nodes away too long."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest
from structlog.testing import capture_logs

from beira.kernel import limits
from beira.kernel.digest import Sums
from beira.kernel.disguise import pseudonym
from beira.kernel.system import SyncWindow
from beira.sync import inspect
from beira.sync.cloud import tombstones
from beira.sync.node import conversation as node_conversation
from beira.sync.node import losing
from tests.simulation.life import SHORT_STEPS, live
from tests.simulation.test_sync_worlds import SEEDS
from tests.simulation.virtual import run_virtual
from tests.simulation.world import Alarm, Good, Log, Note, Rule, SimNode, Visit, World


@pytest.fixture(autouse=True)
def short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weeks of one tick a second are long even in virtual time: make them minutes."""
    for name, seconds in (
        ("CHECK_EVERY_S", 100),
        ("CHECK_FULLY_EVERY_S", 400),
        ("UNCHECKED_MOST_S", 200),
        ("TOMBSTONE_LEAST_S", 300),
        ("NODE_AWAY_MOST_S", 3_000),
    ):
        monkeypatch.setattr(limits, name, seconds)


async def settled(world: World) -> None:
    """Long enough for every partition to be compared, and what that mended to be sent."""
    for _ in range(3):
        await world.quiet(within_s=2_000)
        await asyncio.sleep(60)
    await world.quiet(within_s=2_000)


def test_a_restored_cloud_gets_back_what_it_had_confirmed() -> None:
    async def story() -> None:
        world = World(1, nodes=3)
        await world.boot()
        await world.nodes[0].write(Good(id="g", name="before"))
        await settled(world)
        copy = world.backup()
        for i, node in enumerate(world.nodes):
            await node.write(Note(id=f"after-{i}", text="confirmed, and then lost by the cloud"))
            await node.write(Good(id=f"g{i}", name="after"))
        async with world.host.writing() as ctx:
            ctx.put(Rule(id="only-the-cloud-knew", text="gone with it"))
        await settled(world)
        await world.restore(copy)
        await world.nodes[1].write(Good(id="g", name="after the restore"))
        await settled(world)
        assert {"after-0", "after-1", "after-2"} <= set(await world.rows(world.store, "notes"))
        assert {"g", "g0", "g1", "g2"} == set(await world.rows(world.store, "goods"))
        for node in world.nodes:
            assert await world.rows(node.store, "goods") == await world.rows(world.store, "goods")

    run_virtual(story())


@pytest.mark.parametrize("restored", [True, False])
def test_a_window_that_the_cloud_has_lost_does_not_hold_for_good(
    restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is compared once all is sent: so what is to be compared is not held back. That a restored cloud
    is another one is known at once; that a disk has lost a row is not, but nothing waits for ever."""
    monkeypatch.setattr(limits, "UNCHECKED_MOST_S", 1_000)

    async def story() -> None:
        world = World(1, nodes=2)
        first, second = world.nodes
        await world.boot()
        await settled(world)
        copy = world.backup()
        async with world.host.writing() as ctx:
            ctx.put(SyncWindow(id="w", title="always", begins="00:00", ends="00:00", hold="normal"))
        await asyncio.sleep(60)
        await first.write(Log(id="waits", text="for the night"))
        await asyncio.sleep(400)
        assert "waits" not in await world.rows(world.store, "logs"), "a night of 24 hours"
        if restored:
            await world.restore(copy)
        else:
            world.witness.forgotten(world.store._tables["sync_windows"].pop("w"))
        await settled(world)
        assert "waits" in await world.rows(world.store, "logs")
        for node in (first, second):
            assert not await world.rows(node.store, "sync_windows")

    run_virtual(story())


@pytest.mark.parametrize("module", [node_conversation, inspect], ids=["node", "cloud"])
def test_what_is_urgent_does_not_wait_for_a_comparison(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million rows take either side half a minute to add up."""
    adding, add_up = [0], inspect.add_up

    async def slowly(*args: Any, **kwargs: Any) -> dict[str, Sums]:
        adding[0] += 1
        await asyncio.sleep(50)
        adding[0] -= 1
        return await add_up(*args, **kwargs)

    monkeypatch.setattr(module, "add_up", slowly)

    async def story() -> None:
        world = World(4, nodes=1)
        (node,) = world.nodes
        await world.boot()
        while not adding[0]:
            await asyncio.sleep(1)
        await node.write(Alarm(id="now", text="fire"))
        await asyncio.sleep(3)
        assert adding[0], "still at it"
        assert "now" in await world.rows(world.store, "alarms")
        await settled(world)
        assert node.agent.state.checked_ms is not None

    run_virtual(story())


def test_numbers_given_twice_by_a_restored_cloud_hide_nothing() -> None:
    """The copy's feed runs past the cursor of a node that was away meanwhile."""

    async def story() -> None:
        world = World(2, nodes=2)
        first, away = world.nodes
        await world.boot()
        copy = world.backup()
        for i in range(5):
            await first.write(Good(id=f"old-{i}", name="x"))
        await settled(world)
        away.network.up = False
        away.network.cut()
        await world.restore(copy)
        for i in range(20):
            await first.write(Good(id=f"new-{i}", name="y"))
        await asyncio.sleep(300)
        away.network.up = True
        await settled(world)
        assert len(await world.rows(away.store, "goods")) == 25
        assert await world.rows(away.store, "goods") == await world.rows(world.store, "goods")

    run_virtual(story())


@pytest.mark.parametrize("where", ["node", "cloud"])
def test_a_row_that_rots_is_found_and_mended_alone(where: str) -> None:
    async def story() -> None:
        world = World(3, nodes=1)
        (node,) = world.nodes
        await world.boot()
        for i in range(600):
            await node.write(Note(id=f"n{i}", text="x"))
        async with world.host.writing() as ctx:
            for i in range(300):
                ctx.put(Rule(id=f"r{i}", text="x"))
        await settled(world)
        if where == "node":
            del node.store._tables["rules"]["r77"]
        else:
            del world.store._tables["notes"]["n123"]
        with capture_logs() as told:
            await asyncio.sleep(limits.CHECK_FULLY_EVERY_S + limits.CHECK_EVERY_S)
            await settled(world)
        mended = [line["rows"] for line in told if line["event"] == "sync.mended"]
        assert mended == [1]
        assert len(await world.rows(world.store, "notes")) == 600
        assert len(await world.rows(node.store, "rules")) == 300

    run_virtual(story())


def test_whole_replicas_cost_a_few_messages_and_mend_nothing() -> None:
    async def story() -> None:
        world = World(4, nodes=2)
        await world.boot()
        for node in world.nodes:
            for i in range(50):
                await node.write(Good(id=f"g{i}", name=node.place.node))
        await settled(world)
        with capture_logs() as told:
            await asyncio.sleep(2 * limits.CHECK_FULLY_EVERY_S)
        assert "sync.mended" not in [line["event"] for line in told]

    run_virtual(story())


async def _deleted(world: World, node: SimNode) -> None:
    for i in range(4):
        await node.write(Good(id=f"g{i}", name="x"))
    await settled(world)
    async with world.host.writing() as ctx:
        ctx.delete(Good, "g0")
        ctx.delete(Good, "g1")


def test_deletions_are_forgotten_once_every_live_node_knows() -> None:
    async def story() -> None:
        world = World(5, nodes=2)
        first, second = world.nodes
        await world.boot()
        await _deleted(world, first)
        second.network.up = False
        second.network.cut()
        await asyncio.sleep(limits.TOMBSTONE_LEAST_S + 60)
        async with world.host.writing() as ctx:
            ctx.delete(Good, "g2")
        await asyncio.sleep(60)
        assert await tombstones.collect(world.host) in (0, 2)
        assert (await world.store.get("goods", "g2")) is not None, "one node has not heard of it"
        second.network.up = True
        await settled(world)
        await asyncio.sleep(limits.TOMBSTONE_LEAST_S + 60)
        await tombstones.collect(world.host)
        assert [await world.store.get("goods", f"g{i}") for i in range(3)] == [None] * 3
        await asyncio.sleep(limits.CHECK_FULLY_EVERY_S)
        await settled(world)
        assert set(await world.rows(world.store, "goods")) == {"g3"}
        for node in world.nodes:
            assert set(await world.rows(node.store, "goods")) == {"g3"}

    run_virtual(story())


def test_a_node_away_too_long_rebuilds_and_still_sends_all_it_holds() -> None:
    async def story() -> None:
        world = World(6, nodes=2)
        first, away = world.nodes
        await world.boot()
        await _deleted(world, first)
        for i in range(6):
            await away.write(Good(id=f"of-the-late-one-{i}", name="x"))
        await settled(world)
        away.network.up = False
        away.network.cut()
        async with world.host.writing() as ctx:
            ctx.delete(Good, "g3")
            ctx.delete(Good, "of-the-late-one-0")
        await away.write(Note(id="unsent", text="kept for three months"))
        await away.write(Good(id="g2", name="renamed while away"))
        await asyncio.sleep(limits.NODE_AWAY_MOST_S + 600)
        assert await tombstones.collect(world.host) > 0
        assert await world.store.get("goods", "g3") is None
        away.network.up = True
        await settled(world)
        cloud = await world.rows(world.store, "goods")
        assert "unsent" in await world.rows(world.store, "notes")
        assert cloud["g2"]["name"] == "renamed while away"
        assert "g3" not in cloud and "of-the-late-one-0" not in cloud
        assert await world.rows(away.store, "goods") == cloud

    run_virtual(story())


@pytest.mark.parametrize("seed", list(SEEDS)[: max(1, len(SEEDS) // 5)])
def test_worlds_of_copies_clones_rot_and_deletions(seed: int) -> None:
    print(f"BEIRA_SEED={seed}")
    run_virtual(live(seed, worn=True, steps=SHORT_STEPS))


def test_what_a_conflict_dropped_is_kept_and_ordinary_changes_are_none() -> None:
    async def story() -> None:
        world = World(7, nodes=2)
        first, second = world.nodes
        await world.boot()
        await first.write(Good(id="g", name="as it was", price=1))
        await world.quiet()
        async with second.host.writing() as ctx:
            ctx.patch(Good, "g", name="an ordinary change")
        await world.quiet()
        assert not await world.rows(world.store, "conflicts")
        for node in world.nodes:
            node.network.up = False
            node.network.cut()
        for node, name in ((first, "by the first"), (second, "by the second")):
            await asyncio.sleep(10)
            async with node.host.writing() as ctx:
                ctx.patch(Good, "g", name=name)
        for late in (second, first):
            late.network.up = True
            await asyncio.sleep(120)
        await world.quiet()
        (lost,) = (await world.rows(world.store, "conflicts")).values()
        assert (lost["lost"], lost["kept"]) == ("by the first", "by the second")
        assert (lost["lost_by"], lost["field"]) == (first.place.node, "name")

    run_virtual(story())


def test_a_conflict_is_seen_in_either_order_of_arrival() -> None:
    async def story() -> None:
        world = World(8, nodes=2)
        first, second = world.nodes
        await world.boot()
        await first.write(Good(id="g", name="as it was"))
        await world.quiet()
        second.network.up = False
        second.network.cut()
        async with first.host.writing() as ctx:
            ctx.patch(Good, "g", name="in the cloud before")
        await asyncio.sleep(30)
        async with second.host.writing() as ctx:
            ctx.patch(Good, "g", name="written offline, later")
        second.network.up = True
        await settled(world)
        (lost,) = (await world.rows(world.store, "conflicts")).values()
        assert (lost["lost"], lost["kept"]) == ("in the cloud before", "written offline, later")

    run_virtual(story())


def test_a_value_that_lost_before_it_was_sent_is_kept_too() -> None:
    """The feed comes first: what was written offline never leaves the node but as a loss."""

    async def story() -> None:
        world = World(9, nodes=2)
        first, second = world.nodes
        await world.boot()
        await first.write(Good(id="g", name="as it was"))
        await world.quiet()
        second.network.up = False
        second.network.cut()
        async with second.host.writing() as ctx:
            ctx.patch(Good, "g", name="written offline, earlier")
        await asyncio.sleep(30)
        async with first.host.writing() as ctx:
            ctx.patch(Good, "g", name="in the cloud, later")
        await asyncio.sleep(30)
        fed = world.store._tables["goods"]["g"]
        await losing.merge(second.host, second.disk, [fed])  # type: ignore[arg-type]
        assert second.store._tables["goods"]["g"] == fed
        second.network.up = True
        await settled(world)
        (lost,) = (await world.rows(world.store, "conflicts")).values()
        assert (lost["lost"], lost["lost_by"]) == ("written offline, earlier", second.place.node)
        assert (lost["kept"], lost["place"]) == ("in the cloud, later", "tenant")

    run_virtual(story())


def test_disguised_fields_never_leave_and_are_never_overwritten() -> None:
    async def story() -> None:
        world = World(9, nodes=2)
        await world.boot()
        for node in world.nodes:
            for i in range(3):
                await node.write(
                    Visit(id=f"{node.place.node}-{i}", who="João Silva", seconds=i, remark="calvo")
                )
        await settled(world)
        rows = await world.rows(world.store, "visits")
        assert len(rows) == 6 and {row["remark"] for row in rows.values()} == {""}
        (who,) = {row["who"] for row in rows.values()}
        assert who == pseudonym("João Silva", b"k" * 32) and "Jo" not in who
        del world.store._tables["visits"]["n0-1"]
        with capture_logs() as told:
            await asyncio.sleep(limits.CHECK_FULLY_EVERY_S + limits.CHECK_EVERY_S)
            await settled(world)
        assert [line["rows"] for line in told if line["event"] == "sync.mended"] == [1]
        assert await world.rows(world.store, "visits") == rows
        mine = (await world.rows(world.nodes[0].store, "visits"))["n0-1"]
        assert (mine["who"], mine["remark"]) == ("João Silva", "calvo")

    run_virtual(story())


@pytest.mark.parametrize("http", [False, True])
def test_a_node_that_begins_where_deletions_were_forgotten_gets_there_in_steps(
    monkeypatch: pytest.MonkeyPatch, http: bool
) -> None:
    """Its cursor is behind what was forgotten for most of the way: no reason to begin once more."""
    monkeypatch.setattr(limits, "FEED_CHANGES", 5)

    async def story() -> None:
        world = World(10, nodes=2)
        first, fresh = world.nodes
        fresh.network.up, fresh.network.http = False, http
        await world.boot()
        for i in range(100):
            await first.write(Good(id=f"g{i}", name="x"))
        await asyncio.sleep(60)
        async with world.host.writing() as ctx:
            ctx.delete(Good, "g0")
            ctx.delete(Good, "g1")
        await asyncio.sleep(limits.TOMBSTONE_LEAST_S + 60)
        assert await tombstones.collect(world.host) == 2
        fresh.network.up = True
        for _ in range(20):
            await asyncio.sleep(2)
            fresh.network.cut()
        await settled(world)
        assert await world.rows(fresh.store, "goods") == await world.rows(world.store, "goods")

    run_virtual(story())

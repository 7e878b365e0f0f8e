"""The laws over seeded worlds (tests/simulation/life.py), and stories that are told step by step.

Replay one world with `BEIRA_SEED=123 PYTHONHASHSEED=0 pytest tests/simulation`; `make simulate` lives
through as many as there is time for."""

from __future__ import annotations

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from beira.host.host import Place
from beira.kernel.access import Principal
from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import Lane, collection_of
from beira.kernel.record import Row
from beira.kernel.wire import PROTOCOL, Ack, Fetch, Hello, Push
from beira.store.memory import MemoryStore
from beira.sync.cloud.routes import _exchange
from tests.simulation.life import SHORT_STEPS, live
from tests.simulation.virtual import run_virtual
from tests.simulation.world import EPOCH_MS, Alarm, Good, Log, Note, SimNode, World

WORLDS = int(os.environ.get("BEIRA_WORLDS", "200"))
FIRST = int(os.environ.get("BEIRA_SEED", "1"))
SEEDS = [FIRST] if "BEIRA_SEED" in os.environ else range(FIRST, FIRST + WORLDS)


@pytest.mark.parametrize("seed", SEEDS[: (len(SEEDS) + 1) // 2])
def test_nothing_is_lost_and_all_converge(seed: int) -> None:
    print(f"BEIRA_SEED={seed}")
    run_virtual(live(seed, steps=SHORT_STEPS))


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
        copy = await _lives_on_after_a_copy(world, node, again=True)
        node.store = copy
        await node.boot()
        for i in range(40):
            await node.write(Note(id=f"restored-{i}", text="written by the copy"))
        await asyncio.sleep(120)
        assert node.agent.state.stopped and await node.waiting() == 40
        await node.crash()
        world.tickets.clear("n0")
        with capture_logs() as told:
            await node.boot()
            await world.quiet()
        assert [line["event"] for line in told].count("sync.cloud_changed") == 1
        assert set(await world.rows(world.store, "notes")) == {id for _, id in node.confirmed}

    run_virtual(story())


def test_a_copy_put_back_that_no_ticket_tells_apart_loses_nothing() -> None:
    """The copy was made in the session that was the last: it has the right ticket, and a log in which
    the numbers the cloud has stand for other changes."""

    async def story() -> None:
        world = World(5, nodes=1)
        node = world.nodes[0]
        copy = await _lives_on_after_a_copy(world, node, again=False)
        node.store = copy
        for i in range(40):
            await _offline(node, Note(id=f"restored-{i}", text="written by the copy"))
        await node.boot()
        await world.quiet()
        assert set(await world.rows(world.store, "notes")) == {id for _, id in node.confirmed}

    run_virtual(story())


async def _lives_on_after_a_copy(world: World, node: SimNode, *, again: bool) -> MemoryStore:
    """A copy of a node's disk; it sends thirty notes more after that, and then its machine dies. In
    between it is started `again`."""
    await world.boot()
    for i in range(3):
        await node.write(Note(id=f"before-{i}", text="kept in the copy"))
    await world.quiet()
    copy = node.store.copy()
    if again:
        await node.crash()
        await node.boot()
    for i in range(30):
        await node.write(Note(id=f"lost-{i}", text="after the copy"))
    await world.quiet()
    await node.crash()
    return copy


async def _offline(node: SimNode, note: Note) -> None:
    node.network.up = False
    await node.boot()
    await node.write(note)
    await node.crash()
    node.network.up = True


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


async def taken_and_not_told(world: World, early: Note | Good) -> SimNode:
    """A node's write, with a stamp a little ahead, is taken and its answer lost; then its clock jumps."""
    (node,) = world.nodes
    node.network.delay_s = 1.0
    await world.boot()
    await world.quiet()
    await asyncio.sleep(60)  # all is compared, and nothing is before what is written now
    node.wall.error_ms = 50_000
    await node.write(early)
    await asyncio.sleep(1.5)
    rows = await world.rows(world.store, collection_of(early).name)
    assert set(rows) == {early.id} and await node.waiting() == 1
    node.network.cut()
    node.wall.error_ms = 365 * 86_400_000
    return node


def test_what_the_cloud_has_taken_already_keeps_its_place() -> None:
    """A batch with stamps a little ahead is taken, and its answer lost; then the clock jumps, and what
    is not acknowledged yet is laid anew. What was written later must still be later."""

    async def story() -> None:
        world = World(7, nodes=1)
        node = await taken_and_not_told(world, Note(id="early", text="x"))
        await node.write(Note(id="late", text="y"))
        await world.quiet()
        notes = await world.rows(world.store, "notes")
        assert notes["early"]["_hlc"] < notes["late"]["_hlc"]

    run_virtual(story())


@pytest.mark.parametrize("restarted", [False, True])
def test_what_the_cloud_has_taken_already_does_not_win_over_what_followed_it(
    restarted: bool,
) -> None:
    """As above, but the later write is over the earlier one: no row of the node tells of that any more
    (seed 400467824)."""

    async def story() -> None:
        world = World(9, nodes=1)
        node = await taken_and_not_told(world, Good(id="g", name="early"))
        if restarted:
            await node.crash()
            await node.boot()
        await node.write(Good(id="g", name="late"))
        await world.quiet()
        for store in (world.store, node.store):
            row = await store.get("goods", "g")
            assert row is not None and row.fields["name"] == "late"

    run_virtual(story())


def test_a_push_never_overtakes_the_one_before_it() -> None:
    """One request has pushes of a lane with another question between them, and another lane's behind; all
    by a run that pushes for the first time (seed 562126536)."""

    async def story() -> None:
        world = World(10, nodes=0)
        replica, node = world.replicas[0], Place(tenant="acme", node="n0", site="s0").principal
        await replica.start()

        async def still() -> Principal:
            return node

        def push(lane: Lane, after: int) -> Push:
            stamp = Stamp(hlc_at(EPOCH_MS) + after + 1, int(lane), "n0")
            id = f"{lane.name}-{after}"
            said = Row(
                collection="notes", id=id, partition="site:s0", fields={"text": "x"}, stamp=stamp
            )
            return Push(lane=int(lane), after=after, upto=after + 1, groups=pack([said]))

        messages = [
            Hello(protocol=PROTOCOL, release="test", ticket=0, clock_ms=EPOCH_MS, logs=[1]),
            push(Lane.CRITICAL, 0),
            Fetch(partition="site:s0", collection="notes", buckets=[1], after=(0, "")),
            push(Lane.CRITICAL, 1),
            push(Lane.NORMAL, 0),
        ]
        answers = await _exchange(replica.gate, node, still, messages)
        assert set(await world.rows(world.store, "notes")) == {
            "CRITICAL-0",
            "CRITICAL-1",
            "NORMAL-0",
        }
        assert [(a.lane, a.upto) for a in answers if isinstance(a, Ack)] == [(2, 1), (2, 2), (0, 1)]

    run_virtual(story())


def test_after_a_restart_what_was_merged_before_is_still_earlier() -> None:
    """The clock is slow, and what another node wrote, by a right one, was merged in an earlier run: who
    writes over it now wins (seed 92310553)."""

    async def story() -> None:
        world = World(8, nodes=2)
        slow, right = world.nodes
        slow.wall.error_ms = -50_000
        await world.boot()
        await right.write(Good(id="g", name="before"))
        await world.quiet()
        slow.network.up = False
        await slow.crash()
        await slow.boot()
        await slow.write(Good(id="g", name="after"))
        slow.network.up = True
        await world.quiet()
        for store in (world.store, slow.store, right.store):
            row = await store.get("goods", "g")
            assert row is not None and row.fields["name"] == "after"

    run_virtual(story())

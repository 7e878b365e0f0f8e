"""What watches the worlds: it finds what it must, and calls nothing wrong that is not."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.laws import Given
from tests.simulation.life import _Story
from tests.simulation.releases import NEWER, Extra
from tests.simulation.virtual import run_virtual
from tests.simulation.world import Alarm, Good, Note, SimNode, World


async def _gives(node: SimNode, name: str) -> None:
    """Write the good `g` with a name that the witness is told of."""
    given = Given(name, confirmed=True)
    node.world.witness.values.setdefault((("goods", "g"), "name"), []).append(given)
    await node.write(Good(id="g", name=name))


def test_a_value_written_over_by_who_had_it_is_no_loss() -> None:
    """Also where the witness was told nothing of what came after it (seed 949028194)."""

    async def story() -> None:
        world = World(1, nodes=2)
        first, second = world.nodes
        await world.boot()
        await _gives(first, "seen")
        await world.quiet()
        await second.write(Good(id="g", name="later"))
        await world.quiet()
        assert not await world.rows(world.store, "conflicts")
        world.witness.what_was_dropped_unseen_is_kept()

    run_virtual(story())


def test_a_value_written_over_unseen_must_be_among_the_conflicts() -> None:
    async def story() -> None:
        world = World(1, nodes=2)
        await world.boot()
        for node in world.nodes:
            node.network.up = False
            node.network.cut()
        for node in world.nodes:
            await _gives(node, f"of {node.place.node}")
            await asyncio.sleep(1)
        for node in world.nodes:
            node.network.up = True
        await world.quiet()
        world.witness.what_was_dropped_unseen_is_kept()
        world.store._tables["conflicts"].clear()
        with pytest.raises(AssertionError, match=r"of n0.* was dropped"):
            world.witness.what_was_dropped_unseen_is_kept()

    run_virtual(story())


def test_a_log_need_not_bring_what_is_wholly_anothers_now() -> None:
    """A record named anew in a log, and written over since (seed 949028178)."""

    async def story() -> None:
        world = World(1, nodes=2)
        first, second = world.nodes
        await world.boot()
        await first.write(Good(id="g", name="of the first"))
        await world.quiet()
        for node in world.nodes:
            await node.store.relog([("goods", "g")], lambda row: "lane:1")
        del world.store._tables["goods"]["g"]
        far = 1_000
        world.witness.law_6_no_gaps("n1", "1", None, [second.agent._runs[-1], far, 0])
        with pytest.raises(AssertionError, match="law 6"):
            world.witness.law_6_no_gaps("n0", "1", None, [first.agent._runs[-1], far, 0])

    run_virtual(story())


def test_what_was_acknowledged_long_ago_does_not_wait() -> None:
    """Whatever a cloud that went back to an older copy of itself says it has: a node whose clock has
    jumped begins where it was (seed 784160169)."""

    async def story() -> None:
        world = World(1, nodes=1)
        node = world.nodes[0]
        await world.boot()
        copy = world.backup()
        await node.write(Alarm(text="fire"))
        await world.quiet()
        node.wall.error_ms = 365 * 86_400_000
        await world.restore(copy)
        await node.write(Note(text="later"))
        await world.quiet()
        world.witness.intact()

    run_virtual(story())


def test_what_only_a_lost_disk_had_is_excused_of_any_collection() -> None:
    """Also of one that the cloud does not know (seed 784160154)."""

    async def story() -> None:
        world = World(1, nodes=1)
        node = world.nodes[0]
        node.upgrade(NEWER)
        node.network.up = False
        await world.boot()
        copy = node.store.copy()
        await node.write(Extra(text="only here"))
        await node.crash()
        node.store = copy
        with pytest.raises(AssertionError, match="law 2"):
            world.witness.law_2_nothing_is_lost()
        world.witness.disk_lost()
        world.witness.law_2_nothing_is_lost()

    run_virtual(story())


def test_a_dead_program_does_not_wait_for_a_database_that_stalls() -> None:
    """Nobody would tell it that it is over, and who hangs up on it would wait too (seed 784160135)."""

    async def story() -> None:
        world = World(1, nodes=1)
        await world.boot()
        dead, living = world.replicas
        dead.kill()
        _Story(world, worn=False).database_stalls(world.nodes[0])
        await asyncio.sleep(0)
        assert dead.disk.stalled.is_set() and not living.disk.stalled.is_set()
        await world.spawned()

    run_virtual(story())

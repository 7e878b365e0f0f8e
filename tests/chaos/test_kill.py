"""`kill -9` of nodes and of replicas of the cloud, PostgreSQL paused and killed, lines shaped, cut, held
and left hanging, all at once: at the end every write that was confirmed is in PostgreSQL exactly once,
and digests agree.

`make chaos` does it at length, a fleet after the other, each with its reckoning; every run of the tests
a little. A run prints its seed; BEIRA_CHAOS_SEED=<seed> repeats its choices (not the machine's
scheduling), and `-k 'fleet and 3'` runs one of the fleets alone.
"""

from __future__ import annotations

import os
import random
import secrets
import time

import pytest

from tests.acceptance.test_sync_kill import (
    a_cloud_killed_over_and_over,
    a_database_killed_over_and_over,
)
from tests.chaos.fleet import Fleet, fleet, in_postgres
from tests.chaos.misfortunes import live
from tests.chaos.reckoning import reckon

KILLS = int(os.environ.get("BEIRA_CHAOS_KILLS", "500"))
ROUNDS = int(os.environ.get("BEIRA_CHAOS_ROUNDS", "20"))
A_FEW = 20
FLEETS = 5


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("BEIRA_CHAOS_SEED", "0")) or secrets.randbelow(2**31)
    print(f"BEIRA_CHAOS_SEED={chosen}")
    return chosen


async def _lived_through(kills: int, seed: int, nodes: int) -> Fleet:
    began_s = time.monotonic()
    async with fleet(nodes, random.Random(seed)) as made:
        async with made.working():
            await live(made, kills, seed)
        for program in made.programs:
            await program.kill()
        minutes = (time.monotonic() - began_s) / 60
        by_then = (await in_postgres(made)).total()
        print(
            f"kills={made.kills} minutes={minutes:.1f} confirmed={made.confirmed}"
            f" in_postgres_by_then={by_then} {dict(made.did)}"
        )
        assert made.kills >= kills and made.confirmed
        await reckon(made)
    return made


@pytest.mark.timeout(300)
async def test_a_few_kills_lose_nothing(seed: int) -> None:
    await _lived_through(A_FEW, seed, nodes=2)


@pytest.mark.chaos
@pytest.mark.parametrize("number", range(FLEETS))
async def test_a_fleet_is_killed_many_times(seed: int, number: int) -> None:
    made = await _lived_through(-(-KILLS // FLEETS), seed + number, nodes=3)
    assert made.did["database killed"] + made.did["database paused"]


@pytest.mark.chaos
async def test_a_cloud_is_killed_with_its_database_many_times(seed: int) -> None:
    await a_cloud_killed_over_and_over(ROUNDS, seed)


@pytest.mark.chaos
async def test_a_database_is_killed_many_times(seed: int) -> None:
    await a_database_killed_over_and_over(ROUNDS, seed)

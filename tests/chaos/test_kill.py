"""`kill -9` of nodes and of replicas of the cloud, PostgreSQL paused and killed, lines cut, held and
slowed: at the end every write that was confirmed is in PostgreSQL exactly once, and digests agree.

`make chaos` does it at length; every run of the tests a little. A run prints its seed;
BEIRA_CHAOS_SEED=<seed> repeats its choices (not the machine's scheduling).
"""

from __future__ import annotations

import os
import secrets
import time

import pytest

from tests.acceptance.test_sync_kill import (
    a_cloud_killed_over_and_over,
    a_database_killed_over_and_over,
)
from tests.chaos.fleet import live

KILLS = int(os.environ.get("BEIRA_CHAOS_KILLS", "500"))
ROUNDS = int(os.environ.get("BEIRA_CHAOS_ROUNDS", "20"))
A_FEW = 20


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("BEIRA_CHAOS_SEED", "0")) or secrets.randbelow(2**31)
    print(f"BEIRA_CHAOS_SEED={chosen}")
    return chosen


@pytest.mark.timeout(300)
async def test_a_few_kills_lose_nothing(seed: int) -> None:
    made = await live(A_FEW, seed)
    assert made.kills >= A_FEW and made.confirmed


@pytest.mark.chaos
async def test_a_fleet_is_killed_many_times(seed: int) -> None:
    began_s = time.monotonic()
    made = await live(KILLS, seed, nodes=3)
    minutes = (time.monotonic() - began_s) / 60
    print(
        f"kills={made.kills} confirmed={made.confirmed} minutes={minutes:.1f}"
        f" kills_per_minute={made.kills / minutes:.0f} {dict(made.did)}"
    )


@pytest.mark.chaos
async def test_a_cloud_is_killed_with_its_database_many_times(seed: int) -> None:
    await a_cloud_killed_over_and_over(ROUNDS, seed)


@pytest.mark.chaos
async def test_a_database_is_killed_many_times(seed: int) -> None:
    await a_database_killed_over_and_over(ROUNDS, seed)

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""`make chaos`: the kills of tests/acceptance/test_sync_kill.py, over and over, each run another seed.

A run prints its seed; BEIRA_CHAOS_SEED=<seed> repeats its choices (not the machine's scheduling).
"""

from __future__ import annotations

import os
import secrets

import pytest

from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company,
    postgres_directory,
    postgres_server,
)
from tests.acceptance.test_sync_kill import (
    a_cloud_killed_over_and_over,
    a_database_killed_over_and_over,
    a_node_killed_over_and_over,
)

pytestmark = pytest.mark.chaos
ROUNDS = int(os.environ.get("BEIRA_CHAOS_ROUNDS", "20"))


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("BEIRA_CHAOS_SEED", "0")) or secrets.randbelow(2**31)
    print(f"BEIRA_CHAOS_SEED={chosen} BEIRA_CHAOS_ROUNDS={ROUNDS}")
    return chosen


async def test_a_node_is_killed_many_times(company: Company, seed: int) -> None:
    await a_node_killed_over_and_over(company, ROUNDS, seed)


async def test_a_cloud_is_killed_many_times(seed: int) -> None:
    await a_cloud_killed_over_and_over(ROUNDS, seed)


async def test_a_database_is_killed_many_times(seed: int) -> None:
    await a_database_killed_over_and_over(ROUNDS, seed)

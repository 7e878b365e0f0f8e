"""The other half of the seeded worlds, in a file of its own: two workers live through all in a minute."""

from __future__ import annotations

import pytest

from tests.simulation.life import SHORT_STEPS, live
from tests.simulation.test_sync_worlds import SEEDS
from tests.simulation.virtual import run_virtual


@pytest.mark.parametrize("seed", SEEDS[(len(SEEDS) + 1) // 2 :])
def test_nothing_is_lost_and_all_converge(seed: int) -> None:
    print(f"BEIRA_SEED={seed}")
    run_virtual(live(seed, steps=SHORT_STEPS))

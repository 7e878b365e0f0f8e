"""The faults of `make mutants` can still be put into the product, and one of them is."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, mutated, seen


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_can_be_put_in(mutant: Mutant) -> None:
    assert mutant.bad in mutated(mutant)


def test_a_fault_is_seen() -> None:
    (one,) = [mutant for mutant in MUTANTS if "before it is committed" in mutant.name]
    assert seen(one, worlds=2)["seen_in"]

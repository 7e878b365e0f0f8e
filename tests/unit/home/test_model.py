"""One model of devices: every trait takes what it can be, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.apps.home.model import CAPABILITIES, canonical, checked
from beira.kernel.errors import Invalid

TRAITS = [(name, trait) for name, one in CAPABILITIES.items() for trait in one.traits]
anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=600), st.binary(max_size=3),
    st.lists(st.integers(), max_size=2), st.sampled_from(["off", "#FFD9A0", "#12345", "cooling"]),
)  # fmt: skip


@given(st.sampled_from(TRAITS), anything)
def test_a_value_is_canonical_or_refused(trait: tuple[str, str], value: Any) -> None:
    """What was taken once is taken again, and is the same."""
    try:
        made = canonical(*trait, value)
    except Invalid as error:
        assert error.code == "home.value" and error.hint
        return
    assert canonical(*trait, made) == made
    known = CAPABILITIES[trait[0]].traits[trait[1]]
    if isinstance(made, float | int) and not isinstance(made, bool):
        assert known.least <= made <= known.most


def test_what_is_said_of_a_wrong_value_helps() -> None:
    for capability, trait, value, hint in (
        ("light", "brightness", 101, "A number from 0 to 100 %."),
        ("light", "brightness", True, "A number from 0 to 100 %."),
        ("climate", "mode", "warm", "One of: off, heat, cool, auto, dry, fan."),
        ("light", "colour", "red", "A colour such as #ffd9a0."),
        ("lock", "locked", "yes", "True or false."),
        ("sensor", "co2", -1, "A number of at least 0 ppm."),
        ("meter", "power", math.nan, "A number, in W."),
    ):
        with pytest.raises(Invalid) as wrong:
            canonical(capability, trait, value)
        assert wrong.value.hint == hint


def test_commands_ask_for_what_the_kind_can_do() -> None:
    assert checked("light", "set", {"on": True, "colour": "#FFD9A0"}) == {
        "on": True, "colour": "#ffd9a0",
    }  # fmt: skip
    assert checked("cover", "open", {}) == {}
    for capability, command, params in (
        ("light", "open", {}),
        ("light", "set", {}),
        ("light", "set", {"on": None}),
        ("lock", "set", {"locked": True}),
        ("cover", "open", {"position": 3}),
        ("toaster", "set", {"on": True}),
        ("toaster", "on", {}),
    ):
        with pytest.raises(Invalid) as wrong:
            checked(capability, command, params)
        assert wrong.value.code in ("home.command", "home.trait")


def test_every_number_has_a_unit_and_every_choice_its_options() -> None:
    for name, one in CAPABILITIES.items():
        assert one.traits or one.commands, name
        for trait, known in one.traits.items():
            assert bool(known.options) == (known.kind == "choice"), (name, trait)
            assert known.kind != "number" or known.unit or trait == "steps", (name, trait)

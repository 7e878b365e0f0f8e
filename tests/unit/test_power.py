"""A battery that is getting empty, as Linux shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from beira.node.power import low_battery


def supply(folder: Path, name: str, **values: str) -> None:
    (folder / name).mkdir()
    for key, value in values.items():
        (folder / name / key).write_text(value + "\n")


@pytest.mark.parametrize(
    ("status", "capacity", "low"),
    [
        ("Discharging", "19", True),
        ("Discharging", "20", False),
        ("Charging", "3", False),
        ("Discharging", "", False),
    ],
)
def test_only_a_battery_that_empties_counts(
    tmp_path: Path, status: str, capacity: str, low: bool
) -> None:
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", status=status, capacity=capacity)
    assert low_battery(tmp_path) is low


def test_a_machine_without_batteries_is_never_low(tmp_path: Path) -> None:
    assert not low_battery(tmp_path) and not low_battery(tmp_path / "none")

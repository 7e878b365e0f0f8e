"""Whether the machine runs on a battery that is getting empty, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

SUPPLIES = Path("/sys/class/power_supply")
LOW_PERCENT = 20


def low_battery(supplies: Path = SUPPLIES) -> bool:
    """Whether a battery discharges and is below `LOW_PERCENT`. Machines without one never are."""
    try:
        found = sorted(supplies.iterdir())
    except OSError:
        return False
    return any(_is_low(supply) for supply in found)


def _is_low(supply: Path) -> bool:
    try:
        kind, status, percent = (
            (supply / name).read_text().strip() for name in ("type", "status", "capacity")
        )
        return kind == "Battery" and status == "Discharging" and int(percent) < LOW_PERCENT
    except (OSError, ValueError):
        return False

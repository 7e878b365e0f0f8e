"""The form of every figure: one JSON object a line, with what it was measured against."""

from __future__ import annotations

import json


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    peer: str = "",
    ratio: float | None = None,
    target: str = "",
    met: bool | None = None,
) -> None:
    """Print one figure. `ratio` is ours over the peer's, `target` what it should reach."""
    told = {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "peer": peer,
        "ratio": None if ratio is None else round(ratio, 2),
        "target": target,
        "met": met,
    }
    print(json.dumps(told), flush=True)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

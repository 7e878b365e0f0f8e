"""Rollups: records that stay on the node, of which only figures by the hour travel.

    @collection("temperatures", flow=LOCAL, rollup=Rollup(at="at", by=("sensor",), of=("celsius",)))

makes a second collection, `temperatures_by_hour`, which the node fills: one record for each hour and
group, with `count` and, for each number, its sum, least, greatest, median and 95th percentile.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from beira.kernel.record import Value

SUFFIX = "_by_hour"
HOUR = "hour"
COUNT = "count"
FIGURES = ("sum", "min", "max", "p50", "p95")


@dataclass(frozen=True, slots=True)
class Rollup:
    """`at` is the time field that says the hour, `by` are the fields that make groups within it, and
    `of` the numbers that are added up."""

    at: str
    by: tuple[str, ...] = ()
    of: tuple[str, ...] = ()


def hour_of(moment: str) -> str:
    """The hour of a canonical time (`…T14:30:00Z`), as a canonical time."""
    return f"{moment[:13]}:00:00Z"


def id_of(node: str, hour: str, group: Iterable[Value]) -> str:
    """The id of a node's figures for an hour and group: the same however often they are made."""
    text = msgspec.json.encode([node, hour, list(group)])
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def aggregate(
    rollup: Rollup, rows: Iterable[Mapping[str, Value]]
) -> dict[tuple[Value, ...], dict[str, Value]]:
    """The figures of one hour's rows, by group. A row without a number counts, and adds nothing."""
    groups: dict[tuple[Value, ...], list[Mapping[str, Value]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in rollup.by), []).append(row)
    return {group: _figures(rollup, members) for group, members in groups.items()}


def figure(field: str, name: str) -> str:
    """What the field of a figure is called: `celsius_p95`."""
    return f"{field}_{name}"


def _figures(rollup: Rollup, rows: list[Mapping[str, Value]]) -> dict[str, Value]:
    made: dict[str, Value] = {COUNT: len(rows)}
    for field in rollup.of:
        values = sorted(float(row[field]) for row in rows if row.get(field) is not None)
        found = _of_values(values) if values else dict.fromkeys(FIGURES)
        made |= {figure(field, name): value for name, value in found.items()}
    return made


def _of_values(values: list[float]) -> dict[str, Any]:
    return {
        "sum": math.fsum(values),
        "min": values[0],
        "max": values[-1],
        "p50": percentile(values, 50),
        "p95": percentile(values, 95),
    }


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values: always one of them."""
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]

"""Records that stay on their node, and the figures of them that travel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.host import Host, Place
from beira.host.rollups import Rollups
from beira.kernel.app import App, catalogue
from beira.kernel.collection import LOCAL, UP, Personal, collection, collection_of
from beira.kernel.errors import Invalid
from beira.kernel.query import Query
from beira.kernel.record import Fact
from beira.kernel.rollup import Rollup, aggregate, percentile
from beira.store.memory import MemoryStore
from beira.sync.streams import lane_stream, log_route

START = datetime(2026, 11, 21, 8, tzinfo=UTC)


@collection(
    "temperatures",
    flow=LOCAL,
    retention_days=3,
    rollup=Rollup(at="at", by=("sensor", "person"), of=("celsius",)),
)
class Temperature(Fact):
    sensor: str
    celsius: float | None
    at: datetime
    person: Annotated[str, Personal] = ""


APP = App(name="t", title="T", collections=(collection_of(Temperature),), commands=())


class Wall:
    def __init__(self) -> None:
        self.now = START
        self._ids = 0

    def now_ms(self) -> int:
        return int(self.now.timestamp() * 1000)

    def monotonic_s(self) -> float:
        return 0.0

    def new_id(self) -> str:
        self._ids += 1
        return f"id{self._ids:06d}"


@pytest.fixture
async def host() -> Host:
    made = catalogue([APP])
    store = MemoryStore(made.collections, tenant="t")
    place = Place(tenant="t", node="n1", site="s1")
    host = Host(
        place=place, store=store, catalogue=made, wall=Wall(), route=log_route(made.collections)
    )
    await host.start()
    return host


async def measure(host: Host, minutes: int, celsius: float | None, sensor: str = "a") -> None:
    async with host.writing() as ctx:
        at = START + timedelta(minutes=minutes)
        ctx.put(Temperature(sensor=sensor, celsius=celsius, at=at))


async def figures(host: Host) -> list[dict[str, Any]]:
    page = await host.store.query(Query(collection="temperatures_by_hour", limit=100))
    return sorted(page.rows, key=lambda row: (row["hour"], row["sensor"]))


async def test_only_figures_leave_the_node(host: Host) -> None:
    for minute, celsius in ((0, 20.0), (10, 22.0), (59, None), (60, 30.0)):
        await measure(host, minute, celsius)
    await measure(host, 5, 4.0, sensor="fridge")
    assert await Rollups(host).step() == 3
    first, fridge, second = await figures(host)
    assert first["hour"] == "2026-11-21T08:00:00Z" and first["count"] == 3
    assert [first[f"celsius_{x}"] for x in ("sum", "min", "max", "p50", "p95")] == [
        42.0,
        20.0,
        22.0,
        20.0,
        22.0,
    ]
    assert (fridge["sensor"], fridge["count"], second["count"]) == ("fridge", 1, 1)
    log = await host.store.since(lane_stream(0), 0, most=100, most_bytes=1 << 20)
    assert {row.collection for row in log.rows} == {"temperatures_by_hour"}


async def test_late_records_are_added_and_nothing_is_sent_twice(host: Host) -> None:
    await measure(host, 0, 20.0)
    rollups = Rollups(host)
    assert await rollups.step() == 1 and await rollups.step() == 0
    await measure(host, 1, 24.0)
    assert await Rollups(host).step() == 1, "another start goes on where the last one ended"
    (row,) = await figures(host)
    assert row["count"] == 2 and row["celsius_sum"] == 44.0


async def test_hours_of_which_records_are_forgotten_keep_their_figures(host: Host) -> None:
    await measure(host, 0, 20.0)
    await Rollups(host).step()
    host.wall.now = START + timedelta(days=5)
    await host.store.forget("temperatures", 1 << 62)
    await measure(host, 30, 99.0)
    assert await Rollups(host).step() == 0
    (row,) = await figures(host)
    assert row["count"] == 1


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_figures_are_of_the_values(values: list[float]) -> None:
    rollup = Rollup(at="at", of=("x",))
    (made,) = aggregate(rollup, [{"x": value} for value in values]).values()
    assert made["count"] == len(values)
    assert made["x_min"] == min(values) and made["x_max"] == max(values)
    assert made["x_min"] <= made["x_p50"] <= made["x_p95"] <= made["x_max"]
    below = sum(value <= made["x_p95"] for value in values)
    assert below >= 0.95 * len(values) and percentile(sorted(values), 100) == max(values)


def test_rollups_that_cannot_be_are_refused() -> None:
    @collection("going_up", flow=UP, rollup=Rollup(at="at"))
    class GoingUp(Fact):
        at: datetime

    @collection("texts", flow=LOCAL, rollup=Rollup(at="at", of=("text",)))
    class Texts(Fact):
        at: datetime
        text: str

    for record, why in ((GoingUp, "flow=LOCAL"), (Texts, "type integer or real")):
        with pytest.raises(Invalid, match=why):
            catalogue([App(name="x", title="X", collections=(collection_of(record),), commands=())])

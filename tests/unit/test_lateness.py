"""Whether batches keep their deadlines, by the day: counted once, judged once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from beira.host import Host, Place, SystemWall
from beira.kernel.access import Kind, Principal, node_partition
from beira.kernel.app import catalogue
from beira.kernel.lateness import DAY_HOURS, Hours, added, day_of, fresh, judged
from beira.store.memory import MemoryStore
from beira.sync.cloud.notes import Notes
from beira.sync.cloud.standing import HOUR_S, Standing
from beira.sync.streams import feed_route, feed_stream

NODE = Principal(kind=Kind.NODE, id="n1", tenant="late-t", name="Balcão", sites=("s1",))
LATER = datetime(2026, 11, 21, 1, tzinfo=UTC)
counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5), st.booleans()), max_size=20)


@given(counts)
def test_what_is_new_adds_up_to_what_was_counted(steps: list[tuple[int, int, bool]]) -> None:
    """However often a node is told of and started anew, each batch is counted once."""
    before: dict[str, list[int]] = {}
    hours: Hours = {}
    told, batches = [0, 0], [0, 0]
    for met, late, restarted in steps:
        told = [met, late] if restarted else [told[0] + met, told[1] + late]
        batches = [batches[0] + met, batches[1] + late]
        news = fresh(before, {"normal": told}, restarted=restarted)
        hours = added(hours, news, 7)
        before = {"normal": list(told)}
        assert not fresh(before, before, restarted=False)
    assert list(day_of(hours, "normal")) == batches


@given(st.lists(st.integers(0, 100), max_size=60).map(sorted))
def test_a_day_forgets_what_is_older(when: list[int]) -> None:
    hours: Hours = {}
    for hour in when:
        hours = added(hours, {"critical": (1, 0)}, hour)
        assert len(hours["critical"]) <= DAY_HOURS
    within = [hour for hour in when if hour > when[-1] - DAY_HOURS] if when else []
    assert day_of(hours, "critical") == (len(within), 0)


@pytest.mark.parametrize(
    ("raised", "met", "late", "verdict"),
    [
        (False, 0, 0, None), (False, 18, 1, None), (False, 19, 1, "raise"), (True, 19, 1, None),
        (False, 99, 1, None), (True, 99, 1, "resolve"), (True, 15, 1, None), (True, 3, 0, "resolve"),
        (True, 0, 0, "resolve"), (False, 0, 20, "raise"),
    ],
)  # fmt: skip
def test_judged(raised: bool, met: int, late: int, verdict: str | None) -> None:
    assert judged(raised, met, late) == verdict


class Wall(SystemWall):
    ahead_ms = 0

    def now_ms(self) -> int:
        return 1_790_000_000_000 + self.ahead_ms


@pytest.fixture
async def host() -> Host:
    made = catalogue([])
    store = MemoryStore(made.collections, tenant=NODE.tenant)
    host = Host(
        place=Place(tenant=NODE.tenant, node="cloud"), store=store, catalogue=made, wall=Wall(),
        route=feed_route(made.collections),
    )  # fmt: skip
    await host.start()
    return host


def status(met: int, late: int, **more: Any) -> dict[str, Any]:
    return {
        "release": "1", "started_at": "2026-11-21T00:00:00Z", "met": {"important": [met, late]},
        "pending": {"important": 4}, "oldest_s": {"important": 9}, **more,
    }  # fmt: skip


async def alert(host: Host) -> dict[str, Any] | None:
    row = await host.store.get("alerts", "sync-late-n1-important")
    return None if row is None else row.fields


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"tenant": NODE.tenant, **labels}) or 0


async def test_an_alert_is_raised_once_and_ends_by_itself(host: Host) -> None:
    notes = Notes(host.store)
    standing = Standing(host, NODE, notes)
    await standing.told(status(19, 0))
    assert await alert(host) is None
    await standing.told(status(38, 2))
    raised = await alert(host)
    assert raised is not None and raised["kind"] == "sync.late" and raised["ended_at"] is None
    assert "2 de 40 atrasados" in raised["text"]
    row = await host.store.get("alerts", "sync-late-n1-important")
    assert row is not None and row.partition == "site:s1"
    feed = await host.store.end(feed_stream("site:s1"))
    for more in (45, 60, 70):  # another replica, or the node connected anew: it knows of the alert
        standing = Standing(host, NODE, notes)
        await standing.told(status(more, 2))
    assert await host.store.end(feed_stream("site:s1")) == feed, "raised at each status"
    await standing.told(status(400, 2))
    ended = await alert(host)
    assert ended is not None and ended["ended_at"] and ended["seen_by"] == "Beira"
    await standing.told(status(400, 40))
    again = await alert(host)
    assert again is not None and (again["ended_at"], again["seen_by"]) == (None, "")


async def test_it_ends_after_a_day_without_batches(host: Host) -> None:
    wall = host.wall
    assert isinstance(wall, Wall)
    await Standing(host, NODE, Notes(host.store)).told(status(30, 10))
    wall.ahead_ms = (DAY_HOURS + 1) * HOUR_S * 1000
    await Standing(host, NODE, Notes(host.store)).told(status(30, 10))
    ended = await alert(host)
    assert ended is not None and ended["ended_at"]


async def test_the_metrics_count_each_batch_once_and_name_no_node(host: Host) -> None:
    in_time = metric("beira_sync_node_batches_total", lane="important", met="yes")
    for told in (
        status(5, 1),
        status(5, 1, started_at=datetime(2026, 11, 21, tzinfo=UTC)),
        status(9, 1),
        status(2, 0, started_at=LATER),
    ):
        standing = Standing(host, NODE, Notes(host.store))
        await standing.told(told)
    assert metric("beira_sync_node_batches_total", lane="important", met="yes") == in_time + 11
    assert metric("beira_sync_nodes") == 1
    assert metric("beira_sync_pending_changes", lane="important") == 4
    assert metric("beira_sync_oldest_pending_seconds", lane="important") == 9
    await standing.left()
    assert metric("beira_sync_nodes") == 0
    found = await host.store.get("node_status", "n1")
    assert found is not None and found.fields["online"] is False
    assert found.partition == node_partition("n1")


async def test_what_a_node_makes_up_harms_nothing(host: Host) -> None:
    standing = Standing(host, NODE, Notes(host.store))
    wrong: list[dict[str, Any]] = [
        {"met": "all"}, {"met": {"important": [None, "x"], "x": [1, 1]}}, {"met": {"normal": [-5, -9]}},
        {"pending": [1]}, {"mended": -3}, {"hours": {"important": [[1, 0, 999]]}},
    ]  # fmt: skip
    for fields in wrong:
        await standing.told({**status(0, 0), **fields})
    assert await alert(host) is None
    assert metric("beira_sync_node_batches_total", lane="normal", met="no") == 0

"""Forgetting deletions, in the cloud: once every live node of a partition knows of one, nobody needs
it any more. Not by the calendar: a node that comes back late would bring the deleted row back.

A node away for longer than `limits.NODE_AWAY_MOST_S` is not waited for. When it returns, its feed
begins anew, and it removes what the cloud no longer has; what it has not sent yet is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.clock import hlc_at, ms_of
from beira.kernel.query import Column, Query
from beira.sync.streams import FLOOR_MARK, feed_stream

log = structlog.get_logger(__name__)


async def collect(host: Host) -> int:
    """Forget what a tenant's live nodes all know to be deleted. Returns how many rows went."""
    gone = 0
    before_hlc = hlc_at(host.wall.now_ms() - limits.TOMBSTONE_LEAST_S * 1000)
    for partition, upto in (await _known_to_all(host)).items():
        while count := await host.store.collect(
            feed_stream(partition),
            upto,
            before_hlc,
            floor=FLOOR_MARK + partition,
            most=limits.TOMBSTONES_AT_ONCE,
        ):
            gone += count
            if count < limits.TOMBSTONES_AT_ONCE:
                break
    if gone:
        log.info("tombstones.collected", tenant=host.place.tenant, rows=gone)
    return gone


async def _known_to_all(host: Host) -> dict[str, int]:
    """How far each partition's feed is on the disk of every live node that follows it."""
    away = await _away(host)
    sites = await _sites(host)
    slowest: dict[str, int] = {}
    for name, upto in (await host.store.marks("down:")).items():
        node, partition = name.removeprefix("down:").split(":", 1)
        if node not in away and _follows(node, partition, sites):
            slowest[partition] = min(int(upto), slowest.get(partition, int(upto)))
    return slowest


def _follows(node: str, partition: str, sites: Mapping[str, str]) -> bool:
    """Whether the node still follows the partition, as far as that is known: it may have moved."""
    kind, _, name = partition.partition(":")
    return kind != "site" or node not in sites or sites[node] == name


async def _away(host: Host) -> set[str]:
    """Nodes that were not seen for so long that nobody waits for them. One that went before it said
    how it is was last seen when its going was noted."""
    now_s = host.wall.now_ms() / 1000
    return {
        row["id"]
        for row in await _all(host, "node_status", "seen_at", "_hlc")
        if now_s - _seen_s(row) > limits.NODE_AWAY_MOST_S
    }


def _seen_s(row: Mapping[str, Any]) -> float:
    seen_at = row["seen_at"]
    return ms_of(row["_hlc"]) / 1000 if seen_at is None else _moment_s(seen_at)


def _moment_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def _sites(host: Host) -> dict[str, str]:
    return {row["id"]: row["site"] for row in await _all(host, "node_info", "site")}


async def _all(host: Host, collection: str, *names: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    columns = (Column("id"), *map(Column, names))
    while True:
        page = await host.store.query(
            Query(collection=collection, columns=columns, limit=1_000, offset=len(found))
        )
        found += page.rows
        if len(page.rows) < 1_000:
            return found

"""What sync tells Prometheus; docs/howto and the reference name each figure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from beira.kernel import limits

CONNECTIONS = Gauge("beira_sync_connections", "Nodes connected to this replica.")
COMMITTED = Counter("beira_sync_committed_rows", "Rows nodes pushed that were committed.", ["lane"])
REFUSED = Counter("beira_sync_refused_rows", "Rows nodes pushed that went to quarantine.", ["lane"])
FED = Counter("beira_sync_fed_rows", "Rows read from feeds for nodes.")
PENDING = Gauge("beira_node_pending_changes", "Changes this node must still send.", ["lane"])
OLDEST_S = Gauge("beira_node_oldest_pending_seconds", "Age of the oldest unsent change.", ["lane"])
CONNECTED = Gauge("beira_node_connected", "Whether this node has a live session with the cloud.")
SENT_BYTES = Counter("beira_node_sent_bytes", "Bytes this node has sent in sync messages.")
BATCHES = Counter(
    "beira_node_batches", "Batches confirmed, by whether they met their deadline.", ["lane", "met"]
)
INSPECTED = Counter("beira_node_inspections", "Partitions compared with the cloud by digests.")
MENDED = Counter("beira_node_mended_rows", "Rows that comparing with the cloud has put right.")
CONFLICTS = Counter("beira_sync_conflicts", "Values that lost against another writer's, both kept.")
NODE_BATCHES = Counter(
    "beira_sync_node_batches",
    "Batches as the nodes connected here count them, by whether they met their deadline.",
    ["tenant", "lane", "met"],
)
NODE_MENDED = Counter(
    "beira_sync_node_mended_rows",
    "Rows put right by comparing with the cloud, as nodes tell.",
    ["tenant"],
)
Lanes: TypeAlias = Mapping[str, int]


class Nodes(Collector):
    """What nodes have lately told this replica, added up by tenant: no node is a label. A node that has
    said nothing for long no longer counts."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[float, Lanes, Lanes]] = {}

    def heard(self, tenant: str, node: str, pending: Lanes, oldest_s: Lanes) -> None:
        self._told[tenant, node] = (time.monotonic(), pending, oldest_s)

    def forget(self, tenant: str, node: str) -> None:
        self._told.pop((tenant, node), None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        since_s = time.monotonic() - limits.STATUS_FRESH_S
        self._told = {key: item for key, item in self._told.items() if item[0] >= since_s}
        counts: dict[str, int] = {}
        waiting: dict[tuple[str, str], int] = {}
        oldest_s: dict[tuple[str, str], int] = {}
        for (tenant, _), (_, pending, ages_s) in self._told.items():
            counts[tenant] = counts.get(tenant, 0) + 1
            for lane, number in _lanes(pending):
                waiting[tenant, lane] = waiting.get((tenant, lane), 0) + number
            for lane, age_s in _lanes(ages_s):
                oldest_s[tenant, lane] = max(oldest_s.get((tenant, lane), 0), age_s)
        nodes = GaugeMetricFamily(
            "beira_sync_nodes", "Nodes heard of within two and a half minutes.", labels=["tenant"]
        )
        for tenant, count in counts.items():
            nodes.add_metric([tenant], count)
        yield nodes
        yield _family("beira_sync_pending_changes", "Changes those nodes must still send.", waiting)
        yield _family("beira_sync_oldest_pending_seconds", "Age of the oldest of those.", oldest_s)


def _family(name: str, text: str, values: Mapping[tuple[str, str], int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["tenant", "lane"])
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _lanes(told: Lanes) -> Iterator[tuple[str, int]]:
    """Lanes of ours, whatever else a node says."""
    for lane in ("critical", "important", "normal"):
        if told.get(lane, 0) > 0:
            yield lane, told[lane]


NODES = Nodes()
REGISTRY.register(NODES)

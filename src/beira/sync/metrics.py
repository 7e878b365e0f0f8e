"""What sync tells Prometheus; docs/howto and the reference name each figure."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

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

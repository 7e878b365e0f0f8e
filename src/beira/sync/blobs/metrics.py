"""What the blobs' lane tells Prometheus, on nodes and in the cloud alike."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

BYTES = Counter("beira_blob_bytes", "Bytes of blobs carried and kept.", ["direction"])
DONE = Counter("beira_blobs", "Blobs carried whole, verified and durable.", ["direction"])
REFUSED = Counter(
    "beira_blob_refused", "Chunks (digest) and blobs (mismatch) that came other than sent.", ["why"]
)
QUEUED = Gauge("beira_blob_queued", "Blobs this node must still carry.", ["direction"])
DISK_BYTES = Gauge("beira_blob_disk_bytes", "What this node's blobs take of its disk.")
NO_ROOM = Gauge("beira_blob_no_room", "Blobs this node wants and has no room for.")
COLLECTED = Counter("beira_blob_collected", "Blobs removed because no record names them.")

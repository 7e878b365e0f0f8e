"""What a node says of itself: the shape alone, for whoever asks as much as for the node."""

from __future__ import annotations

import msgspec


class LaneStatus(msgspec.Struct, kw_only=True):
    """What waits in one lane. `met` and `late` count batches against the lane's deadline."""

    waiting: int
    oldest_s: int
    met: int
    late: int


class NodeStatusReport(msgspec.Struct, kw_only=True):
    """A node by its own account; times in ms since 1970, by its corrected clock. `cursors` say how
    far it has each partition's feed: nothing from the cloud has come yet where there is none."""

    node: str
    name: str
    tenant: str
    site: str
    release: str
    connected: bool
    link: str
    rtt_ms: float | None
    last_sync_ms: int | None
    skew_ms: int
    last_error: str
    next_step: str
    stopped: bool
    lanes: dict[str, LaneStatus]
    cursors: dict[str, int] = {}
    bytes_raw: int
    bytes_sent: int
    site_name: str = ""
    checked_ms: int | None = None
    mended: int = 0
    held: list[str] = []
    share: float = 1.0
    metered: bool = False
    low_battery: bool = False

"""What a node tells of its sync: to whoever stands beside it, and to the cloud now and then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from beira.kernel import limits
from beira.kernel.clock import ms_of
from beira.kernel.collection import Lane, timestamp
from beira.kernel.node_session import NodeSession
from beira.store.port import Pending
from beira.sync import metrics

if TYPE_CHECKING:
    from beira.sync.node.agent import Agent

_AS_IT_IS = (
    "last_error", "last_code", "next_step", "bytes_raw", "bytes_sent", "mended", "held", "share",
    "metered", "low_battery",
)  # fmt: skip
"""Of the state, what the cloud is told as it is."""


_MOVING = frozenset({
    "oldest_s", "met", "skew_ms", "rtt_ms", "bytes_raw", "bytes_sent", "disk_free_bytes", "latency_ms",
})  # fmt: skip
"""What is another at every look, and no news."""


class Tellings:
    """When the cloud is told how the node is: at once when it comes, soon when something has changed,
    and now and then even so. Ten thousand nodes that repeat themselves are most of a cloud's work."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}
        self._looked_s = self._told_s = -math.inf

    def due(self, now_s: float) -> bool:
        """Whether it is time to look at how the node is."""
        return now_s - self._looked_s >= limits.STATUS_EVERY_S

    def is_news(self, fields: Mapping[str, Any], now_s: float) -> bool:
        """Whether to tell the cloud so, which is then taken for told."""
        self._looked_s = now_s
        told = {name: value for name, value in fields.items() if name not in _MOVING}
        if told == self._told and now_s - self._told_s < limits.STATUS_CALM_EVERY_S:
            return False
        self._told, self._told_s = told, now_s
        return True


class SyncState(msgspec.Struct, kw_only=True):
    """What people may know of a node's sync; the node's page and `beira node status` show it.

    `held`, `share`, `metered` and `low_battery` are the conditions in force (`kernel.policy`);
    `checked_ms` is when a partition was last compared with the cloud, `mended` how many rows that
    has put right since the start.
    """

    connected: bool = False
    link: str = ""
    since_ms: int = 0
    last_sync_ms: int | None = None
    last_error: str = ""
    next_step: str = ""
    last_code: str = ""
    rtt_ms: float | None = None
    skew_ms: int = 0
    stopped: bool = False
    bytes_sent: int = 0
    bytes_raw: int = 0
    checked_ms: int | None = None
    mended: int = 0
    held: list[str] = []
    share: float = 1.0
    metered: bool = False
    low_battery: bool = False


async def told(agent: Agent, session: NodeSession, link: str) -> dict[str, Any]:
    """The fields of the node's `NodeStatus`, and the same for its own metrics."""
    held = await agent.pending()
    now_ms = agent.host.clock.now_ms(agent.host.wall.now_ms())
    _measure(held, now_ms)
    state = agent.state
    fields: dict[str, Any] = {
        "release": agent.release,
        "pending": {lane.name.lower(): p.count for lane, p in held.items()},
        "oldest_s": {
            lane.name.lower(): max(0, (now_ms - ms_of(p.oldest_hlc)) // 1000)
            for lane, p in held.items()
            if p.oldest_hlc
        },
        "met": {lane.name.lower(): [d.met, d.late] for lane, d in agent.deliveries.items()},
        "skew_ms": session.skew_ms + agent.host.clock.offset_ms,
        "link": link,
        "rtt_ms": session.link.rtt_ms,
        **{name: getattr(state, name) for name in _AS_IT_IS},
    }
    if state.checked_ms is not None:
        fields["checked_at"] = timestamp(datetime.fromtimestamp(state.checked_ms / 1000, UTC))
    return fields | agent.more_status()


def _measure(held: dict[Lane, Pending], now_ms: int) -> None:
    for lane, pending in held.items():
        age_s = (now_ms - ms_of(pending.oldest_hlc)) / 1000 if pending.oldest_hlc else 0
        metrics.PENDING.labels(lane.name.lower()).set(pending.count)
        metrics.OLDEST_S.labels(lane.name.lower()).set(max(0, age_s))

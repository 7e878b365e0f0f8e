"""How a node is, for whoever stands beside it: `beira node status` and the node's own page ask here."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from beira.host import Host
from beira.kernel.clock import ms_of
from beira.node.report import LaneStatus, NodeStatusReport
from beira.sync.node.agent import Agent

_AS_IT_IS = ("checked_ms", "mended", "held", "share", "metered", "low_battery")
"""Of the sync's state, what is told as it is."""


async def report(host: Host, agent: Agent, release: str) -> NodeStatusReport:
    """The present state of a node."""
    now_ms = host.clock.now_ms(host.wall.now_ms())
    state = agent.state
    lanes = {}
    for lane, held in (await agent.pending()).items():
        oldest_ms = ms_of(held.oldest_hlc) if held.oldest_hlc else now_ms
        delivery = agent.deliveries[lane]
        lanes[lane.name.lower()] = LaneStatus(
            waiting=held.count,
            oldest_s=max(0, (now_ms - oldest_ms) // 1000),
            met=delivery.met,
            late=delivery.late,
        )
    return NodeStatusReport(
        node=host.place.node,
        name=host.place.name,
        tenant=host.place.tenant,
        site=host.place.site or "",
        release=release,
        connected=state.connected,
        link=state.link,
        rtt_ms=state.rtt_ms,
        last_sync_ms=state.last_sync_ms,
        skew_ms=state.skew_ms + host.clock.offset_ms,
        last_error=state.last_error,
        next_step=state.next_step,
        stopped=state.stopped,
        lanes=lanes,
        cursors=await agent.cursors(),
        bytes_raw=state.bytes_raw,
        bytes_sent=state.bytes_sent,
        site_name=await _site_name(host),
        **{name: getattr(state, name) for name in _AS_IT_IS},
    )


async def _site_name(host: Host) -> str:
    row = await host.store.get("sites", host.place.site or "")
    return str(row.fields.get("name") or "") if row is not None else ""


def node_routes(host: Host, agent: Agent, release: str) -> list[HTTPRouteHandler]:
    """`/node/status`: figures only, no records; open to whoever reaches the node's address."""

    @get("/node/status", include_in_schema=False)
    async def status() -> Response[Any]:
        body = msgspec.json.encode(await report(host, agent, release))
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    return [status]

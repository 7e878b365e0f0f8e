"""How a connected node is, as the cloud is told: kept as a record, counted for the metrics, and judged.

A node whose batches come late is told of by an alert, once, which ends by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import structlog

from beira.host.host import Host
from beira.kernel.access import Principal, node_partition, site_partition
from beira.kernel.collection import Lane, collection_of
from beira.kernel.errors import BeiraError
from beira.kernel.lateness import Hours, added, day_of, fresh, judged
from beira.kernel.record import DELETED, Value
from beira.kernel.system import Alert, NodeStatus
from beira.sync import metrics
from beira.sync.cloud.notes import Notes

log = structlog.get_logger(__name__)
HOUR_S = 3_600
BEIRA = "Beira"
_COUNTED = ("started_at", "met", "mended", "hours")
"""What is remembered of a node to count from; there are many nodes."""
_LANES = {lane.name.lower(): lane for lane in Lane}
_WORDS = {"critical": "crítica", "important": "importante", "normal": "normal"}


class Standing:
    """What one node tells of itself over a connection."""

    __slots__ = ("_before", "_host", "_node", "_notes", "_raised")

    def __init__(self, host: Host, node: Principal, notes: Notes) -> None:
        self._host = host
        self._node = node
        self._notes = notes
        self._before: dict[str, Value] | None = None
        self._raised: dict[str, bool] = {}

    async def told(self, fields: dict[str, object]) -> None:
        """Keep what the node says. What the database does not take now is told again soon."""
        known = collection_of(NodeStatus).fields
        told = {name: fields[name] for name in fields.keys() & known.keys() - {"hours"}}
        now = self._host.now()
        try:
            checked = collection_of(NodeStatus).check(told, whole=False)
            before = await self._known()
            restarted = checked.get("started_at") != before.get("started_at")
            news = fresh(_counts(before), _counts(checked), restarted=restarted)
            hours = added(_hours(before), news, int(now.timestamp()) // HOUR_S)
            seen = {"hours": hours, "seen_at": now, "online": True, "last_sync_at": now}
            written = await self._write({**checked, **seen})
            self._before = {name: written.get(name, before.get(name)) for name in _COUNTED}
            self._measure(news, before, checked, restarted=restarted)
            await self._judge(hours, _hours(before))
        except BeiraError as error:
            log.info("sync.status_lost", node=self._node.id, why=error.message)

    async def left(self) -> None:
        """The node is gone from here."""
        metrics.NODES.forget(self._node.tenant, self._node.id)
        try:
            await self._write({"online": False})
        except BeiraError as error:
            log.info("sync.status_lost", node=self._node.id, why=error.message)

    async def _known(self) -> dict[str, Value]:
        if self._before is None:
            known = await self._notes.known("node_status", self._node.id) or {}
            self._before = {name: known[name] for name in _COUNTED if name in known}
        return self._before

    def _measure(
        self,
        news: Mapping[str, tuple[int, int]],
        before: Mapping[str, Value],
        told: Mapping[str, Value],
        *,
        restarted: bool,
    ) -> None:
        tenant = self._node.tenant
        for lane, (in_time, late) in news.items():
            metrics.NODE_BATCHES.labels(tenant, lane, "yes").inc(in_time)
            metrics.NODE_BATCHES.labels(tenant, lane, "no").inc(late)
        mended, mended_before = _number(told.get("mended")), _number(before.get("mended"))
        known = 0 if restarted or mended < mended_before else mended_before
        metrics.NODE_MENDED.labels(tenant).inc(mended - known)
        metrics.NODES.heard(
            tenant, self._node.id, told.get("pending") or {}, told.get("oldest_s") or {}
        )

    async def _write(self, fields: dict[str, object]) -> dict[str, Value]:
        """Write the node's record; gives what was written, as stored."""
        declared = collection_of(NodeStatus)
        checked = declared.check({**fields, DELETED: False}, whole=False)
        partition = node_partition(self._node.id)
        await self._notes.write(self._host.stamped(declared, self._node.id, partition, checked))
        return checked

    async def _judge(self, hours: Hours, stored: Collection[str]) -> None:
        """Raise and end alerts. `stored` names the lanes of which anything was known before."""
        for lane in _LANES:
            met, late = day_of(hours, lane)
            if late == 0 and not self._raised.get(lane, lane in stored):
                continue
            alert = await self._notes.known("alerts", self._alert(lane))
            raised = alert is not None and alert.get("ended_at") is None
            verdict = judged(raised, met, late)
            if verdict == "raise":
                await self._raise(lane, met, late)
            elif verdict == "resolve" and alert is not None:
                await self._resolve(self._alert(lane), alert)
            self._raised[lane] = verdict == "raise" or (raised and verdict is None)

    def _alert(self, lane: str) -> str:
        return f"sync-late-{self._node.id}-{lane}"

    async def _raise(self, lane: str, met: int, late: int) -> None:
        share = f"{100 * met / (met + late):.1f}".replace(".", ",")
        alert = Alert(
            id=self._alert(lane),
            kind="sync.late",
            level="warning",
            title=f"Envios fora do prazo: {self._node.name or self._node.id}",
            text=f"Na fila {_WORDS[lane]}, {share} % chegaram no prazo no último dia "
            f"({late} de {met + late} atrasados). Nada se perdeu; veja a rede da loja.",
            at=self._host.now(),
            node=self._node.id,
        )
        site = next(iter(self._node.sites or ()), "")
        async with self._host.writing() as ctx:
            ctx.put(alert, partition=site_partition(site))
        log.warning("sync.late", node=self._node.id, lane=lane, met=met, late=late)

    async def _resolve(self, id: str, alert: Mapping[str, Value]) -> None:
        now = self._host.now()
        ended: dict[str, object] = {"ended_at": now}
        if not alert.get("seen_by"):
            ended |= {"seen_by": BEIRA, "seen_at": now}
        async with self._host.writing() as ctx:
            ctx.patch(Alert, id, **ended)
        log.info("sync.late_no_more", node=self._node.id, alert=id)


def _hours(row: Mapping[str, Value]) -> Hours:
    return cast(Hours, row.get("hours") or {})


def _counts(row: Mapping[str, Value]) -> dict[str, list[int]]:
    """Batches by lane; what a node makes up besides is left out."""
    return {lane: items for lane, items in (row.get("met") or {}).items() if lane in _LANES}


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0

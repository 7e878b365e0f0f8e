"""How a cloud is, for whoever runs it: its replicas and its database, and by tenant the nodes, what they
still have to send, what was refused and what came late. It reads, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
from rich.console import Group
from rich.table import Table

from beira.cloud.moving import remembered
from beira.cloud.program import EPOCH_MARK, CloudConfig, beside
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.collection import Lane
from beira.kernel.errors import Misconfigured
from beira.kernel.lateness import added, day_of, judged
from beira.kernel.query import Compare, Filter, Op, Query, Some, where
from beira.kernel.system import is_online
from beira.store.port import Store
from beira.store.postgres import PostgresCloud

HOUR_S = 3_600
LANES = ("critical", "important", "normal")
_OPEN: Filter = Some((where(state="open"), Compare("state", Op.IS, None)))


class LaneShare(msgspec.Struct, kw_only=True):
    """One lane of a tenant's nodes: changes that wait as last told, the age of the oldest, and the
    last day's batches in time and late."""

    waiting: int = 0
    oldest_s: int = 0
    met: int = 0
    late: int = 0


class TenantStatus(msgspec.Struct, kw_only=True):
    """A tenant's nodes and what is open. `late` are those that keep fewer than 99 % of deadlines."""

    id: str
    name: str
    epoch: str
    nodes: int = 0
    online: int = 0
    late: int = 0
    quarantined: int = 0
    conflicts: int = 0
    lanes: dict[str, LaneShare] = {}


class ReplicaStatus(msgspec.Struct, kw_only=True):
    """`state` is ok, degraded (it answers; its database does not) or unreachable."""

    address: str
    state: str
    why: str = ""


class CloudStatus(msgspec.Struct, kw_only=True):
    """All of a cloud. `instance` names the database as nodes know it."""

    database: str
    instance: str
    replicas: list[ReplicaStatus]
    tenants: list[TenantStatus]

    @property
    def good(self) -> bool:
        """Whether every replica asked is there and no node is late."""
        there = all(replica.state == "ok" for replica in self.replicas)
        return there and not any(tenant.late for tenant in self.tenants)


async def look(config: CloudConfig, addresses: Iterable[str]) -> CloudStatus:
    """Ask the replicas at `addresses`, and the database itself. The cloud may run meanwhile.

    Raises: Unavailable when there is no database to ask; Misconfigured.
    """
    _there(config)
    replicas = await asyncio.gather(*(_replica(address) for address in addresses))
    async with beside(config) as (database, identity):
        tenants = await identity.tenants.all(service("", "operator"))
        found = [await _tenant(database, tenant.id, tenant.name) for tenant in tenants]
        return CloudStatus(
            database="external" if config.database_url else "embedded, or where it was moved to",
            instance=await database.instance(),
            replicas=list(replicas),
            tenants=found,
        )


def _there(config: CloudConfig) -> None:
    """Looking makes no cloud where there is none. Raises Misconfigured."""
    data = config.data
    if config.database_url or remembered(data) or (data / "postgres").is_dir():
        return
    raise Misconfigured(
        f"{data} holds no cloud.",
        code="cloud.none",
        hint="Name its folder with --data, or its database with DATABASE_URL.",
    )


async def _replica(address: str) -> ReplicaStatus:
    timeout = aiohttp.ClientTimeout(total=limits.STATUS_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(address.rstrip("/") + "/healthz") as answer,
        ):
            told = await answer.json()
            state = str(told.get("status", "")) if answer.status == 200 else "unreachable"
            return ReplicaStatus(address=address, state=state, why=str(told.get("database", "")))
    except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError) as error:
        return ReplicaStatus(address=address, state="unreachable", why=str(error) or "timeout")


async def _tenant(database: PostgresCloud, id: str, name: str) -> TenantStatus:
    store = database.tenant(id)
    marks = await store.marks(EPOCH_MARK)
    found = TenantStatus(
        id=id,
        name=name,
        epoch=str(marks.get(EPOCH_MARK, "")),
        nodes=await _count(store, "node_info", None),
        quarantined=await _count(store, "quarantine", _OPEN),
        conflicts=await _count(store, "conflicts", where(restored_by="")),
        lanes={lane: LaneShare() for lane in LANES},
    )
    now = datetime.now(UTC)
    for offset in range(0, limits.STATUS_NODES, limits.QUERY_ROWS):
        asked = Query(collection="node_status", limit=limits.QUERY_ROWS, offset=offset)
        rows = (await store.query(asked)).rows
        for row in rows:
            _add(found, row, now)
        if len(rows) < limits.QUERY_ROWS:
            break
    return found


async def _count(store: Store, collection: str, asked: Filter | None) -> int:
    page = await store.query(Query(collection=collection, where=asked, limit=0, count=True))
    return page.total or 0


def _add(tenant: TenantStatus, row: dict[str, Any], now: datetime) -> None:
    """Count one node's status in."""
    tenant.online += is_online(row, now)
    hours = added(row.get("hours") or {}, {}, int(now.timestamp()) // HOUR_S)
    days = {lane: day_of(hours, lane) for lane in LANES}
    tenant.late += any(judged(False, *day) == "raise" for day in days.values())
    for name, lane in tenant.lanes.items():
        lane.waiting += int((row.get("pending") or {}).get(name, 0))
        lane.oldest_s = max(lane.oldest_s, int((row.get("oldest_s") or {}).get(name, 0)))
        met, late = days[name]
        lane.met, lane.late = lane.met + met, lane.late + late


def shown(status: CloudStatus) -> Group:
    """Tables for a terminal."""
    replicas = _table("Replicas", "address", "state")
    for replica in status.replicas:
        why = f" ({replica.why})" if replica.why else ""
        replicas.add_row(replica.address, f"{replica.state}{why}")
    tenants = _table(
        "Tenants", "tenant", "nodes", "online", "offline", "late", "refused", "conflicts", "epoch"
    )
    for one in status.tenants:
        counts = (one.nodes, one.online, one.nodes - one.online, one.late)
        texts = [f"{n:,}" for n in (*counts, one.quarantined, one.conflicts)]
        tenants.add_row(one.name, *texts, one.epoch or "–")
    lanes = _table("Lanes", "lane", "deadline", "waiting", "oldest", "in time, last day")
    for name in LANES:
        every = [tenant.lanes[name] for tenant in status.tenants]
        met, late = sum(lane.met for lane in every), sum(lane.late for lane in every)
        lanes.add_row(
            name,
            f"{Lane[name.upper()].deadline_s:,} s",
            f"{sum(lane.waiting for lane in every):,}",
            f"{max((lane.oldest_s for lane in every), default=0):,} s",
            f"{100 * met / (met + late):.2f} % of {met + late:,}" if met + late else "–",
        )
    database = f"Database: {status.database}; instance {status.instance}"
    return Group(replicas, tenants, lanes, database)


def _table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number > 0 else "left")
    return made

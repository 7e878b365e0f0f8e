"""The records Beira itself keeps, beside those of the apps: places, nodes, settings, alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    DOWN,
    IMPORTANT,
    NODE,
    NORMAL,
    SITE,
    TENANT,
    UP,
    Personal,
    collection,
    collection_of,
)
from beira.kernel.command import Call, Receipt
from beira.kernel.record import State


@collection("sites", flow=DOWN, lane=NORMAL, partition=TENANT)
class Site(State):
    """A place of the tenant. `zone` is its IANA time zone."""

    name: str
    zone: str = "America/Sao_Paulo"
    groups: list[str] = []


@collection("node_info", flow=DOWN, lane=NORMAL, partition=TENANT, write=())
class NodeInfo(State):
    """What a tenant's nodes are called and where they stand."""

    name: str
    site: str


@collection("node_status", flow=UP, lane=NORMAL, partition=NODE, write=())
class NodeStatus(State):
    """How a node is, by its own account; the id is the node's. Sent with each sync, not queued."""

    release: str
    started_at: datetime
    told_at: datetime
    skew_ms: int = 0
    pending: dict[str, int] = {}
    oldest_s: dict[str, int] = {}
    met: dict[str, list[int]] = {}
    link: str = ""
    last_error: str = ""
    latency_ms: float | None = None
    disk_free_bytes: int | None = None
    rtt_ms: float | None = None


@collection("settings", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class Setting(State):
    """One app's settings for a tenant, a site or a node; the id is `<app>@<partition>`."""

    app: str
    values: dict[str, Any]


@collection("alerts", flow=BOTH, lane=CRITICAL, partition=SITE, write=("owner", "member"))
class Alert(State):
    """Something people must know of. `seen_by` is set when somebody has taken note."""

    kind: str
    level: Literal["info", "warning", "critical"]
    title: str
    at: datetime
    text: Annotated[str, Personal] = ""
    node: str = ""
    seen_by: str = ""
    seen_at: datetime | None = None


SYSTEM_COLLECTIONS = tuple(
    collection_of(record) for record in (Site, NodeInfo, NodeStatus, Setting, Alert, Call, Receipt)
)

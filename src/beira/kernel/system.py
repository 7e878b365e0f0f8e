"""The records Beira itself keeps, beside those of the apps: places, nodes, settings, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec

from beira.kernel import limits
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    DOWN,
    IMPORTANT,
    LOCAL,
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
from beira.kernel.record import Fact, State


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


@collection("rights", flow=DOWN, lane=IMPORTANT, partition=TENANT, read=("owner",), write=())
class MemberRights(State):
    """What a member of the tenant may do; the id is the account's. Whoever left has a deleted one.

    What was signed or proven before `since` no longer holds: their password was changed then, or
    their sessions ended. `sites` None means all of the tenant.
    """

    role: str
    sites: list[str] | None = None
    since: datetime | None = None


@collection("node_status", flow=LOCAL, lane=NORMAL, partition=NODE, write=())
class NodeStatus(State):
    """How a node is, by its own account; the id is the node's. Told while connected, never queued.

    `met` holds, by lane, how many batches were confirmed within their deadline and how many late since
    the node was started; `hours` is what the cloud makes of that for the last day
    (`kernel.lateness`). `held` names the lanes that wait now, `share` is the part of the link in use.
    `mended` counts rows that comparing with the cloud has put right since the start, `bytes_raw` and
    `bytes_sent` what was to be sent and what it took. `online` is what the cloud last saw; ask
    `is_online`.
    """

    release: str
    started_at: datetime
    seen_at: datetime
    online: bool = True
    last_sync_at: datetime | None = None
    skew_ms: int = 0
    pending: dict[str, int] = {}
    oldest_s: dict[str, int] = {}
    met: dict[str, list[int]] = {}
    link: str = ""
    last_error: str = ""
    latency_ms: float | None = None
    disk_free_bytes: int | None = None
    rtt_ms: float | None = None
    next_step: str = ""
    last_code: str = ""
    bytes_raw: int = 0
    bytes_sent: int = 0
    checked_at: datetime | None = None
    mended: int = 0
    backup_at: datetime | None = None
    held: list[str] = []
    share: float = 1.0
    metered: bool = False
    low_battery: bool = False
    hours: dict[str, list[list[int]]] = {}


HOURS = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


@collection("sync_windows", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class SyncWindow(State):
    """Times, by the site's clock, in which sync gives way: `hold` names the lanes that wait until the
    window closes (never CRITICAL), `share` is the part of the link that the others may use.

    It is open on `days` (0 is Monday; none: every day) from `begins` to `ends`, past midnight if
    that is earlier, between the dates `first` and `last`. `place` is a partition ("": everywhere).
    """

    title: str
    kind: Literal["business", "event", "maintenance"] = "maintenance"
    begins: Annotated[str, msgspec.Meta(pattern=HOURS)] = "00:00"
    ends: Annotated[str, msgspec.Meta(pattern=HOURS)] = "00:00"
    days: list[Annotated[int, msgspec.Meta(ge=0, le=6)]] = []
    first: date | None = None
    last: date | None = None
    hold: Literal["none", "normal", "important"] = "normal"
    share: Annotated[float, msgspec.Meta(ge=0.05, le=1)] = 1.0
    place: str = ""


@collection("settings", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class Setting(State):
    """One app's settings for a tenant, a site or a node; the id is `<app>@<partition>`."""

    app: str
    values: dict[str, Any]


@collection("alerts", flow=BOTH, lane=CRITICAL, partition=SITE, write=("owner", "member"))
class Alert(State):
    """Something people must know of. `seen_by` is set when somebody has taken note, `ended_at` when it
    was over by itself."""

    kind: str
    level: Literal["info", "warning", "critical"]
    title: str
    at: datetime
    text: Annotated[str, Personal] = ""
    node: str = ""
    seen_by: str = ""
    seen_at: datetime | None = None
    ended_at: datetime | None = None


@collection("quarantine", flow=LOCAL, lane=IMPORTANT, partition=TENANT, read=("owner",), write=())
class Quarantined(State):
    """A record the cloud could not take, whole, with the reason: nothing a node sent is thrown away.

    It stays `open` until an owner has it admitted again (`replayed`, `mended` holding the fields as
    they were then) or puts it aside (`discarded`); `row` is kept as it came in either case. It may
    be of any collection and site, so only owners see it.
    """

    node: str
    in_collection: str
    record: str
    code: str
    message: str
    at: datetime
    row: Annotated[dict[str, Any], Personal] = {}
    state: Literal["open", "replayed", "discarded"] = "open"
    ended_by: str = ""
    ended_at: datetime | None = None
    mended: Annotated[dict[str, Any], Personal] = {}


@collection(
    "conflicts",
    flow=LOCAL,
    lane=NORMAL,
    partition=SITE,
    read=("owner",),
    write=(),
    retention_days=365,
)
class LostValue(State):
    """A value that lost against another writer's, neither knowing of the other.

    It lies in the partition `place` of the record it is of, and may come from any collection: so as
    data only owners see it, and the portal shows members those of the collections they may read.
    `restored_by` is set once somebody has written the value again.
    """

    in_collection: str
    record: str
    place: str
    field: str
    lost_by: str
    lost_at: datetime
    kept_by: str
    kept_at: datetime
    at: datetime
    lost: Annotated[Any, Personal] = None
    kept: Annotated[Any, Personal] = None
    restored_by: str = ""
    restored_at: datetime | None = None


@collection(
    "losses",
    flow=UP,
    lane=NORMAL,
    partition=SITE,
    read=("owner",),
    write=(),
    retention_days=30,
)
class Loss(Fact):
    """What a node tells of a value that lost when it merged a feed over what it had not sent yet: the
    cloud could not know. It lies in the partition of the record, and becomes a `LostValue` there."""

    in_collection: str
    record: str
    field: str
    lost_by: str
    lost_at: datetime
    kept_by: str
    kept_at: datetime
    lost: Annotated[Any, Personal] = None
    kept: Annotated[Any, Personal] = None


def is_online(status: Mapping[str, Any], now: datetime) -> bool:
    """Whether a node is there, by the row of its `node_status`: it was when last heard, and that is not
    long ago. (A cloud that was killed has not seen it go.)"""
    seen_at = status.get("seen_at")
    if not seen_at or not status.get("online"):
        return False
    age_s = (now - datetime.fromisoformat(str(seen_at))).total_seconds()
    return age_s < limits.STATUS_FRESH_S


SYSTEM_COLLECTIONS = tuple(
    collection_of(record)
    for record in (
        Site,
        NodeInfo,
        MemberRights,
        NodeStatus,
        SyncWindow,
        Setting,
        Alert,
        Quarantined,
        LostValue,
        Loss,
        Call,
        Receipt,
    )
)

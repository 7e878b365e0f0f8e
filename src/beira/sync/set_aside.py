"""What the cloud could not put where it belongs, as records that people see, mend and take back:
rows it refused, and values that lost a conflict."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.clock import ms_of
from beira.kernel.collection import collection_of
from beira.kernel.contest import Contest
from beira.kernel.errors import BeiraError
from beira.kernel.record import Row
from beira.kernel.system import LostValue, Quarantined
from beira.kernel.wire import Refused
from beira.sync import metrics

log = structlog.get_logger(__name__)
MESSAGE_CHARS = 1_000
UNTAMED_CHARS = limits.RECORD_BYTES // 4


def quarantined(host: Host, node: str, row: Row, why: Refused) -> Row:
    """A row the cloud could not take, with the reason."""
    declared = collection_of(Quarantined)
    log.warning("sync.quarantined", node=node, collection=row.collection, id=row.id, code=why.code)
    record = Quarantined(
        node=node,
        in_collection=_tame(row.collection, limits.NAME_CHARS),
        record=_tame(row.id, limits.ID_CHARS),
        code=why.code,
        message=_tame(why.message, MESSAGE_CHARS),
        at=host.now(),
        row=_whole(row),
    )
    id = host.wall.new_id()
    return host.stamped(declared, id, "tenant", declared.encode(record))


def lost_value(host: Host, contest: Contest) -> Row:
    """What a conflict dropped, for people to see and take back."""
    (lost, lost_stamp), (kept, kept_stamp) = contest.lost, contest.kept
    record = LostValue(
        in_collection=contest.collection,
        record=contest.id,
        place=contest.partition,
        field=contest.field,
        lost_by=lost_stamp.node,
        lost_at=_moment(lost_stamp.hlc),
        kept_by=kept_stamp.node,
        kept_at=_moment(kept_stamp.hlc),
        at=host.now(),
        lost=lost,
        kept=kept,
    )
    metrics.CONFLICTS.inc()
    declared = collection_of(LostValue)
    made = f"{contest.collection}:{contest.id}:{contest.field}:{lost_stamp.hlc}"
    id = hashlib.blake2b(made.encode(), digest_size=16).hexdigest()
    return host.stamped(declared, id, contest.partition, declared.encode(record))


def _moment(hlc: int) -> datetime:
    return datetime.fromtimestamp(ms_of(hlc) / 1000, UTC)


def _tame(text: str, most: int) -> str:
    """Text that came from anybody, as any store can hold it."""
    return text[:most].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _whole(row: Row) -> dict[str, Any]:
    """A row as it came, or as JSON text where no record could hold it: a row that cannot even be put
    into quarantine would stop all that its node sends."""
    whole: dict[str, Any] = {"fields": row.fields, "partition": row.partition}
    whole["stamp"] = list(row.stamp)
    if row.stamps:
        whole["stamps"] = {name: list(stamp) for name, stamp in row.stamps.items()}
    try:
        collection_of(Quarantined).check({"row": whole}, whole=False)
    except BeiraError:
        text = json.dumps(whole)
        return {"json": text[:UNTAMED_CHARS], "cut": len(text) > UNTAMED_CHARS}
    return whole

"""What the cloud could not put where it belongs, as records that people see, mend and take back:
rows it refused, and values that lost a conflict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.batch import Block
from beira.kernel.clock import Stamp, ms_of
from beira.kernel.collection import collection_of
from beira.kernel.contest import Contest
from beira.kernel.errors import BeiraError
from beira.kernel.record import Row, Value
from beira.kernel.system import Loss, LostValue, Quarantined
from beira.kernel.wire import Refused

log = structlog.get_logger(__name__)
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
        message=_tame(why.message, limits.REFUSAL_CHARS),
        at=host.now(),
        row=_whole(row),
    )
    id = host.wall.new_id()
    return host.stamped(declared, id, "tenant", declared.encode(record))


def lost_value(host: Host, contest: Contest) -> Row:
    """What a conflict dropped, for people to see and take back."""
    told = _fitting(_told(contest))
    blank = LostValue(**told, place=contest.partition, at=host.now())
    declared = collection_of(LostValue)
    fields = declared.encode(blank)
    return host.stamped(declared, _number(fields), contest.partition, fields)


def loss(contest: Contest, stamp: Stamp) -> Row:
    """The same, as a node tells of it."""
    declared = collection_of(Loss)
    fields = declared.encode(Loss(**_fitting(_told(contest))))
    id = hashlib.blake2b(f"{_number(fields)}:{stamp.node}".encode(), digest_size=16).hexdigest()
    return Row(
        collection=declared.name,
        id=id,
        partition=contest.partition,
        fields=fields,
        stamp=stamp,
        stamps={},
    )


def losses_told(rows: Sequence[Row]) -> list[Row]:
    """What nodes tell of lost values, as the cloud keeps it. It is written as of when the node found it,
    so that what people have done about one since stays."""
    name = collection_of(Loss).name
    if isinstance(rows, Block) and all(group.collection != name for group in rows.groups):
        return []
    return [_as_kept(row) for row in rows if row.collection == name]


def _as_kept(row: Row) -> Row:
    declared, told = collection_of(LostValue), collection_of(Loss)
    known = {name: row.fields[name] for name in row.fields.keys() & told.fields.keys()}
    record: Any = told.decode(row.id, known)
    fields = declared.encode(
        LostValue(
            **{name: getattr(record, name) for name in told.fields},
            place=row.partition,
            at=_moment(row.stamp.hlc),
        )
    )
    return Row(
        collection=declared.name,
        id=_number(fields),
        partition=row.partition,
        fields=fields,
        stamp=row.stamp,
        stamps={},
    )


def _told(contest: Contest) -> dict[str, Any]:
    (lost, lost_stamp), (kept, kept_stamp) = contest.lost, contest.kept
    return {
        "in_collection": contest.collection,
        "record": contest.id,
        "field": contest.field,
        "lost_by": lost_stamp.node,
        "lost_at": _moment(lost_stamp.hlc),
        "kept_by": kept_stamp.node,
        "kept_at": _moment(kept_stamp.hlc),
        "lost": lost,
        "kept": kept,
    }


def _fitting(told: dict[str, Any]) -> dict[str, Any]:
    """Two large values do not fit one record: then the one that is kept is left out, for it is to be
    seen where it is."""
    size_bytes = len(json.dumps([told["lost"], told["kept"]]))
    return told if size_bytes < limits.RECORD_BYTES // 2 else told | {"kept": None}


def _number(fields: Mapping[str, Value]) -> str:
    """What one loss is called in the cloud, whoever found it."""
    made = [
        fields[name] for name in ("in_collection", "record", "field", "lost_by", "lost_at", "lost")
    ]
    return hashlib.blake2b(json.dumps(made).encode(), digest_size=16).hexdigest()


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

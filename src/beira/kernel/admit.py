"""Which pushed rows the cloud takes, and why it refuses the others (law 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from beira.kernel import limits
from beira.kernel.access import Principal, partitions
from beira.kernel.clock import ms_of
from beira.kernel.collection import Collection, Lane, Registry
from beira.kernel.errors import BeiraError, Denied, Invalid
from beira.kernel.record import DELETED, Row
from beira.kernel.wire import Refused

_LANES = frozenset(int(lane) for lane in Lane)


@dataclass
class Admitted:
    """Rows to merge, and rows that go to quarantine, each with the reason."""

    rows: list[Row] = field(default_factory=list)
    refused: list[tuple[Row, Refused]] = field(default_factory=list)


def admit(rows: Iterable[Row], node: Principal, registry: Registry) -> Admitted:
    """Sort rows pushed by `node`. Taken rows have canonical values."""
    granted = partitions(node) or frozenset()
    result = Admitted()
    for row in rows:
        try:
            result.rows.append(_checked(row, node, granted, registry))
        except BeiraError as error:
            result.refused.append((row, _refused(row, error)))
    return result


def is_ahead(rows: Iterable[Row], now_ms: int) -> bool:
    """Whether any stamp lies further in the future than clocks may drift."""
    return any(ms_of(row.stamp.hlc) > now_ms + limits.DRIFT_MS for row in rows)


def without_echo(row: Row, node: str) -> Row | None:
    """What `row` tells a node that it did not itself write; None if nothing."""
    names = {name for name in row.fields if row.stamp_of(name).node != node}
    return row if len(names) == len(row.fields) else row.only(names)


def _checked(row: Row, node: Principal, granted: frozenset[str], registry: Registry) -> Row:
    collection = registry[row.collection]
    if not collection.goes_up:
        raise Denied(f"Nodes do not write {collection.name}.", code="flow.down")
    if row.partition not in granted:
        raise Denied(f"{node.id} may not write to {row.partition}.", code="partition.denied")
    if not 0 < len(row.id) <= limits.ID_CHARS:
        raise Invalid(f"An id has 1 to {limits.ID_CHARS} characters.", code="id.invalid")
    for stamp in (row.stamp, *row.stamps.values()):
        if stamp.node != node.id:
            raise Denied(f"{node.id} cannot stamp as {stamp.node}.", code="stamp.forged")
        if stamp.lane not in _LANES or not 0 < stamp.hlc <= row.stamp.hlc:
            raise Invalid("A stamp is out of range.", code="stamp.invalid")
    fields = _fields(row, collection)
    return msgspec.structs.replace(row, fields=fields)


def _fields(row: Row, collection: Collection) -> dict[str, object]:
    if collection.is_fact and DELETED in row.fields:
        raise Invalid(
            f"{collection.name} are facts: they cannot be deleted.", code="fact.immutable"
        )
    missing = [f for f in collection.fields.values() if f.required and f.name not in row.fields]
    if collection.is_fact and missing:
        raise Invalid(f"{collection.name}.{missing[0].name}: is missing.", code="field.invalid")
    return collection.check(row.fields, whole=False)


def _refused(row: Row, error: BeiraError) -> Refused:
    return Refused(collection=row.collection, id=row.id, code=error.code, message=error.message)

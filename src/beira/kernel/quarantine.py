"""What becomes of a record the cloud refused, once an owner looks at it: pure decisions.

A refused record is admitted again by the very rules that refused it (`kernel.admit`), as a record of
the node that sent it. What an owner mended in a state is stamped right after the node's own write:
it wins over the value refused, reaches the node, and yields to whatever the node wrote since. A fact
keeps the node's stamp, for a fact belongs to the node that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from beira.kernel.access import Principal
from beira.kernel.admit import admit
from beira.kernel.clock import Stamp
from beira.kernel.collection import Registry
from beira.kernel.errors import Conflict, Invalid
from beira.kernel.record import Row, Value
from beira.kernel.system import Quarantined

OPEN = "open"


def held(kept: Quarantined) -> Row:
    """The record as its node sent it. Raises Invalid `quarantine.cut` where not all of it was kept."""
    whole = kept.row
    try:
        if "json" in whole:
            whole = {} if whole.get("cut") else msgspec.json.decode(whole["json"])
        return msgspec.convert(
            {
                "collection": kept.in_collection,
                "id": kept.record,
                "partition": whole["partition"],
                "fields": whole["fields"],
                "stamp": whole["stamp"],
                "stamps": whole.get("stamps", {}),
            },
            Row,
        )
    except (KeyError, TypeError, AttributeError, msgspec.MsgspecError):
        raise Invalid(
            "Not all of this record was kept.",
            code="quarantine.cut",
            hint="It cannot be admitted again: read what there is, then discard it.",
        ) from None


def readmitted(
    row: Row,
    node: Principal,
    registry: Registry,
    *,
    fields: Mapping[str, Value] | None = None,
    partition: str = "",
    cloud: str,
) -> Row:
    """The row to merge when `row` of `node` is admitted again.

    Args: `fields` are all its fields as mended (None: as they came); `partition` is where it shall
    belong ("": where it did); `cloud` is the name under which the cloud stamps what was mended.

    Raises: what admission raises; Invalid with the field's name in `details`.
    """
    given = dict(row.fields if fields is None else fields)
    collection = registry[row.collection]
    collection.check(given, whole=False)
    stamps = {name: stamp for name, stamp in row.stamps.items() if name in given}
    asked = msgspec.structs.replace(
        row, fields=given, stamps=stamps, partition=partition or row.partition
    )
    admitted = admit([asked], node, registry)
    if admitted.refused:
        why = admitted.refused[0][1]
        raise Invalid(why.message, code=why.code, hint="Mend it, or discard it.")
    taken = admitted.rows[0]
    if collection.is_fact:
        return taken
    after = Stamp(row.stamp.hlc + 1, row.stamp.lane, cloud)
    told = {
        name: taken.stamp_of(name) if _same(row.fields, name, value) else after
        for name, value in taken.fields.items()
    }
    return Row.of(taken.collection, taken.id, taken.partition, taken.fields, told)


def check_open(kept: Quarantined) -> None:
    """Raise Conflict unless nothing has become of it yet."""
    if kept.state != OPEN:
        raise Conflict(
            f"{kept.ended_by} has dealt with this record: {kept.state}.",
            code="quarantine.ended",
            hint="Look at it again.",
        )


def _same(before: Mapping[str, Value], name: str, value: Value) -> bool:
    return name in before and before[name] == value

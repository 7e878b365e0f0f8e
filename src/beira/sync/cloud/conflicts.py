"""Conflicts, as people deal with them: a value that lost is written again, by whoever may write it."""

from __future__ import annotations

import structlog

from beira.host.host import Host
from beira.kernel.access import Principal, may_read, may_write, partitions, require
from beira.kernel.collection import collection_of, timestamp
from beira.kernel.errors import Conflict, NotFound
from beira.kernel.query import Compare, Op, Order, Page, Query, both, checked, where
from beira.kernel.record import Row, Value
from beira.kernel.system import LostValue
from beira.sync.streams import feed_route

log = structlog.get_logger(__name__)


PAGE_ROWS = 50


async def lost_values(
    host: Host, by: Principal, *, restored: bool = False, offset: int = 0, most: int = PAGE_ROWS
) -> Page:
    """Values that lost, newest first, and how many there are: those of the collections and partitions
    that `by` may read."""
    shown = [c.name for c in host.store.registry if may_read(by, c)]
    if by.tenant != host.place.tenant or by.role == "guest" or not shown:
        return Page(rows=[], total=0)
    ended = Compare("restored_by", Op.NEQ if restored else Op.EQ, "")
    declared = collection_of(LostValue)
    asked = Query(
        collection=declared.name,
        where=both(ended, where(in_collection__in=tuple(shown))),
        order=(Order("_hlc", descending=True),),
        limit=most,
        offset=offset,
        count=True,
    )
    return await host.store.query(checked(asked, declared), partitions(by))


async def lost_value(host: Host, id: str, by: Principal) -> LostValue:
    """A value that lost. Raises NotFound, and Denied to who may not write the record it is of."""
    row = await host.store.get("conflicts", id)
    if row is None or row.deleted or row.fields["in_collection"] not in host.store.registry:
        raise NotFound(f"There is no {id[:64]} among the conflicts.")
    found: LostValue = collection_of(LostValue).decode(id, row.fields)  # type: ignore[assignment]
    declared = host.store.registry[found.in_collection]
    granted = partitions(by)
    mine = by.tenant == host.place.tenant and may_write(by, declared)
    require(mine and (granted is None or found.place in granted), by, "write", declared.name)
    return found


async def restore(host: Host, id: str, *, by: Principal) -> Row:
    """Write the value that lost again, as of now; gives the row written. The value it replaces was
    seen by whoever asks, so no conflict comes of it.

    Raises: what `lost_value` raises, Conflict `conflict.restored` the second time, and Invalid for a
    value that the collection no longer takes.
    """
    found = await lost_value(host, id, by)
    if found.restored_by:
        raise Conflict(
            f"{found.restored_by} has restored this value already.",
            code="conflict.restored",
            hint="Edit the record itself, if it should be changed once more.",
        )
    declared, kept = host.store.registry[found.in_collection], collection_of(LostValue)
    fields = declared.check({found.field: found.lost}, whole=False)
    row = host.stamped(declared, found.record, found.place, fields)
    told: dict[str, Value] = {
        "restored_by": by.name or by.id,
        "restored_at": timestamp(host.now()),
    }
    ended = host.stamped(kept, id, found.place, kept.check(told, whole=False))
    await host.store.commit([row, ended], route=feed_route(host.store.registry))
    log.info("conflict.restored", id=id, collection=declared.name, by=by.id)
    return row

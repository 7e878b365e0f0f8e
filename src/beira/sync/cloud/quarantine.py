"""Quarantine, as an owner deals with it: admit a refused record again, mended or not, or discard it.

What is decided is in `kernel.quarantine`; here it is read and committed. The record and what became
of it change in one transaction, and of two owners at once only one is heard.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from beira.host.host import Host
from beira.kernel.access import Kind, Principal, require
from beira.kernel.collection import collection_of, timestamp
from beira.kernel.errors import Conflict, NotFound
from beira.kernel.quarantine import check_open, held, readmitted
from beira.kernel.record import Row, Value
from beira.kernel.system import Quarantined
from beira.sync.streams import feed_route

log = structlog.get_logger(__name__)
TURN = "quarantine.turn"


async def kept(host: Host, id: str, by: Principal) -> Quarantined:
    """A refused record. Raises Denied to all but owners of the host's tenant, and NotFound."""
    mine = by.kind is Kind.PERSON and by.role == "owner" and by.tenant == host.place.tenant
    require(mine, by, "read", "quarantine")
    row = await host.store.get("quarantine", id)
    if row is None or row.deleted:
        raise NotFound(f"There is no {id[:64]} in quarantine.")
    found: Quarantined = collection_of(Quarantined).decode(id, _given(row))  # type: ignore[assignment]
    return found


async def replay(
    host: Host,
    id: str,
    *,
    by: Principal,
    node: Principal,
    fields: Mapping[str, Value] | None = None,
    partition: str = "",
) -> Row:
    """Admit a refused record again, as a record of `node`, which sent it; gives the row committed.

    Args: `fields` are all its fields, as mended; `partition` is where it shall belong.

    Raises: what admission raises, Conflict where it contradicts what is there or was dealt with.
    """
    record = await kept(host, id, by)
    check_open(record)
    require(node.id == record.node and node.tenant == by.tenant, by, "admit for", node.id)
    row = readmitted(
        held(record),
        node,
        host.store.registry,
        fields=fields,
        partition=partition,
        cloud=host.place.node,
    )
    is_mended = fields is not None or bool(partition)
    mended = {"fields": row.fields, "partition": row.partition} if is_mended else {}
    await _end(host, id, by, "replayed", [row], mended)
    return row


async def discard(host: Host, id: str, *, by: Principal) -> None:
    """Put a refused record aside for good: it is kept, but nothing is to be done about it."""
    check_open(await kept(host, id, by))
    await _end(host, id, by, "discarded", [], {})


async def _end(
    host: Host, id: str, by: Principal, state: str, rows: list[Row], mended: dict[str, Value]
) -> None:
    turn = (await host.store.marks(TURN)).get(TURN)
    check_open(await kept(host, id, by))
    declared = collection_of(Quarantined)
    told = declared.check(
        {
            "state": state,
            "ended_by": by.name or by.id,
            "ended_at": timestamp(host.now()),
            "mended": mended,
        },
        whole=False,
    )
    ended = host.stamped(declared, id, "tenant", told)
    try:
        await host.store.commit(
            [*rows, ended],
            route=feed_route(host.store.registry),
            marks={TURN: int(turn or 0) + 1},
            expect={TURN: turn},
        )
    except Conflict as error:
        if error.code != "marks.moved":
            raise
        raise Conflict(
            "Somebody else is dealing with quarantine.",
            code="quarantine.busy",
            hint="Look at it again, then try once more.",
        ) from None
    log.info("quarantine.ended", id=id, state=state, by=by.id, rows=len(rows))


def _given(row: Row) -> dict[str, Value]:
    """A record kept by an earlier release has no end yet: those columns are empty."""
    return {name: value for name, value in row.fields.items() if value is not None}

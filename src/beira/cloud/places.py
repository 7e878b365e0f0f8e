"""Sites and nodes as records, so that nodes know where they stand and the portal can show them.

Identity's tables say who exists; these records are made to follow them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from beira.host.host import Host
from beira.identity import Identity
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.access import TENANT_PARTITION
from beira.kernel.collection import collection_of
from beira.kernel.query import Query
from beira.kernel.record import DELETED, Row, State
from beira.kernel.system import NodeInfo, Site

Wanted: TypeAlias = dict[str, dict[str, object]]


async def follow_places(host: Host, identity: Identity) -> None:
    """Make the records of sites and nodes equal to identity's. A site's zone, once set, is kept."""
    asking = service(host.place.tenant)
    sites: Wanted = {
        site.id: {"name": site.name, "groups": list(site.groups)}
        for site in await identity.tenants.sites(asking)
    }
    nodes: Wanted = {
        node.id: {"name": node.name, "site": node.site}
        for node in await identity.nodes.of(asking)
        if node.revoked_at is None
    }
    await follow(host, Site, sites)
    await follow(host, NodeInfo, nodes)


async def follow(host: Host, kind: type[State], wanted: Wanted) -> None:
    """Make the records of `kind` in the tenant's partition equal to `wanted`: fields by id."""
    declared = collection_of(kind)
    present = await _present(host, declared.name)
    rows: list[Row] = []
    for id, fields in wanted.items():
        there = present.pop(id, None)
        checked = declared.check({**fields, DELETED: False}, whole=there is None)
        if there is None or any(there[name] != checked[name] for name in fields):
            rows.append(host.stamped(declared, id, TENANT_PARTITION, checked))
    for id in present:
        rows.append(host.stamped(declared, id, TENANT_PARTITION, {DELETED: True}))
    for first in range(0, len(rows), limits.BATCH_CHANGES):
        await host.write(rows[first : first + limits.BATCH_CHANGES])


async def _present(host: Host, collection: str) -> dict[str, dict[str, Any]]:
    present: dict[str, dict[str, Any]] = {}
    while True:
        page = await host.store.query(
            Query(collection=collection, limit=limits.QUERY_ROWS, offset=len(present))
        )
        present |= {str(row["id"]): row for row in page.rows}
        if len(page.rows) < limits.QUERY_ROWS:
            return present

"""Sites and nodes as records, so that nodes know where they stand and the portal can show them.

Identity's tables say who exists; these records are made to follow them.
"""

from __future__ import annotations

from typing import TypeAlias

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
    await _follow(host, Site, sites)
    await _follow(host, NodeInfo, nodes)


async def _follow(host: Host, kind: type[State], wanted: Wanted) -> None:
    declared = collection_of(kind)
    page = await host.store.query(Query(collection=declared.name, limit=limits.QUERY_ROWS))
    present = {str(row["id"]): row for row in page.rows}
    rows: list[Row] = []
    for id, fields in wanted.items():
        there = present.pop(id, None)
        if there is None or any(there[name] != value for name, value in fields.items()):
            checked = declared.check({**fields, DELETED: False}, whole=there is None)
            rows.append(host.stamped(declared, id, TENANT_PARTITION, checked))
    for id in present:
        rows.append(host.stamped(declared, id, TENANT_PARTITION, {DELETED: True}))
    if rows:
        await host.write(rows)

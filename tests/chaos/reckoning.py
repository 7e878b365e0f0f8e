"""The reckoning after chaos: what was confirmed is in PostgreSQL, once, and nodes and cloud hold the
same."""

from __future__ import annotations

from beira.kernel.access import partitions
from beira.kernel.wire import Check
from beira.node.program import Node
from beira.sync.inspect import add_up, compare, inspected
from tests.acceptance.support import Company, company_on, connected, drained, until
from tests.chaos.fleet import Fleet, in_postgres


async def reckon(made: Fleet) -> None:
    """Raises AssertionError. The fleet's programs must be gone: its nodes and its cloud are started in
    this process, so that one can look inside."""
    public, first = made.replicas[0].url, made.folder / "cloud-0"
    dsns = made.server.dsn, made.server.owner_dsn
    async with company_on(*dsns, data=first, public_url=public) as company:
        for data in made.folders:
            async with company.node(data) as node:
                await connected(node)
                await drained(node)
                await _digests_agree(company, node, made.tenant)
    there, wanted = await in_postgres(made), made.wanted
    assert not wanted - there, f"lost: {sorted(wanted - there)[:20]}"
    assert not there - wanted, f"too often, or never confirmed: {sorted(there - wanted)[:20]}"


async def _digests_agree(company: Company, node: Node, tenant: str) -> None:
    """The product's own sums, added up on both sides."""
    agent = node.agent
    place, store = agent.host.place, agent.store
    cloud = (await company.host(tenant)).store
    since = {declared.name: 0 for declared in inspected(store.registry)}

    async def agree() -> bool:
        for partition in sorted(partitions(place.principal) or ()):
            sums = await add_up(
                store, place.node, partition, since, buckets=False, disguise=agent.disguise
            )
            check = Check(partition=partition, since=since, sums=sums)
            if await compare(cloud, place.node, check):
                return False
        return True

    await until(agree, f"{place.node} and the cloud hold the same")

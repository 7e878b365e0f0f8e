# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A machine is stolen: its owner shuts it out, and later lets it (or its successor) in again."""

from __future__ import annotations

import pytest

from beira.apps.voice.records import CustomerRequest
from beira.identity.tenants import service
from beira.kernel.errors import Misconfigured
from beira.node import program as node_program
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company,
    connected,
    postgres_directory,
    postgres_server,
    put,
    row_of,
    until,
)


@pytest.mark.parametrize("http_only", [False, True])
async def test_revocation_holds_at_once_for_a_live_node_and_a_new_code_lets_it_in(
    company: Company, http_only: bool
) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    nodes = company.cloud.identity.nodes
    data = await company.enrol(tenant)
    async with company.node(data, http_only=http_only) as node:
        await connected(node)
        me = node.host.place.node
        await nodes.revoke(service(tenant), me)
        await until(lambda: not node.agent.state.connected, within_s=10)
        await put(node.host, CustomerRequest(id="stolen", text="x", at=node.host.now()))
        await until(lambda: node.agent.state.last_error, f"{node.agent.state}")
        assert node.agent.state.next_step
        held = await node.agent.pending()
        assert sum(lane.count for lane in held.values()) == 1, "it keeps what it could not send"

    async with company.node(data, http_only=http_only) as node:
        await until(lambda: node.agent.state.next_step, f"{node.agent.state}")
        assert not node.agent.state.connected
    assert await cloud.store.get("customer_requests", "stolen") is None

    other = await nodes.make_code(service(tenant), f"{tenant}-1")
    with pytest.raises(Misconfigured):
        await node_program.enrol(data, company.address, other.code)
    with pytest.raises(Misconfigured) as refused:
        await node_program.enrol(data, company.address, other.code, again=True)
    assert refused.value.code == "node.other" and refused.value.hint
    for _ in range(2):
        code = await nodes.make_code(service(tenant), f"{tenant}-1", node=me)
        again = await node_program.enrol(data, company.address, code.code, again=True)
        assert again.enrolled.node == me
    async with company.node(data, http_only=http_only) as node:
        await row_of(cloud.store, "customer_requests", "stolen")


async def test_a_revoked_node_still_works_for_its_shop(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    async with company.node(data) as node:
        await connected(node)
        await company.cloud.identity.nodes.revoke(service(tenant), node.host.place.node)
        await until(lambda: not node.agent.state.connected, within_s=10)
        by = node.host.place.principal
        done = await node.host.run("log_request", {"text": "café"}, principal=by, door="page")
        assert done.ok

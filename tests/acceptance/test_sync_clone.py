# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Somebody copies a node's folder (or its SD card) to a second machine."""

from __future__ import annotations

import shutil

import aiohttp

from beira.apps.voice.records import CustomerRequest
from beira.identity.tenants import service
from beira.node.program import Node
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company,
    connected,
    drained,
    postgres_directory,
    postgres_server,
    put,
    row_of,
    until,
)


async def request(node: Node, id: str) -> None:
    await put(node.host, CustomerRequest(id=id, text=f"pedido {id}", at=node.host.now()))


async def test_a_second_machine_with_the_same_key_stops_keeps_its_records_and_says_what_to_do(
    company: Company,
) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    async with company.node(data) as node:
        await request(node, "before")
        await drained(node)
    copy = company.folder / f"{data.name}-copy"
    shutil.copytree(data, copy)

    async with company.plug() as plug, company.node(data, plug) as original:
        await connected(original)
        async with company.node(copy) as clone:
            await request(clone, "written at the copy")
            await until(lambda: clone.agent.state.stopped, f"{clone.agent.state}")
            await request(clone, "written later")
            held = await clone.agent.pending()
            assert sum(lane.count for lane in held.values()) == 2, "nothing unsent is thrown away"
            async with (
                aiohttp.ClientSession() as web,
                web.get(clone.address + "/node/status") as said,
            ):
                status = await said.json()
            assert status["stopped"] and status["last_error"] and status["next_step"]
            assert not status["connected"]

            await request(original, "at the original")
            await row_of(cloud.store, "customer_requests", "at the original")
            plug.pull()
            await until(lambda: not original.agent.state.connected)
            plug.put_back()
            await connected(original)
            await request(original, "after coming back")
            await row_of(cloud.store, "customer_requests", "after coming back")
            assert await cloud.store.get("customer_requests", "written at the copy") is None

        (seen,) = await company.cloud.identity.nodes.of(service(tenant))
        assert seen.duplicated_at is not None
        told = await company.cloud.identity.tenants.audit(service(tenant))
        assert any(entry.what == "node_duplicated" and not entry.ok for entry in told)


async def test_once_the_owner_has_put_one_machine_away_the_other_is_the_node(
    company: Company,
) -> None:
    """The copy had the newer records, say: the owner keeps that machine, and nothing is lost."""
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    async with company.node(data) as node:
        await connected(node)
        await drained(node)
    copy = company.folder / f"{data.name}-copy"
    shutil.copytree(data, copy)
    async with company.node(data) as original:
        await connected(original)
        async with company.node(copy) as clone:
            await request(clone, "at the copy")
            await until(lambda: clone.agent.state.stopped)
            me = clone.host.place.node
    await company.cloud.identity.nodes.clear_duplicated(service(tenant), me)
    async with company.node(copy) as clone:
        await row_of(cloud.store, "customer_requests", "at the copy")

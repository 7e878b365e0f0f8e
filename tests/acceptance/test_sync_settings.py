# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Configuration flows down, and a node works from what it last had, however old."""

from __future__ import annotations

from datetime import timedelta

import pytest

from beira.apps.voice.records import CustomerRequest, Person
from beira.apps.voice.settings import VoiceSettings
from beira.host.wall import SystemWall
from beira.node import program as node_program
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


async def wake_word(node: Node, wanted: str) -> None:
    async def heard() -> bool:
        return (await node.host.settings(VoiceSettings)).wake_word == wanted

    await until(heard, f"the wake word is {wanted}")


async def test_a_setting_changed_in_the_cloud_reaches_the_node_and_outlives_the_network(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await company.tenant("angeloni")
    owner = await company.owner(tenant)
    data = await company.enrol(tenant)
    async with company.plug() as plug:
        async with company.node(data, plug) as node:
            assert (await node.host.settings(VoiceSettings)).wake_word == "aurora"
            for partition, word in (("tenant", "estrela"), (f"site:{tenant}-1", "lua")):
                body = {
                    "id": f"voice@{partition}",
                    "app": "voice",
                    "values": {"wake_word": word},
                    "_partition": partition,
                }
                status, told = await company.web.ask("POST", "/rest/v1/settings", body, owner)
                assert status == 201, told
                await wake_word(node, word)  # the site's goes before the tenant's
            await put(await company.host(tenant), Person(id="joao", name="João"))
            await row_of(node.store, "people", "joao")
        plug.pull()

        class Years(SystemWall):
            def now_ms(self) -> int:
                return super().now_ms() + int(timedelta(days=5 * 365).total_seconds() * 1000)

        monkeypatch.setattr(node_program, "SystemWall", Years)
        async with company.node(data, plug) as node:
            assert (await node.host.settings(VoiceSettings)).wake_word == "lua"
            person = await node.store.get("people", "joao")
            assert person is not None and person.fields["name"] == "João"
            assert not node.agent.state.connected


async def test_what_does_not_fit_is_left_out_and_the_rest_of_the_setting_holds(
    company: Company,
) -> None:
    tenant = await company.tenant("angeloni")
    owner = await company.owner(tenant)
    async with company.node(await company.enrol(tenant)) as node:
        values = {"wake_word": "sol", "opens_at": "whenever", "unheard_of": 1}
        body = {"id": "voice@tenant", "app": "voice", "values": values, "_partition": "tenant"}
        assert (await company.web.ask("POST", "/rest/v1/settings", body, owner))[0] == 201
        await wake_word(node, "sol")
        assert (await node.host.settings(VoiceSettings)).opens_at == "06:00"


@pytest.mark.parametrize("years", [-6, 7])
async def test_a_node_years_off_syncs_both_ways_in_order_and_says_so(
    company: Company, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    class Wrong(SystemWall):
        def now_ms(self) -> int:
            return super().now_ms() + int(timedelta(days=years * 365).total_seconds() * 1000)

    monkeypatch.setattr(node_program, "SystemWall", Wrong)
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    async with company.plug() as plug:
        plug.pull()
        async with company.node(data, plug) as node:
            for n in range(20):
                await put(
                    node.host, CustomerRequest(id=f"r{n}", text=f"pedido {n}", at=node.host.now())
                )
            plug.put_back()
            await drained(node)
            await put(cloud, Person(id="joao", name="João"))
            await row_of(node.store, "people", "joao", name="João")
            rows = [await cloud.store.get("customer_requests", f"r{n}") for n in range(20)]
            stamps = [row.stamp.hlc for row in rows if row is not None]
            assert len(stamps) == 20 and stamps == sorted(stamps)
            assert abs((node.host.now() - cloud.now()).total_seconds()) < 60
            await put(node.host, CustomerRequest(id="after", text="x", at=node.host.now()))
            after = await row_of(cloud.store, "customer_requests", "after")
            assert after.stamp.hlc > stamps[-1]

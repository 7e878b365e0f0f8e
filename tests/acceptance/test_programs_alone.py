# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A node with its cloud gone from the beginning, and a cloud of two replicas."""

from __future__ import annotations

import asyncio

import pytest

from beira.apps.voice.records import CustomerRequest, Person
from beira.host.wall import SystemWall
from beira.identity.tenants import service
from beira.node import program as node_program
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    PATIENCE_S,
    Company,
    company,
    company_on,
    connected,
    drained,
    fresh_database,
    postgres_directory,
    postgres_server,
    put,
    roomy_folder,
    row_of,
    until,
)


@pytest.mark.parametrize("years_off", [0, -6, 7])
async def test_a_node_whose_cloud_is_gone_starts_works_and_lets_its_people_in(
    company: Company, monkeypatch: pytest.MonkeyPatch, years_off: int
) -> None:
    class Wrong(SystemWall):
        def now_ms(self) -> int:
            return super().now_ms() + years_off * 365 * 86_400_000

    monkeypatch.setattr(node_program, "SystemWall", Wrong)
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    email = f"owner@{tenant}.example"
    async with company.plug() as plug:
        async with company.node(data, plug) as node:
            await put(cloud, Person(id="joao", name="João Silva"))
            await row_of(node.store, "people", "joao")
            await company.web.at(node.address).sign_in(email)
        plug.pull()
        async with company.node(data, plug) as node:
            web = company.web.at(node.address)
            token = await web.sign_in(email)
            status, people = await web.ask("GET", "/rest/v1/people?select=name", None, token)
            assert (status, people) == (200, [{"name": "João Silva"}])
            ask = {"employee": "João Silva", "kind": "in"}
            status, told = await web.ask("POST", "/rest/v1/rpc/register_punch", ask, token)
            assert status == 200, told
            assert (await web.ask("GET", "/rest/v1/punches", None, token))[1][0]["kind"] == "in"
            for wrong, who in (
                ("not this password", email),
                (PASSWORD, f"member@{tenant}.example"),
            ):
                body = {"email": who, "password": wrong}
                status, told = await web.ask("POST", "/auth/v1/token?grant_type=password", body)
                assert status in (401, 503) and told["hint"], told
            assert (await web.ask("GET", "/healthz"))[0] == 200
            assert (await web.ask("GET", "/node/status"))[1]["connected"] is False
            plug.put_back()
            await drained(node)
            (_, (punch,)) = await web.ask("GET", "/rest/v1/punches", None, token)
            there = await row_of(cloud.store, "punches", punch["id"])
            assert there.fields["employee"] == "João Silva"


@pytest.mark.parametrize("http_only", [False, True])
async def test_what_a_node_sends_to_one_replica_is_live_at_the_other_and_the_other_way(
    postgres_server: EmbeddedPostgres, http_only: bool
) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    with roomy_folder() as folder:
        async with (
            company_on(dsn, owner_dsn, data=folder) as one,
            company_on(dsn, owner_dsn, data=folder) as two,
        ):
            tenant = await one.tenant("angeloni")
            async with one.node(await one.enrol(tenant), http_only=http_only) as node:
                await connected(node)
                token = await two.web.sign_in(f"owner@{tenant}.example")
                url = two.address + "/realtime/v1/websocket?vsn=1.0.0"
                change = {"event": "*", "schema": "public", "table": "customer_requests"}
                join = {
                    "topic": "realtime:any",
                    "event": "phx_join",
                    "ref": "1",
                    "payload": {"config": {"postgres_changes": [change]}, "access_token": token},
                }
                async with two.web.session.ws_connect(url) as live:
                    await live.send_json(join)
                    while (await live.receive_json(timeout=PATIENCE_S))["event"] != "system":
                        pass
                    await put(
                        node.host, CustomerRequest(id="live", text="café", at=node.host.now())
                    )
                    async with asyncio.timeout(PATIENCE_S):
                        while (told := await live.receive_json())["event"] != "postgres_changes":
                            pass
                    assert told["payload"]["data"]["record"]["text"] == "café"
                await put(await two.host(tenant), Person(id="joao", name="João"))
                await row_of(node.store, "people", "joao", name="João")
                await two.cloud.identity.nodes.revoke(service(tenant), node.host.place.node)
                await until(lambda: not node.agent.state.connected, "revoked at the other replica")

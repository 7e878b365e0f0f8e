# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Rights given, changed and withdrawn in the cloud hold at a node once it has heard of them: for tokens
that would have lasted longer, for its own sign-ins, and for connections that are open."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from beira.identity.tenants import service
from beira.node.program import Node
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    Company,
    Web,
    company,
    connected,
    postgres_directory,
    postgres_server,
    row_of,
    until,
)

NEW = "staple horse correct"
ASKED = "/rest/v1/products?limit=1"


async def member_of(company: Company, tenant: str) -> str:
    members = await company.cloud.identity.tenants.members(service(tenant))
    return next(m.account for m in members if m.role == "member")


@contextlib.asynccontextmanager
async def signed_in(company: Company) -> AsyncIterator[tuple[str, str, Node, Web, dict[str, str]]]:
    """A node that knows the rights of its tenant's members, and a member's tokens: the cloud's, got
    through the node, and the node's own, got while the network was away."""
    tenant = await company.tenant("angeloni")
    account = await member_of(company, tenant)
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await row_of(node.store, "rights", account, role="member", sites=None)
        here = company.web.at(node.address)
        email = f"member@{tenant}.example"
        tokens = {"cloud": await here.sign_in(email)}
        plug.pull()
        await until(lambda: not node.agent.state.connected, "cut off")
        tokens["node"] = await here.sign_in(email)
        for token in tokens.values():
            assert (await here.ask("GET", ASKED, token=token))[0] == 200
        plug.put_back()
        await connected(node)
        yield tenant, account, node, here, tokens


async def refused(here: Web, token: str, code: str) -> None:
    async def told() -> bool:
        status, body = await here.ask("GET", ASKED, token=token)
        return status == 401 and body["code"] == code

    await until(told, f"refused with {code}")


async def test_who_was_removed_is_shut_out_of_the_node(company: Company) -> None:
    async with signed_in(company) as (tenant, account, node, here, tokens):
        await company.cloud.identity.tenants.remove_member(service(tenant), account)
        for token in tokens.values():
            await refused(here, token, "auth.revoked")
        email = f"member@{tenant}.example"
        with_password = {"email": email, "password": PASSWORD}
        status, _ = await here.ask("POST", "/auth/v1/token?grant_type=password", with_password)
        assert status in (401, 403)
        assert not [k for k in node.identity._book.people.values() if k.account == account]
        other = await here.sign_in(f"owner@{tenant}.example")
        assert (await here.ask("GET", ASKED, token=other))[0] == 200, "nobody else is"


async def test_another_role_holds_at_the_node(company: Company) -> None:
    async with signed_in(company) as (tenant, account, node, here, tokens):
        await company.cloud.identity.tenants.set_role(service(tenant), account, "guest")
        await row_of(node.store, "rights", account, role="guest")
        for token in tokens.values():
            assert (await here.ask("GET", ASKED, token=token))[0] == 200
            body = {"collection": "products"}
            status, told = await here.ask("POST", "/rest/v1/products", body, token)
            assert (status, told["code"]) == (403, "denied"), told


async def test_of_other_sites_now_means_not_here(company: Company) -> None:
    async with signed_in(company) as (tenant, account, _, here, tokens):
        await company.site(tenant, f"{tenant}-2")
        await company.cloud.identity.tenants.set_role(
            service(tenant), account, "member", sites=(f"{tenant}-2",)
        )
        await refused(here, tokens["cloud"], "auth.token_elsewhere")
        await refused(here, tokens["node"], "auth.revoked")


async def test_a_password_that_was_recovered_ends_the_old_one_at_the_node(company: Company) -> None:
    """Also for sign-ins the node gave by itself, and with the network away again."""
    async with signed_in(company) as (tenant, account, node, here, tokens):
        identity = company.cloud.identity
        await asyncio.sleep(
            1.1
        )  # tokens tell seconds: what was proven before must be an earlier one
        link = await identity.recovery.issue(service(tenant), account)
        await identity.recovery.redeem(link.code, NEW)
        for token in tokens.values():
            await refused(here, token, "auth.revoked")
        assert not node.identity._book.people
        fresh = await here.sign_in(f"member@{tenant}.example", NEW)
        assert (await here.ask("GET", ASKED, token=fresh))[0] == 200


async def test_an_open_connection_ends_with_the_right(company: Company) -> None:
    async with signed_in(company) as (tenant, account, node, here, tokens):
        url = node.address.replace("http", "ws") + "/realtime/v1/websocket?vsn=1.0.0"
        async with here.session.ws_connect(url) as socket:
            await socket.send_str(json.dumps(_join(tokens["cloud"])))
            await _hears(socket, lambda m: m["event"] == "phx_reply")
            await company.cloud.identity.tenants.remove_member(service(tenant), account)
            ended = await _hears(socket, lambda m: m["event"] in ("phx_close", "phx_error"))
            assert ended["topic"] == "realtime:all"


async def test_another_tenant_learns_nothing_of_them(company: Company) -> None:
    """Members' rights are the owner's to read, and of this tenant only; nobody writes them."""
    async with signed_in(company) as (tenant, account, _, here, tokens):
        other = await company.tenant("bistek")
        data = await company.enrol(other)
        async with company.node(data) as theirs:
            await row_of(theirs.store, "rights", await member_of(company, other))
            assert await theirs.store.get("rights", account) is None
        stranger = await company.owner(other)
        path = f"/rest/v1/rights?id=eq.{account}"
        assert await company.web.ask("GET", path, token=stranger) == (200, [])
        status, told = await company.web.ask("GET", path, token=tokens["cloud"])
        assert (status, told["code"]) == (403, "denied")
        owner = await company.owner(tenant)
        body: dict[str, Any] = {"id": account, "role": "owner"}
        for token in (owner, stranger, tokens["cloud"]):
            for at in (company.web, here):
                status, told = await at.ask("POST", "/rest/v1/rights", body, token)
                assert status in (401, 403), told
        assert (await company.web.ask("GET", path, token=owner))[1][0]["role"] == "member"


def _join(token: str) -> dict[str, Any]:
    change = {"event": "*", "schema": "public", "table": "products"}
    config = {"config": {"postgres_changes": [change]}, "access_token": token}
    return {
        "topic": "realtime:all", "event": "phx_join", "payload": config, "ref": "1", "join_ref": "1"
    }  # fmt: skip


async def _hears(socket: aiohttp.ClientWebSocketResponse, wanted: Any) -> dict[str, Any]:
    async with asyncio.timeout(45):
        while True:
            message = json.loads(await socket.receive_str())
            if wanted(message):
                return dict(message)

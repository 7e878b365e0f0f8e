# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Real accounts behind the API: people sign in at the cloud and at a node, nodes enrol, and what is
revoked holds at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import msgspec
import pyotp
import pytest
import pytest_asyncio
from litestar import Litestar

from beira.api import Api, Door
from beira.api.accounts import CloudAccounts, NodeAccounts
from beira.host import Host
from beira.identity.local import LocalIdentity
from beira.identity.node_key import NodeKey
from beira.kernel.access import Principal
from beira.kernel.collection import Registry
from beira.kernel.errors import Unavailable
from beira.store.memory import MemoryStore
from tests.unit.api.shop import host_over, listening, shop
from tests.unit.identity.conftest import (  # noqa: F401 (fixtures)
    PASSWORD,
    World,
    postgres_directory,
    postgres_server,
    world,
    world_parts,
)


@pytest.fixture(scope="session")
def postgres_registry() -> Registry:
    return shop().collections


class Hosts:
    """A host for each tenant, over PostgreSQL."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._hosts: dict[str, Host] = {}

    async def host_of(self, principal: Principal) -> Host:
        tenant = principal.tenant
        if tenant not in self._hosts:
            self._hosts[tenant] = host_over(self._world.cloud.tenant(tenant), tenant=tenant)
        return self._hosts[tenant]


@dataclass
class Cloud:
    """A cloud that listens, with a person who owns a tenant of it."""

    world: World
    url: str
    session: aiohttp.ClientSession
    tenant: str
    email: str

    async def ask(
        self, method: str, path: str, body: Any = None, token: str = "", url: str = ""
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(
            method, (url or self.url) + path, json=body, headers=headers
        ) as answer:
            content = await answer.read()
            return answer.status, msgspec.json.decode(content) if content else None

    async def sign_in(self, password: str = PASSWORD, url: str = "", **more: Any) -> Any:
        body = {"email": self.email, "password": password, **more}
        return await self.ask("POST", "/auth/v1/token?grant_type=password", body, url=url)


@pytest_asyncio.fixture(loop_scope="session")
async def cloud(world: World) -> AsyncIterator[Cloud]:
    accounts = CloudAccounts(world.one)
    api = Api(Door(accounts, Hosts(world)), sign_in=accounts, nodes=accounts, revocations=accounts)
    app = Litestar(plugins=[api], openapi_config=None, logging_config=None)
    tenant = await world.tenant()
    email = f"ana{world.count}@example.com"
    await world.one.tenants.accept(
        (await world.one.tenants.invite(await world.owner(tenant), email, "owner")).code,
        PASSWORD,
        name="Ana",
    )
    async with listening(app) as url, aiohttp.ClientSession() as session:
        yield Cloud(world, url, session, tenant, email)


async def test_a_session_from_sign_in_to_sign_out(cloud: Cloud) -> None:
    status, wrong = await cloud.sign_in("something else")
    assert (status, wrong["error_code"]) == (401, "auth.wrong")
    status, session = await cloud.sign_in()
    assert status == 200 and session["user"]["email"] == cloud.email
    token = session["access_token"]
    assert (await cloud.ask("GET", "/auth/v1/user", token=token))[1]["email"] == cloud.email
    made = await cloud.ask("POST", "/rest/v1/products", {"id": "a", "name": "Café"}, token)
    assert made == (201, None)
    body = {"refresh_token": session["refresh_token"]}
    status, renewed = await cloud.ask("POST", "/auth/v1/token?grant_type=refresh_token", body)
    assert status == 200 and renewed["refresh_token"] != session["refresh_token"]
    assert (await cloud.ask("POST", "/auth/v1/logout", token=renewed["access_token"]))[0] == 204
    for dead in (token, renewed["access_token"]):
        status, refused = await cloud.ask("GET", "/rest/v1/products", token=dead)
        assert (status, refused["code"]) == (401, "auth.revoked")


async def test_one_tenant_sees_nothing_of_another(cloud: Cloud) -> None:
    token = (await cloud.sign_in())[1]["access_token"]
    await cloud.ask("POST", "/rest/v1/products", {"id": "mine", "name": "x"}, token)
    other = await cloud.world.tenant("Bistek")
    theirs = (await cloud.world.signed_in(other)).access_token
    assert await cloud.ask("GET", "/rest/v1/products", token=theirs) == (200, [])
    forged = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    assert (await cloud.ask("GET", "/rest/v1/products", token=forged))[0] == 401


async def test_a_second_factor_by_the_api(cloud: Cloud) -> None:
    token = (await cloud.sign_in())[1]["access_token"]
    status, setup = await cloud.ask("POST", "/auth/v1/factors", {"password": PASSWORD}, token)
    assert status == 200, setup
    totp = pyotp.TOTP(setup["totp"]["secret"])
    now = cloud.world.clock.now_s
    code = {"code": totp.at(int(now))}
    assert (await cloud.ask("POST", "/auth/v1/factors/totp/verify", code, token))[0] == 204
    status, refused = await cloud.sign_in()
    assert (status, refused["code"]) == (401, "auth.totp_needed")
    cloud.world.clock.now_s += 60
    status, session = await cloud.sign_in(code=totp.at(int(cloud.world.clock.now_s)))
    assert status == 200, session
    factors = (await cloud.ask("GET", "/auth/v1/user", token=session["access_token"]))[1]["factors"]
    assert [factor["status"] for factor in factors] == ["verified"]


async def test_guessing_is_slowed(cloud: Cloud) -> None:
    answers = [await cloud.sign_in(f"guess number {n}") for n in range(7)]
    assert [status for status, _ in answers][-1] == 429
    assert answers[-1][1]["hint"]


async def test_a_node_enrols_and_asks_as_itself(cloud: Cloud) -> None:
    world, key = cloud.world, NodeKey(os.urandom(32))
    site = await world.site(cloud.tenant)
    code = await world.one.nodes.make_code(await world.owner(cloud.tenant), site)
    challenge = world.one.nodes.challenge()
    _, told = await cloud.ask("POST", "/auth/v1/nodes/challenge")
    assert told["issuer"] == challenge.issuer
    request = msgspec.to_builtins(key.enrol(code.code, challenge))
    status, enrolled = await cloud.ask("POST", "/auth/v1/nodes/enrol", request)
    assert status == 200 and enrolled["site"] == site, enrolled
    assertion = key.assertion(enrolled["node"], world.one.nodes.challenge(), world.clock)
    status, given = await cloud.ask("POST", "/auth/v1/nodes/token", {"assertion": assertion})
    assert status == 200, given
    sale = {"product": "p", "amount": 1, "at": "2026-01-31T14:00:00Z", "_partition": f"site:{site}"}
    token = given["access_token"]
    assert (await cloud.ask("POST", "/rest/v1/sales", sale, token))[0] == 201
    away = {**sale, "_partition": "site:elsewhere"}
    status, refused = await cloud.ask("POST", "/rest/v1/sales", away, token)
    assert (status, refused["code"]) == (403, "partition.denied")
    for wrong in ({}, {"code": 1}, {**request, "proof": "AAAA"}):
        assert 400 <= (await cloud.ask("POST", "/auth/v1/nodes/enrol", wrong))[0] < 500
    status, _ = await cloud.ask("POST", "/auth/v1/nodes/token", {"assertion": "nonsense"})
    assert status == 401


async def test_signing_out_ends_a_live_channel_at_once(cloud: Cloud) -> None:
    token = (await cloud.sign_in())[1]["access_token"]
    async with cloud.session.ws_connect(f"{cloud.url}/realtime/v1/websocket") as socket:
        wish = {"event": "*", "schema": "public", "table": "products"}
        payload = {"access_token": token, "config": {"postgres_changes": [wish]}}
        await socket.send_json(
            {"topic": "realtime:x", "event": "phx_join", "payload": payload, "ref": "1"}
        )
        told = await socket.receive_json(timeout=10)
        assert told["payload"]["status"] == "ok", told
        await cloud.ask("POST", "/auth/v1/logout?scope=local", token=token)
        while told["event"] != "phx_close":
            told = await socket.receive_json(timeout=10)
        assert "ended" in told["payload"]["reason"]


class Remote:
    """The cloud as a node reaches it, until the cable is cut. Implements RemoteSignIn."""

    def __init__(self, accounts: World) -> None:
        self.world = accounts
        self.cut = False

    async def sign_in(self, email: str, password: str, *, code: str, **_: Any) -> Any:
        self._check()
        return await self.world.one.people.sign_in(email, password, code=code or None)

    async def refresh(self, refresh_token: str, *, address: str) -> Any:
        self._check()
        return await self.world.one.sessions.refresh(refresh_token)

    async def sign_out(self, token: str, *, scope: str) -> None:
        self._check()
        await CloudAccounts(self.world.one).sign_out(token, scope=scope)

    def _check(self) -> None:
        if self.cut:
            raise Unavailable("The cloud is away.")


async def test_a_node_signs_people_in_with_and_without_the_cloud(cloud: Cloud) -> None:
    world, marks, remote = cloud.world, dict[str, Any](), Remote(cloud.world)
    enrolled, key = await world.node(cloud.tenant, await world.site(cloud.tenant))

    async def get_mark(name: str) -> Any:
        return marks.get(name)

    async def set_marks(given: Any) -> None:
        marks.update(given)

    local = LocalIdentity(
        enrolled=enrolled, key=key, get_mark=get_mark, set_marks=set_marks, now=world.clock
    )
    await local.start()
    store = MemoryStore(shop().collections, tenant=cloud.tenant)
    host = host_over(store, node=True, tenant=cloud.tenant)

    class One:
        async def host_of(self, principal: Principal) -> Host:
            return host

    accounts = NodeAccounts(local, replace(host.place, node=enrolled.node), remote)
    api = Api(Door(accounts, One()), sign_in=accounts)
    app = Litestar(plugins=[api], openapi_config=None, logging_config=None)
    async with listening(app) as url:
        remote.cut = True
        assert (await cloud.sign_in(url=url))[0] == 401, "nobody is known here yet"
        remote.cut = False
        status, session = await cloud.sign_in(url=url)
        assert status == 200, session
        remote.cut = True
        status, local_session = await cloud.sign_in(url=url)
        assert status == 200, local_session
        for token in (session["access_token"], local_session["access_token"]):
            row = {"id": token[-8:].lower(), "name": "offline"}
            made = await cloud.ask("POST", "/rest/v1/products", row, token, url=url)
            assert made[0] == 201, made
        body = {"refresh_token": local_session["refresh_token"]}
        path = "/auth/v1/token?grant_type=refresh_token"
        assert (await cloud.ask("POST", path, body, url=url))[0] == 200
        body = {"refresh_token": session["refresh_token"]}
        assert (await cloud.ask("POST", path, body, url=url))[0] == 503
        token = local_session["access_token"]
        assert (await cloud.ask("POST", "/auth/v1/logout", token=token, url=url))[0] == 204
        assert (await cloud.ask("GET", "/rest/v1/products", token=token, url=url))[0] == 401
        status, refused = await cloud.ask("POST", "/auth/v1/nodes/challenge", url=url)
        assert (status, refused["code"]) == (404, "auth.elsewhere")

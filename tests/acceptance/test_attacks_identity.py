"""Somebody attacks the identity of a real cloud: two replicas of the whole program on one PostgreSQL,
asked over HTTP and WebSocket by a stranger, a neighbour, a thief and a fired employee."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from beira.cloud.program import Cloud, CloudConfig, first_owner, running
from beira.host.listen import Listen
from beira.identity.node_key import NodeKey
from beira.identity.shapes import Challenge
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.wire import PROTOCOL, Hello
from beira.store.postgres import EmbeddedPostgres
from beira.sync.codec import JsonCodec

PASSWORD = "correct horse battery"
REFUSED = (401, 403)
DOORS = [
    ("GET", "/rest/v1/alerts"),
    ("POST", "/rest/v1/rpc/anything"),
    ("GET", "/auth/v1/user"),
    ("PUT", "/auth/v1/user"),
    ("POST", "/auth/v1/factors"),
    ("POST", "/auth/v1/logout"),
]


@dataclass
class Site:
    """The whole: two replicas at `urls`, the tenants angeloni and bistek with an owner each."""

    clouds: list[Cloud]
    urls: list[str]
    web: aiohttp.ClientSession
    first: Any

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        at: int = 0,
        **headers: str,
    ) -> tuple[int, Any]:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = self.urls[at] + path
        async with self.web.request(method, url, json=body, headers=headers) as answer:
            content = await answer.read()
            try:
                return answer.status, json.loads(content) if content else None
            except ValueError:
                return answer.status, content

    async def sign_in(self, email: str, password: str = PASSWORD, **more: Any) -> tuple[int, Any]:
        body = {"email": email, "password": password}
        return await self.ask("POST", "/auth/v1/token?grant_type=password", body, **more)

    async def owner(self, tenant: str) -> str:
        """The access token of the tenant's owner."""
        return str((await self.sign_in(f"owner@{tenant}.example"))[1]["access_token"])

    async def enrol(self, tenant: str) -> tuple[str, NodeKey, str]:
        """A new node: its id, its key, its access token."""
        code = await self.clouds[0].identity.nodes.make_code(service(tenant), f"{tenant}-1")
        key = NodeKey(os.urandom(32))
        request = key.enrol(code.code, await self.challenge())
        body = msgspec.to_builtins(request)
        status, enrolled = await self.ask("POST", "/auth/v1/nodes/enrol", body)
        assert status == 200, enrolled
        status, given = await self.token(enrolled["node"], key)
        assert status == 200, given
        return enrolled["node"], key, given["access_token"]

    async def challenge(self) -> Challenge:
        _, told = await self.ask("POST", "/auth/v1/nodes/challenge", at=1)
        return msgspec.convert(told, Challenge)

    async def token(self, node: str, key: NodeKey, at: int = 0) -> tuple[int, Any]:
        assertion = key.assertion(node, await self.challenge(), time.time)
        return await self.ask("POST", "/auth/v1/nodes/token", {"assertion": assertion}, at=at)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="beira-attacks-"))
    folder.chmod(0o711)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = await EmbeddedPostgres.start(folder / "postgres")
        stack.push_async_callback(server.stop)
        config = CloudConfig(
            data=folder / "data",
            listen=Listen(),
            database_url=server.dsn,
            owner_url=server.owner_dsn,
        )
        first = await first_owner(config, "Plataforma", "admin@beira.example")
        both = [await stack.enter_async_context(running(config)) for _ in range(2)]
        web = await stack.enter_async_context(aiohttp.ClientSession())
        made = Site([cloud for cloud, _ in both], [url for _, url in both], web, first)
        for tenant in ("angeloni", "bistek"):
            await _settle(made.clouds[0], tenant)
        yield made


async def _settle(cloud: Cloud, tenant: str) -> None:
    tenants = cloud.identity.tenants
    await tenants.create(service(""), tenant.title(), id=tenant)
    await tenants.add_site(service(tenant), f"{tenant} 1", id=f"{tenant}-1")
    for name, role in (("owner", "owner"), ("caixa", "member")):
        invited = await tenants.invite(service(tenant), f"{name}@{tenant}.example", role)
        await tenants.accept(invited.code, PASSWORD)


def forged(token: str, **changes: Any) -> list[str]:
    """The token with other claims: signed by nobody, by the old signature, and as HS256."""
    header, claims, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    body = encoded({**said, **changes})
    return [
        f"{encoded({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        f"{header}.{body}.{signature}",
        f"{encoded({'alg': 'HS256', 'typ': 'at+jwt'})}.{body}.{signature}",
    ]


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


async def test_a_stranger_gets_in_by_no_door(site: Site) -> None:
    token = await site.owner("angeloni")
    assert (await site.ask("GET", "/auth/v1/user", token=token))[0] == 200
    for method, path in DOORS:
        body = None if method == "GET" else {}
        assert (await site.ask(method, path, body))[0] == 401, path
        for fake in forged(token, tenant="bistek", role="admin"):
            status, _ = await site.ask(method, path, body, token=fake)
            assert status == 401, (path, fake)


async def test_sync_refuses_whoever_is_no_node(site: Site) -> None:
    person = await site.owner("angeloni")
    for token in (person, *forged(person, kind="node")):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            headers = {"Authorization": f"Bearer {token}"}
            await site.web.ws_connect(site.urls[0] + "/sync/v1/ws", headers=headers)
        assert caught.value.status in REFUSED


@pytest.mark.parametrize("path", ["/sync/v1/exchange", "/sync/v1/wait"])
async def test_syncs_plain_doors_refuse_whoever_is_no_node(site: Site, path: str) -> None:
    person = await site.owner("angeloni")
    for token in ("", person, *forged(person, kind="node")):
        assert (await site.ask("POST", path, {}, token=token))[0] in REFUSED


async def test_the_first_run_gave_no_password_anybody_knows(site: Site) -> None:
    assert site.first.password and len(site.first.password) >= 20
    assert (await site.sign_in("admin@beira.example", site.first.password))[0] == 200
    for guess in ("admin", "password12", "beira-beira", "changeme123"):
        assert (await site.sign_in(f"x{guess}@beira.example", guess))[0] in (401, 429)


async def test_guessing_is_stopped_on_both_replicas_whatever_address_is_claimed(site: Site) -> None:
    answers = []
    for n in range(limits.SIGN_IN_TRIES + 3):
        claimed = {"X-Forwarded-For": f"203.0.113.{n}", "Forwarded": f"for=203.0.113.{n}"}
        status, _ = await site.sign_in(
            "victim@angeloni.example", f"guess {n} x", at=n % 2, **claimed
        )
        answers.append(status)
    assert answers[-1] == 429 and set(answers) == {401, 429}
    for cloud in site.clouds:  # the other tests come from this address too
        await cloud.identity._core.guard.forget("address:127.0.0.1")


async def test_a_stolen_refresh_token_ends_the_session_everywhere(site: Site) -> None:
    _, session = await site.sign_in("caixa@angeloni.example")
    path, body = (
        "/auth/v1/token?grant_type=refresh_token",
        {"refresh_token": session["refresh_token"]},
    )
    _, renewed = await site.ask("POST", path, body)
    _, again = await site.ask("POST", path, {"refresh_token": renewed["refresh_token"]}, at=1)
    assert (await site.ask("GET", "/auth/v1/user", token=again["access_token"], at=1))[0] == 200
    status, refused = await site.ask("POST", path, body)  # the thief, too late
    assert (status, refused["code"]) == (401, "auth.refresh_reused")
    await until_refused(site, again["access_token"], "auth.revoked")


async def test_a_fired_employee_is_out_on_every_replica(site: Site) -> None:
    tenants = site.clouds[0].identity.tenants
    invited = await tenants.invite(service("bistek"), "ex@bistek.example", "member")
    await tenants.accept(invited.code, PASSWORD)
    _, session = await site.sign_in("ex@bistek.example")
    token = session["access_token"]
    for at in (0, 1):
        assert (await site.ask("GET", "/auth/v1/user", token=token, at=at))[0] == 200
    await tenants.remove_member(service("bistek"), session["user"]["id"])
    await until_refused(site, token, "auth.revoked")


async def test_a_neighbours_token_shows_nothing_of_the_others(site: Site) -> None:
    node, _, _ = await site.enrol("angeloni")
    mine, theirs = await site.owner("angeloni"), await site.owner("bistek")
    for path in ("/rest/v1/node_info", "/rest/v1/sites"):
        status, seen = await site.ask("GET", path, token=mine)
        assert status == 200 and seen, "the owner sees their own"
        _, seen = await site.ask("GET", path, token=theirs)
        assert "angeloni" not in json.dumps(seen) and node not in json.dumps(seen)
        _, seen = await site.ask("GET", f"{path}?id=eq.{node}", token=theirs)
        assert seen == []


async def test_an_assertion_heard_on_the_wire_is_worth_nothing(site: Site) -> None:
    node, key, _ = await site.enrol("angeloni")
    assertion = key.assertion(node, await site.challenge(), time.time)
    asked = [
        site.ask("POST", "/auth/v1/nodes/token", {"assertion": assertion}, at=n % 2)
        for n in range(6)
    ]
    statuses = sorted(status for status, _ in await asyncio.gather(*asked))
    assert statuses == [200] + [401] * 5


async def test_a_code_seen_over_a_shoulder_enrols_one_machine_only(site: Site) -> None:
    code = await site.clouds[0].identity.nodes.make_code(service("angeloni"), "angeloni-1")
    requests = [NodeKey(os.urandom(32)).enrol(code.code, await site.challenge()) for _ in range(4)]
    asked = [
        site.ask("POST", "/auth/v1/nodes/enrol", msgspec.to_builtins(request), at=n % 2)
        for n, request in enumerate(requests)
    ]
    answers = await asyncio.gather(*asked)
    assert sorted(status for status, _ in answers) == [200, 403, 403, 403]


async def test_a_node_is_no_person(site: Site) -> None:
    _, _, node = await site.enrol("angeloni")
    assert (await site.ask("PUT", "/auth/v1/user", {"data": {"name": "x"}}, token=node))[0] >= 400


async def test_a_node_revoked_on_one_replica_is_cut_off_on_the_other(site: Site) -> None:
    node, key, token = await site.enrol("angeloni")
    headers = {"Authorization": f"Bearer {token}"}
    url = site.urls[1] + "/sync/v1/ws"
    async with site.web.ws_connect(url, headers=headers) as live:
        hello = Hello(protocol=PROTOCOL, release="test", ticket=0, clock_ms=0)
        await live.send_str(JsonCodec().encode([hello]).decode())
        assert '"welcome"' in await live.receive_str(), "it is a live session now"
        await site.clouds[0].identity.nodes.revoke(service("angeloni"), node)
        ended = await asyncio.wait_for(_ended(live), 10)
    assert ended
    for at in (0, 1):
        status, refused = await site.token(node, key, at)
        assert (status, refused["code"]) == (401, "node.revoked")
    await until_refused(site, token, "node.revoked")


async def test_a_replaced_machine_is_told_so(site: Site) -> None:
    node, old, token = await site.enrol("bistek")
    code = await site.clouds[1].identity.nodes.make_code(service("bistek"), "bistek-1", node=node)
    new = NodeKey(os.urandom(32))
    body = msgspec.to_builtins(new.enrol(code.code, await site.challenge()))
    assert (await site.ask("POST", "/auth/v1/nodes/enrol", body))[0] == 200
    status, refused = await site.token(node, old)
    assert (status, refused["code"]) == (401, "node.replaced")
    assert refused["hint"]
    assert (await site.token(node, new))[0] == 200
    await until_refused(site, token, "node.replaced")


async def test_sql_and_oddities_in_every_field_are_only_text(site: Site) -> None:
    for odd in ("'; DROP TABLE accounts; --", "\x00", "\ud83d\ude00" * 50, "%", "{}", "a" * 5_000):
        for path, body in (
            ("/auth/v1/token?grant_type=password", {"email": odd, "password": odd}),
            ("/auth/v1/token?grant_type=password", {"email": f"{odd}@x.example", "password": odd}),
            ("/auth/v1/token?grant_type=refresh_token", {"refresh_token": odd}),
            ("/auth/v1/nodes/token", {"assertion": odd}),
            ("/auth/v1/nodes/enrol", dict.fromkeys(("code", "public_key", "nonce", "proof"), odd)),
        ):
            status, told = await site.ask("POST", path, body)
            assert 400 <= status < 500, (path, odd[:20], told)
    for body in ([], "x", {"email": 1, "password": []}, {"assertion": {}}):
        for path in ("/auth/v1/token?grant_type=password", "/auth/v1/nodes/token"):
            assert 400 <= (await site.ask("POST", path, body))[0] < 500
    for cloud in site.clouds:
        await cloud.identity._core.guard.forget("address:127.0.0.1")
    assert (await site.sign_in("owner@angeloni.example"))[0] == 200


async def until_refused(site: Site, token: str, code: str) -> None:
    """Refused by both replicas; the other one's news may be some milliseconds on its way."""
    for at in (0, 1):
        for _ in range(100):
            status, told = await site.ask("GET", "/auth/v1/user", token=token, at=at)
            if status == 401:
                break
            await asyncio.sleep(0.02)
        assert (status, told["code"]) == (401, code)


async def _ended(live: aiohttp.ClientWebSocketResponse) -> bool:
    async for _ in live:
        pass
    return live.closed

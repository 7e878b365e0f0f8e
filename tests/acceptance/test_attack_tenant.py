# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Bistek's owner, signed in and curious, looks for Angeloni: by the API, live, and by SQL. And text
that is no text but SQL, HTML or worse stays what was typed."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
import pytest_asyncio

from beira.apps.voice.records import CustomerRequest, Person, Product, Punch
from beira.kernel.query import Query
from beira.kernel.system import Alert, Setting
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    PATIENCE_S,
    Company,
    company_on,
    connected,
    fresh_database,
    postgres_directory,
    postgres_server,
    put,
    row_of,
)

SECRET = "segredo-do-angeloni"
NASTY = (
    "'; DROP TABLE beira.people; --",
    '" OR 1=1 --',
    "$1 $$ %s {0} :name",
    "\\'; SELECT pg_sleep(9); --",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "a,b(c).d*e:f=g&h",
    "../../etc/passwd",
    "çãõ 日本 🦜 \u202e\u200b",
    "\n\t\r line",
    "null",
    "-0",
)


@dataclass
class Two:
    """A cloud in which `victim` has a record in each collection, and `thief` has an owner's token."""

    company: Company
    dsn: str
    victim: str
    thief: str
    token: str
    ids: dict[str, str]

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        return await self.company.web.ask(method, path, body, self.token, **headers)

    async def theirs(self) -> dict[str, Any]:
        """All of the victim's rows."""
        host = await self.company.host(self.victim)
        found = {}
        for name, id in self.ids.items():
            row = await host.store.get(name, id)
            assert row is not None, f"{name}/{id} is gone"
            found[name] = msgspec.to_builtins(row)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two(postgres_server: EmbeddedPostgres) -> AsyncIterator[Two]:
    dsn, owner_dsn = await fresh_database(postgres_server)
    async with company_on(dsn, owner_dsn) as company:
        victim, thief = await company.tenant("angeloni"), await company.tenant("bistek")
        host = await company.host(victim)
        now, site = host.now(), f"site:{victim}-1"
        await put(
            host,
            Person(id="p-secret", name=SECRET),
            Product(id="g-secret", name=SECRET),
            Setting(id="voice@tenant", app="voice", values={"wake_word": SECRET}),
        )
        await put(
            host,
            Alert(id="a-secret", kind="x", level="critical", title=SECRET, at=now),
            CustomerRequest(id="c-secret", text=SECRET, at=now),
            Punch(
                id="u-secret", person="p-secret", employee=SECRET, kind="in", at=now, said_at=now
            ),
            partition=site,
        )
        ids = {
            "people": "p-secret",
            "products": "g-secret",
            "settings": "voice@tenant",
            "alerts": "a-secret",
            "customer_requests": "c-secret",
            "punches": "u-secret",
            "sites": f"{victim}-1",
        }
        yield Two(company, dsn, victim, thief, await company.owner(thief), ids)


async def test_no_collection_and_no_filter_shows_a_neighbours_records(two: Two) -> None:
    for declared in two.company.cloud.catalogue.collections:
        path = f"/rest/v1/{declared.name}"
        status, seen = await two.ask("GET", path)
        assert status in (200, 403), (path, seen)
        assert SECRET not in json.dumps(seen) and two.victim not in json.dumps(seen)
    for name, id in two.ids.items():
        for question in (
            f"id=eq.{id}",
            "id=not.is.null",
            f"or=(id.eq.{id},id.neq.{id})",
            f"_partition=eq.site:{two.victim}-1",
            f"id=in.({id},x)",
            "select=id,_partition,_node&limit=1000",
        ):
            status, seen = await two.ask("GET", f"/rest/v1/{name}?{question}")
            assert status == 200, (name, question, seen)
            assert id not in {row["id"] for row in seen} or name == "settings", (name, question)
            assert SECRET not in json.dumps(seen)
    for name in two.ids:
        headers = {"Prefer": "count=exact", "Range": "0-0"}
        status, seen = await two.ask("GET", f"/rest/v1/{name}?select=id", **headers)
        assert len(seen or []) <= 1


async def test_no_write_reaches_a_neighbours_records(two: Two) -> None:
    before = await two.theirs()
    for name, id in two.ids.items():
        for method, body in (("PATCH", {"name": "stolen"}), ("DELETE", None)):
            status, _ = await two.ask(method, f"/rest/v1/{name}?id=eq.{id}", body)
            assert status < 500, (method, name)
    place = {"_partition": f"site:{two.victim}-1"}
    for name, body in (
        ("people", {"id": "p-secret", "name": "mine"}),
        ("products", {"id": "g-secret", "name": "mine"}),
        (
            "alerts",
            {
                "id": "a-secret",
                "kind": "x",
                "level": "info",
                "title": "t",
                "at": "2026-01-01T00:00:00Z",
            },
        ),
    ):
        prefer = {"Prefer": "resolution=merge-duplicates"}
        status, _ = await two.ask("POST", f"/rest/v1/{name}", {**body, **place}, **prefer)
        assert status < 500
    assert await two.theirs() == before


async def test_no_command_reaches_a_neighbours_records_or_nodes(two: Two) -> None:
    before = await two.theirs()
    data = await two.company.enrol(two.victim)
    async with two.company.node(data) as node:
        await connected(node)
        there = {"Beira_Node": node.host.place.node}
        status, told = await two.ask("POST", "/rest/v1/rpc/log_request", {"text": "x"}, **there)
        assert status in (403, 404), told
        status, told = await two.ask(
            "POST", "/rest/v1/rpc/correct_punch", {"punch": "u-secret", "void": True}
        )
        assert 400 <= status < 500 and SECRET not in json.dumps(told)
        page = await node.store.query(Query(collection="customer_requests"))
        assert {row["id"] for row in page.rows} <= {"c-secret"}, "their own, and no other"
    assert await two.theirs() == before


async def test_nothing_of_a_neighbour_is_heard_live(two: Two) -> None:
    web = two.company.web
    url = web.url + "/realtime/v1/websocket?vsn=1.0.0"
    wanted = [{"event": "*", "schema": "public", "table": "people"}]
    wanted += [{"event": "*", "schema": "public", "table": "people", "filter": "id=eq.p-live"}]
    join = {
        "topic": "realtime:any",
        "event": "phx_join",
        "ref": "1",
        "payload": {"config": {"postgres_changes": wanted}, "access_token": two.token},
    }
    async with web.session.ws_connect(url) as live:
        await live.send_json(join)
        while (await live.receive_json(timeout=PATIENCE_S))["event"] != "system":
            pass
        await put(await two.company.host(two.victim), Person(id="p-live", name=SECRET))
        await put(await two.company.host(two.thief), Person(id="p-own", name="Ana"))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                told = await live.receive_json()
                assert SECRET not in json.dumps(told)
                if told["event"] == "postgres_changes":
                    assert told["payload"]["data"]["record"]["id"] == "p-own"
                    return


async def test_sql_as_the_programs_own_account_sees_one_tenant_or_none(two: Two) -> None:
    connection = await asyncpg.connect(two.dsn)
    try:
        tables = await connection.fetch(
            "SELECT n.nspname || '.' || quote_ident(c.relname) AS name, a.attname AS tenant"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'tenant')"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%'"
            " AND has_table_privilege(c.oid, 'SELECT')"
        )
        assert len(tables) > 15
        for allowed in ("", two.thief):
            for table, column in tables:
                async with connection.transaction():
                    await connection.execute("SELECT set_config('beira.tenant', $1, true)", allowed)
                    seen = {
                        row[0] for row in await connection.fetch(f"SELECT {column} FROM {table}")
                    }
                    assert not seen & {two.victim}, table
                    assert seen <= {allowed, "", None}, table
        assert not any(
            [
                await connection.fetchval(f"SELECT count(*) FROM {table}")
                for table, c in tables
                if c == "tenant_id"
            ]
        )
        for forbidden in (
            "SET ROLE postgres",
            "ALTER TABLE beira.people DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE beira.people NO FORCE ROW LEVEL SECURITY",
            "DROP POLICY tenant ON beira.people",
            "CREATE TABLE beira.mine (x int)",
            "SET SESSION AUTHORIZATION postgres",
            "ALTER ROLE beira_app BYPASSRLS",
            "COPY beira.people TO PROGRAM 'cat'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT * FROM pg_authid",
        ):
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute(forbidden)
        async with connection.transaction():
            await connection.execute("SELECT set_config('beira.tenant', $1, true)", two.thief)
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute("UPDATE beira.people SET tenant_id = $1", two.victim)
                await connection.execute(
                    "INSERT INTO beira.people SELECT $1, * FROM beira.people", two.victim
                )
    finally:
        await connection.close()


@pytest.mark.parametrize("nasty", NASTY)
async def test_what_is_typed_stays_text_in_the_cloud_at_the_node_and_back(
    two: Two, nasty: str
) -> None:
    id = f"nasty-{NASTY.index(nasty)}"
    person = {"id": id, "name": nasty, "role": nasty, "also_said": [nasty]}
    status, told = await two.ask("POST", "/rest/v1/people", person)
    assert status == 201, told
    question = {"id": f"eq.{id}", "select": "id,name,role,also_said"}
    url = two.company.address + "/rest/v1/people"
    headers = {"Authorization": f"Bearer {two.token}"}
    session = two.company.web.session
    async with session.get(url, params=question, headers=headers) as answer:
        assert await answer.json() == [person]
    async with session.get(url, params={"name": f"eq.{nasty}"}, headers=headers) as answer:
        found = await answer.json()
        assert answer.status == 200 and id in {row["id"] for row in found}, found
    for place in (
        {"id": nasty},
        {"order": nasty},
        {"select": nasty},
        {nasty: "eq.1"},
        {"limit": nasty},
    ):
        async with session.get(url, params=place, headers=headers) as answer:
            assert answer.status < 500, (place, await answer.text())
    status, _ = await two.ask("GET", "/rest/v1/people?id=not.is.null")
    assert status == 200, "the table is still there"


async def test_nasty_text_travels_to_a_node_and_back_unchanged(two: Two) -> None:
    tenant = await two.company.tenant("angeloni")
    cloud = await two.company.host(tenant)
    async with two.company.node(await two.company.enrol(tenant)) as node:
        for n, nasty in enumerate(NASTY):
            await put(cloud, Person(id=f"down-{n}", name=nasty))
            await put(
                node.host, CustomerRequest(id=f"up-{n}", text=nasty, product=nasty, at=cloud.now())
            )
        for n, nasty in enumerate(NASTY):
            await row_of(node.store, "people", f"down-{n}", name=nasty)
            await row_of(cloud.store, "customer_requests", f"up-{n}", text=nasty, product=nasty)


async def test_nasty_text_is_shown_and_not_run_on_the_portals_pages(two: Two) -> None:
    company = two.company
    tenant = await company.tenant("loja")
    host = await company.host(tenant)
    for n, nasty in enumerate(NASTY):
        await put(host, Person(id=f"p{n}", name=nasty), Product(id=f"g{n}", name=nasty))
        alert = Alert(kind=nasty, level="critical", title=nasty, text=nasty, at=host.now())
        await put(host, alert, partition=f"site:{tenant}-1")
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(company.address + "/sign-in") as page:
            assert page.status == 200
        form = {"email": f"owner@{tenant}.example", "password": PASSWORD}
        form["csrf"] = next(c.value for c in jar if "beira_form" in c.key)
        shown, waiting, seen = 0, ["/"], {"/"}
        async with browser.post(company.address + "/sign-in", data=form) as page:
            assert page.status == 200 and page.url.path != "/sign-in"
        while waiting:
            async with browser.get(company.address + waiting.pop()) as page:
                text = await page.text() if "html" in page.headers["Content-Type"] else ""
            assert page.status < 500, page.url
            for raw in ("<script>alert(1)", "<img src=x", "49{%", "49</"):
                assert raw not in text, (page.url, raw)
            shown += "&lt;script&gt;alert(1)" in text
            for found in re.findall(r'href="(/[^"#]*)"', text):
                path = html.unescape(found)
                place = path.partition("?")[0]
                if place not in seen and not place.startswith(("/static", "/sign-out")):
                    seen.add(place)
                    waiting.append(path)
        assert shown >= 3, f"people, products and alerts were shown somewhere: {seen}"

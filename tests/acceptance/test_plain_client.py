# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A second client, written from the protocol's page alone, beside one of ours in the same shop."""

from __future__ import annotations

import ast
from pathlib import Path

from beira.apps.voice.records import Product
from beira.identity.tenants import service
from beira.kernel.query import Query
from beira.kernel.system import Alert
from tests.acceptance import plain_client
from tests.acceptance.plain_client import PlainClient
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

AT = "2026-11-21T14:30:00Z"
HOUR_MS = 3_600_000


async def newcomer(company: Company, tenant: str, skew_ms: int = 0) -> PlainClient:
    code = await company.cloud.identity.nodes.make_code(
        service(tenant), f"{tenant}-1", name="Outro"
    )
    client = PlainClient(company.web.session, company.address, skew_ms)
    await client.enrol(code.code)
    return client


def request(client: PlainClient, tenant: str, id: str, text: str = "pão sem glúten") -> None:
    client.write("customer_requests", id, f"site:{tenant}-1", 1, text=text, at=AT)


def test_it_is_independent() -> None:
    tree = ast.parse(Path(plain_client.__file__).read_text())
    names = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert names and not [name for name in names if name.startswith(("beira", "tests"))]


async def test_what_it_writes_reaches_the_cloud_and_the_node_beside_it(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    async with company.node(await company.enrol(tenant)) as node:
        client = await newcomer(company, tenant)
        for i in range(30):
            request(client, tenant, f"theirs-{i}")
        await client.sync()
        assert client.refused == [] and client.ended is None
        await row_of(node.store, "customer_requests", "theirs-29", text="pão sem glúten")
        await put(cloud, Product(id="p", name="Leite", price_cents=499))
        await until(client.waits_for_news, "news over plain HTTP")
        await client.sync()
        assert client.value("products", "p", "price_cents") == 499
        client.write("sites", f"{tenant}-1", "tenant", 1, name="Minha")
        await client.sync()
        assert [refused["code"] for refused in client.refused] == ["flow.down"]
        request(client, tenant, "after what was refused")
        await client.sync()
        await row_of(cloud.store, "customer_requests", "after what was refused")
        before = len(
            (await cloud.store.query(Query(collection="customer_requests", limit=1_000))).rows
        )
        client.acked = dict.fromkeys(client.acked, 0)
        await client.exchange(*client._pushes())
        after = len(
            (await cloud.store.query(Query(collection="customer_requests", limit=1_000))).rows
        )
        assert after == before, "a replay is harmless"


async def test_its_digests_agree_and_find_what_is_missing(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    client = await newcomer(company, tenant)
    await put(cloud, *(Product(id=f"p{i}", name=f"Nº {i}", price_cents=i) for i in range(40)))
    for i in range(40):
        request(client, tenant, f"r{i}")
    await client.sync()
    here = f"site:{tenant}-1"
    assert await client.check("tenant", ["products", "sites", "node_info"]) == {}
    assert await client.check(here, ["customer_requests"]) == {}
    del client.rows["products", "p7"]
    differ = await client.check("tenant", ["products"])
    assert [len(buckets) for buckets in differ.values()] == [1]
    assert client.value("products", "p7", "name") == "Nº 7"
    assert await client.check("tenant", ["products"]) == {}


async def test_a_clock_a_year_ahead_comes_down_before_it_sends(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    client = await newcomer(company, tenant, skew_ms=365 * 24 * HOUR_MS)
    for i in range(5):
        request(client, tenant, f"early-{i}", text=str(i))
    await client.sync()
    rows = [await row_of(cloud.store, "customer_requests", f"early-{i}") for i in range(5)]
    stamps = [row.stamp.hlc for row in rows]
    assert stamps == sorted(stamps)
    assert stamps[-1] >> 11 <= cloud.wall.now_ms() + 60_000


async def test_a_copy_of_it_is_found_out(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    client = await newcomer(company, tenant)
    await client.sync()
    stale = client.ticket
    await client.exchange()
    await client.exchange()
    client.ticket = stale
    answers = await client.exchange()
    assert [answer["code"] for answer in answers] == ["node.ticket_old"]
    await client.exchange()
    assert client.ended is not None and client.ended["code"] == "node.duplicated"
    assert not client.ended.get("retry", True) and client.ended["hint"]


async def test_both_kinds_of_client_converge(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    async with company.node(await company.enrol(tenant)) as node:
        await connected(node)
        client = await newcomer(company, tenant)
        place = f"site:{tenant}-1"
        client.write("alerts", "a", place, 2, kind="fire", level="critical", title="Fogo", at=AT)
        await client.sync()
        await row_of(node.store, "alerts", "a", title="Fogo")
        async with node.host.writing() as ctx:
            ctx.patch(Alert, "a", seen_by="Ana")
        await drained(node)

        async def seen() -> bool:
            await client.sync()
            return bool(client.value("alerts", "a", "seen_by") == "Ana")

        await until(seen, "the change comes to the other client", every_s=0.2)
        assert await client.check(place, ["alerts"]) == {}

"""The portal over the real programs: an owner makes a shop, and cloud and counter work as one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from beira.apps.voice.records import Interaction, Product
from beira.cloud.program import Cloud, CloudConfig
from beira.cloud.program import running as cloud_running
from beira.host.listen import Listen
from beira.kernel.query import Query, where
from beira.node.program import Node, NodeConfig, enrol
from beira.node.program import running as node_running
from tests.contract.postgres_fixture import postgres_place
from tests.unit.portal.world import PASSWORD, Browser

EMAIL = "dona@loja.example"
WAIT_S = 45.0


@dataclass
class Shop:
    """A cloud, a node of its one shop, and the owner's browser."""

    cloud: Cloud
    url: str
    node: Node
    owner: Browser


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop() -> AsyncIterator[Shop]:
    """Everything is made through the portal, as an owner would."""
    folder = postgres_place()
    config = CloudConfig(data=folder / "cloud", listen=Listen(), apps=("voice",))
    async with cloud_running(config) as (cloud, url):
        await cloud.identity.people.create_first_owner("Loja", EMAIL, PASSWORD, tenant_id="loja")
        async with Browser(url, "pt-BR") as owner:
            await owner.sign_in(EMAIL)
            await owner.post("/sites/add", name="Centro", zone="America/Sao_Paulo")
            await owner.post("/people/new", name="João Pereira")
            text = await owner.get("/nodes/new")
            site = re.search(r'<option value="([^"]+)">Centro', text)
            assert site is not None, text
            text = await owner.post("/nodes/new", site=site[1], name="Balcão")
            code = re.search(r'class="enrol-code">([^<]+)<', text)
            assert code is not None, text
            await enrol(folder / "node", url, code[1])
            async with node_running(_node(folder)) as node:
                yield Shop(cloud, url, node, owner)


def _node(folder: Path) -> NodeConfig:
    return NodeConfig(data=folder / "node", listen=Listen(), apps=("voice",))


async def until(shop: Shop, path: str, words: str) -> str:
    """What the owner sees at `path` once `words` are there."""
    async with asyncio.timeout(WAIT_S):
        while words not in (text := await shop.owner.get(path)):
            await asyncio.sleep(0.1)
    return text


async def at_node(shop: Shop, collection: str, **filters: object) -> dict[str, object]:
    """A row of the node's own store, once it is there."""
    asked = Query(collection=collection, where=where(**filters))
    async with asyncio.timeout(WAIT_S):
        while not (found := (await shop.node.host.store.query(asked)).rows):
            await asyncio.sleep(0.05)
    return found[0]


async def test_the_node_is_seen_with_its_state(shop: Shop) -> None:
    text = await until(shop, "/nodes", "Ligado")
    assert "Balcão" in text
    node = shop.node.host.place.node
    text = await shop.owner.get(f"/nodes/{node}")
    for words in ("Crítico", "Importante", "Normal", "30 s", "5 min", "1 h"):
        assert words in text


async def test_what_is_said_at_the_counter_shows(shop: Shop) -> None:
    host = shop.node.host
    async with host.writing() as ctx:
        ctx.put(
            Interaction(text="e as horas, Aurora", outcome="done", at=host.now(), latency_ms=410.0)
        )
    await until(shop, "/interactions/list", "e as horas, Aurora")
    text = await shop.owner.get("/")
    assert "data-stale" not in text
    assert "410" in text


async def test_what_is_edited_here_is_known_there(shop: Shop) -> None:
    await shop.owner.post("/products/new", name="Café coado", price="4,50", unit="un")
    row = await at_node(shop, "products", name="Café coado")
    await shop.owner.post(f"/products/{row['id']}", name="Café coado", price="5,00", unit="un")
    await at_node(shop, "products", price_cents=500)
    await at_node(shop, "people", name="João Pereira")
    await shop.owner.post("/settings/voice", **{"for": "tenant", "p.wake_word": "lia"})
    await at_node(shop, "settings", id="voice@tenant")


async def test_what_is_edited_there_is_known_here(shop: Shop) -> None:
    async with shop.node.host.writing() as ctx:
        ctx.put(Product(name="Pão na chapa", price_cents=600), partition="tenant")
    await until(shop, "/products/list", "Pão na chapa")


async def test_a_command_is_sent_and_its_receipt_seen(shop: Shop) -> None:
    await at_node(shop, "people", name="João Pereira")
    node = shop.node.host.place.node
    await shop.owner.post(
        f"/nodes/{node}/call", command="register_punch", **{"p.employee": "João Pereira"}
    )
    assert "Enviado" in shop.owner.text
    await until(shop, f"/nodes/{node}/calls", "feito")
    await until(shop, "/punches/list", "João Pereira")
    punch = re.search(r"/punches/([^/]+)/correct", await shop.owner.get("/punches/list"))
    assert punch is not None
    await shop.owner.post(f"/punches/{punch[1]}/correct", at="", kind="in", void="yes")
    await at_node(shop, "punch_corrections", punch=punch[1])


async def test_the_nodes_own_portal_lets_in_who_the_cloud_knows(shop: Shop) -> None:
    async with Browser(shop.node.address, "pt-BR") as there:
        await there.sign_in(EMAIL, "not the password")
        assert there.status == 401, there.text
        await there.sign_in(EMAIL)
        assert (there.status, there.at) == (200, "/")
        await until(shop, "/products/list", "Café coado")
        assert "Café coado" in await there.get("/products")


async def test_an_alert_at_the_shop_breaks_in(shop: Shop) -> None:
    params = {"text": "fogo no depósito"}
    host = shop.node.host
    receipt = await host.run(
        "raise_emergency", params, principal=host.place.principal, door="voice"
    )
    assert receipt.ok, receipt
    await until(shop, "/alerts/banner", 'role="alert"')
    alert = re.search(r"/alerts/([^/]+)/seen", shop.owner.text)
    assert alert is not None
    await shop.owner.post(f"/alerts/{alert[1]}/seen")
    async with asyncio.timeout(WAIT_S):
        while not (await shop.node.host.store.get("alerts", alert[1])).fields["seen_by"]:  # type: ignore[union-attr]
            await asyncio.sleep(0.05)


async def test_a_revoked_node_is_cut_off(shop: Shop) -> None:
    node = shop.node.host.place.node
    await shop.owner.post(f"/nodes/{node}/revoke")
    assert "Revogado" in shop.owner.text
    async with asyncio.timeout(WAIT_S):
        while shop.node.agent.state.connected:
            await asyncio.sleep(0.05)

"""The same portal on a node: what it has is shown, the rest is said to be elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest_asyncio
from litestar import Litestar
from litestar.datastructures import State
from tests.unit.portal.world import Browser, local_place

from beira.api import Door
from beira.api.ports import Person as Known
from beira.api.ports import Tokens
from beira.apps.voice import app as voice
from beira.apps.voice.records import CustomerRequest, Product
from beira.host import Host, SystemWall
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.kernel.access import Kind, Principal
from beira.kernel.app import Catalogue
from beira.kernel.errors import Denied, Unauthenticated
from beira.portal import Portal
from beira.store.memory import MemoryStore

OWNER = Principal(kind=Kind.PERSON, id="p1", tenant="angeloni", name="Dona", role="owner")


class Accounts:
    """Sign-in of one person, and the hosts of one tenant: what a node's program gives."""

    def __init__(self, host: Host) -> None:
        self.host = host

    async def principal(self, token: str) -> Principal:
        if token != "access":
            raise Unauthenticated("The token does not hold.")
        return OWNER

    async def host_of(self, principal: Principal) -> Host:
        return self.host

    async def sign_in(self, email: str, password: str, **more: str) -> Tokens:
        if password != "right":
            raise Unauthenticated("E-mail or password is wrong.", code="auth.wrong")
        who = Known(id="p1", email=email, name="Dona", tenant="angeloni", role="owner")
        return Tokens(
            access_token="access", refresh_token="r", expires_in_s=900, expires_at=1, person=who
        )

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        raise Unauthenticated("No.")

    async def sign_out(self, token: str, *, scope: str) -> None:
        if token != "access":
            raise Denied("No.")


@pytest_asyncio.fixture(loop_scope="session")
async def at_node() -> AsyncIterator[tuple[Browser, Host]]:
    catalogue = Catalogue((replace(voice, pages=""),))
    host = Host(
        place=local_place(), store=MemoryStore(catalogue.collections), catalogue=catalogue,
        wall=SystemWall(), route=lambda row: None,
    )  # fmt: skip
    accounts = Accounts(host)
    portal = Portal(door=Door(accounts, accounts), sign_in=accounts, node=host)  # type: ignore[arg-type]
    app = Litestar(plugins=[portal], state=State({"host": host}), openapi_config=None)
    async with serving(app, Listen()) as url, Browser(url, "pt-BR") as browser:
        yield browser, host
        await portal.close()


async def test_a_node_shows_what_it_has(at_node: tuple[Browser, Host]) -> None:
    browser, host = at_node
    await browser.sign_in("dona@angeloni.example", "wrong")
    assert browser.status == 401
    await browser.sign_in("dona@angeloni.example", "right")
    assert (browser.status, browser.at) == (200, "/")
    async with host.writing() as ctx:
        ctx.put(Product(name="Pão de queijo"), partition="tenant")
    assert "Pão de queijo" in await browser.get("/products")
    assert 'href="/balcao"' in browser.text
    for path in ("/interactions", "/punches", "/alerts", "/people", "/sales", "/requests"):
        await browser.get(path)
        assert browser.status == 200, path


async def test_a_node_says_what_is_only_in_the_cloud(at_node: tuple[Browser, Host]) -> None:
    browser, _ = at_node
    await browser.sign_in("dona@angeloni.example", "right")
    assert "As contas ficam na nuvem" in await browser.get("/account")
    assert "editadas no portal da nuvem" in await browser.get("/people")
    for path in ("/team", "/sites", "/settings", "/admin", "/people/new", "/nodes", "/quarantine"):
        await browser.get(path)
        assert browser.status == 404, path


async def test_a_product_is_added_at_a_node(at_node: tuple[Browser, Host]) -> None:
    browser, _ = at_node
    await browser.sign_in("dona@angeloni.example", "right")
    await browser.post("/products/new", name="Broa", price="3,50", unit="un")
    assert "Broa" in browser.text
    await browser.post("/sign-out")
    assert browser.at.startswith("/sign-in")


async def test_a_request_is_attended_to_at_a_node(at_node: tuple[Browser, Host]) -> None:
    browser, host = at_node
    await browser.sign_in("dona@angeloni.example", "right")
    async with host.writing() as ctx:
        ctx.put(CustomerRequest(id="r1", text="bolo de fubá", at=host.now()))
    assert "bolo de fubá" in await browser.get("/requests")
    await browser.post("/requests/r1/close", outcome="cancelled")
    assert "Anotado: desistiu" in browser.text
    assert "bolo de fubá" not in browser.text
    assert "desistiu" in await browser.get("/requests?which=closed")

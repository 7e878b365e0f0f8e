"""The database goes away and comes back: people see what they last had, and only their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.contract.postgres_fixture import postgres_place
from tests.unit.portal.world import World, fill, world

from beira.store.postgres import EmbeddedPostgres


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def doomed() -> AsyncIterator[tuple[World, Path]]:
    """A world whose database may be stopped."""
    directory = postgres_place()
    server = await EmbeddedPostgres.start(directory)
    dsn, owner_dsn = await server.make_database("doomed")
    async with world(server, dsn, owner_dsn) as made:
        await fill(made)
        yield made, directory
    await made.server.stop()


async def test_an_outage_from_beginning_to_end(doomed: tuple[World, Path]) -> None:
    made, directory = doomed
    async with made.browser() as browser, made.browser() as member, made.browser() as late:
        await browser.sign_in(made.emails["owner"])
        await member.sign_in(made.emails["member"])
        await browser.get("/products")
        await late.get("/sign-in")
        await made.server.stop()

        text = await browser.get("/products")
        assert browser.status == 200
        assert "O banco de dados da nuvem não responde" in text
        assert "Café torrado" in text
        assert "data-stale" in text
        assert "data-ago" in text.split("data-outage")[1].split("</div>")[0]

        text = await browser.get("/people")
        assert browser.status == 503
        assert "tenta de novo sozinha" in text

        text = await member.get("/products")
        assert member.status == 503
        assert "Café torrado" not in text

        await browser.get("/products/list", **{"HX-Request": "true"})
        assert browser.status == 503

        text = await late.post("/sign-in", email=made.emails["owner"], password="x" * 12)
        assert late.status == 503
        assert "banco de dados não responde" in text

        held = browser.cookies()
        browser.give({name: "expired" for name in held if "access" in name})
        assert "Café torrado" in await browser.get("/products")
        browser.give({name: "forged" for name in held if "refresh" in name})
        text = await browser.get("/products")
        assert browser.at.startswith("/sign-in")
        assert "Café torrado" not in text
        browser.give(held)

        made.server = await EmbeddedPostgres.start(directory)
        for _ in range(100):
            text = await browser.get("/products")
            if browser.status == 200 and "data-stale" not in text:
                break
            await asyncio.sleep(0.1)
        assert browser.at == "/products"
        assert "data-stale" not in text
        assert "Café torrado" in text

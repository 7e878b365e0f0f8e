"""One cloud with its portal for all tests here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.contract.postgres_fixture import (  # noqa: F401
    fresh_database,
    postgres_directory,
    postgres_server,
)
from tests.unit.portal.world import Browser, World, fill, world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def portal_world(postgres_server) -> AsyncIterator[World]:  # noqa: F811
    dsn, owner_dsn = await fresh_database(postgres_server)
    async with world(postgres_server, dsn, owner_dsn) as made:
        await fill(made)
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def owner(portal_world: World) -> AsyncIterator[Browser]:
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["owner"])
        yield browser

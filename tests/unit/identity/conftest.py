"""Two replicas of identity over one real PostgreSQL, a clock that only tests move, and people in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import (  # noqa: F401
    fresh_database,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
)

from beira.identity import Identity, ServerKey
from beira.identity.node_key import NodeKey
from beira.identity.shapes import Enrolled, SignedIn
from beira.identity.tenants import service
from beira.kernel.access import Principal
from beira.store.postgres import PostgresCloud

PASSWORD = "correct horse battery"


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class World:
    """Tenants a and b: an owner each, a site each; `one` and `two` are replicas."""

    one: Identity
    two: Identity
    clock: Clock
    cloud: PostgresCloud
    owner_dsn: str
    secret: bytes
    count: int = 0

    async def tenant(self, name: str = "Angeloni") -> str:
        self.count += 1
        made = await self.one.tenants.create(service(""), f"{name} {self.count}")
        return made.id

    async def person(self, tenant: str, role: str = "owner", **more: object) -> str:
        """An e-mail address that can sign in to `tenant` with PASSWORD."""
        self.count += 1
        email = f"person{self.count}@example.com"
        invited = await self.one.tenants.invite(service(tenant), email, role, **more)
        return await self.one.tenants.accept(invited.code, PASSWORD, name=f"P {self.count}")

    async def signed_in(self, tenant: str, role: str = "owner", **more: object) -> SignedIn:
        email = await self.person(tenant, role, **more)
        return await self.one.people.sign_in(email, PASSWORD)

    async def owner(self, tenant: str) -> Principal:
        return await self.one.principal((await self.signed_in(tenant)).access_token)

    async def node(self, tenant: str, site: str) -> tuple[Enrolled, NodeKey]:
        key = NodeKey(os.urandom(32))
        code = await self.one.nodes.make_code(service(tenant), site)
        request = key.enrol(code.code, self.one.nodes.challenge())
        return await self.one.nodes.enrol(request), key

    async def node_token(self, node: Enrolled, key: NodeKey) -> str:
        assertion = key.assertion(node.node, self.one.nodes.challenge(), self.clock)
        return (await self.one.nodes.token(assertion)).access_token

    async def site(self, tenant: str, **more: object) -> str:
        return (await self.one.tenants.add_site(service(tenant), "Loja", **more)).id


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world_parts(postgres_server, postgres_registry) -> AsyncIterator[World]:  # noqa: F811
    dsn, owner_dsn = await fresh_database(postgres_server)
    cloud = await PostgresCloud.open(dsn, postgres_registry, owner_dsn=owner_dsn)
    other = await PostgresCloud.open(dsn, postgres_registry, owner_dsn=owner_dsn)
    clock, secret = Clock(), os.urandom(32)
    one, two = (
        Identity(c, ServerKey(secret), public_url="https://cloud.example", now=clock)
        for c in (cloud, other)
    )
    await one.start()
    await two.start()
    yield World(one, two, clock, cloud, owner_dsn, secret)
    for thing in (one, two, cloud, other):
        await thing.close()


@pytest.fixture
def world(world_parts: World) -> World:
    """Far from what the tests before left of their rate limits."""
    world_parts.clock.now_s += 4_000
    return world_parts

"""The shop served over each store: memory, a node's SQLite, the cloud's PostgreSQL. A module of
tests imports the fixtures it uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import (
    fresh_tenant,
    postgres_cloud,
    postgres_directory,
    postgres_server,
)
from tests.unit.api.shop import Tickets, application, host_over, listening, shop

from beira.host import Host
from beira.kernel.collection import Registry
from beira.store.memory import MemoryStore
from beira.store.port import Store
from beira.store.postgres import PostgresCloud
from beira.store.sqlite import SqliteStore


@dataclass
class Served:
    """A server that listens at `url`, and what lies behind it."""

    url: str
    host: Host
    tickets: Tickets


@pytest.fixture(scope="session")
def postgres_registry() -> Registry:
    return shop().collections


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cloud(kind: str, request: pytest.FixtureRequest) -> PostgresCloud | None:
    """PostgreSQL, started only for who needs it."""
    return request.getfixturevalue("postgres_cloud") if kind == "postgres" else None


@pytest_asyncio.fixture(loop_scope="session")
async def served(kind: str, cloud: PostgresCloud | None, tmp_path: Path) -> AsyncIterator[Served]:
    """A node over SQLite, or a cloud over the others."""
    tenant = fresh_tenant("shop")
    store: Store
    if cloud is not None:
        store = cloud.tenant(tenant)
    elif kind == "memory":
        store = MemoryStore(shop().collections, tenant=tenant)
    else:
        store = await SqliteStore.open(tmp_path / "node.db", shop().collections, tenant=tenant)
    host = host_over(store, node=kind == "sqlite", tenant=tenant)
    await host.start()
    tickets = Tickets(tenants={"t1": tenant})
    async with listening(application({tenant: host}, tickets)) as url:
        yield Served(url, host, tickets)
    await store.close()


__all__ = [
    "Served", "cloud", "kind", "postgres_cloud", "postgres_directory", "postgres_registry",
    "postgres_server", "served",
]  # fmt: skip

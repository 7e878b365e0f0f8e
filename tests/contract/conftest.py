"""Every implementation of the store port, under one name: `store`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.postgres_fixture import (  # noqa: F401 (fixtures)
    fresh_tenant,
    postgres_cloud,
    postgres_directory,
    postgres_server,
)
from tests.contract.records import REGISTRY

from beira.kernel.collection import Registry
from beira.store.memory import MemoryStore
from beira.store.postgres import PostgresCloud
from beira.store.sqlite import SqliteStore


@pytest.fixture(scope="session")
def postgres_registry() -> Registry:
    return REGISTRY


@pytest.fixture(params=["memory", "sqlite", "sqlite-encrypted", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cloud(kind: str, request: pytest.FixtureRequest) -> PostgresCloud | None:
    """PostgreSQL, started only for who needs it."""
    return request.getfixturevalue("postgres_cloud") if kind == "postgres" else None


@pytest.fixture
def tenant() -> str:
    return fresh_tenant("angeloni")


@pytest.fixture
async def store(
    kind: str, cloud: PostgresCloud | None, tenant: str, tmp_path: Path
) -> AsyncIterator[Any]:
    """An empty store of `tenant` with the collections of `records`."""
    made: Any
    if cloud is not None:
        made = cloud.tenant(tenant)
    elif kind == "memory":
        made = MemoryStore(REGISTRY, tenant=tenant)
    else:
        key = bytes(range(32)) if kind == "sqlite-encrypted" else None
        made = await SqliteStore.open(tmp_path / "node.db", REGISTRY, key=key, tenant=tenant)
    yield made
    await made.close()


@pytest.fixture
def node_store(store: Any, kind: str) -> Any:
    """A store that is a node's."""
    if kind == "postgres":
        pytest.skip("only a node's store does this")
    return store

from __future__ import annotations

import pytest
from tests.contract.postgres_fixture import (  # noqa: F401
    fresh_tenant,
    postgres_cloud,
    postgres_directory,
    postgres_server,
)
from tests.unit.store_postgres.collections_ import REGISTRY

from beira.kernel.collection import Registry
from beira.store.postgres import PostgresCloud, PostgresStore


@pytest.fixture(scope="session")
def postgres_registry() -> Registry:
    return REGISTRY


@pytest.fixture
def store(postgres_cloud: PostgresCloud) -> PostgresStore:  # noqa: F811
    return postgres_cloud.tenant(fresh_tenant())

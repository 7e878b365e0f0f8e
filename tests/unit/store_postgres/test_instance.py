"""What a database is known by: the same while it is itself, another for a copy of it."""

from __future__ import annotations

from tests.contract.postgres_fixture import fresh_database
from tests.unit.store_postgres.collections_ import REGISTRY

from beira.store.postgres import EmbeddedPostgres, PostgresCloud


async def test_two_replicas_see_one_database(postgres_server: EmbeddedPostgres) -> None:
    dsn, owner = await fresh_database(postgres_server)
    other_dsn, other_owner = await fresh_database(postgres_server)
    names = []
    for here, owned in ((dsn, owner), (dsn, owner), (other_dsn, other_owner)):
        cloud = await PostgresCloud.open(here, REGISTRY, owner_dsn=owned)
        names.append(await cloud.instance())
        assert await cloud.instance() == names[-1]
        await cloud.close()
    assert names[0] == names[1] != names[2]

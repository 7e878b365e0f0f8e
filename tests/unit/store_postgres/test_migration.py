"""Databases made by other releases, and other accounts, are opened; what cannot be is said clearly."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime

import asyncpg
import pytest
from tests.contract.postgres_fixture import fresh_database
from tests.unit.store_postgres.collections_ import REGISTRY, row, sale

from beira.kernel.collection import UP, Registry, collection, collection_of
from beira.kernel.errors import Misconfigured, NotFound
from beira.kernel.query import Order, Query, checked
from beira.kernel.record import State
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.store.postgres import cloud as cloud_module


@collection("tools", flow=UP)
class OldTool(State):
    name: str


@collection("tools", flow=UP)
class NewTool(State):
    name: str
    price: float = 0.0
    bought_at: datetime | None = None


@collection("tools", flow=UP)
class OtherTool(State):
    name: int


@collection("tools", flow=UP)
class ReservedTool(State):
    tenant_id: str


OLD, NEW, OTHER, RESERVED = (
    Registry([collection_of(tool)]) for tool in (OldTool, NewTool, OtherTool, ReservedTool)
)
MOMENT = "2026-01-31T14:30:00.5Z"


async def test_a_new_field_gets_its_column_and_what_waited_for_it(
    postgres_server: EmbeddedPostgres,
) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    written = [
        row("tools", "a", 1, name="a", price=2.5, bought_at=MOMENT, future=[1]),
        row("tools", "b", 1, name="b", price="of another type", bought_at=None),
        row("tools", "c", 1, name="c"),
    ]
    old = await PostgresCloud.open(dsn, OLD, owner_dsn=owner_dsn)
    await old.tenant("t").commit(written)
    await old.close()

    new = await PostgresCloud.open(dsn, NEW, owner_dsn=owner_dsn)
    store = new.tenant("t")
    for expected in written:
        assert await store.get("tools", expected.id) == expected
    query = checked(Query(collection="tools", order=(Order("id"),)), NEW["tools"])
    found = (await store.query(query)).rows
    assert [r["price"] for r in found] == [2.5, 0.0, 0.0]
    assert found[0]["bought_at"] == MOMENT
    async with new.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM beira.tools") == 0  # wall up again
    await new.close()


async def test_an_older_release_on_a_newer_database_loses_nothing(
    postgres_server: EmbeddedPostgres,
) -> None:
    """Replicas are replaced one by one: for a while both releases run."""
    dsn, owner_dsn = await fresh_database(postgres_server)
    new = await PostgresCloud.open(dsn, NEW, owner_dsn=owner_dsn)
    old = await PostgresCloud.open(dsn, OLD, owner_dsn=owner_dsn)
    await new.tenant("t").commit([row("tools", "a", 1, name="a", price=2.5, bought_at=MOMENT)])
    await old.tenant("t").commit([row("tools", "a", 7, name="b")])
    for cloud in (old, new):
        found = await cloud.tenant("t").get("tools", "a")
        assert found is not None
        assert found.fields == {"name": "b", "price": 2.5, "bought_at": MOMENT}
        assert found.stamp_of("price").hlc == 1
        await cloud.close()


async def test_a_field_that_changed_its_type_is_refused(postgres_server: EmbeddedPostgres) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    await (await PostgresCloud.open(dsn, OLD, owner_dsn=owner_dsn)).close()
    with pytest.raises(Misconfigured) as error:
        await PostgresCloud.open(dsn, OTHER, owner_dsn=owner_dsn)
    assert error.value.code == "schema.type_changed"
    assert "tools.name" in error.value.message and error.value.hint
    await (await PostgresCloud.open(dsn, NEW, owner_dsn=owner_dsn)).close()


async def test_a_field_called_like_a_column_of_ours_is_refused(
    postgres_server: EmbeddedPostgres,
) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    with pytest.raises(Misconfigured, match="tenant_id"):
        await PostgresCloud.open(dsn, RESERVED, owner_dsn=owner_dsn)


async def test_replicas_that_start_at_once(postgres_server: EmbeddedPostgres) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    clouds = await asyncio.gather(
        *(
            PostgresCloud.open(dsn, registry, owner_dsn=owner_dsn)
            for registry in (OLD, NEW, REGISTRY, NEW, OLD)
        )
    )
    for cloud in clouds:
        assert await cloud.healthy()
        await cloud.close()


async def _as(postgres_server: EmbeddedPostgres, rights: str) -> str:
    """The only DSN there is: an account `rights`, which owns the database."""
    _, owner_dsn = await fresh_database(postgres_server)
    name = "account_" + rights.lower().replace(" ", "_")
    database = owner_dsn.split("@/")[1].split("?")[0]
    owner = await asyncpg.connect(owner_dsn)
    await owner.execute(f"DROP ROLE IF EXISTS {name}")
    await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {rights}")
    await owner.execute(f"ALTER DATABASE {database} OWNER TO {name}")
    await owner.close()
    return f"postgresql://{name}:secret@/" + owner_dsn.split("@/")[1]


async def _works_behind_the_wall(dsn: str) -> None:
    cloud = await PostgresCloud.open(dsn, REGISTRY)
    try:
        await cloud.tenant("a").commit([sale("1")], marks={"m": 1})
        assert await cloud.tenant("a").get("sales", "1") == sale("1")
        assert await cloud.tenant("b").get("sales", "1") is None
        async with cloud.pool.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM beira.sales") == 0
    finally:
        await cloud.close()


@pytest.mark.parametrize("rights", ["SUPERUSER", "NOSUPERUSER", "CREATEROLE"])
async def test_with_one_account_only(postgres_server: EmbeddedPostgres, rights: str) -> None:
    dsn = await _as(postgres_server, rights)
    for _ in range(2):
        await _works_behind_the_wall(dsn)


async def test_with_one_account_above_the_wall(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As hosted databases give one: it may make roles, and is not bound by row-level security."""
    dsn = await _as(postgres_server, "CREATEROLE BYPASSRLS")
    with pytest.raises(Misconfigured) as error:  # somebody else has made beira_app here
        await PostgresCloud.open(dsn, REGISTRY)
    assert error.value.code == "database.unwalled"
    monkeypatch.setattr(cloud_module, "APP_ROLE", f"app_{os.getpid()}")
    for _ in range(2):
        await _works_behind_the_wall(dsn)


async def test_an_owner_given_for_the_program_is_refused(
    postgres_server: EmbeddedPostgres,
) -> None:
    _, owner_dsn = await fresh_database(postgres_server)
    with pytest.raises(Misconfigured) as error:
        await PostgresCloud.open(owner_dsn, REGISTRY, owner_dsn=owner_dsn)
    assert error.value.code == "database.unwalled"


@pytest.mark.parametrize(("good", "bad"), [("beira_app:", "nobody:"), ("/beira_", "/none_")])
async def test_an_account_or_database_there_is_not(
    postgres_server: EmbeddedPostgres, good: str, bad: str
) -> None:
    dsn, _ = await fresh_database(postgres_server)
    with pytest.raises(Misconfigured) as error:
        await PostgresCloud.open(dsn.replace(good, bad), REGISTRY)
    assert error.value.code == "database.refused"


async def test_other_tables_by_the_same_door(postgres_cloud: PostgresCloud) -> None:
    """What identity keeps: made by the owner, usable by the program, narrowed by a REVOKE."""
    statements = [
        "CREATE TABLE IF NOT EXISTS people (email text PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS audit (line text)",
        "REVOKE UPDATE, DELETE ON audit FROM beira_app",
    ]
    await asyncio.gather(*(postgres_cloud.migrate(statements) for _ in range(3)))
    async with postgres_cloud.connection() as connection:
        await connection.execute(
            "INSERT INTO identity.people VALUES ('a@b') ON CONFLICT DO NOTHING"
        )
        await connection.execute("INSERT INTO identity.audit VALUES ('x')")
        assert await connection.fetchval("SELECT count(*) FROM identity.people") == 1
    with pytest.raises(Misconfigured):
        async with postgres_cloud.connection() as connection:
            await connection.execute("DELETE FROM identity.audit")


async def test_an_older_release_passes_on_what_it_does_not_declare(
    postgres_server: EmbeddedPostgres,
) -> None:
    """A node of the newer release may be connected to a replica of the older one."""
    dsn, owner_dsn = await fresh_database(postgres_server)
    new = await PostgresCloud.open(dsn, NEW, owner_dsn=owner_dsn)
    old = await PostgresCloud.open(dsn, REGISTRY, owner_dsn=owner_dsn)
    written = row("tools", "a", 1, name="a", price=2.5)
    await new.tenant("t").commit([written], route=lambda _: "feed")
    for whole in (True, False):
        found = await old.tenant("t").since("feed", 0, whole=whole, most=9, most_bytes=10**6)
        assert found.rows == (written,)
    with pytest.raises(NotFound):
        await old.tenant("t").commit([written])
    await new.close()
    await old.close()

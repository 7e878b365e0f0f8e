"""Law 7: nothing crosses from one tenant to another, even for SQL that ignores tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import fresh_tenant
from tests.unit.store_postgres.collections_ import row, sale

from beira.kernel.errors import Invalid
from beira.store.postgres import EmbeddedPostgres, PostgresCloud, PostgresStore

TABLES = ("sales", "products", "_streams", "_stream_heads", "_marks")


@pytest_asyncio.fixture(loop_scope="session")
async def attacker(postgres_cloud: PostgresCloud) -> AsyncIterator[asyncpg.Connection]:
    """A connection with all that the program's account may do, in a transaction of its own."""
    async with postgres_cloud.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


@pytest_asyncio.fixture(loop_scope="session")
async def victim(postgres_cloud: PostgresCloud) -> str:
    tenant = fresh_tenant("victim")
    await postgres_cloud.tenant(tenant).commit(
        [sale("1"), row("products", "p", 1, name="x")],
        route=lambda _: "feed",
        marks={"cursor": 1},
    )
    return tenant


async def become(connection: asyncpg.Connection, tenant: str) -> None:
    await connection.execute("SELECT set_config('beira.tenant', $1, true)", tenant)


@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_nothing_is_seen_or_changed(
    attacker: asyncpg.Connection, victim: str, table: str
) -> None:
    assert await attacker.fetchval(f"SELECT count(*) FROM beira.{table}") == 0
    assert await attacker.execute(f"UPDATE beira.{table} SET tenant_id = tenant_id") == "UPDATE 0"
    assert await attacker.execute(f"DELETE FROM beira.{table}") == "DELETE 0"


@pytest.mark.parametrize("tenant", ["", None, "another"])
async def test_no_row_of_another_tenant_is_written(
    attacker: asyncpg.Connection, victim: str, tenant: str | None
) -> None:
    if tenant is not None:
        await become(attacker, tenant)
    for owner in {victim, "", "fresh"} - {tenant if tenant else None}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with attacker.transaction():
                await attacker.execute(
                    "INSERT INTO beira._marks (tenant_id, name, value) VALUES ($1, 'm', '1')", owner
                )


@pytest.mark.parametrize("table", TABLES)
async def test_another_tenant_neither_reads_nor_moves_rows(
    attacker: asyncpg.Connection, victim: str, table: str
) -> None:
    await become(attacker, "thief")
    seen = await attacker.fetchval(
        f"SELECT count(*) FROM beira.{table} WHERE tenant_id = $1", victim
    )
    assert seen == 0
    taken = await attacker.execute(
        f"UPDATE beira.{table} SET tenant_id = 'thief' WHERE tenant_id = $1", victim
    )
    assert taken == "UPDATE 0"
    await become(attacker, victim)
    assert await attacker.fetchval(f"SELECT count(*) FROM beira.{table}") > 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await attacker.execute(f"UPDATE beira.{table} SET tenant_id = 'thief'")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE beira.sales NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE beira.sales DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON beira.sales",
        "DROP TABLE beira.sales",
        "TRUNCATE beira.sales",
        "CREATE TABLE beira.mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "CREATE TEMP TABLE mine (x int)",
        "SET ROLE postgres",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM pg_authid",
        "COPY beira.sales TO PROGRAM 'cat'",
    ],
)
async def test_the_role_cannot_take_the_wall_down(
    attacker: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await attacker.execute(statement)


async def test_every_table_is_walled(
    postgres_cloud: PostgresCloud, postgres_server: EmbeddedPostgres
) -> None:
    async with postgres_cloud.pool.acquire() as connection:
        open_tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'beira'::regnamespace "
            "AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity)"
        )
        keys = await connection.fetch(
            "SELECT indexrelid::regclass::text, a.attname FROM pg_index "
            "JOIN pg_class c ON c.oid = indrelid "
            "JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = indkey[0] "
            "WHERE c.relnamespace = 'beira'::regnamespace"
        )
    assert open_tables == []
    assert keys
    assert {column for _, column in keys} == {"tenant_id"}


async def test_a_pooled_connection_forgets_its_tenant(postgres_cloud: PostgresCloud) -> None:
    store = postgres_cloud.tenant(fresh_tenant())
    await store.commit([sale("1")])
    for _ in range(20):
        async with postgres_cloud.pool.acquire() as connection:
            assert not await connection.fetchval("SELECT current_setting('beira.tenant', true)")
            assert await connection.fetchval("SELECT count(*) FROM beira.sales") == 0


NASTY = (
    "'; DROP TABLE beira.sales; --",
    "\\'; SELECT set_config('beira.tenant','victim',true); --",
    '$1 {table} %s \\x00 \u2028 "quoted" 😀',
    "",
)


@pytest.mark.parametrize("text", NASTY)
async def test_sql_in_values_is_inert(
    postgres_cloud: PostgresCloud, store: PostgresStore, text: str
) -> None:
    id = text or "empty"
    written = sale(id, product=text, order=text, lines=[{text: text}], strange={"deep": [text]})
    await store.commit([written], route=lambda _: text or "s", marks={text or "m": text})
    assert await store.get("sales", id) == written
    assert (await store.since(text or "s", 0, most=9, most_bytes=10**6)).rows == (written,)
    assert await store.marks() == {text or "m": text}
    if text:
        other = postgres_cloud.tenant(text)
        await other.commit([written])
        assert await other.get("sales", id) == written


@pytest.mark.parametrize("tenant", ["", "a\x00b"])
def test_a_store_has_a_tenant(postgres_cloud: PostgresCloud, tenant: str) -> None:
    with pytest.raises(Invalid):
        postgres_cloud.tenant(tenant)

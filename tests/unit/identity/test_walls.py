"""The second wall: what an SQL injection could do, which is all that the application's role may."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.contract.postgres_fixture import fresh_database
from tests.unit.identity.conftest import PASSWORD, Clock, World

from beira.identity import Identity, ServerKey, schema
from beira.identity.tenants import service
from beira.kernel.errors import Conflict
from beira.store.postgres import PostgresCloud

S = schema.SCHEMA


@pytest.fixture
async def app(world: World) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application's role, doing as it likes; nothing it does is kept."""
    connection = await asyncpg.connect(world.cloud._dsn)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await connection.close()


@pytest.fixture
async def theirs(world: World) -> str:
    """Another tenant, with everything in it."""
    tenant = await world.tenant("Bistek")
    site = await world.site(tenant)
    await world.signed_in(tenant)
    await world.node(tenant, site)
    await world.one.nodes.make_code(service(tenant), site)
    await world.one.tenants.invite(service(tenant), "new@example.com", "member")
    member = await world.signed_in(tenant, "member")
    await world.one.recovery.issue(service(tenant), member.account)
    return tenant


TENANT_TABLES = sorted(schema._TENANT_TABLES)


async def test_the_role_is_below_the_walls(app) -> None:
    row = await app.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    assert not any(row)


async def test_every_table_is_walled_or_known_to_hold_no_tenants_data(app) -> None:
    rows = await app.fetch(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AS walled FROM pg_class"
        " WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
        S,
    )
    open_tables = {r["relname"] for r in rows if not r["walled"]}
    assert open_tables == {"signing_keys", "used_once", "tries"}
    assert len(rows) == len(schema._GRANTS)


@pytest.mark.parametrize("table", [t for t in TENANT_TABLES if t != "old_keys"])
async def test_another_tenants_rows_are_not_there(world: World, app, theirs: str, table) -> None:
    mine = await world.tenant()
    await app.execute(f"SELECT set_config('beira.tenant', '{mine}', true)")
    column = schema._TENANT_TABLES[table]
    held = await app.fetchval(f"SELECT count(*) FROM {S}.{table} WHERE {column} = $1", theirs)
    assert held == 0
    everything = await app.fetchval(f"SELECT count(*) FROM {S}.{table} WHERE {column} <> $1", mine)
    assert everything == 0
    await app.execute(f"SELECT set_config('beira.tenant', '{theirs}', true)")
    assert await app.fetchval(f"SELECT count(*) FROM {S}.{table}") > 0, (
        "the test sees what is there"
    )


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_without_a_tenant_there_are_no_rows(app, theirs: str, table: str) -> None:
    column = schema._TENANT_TABLES[table]
    held = await app.fetchval(f"SELECT count(*) FROM {S}.{table} WHERE {column} <> ''")
    assert held == 0


async def test_accounts_are_seen_only_by_their_tenants_and_without_secrets(
    world: World, app, theirs: str
) -> None:
    mine = await world.tenant()
    owner = await world.owner(mine)
    await app.execute(f"SELECT set_config('beira.tenant', '{mine}', true)")
    rows = await app.fetch(f"SELECT id, email FROM {S}.accounts")
    assert [r["id"] for r in rows] == [owner.id]


FORBIDDEN = [
    "SELECT password_hash FROM accounts",
    "SELECT totp_sealed FROM accounts",
    "SELECT recovery FROM accounts",
    "SELECT * FROM accounts",
    "UPDATE accounts SET admin = true",
    "UPDATE accounts SET password_hash = 'x'",
    "INSERT INTO accounts (id, email, password_hash, created_at) VALUES ('x', 'x', 'x', 0)",
    "DELETE FROM accounts",
    "DELETE FROM audit",
    "UPDATE audit SET ok = true",
    "TRUNCATE audit",
    "UPDATE sessions SET revoked_at = NULL, expires_at = 9e9",
    "UPDATE sessions SET account = 'x'",
    "UPDATE enrol_codes SET expires_at = 9e9",
    "UPDATE enrol_codes SET mac = ''",
    "UPDATE invitations SET role = 'owner'",
    "UPDATE recoveries SET expires_at = 9e9",
    "UPDATE recoveries SET account = 'x'",
    "UPDATE accounts SET shut_at = 0",
    "UPDATE signing_keys SET sealed = ''",
    "DELETE FROM signing_keys",
    "DELETE FROM old_keys",
    "DROP TABLE tries",
    "ALTER TABLE accounts DISABLE ROW LEVEL SECURITY",
    "CREATE TABLE mine (x int)",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SET ROLE postgres",
    "ALTER ROLE beira_app SUPERUSER",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_application_may_not(app, theirs: str, statement: str) -> None:
    await app.execute(f"SET LOCAL search_path = {S}; SET LOCAL beira.tenant = '{theirs}'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(statement)


@pytest.mark.parametrize("table", ["sites", "memberships", "audit", "tenants"])
async def test_nothing_is_written_into_another_tenant(world: World, app, theirs, table) -> None:
    mine = await world.tenant()
    owner = await world.owner(mine)
    rows = {
        "sites": f"('{theirs}', 'x', 'x')",
        "memberships": f"('{theirs}', '{owner.id}', 'owner')",
        "audit": f"('{theirs}', 'x', 0, 'x', 'x', 'x', true)",
        "tenants": "('evil', 'evil', 0)",
    }
    await app.execute(f"SELECT set_config('beira.tenant', '{mine}', true)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute(f"INSERT INTO {S}.{table} VALUES {rows[table]}")


async def test_functions_that_look_across_tenants_answer_an_exact_key_only(world, app) -> None:
    await world.signed_in(await world.tenant())
    await app.execute(f"SET LOCAL search_path = {S}")
    for odd in ("%", "_", "", "' OR ''='", "person%@example.com"):
        for name in ("account_by_email", "account_by_id", "session_by_id", "tenant_of_node",
                     "tenant_of_enrol_code", "tenant_of_invitation", "person_of_session"):  # fmt: skip
            assert await app.fetch(f"SELECT * FROM {name}($1)", odd) == []


async def test_definer_functions_cannot_be_led_astray(app) -> None:
    """Their search path is fixed and ends in pg_temp, so no table of the caller's is what they read;
    and nobody but the application's role may call them. Those behind a tenant's wall have no more
    rights than whoever calls them."""
    rows = await app.fetch(
        "SELECT proname, prosecdef, proconfig, proacl::text[] AS acl FROM pg_proc"
        " WHERE pronamespace = $1::regnamespace",
        S,
    )
    walled = {signature.partition("(")[0] for signature in schema._WALLED}
    assert len(rows) == len(schema._FUNCTIONS) + len(walled)
    for row in rows:
        assert row["prosecdef"] == (row["proname"] not in walled)
        assert row["proconfig"] == [f"search_path={S}, pg_temp"]
        granted = {entry.partition("=")[0] for entry in row["acl"]}
        assert granted == {"postgres", "beira_app"}, row["proname"]


async def test_a_session_written_by_sql_opens_nothing(world: World, app) -> None:
    """Refresh tokens are MACs by a key that the database does not hold."""
    signed = await world.signed_in(await world.tenant())
    await app.execute(f"SET LOCAL search_path = {S}; SET LOCAL beira.tenant = '{signed.tenant}'")
    row = await app.fetchrow("SELECT * FROM sessions")
    stored = " ".join(str(v) for v in row.values())
    assert signed.refresh_token.split(".")[3] not in stored
    assert signed.access_token not in stored


async def test_codes_are_not_stored(world: World) -> None:
    tenant = await world.tenant()
    site = await world.site(tenant)
    code = await world.one.nodes.make_code(service(tenant), site)
    invited = await world.one.tenants.invite(service(tenant), "x@example.com", "guest")
    owner = await asyncpg.connect(world.owner_dsn)
    kept = str(await owner.fetch(f"SELECT * FROM {S}.enrol_codes WHERE tenant = $1", tenant))
    kept += str(await owner.fetch(f"SELECT * FROM {S}.invitations WHERE tenant = $1", tenant))
    await owner.close()
    assert code.code[5:] not in kept and invited.code.replace("-", "")[10:] not in kept


async def test_migrating_again_changes_nothing(world: World) -> None:
    tenant = await world.tenant()
    for _ in range(2):
        await world.cloud.migrate(schema.statements("beira_app"), schema_name=S)
    assert await world.one.tenants.sites(service(tenant)) == ()


async def test_a_database_with_one_plain_account_works_too(
    postgres_server, postgres_registry
) -> None:
    """As some hosts give: an account that owns its database and may make no role."""
    dsn, owner_dsn = await fresh_database(postgres_server)
    owner = await asyncpg.connect(owner_dsn)
    name = await owner.fetchval("SELECT current_database()")
    await owner.execute("CREATE ROLE solo LOGIN NOSUPERUSER NOCREATEROLE PASSWORD 'solo'")
    await owner.execute(f"ALTER DATABASE {name} OWNER TO solo")
    await owner.close()
    solo = re.sub(r"//[^@]+@", "//solo:solo@", dsn)
    for _ in range(2):  # and again, over what is there
        cloud = await PostgresCloud.open(solo, postgres_registry)
        identity = Identity(cloud, ServerKey(b"k" * 32), public_url="https://c", now=Clock())
        await identity.start()
        with contextlib.suppress(Conflict):
            await identity.people.create_first_owner("Loja", "o@example.com", PASSWORD)
        signed = await identity.people.sign_in("o@example.com", PASSWORD)
        assert (await identity.principal(signed.access_token)).role == "owner"
        await identity.close()
        await cloud.close()

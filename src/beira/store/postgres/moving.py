"""From one PostgreSQL to another: every row copied under a lock that keeps writers out, compared on
both sides, and the old database shut for good, all in one transaction there.

Who moves is the owner of the tables; it need not be a superuser. Nodes and people wait meanwhile:
nothing they write is lost, it only comes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from beira.kernel import limits
from beira.kernel.errors import Conflict, Corrupt, Misconfigured, Unavailable
from beira.store.postgres.failures import translated
from beira.store.postgres.schema import SCHEMA, wall_off
from beira.store.sql import quoted

MOVED_TABLE = "_moved"
PIECES = 16
"""Pieces of a copy read ahead; each is 64 KiB or so."""
Progress = Callable[[str, int, int], None]
"""Told of the table at hand, the rows copied so far and the rows there are in all."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to be copied; `tenants` are walled off from each other in it, or it is "" for all."""

    schema: str
    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    tenants: tuple[str, ...]

    @property
    def sql_name(self) -> str:
        return f"{self.schema}.{quoted(self.name)}"

    @property
    def of_tenant(self) -> str:
        """A superuser sees through walls, so rows are asked for by tenant as well."""
        return " WHERE tenant_id = $1" if self.schema == SCHEMA else ""

    @property
    def listed(self) -> str:
        return ", ".join(map(quoted, self.columns))


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved, and is equal on both sides."""

    tables: int
    rows: int


async def refuse_moved(owner: asyncpg.Connection) -> None:
    """Raise Misconfigured `database.moved` if this database was left for another one."""
    if await owner.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.{MOVED_TABLE}") is None:
        return
    to, at = await owner.fetchrow(f"SELECT moved_to, at FROM {SCHEMA}.{MOVED_TABLE}")  # noqa: S608
    raise Misconfigured(
        f"This database was moved to {to} on {at:%Y-%m-%d %H:%M} UTC.",
        code="database.moved",
        hint="Start the cloud with the new DATABASE_URL (and DATABASE_OWNER_URL).",
    )


async def move(
    source_dsn: str,
    target_dsn: str,
    identity_schema: str,
    moved_to: str,
    progress: Progress = lambda table, done, total: None,
) -> Moved:
    """Copy all of Beira's tables into a database whose tables were just made, and shut the old one.

    Both are the owners' accounts. If anything fails, the old database is as it was and serves on.

    Raises: Conflict `move.not_empty`, Misconfigured `database.moved`, Corrupt `move.differs`,
    Unavailable.
    """
    with translated():
        source = await asyncpg.connect(source_dsn, server_settings=_SETTINGS)
        try:
            target = await asyncpg.connect(target_dsn, server_settings=_SETTINGS)
            try:
                await refuse_moved(source)
                async with source.transaction(), target.transaction():
                    done = await _copy_all(source, target, identity_schema, progress)
                    await _shut(source, identity_schema, moved_to)
                return done
            finally:
                target.terminate()
        finally:
            source.terminate()


_SETTINGS = {"timezone": "UTC", "extra_float_digits": "1", "application_name": "beira move"}


async def _copy_all(
    source: asyncpg.Connection,
    target: asyncpg.Connection,
    identity_schema: str,
    progress: Progress,
) -> Moved:
    names = [(SCHEMA, name) for name in await _names(source, SCHEMA)]
    names += [(identity_schema, name) for name in await _names(source, identity_schema)]
    await _keep_writers_out(source, names)
    tables = await _tables(source, names, identity_schema)
    await _require_empty(target, identity_schema)
    await _open_walls(target, tables)
    counts = {table: await _count(source, table) for table in tables}
    done, total = 0, sum(counts.values())
    for table in await _in_order(source, tables):
        progress(table.name, done, total)
        for tenant in table.tenants:
            await _copy(source, target, table, tenant)
        await _compare(source, target, table)
        done += counts[table]
    progress("", done, total)
    await _close_walls(target, tables)
    return Moved(len(tables), done)


async def _names(connection: asyncpg.Connection, schema: str) -> list[str]:
    found = await connection.fetch(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) "
        "AND c.relkind = 'r' ORDER BY 1",
        schema,
    )
    return [name for (name,) in found if name != MOVED_TABLE]


async def _keep_writers_out(source: asyncpg.Connection, names: Iterable[tuple[str, str]]) -> None:
    """Readers go on; writers wait, and after some seconds are told to come back."""
    listed = ", ".join(f"{schema}.{quoted(name)}" for schema, name in names)
    await source.execute(f"SET LOCAL lock_timeout = '{limits.MOVE_LOCK_S}s'")
    try:
        await source.execute(f"LOCK TABLE {listed} IN SHARE MODE")
    except asyncpg.LockNotAvailableError:
        raise Unavailable(
            f"Writers did not make way within {limits.MOVE_LOCK_S} s.",
            code="move.busy",
            hint="Try again, or stop the cloud's replicas first.",
        ) from None


async def _tables(
    source: asyncpg.Connection, names: Iterable[tuple[str, str]], identity_schema: str
) -> list[Table]:
    tenants = await source.fetch(f"SELECT id FROM {identity_schema}.tenants ORDER BY id")  # noqa: S608
    every = tuple(id for (id,) in tenants)
    made = []
    for schema, name in names:
        columns = await source.fetch(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
            "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped "
            "ORDER BY a.attname",
            f"{schema}.{quoted(name)}",
        )
        made.append(
            Table(
                schema,
                name,
                tuple(column for column, _ in columns),
                tuple(kind for _, kind in columns),
                every if schema == SCHEMA else ("",),
            )
        )
    return made


async def _require_empty(target: asyncpg.Connection, identity_schema: str) -> None:
    for table in ("accounts", "tenants"):
        if await target.fetchval(f"SELECT EXISTS (SELECT FROM {identity_schema}.{table})"):  # noqa: S608
            raise Conflict(
                "The database to move to is in use by a cloud already.",
                code="move.not_empty",
                hint="Make an empty database for it.",
            )


async def _open_walls(target: asyncpg.Connection, tables: Iterable[Table]) -> None:
    """Make what only the old database has (of apps and releases that are gone), and let the owner
    write rows of every tenant, within this transaction and while nobody else uses the database."""
    for table in tables:
        there = await target.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0",
            table.sql_name,
        )
        known = {name for (name,) in there}
        columns = dict(zip(table.columns, table.types, strict=True))
        if not known:
            await _make(target, table, columns)
        for name in columns.keys() - known if known else ():
            column = f"{quoted(name)} {columns[name]}"
            await target.execute(f"ALTER TABLE {table.sql_name} ADD COLUMN {column}")
        await target.execute(f"ALTER TABLE {table.sql_name} NO FORCE ROW LEVEL SECURITY")


async def _make(target: asyncpg.Connection, table: Table, columns: dict[str, str]) -> None:
    body = [
        f"{quoted(name)} {kind}{_COLLATED if kind == 'text' else ''}"
        for name, kind in columns.items()
    ]
    body.append("PRIMARY KEY (tenant_id, id)")
    await target.execute(f"CREATE TABLE {table.sql_name} ({', '.join(body)})")
    await wall_off(target, table.name)


_COLLATED = ' COLLATE "C"'


async def _close_walls(target: asyncpg.Connection, tables: Iterable[Table]) -> None:
    for table in tables:
        walled = await target.fetchval(
            "SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass($1)", table.sql_name
        )
        if walled:
            await target.execute(f"ALTER TABLE {table.sql_name} FORCE ROW LEVEL SECURITY")


async def _in_order(source: asyncpg.Connection, tables: list[Table]) -> list[Table]:
    """Those that others refer to first."""
    found = await source.fetch(
        "SELECT r.relname, f.relname FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid "
        "JOIN pg_class f ON f.oid = c.confrelid WHERE c.contype = 'f'"
    )
    needs: dict[str, set[str]] = {}
    for name, needed in found:
        needs.setdefault(name, set()).add(needed)
    ordered: list[Table] = []
    waiting = list(tables)
    while waiting:
        placed = {table.name for table in ordered}
        ready = [t for t in waiting if needs.get(t.name, set()) - {t.name} <= placed] or waiting
        ordered += ready
        waiting = [table for table in waiting if table not in ready]
    return ordered


async def _see(connection: asyncpg.Connection, tenant: str) -> None:
    await connection.execute("SELECT set_config('beira.tenant', $1, true)", tenant)


async def _count(connection: asyncpg.Connection, table: Table) -> int:
    query = f"SELECT count(*) FROM {table.sql_name}{table.of_tenant}"  # noqa: S608
    found = [int(await _ask(connection, table, query, tenant)) for tenant in table.tenants]
    return sum(found)


async def _ask(connection: asyncpg.Connection, table: Table, query: str, tenant: str) -> Any:
    await _see(connection, tenant)
    return await connection.fetchval(query, *([tenant] if table.of_tenant else []))


async def _copy(
    source: asyncpg.Connection, target: asyncpg.Connection, table: Table, tenant: str
) -> None:
    """Stream a tenant's rows of a table from one server to the other."""
    await _see(source, tenant)
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES)

    async def read() -> None:
        try:
            await source.copy_from_query(
                f"SELECT {table.listed} FROM {table.sql_name}{table.of_tenant}",  # noqa: S608
                *([tenant] if table.of_tenant else []),
                output=pieces.put,
                format="binary",
            )
        finally:
            await pieces.put(None)

    async def given() -> AsyncIterator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    writing = target.copy_to_table(
        table.name,
        schema_name=table.schema,
        columns=table.columns,
        source=given(),
        format="binary",
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(writing)
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _compare(source: asyncpg.Connection, target: asyncpg.Connection, table: Table) -> None:
    """Rows and an order-free sum of their hashes, tenant by tenant, on both sides."""
    query = (
        f"SELECT (count(*), sum(hashtextextended(ROW({table.listed})::text, 0)::numeric))::text "  # noqa: S608
        f"FROM {table.sql_name}{table.of_tenant}"
    )
    for tenant in table.tenants:
        if await _ask(source, table, query, tenant) != await _ask(target, table, query, tenant):
            raise Corrupt(
                f"{table.name} is not the same on both sides.",
                code="move.differs",
                hint="Nothing was changed. Look at both servers' logs, and try again.",
            )


async def _shut(source: asyncpg.Connection, identity_schema: str, moved_to: str) -> None:
    """From the commit on nobody writes here: replicas still running are refused, and one that is
    started says where the data went."""
    await source.execute(
        f"CREATE TABLE {SCHEMA}.{MOVED_TABLE} (moved_to text NOT NULL, at timestamptz NOT NULL)"
    )
    at: datetime = await source.fetchval("SELECT now()")
    await source.execute(f"INSERT INTO {SCHEMA}.{MOVED_TABLE} VALUES ($1, $2)", moved_to, at)  # noqa: S608
    roles = await source.fetch(
        "SELECT DISTINCT g.grantee FROM information_schema.role_table_grants g "
        "WHERE g.table_schema = ANY($1::text[])",
        [SCHEMA, identity_schema],
    )
    for (role,) in roles:
        name = "PUBLIC" if role == "PUBLIC" else quoted(role)
        for schema in (SCHEMA, identity_schema):
            await source.execute(
                f"REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} FROM {name}"
            )
        await source.execute(
            f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {identity_schema} FROM {name}"
        )

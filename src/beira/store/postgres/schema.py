"""The cloud's tables: made from the declarations, grown additively, walled by tenant.

Every table leads its primary key with `tenant_id` and has row-level security enabled and forced, so
that a query which forgets its tenant, or a program taken over, still sees one tenant at most (law 7).
Migrations only ever add: an older and a newer release can run on one database (law 8). What a
release has no column for waits in `_extra`, and moves into its column once there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import msgspec

from beira.kernel import limits
from beira.kernel.collection import Collection, FieldType, Registry
from beira.kernel.errors import Misconfigured
from beira.kernel.record import DELETED, Value
from beira.store.postgres.codec import SQL_TYPES, Table, encoded_column
from beira.store.sql import POSTGRES, quoted

SCHEMA = "beira"
_SPELLED = {"timestamptz": "timestamp with time zone"}
_FOUND_AS = {kind: _SPELLED.get(name, name) for kind, name in SQL_TYPES.items()}
"""How the server spells the types of our columns."""
_KINDS = {name: kind for kind, name in _FOUND_AS.items()}
_OWN_COLUMNS = (
    'tenant_id text COLLATE "C" NOT NULL',
    'id text COLLATE "C" NOT NULL',
    '_partition text COLLATE "C" NOT NULL',
    '_node text COLLATE "C" NOT NULL',
    "_lane smallint NOT NULL",
    "_hlc bigint NOT NULL",
    "_stamps json",
    "_extra json",
)
_SYSTEM_TABLES = {
    "_stream_heads": (
        'tenant_id text COLLATE "C" NOT NULL, stream text COLLATE "C" NOT NULL, '
        "last bigint NOT NULL, PRIMARY KEY (tenant_id, stream)"
    ),
    "_streams": (
        'tenant_id text COLLATE "C" NOT NULL, collection text COLLATE "C" NOT NULL, '
        'id text COLLATE "C" NOT NULL, stream text COLLATE "C" NOT NULL, '
        "number bigint NOT NULL, since_hlc bigint NOT NULL, "
        "PRIMARY KEY (tenant_id, collection, id, stream), "
        "CONSTRAINT _streams__number UNIQUE (tenant_id, stream, number)"
    ),
    "_marks": (
        'tenant_id text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, '
        "value json NOT NULL, PRIMARY KEY (tenant_id, name)"
    ),
}
_MOVE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """What the database has already: columns and their SQL types by table, indices, walled tables."""

    columns: dict[str, dict[str, str]]
    indices: frozenset[str]
    walled: frozenset[str]


async def migrate(owner: asyncpg.Connection, registry: Registry, app_role: str) -> dict[str, Table]:
    """Make or grow the tables of `registry`, in one transaction, one replica at a time.

    Returns how each collection is kept, those of other releases among them.
    Raises: Misconfigured for a field whose type has changed, or one called like a column of ours.
    """
    async with owner.transaction():
        await make_schema(owner, SCHEMA, app_role)
        await owner.execute(f"SET LOCAL lock_timeout = {limits.SCHEMA_LOCK_MS}")
        found = await _look(owner)
        for name, body in _SYSTEM_TABLES.items():
            await _ensure_table(owner, found, name, body)
        for collection in registry:
            await _ensure_collection(owner, found, collection)
        role = quoted(app_role)
        await owner.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}"
        )
        found = await _look(owner)
    return _tables(found)


async def make_schema(owner: asyncpg.Connection, schema: str, app_role: str) -> None:
    """Within a transaction: wait for other migrations, make `schema` if it is not there, and let
    `app_role` read and write the rows of whatever tables this owner makes in it from now on."""
    await owner.execute("SELECT pg_advisory_xact_lock(hashtextextended('beira.migrations', 0))")
    name, role = quoted(schema), quoted(app_role)
    if await owner.fetchval("SELECT to_regnamespace($1) IS NULL", name):
        await owner.execute(f"CREATE SCHEMA {name}")
    await owner.execute(f"GRANT USAGE ON SCHEMA {name} TO {role}")
    grant = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT"
    await owner.execute(f"{grant} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}")
    await owner.execute(f"{grant} USAGE ON SEQUENCES TO {role}")


async def _look(owner: asyncpg.Connection) -> Found:
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in await owner.fetch(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) "
        "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') "
        "AND a.attnum > 0 AND NOT a.attisdropped",
        SCHEMA,
    ):
        columns.setdefault(table, {})[column] = kind
    indices = await owner.fetch("SELECT indexname FROM pg_indexes WHERE schemaname = $1", SCHEMA)
    walled = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) "
        "AND relrowsecurity AND relforcerowsecurity "
        "AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'tenant')",
        SCHEMA,
    )
    return Found(
        columns=columns,
        indices=frozenset(r[0] for r in indices),
        walled=frozenset(r[0] for r in walled),
    )


async def _ensure_table(owner: asyncpg.Connection, found: Found, name: str, body: str) -> None:
    table = f"{SCHEMA}.{quoted(name)}"
    if name not in found.columns:
        await owner.execute(f"CREATE TABLE {table} ({body})")
    if name not in found.walled:
        await wall_off(owner, name)


async def wall_off(owner: asyncpg.Connection, name: str) -> None:
    """Nobody, its owner included, sees or writes rows of another tenant than `beira.tenant`."""
    table = f"{SCHEMA}.{quoted(name)}"
    mine = "tenant_id = nullif(current_setting('beira.tenant', true), '')"
    await owner.execute(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
        f"DROP POLICY IF EXISTS tenant ON {table};"
        f"CREATE POLICY tenant ON {table} USING ({mine}) WITH CHECK ({mine})"
    )


async def _ensure_collection(
    owner: asyncpg.Connection, found: Found, collection: Collection
) -> None:
    name = collection.name
    wanted = {DELETED: FieldType.BOOLEAN} | {f.name: f.type for f in collection.fields.values()}
    if "tenant_id" in wanted:
        raise Misconfigured(
            f"{name}.tenant_id is the name of a column of the store.",
            code="schema.reserved",
            hint="Give the field another name.",
        )
    declared = ", ".join(
        (*_OWN_COLUMNS, *map(_column, wanted.items()), "PRIMARY KEY (tenant_id, id)")
    )
    await _ensure_table(owner, found, name, declared)
    present = found.columns.get(name)
    if present is not None:
        await _grow(owner, name, present, wanted)
    await _ensure_indices(owner, found, collection)


def _column(item: tuple[str, FieldType]) -> str:
    name, kind = item
    return f"{quoted(name)} {POSTGRES.column_types[kind]}"


async def _grow(
    owner: asyncpg.Connection, name: str, present: dict[str, str], wanted: dict[str, FieldType]
) -> None:
    for field, kind in wanted.items():
        if present.get(field, _FOUND_AS[kind]) != _FOUND_AS[kind]:
            raise Misconfigured(
                f"{name}.{field} is {present[field]} in the database, and declared {kind.value}.",
                code="schema.type_changed",
                hint="A field never changes its type: declare a new field under another name, "
                "or install the release whose declaration fits.",
            )
    new = {field: kind for field, kind in wanted.items() if field not in present}
    if new:
        added = ", ".join(f"ADD COLUMN {_column(item)}" for item in new.items())
        await owner.execute(f"ALTER TABLE {SCHEMA}.{quoted(name)} {added}")
        await _move_from_extra(owner, name, new)


async def _ensure_indices(owner: asyncpg.Connection, found: Found, collection: Collection) -> None:
    """One for retention, and one for the questions people ask most: what happened when."""
    moments = [f.name for f in collection.fields.values() if f.type is FieldType.TIMESTAMP]
    wanted = {"_hlc": "_hlc"} | ({"_time": moments[0]} if moments else {})
    for suffix, column in wanted.items():
        index = f"{collection.name}_{suffix}"
        if index not in found.indices:
            await owner.execute(
                f"CREATE INDEX {quoted(index)} ON {SCHEMA}.{quoted(collection.name)} "
                f"(tenant_id, {quoted(column)})"
            )


async def _move_from_extra(owner: asyncpg.Connection, name: str, new: dict[str, FieldType]) -> None:
    """Values that nodes of a newer release sent before this one knew the fields. The wall is down
    for the table's owner during this transaction only, in which nobody else reaches the table."""
    table = f"{SCHEMA}.{quoted(name)}"
    await owner.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    names = " OR ".join(f"strpos(_extra::text, '\"{field}\"') > 0" for field in new)
    page = (
        f"SELECT tenant_id, id, _extra FROM {table} "  # noqa: S608
        f"WHERE (tenant_id, id) > ($1, $2) AND _extra IS NOT NULL AND ({names}) "
        "ORDER BY tenant_id, id LIMIT $3"
    )
    last = ("", "")
    while records := await owner.fetch(page, *last, _MOVE_ROWS):
        last = (records[-1]["tenant_id"], records[-1]["id"])
        await _move(owner, table, new, records)
    await owner.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


async def _move(
    owner: asyncpg.Connection,
    table: str,
    new: dict[str, FieldType],
    records: list[asyncpg.Record],
) -> None:
    extras = [msgspec.json.decode(record["_extra"]) for record in records]
    columns = [_taken(extras, field, kind) for field, kind in new.items()]
    left = [msgspec.json.encode(extra).decode() if extra else None for extra in extras]
    sets = ", ".join(f"{quoted(field)} = u.{quoted(field)}" for field in new)
    arrays = ", ".join(
        f"${at}::{SQL_TYPES[kind]}[]" for at, kind in enumerate(new.values(), start=4)
    )
    await owner.execute(
        f"UPDATE {table} AS t SET _extra = u.e, {sets} "  # noqa: S608
        f"FROM unnest($1::text[], $2::text[], $3::json[], {arrays}) "
        f"AS u (tenant_id, id, e, {', '.join(map(quoted, new))}) "
        "WHERE t.tenant_id = u.tenant_id AND t.id = u.id",
        [record["tenant_id"] for record in records],
        [record["id"] for record in records],
        left,
        *columns,
    )


def _taken(extras: list[dict[str, Value]], field: str, kind: FieldType) -> list[Value]:
    """The column for `field`; what it holds is taken out of `extras`."""
    column, misfits = encoded_column(kind, [extra.get(field) for extra in extras])
    for at, extra in enumerate(extras):
        if at not in misfits and extra.get(field) is not None:
            del extra[field]
    return column


def _tables(found: Found) -> dict[str, Table]:
    """How each collection is kept, whichever release has put it or a column of it there."""
    own = {text.split(" ", 1)[0] for text in _OWN_COLUMNS}
    return {
        name: Table(
            name=name,
            sql_name=f"{SCHEMA}.{quoted(name)}",
            fields={
                field: _KINDS[kind]
                for field, kind in sorted(columns.items())
                if field not in own and kind in _KINDS
            },
        )
        for name, columns in found.columns.items()
        if own <= columns.keys()
    }

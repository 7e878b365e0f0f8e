"""Tables made from the declarations, and migrated by adding only.

A field that is new gets a column, filled from `_extra` where a newer neighbour's values waited; one
that is gone keeps its column and goes on working, so that a release can be taken back. A table of
an app that is gone stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import apsw

from beira.kernel.collection import Collection, FieldType, Registry
from beira.kernel.errors import Misconfigured
from beira.store.rows import Layout
from beira.store.sql import SQLITE, quoted
from beira.store.sqlite.files import APPLICATION_ID

FORMAT = 2
"""2: streams lie by their numbers, and only what may be named again is found by its id."""
_MOVED_ROWS = 500
_INTERNAL = """
CREATE TABLE IF NOT EXISTS _fields (
  collection TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
  PRIMARY KEY (collection, name)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _streams (
  stream TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL,
  number INTEGER NOT NULL, since_hlc INTEGER NOT NULL, state INTEGER NOT NULL,
  PRIMARY KEY (stream, number)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS _streams_states ON _streams (stream, collection, id) WHERE state;
CREATE TABLE IF NOT EXISTS _counters (
  stream TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _marks (
  name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""


def prepare(connection: apsw.Connection, registry: Registry) -> dict[str, Layout]:
    """Bring the file to this release's declarations, in one transaction; the layout of each table.

    Raises: Misconfigured for a field that changed its type; and what apsw raises.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for name, value in (("application_id", APPLICATION_ID), ("user_version", FORMAT)):
            if connection.pragma(name) != value:  # on a full disk too, one can start and read
                connection.pragma(name, value)
        connection.execute(_INTERNAL)
        layouts = {declared.name: _table(connection, declared) for declared in registry}
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return layouts


def check_owner(connection: apsw.Connection, path: Path) -> None:
    """Raise Misconfigured for the database of another program, or one in another format. Writes
    nothing."""
    owner, version = connection.pragma("application_id"), connection.pragma("user_version")
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if not empty and owner != APPLICATION_ID:
        raise Misconfigured(
            f"{path} is the database of another program.",
            code="store.foreign",
            hint="Choose another data folder.",
        )
    if 0 < version < FORMAT:
        raise Misconfigured(
            f"{path} was written by an older Beira (format {version}; this one knows {FORMAT}).",
            code="store.older",
            hint="Let the release that wrote it send all it holds, then enrol with a new folder.",
        )
    if version > FORMAT:
        raise Misconfigured(
            f"{path} was written by a newer Beira (format {version}; this one knows {FORMAT}).",
            code="store.newer",
            hint="Update Beira on this node.",
        )


def _table(connection: apsw.Connection, declared: Collection) -> Layout:
    _check_name(declared.name)
    query = "SELECT name, type FROM _fields WHERE collection = ?"
    known = {name: FieldType(kind) for name, kind in connection.execute(query, (declared.name,))}
    fresh = {f.name: f.type for f in declared.fields.values() if f.name not in known}
    for field in declared.fields.values():
        _check_type(declared, field.name, known.get(field.name, field.type), field.type)
    if not connection.table_exists(None, declared.name):
        _create(connection, declared.name, fresh)
    elif fresh:
        _widen(connection, declared.name, known, fresh)
    rows = [(declared.name, name, kind.value) for name, kind in fresh.items()]
    connection.executemany("INSERT INTO _fields VALUES (?, ?, ?)", rows)
    _index(connection, declared)
    return Layout(declared.name, SQLITE, known | fresh)


def _check_name(name: str) -> None:
    if name.startswith("sqlite_"):
        raise Misconfigured(
            f"A collection cannot be called {name}.", hint="SQLite keeps such names to itself."
        )


def _check_type(declared: Collection, name: str, old: FieldType, new: FieldType) -> None:
    if old is not new:
        raise Misconfigured(
            f"{declared.name}.{name} was {old.value} and is declared {new.value} now.",
            code="store.type_changed",
            hint="A field keeps its type for ever: declare a new field and fill it from the old.",
        )


def _create(connection: apsw.Connection, table: str, fields: dict[str, FieldType]) -> None:
    columns = ", ".join(_columns(fields))
    connection.execute(
        f"CREATE TABLE {quoted(table)} (id TEXT PRIMARY KEY NOT NULL, _partition TEXT NOT NULL, "
        "_hlc INTEGER NOT NULL, _lane INTEGER NOT NULL, _node TEXT NOT NULL, _deleted INTEGER, "
        f"_stamps TEXT, _extra TEXT{', ' + columns if columns else ''}) STRICT"
    )


def _columns(fields: dict[str, FieldType]) -> Iterable[str]:
    return (f"{quoted(name)} {SQLITE.column_types[kind]}" for name, kind in fields.items())


def _widen(
    connection: apsw.Connection,
    table: str,
    known: dict[str, FieldType],
    fresh: dict[str, FieldType],
) -> None:
    """Add columns. Rows there already do not have the fields, unless `_extra` held them."""
    for column in _columns(fresh):
        connection.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {column}")
    absent = ", ".join(f"'$.{name}', NULL" for name in fresh)
    connection.execute(
        f"UPDATE {quoted(table)} SET _stamps = json_set(coalesce(_stamps, '{{}}'), {absent}) "  # noqa: S608
        "WHERE _extra IS NULL"
    )
    old, new = Layout(table, SQLITE, known), Layout(table, SQLITE, known | fresh)
    select = (
        f"{select_sql(old)} WHERE _extra IS NOT NULL AND id > ? ORDER BY id LIMIT {_MOVED_ROWS}"
    )
    last = ""
    while rows := [old.unpack(values) for values in connection.execute(select, (last,))]:
        connection.executemany(upsert_sql(new), [new.pack(row) for row in rows])
        last = rows[-1].id


def select_sql(layout: Layout) -> str:
    """All columns of a layout, from its table as `t`."""
    listed = ", ".join(f"t.{quoted(name)}" for name in layout.names)
    return f"SELECT {listed} FROM {quoted(layout.collection)} AS t"  # noqa: S608


def insert_sql(layout: Layout) -> str:
    """Insert a packed row, or do nothing where there is one."""
    return f"{_insert(layout)} ON CONFLICT (id) DO NOTHING"


def upsert_sql(layout: Layout) -> str:
    """Put a packed row in the place of what was there."""
    sets = ", ".join(f"{quoted(n)} = excluded.{quoted(n)}" for n in layout.names if n != "id")
    return f"{_insert(layout)} ON CONFLICT (id) DO UPDATE SET {sets}"


def _insert(layout: Layout) -> str:
    listed = ", ".join(map(quoted, layout.names))
    marks = ", ".join("?" * len(layout.names))
    return f"INSERT INTO {quoted(layout.collection)} ({listed}) VALUES ({marks})"  # noqa: S608


def _index(connection: apsw.Connection, declared: Collection) -> None:
    """The partition has none: a node's rows share one or two, and it would mislead the planner."""
    table = declared.name
    _ensure(connection, table, "_hlc", "_hlc")
    for field in declared.fields.values():
        if field.type is FieldType.TIMESTAMP and not field.nullable:
            _ensure(connection, table, field.name, f"{quoted(field.name)}, id")


def _ensure(connection: apsw.Connection, table: str, name: str, columns: str) -> None:
    """The dot in an index's name keeps `a_b` of `c` and `b` of `c_a` apart."""
    index = quoted(f"{table}.{name}")
    connection.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {quoted(table)} ({columns})")

"""What can still be read of a damaged database, put into a new one.

SQLite reads a table in order and gives up at the first bad page. So a table is read from both ends
first; what lies between is asked for row by row, by the numbers that the index of its ids still knows.
Rows whose own page is gone are lost; all others are kept, with the log of what the cloud lacks. The
damaged file is only read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from beira.kernel.collection import Registry
from beira.kernel.errors import Corrupt
from beira.store.sql import quoted
from beira.store.sqlite import files
from beira.store.sqlite.rewriting import finish_swap, put_in_place_of_both
from beira.store.sqlite.schema import check_owner

_BATCH = 1_000
_UNREADABLE = (apsw.CorruptError, apsw.IOError, apsw.NotADBError, UnicodeDecodeError)
LOG = "_streams"
MARKS = "_marks"
COUNTERS = "_counters"
FIELDS = "_fields"
_LEAP = 1_000_000_000
"""How far numbers go on beyond the last one known, where it is not certain which was given last."""


class Salvaged(msgspec.Struct, kw_only=True):
    """What was saved. `damaged` names the tables of which something is missing; `unsent_lost` counts
    rows that the cloud did not have yet and that could not be read."""

    rows: int = 0
    damaged: tuple[str, ...] = ()
    unsent_lost: int = 0

    @property
    def log_whole(self) -> bool:
        """Whether it is certain which rows the cloud lacks."""
        return LOG not in self.damaged and COUNTERS not in self.damaged


def salvage(path: Path, key: bytes | None, into: Path, registry: Registry) -> Salvaged:
    """Read what can be read of `path` into the new database `into`; call it within `alone`.

    Raises: Corrupt `store.lost` if nothing can; Misconfigured for another program's file; Full.
    """
    _remove(into)  # of a try that was cut short
    finish_swap(path)
    source: apsw.Connection | None = None
    target: apsw.Connection | None = None
    found: Salvaged | None = None
    try:
        source = files.connect(path, key, writer=False)
        source.pragma("cell_size_check", True)
        check_owner(source, path)
        os.close(os.open(into, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        target = files.connect(into, key, writer=True)
        found = _copied(source, target, registry)
    except _UNREADABLE as error:
        raise Corrupt(
            f"Nothing of {path} can be read: {error}.",
            code="store.lost",
            hint="Put back a backup; or move the file away and enrol again with --again: what the "
            "cloud has comes back.",
        ) from error
    except (apsw.Error, OSError) as error:
        raise files.explained(error, into) from error
    finally:
        if source is not None:
            files.close_untouched(source)
        if target is not None:
            target.close(True)
        if found is None:
            _remove(into)
    return found


def _remove(database: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def written_by(path: Path, key: bytes | None, collection: str, node: str) -> list[str]:
    """The ids of rows in which a node wrote something, deleted ones too."""
    connection = files.connect(path, key, writer=False)
    try:
        found = connection.execute(
            f"SELECT id FROM {quoted(collection)} AS t WHERE _node = ?1 OR EXISTS "  # noqa: S608
            "(SELECT 1 FROM json_each(t._stamps) AS s WHERE json_extract(s.value, '$[2]') = ?1) "
            "ORDER BY _hlc, id",
            (node,),
        )
        return [str(id) for (id,) in found]
    finally:
        connection.close(True)


def replace(path: Path, repaired: Path, aside: Path) -> None:
    """Keep the damaged database as `aside`, and put the repaired one in its place."""
    for ending in ("", "-wal"):
        old = path.with_name(path.name + ending)
        if old.exists():
            kept = aside.with_name(aside.name + ending)
            try:
                os.link(old, kept)
            except OSError:  # a file system without links
                shutil.copy2(old, kept)
    put_in_place_of_both(repaired, path)


def _copied(source: apsw.Connection, target: apsw.Connection, registry: Registry) -> Salvaged:
    made = source.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL "
        "AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY type DESC, name"
    ).fetchall()
    target.pragma("auto_vacuum", "incremental")
    for name in ("application_id", "user_version"):
        target.pragma(name, source.pragma(name))
    target.execute("BEGIN")
    found, damaged = Salvaged(), set[str]()
    for _, _, sql in made:
        target.execute(str(sql))
    tables = [str(name) for kind, name, _ in made if kind == "table"]
    for table in tables:
        rows, whole = _copy(source, target, table)
        found.rows += rows
        if not whole:
            damaged.add(table)
    if FIELDS in damaged:
        _declare(target, registry)
    found.damaged = tuple(sorted(damaged))
    found.unsent_lost = _unname(target, tables)
    if damaged & {LOG, COUNTERS}:
        _leap(target)
    target.execute("COMMIT")
    return found


def _copy(source: apsw.Connection, target: apsw.Connection, table: str) -> tuple[int, bool]:
    """Copy a table; how many rows, and whether it is all of them."""
    columns = [row[1] for row in source.execute(f"PRAGMA table_info({quoted(table)})")]
    listed = ", ".join(map(quoted, columns))
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT OR IGNORE INTO {quoted(table)} ({listed}) VALUES ({marks})"  # noqa: S608
    reading = _Reading(source, table, listed)
    rows = 0
    for values in reading.rows():
        try:
            target.execute(insert, values)
            rows += target.changes()
        except (apsw.ConstraintError, apsw.MismatchError):  # a page that was another's
            reading.whole = False
    return rows, reading.whole


class _Reading:
    """Reads one table as far as it can be read. `whole` says afterwards whether that was all."""

    def __init__(self, source: apsw.Connection, table: str, listed: str) -> None:
        self._source, self._table, self._listed = source, quoted(table), listed
        self.whole = self._looks_whole()
        self._has_rowid = not source.execute(
            "SELECT wr FROM pragma_table_list WHERE name = ?", (table,)
        ).get
        self._key = [
            quoted(row[1])
            for row in sorted(source.execute(f"PRAGMA table_info({quoted(table)})"), key=_of_key)
            if row[5]
        ]

    def _looks_whole(self) -> bool:
        """A few wrong bits can hide rows without any read failing."""
        try:
            said = self._source.execute(f"PRAGMA quick_check({self._table})").get
            return bool(said == "ok")
        except _UNREADABLE:
            return False

    def rows(self) -> Iterator[tuple[Any, ...]]:
        if not self._has_rowid:
            yield from self._from_both_ends(", ".join(self._key))
            return
        seen: set[int] = set()
        for number, *values in self._from_both_ends("rowid"):
            if number not in seen:
                seen.add(number)
                yield tuple(values)
        if not self.whole:
            yield from self._one_by_one(seen)

    def _from_both_ends(self, key: str) -> Iterator[tuple[Any, ...]]:
        columns = f"rowid, {self._listed}" if self._has_rowid else self._listed
        query = f"SELECT {columns} FROM {self._table} NOT INDEXED"  # noqa: S608
        backwards = ", ".join(f"{part} DESC" for part in key.split(", "))
        for order in (key, backwards):
            if order == backwards and self.whole:
                return
            yield from self._until_it_breaks(f"{query} ORDER BY {order}")

    def _until_it_breaks(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        try:
            yield from self._source.execute(query, values)
        except _UNREADABLE:
            self.whole = False

    def _one_by_one(self, seen: set[int]) -> Iterator[tuple[Any, ...]]:
        """The rows between, by what the index of their ids knows."""
        known: set[int] = set()
        for order in ("", " DESC"):
            key = self._key[0]
            query = f"SELECT {key}, rowid FROM {self._table} ORDER BY {key}{order}"  # noqa: S608
            known |= {number for _, number in self._until_it_breaks(query)}
        one = f"SELECT {self._listed} FROM {self._table} WHERE rowid = ?"  # noqa: S608
        for number in sorted(known - seen):
            yield from self._until_it_breaks(one, (number,))


def _of_key(row: Any) -> int:
    return int(row[5])


def _unname(target: apsw.Connection, tables: list[str]) -> int:
    """Take out of the log what names rows that are gone. Returns how many."""
    gone = 0
    for table in tables:
        if not table.startswith("_"):
            target.execute(
                f"DELETE FROM {LOG} WHERE collection = ? "  # noqa: S608
                f"AND id NOT IN (SELECT id FROM {quoted(table)})",
                (table,),
            )
            gone += target.changes()
    return gone


def _declare(target: apsw.Connection, registry: Registry) -> None:
    """Say again of which type the columns are that this release declares."""
    for declared in registry:
        there = {row[1] for row in target.execute(f"PRAGMA table_info({quoted(declared.name)})")}
        for field in declared.fields.values():
            if field.name in there:
                said = (declared.name, field.name, field.type.value)
                target.execute(f"INSERT OR IGNORE INTO {FIELDS} VALUES (?, ?, ?)", said)  # noqa: S608


def _leap(target: apsw.Connection) -> None:
    """Let each stream go on with numbers that surely were never given."""
    target.execute(
        f"INSERT INTO {COUNTERS} SELECT stream, max(number) FROM {LOG} WHERE true "  # noqa: S608
        "GROUP BY stream ON CONFLICT DO UPDATE SET last = max(last, excluded.last)"
    )
    target.execute(f"UPDATE {COUNTERS} SET last = last + {_LEAP}")  # noqa: S608

"""Reading a stream: in columns where its rows are plain and of one collection, as nearly all that a
node sends are, and row by row otherwise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any, NamedTuple

import apsw
import msgspec

from beira.kernel.batch import Block, Group, cut, group_of
from beira.kernel.collection import FieldType, Registry
from beira.kernel.record import Row, Value
from beira.store.port import Slice
from beira.store.rows import Layout, sent_since
from beira.store.sql import SQLITE, quoted, shortest

STEP_ROWS = 200
"""Rows looked up at a time, so that a few large ones do not fill the memory."""
STEP_ROWS_MOST = 1_000
_ROW_BYTES = 48
_ID_BYTES = 64
_NEXT = """(
SELECT number, collection FROM _streams WHERE stream = ? AND number > ?
AND collection IN (SELECT value FROM json_each(?)) ORDER BY number LIMIT ?)
"""
_NEXT_ALIKE = """
SELECT count(*), max(number), min(collection), max(collection) FROM (
SELECT number, collection FROM _streams WHERE stream = ? AND number > ? ORDER BY number LIMIT ?)
"""
"""Nearly always all are of one collection that is known: to find that out is the cheaper question."""
_JOINED = """
FROM _streams AS s CROSS JOIN {} AS t ON t.id = s.id
WHERE s.stream = ? AND s.number > ? AND s.number <= ? AND s.collection = ?
"""
_WHOLE_SECOND = ".000000Z"


class _Found(NamedTuple):
    """Entries of one collection, or one entry: their numbers, and their rows, in columns or as each lies
    in the table with its since_hlc before it."""

    collection: str
    numbers: Sequence[int]
    packed: Sequence[tuple[Any, ...]]
    group: Group | None = None

    def first(self, count: int) -> _Found:
        """The first of them only."""
        if count == len(self.numbers):
            return self
        group = None if self.group is None else cut(self.group, count)
        return _Found(self.collection, self.numbers[:count], self.packed[:count], group)


class _Entries(NamedTuple):
    """The next entries of a stream: how many, after and up to which number, of which collections."""

    size: int
    after: int
    upto: int
    collections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SliceReader:
    """Reads slices on any connection. `known` is the collections declared, as JSON."""

    registry: Registry
    layouts: Mapping[str, Layout]
    known: str

    def read(
        self,
        connection: apsw.Connection,
        stream: str,
        after: int,
        *,
        whole: bool,
        most: int,
        most_bytes: int,
    ) -> Slice:
        """As `Store.since` describes it. Reads on in steps until a bound is met or the stream ends."""
        found: list[_Found] = []
        upto, count, used, step_rows, more = after, 0, 0, STEP_ROWS, True
        while more and count < most:
            step = self._step(connection, stream, upto, min(step_rows, most - count))
            for part in step:
                fitting, used = _fitting(part, used, most_bytes, least=0 if count else 1)
                if fitting > 0:
                    found.append(part.first(fitting))
                    count += fitting
                    upto = part.numbers[fitting - 1]
                if fitting < len(part.numbers):
                    rows = self._rows(found, whole)
                    return Slice(stream=stream, after=after, upto=upto, rows=rows, more=True)
            more = bool(step)
            width = max(1, used // max(1, count))
            step_rows = min(STEP_ROWS_MOST, max(STEP_ROWS, (most_bytes - used) // width + 1))
        more = more and self._next(connection, stream, upto, 1) is not None
        if not more:
            upto = max(upto, last_number(connection, stream))
        rows = self._rows(found, whole)
        return Slice(stream=stream, after=after, upto=upto, rows=rows, more=more)

    def _next(
        self, connection: apsw.Connection, stream: str, after: int, most: int
    ) -> _Entries | None:
        count, upto, first, last = connection.execute(_NEXT_ALIKE, (stream, after, most)).get
        if not count:
            return None
        if first == last and first in self.layouts:
            return _Entries(count, after, upto, (first,))
        count, upto = connection.execute(
            f"SELECT count(*), max(number) FROM {_NEXT}",  # noqa: S608
            (stream, after, self.known, most),
        ).get
        if not count:
            return None
        names = connection.execute(
            f"SELECT json_group_array(DISTINCT collection) FROM {_NEXT}",  # noqa: S608
            (stream, after, self.known, most),
        ).get
        return _Entries(count, after, upto, tuple(sorted(msgspec.json.decode(names))))

    def _step(
        self, connection: apsw.Connection, stream: str, after: int, most: int
    ) -> Sequence[_Found]:
        """The next entries of a stream with their rows: one look-up a collection."""
        entries = self._next(connection, stream, after, most)
        if entries is None:
            return ()
        if len(entries.collections) == 1:
            alike = self._alike(connection, stream, entries)
            if alike is not None:
                return (alike,)
        found = [self._packed(connection, stream, entries, name) for name in entries.collections]
        if len(found) == 1:
            return found
        single = [
            _Found(part.collection, (number,), (packed,))
            for part in found
            for number, packed in zip(part.numbers, part.packed, strict=True)
        ]
        return sorted(single, key=lambda part: part.numbers[0])

    def _packed(
        self, connection: apsw.Connection, stream: str, entries: _Entries, collection: str
    ) -> _Found:
        listed = ", ".join(f"t.{quoted(name)}" for name in self.layouts[collection].names)
        rows: list[tuple[Any, ...]] = connection.execute(
            f"SELECT s.number, s.since_hlc, {listed} {_JOINED.format(quoted(collection))} "
            "ORDER BY s.number",
            (stream, entries.after, entries.upto, collection),
        ).fetchall()
        return _Found(collection, [row[0] for row in rows], [row[1:] for row in rows])

    def _alike(self, connection: apsw.Connection, stream: str, entries: _Entries) -> _Found | None:
        """The rows in columns; None if any has a stamp or a value beside its columns, is deleted, or
        differs from the first in partition, lane or node. Rows that are alike are always sent whole:
        nothing in them is older than the rest. What they have in common is read once."""
        collection = entries.collections[0]
        layout = self.layouts[collection]
        given = (stream, entries.after, entries.upto, collection)
        joined = _JOINED.format(quoted(collection))
        shared = connection.execute(
            f"SELECT t._partition, t._lane, t._node {joined} ORDER BY s.number LIMIT 1",
            given,
        ).fetchone()
        if shared is None or not layout.columns:
            return None
        listed = ", ".join(f"t.{quoted(name)}" for name, _ in layout.columns)
        rows = connection.execute(
            f"SELECT s.number, t.id, t._hlc, {listed} {joined} AND t._stamps IS NULL "
            "AND t._extra IS NULL AND t._deleted IS NULL "
            "AND t._partition = ? AND t._lane = ? AND t._node = ? ORDER BY s.number",
            (*given, *shared),
        ).fetchall()
        if len(rows) < entries.size:
            return None
        columns: list[list[Any]] = [*map(list, zip(*rows, strict=True))]
        numbers, ids, hlcs = columns[:3]
        partition, lane, node = shared
        group = group_of(
            collection,
            [name for name, _ in layout.columns],
            ids=ids,
            hlcs=hlcs,
            lanes=(lane,),
            nodes=(node,),
            partitions=(partition,),
            columns=[
                _decoded(kind, column)
                for (_, kind), column in zip(layout.columns, columns[3:], strict=True)
            ],
        )
        return _Found(collection, numbers, (), group)

    def _rows(self, found: list[_Found], whole: bool) -> Sequence[Row]:
        groups = [part.group for part in found if part.group is not None]
        if 0 < len(groups) == len(found):
            block = reduce(Block.joined, (Block([group]) for group in groups))
            if len(block.groups) == 1:
                return block
        rows: list[Row] = []
        for part in found:
            if part.group is not None:
                rows += Block([part.group])
            for since_hlc, *values in part.packed:
                row = self.layouts[part.collection].unpack(values)
                registered = self.registry[part.collection]
                rows.append(row if whole else sent_since(registered, row, since_hlc))
        return tuple(rows)


def _fitting(part: _Found, used: int, most_bytes: int, *, least: int) -> tuple[int, int]:
    """How many of the entries there is room for, `least` at least, and how many bytes are used with
    them. Nearly always it is all of them, which one look tells."""
    size = len(part.numbers)
    columns = part.packed if part.group is None else part.group.columns
    whole = used + len(msgspec.json.encode(columns)) + _ROW_BYTES * size
    if part.group is not None:
        whole += _ID_BYTES * size
    if whole <= most_bytes:
        return size, whole
    rows = part.packed if part.group is None else zip(*part.group.columns, strict=True)
    sizes = list(accumulate(map(_weight, rows), initial=used))
    fitting = max(least, bisect_right(sizes, most_bytes) - 1)
    return fitting, sizes[fitting]


def _weight(row: Any) -> int:
    return len(msgspec.json.encode(row)) + _ROW_BYTES + _ID_BYTES


def last_number(connection: apsw.Connection, stream: str) -> int:
    """The last number a stream has given."""
    query = "SELECT last FROM _counters WHERE stream = ?"
    found: tuple[Any, ...] | None = connection.execute(query, (stream,)).fetchone()
    return 0 if found is None else int(found[0])


def _decoded(kind: FieldType, column: list[Any]) -> list[Value]:
    """A column's values, as `SqliteDialect.decode` gives each."""
    decode = _DECODERS.get(kind)
    if decode is None:
        return column
    if kind is FieldType.TIMESTAMP and None not in column:
        return [
            text[:-8] + "Z" if text[-8:] == _WHOLE_SECOND else shortest(text) for text in column
        ]
    return [None if value is None else decode(value) for value in column]


def _moment(text: str) -> str:
    return text[:-8] + "Z" if text.endswith(_WHOLE_SECOND) else shortest(text)


_DECODERS: dict[FieldType, Callable[[Any], Value]] = {
    FieldType.TIMESTAMP: _moment,
    FieldType.BOOLEAN: bool,
    FieldType.JSON: lambda text: SQLITE.decode(FieldType.JSON, text),
}

"""Reading a stream: in columns where its rows are plain and of one collection, as nearly all that a
node sends are, and row by row otherwise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import apsw
import msgspec

from beira.kernel.batch import Block, group_of
from beira.kernel.collection import FieldType, Registry
from beira.kernel.record import Row, Value
from beira.store.port import Slice
from beira.store.rows import META, Layout, sent_since
from beira.store.sql import SQLITE, quoted, shortest

STEP_ROWS = 200
"""Rows looked up at a time, so that a few large ones do not fill the memory."""
STEP_ROWS_MOST = 1_000
_ROW_BYTES = 48
_WHOLE_SECOND = ".000000Z"


class _Found(NamedTuple):
    """Entries of one collection, or one entry: each its number, its since_hlc, and its row as it lies
    in the table."""

    collection: str
    packed: list[tuple[Any, ...]]


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
            for collection, packed in step:
                fitting, used = _fitting(packed, used, most_bytes, least=0 if count else 1)
                if fitting > 0:
                    found.append(_Found(collection, packed[:fitting]))
                    count += fitting
                    upto = packed[fitting - 1][0]
                if fitting < len(packed):
                    rows = self._rows(found, whole)
                    return Slice(stream=stream, after=after, upto=upto, rows=rows, more=True)
            more = bool(step)
            width = max(1, used // max(1, count))
            step_rows = min(STEP_ROWS_MOST, max(STEP_ROWS, (most_bytes - used) // width + 1))
        if not more:
            upto = max(upto, last_number(connection, stream))
        elif not self._step(connection, stream, upto, 1):
            more = False
        rows = self._rows(found, whole)
        return Slice(stream=stream, after=after, upto=upto, rows=rows, more=more)

    def _step(
        self, connection: apsw.Connection, stream: str, after: int, most: int
    ) -> list[_Found]:
        """The next entries of a stream with their rows: one look-up a collection."""
        upto, names = connection.execute(
            "SELECT max(number), json_group_array(DISTINCT collection) FROM ("
            "SELECT number, collection FROM _streams WHERE stream = ? AND number > ? "
            "AND collection IN (SELECT value FROM json_each(?)) ORDER BY number LIMIT ?)",
            (stream, after, self.known, most),
        ).get
        found: list[_Found] = []
        for collection in sorted(msgspec.json.decode(names)):
            listed = ", ".join(f"t.{quoted(name)}" for name in self.layouts[collection].names)
            rows = connection.execute(
                f"SELECT s.number, s.since_hlc, {listed} FROM _streams AS s "  # noqa: S608
                f"CROSS JOIN {quoted(collection)} AS t ON t.id = s.id WHERE s.stream = ? "
                "AND s.number > ? AND s.number <= ? AND s.collection = ? ORDER BY s.number",
                (stream, after, upto, collection),
            ).fetchall()
            found.append(_Found(collection, rows))
        if len(found) == 1:
            return found
        single = [_Found(name, [entry]) for name, packed in found for entry in packed]
        return sorted(single, key=lambda item: item.packed[0][0])

    def _rows(self, found: list[_Found], whole: bool) -> Sequence[Row]:
        if len({collection for collection, _ in found}) == 1:
            entries = [entry for _, packed in found for entry in packed]
            block = _block(self.layouts[found[0].collection], entries)
            if block is not None:
                return block
        rows: list[Row] = []
        for collection, packed in found:
            for _, since_hlc, *values in packed:
                row = self.layouts[collection].unpack(values)
                rows.append(row if whole else sent_since(self.registry[collection], row, since_hlc))
        return tuple(rows)


def _fitting(
    packed: list[tuple[Any, ...]], used: int, most_bytes: int, *, least: int
) -> tuple[int, int]:
    """How many of the entries there is room for, `least` at least, and how many bytes are used with
    them. Nearly always it is all of them, which one look tells."""
    whole = used + len(msgspec.json.encode(packed)) + _ROW_BYTES * len(packed)
    if whole <= most_bytes:
        return len(packed), whole
    sizes = list(accumulate(map(_weight, packed), initial=used))
    fitting = max(least, bisect_right(sizes, most_bytes) - 1)
    return fitting, sizes[fitting]


def _weight(entry: tuple[Any, ...]) -> int:
    return len(msgspec.json.encode(entry)) + _ROW_BYTES


def last_number(connection: apsw.Connection, stream: str) -> int:
    """The last number a stream has given."""
    query = "SELECT last FROM _counters WHERE stream = ?"
    found: tuple[Any, ...] | None = connection.execute(query, (stream,)).fetchone()
    return 0 if found is None else int(found[0])


def _block(layout: Layout, packed: list[tuple[Any, ...]]) -> Block | None:
    """The rows in columns; None if any has a stamp or a value beside its columns, or is deleted.
    Such rows are always sent whole: nothing in them is older than the rest."""
    _, _, ids, partitions, hlcs, lanes, nodes, deleted, stamps, extras, *columns = zip(
        *packed, strict=True
    )
    if not columns or {*deleted, *stamps, *extras} != {None}:
        return None
    kinds = [kind for _, kind in layout.columns]
    group = group_of(
        layout.collection,
        list(layout.names[len(META) :]),
        ids=list(ids),
        hlcs=hlcs,
        lanes=lanes,
        nodes=nodes,
        partitions=partitions,
        columns=[_decoded(kind, column) for kind, column in zip(kinds, columns, strict=True)],
    )
    return Block([group])


def _decoded(kind: FieldType, column: Sequence[Any]) -> list[Value]:
    """A column's values, as `SqliteDialect.decode` gives each."""
    decode = _DECODERS.get(kind)
    if decode is None:
        return list(column)
    if kind is FieldType.TIMESTAMP and None not in column:
        return [*map(_moment, column)]
    return [None if value is None else decode(value) for value in column]


def _moment(text: str) -> str:
    return text[:-8] + "Z" if text.endswith(_WHOLE_SECOND) else shortest(text)


_DECODERS: dict[FieldType, Callable[[Any], Value]] = {
    FieldType.TIMESTAMP: _moment,
    FieldType.BOOLEAN: bool,
    FieldType.JSON: lambda text: SQLITE.decode(FieldType.JSON, text),
}

"""Streams and marks in SQL. Every function runs within its caller's transaction.

A stream's head is locked from numbering until the commit, so its numbers become visible in order:
whoever has read up to a number has seen all that will ever be at or below it. Locks are always
taken in one order (partitions and marks, rows, heads by name), so that commits never wait in a ring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import msgspec

from beira.kernel.contest import Contest
from beira.kernel.errors import Conflict
from beira.kernel.record import Value
from beira.store.port import Pending, Route


class Entry(NamedTuple):
    """One record named in a stream; `since_hlc` is the smallest stamp of what has changed in it."""

    number: int
    collection: str
    id: str
    since_hlc: int


@dataclass(slots=True)
class Names:
    """Records to be named in a stream, in this order."""

    collections: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    since_hlcs: list[int] = field(default_factory=list)

    def add(self, collection: str, ids: Sequence[str], since_hlcs: Sequence[int]) -> None:
        self.collections += [collection] * len(ids)
        self.ids += ids
        self.since_hlcs += since_hlcs


_HEADS = """
INSERT INTO beira._stream_heads AS h (tenant_id, stream, last)
SELECT $1::text, u.* FROM unnest($2::text[], $3::bigint[]) AS u
ON CONFLICT (tenant_id, stream) DO UPDATE SET last = h.last + excluded.last
RETURNING stream, last
"""
_NAME = """
INSERT INTO beira._streams AS s (tenant_id, collection, id, stream, number, since_hlc)
SELECT $1::text, u.* FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[]) AS u
ON CONFLICT (tenant_id, collection, id, stream) DO UPDATE
SET number = excluded.number, since_hlc = least(s.since_hlc, excluded.since_hlc)
"""
_ENTRIES = """
SELECT number, collection, id, since_hlc FROM beira._streams
WHERE tenant_id = $1 AND stream = $2 AND number > $3 ORDER BY number LIMIT $4
"""
_LAST = "SELECT last FROM beira._stream_heads WHERE tenant_id = $1 AND stream = $2"
_PENDING = """
SELECT count(*), min(since_hlc) FROM beira._streams WHERE tenant_id = $1 AND stream = $2
"""
_MARKS = """
SELECT name, value FROM beira._marks
WHERE tenant_id = $1 AND name >= $2 AND name < $3 AND starts_with(name, $2) ORDER BY name
"""
_LOOK = """
SELECT m.name, m.value, NULL::bigint AS last FROM unnest($2::text[], $3::text[]) AS u (first, beyond)
JOIN beira._marks AS m ON m.tenant_id = $1 AND m.name >= u.first AND m.name < u.beyond
UNION ALL
SELECT h.stream, NULL, h.last FROM unnest($4::text[]) AS s (stream)
JOIN beira._stream_heads AS h ON h.tenant_id = $1 AND h.stream = s.stream
"""
_BEYOND = "\U0010ffff"
"""After whatever follows a prefix, in the order of bytes: so the index is asked, not each mark."""
_SET_MARKS = """
INSERT INTO beira._marks (tenant_id, name, value)
SELECT $1::text, u.* FROM unnest($2::text[], $3::json[]) AS u
ON CONFLICT (tenant_id, name) DO UPDATE SET value = excluded.value
"""
_DEMAND = """
WITH put AS (
  INSERT INTO beira._marks (tenant_id, name, value)
  SELECT $1::text, u.* FROM unnest($3::text[], $4::json[]) AS u
  ON CONFLICT (tenant_id, name) DO UPDATE SET value = excluded.value
), gone AS (
  DELETE FROM beira._marks WHERE tenant_id = $1 AND name = ANY($5::text[])
)
SELECT name, value FROM beira._marks WHERE tenant_id = $1 AND name = ANY($2::text[])
"""
"""All parts of a statement see what was there before it."""


async def name(connection: asyncpg.Connection, tenant: str, routed: Mapping[str, Names]) -> None:
    """Name records in their streams, in the order given."""
    if not routed:
        return
    streams = sorted(routed)
    counts = [len(routed[stream].ids) for stream in streams]
    lasts = dict(map(tuple, await connection.fetch(_HEADS, tenant, streams, counts)))
    for stream in streams:
        names = routed[stream]
        count = len(names.ids)
        await connection.execute(
            _NAME,
            tenant,
            names.collections,
            names.ids,
            [stream] * count,
            list(range(lasts[stream] - count + 1, lasts[stream] + 1)),
            names.since_hlcs,
        )


async def last(connection: asyncpg.Connection, tenant: str, stream: str, *, lock: bool) -> int:
    """The greatest number given in `stream` (0: none); `lock` keeps it so until the commit."""
    found = await connection.fetchval(_LAST + (" FOR UPDATE" if lock else ""), tenant, stream)
    return int(found or 0)


async def entries(
    connection: asyncpg.Connection, tenant: str, stream: str, after: int, most: int
) -> list[Entry]:
    found = await connection.fetch(_ENTRIES, tenant, stream, after, most)
    return [Entry(*record) for record in found]


async def numbered(
    connection: asyncpg.Connection, tenant: str, met: Sequence[Contest], route: Route | None
) -> list[Contest]:
    """Contests with the place of their rows in the feed, as it is before they are named anew."""
    if route is None or not met:
        return list(met)
    keys = {(contest.collection, contest.id) for contest in met}
    found = await connection.fetch(
        "SELECT s.collection, s.id, max(s.number) FROM beira._streams AS s "
        "JOIN unnest($2::text[], $3::text[]) AS u (collection, id) "
        "ON s.collection = u.collection AND s.id = u.id WHERE s.tenant_id = $1 GROUP BY 1, 2",
        tenant,
        [collection for collection, _ in keys],
        [id for _, id in keys],
    )
    numbers = {(collection, id): number for collection, id, number in found}
    return [msgspec.structs.replace(c, number=numbers.get((c.collection, c.id), 0)) for c in met]


async def trim(connection: asyncpg.Connection, tenant: str, stream: str, upto: int) -> None:
    await last(connection, tenant, stream, lock=True)
    await connection.execute(
        "DELETE FROM beira._streams WHERE tenant_id = $1 AND stream = $2 AND number <= $3",
        tenant,
        stream,
        upto,
    )


async def pending(connection: asyncpg.Connection, tenant: str, stream: str) -> Pending:
    count, oldest = await connection.fetchrow(_PENDING, tenant, stream)
    end = await last(connection, tenant, stream, lock=False)
    return Pending(count=count, oldest_hlc=oldest, last=end)


async def marks(connection: asyncpg.Connection, tenant: str, prefix: str) -> dict[str, Value]:
    found = await connection.fetch(_MARKS, tenant, prefix, prefix + _BEYOND)
    return {name: msgspec.json.decode(value) for name, value in found}


async def look(
    connection: asyncpg.Connection, tenant: str, prefixes: Sequence[str], streams: Sequence[str]
) -> tuple[dict[str, Value], dict[str, int]]:
    """Marks by prefixes and the ends of streams, in one statement: so they are of one moment."""
    beyond = [prefix + _BEYOND for prefix in prefixes]
    found = await connection.fetch(_LOOK, tenant, list(prefixes), beyond, list(streams))
    marks = {name: msgspec.json.decode(value) for name, value, last in found if last is None}
    ends = dict.fromkeys(streams, 0)
    ends.update((name, last) for name, _, last in found if last is not None)
    return marks, ends


async def demand(
    connection: asyncpg.Connection,
    tenant: str,
    expect: Mapping[str, Value],
    marks: Mapping[str, Value],
) -> None:
    """Set marks, and raise Conflict `marks.moved` unless those of `expect` were as expected before
    (None: absent): the caller holds their locks, and undoes all if it is raised."""
    kept, texts, gone = _sorted_out(marks)
    found = await connection.fetch(_DEMAND, tenant, list(expect), kept, texts, gone)
    present = {name: msgspec.json.decode(value) for name, value in found}
    plain = msgspec.json.decode(msgspec.json.encode(dict(expect)))
    moved = sorted(name for name, value in plain.items() if present.get(name) != value)
    if moved:
        raise Conflict(
            f"Somebody else has changed {', '.join(moved)} meanwhile.",
            code="marks.moved",
            hint="Read the marks again and decide anew.",
        )


async def set_marks(
    connection: asyncpg.Connection, tenant: str, values: Mapping[str, Value]
) -> None:
    """Set marks; None removes one."""
    kept, texts, gone = _sorted_out(values)
    if kept:
        await connection.execute(_SET_MARKS, tenant, kept, texts)
    if gone:
        await connection.execute(
            "DELETE FROM beira._marks WHERE tenant_id = $1 AND name = ANY($2::text[])", tenant, gone
        )


def _sorted_out(values: Mapping[str, Value]) -> tuple[list[str], list[str], list[str]]:
    """The names of marks to set, their values as JSON, and the names of those to remove."""
    kept = {name: value for name, value in values.items() if value is not None}
    texts = [msgspec.json.encode(value).decode() for value in kept.values()]
    return list(kept), texts, [name for name in values if name not in kept]

"""The loop one would write in an afternoon, in two forms: the bare one and one tuned by hand.

Both carry batches of 500 as zstd-JSON over HTTP into typed rows under the same keys in the same
PostgreSQL, each batch committed before it is answered. The node's half keeps an outbox in SQLite and
strikes a batch out once it is confirmed, as durable as ours. There is no identity, no lane, no merging,
no tenant's wall, no feed and no news in it; it sends one batch after the other, and a link that fails
ends it.

- *The bare loop* (`Loop`) is our push's peer. As our node has its records in a table when the clock
  starts, so has it: it reads the rows, encodes them, and sends; its server decodes them with msgspec
  into typed structs and upserts them by `unnest` of columns with asyncpg.
- *The tuned loop* (`Outbox`) does all it can before the clock starts or leaves it to C: the node's disk
  holds the finished JSON of each record, its server never looks into it, and PostgreSQL takes it apart
  (`json_populate_recordset`). Such an outbox can be asked nothing, and such a server refuses nothing:
  one bad row and all is stuck. It shows what the parts can do.
- `push_from_memory` is the tuned loop without an outbox: it would lose what it holds.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec
import zstandard
from litestar import Request, Response, get, post

from beira.kernel.record import Record
from benchmarks.sync.workload import BATCH, Interaction, plain

NAME = "bare zstd-JSON loop"
TUNED_NAME = "zstd-JSON loop tuned by hand"
MEMORY_NAME = "zstd-JSON loop tuned by hand, from memory"
_INTO = """
INSERT INTO bare SELECT r.* FROM json_populate_recordset(NULL::bare, $1::json) AS r
ON CONFLICT (tenant_id, id) DO UPDATE SET at = excluded.at, text = excluded.text,
intent = excluded.intent, outcome = excluded.outcome, answer = excluded.answer,
confidence = excluded.confidence, latency_ms = excluded.latency_ms
"""
_COLUMNS = ("id", "at", "text", "intent", "outcome", "answer", "confidence", "latency_ms")
_UNNEST = f"""
INSERT INTO bare SELECT $1, u.* FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[],
$6::text[], $7::text[], $8::float8[], $9::bigint[]) AS u
{_INTO[_INTO.index("ON CONFLICT") :]}
"""
_GOODS = """
INSERT INTO bare_goods SELECT r.* FROM json_populate_recordset(NULL::bare_goods, $1::json) AS r
ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name, text = excluded.text,
price_cents = excluded.price_cents, place = excluded.place
"""
_decode = msgspec.json.Decoder(list[Interaction]).decode
_PAGE = """
SELECT coalesce(json_agg(g), '[]')::text FROM (
  SELECT * FROM bare_goods WHERE tenant_id = 'acme' AND id > $1 ORDER BY id LIMIT $2
) AS g
"""


async def make_tables(pool: asyncpg.Pool) -> None:
    await pool.execute(
        'CREATE TABLE bare (tenant_id text COLLATE "C", id text COLLATE "C", at timestamptz,'
        " text text, intent text, outcome text, answer text, confidence double precision,"
        " latency_ms bigint, PRIMARY KEY (tenant_id, id));"
        'CREATE TABLE bare_goods (tenant_id text COLLATE "C", id text COLLATE "C", name text,'
        " text text, price_cents bigint, place text, PRIMARY KEY (tenant_id, id))"
    )


def routes(pool: asyncpg.Pool) -> list[Any]:
    """The cloud's half."""

    @post("/bare/{table:str}")
    async def take(request: Request[Any, Any, Any], table: str) -> int:
        plain = zstandard.decompress(await request.body(), max_output_size=1 << 24)
        await pool.execute(_GOODS if table == "goods" else _INTO, plain.decode())
        return 0

    @post("/loop")
    async def merge(request: Request[Any, Any, Any]) -> int:
        plain = zstandard.decompress(await request.body(), max_output_size=1 << 24)
        records = _decode(plain)
        columns = [[getattr(record, name) for record in records] for name in _COLUMNS]
        await pool.execute(_UNNEST, "acme", *columns)
        return 0

    @get("/bare-page")
    async def give(after: str) -> Response[bytes]:
        page = await pool.fetchval(_PAGE, after, BATCH)
        return Response(zstandard.compress(page.encode()), media_type="application/zstd")

    return [take, merge, give]


class Loop:
    """The bare loop's node: its outbox is a table with a column a field."""

    def __init__(self, path: Path, address: str) -> None:
        self._address = address
        self._file = _opened(path)
        listed = ", ".join(_COLUMNS)
        self._file.execute(f"CREATE TABLE outbox (number INTEGER PRIMARY KEY, {listed})")

    def write(self, records: list[Record]) -> None:
        marks = ", ".join("?" * len(_COLUMNS))
        rows = [tuple(plain(record)[name] for name in _COLUMNS) for record in records]
        with self._file:
            self._file.executemany(
                f"INSERT INTO outbox ({', '.join(_COLUMNS)}) VALUES ({marks})",
                rows,
            )

    async def push(self) -> float:
        """Seconds until the outbox is empty."""
        started_s = time.perf_counter()
        async with aiohttp.ClientSession() as session:
            while batch := self._file.execute(
                "SELECT * FROM outbox ORDER BY number LIMIT ?", (BATCH,)
            ).fetchall():
                records = [dict(zip(_COLUMNS, row[1:], strict=True)) for row in batch]
                packed = zstandard.compress(msgspec.json.encode(records))
                async with session.post(f"{self._address}/loop", data=packed) as response:
                    assert response.status == 201
                with self._file:
                    self._file.execute("DELETE FROM outbox WHERE number <= ?", (batch[-1][0],))
        return time.perf_counter() - started_s

    def close(self) -> None:
        self._file.close()


class Outbox:
    """The tuned loop's node: its outbox holds finished JSON."""

    def __init__(self, path: Path, address: str) -> None:
        self._address = address
        self._file = _opened(path)
        self._file.execute("CREATE TABLE outbox (number INTEGER PRIMARY KEY, body BLOB)")
        self._file.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, body TEXT)")

    def write(self, records: list[Record]) -> None:
        with self._file:
            bodies = [(_body(record),) for record in records]
            self._file.executemany("INSERT INTO outbox (body) VALUES (?)", bodies)

    async def push(self, table: str = "interactions") -> tuple[float, int]:
        """Seconds and bytes until the outbox is empty."""
        size_bytes = 0
        started_s = time.perf_counter()
        async with aiohttp.ClientSession() as session:
            while batch := self._file.execute(
                "SELECT number, body FROM outbox ORDER BY number LIMIT ?", (BATCH,)
            ).fetchall():
                packed = zstandard.compress(b"[" + b",".join(body for _, body in batch) + b"]")
                size_bytes += len(packed)
                async with session.post(f"{self._address}/bare/{table}", data=packed) as response:
                    assert response.status == 201
                with self._file:
                    self._file.execute("DELETE FROM outbox WHERE number <= ?", (batch[-1][0],))
        return time.perf_counter() - started_s, size_bytes

    async def pull(self) -> tuple[float, int]:
        """Seconds and bytes until all goods are on disk, a page in a transaction."""
        size_bytes, last = 0, ""
        started_s = time.perf_counter()
        async with aiohttp.ClientSession() as session:
            while True:
                url = f"{self._address}/bare-page"
                async with session.get(url, params={"after": last}) as response:
                    packed = await response.read()
                size_bytes += len(packed)
                page = msgspec.json.decode(zstandard.decompress(packed, max_output_size=1 << 24))
                if not page:
                    return time.perf_counter() - started_s, size_bytes
                last = page[-1]["id"]
                rows = [(row["id"], msgspec.json.encode(row).decode()) for row in page]
                with self._file:
                    self._file.executemany("INSERT INTO rows VALUES (?, ?)", rows)

    def close(self) -> None:
        self._file.close()


async def push_from_memory(records: list[Record], address: str) -> float:
    """Seconds until the cloud has confirmed all of them, one batch after the other; nothing of them
    is ever on the node's disk."""
    started_s = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for i in range(0, len(records), BATCH):
            bodies = [_body(record) for record in records[i : i + BATCH]]
            packed = zstandard.compress(b"[" + b",".join(bodies) + b"]")
            async with session.post(f"{address}/bare/interactions", data=packed) as response:
                assert response.status == 201
    return time.perf_counter() - started_s


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path)
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=FULL")
    return file


def _body(record: Record) -> bytes:
    return msgspec.json.encode({"tenant_id": "acme", **msgspec.to_builtins(record)})

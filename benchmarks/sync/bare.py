"""The bare loop: what one would write in an afternoon, with all left out that can be left out.

Batches of 500 as zstd-JSON over HTTP into typed rows under the same keys in the same PostgreSQL, each
batch committed before it is answered. The node's half keeps an outbox in SQLite and strikes a batch
out once it is confirmed, as durable as ours: that is our push's peer. There is no identity, no lane,
no merging, no tenant's wall, no feed and no news in it; it sends one batch after the other, and a link
that fails ends it. `push_from_memory` leaves the outbox out too, and would lose what it holds.
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
from benchmarks.sync.workload import BATCH

NAME = "bare zstd-JSON loop"
PLAIN_NAME = "bare zstd-JSON loop, from memory"
_INTO = """
INSERT INTO bare SELECT r.* FROM json_populate_recordset(NULL::bare, $1::json) AS r
ON CONFLICT (tenant_id, id) DO UPDATE SET at = excluded.at, text = excluded.text,
intent = excluded.intent, outcome = excluded.outcome, answer = excluded.answer,
confidence = excluded.confidence, latency_ms = excluded.latency_ms
"""
_GOODS = """
INSERT INTO bare_goods SELECT r.* FROM json_populate_recordset(NULL::bare_goods, $1::json) AS r
ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name, text = excluded.text,
price_cents = excluded.price_cents, place = excluded.place
"""
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

    @get("/bare-page")
    async def give(after: str) -> Response[bytes]:
        page = await pool.fetchval(_PAGE, after, BATCH)
        return Response(zstandard.compress(page.encode()), media_type="application/zstd")

    return [take, give]


class Outbox:
    """The node's half."""

    def __init__(self, path: Path, address: str) -> None:
        self._address = address
        self._file = sqlite3.connect(path)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=FULL")
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


def _body(record: Record) -> bytes:
    return msgspec.json.encode({"tenant_id": "acme", **msgspec.to_builtins(record)})

"""The enrolled nodes: put into the cloud's tables in bulk, each with a key of its own.

To enrol 100,000 nodes one by one takes hours and is not what is measured. All else that a node has to
show is real: its key, its ticket, and its tokens, which it gets by signing the cloud's nonce.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from beira.host.apps import installed
from beira.identity import Identity, server_key
from beira.identity.node_key import NodeKey
from beira.identity.shapes import Challenge
from beira.kernel.batch import Group
from beira.kernel.ticket import CHANCES
from beira.store.postgres import EmbeddedPostgres, PostgresCloud

NODES_A_SITE = 10
FIRST_TICKET = CHANCES
STATISTICS_S = 1.5
"""PostgreSQL's processes tell what they did about once a second."""


@dataclass(frozen=True)
class Fleet:
    """`tenants` alike: the first `live` nodes of each stay connected, the other `cycled` come and go."""

    tenants: int
    live: int
    cycled: int

    @property
    def each(self) -> int:
        return self.live + self.cycled

    def names(self) -> list[tuple[str, str]]:
        return [(f"fleet{t:02d}", f"Fleet {t}") for t in range(self.tenants)]


@dataclass(slots=True)
class Enrolled:
    """What a node keeps between its visits: some hundred bytes, for there are many."""

    tenant: int
    number: int
    ticket: int = FIRST_TICKET
    token: str = ""
    token_until_s: float = 0.0
    pushed: int = 0
    urgent: int = 0
    site_cursor: int = 0
    tenant_cursor: int = 0
    cloud: str = ""
    unsent: tuple[int, list[Group]] | None = None
    """What it has to tell and has no confirmation of, and the number of its lane that the last has."""

    @property
    def id(self) -> str:
        return f"n{self.tenant:02d}{self.number:06d}"

    @property
    def site(self) -> str:
        return f"s{self.tenant:02d}{self.number // NODES_A_SITE:05d}"

    @property
    def key(self) -> NodeKey:
        """Made from its name, so that it need not be kept."""
        return NodeKey(hashlib.sha256(b"fleet" + self.id.encode()).digest())

    def assertion(self, challenge: Challenge) -> str:
        return self.key.assertion(self.id, challenge, time.time)


async def enrol_all(data: Path, fleet: Fleet) -> None:
    """Write tenants, sites and nodes; the cloud that made the tables may be running."""
    server = await EmbeddedPostgres.start_or_join(data / "postgres")
    owner = await asyncpg.connect(server.owner_dsn)
    try:
        await write_nodes(owner, fleet)
    finally:
        await owner.close()
        await server.stop()


async def write_nodes(owner: asyncpg.Connection, fleet: Fleet) -> None:
    now = time.time()
    sites = [
        (f"fleet{t:02d}", f"s{t:02d}{s:05d}", f"Loja {s}", [])
        for t in range(fleet.tenants)
        for s in range(-(-fleet.each // NODES_A_SITE))
    ]
    made = (Enrolled(t, n) for t in range(fleet.tenants) for n in range(fleet.each))
    nodes = [
        (f"fleet{n.tenant:02d}", n.id, n.site, n.id, n.key.public_key, now, n.ticket) for n in made
    ]
    tenants = [(*name, now) for name in fleet.names()]
    await _copy(owner, "tenants", tenants, "id name created_at")
    await _copy(owner, "sites", sites, "tenant id name groups")
    await _copy(owner, "nodes", nodes, "tenant id site name public_key enrolled_at ticket")
    await owner.execute("ANALYZE")


async def give_tokens(data: Path, nodes: list[Enrolled]) -> None:
    """Tokens as if these nodes had got them at an earlier visit: made by the cloud's own code, without
    the challenge."""
    server = await EmbeddedPostgres.start_or_join(data / "postgres")
    database = await PostgresCloud.open(
        server.dsn, installed().collections, owner_dsn=server.owner_dsn
    )
    identity = Identity(database, server_key(data), public_url="http://localhost")
    try:
        await identity.start()
        for node in nodes:
            row = {
                "tenant": f"fleet{node.tenant:02d}",
                "epoch": 1,
                "name": node.id,
                "site": node.site,
            }
            given = identity.nodes._issue(node.id, row | {"groups": []})
            node.token, node.token_until_s = given.access_token, given.expires_at
    finally:
        await identity.close()
        await database.close()
        await server.stop()


async def committed(data: Path, table: str) -> tuple[int, int]:
    """How many rows of a collection are in the cloud, and how many different ids."""
    server = await EmbeddedPostgres.start_or_join(data / "postgres")
    owner = await asyncpg.connect(server.owner_dsn)
    try:
        found = await owner.fetchrow(f'SELECT count(*), count(DISTINCT id) FROM beira."{table}"')
        return int(found[0]), int(found[1])
    finally:
        await owner.close()
        await server.stop()


async def transactions(data: Path) -> int:
    """How many transactions PostgreSQL has committed so far."""
    server = await EmbeddedPostgres.start_or_join(data / "postgres")
    owner = await asyncpg.connect(server.owner_dsn)
    try:
        await asyncio.sleep(STATISTICS_S)
        sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return int(await owner.fetchval(sql))
    finally:
        await owner.close()
        await server.stop()


async def tenant_feeds(data: Path) -> dict[int, int]:
    """Where each tenant's own feed ends: nodes that are there for long have read it."""
    server = await EmbeddedPostgres.start_or_join(data / "postgres")
    owner = await asyncpg.connect(server.owner_dsn)
    try:
        found = await owner.fetch(
            "SELECT tenant_id, last FROM beira._stream_heads WHERE stream = 'feed:tenant'"
        )
        return {int(row[0].removeprefix("fleet")): int(row[1]) for row in found}
    finally:
        await owner.close()
        await server.stop()


async def _copy(owner: asyncpg.Connection, table: str, rows: list[tuple], columns: str) -> None:  # type: ignore[type-arg]
    await owner.copy_records_to_table(
        table, schema_name="beira_identity", records=rows, columns=columns.split()
    )


def challenge_of(body: bytes) -> Challenge:
    return Challenge(**json.loads(body))

"""How identity reaches PostgreSQL: one tenant at a time, or across tenants by exact keys only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from beira.identity.schema import SCHEMA
from beira.identity.shapes import Revocation
from beira.store.postgres.cloud import PostgresCloud, text

CHANNEL = "beira_identity"
_BEGIN = (
    f"BEGIN; SET LOCAL search_path = {SCHEMA}; SELECT set_config('beira.tenant', {{tenant}}, true)"
)
"""One message to the server. What goes wrong afterwards is rolled back as the connection returns."""


class Transaction:
    """One transaction: what it is asked, which tenant it sees, and what it revokes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.revocations: list[Revocation] = []

    async def fetch(self, sql: str, *args: object) -> list[Any]:
        return list(await self._connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: object) -> Any:
        return await self._connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> None:
        await self._connection.execute(sql, *args)

    async def use(self, tenant: str) -> None:
        """From here on, see the rows of `tenant`."""
        await self.execute("SELECT set_config('beira.tenant', $1, true)", tenant)

    async def revoked(self, kind: str, id: str = "", tenant: str = "") -> None:
        """Tell every replica when this commits; this one before the caller goes on."""
        news = Revocation(kind=kind, id=id, tenant=tenant)
        self.revocations.append(news)
        payload = msgspec.json.encode(news).decode()
        await self.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)


class Database:
    """Transactions on the cloud's pool, as the program's role. `told` hears what they revoked."""

    def __init__(self, cloud: PostgresCloud) -> None:
        self.cloud = cloud
        self.told: Callable[[Revocation], None] = lambda news: None

    async def call(self, function: str, *args: object) -> list[Any]:
        """One of the schema's functions, which is a transaction by itself: a single round trip."""
        places = ", ".join(f"${at}" for at in range(1, len(args) + 1))
        async with self.cloud.connection() as connection:
            return list(
                await connection.fetch(f"SELECT * FROM {SCHEMA}.{function}({places})", *args)  # noqa: S608
            )

    @asynccontextmanager
    async def open(self, tenant: str = "") -> AsyncIterator[Transaction]:
        """A transaction that sees the rows of `tenant` (none without one).

        Raises Unavailable when the database is away, and the others of the store.
        """
        async with self.cloud.connection() as connection:
            transaction = Transaction(connection)
            await connection.execute(_BEGIN.format(tenant=text(tenant)))
            yield transaction
            await connection.execute("COMMIT")
        for news in transaction.revocations:
            self.told(news)

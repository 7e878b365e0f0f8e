"""How identity reaches PostgreSQL: one tenant at a time, or across tenants by exact keys only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from beira.identity.schema import SCHEMA
from beira.store.postgres.cloud import PostgresCloud

CHANNEL = "beira_identity"


class Database:
    """Transactions on the cloud's pool, as the program's role."""

    def __init__(self, cloud: PostgresCloud) -> None:
        self.cloud = cloud

    @asynccontextmanager
    async def open(self, tenant: str = "") -> AsyncIterator[Any]:
        """A transaction that sees the rows of `tenant` (none without one).

        Raises Unavailable when the database is away, and the others of the store.
        """
        async with self.cloud.connection() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL search_path = {SCHEMA}")
            await use(connection, tenant)
            yield connection


async def use(connection: Any, tenant: str) -> None:
    """From here on in this transaction, see the rows of `tenant`."""
    await connection.execute("SELECT set_config('beira.tenant', $1, true)", tenant)


async def notify(connection: Any, payload: str) -> None:
    """Tell every replica, when this transaction commits."""
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)

"""The cloud's store: PostgreSQL, one database for all tenants, walled by row-level security."""

from beira.store.postgres.cloud import PostgresCloud
from beira.store.postgres.embedded import EmbeddedPostgres
from beira.store.postgres.store import PostgresStore

__all__ = ["EmbeddedPostgres", "PostgresCloud", "PostgresStore"]

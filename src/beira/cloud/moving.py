"""`beira cloud move`: another PostgreSQL for the same cloud. Where it is now is remembered beside the
server's key, so that the next start finds it; replicas on other machines are told by DATABASE_URL."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from beira.host.apps import installed
from beira.identity import schema as identity_schema
from beira.identity.private_files import PrivateFiles
from beira.kernel.collection import Registry
from beira.kernel.errors import Corrupt
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.store.postgres.moving import Moved, Progress, move

DATABASE_FILE = "database.json"


class Database(msgspec.Struct, frozen=True):
    """Where the cloud's database is: for the program, and for who makes its tables ("": the same)."""

    url: str
    owner_url: str = ""


def remembered(data: Path) -> Database | None:
    """Where the database was moved to, if it was. Raises Corrupt for a file nobody can read."""
    path = data / DATABASE_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Database)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise Corrupt(
            f"{path} cannot be read: {error}.",
            code="database.file",
            hint='Give DATABASE_URL, or write the file anew: {"url": …, "owner_url": …}.',
        ) from None


async def move_database(
    data: Path, apps: tuple[str, ...], old: Database, new: Database, progress: Progress
) -> Moved:
    """Move everything, compare both sides, and remember the new place. `old.url` "" is the embedded
    database in `data`. If it fails the old one serves on, and the new one is empty as it was.

    Raises: Conflict, Misconfigured, Corrupt, Unavailable; each says what to do next.
    """
    registry = installed(apps).collections
    async with contextlib.AsyncExitStack() as stack:
        source = old.owner_url or old.url
        if not source:
            embedded = await EmbeddedPostgres.start_or_join(data / "postgres")
            stack.push_async_callback(embedded.stop)
            source = embedded.owner_dsn
        await _make_tables(registry, new)
        target = new.owner_url or new.url
        moved = await move(
            source, target, identity_schema.SCHEMA, _place_of(new.url), progress=progress
        )
    PrivateFiles().write(data / DATABASE_FILE, msgspec.json.encode(new), durable=True)
    return moved


async def _make_tables(registry: Registry, new: Database) -> None:
    database = await PostgresCloud.open(new.url, registry, owner_dsn=new.owner_url or None)
    try:
        async with database.connection() as connection:
            role = await connection.fetchval("SELECT current_user")
        statements = identity_schema.statements(role)
        await database.migrate(statements, schema_name=identity_schema.SCHEMA)
    finally:
        await database.close()


def _place_of(url: str) -> str:
    """A database's address without the account."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"

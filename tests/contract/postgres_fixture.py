"""A real PostgreSQL for tests: one embedded server a session, a database for each registry, a fresh
tenant for each test.

These are fixtures when named in the root conftest's `pytest_plugins`, or imported by a conftest.
Override `postgres_registry` (session-scoped) where you need your own collections.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from beira.kernel.collection import Registry
from beira.kernel.system import SYSTEM_COLLECTIONS
from beira.store.postgres import EmbeddedPostgres, PostgresCloud

ROOM_BYTES = 2 << 30
_numbers = itertools.count(1)


def fresh_tenant(name: str = "tenant") -> str:
    """A tenant nobody has used: `cloud.tenant(fresh_tenant())` is an empty store."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def postgres_place() -> Path:
    """A new directory for a server, in memory where there is room for it: some disks take seconds to
    sync or remove a database. Not under pytest's own directory, which only its user may enter:
    under root, PostgreSQL runs as another."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_BYTES
    return Path(tempfile.mkdtemp(prefix="beira-pg-", dir=memory if roomy else None))


async def fresh_database(server: EmbeddedPostgres) -> tuple[str, str]:
    """An empty database: its DSN for the program, and that of its owner."""
    return await server.make_database(f"beira_{next(_numbers)}")


class _Shared:
    """The one server of a test run, however many conftests have imported the fixtures."""

    directory: Path | None = None
    server: EmbeddedPostgres | None = None
    users = 0


@pytest.fixture(scope="session")
def postgres_directory() -> Path:
    if _Shared.directory is None:
        _Shared.directory = postgres_place()
        atexit.register(shutil.rmtree, _Shared.directory, ignore_errors=True)
    return _Shared.directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(postgres_directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    if _Shared.server is None:
        _Shared.server = await EmbeddedPostgres.start(postgres_directory)
    _Shared.users += 1
    yield _Shared.server
    _Shared.users -= 1
    if not _Shared.users:
        server, _Shared.server = _Shared.server, None
        await server.stop()


@pytest.fixture(scope="session")
def postgres_registry() -> Registry:
    return Registry(SYSTEM_COLLECTIONS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_cloud(
    postgres_server: EmbeddedPostgres, postgres_registry: Registry
) -> AsyncIterator[PostgresCloud]:
    dsn, owner_dsn = await fresh_database(postgres_server)
    cloud = await PostgresCloud.open(dsn, postgres_registry, owner_dsn=owner_dsn)
    yield cloud
    await cloud.close()

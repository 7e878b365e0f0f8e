"""The cloud's database: one pool for all tenants, from which `tenant(id)` gives each its store.

It may go away and come back at any time. Calls meanwhile raise Unavailable soon, none hangs, and
the first call after it is back works; nobody has to restart anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import asyncpg

from beira.kernel import limits
from beira.kernel.collection import Registry
from beira.kernel.errors import Misconfigured
from beira.store.postgres import schema
from beira.store.postgres.codec import Table
from beira.store.postgres.failures import AGAIN, BROKEN, away, translated
from beira.store.postgres.listen import NewsDesk
from beira.store.postgres.moving import refuse_moved
from beira.store.postgres.store import PostgresStore
from beira.store.sql import Dialect, PostgresDialect, quoted

APP_ROLE = "beira_app"
ACQUIRE_TIMEOUT_S = limits.POSTGRES_ACQUIRE_S
ANSWER_TIMEOUT_S = limits.POSTGRES_ANSWER_S
PAUSE_S = 1.0
"""After no answer in time, how long further calls are refused at once rather than kept waiting."""
INSTANCE_FRESH_S = 10.0
OLDEST_VERSION = 150_000
BUILTIN_COLLATIONS_VERSION = 170_000

T = TypeVar("T")
Work = Callable[[asyncpg.Connection], Awaitable[T]]


class PostgresCloud:
    """An opened database. `pool` and `connection` are for tables that are not records (identity)."""

    def __init__(self, dsn: str, registry: Registry, owner_dsn: str | None) -> None:
        self.registry = registry
        self.tables: dict[str, Table] = {}
        self.dialect: Dialect = PostgresDialect()
        self._dsn = dsn
        self._owner_dsn = owner_dsn or dsn
        self._separate_owner = owner_dsn is not None
        self._role = APP_ROLE
        self._set_role = False
        self._paused_until = 0.0
        self._instance: tuple[float, str] | None = None
        self._queue = _Queue()
        self._pool: asyncpg.Pool | None = None
        self.news = NewsDesk(self._connect)

    @classmethod
    async def open(
        cls,
        dsn: str,
        registry: Registry,
        *,
        owner_dsn: str | None = None,
        pool_size: int = limits.POSTGRES_CONNECTIONS,
    ) -> PostgresCloud:
        """Connect, bring the tables to this release, and start listening for news.

        Args:
            dsn: whom the program connects as. With no `owner_dsn` the same account makes the
                tables, and the program then acts as the role `beira_app` if it can.
            owner_dsn: who makes the tables.

        Raises: Unavailable if the database cannot be reached, Misconfigured if it cannot be used.
        """
        cloud = cls(dsn, registry, owner_dsn)
        await cloud.connect(pool_size=pool_size)
        return cloud

    async def connect(self, *, pool_size: int = limits.POSTGRES_CONNECTIONS) -> None:
        """What `open` does, for a database made before it can be reached: until then all that is
        asked of it raises Unavailable. After a failure it may be called again; connected, it does
        nothing. Raises as `open`."""
        if self._pool is not None:
            return
        try:
            with translated():
                await self._prepare(size=pool_size)
                await self.news.open()
        except BaseException:
            await self.close()
            raise

    @property
    def away(self) -> bool:
        """Whether the database was not heard of a moment ago; asks nothing."""
        return not self.news.listening

    @property
    def pool(self) -> asyncpg.Pool:
        if self._pool is None:
            raise away("it is not connected")
        return self._pool

    def tenant(self, tenant: str) -> PostgresStore:
        """The store of one tenant: a view, cheap to make."""
        return PostgresStore(self, tenant)

    async def migrate(self, statements: Sequence[str], *, schema_name: str = "identity") -> None:
        """Run `statements` as the tables' owner, all or none, one replica at a time, in a schema
        that is made if need be (names in them need no schema). The program's role may read and
        write the rows of tables made there; a REVOKE among the statements can narrow that.

        They run at each start, so each must be harmless when repeated (IF NOT EXISTS).
        """
        with translated():
            owner = await self._connect_owner()
            try:
                async with owner.transaction():
                    await schema.make_schema(owner, schema_name, self._role)
                    await owner.execute(f"SET LOCAL search_path = {quoted(schema_name)}")
                    for statement in statements:
                        await owner.execute(statement)
            finally:
                owner.terminate()

    async def healthy(self) -> bool:
        """Whether the database answers now (within half a second)."""
        try:
            async with asyncio.timeout(limits.POSTGRES_HEALTH_S), self._acquired() as connection:
                await connection.execute("SELECT 1")
        except Exception:
            return False
        return True

    async def instance(self) -> str:
        """What tells this database from a copy of it: its cluster, its timeline (a restore to a point
        in time begins a new one) and its own number there, hashed. A server that does not tell its
        cluster is known by the last alone. Asked at most every few seconds."""
        if self._instance is None or time.monotonic() > self._instance[0]:
            async with self.connection() as connection:
                try:
                    found = await connection.fetchrow(_INSTANCE)
                except asyncpg.InsufficientPrivilegeError:
                    found = await connection.fetchrow(_DATABASE)
            name = hashlib.blake2b(repr(tuple(found)).encode(), digest_size=6).hexdigest()
            self._instance = (time.monotonic() + INSTANCE_FRESH_S, name)
        return self._instance[1]

    async def close(self) -> None:
        await self.news.close()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), ACQUIRE_TIMEOUT_S)
            except (*BROKEN, asyncpg.PostgresError):
                pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool, as the program's role, with no tenant set.

        Raises: Unavailable, Full, Invalid, Misconfigured for what goes wrong within.
        """
        with translated():
            async with self._acquired() as connection:
                yield connection

    async def run(
        self,
        tenant: str,
        work: Work[T],
        *,
        locks: Sequence[int] = (),
        snapshot: bool = False,
    ) -> T:
        """`work` in one transaction that sees and writes only the tenant's rows.

        Args:
            locks: numbers that no two transactions hold at once; waited for before `work` begins.
            snapshot: all that `work` reads is of one moment, and it writes nothing.

        Raises: Unavailable and the others of `failures.translated`; nothing was written then, except
        perhaps when the database went away while it was asked to commit.
        """
        with translated():
            async with self._queue.turn(locks):
                for _ in range(limits.POSTGRES_TRIES - 1):
                    with contextlib.suppress(*AGAIN):
                        return await self._once(tenant, work, locks, snapshot)
                return await self._once(tenant, work, locks, snapshot)

    async def _once(self, tenant: str, work: Work[T], locks: Sequence[int], snapshot: bool) -> T:
        async with self._acquired() as connection:
            begin = _SNAPSHOT if snapshot else "BEGIN"
            lock = "".join(_LOCK.format(number=number) for number in sorted(locks))
            await connection.execute(f"{begin}; {_TENANT.format(tenant=text(tenant))}{lock}")
            result = await work(connection)
            await connection.execute("COMMIT")
            return result

    @contextlib.asynccontextmanager
    async def _acquired(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection that is given back clean: rolled back after an error of ours or the
        server's, dropped when it did not answer or its user was cancelled."""
        if time.monotonic() < self._paused_until:
            raise away("it did not a moment ago")
        pool = self.pool
        try:
            connection = await pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        except TimeoutError:
            if pool.get_size() < pool.get_max_size():  # not in full use: it cannot connect
                self._paused_until = time.monotonic() + PAUSE_S
            raise
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                yield connection
        except TimeoutError:
            self._paused_until = time.monotonic() + PAUSE_S
            connection.terminate()
            raise
        except BROKEN:
            connection.terminate()
            raise
        except Exception:
            await _roll_back(connection)
            raise
        except BaseException:
            connection.terminate()
            raise
        finally:
            await pool.release(connection)

    async def _prepare(self, *, size: int) -> None:
        owner = await self._connect_owner()
        try:
            await self._check_server(owner)
            await refuse_moved(owner)
            if self._separate_owner:
                self._role = await self._user_of(self._dsn)
            else:
                self._set_role = await _ensure_app_role(owner)
                if not self._set_role:
                    self._role = await owner.fetchval("SELECT current_user")
            self.tables = await schema.migrate(owner, self.registry, self._role)
        finally:
            owner.terminate()
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=size,
            timeout=limits.POSTGRES_CONNECT_S,
            command_timeout=ANSWER_TIMEOUT_S,
            statement_cache_size=limits.POSTGRES_STATEMENTS,
            init=self._become,
            reset=_leave_as_is,
        )
        await self._check_walled()

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(self._dsn, timeout=limits.POSTGRES_CONNECT_S)
        await self._become(connection)
        return connection

    async def _connect_owner(self) -> asyncpg.Connection:
        return await asyncpg.connect(self._owner_dsn, timeout=limits.POSTGRES_CONNECT_S)

    async def _become(self, connection: asyncpg.Connection) -> None:
        if self._set_role:
            await connection.execute(f"SET ROLE {quoted(self._role)}")

    async def _user_of(self, dsn: str) -> str:
        connection = await asyncpg.connect(dsn, timeout=limits.POSTGRES_CONNECT_S)
        try:
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            connection.terminate()

    async def _check_server(self, owner: asyncpg.Connection) -> None:
        version = int(await owner.fetchval("SHOW server_version_num"))
        encoding = await owner.fetchval("SHOW server_encoding")
        if version < OLDEST_VERSION or encoding != "UTF8":
            raise Misconfigured(
                f"This PostgreSQL is version {version // 10_000} with encoding {encoding}.",
                code="database.unfit",
                hint=f"Use version {OLDEST_VERSION // 10_000} or newer and a database in UTF8.",
            )
        if version < BUILTIN_COLLATIONS_VERSION:
            self.dialect = PostgresDialect(fold="und-x-icu")

    async def _check_walled(self) -> None:
        async with self.pool.acquire() as connection:
            free = await connection.fetchval(
                "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
            )
        if free:
            raise Misconfigured(
                f"The role {self._role} is above row-level security.",
                code="database.unwalled",
                hint="Let the program connect as a role without SUPERUSER and BYPASSRLS, "
                "and give the owner's account separately.",
            )


_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TENANT = f"""
SELECT set_config('beira.tenant', {{tenant}}, true),
  set_config('statement_timeout', '{limits.POSTGRES_STATEMENT_MS}', true),
  set_config('idle_in_transaction_session_timeout', '{limits.POSTGRES_STATEMENT_MS}', true)
"""
_DATABASE = "SELECT oid FROM pg_database WHERE datname = current_database()"
_INSTANCE = (
    "SELECT (SELECT system_identifier FROM pg_control_system()), "
    "(SELECT timeline_id FROM pg_control_checkpoint()), "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
_LOCK = "; SELECT pg_advisory_xact_lock({number})"


def text(value: str) -> str:
    """A text as PostgreSQL writes it in statements, whatever it holds: both go out as one message."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class _Queue:
    """Lines up those of this program who want the same lock before they take a connection: however
    many write to one partition, they hold one connection, and the rest of the pool is for others."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, numbers: Sequence[int]) -> AsyncIterator[None]:
        """Raises TimeoutError if the turn does not come within `ANSWER_TIMEOUT_S`."""
        locks = [self._locks.setdefault(number, asyncio.Lock()) for number in sorted(numbers)]
        async with contextlib.AsyncExitStack() as held:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                for lock in locks:
                    await held.enter_async_context(lock)
            yield


async def _ensure_app_role(owner: asyncpg.Connection) -> bool:
    """Whether the account may act as `beira_app`, which is made if need be and possible."""
    role = quoted(APP_ROLE)
    make = f"CREATE ROLE {role} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
    if not await owner.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", APP_ROLE):
        with contextlib.suppress(
            asyncpg.InsufficientPrivilegeError,
            asyncpg.DuplicateObjectError,
            asyncpg.UniqueViolationError,
        ):
            await owner.execute(make)
    for attempt in (f"SET ROLE {role}", f"GRANT {role} TO CURRENT_USER; SET ROLE {role}"):
        with contextlib.suppress(asyncpg.PostgresError):
            await owner.execute(attempt)
            await owner.execute("RESET ROLE")
            return True
    return False


async def _roll_back(connection: asyncpg.Connection) -> None:
    try:
        if not connection.is_closed() and connection.is_in_transaction():
            await connection.execute("ROLLBACK", timeout=limits.POSTGRES_HEALTH_S)
    except (*BROKEN, asyncpg.PostgresError):
        connection.terminate()


async def _leave_as_is(_connection: Any) -> None:
    """All that is set is set for one transaction, so there is nothing to reset between users."""

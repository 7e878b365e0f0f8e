"""The database file: opened with the right pragmas, locked, and its errors in plain words.

Durability is decided here: WAL with `synchronous=FULL` means that a commit returns only after its
bytes were synced to the disk. `kill -9` and a power cut lose nothing that was confirmed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from beira.kernel import limits
from beira.kernel.errors import BeiraError, Corrupt, Full, Misconfigured, Unavailable
from beira.store.sql import ilike_function

APPLICATION_ID = 0x42454952
WAL_PAGES = limits.LOG_PAGES
WAL_LEFT_BYTES = limits.LOG_LEFT_BYTES
KEY_BYTES = 32
CIPHER = "sqlcipher"
"""AES-256-CBC with an HMAC-SHA-512 for each page, as SQLCipher 4 writes it (docs/decisions/0012)."""
_PLAIN_HEADER = b"SQLite format 3\x00"
_DOCTOR = "The file is left untouched: `beira node repair` saves what can be read, and keeps it."


def connect(path: Path, key: bytes | None, *, writer: bool) -> apsw.Connection:
    """A connection of the store's. Only the writer's may change anything.

    Raises: what apsw raises; put it through `explained`.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if writer else 0)
    flags |= apsw.SQLITE_OPEN_URI  # VACUUM INTO takes the copy's key by its address
    connection = apsw.Connection(address(path), flags, statementcachesize=limits.SQLITE_STATEMENTS)
    try:
        if key is not None:  # a raw key: AES-256 with an HMAC for each page, no slow derivation
            connection.pragma("cipher", CIPHER)
            connection.pragma("key", "raw:" + key.hex())
        connection.set_busy_timeout(limits.SQLITE_BUSY_MS)
        connection.pragma("trusted_schema", False)
        connection.pragma("foreign_keys", True)
        connection.pragma("temp_store", "memory")
        connection.pragma(
            "cache_size", -(limits.WRITER_CACHE_KIB if writer else limits.READER_CACHE_KIB)
        )
        connection.pragma("query_only", not writer)
        function: Any = ilike_function
        connection.create_scalar_function("beira_ilike", function, 2, deterministic=True)
    except BaseException:
        connection.close(True)
        raise
    return connection


def address(path: Path, key: bytes | None = None) -> str:
    """The file as SQLite's URI, with the key it is to be made under."""
    uri = "file:" + quote(str(path.absolute()))
    return uri if key is None else f"{uri}?cipher={CIPHER}&key=raw:{key.hex()}"


def start_log(connection: apsw.Connection, path: Path) -> None:
    """Switch the writer to its write-ahead log, each commit synced.

    The first switch leaves a rollback journal behind whose removal SQLite does not sync: come back
    after a power cut, it would undo the switch and with it all that the log holds.
    """
    if not connection.pragma("page_count"):  # only a new file can be made so; see `room.release`
        connection.pragma("auto_vacuum", "incremental")
    connection.pragma("journal_mode", "wal")
    sync_folder(path.parent)
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", WAL_PAGES)
    connection.pragma("journal_size_limit", WAL_LEFT_BYTES)


def close_untouched(connection: apsw.Connection) -> None:
    """Close without moving the log into the file, which is as it was found."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close(True)


def check_key(path: Path, key: bytes | None) -> None:
    """Raise Misconfigured for a key that cannot be, or one for a file that is not encrypted."""
    if key is None:
        return
    if len(key) != KEY_BYTES:
        raise Misconfigured(
            f"The database's key has {len(key)} bytes; it must have {KEY_BYTES}.",
            code="store.key",
            hint="Make one with `openssl rand -hex 32`.",
        )
    if is_plain(path):
        raise Misconfigured(
            f"{path} is not encrypted, and a key is set.",
            code="store.key",
            hint="Encrypt it with `beira node rekey --to SOURCE`, or start without the key.",
        )


def is_plain(path: Path) -> bool:
    """Whether the file begins as an unencrypted database does."""
    with path.open("rb") as file:
        return file.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER


def check_pages(connection: apsw.Connection, path: Path) -> None:
    """Raise Corrupt if a page of a small database is damaged. A large one would take too long at
    each start: there `integrity` is asked for by whoever wants to know."""
    if path.stat().st_size <= limits.CHECKED_BYTES:
        said = connection.execute("PRAGMA quick_check(1)").get
        if said != "ok":
            raise apsw.CorruptError(str(said).replace("\n", " "))
        connection.execute("PRAGMA shrink_memory")  # the whole file passed through its cache


class Lock:
    """Held by the one process that may write. The kernel lets go of it when the process dies."""

    def __init__(self, path: Path) -> None:
        """Raises Misconfigured when the folder cannot be written, or another process holds it."""
        lock = path.with_name(path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _no_access(path, str(error)) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise Misconfigured(
                f"{path} is already open in another process.",
                code="store.locked",
                hint="Stop the other node first, or give this one a data folder of its own.",
            ) from error

    def release(self) -> None:
        os.close(self._descriptor)


def create(path: Path) -> None:
    """Make the file, readable by its owner alone, and make its name durable."""
    try:
        if path.exists():
            path.open("r+b").close()
            return
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync_folder(path.parent)
    except OSError as error:
        raise _no_access(path, str(error)) from error


def sync_folder(folder: Path) -> None:
    """Make durable which files are in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Room on the disk of `path` for who is not root."""
    stat = os.statvfs(path.parent)
    return stat.f_bavail * stat.f_frsize


def size_bytes(path: Path) -> int:
    """The database with its write-ahead log."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def full(path: Path, why: str) -> Full:
    return Full(
        f"There is no room to write {path.name}: {why}.",
        code="disk.full",
        hint=f"Free space on the disk of {path.parent}. What was confirmed is safe; this was not kept.",
    )


def explained(error: Exception, path: Path) -> BeiraError:
    """What happened, where, and what to do, for an error of apsw."""
    said = str(error)
    if isinstance(error, BeiraError):
        return error
    if isinstance(error, apsw.FullError):
        return full(path, said)
    if isinstance(error, apsw.IOError):
        return Full(
            f"{path.name} could not be written or read: {said}.",
            code="disk.failed",
            hint=f"Look after the disk of {path.parent}, and the room on it. What was confirmed is "
            "safe; this was not kept.",
        )
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Corrupt(
            f"{path} cannot be read as a database: {said}.",
            code="store.corrupt",
            hint=f"If it is encrypted, check the key. {_DOCTOR}",
        )
    if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError):
        return _no_access(path, said)
    if isinstance(error, apsw.InterruptError):
        return Unavailable(
            "The question took too long to answer.",
            code="query.slow",
            hint="Ask for less: a shorter span of time, or fewer terms.",
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Unavailable(
            f"Another program holds {path.name} locked.",
            code="store.busy",
            hint="Close other programs that write to it; this will work again by itself.",
        )
    return Unavailable(f"{path.name}: {said}.", code="store.failed", hint=_DOCTOR)


def _no_access(path: Path, why: str) -> Misconfigured:
    return Misconfigured(
        f"{path} cannot be written: {why}.",
        code="store.denied",
        hint=f"Give this user the right to write in {path.parent}, or choose another data folder.",
    )

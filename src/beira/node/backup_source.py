"""What of a node's folder goes into a backup, as it was at one moment, while the node goes on.

The database's file and its write-ahead log are copied as they lie on the disk, encrypted or not: a
page that did not change is the same bytes again. Nobody who writes is held up: a read transaction keeps
SQLite from moving anything newer than itself into the file, and from beginning the log anew before
that was moved. So the log as it is read at any moment from then on, over the file as it is read at
any later one, is the database at a moment: what SQLite still moves into the file is in the log that
was read, and overlays it when the copy is opened; a commit of which only a part was read is none.

Only for a process that has the database open nowhere else: closing a file ends the locks that its
process holds on it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from beira.backup import Piece, SourceFile
from beira.kernel import limits
from beira.kernel.errors import Unavailable
from beira.node.at_rest import BLOBS_FOLDER, DATABASE_FILE, FILE, IDENTITY_FILE, KEY_FILE
from beira.node.backup_files import BACKUP_FOLDER
from beira.store.sqlite.files import close_untouched, connect, explained

LOG_FILE = DATABASE_FILE + "-wal"
OUTBOX = "outbox"
_NOT_FILES = (DATABASE_FILE, KEY_FILE, IDENTITY_FILE, FILE)
"""The first goes by the snapshot; a new machine gets the others anew."""
RESTORE_FOLDER = "restore"
_NOT_FOLDERS = (BLOBS_FOLDER, BACKUP_FOLDER, RESTORE_FOLDER)
_PASSING = (".new", ".lock", ".part", ".reserve")
_WAL_HEAD_BYTES, _FRAME_HEAD_BYTES = 32, 24
_LOG_TRIES = 5


@dataclass(frozen=True)
class Snapshot:
    """The database at one moment: its file, `size_bytes` long then, and what its log held."""

    descriptor: int
    size_bytes: int
    log: bytes

    def files(self) -> Iterator[SourceFile]:
        yield SourceFile(DATABASE_FILE, self.size_bytes, 0o600, self._pieces)
        yield SourceFile(LOG_FILE, len(self.log), 0o600, self._log_pieces)

    def _pieces(self) -> Iterator[Piece]:
        """What is beyond the file's end by now was cut off, and is not needed: it ends there."""
        for start in range(0, self.size_bytes, limits.BACKUP_CHUNK_BYTES):
            wanted = min(limits.BACKUP_CHUNK_BYTES, self.size_bytes - start)
            piece = os.pread(self.descriptor, wanted, start)
            if piece:
                yield piece
            if len(piece) < wanted:
                return

    def _log_pieces(self) -> Iterator[Piece]:
        for start in range(0, len(self.log), limits.BACKUP_CHUNK_BYTES):
            yield self.log[start : start + limits.BACKUP_CHUNK_BYTES]


@contextlib.contextmanager
def snapshot(data: Path, key: bytes | None) -> Iterator[Snapshot | None]:
    """The database in `data` as it is now; it stays so while the context lasts. None if there is none
    yet. Raises as the store does, and Unavailable `backup.busy`."""
    path = data / DATABASE_FILE
    if not path.exists() or not path.stat().st_size:
        yield None
        return
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)  # after the connections: see above
        try:
            reader = connect(path, key, writer=False)
            stack.callback(close_untouched, reader)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except apsw.BusyError:
            raise _busy() from None
        except apsw.Error as error:
            raise explained(error, path) from error
        log = _valid_log(path.with_name(LOG_FILE))
        yield Snapshot(descriptor, os.fstat(descriptor).st_size, log)


def _valid_log(path: Path) -> bytes:
    """The frames since the log was last begun anew: older ones behind them have other salts.

    If all of the log was in the file when our reader came, a writer may begin the log anew, once, while
    it is read: then it is read again, as half of each would be no moment at all. A writer changes the
    head before anything else.
    """
    for _ in range(_LOG_TRIES):
        try:
            with path.open("rb") as file:  # SQLite holds no locks on this file
                log = file.read()
                file.seek(0)
                head = file.read(_WAL_HEAD_BYTES)
        except FileNotFoundError:
            return b""
        if log[:_WAL_HEAD_BYTES] == head:
            return _of_one_beginning(log)
    raise _busy()


def _of_one_beginning(log: bytes) -> bytes:
    if len(log) < _WAL_HEAD_BYTES:
        return b""
    step = _FRAME_HEAD_BYTES + int(struct.unpack(">I", log[8:12])[0])
    salts, end = log[16:24], _WAL_HEAD_BYTES
    while end + step <= len(log) and log[end + 8 : end + 16] == salts:
        end += step
    return log[:end] if end > _WAL_HEAD_BYTES else b""


def _busy() -> Unavailable:
    return Unavailable(
        "The database is locked, or its log is begun anew without a pause.",
        code="backup.busy",
        hint="The backup is tried again by itself.",
    )


def beside(data: Path) -> Iterator[SourceFile]:
    """The files beside the database: keys, certificates, what apps keep; and blobs that the cloud has
    not confirmed. Those that it has come again from there."""
    for path in sorted(data.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in _NOT_FOLDERS:
            for inside in sorted(path.rglob("*")):
                yield from _file(data, inside)
        elif path.name not in _NOT_FILES and not path.name.startswith(DATABASE_FILE):
            yield from _file(data, path)
    for mark in sorted((data / BLOBS_FOLDER).glob(f"*/{OUTBOX}/*")):
        yield from _file(data, mark)
        tenant = mark.parent.parent
        yield from _file(data, tenant / "blobs" / mark.name[:2] / mark.name)


def _file(data: Path, path: Path) -> Iterator[SourceFile]:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(state.st_mode) and path.suffix not in _PASSING:
        name = path.relative_to(data).as_posix()
        yield SourceFile(name, state.st_size, stat.S_IMODE(state.st_mode), _reading(path))


def _reading(path: Path) -> Callable[[], Iterator[Piece]]:
    def pieces() -> Iterator[Piece]:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            while piece := file.read(limits.BACKUP_CHUNK_BYTES):
                yield piece

    return pieces

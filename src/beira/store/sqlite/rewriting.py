"""Writing a whole database anew beside itself: under another key, or encrypted for the first time.

The copy is complete, synced and read back before it takes the old file's place in one step, so a
crash at any moment leaves the one or the other, never a mixture. SQLite could change the key in
place, but then a crash in the middle hangs on a rollback journal that is in the old key itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from beira.kernel.errors import Corrupt
from beira.store.sqlite import files
from beira.store.sqlite.room import INCREMENTAL

_COPY, _WHOLE = ".new", ".whole"
_BESIDE = ("-wal", "-shm", "-journal")


def opens(path: Path, key: bytes | None) -> bool:
    """Whether there is nothing in the file yet, or it is a database under `key` (None: a plain one)."""
    if not path.exists() or not path.stat().st_size:
        return True
    if (key is None) != files.is_plain(path):
        return False
    if key is None:
        return True
    try:
        connection = files.connect(path, key, writer=False)
    except apsw.NotADBError:
        return False
    files.close_untouched(connection)
    return True


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """No other process has the database of `path` while the context lasts. Raises Misconfigured
    `store.locked` if one has it now."""
    lock = files.Lock(path)
    try:
        yield
    finally:
        lock.release()


def rewrite(path: Path, key: bytes | None, new_key: bytes) -> None:
    """Put the database of `path`, read with `key`, under `new_key`; call it within `alone`.

    It needs room for a second copy. Raises: Corrupt, Full, Unavailable; then the file is as it was.
    """
    try:
        if path.exists() and path.stat().st_size:
            _rewrite(path, key, new_key)
    except (apsw.Error, OSError) as error:
        raise files.explained(error, path) from error
    finally:
        forget_copy(path)


def forget_copy(path: Path) -> None:
    """Remove the copy that a crash may have left. Only for who holds the lock."""
    for name in (_COPY, *(_COPY + beside for beside in _BESIDE)):
        path.with_name(path.name + name).unlink(missing_ok=True)


def _rewrite(path: Path, key: bytes | None, new_key: bytes) -> None:
    forget_copy(path)
    copy = path.with_name(path.name + _COPY)
    connection = files.connect(path, key, writer=True)
    try:
        said = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if said is not None and said[0]:
            raise apsw.BusyError(path.name)
        os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if connection.pragma("auto_vacuum") != INCREMENTAL:
            connection.pragma("auto_vacuum", "incremental")  # of the copy; it writes nothing here
        connection.execute("VACUUM INTO ?", (files.address(copy, new_key),))
        _check(connection, copy, new_key)
    except BaseException:
        files.close_untouched(connection)
        raise
    connection.close(True)
    put_in_place(copy, path)


def put_in_place(fresh: Path, path: Path) -> None:
    """Let `fresh` be the database of `path`; its log must hold nothing more. Neither may be open."""
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    for name in _BESIDE:  # the old log must never meet the new file
        path.with_name(path.name + name).unlink(missing_ok=True)
    files.sync_folder(path.parent)
    fresh.replace(path)
    files.sync_folder(path.parent)


def put_in_place_of_both(fresh: Path, path: Path) -> None:
    """Let `fresh` be the database of `path` in place of file and log, which go together: once `fresh`
    has the name that says so, `finish_swap` comes to the end of it, whoever opens the database."""
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    files.sync_folder(path.parent)
    fresh.replace(path.with_name(path.name + _WHOLE))
    files.sync_folder(path.parent)
    finish_swap(path)


def finish_swap(path: Path) -> None:
    """Finish what a crash may have cut short. Only for who holds the lock."""
    whole = path.with_name(path.name + _WHOLE)
    if whole.exists():
        put_in_place(whole, path)


def _check(source: apsw.Connection, copy: Path, key: bytes) -> None:
    """Read the copy back. Raises Corrupt if it is not whole."""
    connection = files.connect(copy, key, writer=False)
    try:
        said = connection.execute("PRAGMA quick_check(1)").get
        names = "SELECT group_concat(sql ORDER BY name) FROM sqlite_schema"
        if said != "ok" or connection.execute(names).get != source.execute(names).get:
            raise Corrupt(
                f"The copy of {copy.name} could not be read back: {said}.",
                code="store.copy",
                hint="The disk may be failing; the database itself is as it was.",
            )
    finally:
        connection.close(True)

"""Room on the disk: some is kept for the worst day, and what the database no longer needs goes back.

Below `limits.DISK_RESERVE_BYTES` of free disk the writer takes critical rows only. But others fill
disks too, to the last byte. So a file that holds nothing but room lies beside the database, and is
given up when even a critical row, or the start of the program, finds none.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from beira.store.sqlite import files

INCREMENTAL = 2
SPARE_SHARE = 8
"""One page in so many may be unused: the next rows take them, without growing the file."""
RELEASED_PAGES = 1_000
"""Pages given back at a time: some milliseconds of work, and 4 MB of the log at most."""
ENDING = ".reserve"


class Ballast:
    """The file. With `size_bytes` 0 there is none."""

    def __init__(self, path: Path, size_bytes: int, reserve_bytes: int) -> None:
        self._path = path.with_name(path.name + ENDING)
        self._size_bytes, self._reserve_bytes = size_bytes, reserve_bytes
        self._kept = False

    def keep(self) -> None:
        """Take up the room, unless the disk is nearly full. Costs nothing once it is done."""
        if self._kept or not self._size_bytes:
            return
        if files.free_bytes(self._path) < self._reserve_bytes + 2 * self._size_bytes:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up()  # some of it was taken: another time
            return
        self._kept = True

    def give_up(self) -> bool:
        """Make room of it. Returns whether there was any."""
        self._kept = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def release(connection: apsw.Connection) -> None:
    """Give pages that are unused back to the disk, within a transaction, and a bounded number of them.
    A file made by a release before this one keeps them for rows to come."""
    if connection.pragma("auto_vacuum") != INCREMENTAL:
        return
    spare = connection.pragma("page_count") // SPARE_SHARE
    excess = connection.pragma("freelist_count") - spare
    if excess > 0:
        connection.execute(f"PRAGMA incremental_vacuum({min(excess, RELEASED_PAGES)})").fetchall()

"""Whether a database that was copied is whole: SQLite itself looks at all of it."""

from __future__ import annotations

from pathlib import Path

import apsw

from beira.kernel.errors import Corrupt
from beira.store.sqlite.files import connect, explained
from beira.store.sqlite.salvage import MARKS
from beira.sync.node.surroundings import CHECKED_MARK


def check_database(path: Path, key: bytes | None) -> None:
    """Move the log into the file, and check every page. Nobody else may have it open.

    Raises: Corrupt `backup.database`; and as the store does for a wrong key.
    """
    try:
        connection = connect(path, key, writer=True)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            said = str(connection.execute("PRAGMA quick_check(1)").get)
        finally:
            connection.close(True)
    except apsw.Error as error:
        raise explained(error, path) from error
    if said != "ok":
        raise Corrupt(
            f"The database in the backup is not whole: {said}.",
            code="backup.database",
            hint="An older backup is taken; or restore, and then: beira node repair.",
        )


def forget_comparisons(path: Path, key: bytes | None) -> None:
    """A database of some time ago: whatever it was found to agree with then, it is compared with all
    of the cloud's once it is there. What the node wrote since the backup comes back by that alone, as
    no feed tells a node of its own writes."""
    connection = connect(path, key, writer=True)
    try:
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (MARKS,)).get:
            connection.execute(f"DELETE FROM {MARKS} WHERE name GLOB ?", (CHECKED_MARK + "*",))  # noqa: S608
    finally:
        connection.close(True)

"""Whether a database that was copied is whole: SQLite itself looks at all of it."""

from __future__ import annotations

from pathlib import Path

import apsw

from beira.kernel.errors import Corrupt
from beira.store.sqlite.files import connect, explained


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

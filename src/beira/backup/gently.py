"""Writing beside a node that lives on the same disk.

A commit of the node's is one small sync; behind a sync of megabytes it waits for all of them, since a
disk has one queue and a file system one journal. So each chunk is synced as soon as it is written,
and then the disk is left to others for as long as that took. (Priorities of I/O would not do: what
waits in the journal behind somebody of low priority waits with him.)
"""

from __future__ import annotations

import os
import time

from beira.kernel import limits


def synced(descriptor: int) -> None:
    """See a file or folder through to the disk, and rest."""
    begun_s = time.monotonic()
    os.fsync(descriptor)
    time.sleep(min(time.monotonic() - begun_s, limits.BACKUP_REST_MOST_S))

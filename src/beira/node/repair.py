"""`beira node repair`: a damaged database is kept aside, and what can be read of it goes on.

What the cloud has comes back by itself. What it lacked is saved with the log that says so; where that
log itself is damaged, all that this node ever wrote is named in it again, for replay is harmless.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from beira.kernel.collection import Registry
from beira.kernel.errors import Corrupt, Misconfigured
from beira.node import at_rest, settled
from beira.node.at_rest import DATABASE_FILE
from beira.store.sqlite import Salvaged, SqliteStore, alone, replace, salvage, written_by
from beira.sync.streams import log_route

_TRIED = ".repaired"
_AT_ONCE = 1_000


class Repaired(msgspec.Struct, kw_only=True):
    """What was done: `aside` is where the damaged file is now; nothing was wrong if it is None."""

    aside: Path | None = None
    saved: Salvaged = msgspec.field(default_factory=Salvaged)
    logged_again: int = 0
    next_step: str = ""


async def repair(data: Path, registry: Registry, key_from: str = "") -> Repaired:
    """Save what can be read of the stopped node's database in `data`. If it is whole, do nothing.

    It needs room for a second copy. Raises: Misconfigured `store.locked` while the node runs, and as
    `at_rest.opened`; Corrupt `store.lost`; Full. Until it is done the damaged file stays where it is.
    """
    path = data / DATABASE_FILE
    rest = at_rest.opened(data, key_from)
    node = settled.load(data, rest.files).enrolled.node
    if not path.exists():
        raise Misconfigured(
            f"{path} is not there.", hint="A new one is made when the node starts: beira node run."
        )
    key = rest.database_key(path)
    if await _is_whole(path, registry, key):
        return Repaired()
    with alone(path):
        fresh = path.with_name(path.name + _TRIED)
        saved = salvage(path, key, fresh, registry)
        again = await _finish(fresh, registry, key, node, saved)
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        replace(path, fresh, aside)
        fresh.with_name(fresh.name + ".lock").unlink(missing_ok=True)
    return Repaired(aside=aside, saved=saved, logged_again=again, next_step=_next_step(saved))


async def _is_whole(path: Path, registry: Registry, key: bytes | None) -> bool:
    try:
        store = await SqliteStore.open(path, registry, key=key)
    except Corrupt:
        return False
    try:
        return not await store.integrity()
    except Corrupt:
        return False
    finally:
        await store.close()


async def _finish(
    fresh: Path, registry: Registry, key: bytes | None, node: str, saved: Salvaged
) -> int:
    """Ask the cloud for everything anew; log anew what it may lack. Returns how many rows that are."""
    store = await SqliteStore.open(fresh, registry, key=key)
    try:
        cursors = {name: 0 for name in await store.marks("cursor:")}
        await store.commit([], marks=cursors)
        again = 0
        for declared in registry:
            if declared.goes_up and not saved.log_whole:
                ids = await asyncio.to_thread(written_by, fresh, key, declared.name, node)
                for first in range(0, len(ids), _AT_ONCE):
                    keys = [(declared.name, id) for id in ids[first : first + _AT_ONCE]]
                    again += await store.relog(keys, log_route(registry))
        wrong = await store.integrity()
    finally:
        await store.close()
    if wrong:
        raise Corrupt(
            f"What was saved of {fresh.name} is not whole: {wrong[0]}.",
            code="store.lost",
            hint="The disk may be failing: repair it on another one, or put back a backup.",
        )
    return again


def _next_step(saved: Salvaged) -> str:
    if "_marks" in saved.damaged:
        return (
            "Start the node. If the cloud takes it for a second machine (node.duplicated), press "
            "“Só há uma agora” at the node in the portal, and start it again."
        )
    return "Start the node: what the cloud has comes back by itself."

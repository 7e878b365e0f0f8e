"""Integrity where it touches stores: adding up rows, reading buckets, putting right what differs.

Both sides of sync read their rows through these, page by page, so that comparing a large replica
never holds up what is urgent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeAlias

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.batch import unpack
from beira.kernel.collection import Collection, Flow, Registry
from beira.kernel.digest import (
    Digest,
    Sums,
    Verdict,
    bucket_of,
    counts,
    differing,
    lacking,
    verdict,
)
from beira.kernel.inspection import Mend
from beira.kernel.record import Row
from beira.kernel.wire import Check, Fetch
from beira.store.port import NodeStore, Route, Store
from beira.store.rows import row_bytes
from beira.sync.node import losing

log = structlog.get_logger(__name__)


def inspected(registry: Registry) -> list[Collection]:
    """The collections that travel, and so can be compared."""
    return [declared for declared in registry if declared.flow is not Flow.LOCAL]


Disguise: TypeAlias = Callable[[Row], Row | None]
"""A row as it leaves a node, or None if nothing of it does (`kernel.disguise`)."""


async def add_up(
    store: Store,
    node: str,
    partition: str,
    since: Mapping[str, int],
    *,
    buckets: bool,
    disguise: Disguise = lambda row: row,
) -> dict[str, Sums]:
    """The sums of a partition's collections as `node` and the cloud both should hold them. Those that
    are not declared here are left out. The node gives its `disguise`, for the cloud has no more."""
    sums: dict[str, Sums] = {}
    for name, since_hlc in since.items():
        if name in store.registry and store.registry[name].flow is not Flow.LOCAL:
            digest = Digest(buckets=buckets)
            async for page in _pages(store, node, name, partition, (since_hlc, "")):
                digest.add(row for row in map(disguise, page) if row is not None)
            sums[name] = digest.sums
    return sums


async def compare(store: Store, node: str, check: Check) -> dict[str, list[int]]:
    """Where the sums a node sent differ from the same sums here."""
    differ: dict[str, list[int]] = {}
    for size in {len(sums) for sums in check.sums.values()}:
        names = [name for name, sums in check.sums.items() if len(sums) == size]
        since = {name: check.since.get(name, 0) for name in names}
        here = await add_up(store, node, check.partition, since, buckets=size > 1)
        for name, sums in here.items():
            if places := differing(check.sums[name], sums):
                differ[name] = places
    return differ


async def read_buckets(
    store: Store, node: str, fetch: Fetch
) -> tuple[list[Row], tuple[int, str], bool]:
    """A batch of the rows asked for, the place it ends at, and whether there is more."""
    wanted, found, size_bytes = frozenset(fetch.buckets), list[Row](), 0
    upto = fetch.after
    if fetch.collection not in store.registry:
        return found, upto, False
    async for page in _pages(store, node, fetch.collection, fetch.partition, fetch.after):
        for row in page:
            if bucket_of(row.id) in wanted:
                size_bytes += row_bytes(row)
                full = len(found) >= limits.BATCH_CHANGES or size_bytes > limits.BATCH_BYTES
                if full and found:
                    return found, upto, True
                found.append(row)
            upto = (row.stamp.hlc, row.id)
    return found, upto, False


class Mender:
    """Puts right what an inspection found on a node. It remembers the cloud's rows of the buckets at
    hand (their number is bounded by `limits.MENDED_ROWS`) until their last page is merged."""

    def __init__(self, host: Host, store: NodeStore, route: Route, disguise: Disguise) -> None:
        self._host = host
        self._store = store
        self._node = host.place.node
        self._route = route
        self._disguise = disguise
        self._theirs: dict[str, Row] = {}

    async def mend(self, mend: Mend, refused: frozenset[tuple[str, str]]) -> int:
        """Merge a page; after the last one send what the cloud lacks and remove what was deleted
        there, but nothing of `refused` (the cloud has said no to it). Returns how many rows were
        put right."""
        found = mend.found
        rows = [row for row in unpack(found.groups) if row.collection == found.collection]
        self._theirs |= {row.id: row for row in rows}
        count = 0
        if not self._store.registry[found.collection].disguised:
            count = len((await losing.merge(self._host, self._store, rows)).rows)
        if not found.more:
            theirs, self._theirs = self._theirs, {}
            count += await self._settle(mend, theirs, refused)
        return count

    async def _settle(
        self, mend: Mend, theirs: Mapping[str, Row], refused: frozenset[tuple[str, str]]
    ) -> int:
        name, count = mend.found.collection, 0
        wanted, start = frozenset(mend.buckets), (mend.since, "")
        async for page in _pages(self._store, self._node, name, mend.found.partition, start):
            for row in page:
                if bucket_of(row.id) in wanted and (name, row.id) not in refused:
                    count += await self._judge(mend, row, theirs.get(row.id))
        return count

    async def _judge(self, mend: Mend, row: Row, theirs: Row | None) -> int:
        declared, key = self._store.registry[row.collection], (row.collection, row.id)
        mine = self._disguise(row)
        if mine is None:
            return 0
        said = verdict(
            declared,
            mine,
            theirs,
            node=self._node,
            horizon_hlc=mend.horizon_hlc,
            settled_hlc=mend.settled_hlc,
        )
        match said:
            case Verdict.KEEP:
                return 0
            case Verdict.SEND:
                return await self._store.relog([key], self._route)
            case Verdict.ADOPT:
                fields = {name: mine.fields[name] for name in lacking(mine, theirs)}
                row = self._host.stamped(declared, mine.id, mine.partition, fields)
                await self._host.write([row])
            case Verdict.REPLACE | Verdict.REMOVE:
                removed = await self._store.remove([key])
                if theirs is not None and removed:
                    await self._store.commit([theirs])
                return removed
        return 1


async def _pages(
    store: Store, node: str, collection: str, partition: str, after: tuple[int, str]
) -> AsyncIterator[Sequence[Row]]:
    """All rows that count, a page at a time, in the order of writing."""
    declared = store.registry[collection]
    while True:
        page = await store.rows(collection, partition, after=after, most=limits.INSPECTED_ROWS)
        if page:
            after = (page[-1].stamp.hlc, page[-1].id)
            yield [row for row in page if counts(declared, row, node)]
        if len(page) < limits.INSPECTED_ROWS:
            return

"""Removes from the cloud's storage what no record names any longer.

Who names what is read from the rows each time: a count kept beside them would one day differ from
them, and lose a file or keep one for ever. What was sent or asked about lately is spared, so that a
blob may come before the record that names it. A collection of a newer release, which this replica
cannot read, may name blobs too: then it collects nothing and leaves it to a replica that can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from beira.blobs import BlobStore
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import TENANT_PARTITION
from beira.kernel.blob import BLOB_COLLECTIONS, StoredBlob, has_blobs, names_in
from beira.kernel.collection import collection_of, timestamp
from beira.kernel.errors import Conflict
from beira.kernel.query import Column, Every, Filter, Order, Query, where
from beira.kernel.record import DELETED, Row
from beira.sync.blobs import metrics
from beira.sync.blobs.gate import is_condemned

log = structlog.get_logger(__name__)
COLLECT_EVERY_S = 3_600
TURN_MARK = "blob.collected"
FIELDS_MARK = "blob.fields"


class Collector:
    """Collects one tenant's blobs. Any number of replicas may run it; they take turns."""

    def __init__(self, storage: BlobStore, host: Host) -> None:
        self._storage = storage
        self._host = host
        self._store = host.store
        self._named = [c for c in host.store.registry if has_blobs(c)]

    async def collect(self) -> int:
        """Remove what may go, if it is time; how many blobs that were."""
        if not (await self._knows_all_fields() and await self._is_my_turn()):
            return 0
        tenant, now_s = self._host.place.tenant, self._host.now().timestamp()
        await self._storage.tidy(tenant, now_s - limits.BLOB_STAGED_S)
        gone, after = 0, ""
        while True:
            window = [name async for name in self._old(after)]
            gone += await self._collect_among(window)
            if len(window) < limits.BLOB_COLLECTED_AT_ONCE:
                break
            after = window[-1]
        metrics.COLLECTED.inc(gone)
        if gone:
            log.info("blob.collected", tenant=tenant, blobs=gone)
        return gone

    async def _collect_among(self, window: list[str]) -> int:
        """Condemn what nothing names, look once more, and only then remove: who asks about a blob or
        sends it writes that down before it looks whether the blob is condemned."""
        doomed = await self._unnamed(window)
        await self._mark(doomed, condemned_at=self._host.now())
        still = await self._unnamed(doomed)
        gone = set()
        for name in still:
            known = await self._condemned(name)
            if known is not None:
                await self._storage.delete(self._host.place.tenant, name)
                gone.add(name)
        await self._mark(gone, condemned_at=None, stored_at=None, deleted=True)
        await self._mark([name for name in doomed if name not in gone], condemned_at=None)
        await self._drop_holdings(gone)
        return len(gone)

    async def _unnamed(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that no row names, in their order."""
        left = dict.fromkeys(names)
        for declared in self._named if left else ():
            fields = [item.name for item in declared.fields.values() if item.blob is not None]
            columns = tuple(Column(name) for name in ("id", *fields))
            async for row in self._rows(declared.name, columns=columns):
                for name in names_in(declared, row):
                    left.pop(name, None)
        return list(left)

    async def _condemned(self, name: str) -> StoredBlob | None:
        """The blob, if it is still ours to remove: nobody has asked about it meanwhile."""
        row = await self._store.get("blobs", name)
        if row is None or row.deleted:
            return None
        known = collection_of(StoredBlob).decode(name, row.fields)
        assert isinstance(known, StoredBlob)
        now = self._host.now()
        untouched = now - known.touched_at > timedelta(seconds=limits.BLOB_SPARED_S)
        return known if untouched and is_condemned(known, now) else None

    async def _old(self, after: str) -> AsyncIterator[str]:
        """A window of the blobs that nobody sent or asked about lately, in order."""
        before = self._host.now() - timedelta(seconds=limits.BLOB_SPARED_S)
        untouched = where(touched_at__lt=timestamp(before))
        told = 0
        async for row in self._rows("blobs", among=untouched, after=after):
            yield str(row["id"])
            told += 1
            if told == limits.BLOB_COLLECTED_AT_ONCE:
                return

    async def _rows(
        self,
        name: str,
        *,
        columns: tuple[Column, ...] = (Column("id"),),
        among: Filter | None = None,
        after: str = "",
    ) -> AsyncIterator[dict[str, Any]]:
        """All rows of a collection in the order of their ids, a page at a time."""
        while True:
            beyond = where(id__gt=after)
            question = Query(
                collection=name,
                columns=columns,
                where=beyond if among is None else Every((beyond, among)),
                order=(Order("id"),),
                limit=limits.QUERY_ROWS,
            )
            page = (await self._store.query(question)).rows
            for row in page:
                yield row
            if len(page) < limits.QUERY_ROWS:
                return
            after = str(page[-1]["id"])

    async def _mark(self, names: Iterable[str], *, deleted: bool = False, **fields: object) -> None:
        declared = collection_of(StoredBlob)
        checked = declared.check({**fields, DELETED: deleted}, whole=False)
        stamped = self._host.stamped
        rows = [stamped(declared, name, TENANT_PARTITION, checked) for name in names]
        await self._commit(rows)

    async def _drop_holdings(self, gone: set[str]) -> None:
        declared = BLOB_COLLECTIONS[1]
        columns = (Column("id"), Column("sha256"))
        rows: list[Row] = []
        async for row in self._rows(declared.name, columns=columns) if gone else _nothing():
            if row["sha256"] in gone:
                id, fields = str(row["id"]), {DELETED: True}
                rows.append(self._host.stamped(declared, id, TENANT_PARTITION, fields))
        await self._commit(rows)

    async def _commit(self, rows: list[Row]) -> None:
        for start in range(0, len(rows), limits.BATCH_CHANGES):
            await self._store.commit(rows[start : start + limits.BATCH_CHANGES])

    async def _is_my_turn(self) -> bool:
        """Whether no replica has collected within the hour; this one does now."""
        last = (await self._store.marks(TURN_MARK)).get(TURN_MARK)
        now_s = int(self._host.now().timestamp())
        if last is not None and 0 <= now_s - int(last) < COLLECT_EVERY_S:
            return False
        with suppress(Conflict):
            await self._store.commit([], marks={TURN_MARK: now_s}, expect={TURN_MARK: last})
            return True
        return False

    async def _knows_all_fields(self) -> bool:
        """Whether this release knows every field that ever named blobs here; adds its own."""
        mine = {
            f"{declared.name}.{item.name}"
            for declared in self._named
            for item in declared.fields.values()
            if item.blob is not None
        }
        known = (await self._store.marks(FIELDS_MARK)).get(FIELDS_MARK)
        everyones = mine | set(known or ())
        if everyones != set(known or ()):
            with suppress(Conflict):
                told = {FIELDS_MARK: sorted(everyones)}
                await self._store.commit([], marks=told, expect={FIELDS_MARK: known})
        foreign = sorted(everyones - mine)
        if foreign:
            log.warning("blob.not_collected", tenant=self._host.place.tenant, unknown=foreign)
        return not foreign


async def _nothing() -> AsyncIterator[dict[str, Any]]:
    return
    yield

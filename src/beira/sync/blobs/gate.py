"""The cloud's half of the blobs' lane: takes what nodes send, gives what their records name, and
collects what no record names any longer.

It keeps no state between requests but what is in the store and the storage, so any replica serves
any request. A blob is confirmed to a node only once it is verified and durable, and given only to
one that has shown it has it, or for a record it may see whose author had it: a name alone, which
may be guessed or overheard, opens nothing. Nothing crosses from one tenant to another.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from beira.blobs import BlobStore, pieces
from beira.blobs.port import missing
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import TENANT_PARTITION, Principal, partitions
from beira.kernel.blob import (
    SHA256_CHARS,
    BlobHolding,
    BlobRef,
    RecordKey,
    StoredBlob,
    Told,
    checked_ref,
    holding_id,
    named_by,
    proving,
)
from beira.kernel.collection import collection_of
from beira.kernel.errors import Conflict, Corrupt, Denied, Full, TooLarge, Unavailable
from beira.kernel.query import Column, Compare, Measure, Op, Query
from beira.kernel.record import DELETED, Record, Row
from beira.sync.blobs import metrics

log = structlog.get_logger(__name__)
NONCE_MARK = "blob.nonces"
REPLICA = "cloud-"
"""How replicas sign what they write: nodes' ids begin otherwise, and cannot be forged."""
CONDEMNED = timedelta(minutes=10)
"""A blob being collected is neither there nor missing. A collector that died frees it after this."""
SPARED_TRIES = 5
SPARED_WAIT_S = 1.0
R = TypeVar("R", bound=Record)


class BlobGate:
    """Serves nodes' blobs out of `storage`; `host_of` gives a tenant's host."""

    def __init__(self, storage: BlobStore, host_of: Callable[[str], Awaitable[Host]]) -> None:
        self.storage = storage
        self._host_of = host_of
        self._looking = asyncio.Semaphore(limits.BLOBS_LOOKED_AT_ONCE)
        self._proving = asyncio.Semaphore(limits.BLOB_PROOFS_AT_ONCE)
        self._reserved: deque[tuple[str, BlobRef]] = deque(maxlen=limits.BLOB_RESERVED_KEPT)

    async def ask(self, node: Principal, refs: Sequence[BlobRef]) -> list[Told]:
        """What the cloud has of these blobs. Raises TooLarge, and as `checked_ref`."""
        if len(refs) > limits.BLOBS_PER_ASK:
            raise TooLarge(f"Ask about {limits.BLOBS_PER_ASK} blobs at most.", code="blob.ask")
        host = await self._host_of(node.tenant)
        wanted = {checked_ref(ref).sha256: ref for ref in refs}
        known = {str(row.id): row for row in await _found(host, StoredBlob, list(wanted))}
        holdings = await _found(host, BlobHolding, [holding_id(name, node.id) for name in wanted])
        held = {holding.sha256 for holding in holdings}
        told = await asyncio.gather(
            *(self._told(host, node, ref, known.get(ref.sha256), held) for ref in wanted.values())
        )
        stale = [t.sha256 for t in told if t.state == "present" and _stale(host, known[t.sha256])]
        if stale:
            await self._touch(host, stale)
        return told

    async def append(self, node: Principal, ref: BlobRef, offset: int, data: bytes) -> Told:
        """The next chunk of a blob; with the last one (which may be empty) the whole is verified.

        Raises: Conflict `blob.offset`, Corrupt `blob.mismatch`, Full `blob.disk_full`, Full
        `blob.quota`, and as `checked_ref`.
        """
        checked_ref(ref)
        if offset + len(data) > ref.size_bytes:
            raise TooLarge("The chunk goes beyond the blob's end.", code="blob.offset")
        host = await self._host_of(node.tenant)
        touched = await self._reserve(host, node.tenant, ref)
        upto = offset
        if data:
            upto = await self.storage.append(node.tenant, node.id, ref.sha256, offset, data)
            metrics.BYTES.labels("in").inc(len(data))
        if upto < ref.size_bytes:
            return Told(sha256=ref.sha256, state="missing", offset=upto)
        return await self._finish(host, node, ref, touched=touched)

    async def prove(self, node: Principal, ref: BlobRef, proof: str) -> Told:
        """A node shows that it has what is here already. Raises Denied `blob.unproven`, NotFound."""
        host = await self._host_of(node.tenant)
        size = await self.storage.size(node.tenant, checked_ref(ref).sha256)
        if size is None or size != ref.size_bytes:
            raise missing(ref.sha256)
        digest = proving(await self._nonce(host, node, ref.sha256))
        async with self._proving:
            async for piece in pieces(self.storage, node.tenant, ref.sha256, 0, size):
                await asyncio.to_thread(digest.update, piece)
        if not hmac.compare_digest(digest.hexdigest(), proof):
            raise Denied(
                "That is no proof of having this blob.",
                code="blob.unproven",
                hint="Send its content.",
            )
        return await self._confirm(host, node, ref)

    async def size(self, node: Principal, sha256: str, key: RecordKey | None) -> int:
        """The size of a blob that `node` may have: it has had it before, or the record `key`, which
        it may see, names it. Raises NotFound `blob.missing`, the same whether it is there or not."""
        host = await self._host_of(node.tenant)
        if len(sha256) != SHA256_CHARS or not await self._may_read(host, node, sha256, key):
            raise missing(sha256)
        size = await self.storage.size(node.tenant, sha256)
        if size is None:
            raise missing(sha256)
        return size

    async def add(self, tenant: str, path: Path) -> BlobRef:
        """Keep a file of the cloud's own, for a record it is about to write. Raises as `append`."""
        host = await self._host_of(tenant)
        digest = await asyncio.to_thread(_hash_file, path)
        ref = checked_ref(BlobRef(sha256=digest, size_bytes=path.stat().st_size))
        await self._reserve(host, tenant, ref)
        owner = f"{REPLICA}{secrets.token_hex(8)}"
        with path.open("rb") as file:
            offset = 0
            while data := await asyncio.to_thread(file.read, limits.BLOB_CHUNK_BYTES):
                offset = await self.storage.append(tenant, owner, digest, offset, data)
        await self.keep(tenant, owner, ref)
        return ref

    async def keep(self, tenant: str, owner: str, ref: BlobRef, *, staged_as: str = "") -> None:
        """Make a blob of what the cloud's own `owner` has staged; a record should name it soon.

        Raises: Unavailable `blob.busy` while the collector has it in hand, Full `blob.quota`, and as
        `BlobStore.finish`.
        """
        host = await self._host_of(tenant)
        await self._reserve(host, tenant, ref)
        for _ in range(SPARED_TRIES):
            await self._write(host, ref.sha256, touched_at=host.now())
            (known,) = await _found(host, StoredBlob, [ref.sha256])
            if not is_condemned(known, host.now()):
                break
            await asyncio.sleep(SPARED_WAIT_S)
        else:
            raise Unavailable(
                "This very file is just being collected.", code="blob.busy", hint="Try again soon."
            )
        try:
            await self.storage.finish(tenant, owner, ref, staged_as=staged_as)
        except Conflict:  # another replica, or we before a crash, came this far
            if await self.storage.size(tenant, ref.sha256) != ref.size_bytes:
                raise
        fields = {"size_bytes": ref.size_bytes, "touched_at": host.now(), "stored_at": host.now()}
        await self._write(host, ref.sha256, **fields)

    async def room(self, tenant: str, size_bytes: int) -> None:
        """Raises Full `blob.quota` unless the tenant may keep so much more."""
        await _check_room(await self._host_of(tenant), size_bytes)

    async def _told(
        self, host: Host, node: Principal, ref: BlobRef, known: StoredBlob | None, held: set[str]
    ) -> Told:
        name = ref.sha256
        if known is not None and is_condemned(known, host.now()):
            return Told(sha256=name, state="later")
        async with self._looking:
            size = await self.storage.size(node.tenant, name) if known is not None else None
            if size != ref.size_bytes:
                offset = await self.storage.staged(node.tenant, node.id, name)
                return Told(sha256=name, state="missing", offset=min(offset, ref.size_bytes))
        if name in held:
            return Told(sha256=name, state="present")
        return Told(sha256=name, state="prove", nonce=await self._nonce(host, node, name))

    async def _finish(self, host: Host, node: Principal, ref: BlobRef, *, touched: bool) -> Told:
        """Touch, then look whether it is being collected; the collector does the reverse, so that
        one of the two sees the other. `touched`: it was within this very request."""
        if not touched:
            await self._write(host, ref.sha256, touched_at=host.now())
        (known,) = await _found(host, StoredBlob, [ref.sha256])
        if is_condemned(known, host.now()):
            return Told(sha256=ref.sha256, state="later")
        try:
            await self.storage.finish(node.tenant, node.id, ref)
        except Corrupt:
            metrics.REFUSED.labels("mismatch").inc()
            log.warning("blob.mismatch", node=node.id, blob=ref.sha256, size_bytes=ref.size_bytes)
            raise
        metrics.DONE.labels("in").inc()
        return await self._confirm(host, node, ref)

    async def _confirm(self, host: Host, node: Principal, ref: BlobRef) -> Told:
        """Verified and durable: say so in the store, and only then to the node."""
        now = host.now()
        fields = {"size_bytes": ref.size_bytes, "touched_at": now, "stored_at": now}
        stored = _blob_row(host, ref.sha256, fields)
        await host.store.commit([stored, _holding_row(host, node, ref.sha256)])
        return Told(sha256=ref.sha256, state="present")

    async def _reserve(self, host: Host, tenant: str, ref: BlobRef) -> bool:
        """Note a blob that begins to come, within what its tenant may keep; whether it was noted now
        rather than before."""
        key = (tenant, ref)
        if key in self._reserved:
            return False
        known = await _found(host, StoredBlob, [ref.sha256])
        more = ref.size_bytes - (known[0].size_bytes if known else 0)
        if known and more <= 0:
            self._reserved.append(key)
            return False
        await _check_room(host, more)
        await self._write(host, ref.sha256, size_bytes=ref.size_bytes, touched_at=host.now())
        return True

    async def _may_read(
        self, host: Host, node: Principal, sha256: str, key: RecordKey | None
    ) -> bool:
        if await _holds(host, sha256, node.id):
            return True
        if key is None or key[0] not in host.store.registry:
            return False
        declared, row = host.store.registry[key[0]], await host.store.get(*key)
        if row is None or not declared.goes_down or row.partition not in (partitions(node) or ()):
            return False
        named = named_by(declared, row).get(sha256)
        if named is None:
            return False
        author = named[1]
        if not author.startswith(REPLICA) and not await _holds(host, sha256, author):
            return False
        await host.store.commit([_holding_row(host, node, sha256)])
        return True

    async def _nonce(self, host: Host, node: Principal, sha256: str) -> str:
        """What a node must hash before the content: its own for each blob, so that no node's proof
        serves another, and the same at every replica."""
        marks = await host.store.marks(NONCE_MARK)
        if NONCE_MARK not in marks:
            made = {NONCE_MARK: secrets.token_hex(32)}
            with suppress(Conflict):
                await host.store.commit([], marks=made, expect={NONCE_MARK: None})
            marks = await host.store.marks(NONCE_MARK)
        key = bytes.fromhex(str(marks[NONCE_MARK]))
        return hmac.new(key, f"{node.id}\0{sha256}".encode(), "sha256").hexdigest()

    async def _touch(self, host: Host, names: Iterable[str]) -> None:
        now = host.now()
        await host.store.commit([_blob_row(host, name, {"touched_at": now}) for name in names])

    async def _write(self, host: Host, sha256: str, **fields: object) -> None:
        await host.store.commit([_blob_row(host, sha256, fields)])


async def _check_room(host: Host, more_bytes: int) -> None:
    measured = Column("size_bytes", alias="sum", measure=Measure.SUM)
    page = await host.store.query(Query(collection="blobs", columns=(measured,)))
    if int(page.rows[0]["sum"] or 0) + more_bytes > limits.BLOB_TENANT_BYTES:
        raise Full(
            f"{host.place.tenant} keeps {limits.BLOB_TENANT_BYTES} bytes of blobs at most.",
            code="blob.quota",
            hint="Delete records that name blobs no longer needed.",
        )


def is_condemned(known: StoredBlob, now: datetime) -> bool:
    """Whether the collector is taking it away at this moment."""
    return known.condemned_at is not None and now - known.condemned_at < CONDEMNED


def _stale(host: Host, known: StoredBlob) -> bool:
    age = host.now() - known.touched_at
    return age > timedelta(seconds=limits.BLOB_SPARED_S / 3)


def _blob_row(host: Host, sha256: str, fields: dict[str, object]) -> Row:
    declared = collection_of(StoredBlob)
    checked = declared.check({**fields, DELETED: False}, whole=False)
    return host.stamped(declared, sha256, TENANT_PARTITION, checked)


def _holding_row(host: Host, node: Principal, sha256: str) -> Row:
    declared = collection_of(BlobHolding)
    holding = BlobHolding(sha256=sha256, node=node.id, at=host.now())
    fields = {**declared.encode(holding), DELETED: False}
    return host.stamped(declared, holding_id(sha256, node.id), TENANT_PARTITION, fields)


async def _holds(host: Host, sha256: str, node: str) -> bool:
    row = await host.store.get("blob_holdings", holding_id(sha256, node))
    return row is not None and not row.deleted


async def _found(host: Host, kind: type[R], ids: Sequence[str]) -> list[R]:
    """The records of a kind with these ids that there are."""
    declared = collection_of(kind)
    if not ids:
        return []
    question = Query(
        collection=declared.name,
        where=Compare("id", Op.IN, tuple(ids)),
        limit=limits.QUERY_ROWS,
    )
    page = await host.store.query(question)
    return declared.decode_whole(page.rows)  # type: ignore[return-value]


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

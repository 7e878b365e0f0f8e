"""The cloud's part in backups: it keeps what a node has sent as blobs, while a record names them.

A node names only what it has shown to have, and is told only of its own backups. What is inside is
sealed under a key the cloud never has.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from litestar import Request, Response, Router, post
from litestar.types import ControllerRouterHandler

from beira.blobs.port import missing, pieces
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import TENANT_PARTITION, Principal
from beira.kernel.backup import (
    NAMES_PER_RECORD,
    SHA256_BYTES,
    BackupHere,
    BackupsHere,
    CheckChunks,
    Damaged,
    KeepBackup,
    KeptBackup,
    KeptChunks,
    Lacking,
)
from beira.kernel.blob import BlobHolding, BlobRef, StoredBlob, checked_ref, holding_id
from beira.kernel.collection import collection_of
from beira.kernel.errors import BeiraError, Corrupt, Invalid, NotFound
from beira.kernel.query import Column, Compare, Op, Order, Query, where
from beira.kernel.record import DELETED, Record, Row
from beira.sync.blobs.gate import BlobGate
from beira.sync.cloud.routes import Admit, admitted_node

log = structlog.get_logger(__name__)


class BackupGate:
    """Keeps nodes' backups. Any replica serves any request."""

    def __init__(self, blobs: BlobGate, host_of: Callable[[str], Awaitable[Host]]) -> None:
        self._blobs = blobs
        self._host_of = host_of
        self._checking = asyncio.Semaphore(limits.BACKUP_CHECKS_AT_ONCE)

    async def of(self, node: Principal) -> BackupsHere:
        """The backups of the node that asks."""
        host = await self._host_of(node.tenant)
        return BackupsHere(
            backups=[
                BackupHere(
                    taken_ms=round(kept.taken_at.timestamp() * 1000),
                    manifest=BlobRef(sha256=kept.manifest, size_bytes=kept.manifest_bytes),
                )
                for kept in await _kept(host, node.id)
            ]
        )

    async def keep(self, node: Principal, asked: KeepBackup) -> Lacking:
        """Keep what `asked.names` lists as a backup, if all of it is here; forget the oldest.

        Raises: NotFound `blob.missing` if the node has not sent the list itself, Invalid.
        """
        host = await self._host_of(node.tenant)
        names = await self._names(host, node, asked)
        lacking, size_bytes = await _lacking(host, node, [asked.manifest.sha256, *names])
        if lacking:
            return Lacking(lacking=lacking[: limits.BACKUP_LACKING_TOLD])
        id = f"{node.id}.{asked.taken_ms}"
        starts = range(0, len(names), NAMES_PER_RECORD)
        parts: list[Record] = [
            KeptChunks(
                id=f"{id}.{number}", backup=id, chunks=names[start : start + NAMES_PER_RECORD]
            )
            for number, start in enumerate(starts)
        ]
        kept = KeptBackup(
            id=id,
            node=node.id,
            taken_at=datetime.fromtimestamp(asked.taken_ms / 1000, UTC),
            manifest=asked.manifest.sha256,
            manifest_bytes=asked.manifest.size_bytes,
            names=asked.names.sha256,
            parts=len(parts),
            size_bytes=size_bytes,
        )
        for part in (*parts, kept):  # the backup itself last: then all of it is named
            await host.store.commit([_row(host, part)])
        await self._forget_old(host, node)
        log.info("backup.kept", node=node.id, chunks=len(names), size_bytes=size_bytes)
        return Lacking()

    async def check(self, node: Principal, asked: CheckChunks) -> Damaged:
        """Read chunks through, and let go of those that are not what they are called: then the node
        can send them anew. Nothing but names goes over the link.

        Raises: Invalid `backup.names` for too many; Unavailable if the storage cannot be read.
        """
        if len(asked.chunks) > limits.BACKUP_CHECKED_CHUNKS:
            raise Invalid(
                f"At most {limits.BACKUP_CHECKED_CHUNKS} chunks at a time.", code="backup.names"
            )
        host = await self._host_of(node.tenant)
        names = [checked_ref(ref).sha256 for ref in asked.chunks]
        lacking = set((await _lacking(host, node, names))[0])
        damaged = [name for name in names if name in lacking]
        for ref in asked.chunks:
            if ref.sha256 not in lacking and not await self._is_whole(node.tenant, ref):
                damaged.append(ref.sha256)
                await self._let_go(host, ref.sha256)
        if damaged:
            log.warning("backup.damaged", node=node.id, chunks=damaged)
        return Damaged(damaged=damaged)

    async def _is_whole(self, tenant: str, ref: BlobRef) -> bool:
        digest = hashlib.sha256()
        storage = self._blobs.storage
        async with self._checking:
            try:
                if await storage.size(tenant, ref.sha256) != ref.size_bytes:
                    return False
                async for piece in pieces(storage, tenant, ref.sha256, 0, ref.size_bytes):
                    await asyncio.to_thread(digest.update, piece)
            except NotFound:
                return False
        return digest.hexdigest() == ref.sha256

    async def _let_go(self, host: Host, name: str) -> None:
        """Say first that it is not there: a backup must not be kept on the word of what goes away."""
        declared = collection_of(StoredBlob)
        gone = declared.check({"stored_at": None}, whole=False)
        await host.store.commit([host.stamped(declared, name, TENANT_PARTITION, gone)])
        await self._blobs.storage.delete(host.place.tenant, name)

    async def _names(self, host: Host, node: Principal, asked: KeepBackup) -> list[str]:
        """The chunks, as the node has listed them in a blob."""
        ref = checked_ref(asked.names)
        checked_ref(asked.manifest)
        if ref.size_bytes > limits.BACKUP_NAMES_BYTES or ref.size_bytes % SHA256_BYTES:
            raise Invalid("That is no list of chunks.", code="backup.names")
        size = await self._blobs.size(node, ref.sha256, None)
        if size != ref.size_bytes:
            raise missing(ref.sha256)
        data = bytearray()
        async for piece in pieces(self._blobs.storage, host.place.tenant, ref.sha256, 0, size):
            data += piece
        found = {data[at : at + SHA256_BYTES].hex() for at in range(0, size, SHA256_BYTES)}
        return sorted(found)

    async def _forget_old(self, host: Host, node: Principal) -> None:
        for kept in (await _kept(host, node.id))[limits.BACKUP_GENERATIONS :]:
            gone = [_gone(host, kept)]
            for number in range(kept.parts):
                gone.append(_gone(host, KeptChunks(id=f"{kept.id}.{number}", backup=str(kept.id))))
            await host.store.commit(gone)


async def _kept(host: Host, node: str) -> list[KeptBackup]:
    """A node's backups, the newest first."""
    declared = collection_of(KeptBackup)
    question = Query(
        collection=declared.name,
        where=where(node=node),
        order=(Order("taken_at", descending=True),),
        limit=limits.QUERY_ROWS,
    )
    page = await host.store.query(question)
    return declared.decode_whole(page.rows)  # type: ignore[return-value]


async def _lacking(host: Host, node: Principal, names: Sequence[str]) -> tuple[list[str], int]:
    """Those of `names` that are not here, or that this node never sent; the bytes of the others."""
    lacking: list[str] = []
    size_bytes = 0
    for start in range(0, len(names), limits.BLOBS_PER_ASK):
        some = names[start : start + limits.BLOBS_PER_ASK]
        stored = {
            str(row["id"]): int(row["size_bytes"])
            for row in await _with_ids(host, StoredBlob, some)
            if row["stored_at"] is not None and row["condemned_at"] is None
        }
        ids = [holding_id(name, node.id) for name in some]
        held = {str(row["sha256"]) for row in await _with_ids(host, BlobHolding, ids)}
        lacking += [name for name in some if name not in stored or name not in held]
        size_bytes += sum(stored.values())
        await asyncio.sleep(0)
    return lacking, size_bytes


async def _with_ids(host: Host, kind: type[Record], ids: Sequence[str]) -> list[dict[str, Any]]:
    declared = collection_of(kind)
    columns = tuple(Column(name) for name in ("id", *declared.fields))
    question = Query(
        collection=declared.name,
        columns=columns,
        where=Compare("id", Op.IN, tuple(ids)),
        limit=limits.QUERY_ROWS,
    )
    return list((await host.store.query(question)).rows)


def _row(host: Host, record: Record) -> Row:
    declared = collection_of(type(record))
    fields = {**declared.encode(record), DELETED: False}
    return host.stamped(declared, str(record.id), TENANT_PARTITION, fields)


def _gone(host: Host, record: Record) -> Row:
    declared = collection_of(type(record))
    return host.stamped(declared, str(record.id), TENANT_PARTITION, {DELETED: True})


def backup_routes(gate: BackupGate, admit: Admit) -> ControllerRouterHandler:
    """Handlers for `/sync/v1/backups`."""

    @post("/list", status_code=200)
    async def list_them(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = (await admitted_node(admit, request.headers.get("authorization", "")))[0]
        return _json(await gate.of(node))

    @post("/keep", status_code=200)
    async def keep(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = (await admitted_node(admit, request.headers.get("authorization", "")))[0]
        try:
            asked = msgspec.json.decode(await request.body(), type=KeepBackup)
        except msgspec.MsgspecError as error:
            raise Invalid(f"Not understood: {error}.", code="backup.ask") from None
        return _json(await gate.keep(node, asked))

    @post("/check", status_code=200)
    async def check(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = (await admitted_node(admit, request.headers.get("authorization", "")))[0]
        try:
            asked = msgspec.json.decode(await request.body(), type=CheckChunks)
        except msgspec.MsgspecError as error:
            raise Invalid(f"Not understood: {error}.", code="backup.ask") from None
        return _json(await gate.check(node, asked))

    return Router(
        path="/sync/v1/backups",
        route_handlers=[list_them, keep, check],
        exception_handlers={BeiraError: _told},
        include_in_schema=False,
    )


def _json(body: msgspec.Struct) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _told(request: Request[Any, Any, Any], error: BeiraError) -> Response[bytes]:
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    status = 422 if isinstance(error, Corrupt) else error.status
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")

"""Files that people send, in pieces and again after a cut: tus 1.0.0 under Supabase's path,
`/storage/v1/upload/resumable`. Cloud only.

What has come lies in the blob storage under the upload's own name, so that any replica can go on, and
all that is known of it is a record. Whole, it becomes a blob, and the command its client named runs
with it, as the person who sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Protocol

from beira.api.door import Caller
from beira.api.errors import ChecksumMismatch, Gone
from beira.host import Host
from beira.kernel import limits
from beira.kernel.access import Kind
from beira.kernel.blob import BlobRef
from beira.kernel.collection import collection_of, timestamp
from beira.kernel.command import Receipt, Runs
from beira.kernel.errors import Conflict, Denied, Full, NotFound, TooLarge
from beira.kernel.query import Column, Measure, Query, where
from beira.kernel.upload import Told, Upload, check_command, handed_over, ref_of

OWNER = "cloud-uploads"
CALL = "upload-"
Digest = Callable[[bytes], bool]
"""Whether what came is what was sent."""


class Storage(Protocol):
    """What uploads ask of the place where blobs are kept; `blobs.port.BlobStore` is one."""

    async def staged(self, tenant: str, owner: str, sha256: str) -> int: ...
    async def append(
        self, tenant: str, owner: str, sha256: str, offset: int, data: bytes
    ) -> int: ...
    async def hashed(self, tenant: str, owner: str, name: str) -> BlobRef: ...
    async def discard(self, tenant: str, owner: str, sha256: str) -> None: ...


class Keeper(Protocol):
    """Makes blobs of what was staged, within the tenant's quota; `sync.blob_gate.BlobGate` is one."""

    async def keep(self, tenant: str, owner: str, ref: BlobRef, *, staged_as: str = "") -> None: ...
    async def room(self, tenant: str, size_bytes: int) -> None: ...


class Uploads:
    """The uploads of all tenants of a cloud."""

    def __init__(self, storage: Storage, keeper: Keeper) -> None:
        self._storage = storage
        self._keeper = keeper

    async def create(self, caller: Caller, size_bytes: int, told: Told) -> Upload:
        """Begin one. Raises Denied, NotFound `command.unknown`, Invalid, TooLarge `upload.too_large`,
        Full `upload.too_many` and `blob.quota`."""
        host, who = caller.host, caller.principal
        command = host.catalogue.command(told.command)
        if who.kind is not Kind.PERSON or who.role not in command.roles:
            raise Denied("This person may not send that.", hint="Ask an owner of the tenant.")
        if command.runs is Runs.NODE:
            raise Denied(f"{command.name} takes no uploads.", code="command.elsewhere")
        if not 0 < size_bytes <= limits.UPLOAD_BYTES:
            raise TooLarge(f"A file has 1 to {limits.UPLOAD_BYTES} bytes.", code="upload.too_large")
        now = host.now()
        upload = Upload(
            id=host.wall.new_id(),
            name=told.name,
            size_bytes=size_bytes,
            by=who.id,
            command=command.name,
            params=told.params,
            created_at=now,
            expires_at=now + timedelta(seconds=limits.UPLOAD_KEPT_S),
        )
        check_command(command, upload)
        await self._check_room(host, size_bytes)
        async with host.writing() as ctx:
            ctx.put(upload)
        return upload

    async def find(self, caller: Caller, id: str) -> Upload:
        """One's own upload, settled if it is whole. Raises NotFound `upload.unknown`, Gone."""
        row = await caller.host.store.get("uploads", id[: limits.ID_CHARS])
        upload = None
        if row is not None and not row.deleted:
            upload = collection_of(Upload).decode(row.id, row.fields)
        if not isinstance(upload, Upload) or upload.by != caller.principal.id:
            raise NotFound("There is no such upload.", code="upload.unknown", hint="Begin anew.")
        if not upload.done and upload.expires_at <= caller.host.now():
            await self.end(caller.host, upload)
            raise Gone("This upload has expired.", code="upload.expired", hint="Begin anew.")
        return upload

    async def offset(self, caller: Caller, upload: Upload) -> int:
        """How much of it has come, durably; one that is whole is seen to its end."""
        if upload.done:
            return upload.size_bytes
        came = upload.size_bytes if upload.sha256 else await self._came(caller.host, upload)
        if came == upload.size_bytes:
            await self.settle(caller, upload)
        return came

    async def append(
        self, caller: Caller, upload: Upload, offset: int, body: AsyncIterator[bytes]
    ) -> int:
        """Go on with it at `offset`; the new one. What came before a cut is kept.

        Raises: Conflict `blob.offset` and `blob.busy`, TooLarge beyond its length, Full.
        """
        if upload.done or upload.sha256:
            raise Conflict("This upload is whole.", code="blob.offset", hint="Ask how far it is.")
        tenant = caller.host.place.tenant
        upto = offset
        async with aclosing(_chunks(body, upload.size_bytes - offset)) as chunks:
            async for chunk in chunks:
                upto = await self._storage.append(tenant, OWNER, upload.id, upto, chunk)
        if upto == offset and upto != await self._came(caller.host, upload):
            raise Conflict("Another offset is next.", code="blob.offset", hint="Ask for it.")
        if upto == upload.size_bytes:
            await self.settle(caller, upload)
        return upto

    async def append_checked(
        self,
        caller: Caller,
        upload: Upload,
        offset: int,
        body: AsyncIterator[bytes],
        is_right: Digest,
    ) -> int:
        """As `append`, of a piece that is kept only if it came as it was sent. Raises ChecksumMismatch,
        TooLarge for a piece over `UPLOAD_CHECKED_BYTES`."""
        piece = bytearray()
        async for part in body:
            piece += part
            if len(piece) > limits.UPLOAD_CHECKED_BYTES:
                raise TooLarge(
                    f"A piece with a checksum has {limits.UPLOAD_CHECKED_BYTES} bytes at most.",
                    code="upload.too_large",
                )
        if not await asyncio.to_thread(is_right, bytes(piece)):
            raise ChecksumMismatch("The piece came other than it was sent.", hint="Send it again.")
        return await self.append(caller, upload, offset, _once(bytes(piece)))

    async def settle(self, caller: Caller, upload: Upload) -> Receipt:
        """Make a whole upload a blob and hand it over; done again after a crash, it does no more."""
        host, tenant = caller.host, caller.host.place.tenant
        if not upload.sha256:
            ref = await self._storage.hashed(tenant, OWNER, upload.id)
            upload.sha256 = ref.sha256
            async with host.writing() as ctx:
                ctx.patch(Upload, upload.id, sha256=ref.sha256)
        await self._keeper.keep(tenant, OWNER, ref_of(upload), staged_as=upload.id)
        receipt = await host.run(
            upload.command,
            handed_over(upload),
            principal=caller.principal,
            door="upload",
            call_id=CALL + upload.id,
        )
        async with host.writing() as ctx:
            ctx.patch(Upload, upload.id, done=True)
        upload.done = True
        return receipt

    async def receipt(self, host: Host, upload: Upload) -> Receipt | None:
        """What became of it once it was whole."""
        row = await host.store.get("receipts", CALL + upload.id)
        if row is None:
            return None
        receipt = collection_of(Receipt).decode(row.id, row.fields)
        assert isinstance(receipt, Receipt)
        return receipt

    async def end(self, host: Host, upload: Upload) -> None:
        """Forget one, and what has come of it unless it is a blob."""
        await self._storage.discard(host.place.tenant, OWNER, upload.id)
        async with host.writing() as ctx:
            ctx.delete(Upload, upload.id)

    async def tidy(self, host: Host) -> int:
        """Forget those that have expired; how many."""
        question = Query(
            collection="uploads",
            where=where(expires_at__lte=timestamp(host.now())),
            limit=limits.COMMAND_WRITES,
        )
        rows = (await host.store.query(question)).rows
        for row in rows:
            upload = collection_of(Upload).decode(str(row["id"]), row)
            assert isinstance(upload, Upload)
            await self.end(host, upload)
        return len(rows)

    async def _came(self, host: Host, upload: Upload) -> int:
        return await self._storage.staged(host.place.tenant, OWNER, upload.id)

    async def _check_room(self, host: Host, size_bytes: int) -> None:
        columns = (
            Column("size_bytes", alias="sum", measure=Measure.SUM),
            Column(alias="count", measure=Measure.COUNT),
        )
        open_ones = where(done=False, expires_at__gt=timestamp(host.now()))
        question = Query(collection="uploads", where=open_ones, columns=columns)
        (row,) = (await host.store.query(question)).rows
        if int(row["count"] or 0) >= limits.UPLOADS_OPEN:
            raise Full(
                f"{limits.UPLOADS_OPEN} uploads are under way.",
                code="upload.too_many",
                hint="Finish or end some of them.",
            )
        await self._keeper.room(host.place.tenant, size_bytes + int(row["sum"] or 0))


async def _chunks(body: AsyncIterator[bytes], most_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces as large as the storage takes; what came before a cut, too. Raises TooLarge
    for more than `most_bytes`."""
    held = bytearray()
    failure: BaseException | None = None
    try:
        async for piece in body:
            held += piece
            most_bytes -= len(piece)
            if most_bytes < 0:
                del held[most_bytes:]
                raise TooLarge("More came than was announced.", code="upload.too_large")
            while len(held) >= limits.BLOB_CHUNK_BYTES:
                yield bytes(held[: limits.BLOB_CHUNK_BYTES])
                del held[: limits.BLOB_CHUNK_BYTES]
    except (Exception, asyncio.CancelledError) as error:
        failure = error
    if held:
        yield bytes(held)
    if failure is not None:
        raise failure


async def _once(piece: bytes) -> AsyncIterator[bytes]:
    yield piece

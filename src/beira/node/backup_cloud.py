"""The cloud as a place for backups: chunks are blobs, each asked about before it is sent, and a list of
their names keeps them. It never takes more than its share of the link."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from beira.backup import Generation
from beira.kernel import limits
from beira.kernel.backup import BackupsHere, CheckChunks, Damaged, KeepBackup, Lacking
from beira.kernel.blob import BlobRef, Told, proving
from beira.kernel.errors import Conflict, Corrupt, TooMany, Unavailable
from beira.kernel.policy import retry_after_s
from beira.node.cloud_client import CloudClient, TokenSource
from beira.sync.blobs.client import BlobClient
from beira.sync.blobs.transfer import Pace

T = TypeVar("T")
PATH = "/sync/v1/backups"
_OF_THE_CLOUD = ("backups", "")


class CloudPlace:
    """Implements `Place` at the cloud of a node that is enrolled there.

    `spare` leaves half of the link, as it was measured, to others.
    """

    label = "cloud"

    def __init__(
        self,
        client: CloudClient,
        blobs: BlobClient,
        token: TokenSource,
        *,
        bytes_per_s: int = 0,
        spare: bool = True,
    ) -> None:
        self._client, self._blobs, self._token = client, blobs, token
        self._pace = Pace(bytes_per_s, time.monotonic)
        self._pace.busy = spare
        self._sending = asyncio.Semaphore(limits.BACKUP_REQUESTS_AT_ONCE)

    async def generations(self) -> list[Generation]:
        told = await self._patiently(self._list)
        return [
            Generation(
                taken_ms=one.taken_ms,
                sha256=one.manifest.sha256,
                size_bytes=one.manifest.size_bytes,
            )
            for one in told.backups
        ]

    async def manifest(self, generation: Generation) -> bytes:
        ref = BlobRef(sha256=generation.sha256, size_bytes=generation.size_bytes)
        data = await self.read(ref)
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise Corrupt("A backup's list of contents is damaged.", code="backup.manifest")
        return data

    async def read(self, ref: BlobRef) -> bytes:
        data = bytearray()
        while len(data) < ref.size_bytes:
            start, most = len(data), min(limits.BLOB_CHUNK_BYTES, ref.size_bytes - len(data))

            async def get(start: int = start, most: int = most) -> tuple[int, bytes]:
                return await self._blobs.read(ref.sha256, _OF_THE_CLOUD, start, most)

            _, piece = await self._patiently(get)
            if not piece:
                raise Corrupt("The cloud has less of a chunk than it had.", code="backup.chunk")
            data += piece
        return bytes(data)

    async def put(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        contents = dict(chunks)
        refs = [BlobRef(sha256=name, size_bytes=len(data)) for name, data in contents.items()]
        told: list[Told] = []
        for start in range(0, len(refs), limits.BLOBS_PER_ASK):
            told += await self._ask(refs[start : start + limits.BLOBS_PER_ASK])
        sizes = {ref.sha256: ref for ref in refs}
        sending = [
            asyncio.create_task(self._send(sizes[one.sha256], contents[one.sha256], one))
            for one in told
        ]
        try:
            await asyncio.gather(*sending)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def finish(self, taken_ms: int, manifest: bytes, names: Collection[str]) -> list[str]:
        listed = b"".join(map(bytes.fromhex, sorted(names)))
        both = [(hashlib.sha256(data).hexdigest(), data) for data in (manifest, listed)]
        await self.put(both)
        kept, list_of_names = (BlobRef(sha256=name, size_bytes=len(data)) for name, data in both)
        asked = KeepBackup(taken_ms=taken_ms, manifest=kept, names=list_of_names)

        async def keep() -> Lacking:
            token = await self._token()
            return await self._client.post(PATH + "/keep", asked, Lacking, token=token)

        return (await self._patiently(keep)).lacking

    async def absent(self, chunks: Sequence[BlobRef]) -> list[str]:
        return [one.sha256 for one in await self._ask(chunks) if one.state != "present"]

    async def damaged(self, chunks: Sequence[BlobRef]) -> list[str]:
        """The names of those that the cloud has read through, all of each, and does not have whole. It
        reads them where they lie: the link carries names only."""
        found: list[str] = []
        for start in range(0, len(chunks), limits.BACKUP_CHECKED_CHUNKS):
            asked = CheckChunks(chunks=list(chunks[start : start + limits.BACKUP_CHECKED_CHUNKS]))

            async def check(asked: CheckChunks = asked) -> Damaged:
                token = await self._token()
                return await self._client.post(PATH + "/check", asked, Damaged, token=token)

            found += (await self._patiently(check)).damaged
        return found

    async def _list(self) -> BackupsHere:
        token = await self._token()
        return await self._client.post(PATH + "/list", {}, BackupsHere, token=token)

    async def _ask(self, refs: Sequence[BlobRef]) -> list[Told]:
        return await self._patiently(lambda: self._blobs.ask(refs))

    async def _send(self, ref: BlobRef, data: bytes, told: Told) -> None:
        """Carry one chunk until the cloud says that it is there. It alone knows how far it is."""
        async with self._sending:
            for failures in range(1, limits.BACKUP_TRIES + 1):
                try:
                    while told.state != "present":
                        told = await self._step(ref, data, told)
                    return
                except (TooMany, Unavailable, Corrupt, Conflict):
                    if failures == limits.BACKUP_TRIES:
                        raise
                    await asyncio.sleep(retry_after_s(failures, 1.0))
                (told,) = await self._ask([ref])

    async def _step(self, ref: BlobRef, data: bytes, told: Told) -> Told:
        if told.state == "prove":
            digest = proving(told.nonce)
            digest.update(data)
            return await self._blobs.prove(ref, digest.hexdigest())
        if told.state == "later":
            await asyncio.sleep(1.0)
            return (await self._ask([ref]))[0]
        most = self._pace.chunk("up")
        piece = data[told.offset : told.offset + most]
        await self._pace.take(len(piece))
        begun_s = self._pace.now_s()
        answer = await self._blobs.append(ref, told.offset, piece)
        self._pace.carried("up", len(piece), self._pace.now_s() - begun_s)
        return answer

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What passes by itself is tried again."""
        for failures in range(1, limits.BACKUP_TRIES):
            try:
                return await ask()
            except (TooMany, Unavailable):
                await asyncio.sleep(retry_after_s(failures, 1.0))
        return await ask()

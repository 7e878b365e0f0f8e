"""One chunk after the other: carries out what `kernel.blob` decides, each way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from beira.blobs import Shelf
from beira.kernel import limits
from beira.kernel.blob import (
    Ask,
    BlobRef,
    Bucket,
    Chunk,
    Done,
    Download,
    Prove,
    RecordKey,
    Upload,
    chunk_bytes,
    proving,
    rate,
)
from beira.kernel.blob_ledger import Ledger
from beira.kernel.errors import (
    BeiraError,
    Conflict,
    Corrupt,
    Denied,
    Full,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from beira.kernel.policy import Link, measured
from beira.sync.blobs import metrics
from beira.sync.blobs.client import BlobClient
from beira.sync.blobs.sources import Sources
from beira.sync.put_off import TRIES_AT_ONCE, PutOff

log = structlog.get_logger(__name__)
LOOKED_AT = 50
SMALL_BYTES = limits.BLOB_CHUNK_LEAST_BYTES
READ_BYTES = 1_048_576
_OF_THE_LINK = (Unavailable, Unauthenticated, TooMany)
"""Errors that say nothing of the blob: all of them wait."""


class Pace:
    """The bandwidth budget, shared by both ways. `busy` while records wait for the link."""

    def __init__(self, cap_bytes_per_s: int, steady_s: Callable[[], float]) -> None:
        self.busy = False
        self._cap = float(cap_bytes_per_s) or None
        self._bucket = Bucket(self._cap)
        self._steady_s = steady_s
        self._links = {"up": Link(), "down": Link()}

    def chunk(self, way: str) -> int:
        """How many bytes the next chunk may have."""
        speed = self._links[way].bytes_per_s
        self._bucket.set_rate(rate(self._cap, speed, busy=self.busy), self._steady_s())
        return chunk_bytes(speed, self._bucket)

    async def take(self, size_bytes: int) -> None:
        """Wait until the budget has room for them."""
        while wait_s := self._bucket.take(size_bytes, self._steady_s()):
            await asyncio.sleep(wait_s)

    def give_back(self, size_bytes: int) -> None:
        self._bucket.give_back(size_bytes)

    def carried(self, way: str, size_bytes: int, took_s: float) -> None:
        if size_bytes:
            speed = size_bytes / max(took_s, 1e-6)
            self._links[way] = measured(self._links[way], bytes_per_s=speed)

    def now_s(self) -> float:
        return self._steady_s()


class Uploads:
    """What goes to the cloud."""

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        client: BlobClient,
        pace: Pace,
        now_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._shelf = shelf
        self._client = client
        self._pace = pace
        self._now_s = now_s
        self._off = PutOff(pace.now_s)
        self._open: dict[str, Upload] = {}
        self._busy: set[str] = set()

    async def step(self, helper: bool = False) -> bool:
        """Ask, prove or send one chunk of what is most urgent; whether there was anything to do.
        A `helper` sends small blobs beside it.

        Raises what concerns the link (Unavailable, Unauthenticated, TooMany).
        """
        names = self._off.free(self._ledger.unsent, limits.BLOBS_PER_ASK)
        self._open = {name: self._upload(name) for name in names}
        upload = next((u for u in self._open.values() if self._may_take(u, helper)), None)
        if upload is None:
            return False
        self._busy.add(upload.ref.sha256)
        try:
            await self._one(upload)
        except _OF_THE_LINK:
            upload.lost()
            raise
        except BeiraError as error:
            await self._failed(upload, error)
        finally:
            self._busy.discard(upload.ref.sha256)
        return True

    async def help(self) -> bool:
        """A step beside the one under way, while records do not need the link."""
        return not self._pace.busy and await self.step(helper=True)

    def _may_take(self, upload: Upload, helper: bool) -> bool:
        """One at a time carries a blob, and only one asks."""
        if upload.ref.sha256 in self._busy:
            return False
        step = upload.next(SMALL_BYTES)
        small = isinstance(step, Chunk) and step.offset + step.size_bytes == upload.ref.size_bytes
        return small or not helper

    def _upload(self, name: str) -> Upload:
        size = self._ledger.held[name].size_bytes
        return self._open.get(name) or Upload(BlobRef(sha256=name, size_bytes=size))

    async def _one(self, upload: Upload) -> None:
        match upload.next(self._pace.chunk("up")):
            case Ask():
                await self._ask()
            case Prove(nonce):
                proof = await self._proof(upload.ref, nonce)
                upload.told(await self._client.prove(upload.ref, proof))
            case Chunk(offset, size_bytes):
                await self._send(upload, offset, size_bytes)
            case Done():
                pass
        self._settle(upload)

    async def _ask(self) -> None:
        """About all those next to be sent of which nothing is known."""
        asked = [upload for upload in self._open.values() if isinstance(upload.next(1), Ask)]
        for told in await self._client.ask([upload.ref for upload in asked]):
            upload = self._open.get(told.sha256)
            if upload is None:
                continue
            upload.told(told)
            if told.state == "later":
                self._off.add(told.sha256, at_once=0)
            self._settle(upload)

    async def _send(self, upload: Upload, offset: int, size_bytes: int) -> None:
        await self._pace.take(size_bytes)
        try:
            data = await self._shelf.read(upload.ref.sha256, offset, size_bytes)
        except NotFound:
            await self._shelf.drop(upload.ref.sha256)
            return
        began_s = self._pace.now_s()
        told = await self._client.append(upload.ref, offset, data)
        self._pace.carried("up", len(data), self._pace.now_s() - began_s)
        metrics.BYTES.labels("up").inc(len(data))
        upload.told(told)
        self._off.progressed(upload.ref.sha256)

    def _settle(self, upload: Upload) -> None:
        if isinstance(upload.next(1), Done):
            name = upload.ref.sha256
            self._open.pop(name, None)
            self._off.drop(name)
            self._shelf.mark_confirmed(name)
            self._ledger.confirmed(name, self._now_s())
            metrics.DONE.labels("up").inc()

    async def _failed(self, upload: Upload, error: BeiraError) -> None:
        """The cloud refused. What came garbled is sent again, at once if it does not happen often."""
        name = upload.ref.sha256
        upload.lost()
        if isinstance(error, Corrupt):
            metrics.REFUSED.labels("digest" if error.code == "blob.digest" else "mismatch").inc()
        if error.code == "blob.mismatch":
            await self._shelf.look_again(name)
        log.warning("blob.not_sent", blob=name, code=error.code, why=error.message)
        at_once = 0 if isinstance(error, Full | Denied) else TRIES_AT_ONCE
        self._off.add(name, at_once=at_once, lasting=error.code == "blob.mismatch")

    async def _proof(self, ref: BlobRef, nonce: str) -> str:
        digest = proving(nonce)
        for start in range(0, ref.size_bytes, READ_BYTES):
            data = await self._shelf.read(ref.sha256, start, READ_BYTES)
            await asyncio.to_thread(digest.update, data)
        return digest.hexdigest()


class Downloads:
    """What comes from the cloud."""

    def __init__(
        self,
        ledger: Ledger,
        shelf: Shelf,
        client: BlobClient,
        pace: Pace,
        now_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._shelf = shelf
        self._client = client
        self._pace = pace
        self._now_s = now_s
        self.sources = Sources(pace.now_s)
        self._off = PutOff(pace.now_s)
        self._open: dict[str, Download] = {}
        self._from: dict[str, RecordKey | str] = {}
        self._began_s: dict[str, float] = {}
        self._roomless: set[str] = set()
        self._busy: set[str] = set()

    @property
    def no_room(self) -> int:
        """How many blobs wait for room on the disk."""
        return len(self._roomless)

    def took_ms(self, name: str) -> int:
        """How long it has been since its first chunk was asked for."""
        now_s = self._pace.now_s()
        return round((now_s - self._began_s.get(name, now_s)) * 1000)

    def at_once(self, name: str) -> None:
        """An app waits for it: what went wrong before is no reason to wait now."""
        self._off.drop(name)

    async def step(self, helper: bool = False) -> bool:
        """Fetch one chunk of what is most urgent and has room; whether there was anything to do.
        A `helper` begins what comes next, of which nothing is known yet, and leaves it if it is large.

        Raises what concerns the link (Unavailable, Unauthenticated, TooMany).
        """
        for old in {*self._open, *self._roomless} - self._ledger.wants - self._busy:
            self._forget(old)
        name = self._next(helper)
        if name is None:
            return False
        self._busy.add(name)
        try:
            await self._one(name)
        except BeiraError as error:
            address = self._from.get(name)
            if isinstance(address, str):
                self.sources.failed(address, error)
            elif isinstance(error, _OF_THE_LINK):
                raise
            await self._failed(name, error)
        finally:
            self._busy.discard(name)
        return True

    async def help(self) -> bool:
        """A step beside the one under way, while records do not need the link."""
        return not self._pace.busy and await self.step(helper=True)

    def _next(self, helper: bool) -> str | None:
        wanted = (name for name in self._ledger.wanted if not self.sources.waits(name))
        ready = self._off.free(wanted, LOOKED_AT)
        return next((n for n in ready if self._may_take(n, helper) and self._fits(n)), None)

    def _may_take(self, name: str, helper: bool) -> bool:
        """One at a time carries a blob; a helper leaves one large blob begun at most."""
        begun = self._open.keys() - self._busy - self._roomless
        return name not in self._busy and not (helper and (name in self._open or begun))

    async def _one(self, name: str) -> None:
        most = self._pace.chunk("down")
        download = self._open.get(name)
        if download is None:
            download, data = await self._begin(name, most)
        else:
            data = b""
        step = download.next(most)
        if isinstance(step, Chunk) and step.size_bytes:
            evicted = self._room(download)
            if evicted is None:
                self._roomless.add(name)
                return
            await self._evict(evicted)
            if not data:
                _, data = await self._get(name, self._from[name], step.offset, step.size_bytes)
            download.kept(await self._keep(download, data))
            self._off.progressed(name)
        ref = download.ref
        if download.next(1) == Chunk(ref.size_bytes, 0):
            await self._verify(download)

    async def _verify(self, download: Download) -> None:
        """All of it is here: show it, or begin anew."""
        try:
            await self._shelf.finish(download.ref)
        except Corrupt:
            download.verified(False)
            raise
        download.verified(True)
        name = download.ref.sha256
        self._off.drop(name)
        self._forget(name)
        self._ledger.confirmed(name, self._now_s())
        metrics.DONE.labels("down").inc()

    def _forget(self, name: str) -> None:
        self._open.pop(name, None)
        self._from.pop(name, None)
        self._began_s.pop(name, None)
        self._roomless.discard(name)

    async def _begin(self, name: str, most: int) -> tuple[Download, bytes]:
        """Go on where the disk says it had come; the first chunk tells its size."""
        shelf = self._shelf
        offset = await shelf.folder.staged(shelf.tenant, shelf.owner, name)
        size, data = await self._first(name, offset, most)
        if offset > size:
            await shelf.folder.discard(shelf.tenant, shelf.owner, name)
        self._open[name] = Download(BlobRef(sha256=name, size_bytes=size), offset)
        return self._open[name], data

    async def _first(self, name: str, offset: int, most: int) -> tuple[int, bytes]:
        """By the best address that may be tried; else by the first record that opens it."""
        self._began_s.setdefault(name, self._pace.now_s())
        for address in self.sources.ready(name):
            self._from[name] = address
            return await self._get(name, address, offset, most)
        for key in self._ledger.keys_of(name)[: limits.BLOB_KEYS_TRIED]:
            self._from[name] = key
            try:
                return await self._get(name, key, offset, most)
            except NotFound:
                continue
        raise NotFound(
            f"The cloud has no blob {name[:12]}… for this node.",
            code="blob.missing",
            hint="It may still be on its way to the cloud; it is asked for again.",
        )

    async def _get(
        self, name: str, where: RecordKey | str, offset: int, size_bytes: int
    ) -> tuple[int, bytes]:
        """The blob's size and a chunk of it, within the budget."""
        await self._pace.take(size_bytes)
        began_s = self._pace.now_s()
        try:
            if isinstance(where, str):
                size, data = await self._client.read_at(where, name, offset, size_bytes)
                self.sources.worked(where)
            else:
                size, data = await self._client.read(name, where, offset, size_bytes)
        except BeiraError:
            self._pace.give_back(size_bytes)
            raise
        self._pace.carried("down", len(data), self._pace.now_s() - began_s)
        self._pace.give_back(size_bytes - len(data))
        metrics.BYTES.labels("down").inc(len(data))
        return size, data

    async def _keep(self, download: Download, data: bytes) -> int:
        """Durably; how far the blob is then."""
        shelf = self._shelf
        return await shelf.folder.append(
            shelf.tenant, shelf.owner, download.ref.sha256, download.offset, data
        )

    def _fits(self, name: str) -> bool:
        """Whether it may be tried: what had no room is let be until there is some."""
        if name in self._roomless and name in self._open and self._room(self._open[name]) is None:
            return False
        self._roomless.discard(name)
        return True

    def _room(self, download: Download) -> list[str] | None:
        """What must go so that it has room, or None."""
        staged = sum(each.offset for each in self._open.values() if each is not download)
        free = self._shelf.folder.free_bytes() + download.offset
        size = download.ref.size_bytes
        name = download.ref.sha256
        return self._ledger.room_for(size, free, self._now_s(), staged_bytes=staged, name=name)

    async def _evict(self, names: list[str]) -> None:
        for name in names:
            log.info("blob.evicted", blob=name)
            await self._shelf.drop(name)

    async def _failed(self, name: str, error: BeiraError) -> None:
        """It is tried again: at once by another address, else when its time comes."""
        self._open.pop(name, None)
        if isinstance(error, Corrupt):
            metrics.REFUSED.labels("digest" if error.code == "blob.digest" else "mismatch").inc()
        log.warning("blob.not_fetched", blob=name, code=error.code, why=error.message)
        if isinstance(self._from.pop(name, None), str) and not isinstance(error, Full | Conflict):
            return
        at_once = 0 if isinstance(error, Full) else TRIES_AT_ONCE
        self._off.add(name, at_once=at_once, lasting=error.code == "blob.mismatch")

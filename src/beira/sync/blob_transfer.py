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
    Ledger,
    Prove,
    Upload,
    chunk_bytes,
    proving,
    rate,
)
from beira.kernel.errors import (
    BeiraError,
    Conflict,
    Corrupt,
    Full,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from beira.kernel.policy import Link, measured, retry_after_s
from beira.sync import blob_metrics as metrics
from beira.sync.blob_client import BlobClient

log = structlog.get_logger(__name__)
AGAIN_S = 60.0
AGAIN_MOST_S = 3_600.0
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

    def carried(self, way: str, size_bytes: int, took_s: float) -> None:
        if size_bytes:
            speed = size_bytes / max(took_s, 1e-6)
            self._links[way] = measured(self._links[way], bytes_per_s=speed)

    def now_s(self) -> float:
        return self._steady_s()


class PutOff:
    """Blobs that failed for reasons of their own, each until its time comes."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._until: dict[str, tuple[int, float]] = {}

    def add(self, name: str) -> None:
        """Twice as long as the last time."""
        failures = self._until.get(name, (0, 0.0))[0]
        wait_s = min(AGAIN_MOST_S, AGAIN_S * 2.0 ** min(failures, 8))
        self._until[name] = failures + 1, self._steady_s() + wait_s

    def drop(self, name: str) -> None:
        self._until.pop(name, None)

    def first_free(self, names: list[str]) -> str | None:
        now_s = self._steady_s()
        for name in names:
            if self._until.get(name, (0, 0.0))[1] <= now_s:
                return name
        return None

    def free(self, names: list[str]) -> list[str]:
        now_s = self._steady_s()
        return [name for name in names if self._until.get(name, (0, 0.0))[1] <= now_s]


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

    async def step(self) -> bool:
        """Ask, prove or send one chunk of what is most urgent; whether there was anything to do.

        Raises what concerns the link (Unavailable, Unauthenticated, TooMany).
        """
        names = self._off.free(self._ledger.unsent)
        if not names:
            return False
        self._open = {name: self._upload(name) for name in names}
        first = self._open[names[0]]
        try:
            await self._one(first)
        except _OF_THE_LINK:
            for upload in self._open.values():
                upload.lost()
            raise
        except BeiraError as error:
            await self._failed(first, error)
        return True

    def _upload(self, name: str) -> Upload:
        size = self._ledger.held[name].size_bytes
        return self._open.get(name) or Upload(BlobRef(sha256=name, size_bytes=size))

    async def _one(self, upload: Upload) -> None:
        match upload.next(self._pace.chunk("up")):
            case Ask():
                await self._ask()
            case Prove(nonce):
                digest = await asyncio.to_thread(self._proof, upload.ref.sha256, nonce)
                upload.told(await self._client.prove(upload.ref, digest))
            case Chunk(offset, size_bytes):
                await self._send(upload, offset, size_bytes)
            case Done():
                pass
        self._settle(upload)

    async def _ask(self) -> None:
        """About all that nothing is known of, as many as one question may hold."""
        asked = [u for u in self._open.values() if isinstance(u.next(1), Ask)]
        asked = asked[: limits.BLOBS_PER_ASK]
        for told in await self._client.ask([upload.ref for upload in asked]):
            upload = self._open.get(told.sha256)
            if upload is None:
                continue
            upload.told(told)
            if told.state == "later":
                self._off.add(told.sha256)
            self._settle(upload)

    async def _send(self, upload: Upload, offset: int, size_bytes: int) -> None:
        path = self._shelf.folder.path(self._shelf.tenant, upload.ref.sha256)
        await self._pace.take(size_bytes)
        try:
            data = await asyncio.to_thread(_read, path, offset, size_bytes)
        except FileNotFoundError:
            await self._shelf.drop(upload.ref.sha256)
            return
        began_s = self._pace.now_s()
        told = await self._client.append(upload.ref, offset, data)
        self._pace.carried("up", len(data), self._pace.now_s() - began_s)
        metrics.BYTES.labels("up").inc(len(data))
        upload.told(told)

    def _settle(self, upload: Upload) -> None:
        if isinstance(upload.next(1), Done):
            name = upload.ref.sha256
            self._open.pop(name, None)
            self._off.drop(name)
            self._shelf.mark_confirmed(name)
            self._ledger.confirmed(name, self._now_s())
            metrics.DONE.labels("up").inc()

    async def _failed(self, upload: Upload, error: BeiraError) -> None:
        """The cloud refused: a chunk that came garbled is sent again, at once."""
        upload.lost()
        name = upload.ref.sha256
        if isinstance(error, Corrupt) and error.code == "blob.digest":
            metrics.REFUSED.labels("digest").inc()
            return
        if isinstance(error, Conflict):
            return
        log.warning("blob.not_sent", blob=name, code=error.code, why=error.message)
        if isinstance(error, Corrupt):
            metrics.REFUSED.labels("mismatch").inc()
            await self._shelf.look_again(name)
        self._off.add(name)

    def _proof(self, name: str, nonce: str) -> str:
        digest = proving(nonce)
        with self._shelf.folder.path(self._shelf.tenant, name).open("rb") as file:
            while data := file.read(READ_BYTES):
                digest.update(data)
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
        self.no_room = 0
        self._ledger = ledger
        self._shelf = shelf
        self._client = client
        self._pace = pace
        self._now_s = now_s
        self._off = PutOff(pace.now_s)
        self._open: dict[str, Download] = {}

    def at_once(self, name: str) -> None:
        """An app waits for it: what went wrong before is no reason to wait now."""
        self._off.drop(name)

    async def step(self) -> bool:
        """Fetch one chunk of what is most urgent and has room; whether there was anything to do.

        Raises what concerns the link (Unavailable, Unauthenticated, TooMany).
        """
        wanted = self._ledger.wanted
        self._open = {name: d for name, d in self._open.items() if name in set(wanted)}
        name = self._off.first_free(wanted)
        if name is None:
            return False
        try:
            await self._one(name)
        except _OF_THE_LINK:
            raise
        except BeiraError as error:
            await self._failed(name, error)
        return True

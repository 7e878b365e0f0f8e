"""A node's own blobs: what apps add and read. Which of them the cloud still lacks survives a power
cut, because a small file in `outbox` says so until the cloud has confirmed the blob.

    <tenant>/blobs, <tenant>/staged    as `FolderBlobs` keeps them
    <tenant>/outbox/<sha256>           made here, not confirmed; "up" in it: a record that goes to
                                       the cloud has named it
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import structlog

from beira.blobs.folder import FolderBlobs, failures
from beira.blobs.port import disk_full, missing, pieces
from beira.kernel import limits
from beira.kernel.blob import BlobRef, checked_ref
from beira.kernel.blob_ledger import Held
from beira.kernel.errors import TooLarge

log = structlog.get_logger(__name__)
READ_BYTES = 1_048_576
SENT_UP = b"up"
What: TypeAlias = Literal["added", "fetched", "removed", "damaged"]


class Clock(Protocol):
    """What a shelf asks of time; `host.wall` answers it."""

    def now_ms(self) -> int: ...


class Shelf:
    """What one node holds. `on_change(sha256, what)` is called when a blob came or went."""

    owner = "node"

    def __init__(self, folder: FolderBlobs, tenant: str, wall: Clock) -> None:
        self.folder = folder
        self.tenant = tenant
        self.on_change: Callable[[str, What], None] = lambda name, what: None
        self._wall = wall
        self._outbox = folder.root / tenant / "outbox"
        self._scratch = folder.root / tenant / "scratch"
        self._trusted: set[str] = set()
        for made in (self._outbox, self._scratch):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._scratch.iterdir():
            left.unlink(missing_ok=True)

    async def add(self, content: bytes | AsyncIterable[bytes]) -> BlobRef:
        """Keep a file made here; once this returns it is durable. Name it in a record soon: what no
        record names may go after some days.

        Raises: TooLarge `blob.too_large`, Full `blob.disk_full`.
        """
        scratch = self._scratch / secrets.token_hex(8)
        try:
            with failures():
                ref = await self._write(scratch, _pieces(content))
                await asyncio.to_thread(self._mark, ref.sha256)
                await self._keep(scratch, ref)
        finally:
            scratch.unlink(missing_ok=True)
        self._trusted.add(ref.sha256)
        self.on_change(ref.sha256, "added")
        return ref

    async def path(self, sha256: str) -> Path | None:
        """Where a blob is, if it is here and sound; None if not. It is hashed when it is first asked
        for after a start, so that what a bad disk garbled is fetched again rather than used."""
        path = self.folder.path(self.tenant, sha256)
        if sha256 not in self._trusted:
            digest = await self.folder.digest(self.tenant, sha256)
            if digest is None:
                return None
            if digest != sha256:
                log.error("blob.garbled", blob=sha256)
                await self.drop(sha256, "damaged")
                return None
            self._trusted.add(sha256)
        try:
            now_s = self._wall.now_ms() / 1000
            os.utime(path, (now_s, now_s))
        except FileNotFoundError:
            self._trusted.discard(sha256)
            return None
        return path

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        """At most `size_bytes` from `start`. Raises NotFound `blob.missing`."""
        return await self.folder.read(self.tenant, sha256, start, size_bytes)

    @asynccontextmanager
    async def file(self, sha256: str) -> AsyncIterator[Path]:
        """A path under which a blob can be read, verified. What is encrypted on the disk is shown in
        memory only, while the context lasts (on Linux). Raises NotFound `blob.missing`."""
        path = await self.path(sha256)
        if path is None:
            raise missing(sha256)
        if not self.folder.sealed:
            yield path
            return
        with os.fdopen(os.memfd_create(sha256), "wb") as shown:
            async for piece in pieces(self.folder, self.tenant, sha256, 0, path.stat().st_size):
                await asyncio.to_thread(shown.write, piece)
            shown.flush()
            yield Path(f"/proc/{os.getpid()}/fd/{shown.fileno()}")

    async def finish(self, ref: BlobRef) -> None:
        """Verify what was fetched, and show it. Raises Corrupt `blob.mismatch` and forgets it."""
        await self.folder.finish(self.tenant, self.owner, ref)
        self._trusted.add(ref.sha256)
        self.on_change(ref.sha256, "fetched")

    async def drop(self, sha256: str, why: What = "removed") -> None:
        """Evict a blob, or throw a garbled one away."""
        self._trusted.discard(sha256)
        await self.folder.delete(self.tenant, sha256)
        (self._outbox / sha256).unlink(missing_ok=True)
        self.on_change(sha256, why)

    async def look_again(self, sha256: str) -> bool:
        """Hash a blob anew, and throw it away if it is garbled; whether it is here and sound."""
        self._trusted.discard(sha256)
        return await self.path(sha256) is not None

    async def take_over(self, plain: FolderBlobs) -> int:
        """Seal what lay in `plain` from before this node was encrypted; how many blobs that were."""
        if not (plain.root / self.tenant).exists():
            return 0
        former = Shelf(plain, self.tenant, self._wall)
        listing = await asyncio.to_thread(former.listing)
        for name, held in listing.items():
            if await plain.digest(self.tenant, name) == name:
                await self.add(pieces(plain, self.tenant, name, 0, held.size_bytes))
                if held.sent_up:
                    self.mark_sent_up(name)
                elif not held.outbox:
                    self.mark_confirmed(name)
            await former.drop(name)
        await asyncio.to_thread(shutil.rmtree, plain.root / self.tenant, ignore_errors=True)
        return len(listing)

    def mark_sent_up(self, sha256: str) -> None:
        """A record that goes to the cloud names it: it stays until the cloud has confirmed it."""
        _write_durably(self._outbox / sha256, SENT_UP)

    def mark_confirmed(self, sha256: str) -> None:
        """The cloud has it, verified and durable."""
        (self._outbox / sha256).unlink(missing_ok=True)

    def held(self, sha256: str) -> Held | None:
        """What is known of a blob on this disk, or None."""
        with contextlib.suppress(FileNotFoundError):
            return self._held(sha256, self.folder.path(self.tenant, sha256).stat())
        return None

    def listing(self) -> dict[str, Held]:
        """All blobs on this disk."""
        return {name: self._held(name, stat) for name, stat in self.folder.listing(self.tenant)}

    def _held(self, sha256: str, stat: os.stat_result) -> Held:
        try:
            state = (self._outbox / sha256).read_bytes()
        except FileNotFoundError:
            return Held(size_bytes=stat.st_size, used_s=stat.st_mtime)
        return Held(stat.st_size, stat.st_mtime, outbox=True, sent_up=state == SENT_UP)

    async def _write(self, scratch: Path, content: AsyncIterator[bytes]) -> BlobRef:
        """Into a scratch file, encrypted where the shelf is: its name is random."""
        digest, size = hashlib.sha256(), 0
        with scratch.open("xb") as file:
            async for piece in content:
                if size + len(piece) > limits.BLOB_BYTES:
                    raise TooLarge(
                        f"A blob has {limits.BLOB_BYTES} bytes at most.", code="blob.too_large"
                    )
                if self.folder.free_bytes() < len(piece):
                    raise disk_full()
                digest.update(piece)
                await asyncio.to_thread(file.write, self.folder.scratched(scratch, size, piece))
                size += len(piece)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return checked_ref(BlobRef(sha256=digest.hexdigest(), size_bytes=size))

    def _mark(self, sha256: str) -> None:
        """The mark first: a blob without one would be taken for the cloud's own."""
        if not (self._outbox / sha256).exists():
            _write_durably(self._outbox / sha256, b"")

    async def _keep(self, scratch: Path, ref: BlobRef) -> None:
        """By its name at last, which decides how it is encrypted."""
        if not self.folder.sealed:
            await asyncio.to_thread(self.folder.adopt, scratch, self.tenant, ref)
            return
        owner = secrets.token_hex(8)
        offset = 0
        with scratch.open("rb") as file:
            while data := await asyncio.to_thread(file.read, READ_BYTES):
                plain = self.folder.scratched(scratch, offset, data)
                await self.folder.append(self.tenant, owner, ref.sha256, offset, plain)
                offset += len(data)
        await self.folder.finish(self.tenant, owner, ref)


async def _pieces(content: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        for start in range(0, len(content), READ_BYTES):
            yield content[start : start + READ_BYTES]
    else:
        async for piece in content:
            yield piece


def _write_durably(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Blobs as an app in the cloud has them: one tenant's, in whatever storage the cloud uses."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from beira.blobs import FolderBlobs, pieces
from beira.blobs.port import missing
from beira.kernel import limits
from beira.kernel.blob import SHA256_CHARS, BlobRef, checked_ref
from beira.sync.blobs.gate import REPLICA, BlobGate


class CloudBlobs:
    """Implements `blobs.port.Blobs` for one tenant. `scratch` is where a copy is put while an app
    reads a blob as a file and the storage is no folder; the system's own place for such if None."""

    def __init__(self, gate: BlobGate, tenant: str, scratch: Path | None = None) -> None:
        self._gate = gate
        self._tenant = tenant
        self._scratch = scratch

    async def add(self, content: bytes | AsyncIterable[bytes]) -> BlobRef:
        owner, name = f"{REPLICA}{secrets.token_hex(8)}", secrets.token_hex(16)
        storage, digest, size = self._gate.storage, hashlib.sha256(), 0
        try:
            async for chunk in _chunks(content):
                checked_ref(BlobRef(sha256="0" * SHA256_CHARS, size_bytes=size + len(chunk)))
                await asyncio.to_thread(digest.update, chunk)
                size = await storage.append(self._tenant, owner, name, size, chunk)
            ref = BlobRef(sha256=digest.hexdigest(), size_bytes=size)
            await self._gate.keep(self._tenant, owner, ref, staged_as=name)
        except BaseException:
            await storage.discard(self._tenant, owner, name)
            raise
        return ref

    @asynccontextmanager
    async def file(self, sha256: str) -> AsyncIterator[Path]:
        storage, size = self._gate.storage, await self.size(sha256)
        if isinstance(storage, FolderBlobs) and not storage.sealed:
            yield storage.path(self._tenant, sha256)
            return
        if self._scratch is not None:
            self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=self._scratch) as copy:
            async for piece in pieces(storage, self._tenant, sha256, 0, size):
                await asyncio.to_thread(copy.write, piece)
            copy.flush()
            yield Path(copy.name)

    async def fetch(self, sha256: str) -> None:
        await self.size(sha256)

    async def size(self, sha256: str) -> int:
        if len(sha256) != SHA256_CHARS:
            raise missing(sha256)
        size = await self._gate.storage.size(self._tenant, checked_ref(_named(sha256)).sha256)
        if size is None:
            raise missing(sha256)
        return size

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        return await self._gate.storage.read(self._tenant, sha256, start, size_bytes)


def _named(sha256: str) -> BlobRef:
    return BlobRef(sha256=sha256, size_bytes=0)


async def _chunks(content: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The content in pieces as large as the storage takes."""
    most = limits.BLOB_CHUNK_BYTES
    if isinstance(content, bytes):
        for start in range(0, len(content), most):
            yield content[start : start + most]
        return
    held = bytearray()
    async for piece in content:
        held += piece
        while len(held) >= most:
            yield bytes(held[:most])
            del held[:most]
    if held:
        yield bytes(held)

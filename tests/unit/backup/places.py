"""A place in memory that can be told to fail, and files in memory to back up."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence

from beira.backup import Generation, SourceFile
from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import NotFound


class MemoryPlace:
    """Implements `Place`. `puts` counts how often each chunk was given to it."""

    label = "memory"

    def __init__(self) -> None:
        self.chunks: dict[str, bytes] = {}
        self.manifests: dict[Generation, bytes] = {}
        self.puts: dict[str, int] = {}

    async def generations(self) -> list[Generation]:
        return sorted(self.manifests, key=lambda one: one.taken_ms, reverse=True)

    async def manifest(self, generation: Generation) -> bytes:
        return self.manifests[generation]

    async def read(self, ref: BlobRef) -> bytes:
        if ref.sha256 not in self.chunks:
            raise NotFound("It is not here.")
        return self.chunks[ref.sha256]

    async def put(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        for name, data in chunks:
            assert hashlib.sha256(data).hexdigest() == name
            self.chunks[name] = data
            self.puts[name] = self.puts.get(name, 0) + 1

    async def finish(self, taken_ms: int, manifest: bytes, names: Collection[str]) -> list[str]:
        lacking = [name for name in names if name not in self.chunks]
        if not lacking:
            sha256 = hashlib.sha256(manifest).hexdigest()
            kept = Generation(taken_ms=taken_ms, sha256=sha256, size_bytes=len(manifest))
            self.manifests[kept] = manifest
        return lacking

    async def absent(self, chunks: Sequence[BlobRef]) -> list[str]:
        return [one.sha256 for one in chunks if one.sha256 not in self.chunks]


def source(path: str, content: bytes) -> SourceFile:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(content), limits.BACKUP_CHUNK_BYTES):
            yield content[start : start + limits.BACKUP_CHUNK_BYTES]

    return SourceFile(path, len(content), 0o600, pieces)

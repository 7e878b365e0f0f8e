"""Getting files back: chunks are fetched several at a time, verified one by one, and put in their
place. A chunk that is damaged or missing in one place is looked for in the others. What is there
already from a try that was cut is verified and kept."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from beira.backup.gently import synced
from beira.backup.manifest import ChunkRef, FileEntry, Manifest
from beira.backup.port import Place
from beira.backup.seal import Sealer
from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import BeiraError, Corrupt, Full, TooMany

log = structlog.get_logger(__name__)
SYNC_EVERY_CHUNKS = 32
"""Written so much, it is synced, as a disk should not be given it all at once: by a machine that does
nothing else. Beside a running node each chunk is."""
AWAIT_TURN_S = 1.0


@dataclass
class Pulled:
    """How far it is, in bytes of the files as they were. `kept_bytes` were here already."""

    done_bytes: int = 0
    kept_bytes: int = 0
    elsewhere: int = 0
    """Chunks that the first place did not have whole."""


@dataclass
class _Pull:
    places: Sequence[Place]
    sealer: Sealer
    progress: Callable[[Pulled], None]
    gently: bool
    pulled: Pulled = field(default_factory=Pulled)
    written: int = 0

    async def file(self, file: FileEntry, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        there = path.stat().st_size if path.exists() else 0
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _check_size(file)
            os.ftruncate(descriptor, file.size_bytes)
            numbers = iter(range(len(file.chunks)))
            workers = [
                asyncio.create_task(self._work(file, descriptor, there, numbers))
                for _ in range(min(1 if self.gently else limits.RESTORE_AT_ONCE, len(file.chunks)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        path.chmod(file.mode & 0o700 | 0o600)

    async def _work(
        self, file: FileEntry, descriptor: int, there: int, numbers: Iterator[int]
    ) -> None:
        for number in numbers:
            ref = file.chunks[number]
            start = number * limits.BACKUP_CHUNK_BYTES
            size = min(limits.BACKUP_CHUNK_BYTES, file.size_bytes - start)
            if start + size <= there and await asyncio.to_thread(
                self._is_here, descriptor, start, size, ref
            ):
                self.pulled.kept_bytes += size
            else:
                content = await self.chunk(ref)
                await asyncio.to_thread(_write, descriptor, content, start)
                self.written += 1
                if self.gently:
                    await asyncio.to_thread(synced, descriptor)
                elif self.written % SYNC_EVERY_CHUNKS == 0:
                    await asyncio.to_thread(os.fdatasync, descriptor)
            self.pulled.done_bytes += size
            self.progress(self.pulled)

    def _is_here(self, descriptor: int, start: int, size: int, ref: ChunkRef) -> bool:
        return self.sealer.name(os.pread(descriptor, size, start)) == ref.name

    async def chunk(self, ref: ChunkRef) -> bytes:
        """Its content from the first place that has it whole."""
        error: BeiraError | None = None
        for number, place in enumerate(self.places):
            try:
                sealed = await _patiently(place, ref)
                content = await asyncio.to_thread(self.sealer.open, sealed, ref.name)
            except BeiraError as found:
                log.warning("backup.chunk", place=place.label, chunk=ref.hex, why=found.message)
                error = error or found
                continue
            self.pulled.elsewhere += number > 0
            return content
        assert error is not None
        raise error


async def pull(
    files: Sequence[tuple[FileEntry, Path]],
    places: Sequence[Place],
    sealer: Sealer,
    progress: Callable[[Pulled], None] = lambda pulled: None,
    *,
    gently: bool = False,
) -> Pulled:
    """Write each file where it is to be, durably; `gently` beside a node that runs on that disk.

    Raises: Corrupt `backup.chunk`, NotFound or Unavailable when no place has a chunk whole; Full.
    What was written stays, and is not fetched again.
    """
    work = _Pull(places, sealer, progress, gently)
    try:
        for file, path in files:
            await work.file(file, path)
    except OSError as error:
        raise Full(
            f"The backup cannot be written here: {error.strerror}.",
            code="backup.disk",
            hint="See that the disk has room for it, and run the same command again.",
        ) from None
    return work.pulled


class ReadsItself(Protocol):
    """A place that can be asked to read its chunks through, and which of them are damaged."""

    label: str

    async def damaged(self, chunks: Sequence[BlobRef]) -> list[str]: ...


async def verify_there(manifest: Manifest, place: ReadsItself) -> None:
    """Have the place read all chunks of a backup. Raises Corrupt `backup.chunk`."""
    if damaged := await place.damaged(_refs(manifest)):
        raise _damaged(place.label, damaged)


async def verify(
    manifest: Manifest, place: Place, sealer: Sealer, *, most: int | None, chance: random.Random
) -> int:
    """See that the place has every chunk, and read back `most` of them (None: all); how many.

    Raises: Corrupt `backup.chunk` for what is missing or damaged.
    """
    chunks = manifest.chunks
    refs = _refs(manifest)
    for start in range(0, len(refs), limits.BLOBS_PER_ASK):
        if absent := await place.absent(refs[start : start + limits.BLOBS_PER_ASK]):
            raise _damaged(place.label, absent)
    wanted = list(chunks.values())
    if most is not None and most < len(wanted):
        wanted = chance.sample(wanted, most)
    for ref in wanted:
        await asyncio.to_thread(sealer.open, await _patiently(place, ref), ref.name)
    return len(wanted)


def _refs(manifest: Manifest) -> list[BlobRef]:
    return [
        BlobRef(sha256=name, size_bytes=one.size_bytes) for name, one in manifest.chunks.items()
    ]


def _damaged(label: str, names: Sequence[str]) -> Corrupt:
    return Corrupt(
        f"{label} has lost {len(names)} chunks of the backup.",
        code="backup.chunk",
        hint="The next backup puts them there again.",
        details={"chunks": list(names[:10])},
    )


async def _patiently(place: Place, ref: ChunkRef) -> bytes:
    """Read it; a place that is busy with others is asked again."""
    for _ in range(limits.RESTORE_TRIES):
        try:
            return await place.read(BlobRef(sha256=ref.hex, size_bytes=ref.size_bytes))
        except TooMany:
            await asyncio.sleep(AWAIT_TURN_S)
    return await place.read(BlobRef(sha256=ref.hex, size_bytes=ref.size_bytes))


def _check_size(file: FileEntry) -> None:
    chunks = -(-file.size_bytes // limits.BACKUP_CHUNK_BYTES)
    if chunks != len(file.chunks):
        raise Corrupt(f"The list of {file.path} is inconsistent.", code="backup.manifest")


def _write(descriptor: int, content: bytes, start: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written

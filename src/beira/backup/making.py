"""Making a backup: files are cut at fixed offsets, and only chunks that a place lacks go to it.

Fixed cuts suit what is backed up: a database changes pages in place, so all else stays where it was.
Cutting and sealing run in a thread, one batch ahead of what is being stored.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import TypeAlias

from beira.backup.manifest import ChunkRef, FileEntry
from beira.backup.port import Place
from beira.backup.seal import Sealer
from beira.kernel import limits

BATCH_BYTES = limits.BACKUP_BATCH_BYTES
"""So much is read before it is stored: two such batches are in memory at a time."""

Piece: TypeAlias = bytes
"""The next `BACKUP_CHUNK_BYTES` of a file; only its last piece is shorter."""
Known: TypeAlias = MutableMapping[bytes, tuple[bytes, int]]
"""What a place has by its keyed name: (SHA-256, size) of the sealed chunk."""


@dataclass(frozen=True)
class SourceFile:
    """A file to be backed up. `size_bytes` is what is expected, for the progress shown."""

    path: str
    size_bytes: int
    mode: int
    pieces: Callable[[], Iterable[Piece]]


@dataclass
class Made:
    """What was read, and what of it was new to the place. `whole` unless time ran out."""

    files: list[FileEntry] = field(default_factory=list)
    read_bytes: int = 0
    new_chunks: int = 0
    new_bytes: int = 0
    whole: bool = True


@dataclass
class _Batch:
    """Chunks to store and files that end in it."""

    chunks: list[tuple[str, bytes]] = field(default_factory=list)
    named: list[tuple[bytes, tuple[bytes, int]]] = field(default_factory=list)
    files: list[FileEntry] = field(default_factory=list)
    read_bytes: int = 0


async def make(
    files: Iterable[SourceFile],
    place: Place,
    sealer: Sealer,
    known: Known,
    *,
    in_time: Callable[[], bool] = lambda: True,
    progress: Callable[[Made], None] = lambda made: None,
) -> Made:
    """Put what is new of `files` into the place, and add it to `known`.

    It ends early, not `whole`, once `in_time()` is false: what was put stays known, and counts.
    Raises as the place does.
    """
    made = Made()
    batches = _batches(files, sealer, known)
    storing: asyncio.Task[None] | None = None
    try:
        while batch := await asyncio.to_thread(next, batches, None):
            if storing is not None:
                await storing
            storing = asyncio.create_task(_store(place, batch, known))
            made.files += batch.files
            made.read_bytes += batch.read_bytes
            made.new_chunks += len(batch.chunks)
            made.new_bytes += sum(len(data) for _, data in batch.chunks)
            progress(made)
            if not in_time():
                made.whole = False
                break
        if storing is not None:
            await storing
    except BaseException:
        if storing is not None:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)
        raise
    return made


async def _store(place: Place, batch: _Batch, known: Known) -> None:
    if batch.chunks:
        await place.put(batch.chunks)
    known.update(batch.named)


def _batches(files: Iterable[SourceFile], sealer: Sealer, known: Known) -> Iterator[_Batch]:
    batch = _Batch()
    ahead: dict[bytes, tuple[bytes, int]] = {}
    for file in files:
        chunks: list[ChunkRef] = []
        size = 0
        for piece in file.pieces():
            size += len(piece)
            chunks.append(_chunk(piece, sealer, known, ahead, batch))
            if batch.read_bytes >= BATCH_BYTES:
                yield batch
                batch = _Batch()
        entry = FileEntry(path=file.path, size_bytes=size, mode=file.mode, chunks=tuple(chunks))
        batch.files.append(entry)
    yield batch


def _chunk(
    piece: Piece,
    sealer: Sealer,
    known: Known,
    ahead: dict[bytes, tuple[bytes, int]],
    batch: _Batch,
) -> ChunkRef:
    """The piece's chunk: known before, met a moment ago, or new and to be stored."""
    batch.read_bytes += len(piece)
    name = sealer.name(piece)
    there = known.get(name) or ahead.get(name)
    if there is None:
        data = sealer.seal(piece)
        there = hashlib.sha256(data).digest(), len(data)
        ahead[name] = there
        batch.chunks.append((there[0].hex(), data))
        batch.named.append((name, there))
    return ChunkRef(sha256=there[0], name=name, size_bytes=there[1])

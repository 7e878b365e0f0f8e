"""What backups ask of a place that keeps them. A place is never trusted with what is inside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from beira.backup.manifest import Generation
from beira.kernel.blob import BlobRef


class Place(Protocol):
    """Where one node's backups are. All methods may raise Unavailable."""

    label: str
    """What people call it."""

    async def generations(self) -> list[Generation]:
        """The complete backups it has, the newest first."""
        ...

    async def manifest(self, generation: Generation) -> bytes:
        """The sealed manifest of one. Raises NotFound."""
        ...

    async def read(self, ref: BlobRef) -> bytes:
        """A chunk's sealed bytes, whatever they are by now. Raises NotFound."""
        ...

    async def put(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        """Keep chunks, each with its name. What is there already may be skipped where the place has
        verified it. Raises Full."""
        ...

    async def finish(self, taken_ms: int, manifest: bytes, names: Collection[str]) -> list[str]:
        """All chunks were put: make them durable, and the backup one of the generations, then forget
        those beyond `BACKUP_GENERATIONS`. Returns the names it lacks; the backup is not complete
        unless there are none."""
        ...

    async def absent(self, chunks: Sequence[BlobRef]) -> list[str]:
        """The names of those it does not have whole, by their sizes."""
        ...

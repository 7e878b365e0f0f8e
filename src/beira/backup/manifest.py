"""What a backup consists of, as it is written down beside its chunks. Sealed, it is authentic too:
whoever holds the place can delete a backup or show an older one, never make one up."""

from __future__ import annotations

from typing import Any

import msgspec

from beira.backup.seal import Sealer
from beira.kernel.errors import Corrupt, Misconfigured

FORMAT = 1


class ChunkRef(msgspec.Struct, frozen=True, array_like=True):
    """A chunk: the SHA-256 of its sealed bytes, its keyed name (`Sealer.name`), its sealed size."""

    sha256: bytes
    name: bytes
    size_bytes: int

    @property
    def hex(self) -> str:
        return self.sha256.hex()


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the node's folder by its path in it, with `/`. Each of its chunks but the last holds
    `BACKUP_CHUNK_BYTES`."""

    path: str
    size_bytes: int
    mode: int
    chunks: tuple[ChunkRef, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup of one node. `data_keys` open its files if it was encrypted at rest; `options` is
    what its program was started with; `apps` what was installed."""

    format: int = FORMAT
    node: str
    node_name: str
    tenant: str
    cloud: str
    release: str
    taken_ms: int
    files: tuple[FileEntry, ...]
    machine: str = ""
    apps: tuple[str, ...] = ()
    data_keys: tuple[bytes, ...] = ()
    key_moving: bool = False
    options: dict[str, Any] = {}

    @property
    def size_bytes(self) -> int:
        """Of all files as they were."""
        return sum(file.size_bytes for file in self.files)

    @property
    def chunks(self) -> dict[str, ChunkRef]:
        """All chunks by the hexadecimal name under which places keep them."""
        return {chunk.hex: chunk for file in self.files for chunk in file.chunks}


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that a place has. Sizes are of what was sealed."""

    taken_ms: int
    sha256: str
    size_bytes: int


def sealed(manifest: Manifest, sealer: Sealer) -> bytes:
    return sealer.seal_manifest(msgspec.msgpack.encode(manifest))


def opened(data: bytes, sealer: Sealer) -> Manifest:
    """The manifest in `data`.

    Raises: Corrupt `backup.key_wrong` if this key does not open it; Misconfigured `backup.newer`.
    """
    content = sealer.open_manifest(data)
    if content is None:
        raise Corrupt(
            "This recovery key does not open the backup.",
            code="backup.key_wrong",
            hint="Each node has its own: give the one that was written down for this node. If it is "
            "the right one, the backup's list of contents is damaged.",
        )
    told = msgspec.msgpack.decode(content, type=_Format)
    if told.format > FORMAT:
        raise Misconfigured(
            "The backup was made by a newer Beira.",
            code="backup.newer",
            hint="Update Beira on this machine, then restore again.",
        )
    return msgspec.msgpack.decode(content, type=Manifest)


class _Format(msgspec.Struct):
    format: int

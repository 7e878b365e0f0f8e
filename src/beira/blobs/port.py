"""What Beira asks of a place that keeps blobs: the cloud's folder or S3 service, a node's folder.

Bytes arrive in chunks, in order, and wait out of sight under their owner's name until the whole is
verified; two owners who send the same blob never touch each other's chunks. A store keeps no state
of its own: any replica can take the next chunk. tests/contract holds every implementation to this.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import Conflict, Full, Invalid, NotFound

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")


class BlobStore(Protocol):
    """Blobs of many tenants. All methods may raise Unavailable `blob.storage`."""

    async def size(self, tenant: str, sha256: str) -> int | None:
        """The size of a blob that is verified and durable, or None."""
        ...

    async def staged(self, tenant: str, owner: str, sha256: str) -> int:
        """How many bytes from its beginning `owner` has stored durably of a blob not yet whole."""
        ...

    async def append(self, tenant: str, owner: str, sha256: str, offset: int, data: bytes) -> int:
        """Store the next chunk durably; the new offset.

        Raises: Conflict `blob.offset` (its details tell the right `offset`), Conflict `blob.busy`
        while another chunk of it is written, Full `blob.disk_full`.
        """
        ...

    async def finish(self, tenant: str, owner: str, ref: BlobRef, *, staged_as: str = "") -> None:
        """Verify what `owner` has staged, and make it visible, durably. A blob that is there already
        stays as it is, and what was staged is verified all the same: it shows that `owner` has it.
        What came before its hash was known was staged under another name, `staged_as`.

        Raises: Corrupt `blob.mismatch`, in which case what was staged is gone; Conflict `blob.offset`
        while it is not whole; Full.
        """
        ...

    async def hashed(self, tenant: str, owner: str, name: str) -> BlobRef:
        """What all that `owner` has staged under `name` would be called. Raises Conflict `blob.offset`
        where nothing is."""
        ...

    async def read(self, tenant: str, sha256: str, start: int, size_bytes: int) -> bytes:
        """At most `size_bytes` from `start`. Raises NotFound `blob.missing`."""
        ...

    async def discard(self, tenant: str, owner: str, sha256: str) -> None:
        """Forget what `owner` has staged."""
        ...

    async def delete(self, tenant: str, sha256: str) -> None:
        """Forget a blob; one that is not there is no error."""
        ...

    async def tidy(self, tenant: str, before_s: float) -> int:
        """Discard what was staged and not added to since then (seconds since 1970); how many."""
        ...


class Blobs(Protocol):
    """What an app may do with blobs, on a node and in the cloud: `host.blobs`."""

    async def add(self, content: bytes | AsyncIterable[bytes]) -> BlobRef:
        """Keep a file made here, durably, and name it in a record soon. Raises TooLarge
        `blob.too_large`, Full `blob.disk_full`."""
        ...

    def file(self, sha256: str) -> AbstractAsyncContextManager[Path]:
        """A path to read a blob under, verified, while the context lasts; never write to it. Raises
        NotFound `blob.missing` while it is not here."""
        ...

    async def size(self, sha256: str) -> int:
        """How long a blob is that is here. Raises NotFound `blob.missing`."""
        ...

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        """At most `size_bytes` from `start`. Raises NotFound `blob.missing`."""
        ...

    async def fetch(self, sha256: str) -> None:
        """Wait until a blob has come: before all else, and even if it is fetched lazily. A record
        must name it; bound the wait with `asyncio.timeout`."""
        ...


@dataclass(frozen=True, slots=True)
class BlobNews:
    """What became of a blob on a node: added (made here), fetched (in `took_ms` since its first
    chunk), removed, or damaged (what lay there was not what its name says; it is gone)."""

    sha256: str
    what: Literal["added", "fetched", "removed", "damaged"]
    size_bytes: int
    took_ms: int = 0


Source: TypeAlias = Callable[[str], Sequence[str]]
"""Where a wished blob may be had by plain HTTP, the best first: addresses, or paths at the cloud.
What comes is believed only if it has the right hash. None: the cloud is asked by the blobs' lane."""


class Wishes(Protocol):
    """What an app on a node may have a say in, of what lies on the disk: `host.wishes`."""

    def want(self, by: str, names: Sequence[str], source: Source | None = None) -> None:
        """The app `by` wants these blobs, in this order, instead of what it wished before. Records
        must name them, if lazily; they are fetched in their order as budgets allow, from `source`
        if it gives an address, and evicted last."""
        ...

    def holds(self, sha256: str) -> bool:
        """Whether it is here. That it is sound is looked at when it is used."""
        ...

    def held_bytes(self, sha256: str) -> int:
        """The size of what is here, or 0."""
        ...

    async def check(self, sha256: str) -> bool:
        """Hash it anew. What is garbled is thrown away, and fetched again if anybody wants it."""
        ...

    async def drop(self, sha256: str) -> bool:
        """Throw it away, now, unless the cloud lacks it or a record fetches it eagerly; whether it
        is gone. It comes again only if it is wished for or asked for."""
        ...

    def subscribe(self, heard: Callable[[BlobNews], None]) -> Callable[[], None]:
        """Hear what comes and goes; returns what ends it."""
        ...


async def pieces(
    store: BlobStore, tenant: str, sha256: str, start: int, size_bytes: int
) -> AsyncIterator[bytes]:
    """A long range, a chunk at a time."""
    end = start + size_bytes
    while start < end:
        data = await store.read(tenant, sha256, start, min(limits.BLOB_CHUNK_BYTES, end - start))
        if not data:
            raise missing(sha256)
        yield data
        start += len(data)


def checked_part(name: str) -> str:
    """`name` if it can be a part of a path. Raises Invalid: nothing may lead out of its tenant."""
    if not _PART.match(name):
        raise Invalid(f"{name!r} cannot be a part of a blob's path.", code="blob.path")
    return name


def missing(sha256: str) -> NotFound:
    return NotFound(
        f"There is no blob {sha256[:12]}….",
        code="blob.missing",
        hint="It has not come yet, or nothing named it any longer and it was collected.",
    )


def wrong_offset(offset: int) -> Conflict:
    return Conflict(
        f"The next chunk begins at {offset}.",
        code="blob.offset",
        hint="Go on from there.",
        details={"offset": offset},
    )


def disk_full() -> Full:
    return Full(
        "The disk has no room for blobs.",
        code="blob.disk_full",
        hint="Free some space: it goes on by itself. Records have room of their own.",
    )

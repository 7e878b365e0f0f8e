"""Blobs in any S3 service, through obstore. Chunks are objects of their own until the whole is known
to be right, so that replicas need share nothing but the bucket:

    <tenant>/blobs/<sha256>                              verified
    <tenant>/staged/<owner>/<sha256>/<its end in hex>    a chunk

The whole is composed by a multipart upload, which S3 shows only once it is complete; it is hashed on
the way, and given up rather than completed when the hash is not its name.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from beira.blobs.port import checked_part, missing, wrong_offset
from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import BeiraError, Corrupt, Misconfigured, Unavailable

log = structlog.get_logger(__name__)
PART_BYTES = 8_388_608
RETRY_FOR = timedelta(seconds=15)
REQUEST_TIMEOUT = timedelta(seconds=60)
CONNECT_TIMEOUT = timedelta(seconds=5)
PROBE = ".beira-probe"


class S3Blobs:
    """Implements `BlobStore` in the bucket of `url` (`s3://bucket/prefix`). The service, region and
    credentials come from the usual AWS_* variables; AWS_ENDPOINT_URL names one that is not Amazon's."""

    def __init__(self, url: str, **config: Any) -> None:
        try:
            self._store: Any = S3Store.from_url(
                url,
                client_options={
                    "timeout": REQUEST_TIMEOUT,
                    "connect_timeout": CONNECT_TIMEOUT,
                    "allow_http": True,
                },
                retry_config={"max_retries": limits.S3_TRIES, "retry_timeout": RETRY_FOR},
                **config,
            )
        except (BaseError, ValueError) as error:
            raise _unusable(url, error) from None

    async def check(self) -> None:
        """Write and remove a small object. Raises Misconfigured `blob.bucket` if the service refuses;
        one that is away may come back."""
        try:
            await obstore.put_async(self._store, PROBE, b"beira")
            await obstore.delete_async(self._store, PROBE)
        except (FileNotFoundError, PermissionDeniedError, UnauthenticatedError) as error:
            raise _unusable("The bucket", error) from None
        except (BaseError, OSError) as error:
            log.warning("blob.storage_away", why=str(error)[:500])

    async def size(self, tenant: str, sha256: str) -> int | None:
        with _failures():
            try:
                return int((await obstore.head_async(self._store, _key(tenant, sha256)))["size"])
            except FileNotFoundError:
                return None

    async def staged(self, tenant: str, owner: str, sha256: str) -> int:
        with _failures():
            chain = await self._chain(_folder(tenant, owner, sha256))
            return chain[-1][1] if chain else 0

    async def append(self, tenant: str, owner: str, sha256: str, offset: int, data: bytes) -> int:
        folder = _folder(tenant, owner, sha256)
        with _failures():
            if offset and not await self._ends_at(folder, offset):
                raise wrong_offset(await self.staged(tenant, owner, sha256))
            await obstore.put_async(self._store, f"{folder}/{offset + len(data):012x}", data)
        return offset + len(data)

    async def finish(self, tenant: str, owner: str, ref: BlobRef, *, staged_as: str = "") -> None:
        name = staged_as or ref.sha256
        folder = _folder(tenant, owner, name)
        with _failures():
            chain = await self._chain(folder)
            there = chain[-1][1] if chain else 0
            if there < ref.size_bytes:
                raise wrong_offset(there)
            try:
                if there != ref.size_bytes:
                    raise _Mismatch
                await self._compose(tenant, chain, ref)
            except _Mismatch:
                await self.discard(tenant, owner, name)
                raise Corrupt(
                    f"What came as {ref.sha256[:12]}… is another file.",
                    code="blob.mismatch",
                    hint="Send it again from the beginning.",
                ) from None
            except FileNotFoundError:  # another replica has just dealt with these chunks
                raise wrong_offset(0) from None
        await self.discard(tenant, owner, name)

    async def hashed(self, tenant: str, owner: str, name: str) -> BlobRef:
        digest, size = hashlib.sha256(), 0
        with _failures():
            for path, end in await self._chain(_folder(tenant, owner, name)):
                try:
                    piece = await (await obstore.get_async(self._store, path)).bytes_async()
                except FileNotFoundError:  # another replica has just dealt with these chunks
                    raise wrong_offset(0) from None
                digest.update(piece)
                size = end
        if not size:
            raise wrong_offset(0)
        return BlobRef(sha256=digest.hexdigest(), size_bytes=size)

    async def read(self, tenant: str, sha256: str, start: int, size_bytes: int) -> bytes:
        with _failures():
            try:
                return bytes(
                    await obstore.get_range_async(
                        self._store, _key(tenant, sha256), start=start, length=size_bytes
                    )
                )
            except FileNotFoundError:
                raise missing(sha256) from None

    async def discard(self, tenant: str, owner: str, sha256: str) -> None:
        with _failures():
            folder = _folder(tenant, owner, sha256)
            await self._delete([item["path"] async for item in self._list(folder)])

    async def delete(self, tenant: str, sha256: str) -> None:
        with _failures(), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, _key(tenant, sha256))

    async def tidy(self, tenant: str, before_s: float) -> int:
        before = datetime.fromtimestamp(before_s, UTC)
        with _failures():
            newest: dict[str, datetime] = {}
            paths: dict[str, list[str]] = {}
            async for item in self._list(f"{checked_part(tenant)}/staged"):
                folder = item["path"].rpartition("/")[0]
                newest[folder] = max(item["last_modified"], newest.get(folder, before))
                paths.setdefault(folder, []).append(item["path"])
            stale = [folder for folder, at in newest.items() if at <= before]
            for folder in stale:
                await self._delete(paths[folder])
            return len(stale)

    async def _compose(self, tenant: str, chain: list[tuple[str, int]], ref: BlobRef) -> None:
        """Hash the chunks, and put them together unless that was done before."""
        key = _key(tenant, ref.sha256)
        whole = self._verified([path for path, _ in chain], ref)
        if await self.size(tenant, ref.sha256) == ref.size_bytes:
            async for _ in whole:
                pass
        elif ref.size_bytes <= PART_BYTES:
            await obstore.put_async(self._store, key, b"".join([piece async for piece in whole]))
        else:
            await obstore.put_async(
                self._store,
                key,
                whole,
                chunk_size=PART_BYTES,
                max_concurrency=limits.S3_PARTS_AT_ONCE,
            )

    async def _verified(self, paths: list[str], ref: BlobRef) -> AsyncIterator[bytes]:
        """The content; at its end raises _Mismatch if it is another, so that nothing is completed."""
        digest = hashlib.sha256()
        for path in paths:
            data = bytes(await (await obstore.get_async(self._store, path)).bytes_async())
            digest.update(data)
            yield data
        if digest.hexdigest() != ref.sha256:
            raise _Mismatch

    async def _ends_at(self, folder: str, offset: int) -> bool:
        """Whether a chunk ends there; by induction all before it is there too."""
        try:
            await obstore.head_async(self._store, f"{folder}/{offset:012x}")
        except FileNotFoundError:
            return False
        return True

    async def _chain(self, folder: str) -> list[tuple[str, int]]:
        """The chunks that join each other from the first byte on: (path, where it ends)."""
        found: dict[int, tuple[str, int]] = {}
        async for item in self._list(folder):
            end = int(item["path"].rpartition("/")[2], 16)
            start = end - item["size"]
            if end > found.get(start, ("", 0))[1]:
                found[start] = item["path"], end
        chain: list[tuple[str, int]] = []
        upto = 0
        while upto in found:
            chain.append(found[upto])
            upto = found[upto][1]
        return chain

    async def _list(self, folder: str) -> AsyncIterator[Any]:
        async for page in obstore.list(self._store, f"{folder}/"):
            for item in page:
                yield item

    async def _delete(self, paths: list[str]) -> None:
        if paths:
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, paths)


class _Mismatch(Exception):
    """The whole is not what it is called."""


def _key(tenant: str, sha256: str) -> str:
    return f"{checked_part(tenant)}/blobs/{checked_part(sha256)}"


def _folder(tenant: str, owner: str, sha256: str) -> str:
    return f"{checked_part(tenant)}/staged/{checked_part(owner)}/{checked_part(sha256)}"


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except BeiraError:
        raise
    except (BaseError, OSError) as error:
        log.warning("blob.storage", why=str(error)[:500])
        raise Unavailable(
            "The object storage cannot be used now.",
            code="blob.storage",
            hint="It is tried again; the cloud's log has what the service said.",
        ) from None


def _unusable(what: str, error: Exception) -> Misconfigured:
    return Misconfigured(
        f"{what} cannot be used for blobs: {str(error).splitlines()[0][:300]}",
        code="blob.bucket",
        hint="See docs/howto/object-storage.md: the bucket, AWS_ENDPOINT_URL and the credentials.",
    )

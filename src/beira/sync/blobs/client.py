"""A node's half of the blobs' wire: one method for each request of docs/specs/blobs.md."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from beira.kernel import limits
from beira.kernel.blob import BlobRef, RecordKey, Told, check_digest, content_digest
from beira.kernel.errors import Corrupt
from beira.sync.blobs.plain_reader import PlainReader
from beira.sync.node.link import TokenSource
from beira.sync.requests import CloudRequests

PATH = "/sync/v1/blobs"
MEDIA_TYPE = "application/octet-stream"
T = TypeVar("T")
_NOTHING_THERE = re.compile(r"bytes \*/(\d+)\Z")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class _Answered(msgspec.Struct):
    blobs: list[Told]


class BlobClient:
    """Talks to the cloud at `url`. All methods raise the cloud's own errors, and Unavailable when it
    cannot be reached; nothing is retried here."""

    def __init__(self, url: str, token: TokenSource, *, ssl: object = True) -> None:
        self._requests = CloudRequests(url.rstrip("/") + PATH, token, ssl=ssl)
        self._plain = PlainReader(url, ssl=ssl)

    async def ask(self, refs: Sequence[BlobRef]) -> list[Told]:
        """What the cloud has of these, at most `BLOBS_PER_ASK`."""
        body = msgspec.json.encode({"blobs": list(refs)})
        _, data = await self._request("POST", "/missing", data=body)
        return _decoded(data, _Answered).blobs

    async def append(self, ref: BlobRef, offset: int, data: bytes) -> Told:
        """The next chunk. Raises Conflict `blob.offset`, Corrupt `blob.digest` and `blob.mismatch`."""
        _, answer = await self._request(
            "PUT",
            f"/{ref.sha256}",
            params={"size": str(ref.size_bytes), "offset": str(offset)},
            data=io.BytesIO(data),  # sent in parts: asyncio copies over and over what is long
            headers={
                "Content-Digest": await asyncio.to_thread(content_digest, data),
                "Content-Type": MEDIA_TYPE,
            },
        )
        return _decoded(answer, Told)

    async def prove(self, ref: BlobRef, proof: str) -> Told:
        body = msgspec.json.encode({"proof": proof})
        size = {"size": str(ref.size_bytes)}
        _, answer = await self._request("POST", f"/{ref.sha256}/proof", params=size, data=body)
        return _decoded(answer, Told)

    async def read(
        self, sha256: str, key: RecordKey, offset: int, size_bytes: int
    ) -> tuple[int, bytes]:
        """The size of a blob that the record `key` names, and at most `size_bytes` of it from
        `offset`, verified by a digest of their own; none if it ends there.

        Raises: NotFound `blob.missing`, Corrupt `blob.digest` and `blob.answer`.
        """
        headers, data = await self._request(
            "GET",
            f"/{sha256}",
            params={"collection": key[0], "record": key[1]},
            headers={
                "Range": f"bytes={offset}-{offset + size_bytes - 1}",
                "If-Range": f'"{sha256}"',
                "Accept-Encoding": "identity",
            },
        )
        told = headers.get("Content-Range", "")
        if found := _NOTHING_THERE.match(told):
            return _possible(int(found[1])), b""
        found = _CONTENT_RANGE.match(told)
        if found is None or int(found[1]) != offset or not 0 < len(data) <= size_bytes:
            raise Corrupt("The cloud sent another range than asked for.", code="blob.answer")
        await asyncio.to_thread(check_digest, data, headers.get("Content-Digest", ""))
        return _possible(int(found[3])), data

    async def read_at(
        self, address: str, sha256: str, offset: int, size_bytes: int
    ) -> tuple[int, bytes]:
        """As `read`, from an address by plain HTTP; see `PlainReader.read`."""
        size, data = await self._plain.read(address, sha256, offset, size_bytes)
        return _possible(size), data

    async def close(self) -> None:
        await self._plain.close()
        await self._requests.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        data: bytes | io.BytesIO | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[Any, bytes]:
        return await self._requests.send(
            method,
            path,
            params=params,
            data=data,
            headers=headers,
            timeout_s=limits.BLOB_TIMEOUT_S,
            most_bytes=limits.BLOB_CHUNK_BYTES,
        )


def _possible(size_bytes: int) -> int:
    if size_bytes > limits.BLOB_BYTES:
        raise Corrupt("The cloud tells a size that cannot be.", code="blob.answer")
    return size_bytes


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"The cloud answered something else: {error}.", code="blob.answer") from None

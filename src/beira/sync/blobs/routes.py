"""The blobs' door in the cloud: plain HTTP, so that ranges, digests and proxies work as everywhere.
docs/specs/blobs.md describes it for those who write another client."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from litestar import Request, Response, Router, post, put, route
from litestar.types import ControllerRouterHandler

from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.blob import (
    BlobRef,
    RecordKey,
    Told,
    check_digest,
    checked_ref,
    content_digest,
    repr_digest,
)
from beira.kernel.errors import BeiraError, Corrupt, Invalid, TooMany
from beira.sync.blobs import metrics
from beira.sync.blobs.gate import BlobGate
from beira.sync.cloud.doorway import Turnstile
from beira.sync.cloud.routes import Admit, admitted_node

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})\Z")
NUMBER_DIGITS = 15
MEDIA_TYPE = "application/octet-stream"


class Asked(msgspec.Struct, frozen=True):
    """The body of `/missing`: what a node has and may have to send."""

    blobs: list[BlobRef]


class Answered(msgspec.Struct, frozen=True):
    """What the cloud has of each."""

    blobs: list[Told]


class Proof(msgspec.Struct, frozen=True):
    """The body of `/{sha256}/proof`."""

    proof: str


def blob_routes(gate: BlobGate, admit: Admit) -> ControllerRouterHandler:
    """Handlers for `/sync/v1/blobs`."""
    turnstile = Turnstile("blobs", limits.BLOB_REQUESTS_PER_NODE, limits.BLOB_REQUESTS_IN_FLIGHT)

    async def admitted(request: Request[Any, Any, Any]) -> Principal:
        return (await admitted_node(admit, request.headers.get("authorization", "")))[0]

    @post("/missing", status_code=200, request_max_body_size=limits.BODY_BYTES)
    async def missing(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = await admitted(request)
        with turnstile.passing(node):
            asked = _decoded(await request.body(), Asked)
            return _json(Answered(await gate.ask(node, asked.blobs)))

    @put("/{sha256:str}", status_code=200, request_max_body_size=limits.BLOB_CHUNK_BYTES)
    async def append(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = await admitted(request)
        with turnstile.passing(node):
            data = await request.body()
            await _check(data, request.headers.get("content-digest", ""))
            offset = _number(request, "offset")
            return _json(await gate.append(node, _ref(request), offset, data))

    @post("/{sha256:str}/proof", status_code=200)
    async def proof(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = await admitted(request)
        with turnstile.passing(node):
            shown = _decoded(await request.body(), Proof)
            return _json(await gate.prove(node, _ref(request), shown.proof))

    @route("/{sha256:str}", http_method=["GET", "HEAD"])
    async def read(request: Request[Any, Any, Any]) -> Response[bytes]:
        node = await admitted(request)
        with turnstile.passing(node):
            sha256 = _name(request)
            size = await gate.size(node, sha256, _key(request))
            if request.method == "HEAD":
                headers = {**_headers(sha256), "Content-Length": str(size)}
                return Response(b"", headers=headers, media_type=MEDIA_TYPE)
            return await _ranged(gate, node.tenant, sha256, size, request)

    return Router(
        path="/sync/v1/blobs",
        route_handlers=[missing, append, proof, read],
        exception_handlers={BeiraError: _told},
        include_in_schema=False,
    )


async def _ranged(
    gate: BlobGate, tenant: str, sha256: str, size: int, request: Request[Any, Any, Any]
) -> Response[bytes]:
    """The range asked for, a chunk at most, with a digest of its own; a small blob also whole."""
    span = _range(
        request.headers.get("range", ""), request.headers.get("if-range", ""), sha256, size
    )
    start, length = span or (0, size)
    if span is None and size > limits.BLOB_CHUNK_BYTES:
        raise Invalid(
            f"This blob has {size} bytes: ask for ranges of it.",
            code="blob.range",
            hint=f"Range: bytes=0-{limits.BLOB_CHUNK_BYTES - 1}, and so on.",
        )
    headers = _headers(sha256)
    if span is not None and length <= 0:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(b"", status_code=416, headers=headers, media_type=MEDIA_TYPE)
    length = min(length, limits.BLOB_CHUNK_BYTES)
    data = await gate.storage.read(tenant, sha256, start, length) if length else b""
    headers["Content-Digest"] = await asyncio.to_thread(content_digest, data)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    metrics.BYTES.labels("out").inc(len(data))
    if start + length == size:
        metrics.DONE.labels("out").inc()
    status = 200 if span is None else 206
    return Response(data, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _range(asked: str, if_range: str, sha256: str, size: int) -> tuple[int, int] | None:
    """(start, length) of a single range; None for the whole, as RFC 9110 has it for what is not
    understood and for an `If-Range` of another blob. A length of 0 or less cannot be satisfied."""
    found = _RANGE.match(asked)
    if found is None or (if_range and if_range != f'"{sha256}"'):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), min(size, int(last))) if last else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return start, end - start + 1


def _headers(sha256: str) -> dict[str, str]:
    return {
        "ETag": f'"{sha256}"',
        "Repr-Digest": repr_digest(sha256),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-transform",
    }


async def _check(data: bytes, digest: str) -> None:
    try:
        await asyncio.to_thread(check_digest, data, digest)
    except Corrupt:
        metrics.REFUSED.labels("digest").inc()
        raise


def _name(request: Request[Any, Any, Any]) -> str:
    return checked_ref(BlobRef(sha256=request.path_params["sha256"], size_bytes=0)).sha256


def _ref(request: Request[Any, Any, Any]) -> BlobRef:
    return BlobRef(sha256=request.path_params["sha256"], size_bytes=_number(request, "size"))


def _key(request: Request[Any, Any, Any]) -> RecordKey | None:
    """The record that names it, if one was given."""
    asked = request.query_params
    return (
        (asked["collection"], asked["record"]) if {"collection", "record"} <= set(asked) else None
    )


def _number(request: Request[Any, Any, Any], name: str) -> int:
    given = request.query_params.get(name, "")
    if not (given.isascii() and given.isdigit() and len(given) <= NUMBER_DIGITS):
        raise Invalid(f"{name} is a number of bytes.", code="blob.ask", hint=f"Give ?{name}=0.")
    return int(given)


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"Not understood: {error}.", code="blob.ask") from None


def _json(body: msgspec.Struct) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type="application/json")


def _told(request: Request[Any, Any, Any], error: BeiraError) -> Response[bytes]:
    body = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "details": error.details,
    }
    headers = {"Retry-After": "1"} if isinstance(error, TooMany) else {}
    status = 422 if isinstance(error, Corrupt) else error.status
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )

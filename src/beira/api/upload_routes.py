"""tus 1.0.0 on the wire: creation (with the first piece too), checksum, expiration, termination.

Beside the protocol, `GET` tells what became of an upload, and an answer that made one whole names its
receipt (`Beira-Receipt`) and the receipt's code (`Beira-Code`, empty if all went well).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import format_datetime
from typing import Any, Protocol

import msgspec
from litestar import Request, Response, Router, route
from litestar.exceptions import HTTPException

from beira.api.door import Caller
from beira.api.errors import HANDLERS, JSON, PreconditionFailed, WrongMedia, WrongMethod
from beira.api.uploads import CALL, Digest, Uploads
from beira.kernel import limits
from beira.kernel.errors import Invalid, Unavailable
from beira.kernel.upload import Upload, told_by
from beira.sync.cloud.doorway import Turnstile

PATH = "/storage/v1/upload/resumable"
VERSION = "1.0.0"
PIECE = "application/offset+octet-stream"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS = ("sha1", "sha256")
NUMBER_DIGITS = 15
AnyRequest = Request[Any, Any, Any]
Told = dict[str, str]


class Admitted(Protocol):
    """Whoever asks; `dress` gives the answer what their session needs."""

    @property
    def caller(self) -> Caller: ...
    @property
    def dress(self) -> Callable[[Response[Any]], None]: ...


def upload_routes(uploads: Uploads, admit: Callable[[AnyRequest], Awaitable[Admitted]]) -> Router:
    """Handlers of `PATH`. `admit` lets people in by a token or by cookies, the latter only with what
    shows that the request is no other site's."""
    desk = _Desk(uploads)
    turnstile = Turnstile("uploads", limits.UPLOADS_PER_PERSON, limits.UPLOADS_IN_FLIGHT)

    async def serve(request: AnyRequest) -> Response[Any]:
        method = _method(request)
        if method == "OPTIONS":
            return Response(b"", status_code=204, headers=_ABOUT)
        admitted = await admit(request)
        if method != "GET":
            _check_version(request)
        with turnstile.passing(admitted.caller.principal):
            answer = await desk.serve(method, request, admitted.caller)
        answer.headers.setdefault("Tus-Resumable", VERSION)
        answer.headers.setdefault("Cache-Control", "no-store")
        admitted.dress(answer)
        return answer

    collection = route("/", http_method=["OPTIONS", "POST"], name="uploads")(serve)
    methods: list[Any] = ["OPTIONS", "POST", "HEAD", "GET", "PATCH", "DELETE"]
    one = route("/{upload:str}", http_method=methods, name="upload")(serve)
    return Router(
        path=PATH,
        route_handlers=[collection, one],
        exception_handlers=HANDLERS,
        request_max_body_size=None,
        include_in_schema=False,
    )


_ABOUT = {
    "Tus-Resumable": VERSION,
    "Tus-Version": VERSION,
    "Tus-Extension": EXTENSIONS,
    "Tus-Max-Size": str(limits.UPLOAD_BYTES),
    "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
}


class _Desk:
    """One method for each verb."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def serve(self, method: str, request: AnyRequest, caller: Caller) -> Response[Any]:
        id = request.path_params.get("upload")
        if id is None:
            return await self._create(request, caller)
        upload = await self._uploads.find(caller, id)
        if method == "PATCH":
            offset = _number(request, "upload-offset")
            return _told(204, await self._append(request, caller, upload, offset))
        if method == "HEAD":
            offset = await self._uploads.offset(caller, upload)
            told = {"Upload-Length": str(upload.size_bytes)}
            return _told(200, told | await self._state(caller, upload, offset))
        if method == "GET":
            return await self._report(caller, upload)
        if method == "DELETE":
            await self._uploads.end(caller.host, upload)
            return _told(204, {})
        raise WrongMethod("This address cannot be asked that way.")

    async def _create(self, request: AnyRequest, caller: Caller) -> Response[Any]:
        size_bytes = _number(request, "upload-length")
        told = told_by(request.headers.get("upload-metadata", ""))
        upload = await self._uploads.create(caller, size_bytes, told)
        headers = {"Location": f"{PATH}/{upload.id}", "Upload-Expires": _expires(upload)}
        if request.headers.get("content-type", "") == PIECE:
            headers |= await self._append(request, caller, upload, 0)
        return _told(201, headers)

    async def _append(
        self, request: AnyRequest, caller: Caller, upload: Upload, offset: int
    ) -> Told:
        if request.headers.get("content-type", "") != PIECE:
            raise WrongMedia("A piece is of another type.", hint=f"Content-Type: {PIECE}.")
        is_right = _checksum(request.headers.get("upload-checksum", ""))
        if is_right is None:
            upto = await self._uploads.append(caller, upload, offset, _body(request))
        else:
            upto = await self._uploads.append_checked(
                caller, upload, offset, _body(request), is_right
            )
        return await self._state(caller, upload, upto)

    async def _state(self, caller: Caller, upload: Upload, offset: int) -> Told:
        told = {"Upload-Offset": str(offset)}
        if not upload.done:
            return told | {"Upload-Expires": _expires(upload)}
        receipt = await self._uploads.receipt(caller.host, upload)
        return told | {
            "Beira-Receipt": CALL + upload.id,
            "Beira-Code": receipt.code if receipt is not None else "",
        }

    async def _report(self, caller: Caller, upload: Upload) -> Response[Any]:
        offset = await self._uploads.offset(caller, upload)
        receipt = await self._uploads.receipt(caller.host, upload) if upload.done else None
        body = {
            "id": upload.id,
            "name": upload.name,
            "size_bytes": upload.size_bytes,
            "offset": offset,
            "done": upload.done,
            "sha256": upload.sha256,
            "receipt": receipt,
        }
        return Response(msgspec.json.encode(body), status_code=200, media_type=JSON)


def _told(status: int, headers: Told) -> Response[Any]:
    return Response(b"", status_code=status, headers=headers)


def _method(request: AnyRequest) -> str:
    """Some clients can send no other than POST."""
    asked = request.headers.get("x-http-method-override", "").upper()
    return asked if asked in ("PATCH", "DELETE", "HEAD") else request.method


def _check_version(request: AnyRequest) -> None:
    if request.headers.get("tus-resumable", "") != VERSION:
        raise PreconditionFailed(
            "This is a door for tus 1.0.0.", hint=f"Send Tus-Resumable: {VERSION}."
        )


async def _body(request: AnyRequest) -> AsyncIterator[bytes]:
    """The body as it comes. One that stays away for long, or is cut off, raises Unavailable."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(limits.UPLOAD_SILENCE_S):
                piece = await anext(stream, None)
        except (TimeoutError, HTTPException):
            raise Unavailable("The upload was cut off.", code="upload.cut", hint="Go on.") from None
        if piece is None:
            return
        if piece:
            yield piece


def _checksum(header: str) -> Digest | None:
    """What `Upload-Checksum` asks to be verified; None: nothing. Raises Invalid."""
    if not header:
        return None
    algorithm, _, given = header.partition(" ")
    try:
        wanted = base64.b64decode(given, validate=True)
    except binascii.Error:
        wanted = b""
    if algorithm not in ALGORITHMS or not wanted:
        raise Invalid(
            "That checksum is not understood.",
            code="upload.checksum_unknown",
            hint=f"Upload-Checksum: one of {', '.join(ALGORITHMS)}, then base64.",
        )
    return lambda piece: hmac.compare_digest(hashlib.new(algorithm, piece).digest(), wanted)


def _expires(upload: Upload) -> str:
    return format_datetime(upload.expires_at, usegmt=True)


def _number(request: AnyRequest, name: str) -> int:
    given = request.headers.get(name, "")
    if not (given.isascii() and given.isdigit() and len(given) <= NUMBER_DIGITS):
        raise Invalid(
            f"{name.title()} is a number of bytes.", code="upload.number", hint="Give it in digits."
        )
    return int(given)

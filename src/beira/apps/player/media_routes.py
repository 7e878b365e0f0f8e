"""Files over HTTP: to shops at addresses that never change, and to people who listen in the portal.

A shop's address (`media`) is public, the same for all shops, and good for a year in any cache or CDN.
What is not there, not to be given out, or asked for with a wrong proof is answered alike.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Any

from litestar import Request, Response, route
from litestar.response import Stream

from beira.apps.player.compile import compiler_of
from beira.apps.player.media import PREFIX, proof_of
from beira.apps.player.records import STAFF, Asset, Rendition
from beira.sdk import Denied, Host, NotFound, collection_of

YEAR_S = 31_536_000
READ_BYTES = 262_144
KNOWN = 10_000
KNOWN_S = 60.0
COVER = "cover"
_SHA = re.compile(r"[0-9a-f]{64}\Z")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})\Z")
_TYPES = {
    ".mp3": "audio/mpeg", ".flac": "audio/flac", ".wav": "audio/wav", ".m4a": "audio/mp4",
    ".mp4": "audio/mp4", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".aac": "audio/aac",
}  # fmt: skip
_PROFILE_TYPES = {"opus-64": "audio/ogg", "he-aac-v2": "audio/mp4", COVER: "image/jpeg"}
AnyRequest = Request[Any, Any, Any]
AnyResponse = Response[Any] | Stream
_known: dict[tuple[str, str], tuple[float, str, int]] = {}


@route(PREFIX + "/{tenant:str}/{sha256:str}/{proof:str}", http_method=["GET", "HEAD"])
async def media(request: AnyRequest) -> AnyResponse:
    """A rendition or cover, by its name and the proof of the tenant's key."""
    asked = request.path_params
    tenant, sha256, proof = (str(asked[name]) for name in ("tenant", "sha256", "proof"))
    try:
        if not (_TENANT.match(tenant) and _SHA.match(sha256)):
            raise NotFound("No address.")
        host = await request.app.state.host_of_tenant(tenant)
        right = proof_of(await compiler_of(host).media_key(), sha256)
        if not hmac.compare_digest(right.encode(), proof.encode()):
            raise NotFound("No proof.")
        media_type, size = await _given_out(host, sha256)
    except NotFound:
        return Response(b"", status_code=404, headers={"Cache-Control": "no-store"})
    keep = {"Cache-Control": f"public, max-age={YEAR_S}, immutable"}
    return _answer(request, host, sha256, size, media_type, keep)


@route("/player/files/{asset:str}/{which:str}", http_method=["GET", "HEAD"])
async def files(request: AnyRequest) -> AnyResponse:
    """An asset's `master` or `cover`, to people of the tenant who may see the library."""
    signed_in = await request.app.state.signed_in(request)
    caller, asked = signed_in.caller, request.path_params
    if caller.principal.role not in STAFF:
        raise Denied("This person may not listen to the library.")
    row = await caller.host.store.get("player_assets", str(asked["asset"])[:64])
    if row is None or row.deleted or asked["which"] not in ("master", COVER):
        raise NotFound("There is no such file.", code="player.asset_unknown")
    asset = collection_of(Asset).decode(row.id, row.fields)
    assert isinstance(asset, Asset)
    sha256 = asset.cover if asked["which"] == COVER else asset.master
    suffix = PurePath(asset.master_name).suffix.lower()
    media_type = _PROFILE_TYPES[COVER] if asked["which"] == COVER else _TYPES.get(suffix, "")
    size = await _blobs(caller.host).size(sha256)
    keep = {"Cache-Control": "private, max-age=3600", "Content-Disposition": "inline"}
    answer = _answer(request, caller.host, sha256, size, media_type, keep)
    signed_in.dress(answer)
    return answer


handlers = [media, files]


async def _given_out(host: Host, sha256: str) -> tuple[str, int]:
    """Type and size of a file that may be given to shops. Raises NotFound. Known for a minute."""
    key = (host.place.tenant, sha256)
    known = _known.get(key)
    if known is None or known[0] < time.monotonic():
        row = await host.store.get("player_renditions", sha256)
        if row is None or row.deleted:
            raise NotFound("It is none of the renditions.")
        made = collection_of(Rendition).decode(row.id, row.fields)
        assert isinstance(made, Rendition)
        size = await _blobs(host).size(made.file)
        known = (time.monotonic() + KNOWN_S, _PROFILE_TYPES.get(made.profile, ""), size)
        if len(_known) >= KNOWN:
            _known.clear()
        _known[key] = known
    return known[1], known[2]


def _answer(
    request: AnyRequest, host: Host, sha256: str, size: int, media_type: str, keep: dict[str, str]
) -> AnyResponse:
    """The file or the one range asked for (RFC 9110), with nothing that a browser could run."""
    headers = {
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        **keep,
    }
    media_type = media_type or "application/octet-stream"
    if _names(request.headers.get("if-none-match", ""), sha256):
        return Response(b"", status_code=304, headers=headers)
    span = _range(request, sha256, size)
    start, length = span or (0, size)
    if length <= 0:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(b"", status_code=416, headers=headers, media_type=media_type)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    headers["Content-Length"] = str(length)
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(b"", status_code=status, headers=headers, media_type=media_type)
    content = _pieces(host, sha256, start, length)
    return Stream(content, status_code=status, headers=headers, media_type=media_type)


def _range(request: AnyRequest, sha256: str, size: int) -> tuple[int, int] | None:
    """(start, length) of a single range; None for the whole: also for several, and where `If-Range`
    names another file. A length of 0 or less cannot be satisfied."""
    found = _RANGE.match(request.headers.get("range", ""))
    given = request.headers.get("if-range", "")
    if found is None or (given and given != f'"{sha256}"'):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), min(size, int(last))) if last else None
    if last and int(last) < int(first):
        return None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return start, end - start + 1


def _names(if_none_match: str, sha256: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return f'"{sha256}"' in tags or tags == ["*"]


async def _pieces(host: Host, sha256: str, start: int, length: int) -> AsyncIterator[bytes]:
    while length > 0:
        data = await _blobs(host).read(sha256, start, min(READ_BYTES, length))
        if not data:
            raise NotFound("The file ended too soon.", code="blob.missing")
        yield data
        start, length = start + len(data), length - len(data)


def _blobs(host: Host) -> Any:
    assert host.blobs is not None
    return host.blobs

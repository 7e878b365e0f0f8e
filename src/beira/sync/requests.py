"""A node's plain requests to the cloud: by its token, within a time and a size, in its own errors."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec

from beira.kernel import limits
from beira.kernel.errors import (
    BeiraError,
    Conflict,
    Corrupt,
    Denied,
    Full,
    Invalid,
    NotFound,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from beira.later import loaded_later
from beira.sync.node.link import TokenSource

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = loaded_later("aiohttp")

ANSWERS_PATH = "/apps/v1"
READ_BYTES = 262_144
RANGE_NOT_SATISFIABLE = 416
_BY_STATUS: dict[int, type[BeiraError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Corrupt,
    507: Full,
}
_UNNEEDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that say nothing here, and cost as many bytes as a whole question does."""


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str = ""
    details: dict[str, Any] | None = None


class CloudRequests:
    """Requests to addresses that begin with `url`. Raises the cloud's own errors, and Unavailable when
    it cannot be reached; nothing is retried here."""

    def __init__(self, url: str, token: TokenSource, *, ssl: object = True) -> None:
        self._url = url
        self._token = token
        self._ssl = ssl
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        data: bytes | io.BytesIO | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float,
        most_bytes: int,
    ) -> tuple[Any, bytes]:
        """(headers, body) of an answer that is no refusal. Raises Corrupt `blob.answer` for one
        longer than `most_bytes`."""
        told = {"Authorization": f"Bearer {await self._token()}", **(headers or {})}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=limits.CONNECT_TIMEOUT_S)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False, skip_auto_headers=_UNNEEDED
            )
        try:
            async with self._session.request(
                method,
                self._url + path,
                params=params,
                data=data,
                headers=told,
                timeout=timeout,
                ssl=self._ssl,  # type: ignore[arg-type]
                allow_redirects=False,
            ) as answer:
                body = await _body(answer, most_bytes)
                if answer.status >= 300 and answer.status != RANGE_NOT_SATISFIABLE:
                    raise self._refusal(answer.status, body)
                return answer.headers, body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(f"The cloud cannot be reached: {error or 'timeout'}.") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _refusal(self, status: int, body: bytes) -> BeiraError:
        if status in (401, 403):
            self._token.forget()
        try:
            told = msgspec.json.decode(body, type=_Refusal)
        except msgspec.MsgspecError:
            told = _Refusal()
        message = told.message or f"The cloud answered {status}."
        if status == 429:
            return TooMany(message, retry_after_s=1.0)
        kind = _BY_STATUS.get(status, Unavailable)
        return kind(message, code=told.code, hint=told.hint, details=told.details)


async def _body(answer: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """All of an answer, if it is no longer than one may be."""
    body = bytearray()
    async for piece in answer.content.iter_chunked(READ_BYTES):
        body += piece
        if len(body) > most_bytes:
            raise Corrupt("The cloud sent more than was asked for.", code="blob.answer")
    return bytes(body)

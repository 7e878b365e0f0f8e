"""Ranges of files by plain HTTP, from wherever an app says they are: nothing of this node is told there,
and only the hash of the whole says whether what came is right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from beira.kernel import limits
from beira.kernel.errors import BeiraError, Corrupt, NotFound, TooMany, Unavailable
from beira.later import loaded_later

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = loaded_later("aiohttp")

READ_BYTES = 262_144
ALL_OF_IT = 200
A_PART = 206
GONE = (404, 410)
TOO_MANY = 429
NOT_SATISFIABLE = 416
_NOTHING_THERE = re.compile(r"bytes \*/(\d+)\Z")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class PlainReader:
    """Reads from addresses, and from paths at the cloud `url`, whose certificate `ssl` is about."""

    def __init__(self, url: str, *, ssl: object = True) -> None:
        self._cloud = url.rstrip("/")
        self._ssl = ssl
        self._session: aiohttp.ClientSession | None = None

    async def read(
        self, address: str, sha256: str, offset: int, size_bytes: int
    ) -> tuple[int, bytes]:
        """The file's size and at most `size_bytes` of it from `offset`; none if it ends there. If the
        line is cut, what had come by then is returned, so that it need not come again.

        Raises: Unavailable, NotFound, TooMany, Corrupt `blob.answer` (for one that knows no ranges).
        """
        url = address if "://" in address else self._cloud + address
        headers = {
            "Range": f"bytes={offset}-{offset + size_bytes - 1}",
            "If-Range": f'"{sha256}"',
            "Accept-Encoding": "identity",
        }
        try:
            async with self._asked(url, headers) as answer:
                if answer.status not in (ALL_OF_IT, A_PART, NOT_SATISFIABLE):
                    raise _refusal(url, answer.status)
                told = answer.headers
                if found := _NOTHING_THERE.match(told.get("Content-Range", "")):
                    return int(found[1]), b""
                begin, whole = _span(answer)
                if begin != offset:
                    raise Corrupt(f"{url} gave another range than asked for.", code="blob.answer")
                return whole, await _body(answer, size_bytes)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{url} cannot be reached: {error or 'timeout'}.") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _asked(self, url: str, headers: dict[str, str]) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        timeout = aiohttp.ClientTimeout(
            total=limits.BLOB_TIMEOUT_S, sock_connect=limits.CONNECT_TIMEOUT_S
        )
        return self._session.get(
            url,
            headers=headers,
            timeout=timeout,
            ssl=self._ssl if url.startswith(self._cloud) else True,  # type: ignore[arg-type]
            allow_redirects=False,
        )


def _span(answer: aiohttp.ClientResponse) -> tuple[int, int]:
    """Where the body begins, and how long the whole is; (-1, 0) if that is not said."""
    if answer.status == ALL_OF_IT:
        return (0, answer.content_length) if answer.content_length is not None else (-1, 0)
    found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[3])) if found else (-1, 0)


async def _body(answer: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    """What comes, up to `most_bytes`: the rest of a longer answer is not waited for."""
    body = bytearray()
    try:
        async for piece in answer.content.iter_chunked(READ_BYTES):
            body += piece
            if len(body) >= most_bytes:
                break
    except (aiohttp.ClientError, OSError, TimeoutError):
        if not body:
            raise
    if len(body) > most_bytes:
        answer.close()
    return bytes(body[:most_bytes])


def _refusal(url: str, status: int) -> BeiraError:
    message = f"{url} answered {status}."
    if status in GONE:
        return NotFound(message, code="blob.missing")
    if status == TOO_MANY:
        return TooMany(message, retry_after_s=1.0)
    return Unavailable(message) if status >= 500 else Corrupt(message, code="blob.answer")

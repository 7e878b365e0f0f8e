"""What a node asks of the cloud besides sync: to enrol, and for tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import aiohttp
import msgspec

from beira.identity.node_key import NodeKey
from beira.identity.shapes import Challenge, Enrolled, NodeToken
from beira.kernel import limits
from beira.kernel.errors import (
    BeiraError,
    Corrupt,
    Denied,
    Invalid,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from beira.node.settled import Settled

T = TypeVar("T")
RENEW_BEFORE_S = 60
_BY_STATUS = {400: Invalid, 401: Unauthenticated, 403: Denied, 404: Invalid}


class CloudClient:
    """Talks to one cloud. `ssl` is what aiohttp takes: True, False or a context."""

    def __init__(self, url: str, *, ssl: object = True) -> None:
        self.url = url.rstrip("/")
        self._ssl = ssl

    async def post(self, path: str, body: object, kind: type[T]) -> T:
        """POST JSON and decode the answer. Raises the cloud's own error, or Unavailable."""
        timeout = aiohttp.ClientTimeout(total=limits.CONNECT_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self.url + path,
                    data=msgspec.json.encode(body),
                    headers={"Content-Type": "application/json"},
                    ssl=self._ssl,  # type: ignore[arg-type]
                ) as response,
            ):
                data = await response.read()
                if response.status >= 300:
                    raise _error(response.status, data)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"{self.url} cannot be reached: {error or 'timeout'}.",
                hint="Check the address and the network, then try again.",
            ) from None
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise Corrupt(f"{self.url} answered something else: {error}.") from None

    async def challenge(self) -> Challenge:
        return await self.post("/auth/v1/nodes/challenge", {}, Challenge)

    async def enrol(self, code: str, key: NodeKey) -> Settled:
        """Become a node. Raises as the cloud does: `enrol.code_wrong`, TooMany."""
        request = key.enrol(code, await self.challenge())
        given = await self.post("/auth/v1/nodes/enrol", request, Enrolled)
        return Settled(cloud=self.url, enrolled=given)


class TokenSource:
    """Access tokens for a node, renewed shortly before they end."""

    def __init__(
        self,
        client: CloudClient,
        key: NodeKey,
        node: str,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._key = key
        self._node = node
        self._steady = steady
        self._token = ""
        self._good_until_s = 0.0

    async def __call__(self) -> str:
        if self._steady() >= self._good_until_s:
            challenge = await self._client.challenge()
            assertion = self._key.assertion(self._node, challenge, lambda: challenge.now_s)
            given = await self._client.post(
                "/auth/v1/nodes/token", {"assertion": assertion}, NodeToken
            )
            self._token = given.access_token
            self._good_until_s = self._steady() + given.expires_in_s - RENEW_BEFORE_S
        return self._token

    def forget(self) -> None:
        """The cloud refused the token: ask for a new one next time."""
        self._good_until_s = 0.0


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str | None = ""


def _error(status: int, data: bytes) -> BeiraError:
    try:
        told = msgspec.json.decode(data, type=_Refusal)
    except msgspec.MsgspecError:
        told = _Refusal(message=f"The cloud answered {status}.")
    if status == 429:
        return TooMany(told.message, retry_after_s=60, code=told.code, hint=told.hint or "")
    kind = _BY_STATUS.get(status, Unavailable)
    return kind(told.message, code=told.code, hint=told.hint or "")

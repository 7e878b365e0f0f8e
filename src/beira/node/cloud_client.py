"""What a node asks of the cloud besides sync: to enrol, and for tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from beira.identity.node_key import NodeKey
from beira.identity.shapes import Challenge, Enrolled, NodeToken, SignedIn
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
from beira.later import loaded_later
from beira.node.settled import Settled

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = loaded_later("aiohttp")

T = TypeVar("T")
RENEW_BEFORE_S = 60
_BY_STATUS = {400: Invalid, 401: Unauthenticated, 403: Denied, 404: Invalid}


class CloudClient:
    """Talks to one cloud. `ssl` is what aiohttp takes: True, False or a context."""

    def __init__(self, url: str, *, ssl: object = True) -> None:
        self.url = url.rstrip("/")
        self._ssl = ssl

    async def post(self, path: str, body: object, kind: type[T], *, token: str = "") -> T:
        """POST JSON and decode the answer (`kind` NoneType: there is none).

        Raises the cloud's own error, or Unavailable.
        """
        return await self._ask("POST", path, msgspec.json.encode(body), kind, token)

    async def keys(self) -> dict[str, Any]:
        """The public keys by which the cloud's tokens are known."""
        return await self._ask("GET", "/auth/v1/.well-known/jwks.json", None, dict[str, Any], "")

    async def _ask(
        self, method: str, path: str, body: bytes | None, kind: type[T], token: str
    ) -> T:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        timeout = aiohttp.ClientTimeout(total=limits.CONNECT_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.request(
                    method,
                    self.url + path,
                    data=body,
                    headers=headers,
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
            return msgspec.json.decode(data or b"null", type=kind)
        except msgspec.MsgspecError as error:
            raise Corrupt(f"{self.url} answered something else: {error}.") from None

    async def challenge(self) -> Challenge:
        return await self.post("/auth/v1/nodes/challenge", {}, Challenge)

    async def enrol(self, code: str, key: NodeKey) -> Settled:
        """Become a node. Raises Invalid for no address; as the cloud: `enrol.code_wrong`, TooMany."""
        if not self.url.startswith(("http://", "https://")):
            raise Invalid(
                f"{self.url} is no address of a cloud.",
                code="cloud.address",
                hint="Begin it with https:// (or http://), as the portal's command does.",
            )
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


class RemoteAccounts:
    """The cloud's sign-in, for people who sign in at the node. Implements `api.accounts.RemoteSignIn`."""

    def __init__(self, client: CloudClient) -> None:
        self._client = client

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> SignedIn:
        body = {"email": email, "password": password, "code": code, "tenant": tenant}
        answer = await self._client.post("/auth/v1/token?grant_type=password", body, _Session)
        return _signed(answer)

    async def refresh(self, refresh_token: str, *, address: str) -> SignedIn:
        body = {"refresh_token": refresh_token}
        return _signed(
            await self._client.post("/auth/v1/token?grant_type=refresh_token", body, _Session)
        )

    async def sign_out(self, token: str, *, scope: str) -> None:
        await self._client.post(f"/auth/v1/logout?scope={scope}", {}, type(None), token=token)


class _Meta(msgspec.Struct):
    tenant: str
    role: str
    sites: tuple[str, ...] | None = None


class _Named(msgspec.Struct):
    name: str = ""


class _User(msgspec.Struct):
    id: str
    email: str
    app_metadata: _Meta
    user_metadata: _Named
    factors: list[Any] = []


class _Session(msgspec.Struct):
    access_token: str
    refresh_token: str
    expires_in: int
    expires_at: int
    user: _User


def _signed(answer: _Session) -> SignedIn:
    user, meta = answer.user, answer.user.app_metadata
    return SignedIn(
        access_token=answer.access_token,
        refresh_token=answer.refresh_token,
        expires_in_s=answer.expires_in,
        expires_at=answer.expires_at,
        session="",
        account=user.id,
        email=user.email,
        name=user.user_metadata.name,
        tenant=meta.tenant,
        role=meta.role,
        sites=meta.sites,
        memberships=(),
        totp=bool(user.factors),
    )


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str | None = ""


def _error(status: int, data: bytes) -> BeiraError:
    try:
        told = msgspec.json.decode(data, type=_Refusal)
    except msgspec.MsgspecError:
        told = _Refusal()
    if not told.message:
        told = _Refusal(
            message=f"Not the cloud, but something before it answered {status}.",
            code="cloud.refused",
            hint="Check the address; a proxy that wants a certificate gets it by --client-cert.",
        )
    if status == 429:
        return TooMany(told.message, retry_after_s=60, code=told.code, hint=told.hint or "")
    kind = _BY_STATUS.get(status, Unavailable)
    return kind(told.message, code=told.code, hint=told.hint or "")

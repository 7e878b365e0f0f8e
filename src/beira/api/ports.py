"""What the API asks of the program that mounts it: who is asking, and which tenant's data is theirs.

The cloud gives a host per tenant and full accounts; a node gives the one host it has, and sign-in
from what it last knew. `SignIn` and `NodeDoor` may be absent, and then their paths answer that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from beira.host import Host
from beira.kernel.access import Principal


class Authenticator(Protocol):
    """Turns tokens into principals."""

    async def principal(self, token: str) -> Principal:
        """Who a token speaks for, now. Raises Unauthenticated when it does not hold (any more)."""
        ...


class Hosts(Protocol):
    """Finds the data of whoever asks."""

    async def host_of(self, principal: Principal) -> Host:
        """The host of the principal's tenant. Raises NotFound, Denied or Unavailable."""
        ...


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody signed in, as they may know of themselves. `sites` None means all of the tenant."""

    id: str
    email: str
    name: str
    tenant: str
    role: str
    sites: tuple[str, ...] | None = None
    totp: bool = False


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is handed to a client. `expires_at` is in seconds since 1970."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    expires_at: int
    person: Person


class SignIn(Protocol):
    """Sessions of people. All may raise Unauthenticated, TooMany, Invalid or Unavailable."""

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> Tokens:
        """`code` is of the second factor ("": none given), `tenant` the one to act in ("": the
        person's first). Raises Unauthenticated `auth.wrong`, `auth.totp_needed`."""
        ...

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens: ...

    async def sign_out(self, token: str, *, scope: str) -> None:
        """End this session ("local"), all others ("others") or all ("global")."""
        ...

    async def person(self, token: str) -> Person: ...

    async def rename(self, token: str, name: str) -> None: ...

    async def change_password(self, token: str, old: str, new: str) -> None: ...

    async def begin_totp(self, token: str, password: str) -> TotpSetup:
        """`password` "" is enough if the session was opened just now."""
        ...

    async def confirm_totp(self, token: str, code: str) -> None: ...

    async def disable_totp(self, token: str, code: str) -> None: ...

    def jwks(self) -> Mapping[str, object]: ...


class TotpSetup(Protocol):
    """What an authenticator app needs, shown once."""

    @property
    def secret(self) -> str: ...
    @property
    def uri(self) -> str: ...
    @property
    def qr_svg(self) -> str: ...
    @property
    def recovery_codes(self) -> tuple[str, ...]: ...


class NodeDoor(Protocol):
    """How nodes enrol and get their tokens: the cloud only. Answers go out as they are, in JSON."""

    def challenge(self) -> msgspec.Struct: ...

    async def enrol(self, body: object, *, address: str) -> msgspec.Struct:
        """`body` is the request's JSON, as `identity.shapes.EnrolRequest` describes it."""
        ...

    async def token(self, assertion: str) -> msgspec.Struct: ...


class Revocations(Protocol):
    """Tells when something may no longer hold, so that live connections ask again at once."""

    def subscribe(self, listener: Callable[[object], None]) -> Callable[[], None]: ...

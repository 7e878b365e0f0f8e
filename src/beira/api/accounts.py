"""Identity as the API's ports want it: the cloud's whole, or a node's with the cloud behind it.

The API knows sessions and tokens; `beira.identity` knows accounts. This is all that lies between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from beira.api.ports import Person, Tokens
from beira.host import Place
from beira.kernel.access import Principal
from beira.kernel.errors import Denied, Invalid, Unauthenticated, Unavailable

if TYPE_CHECKING:  # identity's cloud half needs asyncpg, which a node need not have
    from beira.identity.cloud import Identity
    from beira.identity.local import LocalIdentity
    from beira.identity.shapes import Revocation, SignedIn, TotpSetup


class CloudAccounts:
    """The cloud's. Implements Authenticator, SignIn, NodeDoor and Revocations."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def principal(self, token: str) -> Principal:
        return await self._identity.principal(token)

    def subscribe(self, listener: Callable[[Revocation], None]) -> Callable[[], None]:
        return self._identity.subscribe(listener)

    def jwks(self) -> Mapping[str, object]:
        return self._identity.jwks()

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> Tokens:
        signed = await self._identity.people.sign_in(
            email,
            password,
            code=code or None,
            tenant=tenant or None,
            address=address,
            label=label,
        )
        return tokens_of(signed)

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        return tokens_of(await self._identity.sessions.refresh(refresh_token, address=address))

    async def sign_out(self, token: str, *, scope: str) -> None:
        by, session = await self._who(token)
        if scope == "local":
            await self._identity.people.sign_out(by, session)
        else:
            keep = session if scope == "others" else None
            await self._identity.sessions.revoke_all(by, keep=keep)

    async def person(self, token: str) -> Person:
        by = await self.principal(token)
        account = await self._identity.people.account(by)
        return Person(
            id=by.id,
            email=account.email,
            name=account.name or account.email,
            tenant=by.tenant,
            role=by.role,
            sites=by.sites,
            totp=account.totp,
        )

    async def rename(self, token: str, name: str) -> None:
        await self._identity.people.rename(await self.principal(token), name)

    async def change_password(self, token: str, old: str, new: str) -> None:
        by, session = await self._who(token)
        await self._identity.people.change_password(by, old, new, keep_session=session)

    async def begin_totp(self, token: str, password: str) -> TotpSetup:
        by, session = await self._who(token)
        return await self._identity.people.begin_totp(
            by, password=password or None, session=session
        )

    async def confirm_totp(self, token: str, code: str) -> None:
        await self._identity.people.confirm_totp(await self.principal(token), code)

    async def disable_totp(self, token: str, code: str) -> None:
        await self._identity.people.disable_totp(await self.principal(token), code)

    def challenge(self) -> msgspec.Struct:
        return self._identity.nodes.challenge()

    async def enrol(self, body: object, *, address: str) -> msgspec.Struct:
        from beira.identity.shapes import EnrolRequest

        try:
            request = msgspec.convert(body, EnrolRequest)
        except msgspec.ValidationError as error:
            raise Invalid(
                f"That is no enrolment: {error}.",
                code="body.invalid",
                hint="Send code, public_key, nonce and proof.",
            ) from None
        return await self._identity.nodes.enrol(request, address=address)

    async def token(self, assertion: str) -> msgspec.Struct:
        return await self._identity.nodes.token(assertion)

    async def _who(self, token: str) -> tuple[Principal, str]:
        by = await self.principal(token)
        return by, (await self._identity.claims(token)).sid


class RemoteSignIn(Protocol):
    """The cloud's sign-in as a node reaches it. Raises Unavailable while it is away."""

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> SignedIn: ...

    async def refresh(self, refresh_token: str, *, address: str) -> SignedIn: ...

    async def sign_out(self, token: str, *, scope: str) -> None: ...


class NodeAccounts:
    """A node's: the cloud is asked first, and while it is away what was proven before counts.

    Implements Authenticator and SignIn.
    """

    def __init__(self, local: LocalIdentity, place: Place, remote: RemoteSignIn | None) -> None:
        self._local = local
        self._tenant, self._node = place.tenant, place.node
        self._remote = remote

    async def principal(self, token: str) -> Principal:
        return await self._local.principal(token)

    def jwks(self) -> Mapping[str, object]:
        """A node verifies with the cloud's keys; its own tokens are good only here."""
        return {"keys": []}

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> Tokens:
        if tenant not in ("", self._tenant):
            raise Denied("That tenant is not served here.", code="tenant.denied")
        try:
            signed = await self._cloud().sign_in(
                email, password, code=code, tenant=self._tenant, address=address, label=label
            )
        except Unavailable:
            return tokens_of(await self._local.sign_in(email, password, address=address))
        except (Denied, Unauthenticated):
            await self._local.disproved(email, password)
            raise
        await self._local.remember(password, signed)
        await self._local.principal(signed.access_token)
        return tokens_of(signed)

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        if refresh_token.startswith("bnt."):
            return tokens_of(await self._local.refresh(refresh_token))
        return tokens_of(await self._cloud().refresh(refresh_token, address=address))

    async def sign_out(self, token: str, *, scope: str) -> None:
        """A session of the cloud's ends there; the node's own ends here."""
        from beira.identity.tokens import peek

        await self._local.sign_out(token)
        if peek(token)[1].get("iss") != self._node:
            await self._cloud().sign_out(token, scope=scope)

    async def person(self, token: str) -> Person:
        return person_of(await self._local.principal(token))

    async def rename(self, token: str, name: str) -> None:
        raise _in_the_cloud()

    async def change_password(self, token: str, old: str, new: str) -> None:
        raise _in_the_cloud()

    async def begin_totp(self, token: str, password: str) -> Any:
        raise _in_the_cloud()

    async def confirm_totp(self, token: str, code: str) -> None:
        raise _in_the_cloud()

    async def disable_totp(self, token: str, code: str) -> None:
        raise _in_the_cloud()

    def _cloud(self) -> RemoteSignIn:
        if self._remote is None:
            raise Unavailable("The cloud is away.", hint="Try again when there is a network.")
        return self._remote


def tokens_of(signed: SignedIn) -> Tokens:
    """A session as the API tells it."""
    return Tokens(
        access_token=signed.access_token,
        refresh_token=signed.refresh_token,
        expires_in_s=signed.expires_in_s,
        expires_at=signed.expires_at,
        person=Person(
            id=signed.account,
            email=signed.email,
            name=signed.name or signed.email,
            tenant=signed.tenant,
            role=signed.role,
            sites=signed.sites,
            totp=signed.totp,
        ),
    )


def person_of(principal: Principal) -> Person:
    """What a token alone tells of its person; somebody without a name goes by their e-mail."""
    return Person(
        id=principal.id,
        email=principal.name if "@" in principal.name else "",
        name=principal.name,
        tenant=principal.tenant,
        role=principal.role,
        sites=principal.sites,
    )


def _in_the_cloud() -> Denied:
    return Denied(
        "Accounts are kept in the cloud.",
        code="auth.elsewhere",
        hint="Change it there; this node hears of it by itself.",
    )

"""The API's sign-in and enrolment doors, opened onto the cloud's identity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from beira.api.ports import Person, Tokens, TotpSetup
from beira.identity import Identity
from beira.identity.shapes import Challenge, Enrolled, EnrolRequest, NodeToken, SignedIn
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Denied, Invalid


class CloudSignIn:
    """Implements `api.ports.SignIn`."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> Tokens:
        return tokens_of(
            await self._identity.people.sign_in(
                email,
                password,
                code=code or None,
                tenant=tenant or None,
                address=address,
                label=label,
            )
        )

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        return tokens_of(await self._identity.sessions.refresh(refresh_token, address=address))

    async def sign_out(self, token: str, *, scope: str) -> None:
        principal, session = await self._known(token)
        if scope == "local":
            await self._identity.people.sign_out(principal, session)
        else:
            keep = session if scope == "others" else None
            await self._identity.sessions.revoke_all(principal, keep=keep)

    async def person(self, token: str) -> Person:
        principal, _ = await self._known(token)
        account = await self._identity.people.account(principal)
        return Person(
            id=principal.id,
            email=account.email,
            name=account.name,
            tenant=principal.tenant,
            role=principal.role,
            sites=principal.sites,
            totp=account.totp,
        )

    async def change_password(self, token: str, old: str, new: str) -> None:
        principal, session = await self._known(token)
        await self._identity.people.change_password(principal, old, new, keep_session=session)

    async def begin_totp(self, token: str, password: str) -> TotpSetup:
        principal, _ = await self._known(token)
        return await self._identity.people.begin_totp(principal, password=password)

    async def confirm_totp(self, token: str, code: str) -> None:
        principal, _ = await self._known(token)
        await self._identity.people.confirm_totp(principal, code)

    async def rename(self, token: str, name: str) -> None:
        principal, _ = await self._known(token)
        await self._identity.people.rename(principal, name)

    async def disable_totp(self, token: str, code: str) -> None:
        principal, _ = await self._known(token)
        await self._identity.people.disable_totp(principal, code)

    def jwks(self) -> Mapping[str, object]:
        return self._identity.jwks()

    async def _known(self, token: str) -> tuple[Principal, str]:
        grant = await self._identity.grant(token)
        if grant.principal.kind is not Kind.PERSON:
            raise Denied("Only people have accounts.")
        return grant.principal, grant.session


class CloudNodes:
    """Implements `api.ports.NodeDoor`. `follow` makes the records of a tenant's places current."""

    def __init__(self, identity: Identity, follow: Callable[[str], Awaitable[None]]) -> None:
        self._identity = identity
        self._follow = follow

    def challenge(self) -> Challenge:
        return self._identity.nodes.challenge()

    async def enrol(self, body: object, *, address: str) -> Enrolled:
        try:
            request = msgspec.convert(body, EnrolRequest)
        except msgspec.ValidationError as error:
            raise Invalid(f"Not an enrolment: {error}.", code="enrol.invalid") from None
        enrolled = await self._identity.nodes.enrol(request, address=address)
        await self._follow(enrolled.tenant)
        return enrolled

    async def token(self, assertion: str) -> NodeToken:
        return await self._identity.nodes.token(assertion)


def tokens_of(signed: SignedIn) -> Tokens:
    """A session in the API's shape."""
    return Tokens(
        access_token=signed.access_token,
        refresh_token=signed.refresh_token,
        expires_in_s=signed.expires_in_s,
        expires_at=signed.expires_at,
        person=Person(
            id=signed.account,
            email=signed.email,
            name=signed.name,
            tenant=signed.tenant,
            role=signed.role,
            sites=signed.sites,
            totp=signed.totp,
        ),
    )

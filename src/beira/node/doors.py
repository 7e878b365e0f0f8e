"""The API's sign-in door on a node: through the cloud when it answers, from memory when it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from beira.api.ports import Person, Tokens, TotpSetup
from beira.identity.local import LocalIdentity
from beira.identity.shapes import SignedIn
from beira.kernel.errors import BeiraError, Denied, Unavailable
from beira.node.cloud_client import CloudClient

log = structlog.get_logger(__name__)


class NodeSignIn:
    """Implements `api.ports.SignIn` over the cloud's API and the node's `LocalIdentity`.

    Tokens are the node's own: good here only, online or not.
    """

    def __init__(self, local: LocalIdentity, cloud: CloudClient, jwks: Mapping[str, Any]) -> None:
        self._local = local
        self._cloud = cloud
        self._jwks = jwks

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> Tokens:
        try:
            signed = await self._ask_cloud(email, password, code, tenant)
            await self._local.remember(password, signed)
        except Unavailable as error:
            log.info("sign_in.offline", why=error.message)
        return _tokens(await self._local.sign_in(email, password, address=address))

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        return _tokens(await self._local.refresh(refresh_token))

    async def sign_out(self, token: str, *, scope: str) -> None:
        await self._local.sign_out(token)

    async def person(self, token: str) -> Person:
        principal = await self._local.principal(token)
        return Person(
            id=principal.id,
            email="",
            name=principal.name,
            tenant=principal.tenant,
            role=principal.role,
            sites=principal.sites,
        )

    async def change_password(self, token: str, old: str, new: str) -> None:
        raise _in_cloud("A password")

    async def begin_totp(self, token: str, password: str) -> TotpSetup:
        raise _in_cloud("A second factor")

    async def confirm_totp(self, token: str, code: str) -> None:
        raise _in_cloud("A second factor")

    async def rename(self, token: str, name: str) -> None:
        raise _in_cloud("A name")

    async def disable_totp(self, token: str, code: str) -> None:
        raise _in_cloud("A second factor")

    def jwks(self) -> Mapping[str, object]:
        return self._jwks

    async def _ask_cloud(self, email: str, password: str, code: str, tenant: str) -> SignedIn:
        body = {"email": email, "password": password, "code": code, "tenant": tenant}
        answer = await self._cloud.post("/auth/v1/token?grant_type=password", body, dict)
        user = answer["user"]
        meta = user["app_metadata"]
        return SignedIn(
            access_token=answer["access_token"],
            refresh_token=answer["refresh_token"],
            expires_in_s=answer["expires_in"],
            expires_at=answer["expires_at"],
            session="",
            account=user["id"],
            email=user["email"],
            name=user["user_metadata"]["name"],
            tenant=meta["tenant"],
            role=meta["role"],
            sites=tuple(meta["sites"]) if meta.get("sites") is not None else None,
            memberships=(),
            totp=bool(user.get("factors")),
        )


def _tokens(signed: SignedIn) -> Tokens:
    person = Person(
        id=signed.account,
        email=signed.email,
        name=signed.name,
        tenant=signed.tenant,
        role=signed.role,
        sites=signed.sites,
    )
    return Tokens(
        access_token=signed.access_token,
        refresh_token=signed.refresh_token,
        expires_in_s=signed.expires_in_s,
        expires_at=signed.expires_at,
        person=person,
    )


def _in_cloud(what: str) -> BeiraError:
    return Denied(
        f"{what} is changed in the cloud only.",
        code="auth.cloud_only",
        hint="Sign in at the cloud's portal.",
    )

"""Who is at the door: from a request's token to a principal and the host that is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from beira.api.ports import Authenticator, Hosts
from beira.host import Host
from beira.kernel import limits
from beira.kernel.access import Principal, partitions
from beira.kernel.errors import Denied, Unauthenticated


@dataclass(frozen=True)
class Caller:
    """Whoever asks, and the tenant's host that answers."""

    principal: Principal
    host: Host

    @property
    def readable(self) -> frozenset[str] | None:
        """The partitions that may be read; None is the whole tenant."""
        return partitions(self.principal)

    @property
    def writable(self) -> frozenset[str] | None:
        """The partitions that may be written: a node writes for its own place only, whoever asks."""
        mine, here = self.readable, partitions(self.host.place.principal)
        if mine is None or here is None:
            return here if mine is None else mine
        return mine & here


class Door:
    """Lets in who has a token that holds."""

    def __init__(self, authenticator: Authenticator, hosts: Hosts) -> None:
        self._authenticator = authenticator
        self._hosts = hosts

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Raises Unauthenticated without a good token, Denied outside the host's tenant."""
        token = bearer(headers)
        try:
            return await self.caller_of(token)
        except Unauthenticated:
            if headers.get("apikey") == token:
                raise _nobody() from None
            raise

    async def caller_of(self, token: str) -> Caller:
        principal = await self._authenticator.principal(token)
        host = await self._hosts.host_of(principal)
        if host.place.tenant != principal.tenant:
            raise Denied(
                "That tenant is not served here.",
                code="tenant.denied",
                hint="Sign in to the tenant that this machine belongs to.",
            )
        structlog.contextvars.bind_contextvars(tenant=principal.tenant)
        return Caller(principal, host)


def bearer(headers: Mapping[str, str]) -> str:
    """The token of `Authorization: Bearer`. An `apikey` alone speaks for nobody."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > limits.BEARER_CHARS:
        raise _nobody()
    return token


def _nobody() -> Unauthenticated:
    """Supabase's clients send their `apikey` as the token while nobody is signed in."""
    return Unauthenticated(
        "Nobody is signed in.",
        hint="Sign in at /auth/v1/token and send Authorization: Bearer <access token>.",
    )

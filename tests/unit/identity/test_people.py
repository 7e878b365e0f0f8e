"""People: signing in, second factor, sessions, invitations."""

from __future__ import annotations

import asyncio

import pyotp
import pytest

from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Conflict, Denied, Invalid, TooMany, Unauthenticated
from tests.unit.identity.conftest import PASSWORD, World


async def refused(awaitable, code: str, kind: type[BeiraError] = BeiraError) -> BeiraError:
    with pytest.raises(kind) as caught:
        await awaitable
    assert caught.value.code == code
    return caught.value


async def test_an_invited_owner_signs_in_and_is_known_on_both_replicas(world: World) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    for identity in (world.one, world.two):
        principal = await identity.principal(signed.access_token)
        assert (principal.tenant, principal.role, principal.sites) == (tenant, "owner", None)

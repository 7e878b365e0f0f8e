"""Identity on a node with the cloud away: who may sign in, with what, and for how long."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pyotp
import pytest
from tests.unit.identity.conftest import PASSWORD, World
from tests.unit.identity.refusals import refused

from beira.identity import local as local_module
from beira.identity import tokens
from beira.identity.local import MARK, LocalIdentity
from beira.identity.node_key import NodeKey
from beira.identity.rotation import GRACE_S
from beira.kernel import limits

DAY_S = 86_400


class Marks:
    """A store's marks, kept as JSON as a store keeps them."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def get(self, name: str) -> Any:
        raw = self.kept.get(name)
        return None if raw is None else msgspec.json.decode(raw)

    async def set(self, marks: Mapping[str, Any]) -> None:
        self.kept |= {k: msgspec.json.encode(v) for k, v in marks.items()}


class Shop:
    """A node of a fresh tenant with one site, and its own identity."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.marks = Marks()

    async def open(self) -> Shop:
        self.tenant = await self.world.tenant()
        self.site = await self.world.site(self.tenant, groups=("sul",))
        self.enrolled, self.key = await self.world.node(self.tenant, self.site)
        await self.restart()
        return self

    async def restart(self) -> None:
        self.local = LocalIdentity(
            enrolled=self.enrolled,
            key=self.key,
            get_mark=self.marks.get,
            set_marks=self.marks.set,
            now=self.world.clock,
        )
        await self.local.start()

    async def known(self, role: str = "member", **more: object) -> str:
        """Somebody who signed in online, through this node."""
        email = await self.world.person(self.tenant, role, **more)
        await self.online(email)
        return email

    async def online(self, email: str, **more: object) -> None:
        signed = await self.world.one.people.sign_in(email, PASSWORD, **more)
        await self.local.remember(PASSWORD, signed)


@pytest.fixture
async def shop(world: World) -> Shop:
    return await Shop(world).open()


async def test_a_person_known_here_signs_in_offline(shop: Shop) -> None:
    email = await shop.known()
    await shop.restart()
    signed = await shop.local.sign_in(f" {email.upper()}", PASSWORD)
    principal = await shop.local.principal(signed.access_token)
    assert (principal.id, principal.tenant, principal.role) == (
        signed.account,
        shop.tenant,
        "member",
    )
    await shop.restart()
    assert await shop.local.principal(signed.access_token), "a restart ends no session"


async def test_only_the_right_password_of_somebody_known(shop: Shop) -> None:
    email = await shop.known()
    await refused(shop.local.sign_in(email, "wrong wrong"), "auth.wrong")
    stranger = await shop.world.person(shop.tenant)
    await refused(shop.local.sign_in(stranger, PASSWORD), "auth.wrong")


async def test_guessing_at_a_node_is_limited(shop: Shop) -> None:
    email = await shop.known()
    for n in range(limits.SIGN_IN_TRIES):
        await refused(shop.local.sign_in(email, f"wrong {n} wrong"), "auth.wrong")
    await refused(shop.local.sign_in(email, PASSWORD), "auth.too_many")
    shop.world.clock.now_s += limits.SIGN_IN_WINDOW_S
    assert await shop.local.sign_in(email, PASSWORD)


async def test_it_lasts_thirty_days_from_the_last_proof(shop: Shop) -> None:
    email = await shop.known()
    signed = await shop.local.sign_in(email, PASSWORD)
    for _ in range(limits.OFFLINE_SIGN_IN_DAYS // 6):
        shop.world.clock.now_s += 6 * DAY_S - 60
        signed = await shop.local.refresh(signed.refresh_token)
    shop.world.clock.now_s += 600
    await refused(shop.local.refresh(signed.refresh_token), "auth.expired")
    await refused(shop.local.sign_in(email, PASSWORD), "auth.wrong")
    await shop.online(email)
    assert await shop.local.sign_in(email, PASSWORD)


async def test_refresh_here_is_as_strict_as_in_the_cloud(shop: Shop) -> None:
    email = await shop.known()
    first = await shop.local.sign_in(email, PASSWORD)
    second = await shop.local.refresh(first.refresh_token)
    again = await shop.local.refresh(first.refresh_token)
    assert second.refresh_token == again.refresh_token
    shop.world.clock.now_s += GRACE_S
    await refused(shop.local.refresh(first.refresh_token), "auth.refresh_reused")
    await refused(shop.local.refresh(second.refresh_token), "auth.refresh_invalid")
    await refused(shop.local.principal(second.access_token), "auth.revoked")
    kind, id, turn, mac = first.refresh_token.split(".")
    for made_up in ("", "...", f"{kind}.{id}.7.{mac}", f"{kind}.{id}.{turn}.x", first.access_token):
        await refused(shop.local.refresh(made_up), "auth.refresh_invalid")


async def test_signing_out_ends_it(shop: Shop) -> None:
    signed = await shop.local.sign_in(await shop.known(), PASSWORD)
    await shop.local.sign_out(signed.access_token)
    await refused(shop.local.principal(signed.access_token), "auth.revoked")
    await refused(shop.local.refresh(signed.refresh_token), "auth.refresh_invalid")


async def test_somebody_forgotten_is_out_at_once(shop: Shop) -> None:
    email = await shop.known()
    signed = await shop.local.sign_in(email, PASSWORD)
    await shop.local.forget(signed.account)
    await refused(shop.local.principal(signed.access_token), "auth.revoked")
    await refused(shop.local.sign_in(email, PASSWORD), "auth.wrong")
    await shop.online(email)
    await refused(shop.local.principal(signed.access_token), "auth.revoked")


async def test_who_the_cloud_refuses_is_forgotten_but_not_for_a_slip(shop: Shop) -> None:
    email = await shop.known()
    signed = await shop.local.sign_in(email, PASSWORD)
    await shop.local.disproved(email, "a slip of the hand")
    await shop.local.disproved("nobody@example.com", PASSWORD)
    assert await shop.local.principal(signed.access_token)
    await shop.local.disproved(email, PASSWORD)
    await refused(shop.local.principal(signed.access_token), "auth.revoked")
    await refused(shop.local.sign_in(email, PASSWORD), "auth.wrong")


async def test_a_second_factor_is_not_lowered_to_one(shop: Shop) -> None:
    world = shop.world
    email = await shop.known()
    signed = await world.one.people.sign_in(email, PASSWORD)
    by = await world.one.principal(signed.access_token)
    setup = await world.one.people.begin_totp(by, password=PASSWORD)
    app = pyotp.TOTP(setup.secret)
    await world.one.people.confirm_totp(by, app.at(int(world.clock.now_s)))
    world.clock.now_s += 30
    await shop.online(email, code=app.at(int(world.clock.now_s)))
    await refused(shop.local.sign_in(email, PASSWORD), "auth.wrong")


async def test_people_of_other_sites_and_tenants_are_not_let_in(shop: Shop) -> None:
    elsewhere = await shop.world.site(shop.tenant)
    limited = await shop.known(sites=(elsewhere,))
    await refused(shop.local.sign_in(limited, PASSWORD), "auth.wrong")
    online = await shop.world.one.people.sign_in(limited, PASSWORD)
    await refused(shop.local.principal(online.access_token), "auth.token_elsewhere")
    other = await shop.world.signed_in(await shop.world.tenant())
    await refused(shop.local.principal(other.access_token), "auth.token_elsewhere")
    here = await shop.known(sites=(shop.site, elsewhere))
    assert await shop.local.sign_in(here, PASSWORD)


async def test_the_clouds_tokens_hold_offline_until_they_expire(shop: Shop) -> None:
    online = await shop.world.signed_in(shop.tenant)
    principal = await shop.local.principal(online.access_token)
    assert (principal.id, principal.role) == (online.account, "owner")
    shop.world.clock.now_s += limits.ACCESS_TOKEN_S
    await refused(shop.local.principal(online.access_token), "auth.expired")


async def test_new_keys_of_the_cloud_are_kept(shop: Shop) -> None:
    await shop.world.one.rotate_keys(at_once=True)
    online = await shop.world.signed_in(shop.tenant)
    await refused(shop.local.principal(online.access_token), "auth.token_invalid")
    await shop.local.update_keys(shop.world.one.jwks())
    await shop.restart()
    assert await shop.local.principal(online.access_token)


async def test_a_nodes_tokens_are_good_on_that_node_only(shop: Shop, world: World) -> None:
    signed = await shop.local.sign_in(await shop.known(), PASSWORD)
    other = await Shop(world).open()
    await refused(other.local.principal(signed.access_token), "auth.token_invalid")
    await refused(world.one.principal(signed.access_token), "auth.token_invalid")
    await refused(other.local.refresh(signed.refresh_token), "auth.refresh_invalid")


async def test_tokens_forged_for_a_node_are_refused(shop: Shop) -> None:
    signed = await shop.local.sign_in(await shop.known(), PASSWORD)
    _, claims = tokens.peek(signed.access_token)
    good = msgspec.convert(claims, tokens.AccessClaims)
    own = shop.key.signing
    cases = [
        ("auth.token_invalid", good, NodeKey(os.urandom(32)).signing, "node-at+jwt"),
        ("auth.token_invalid", good, own, "at+jwt"),
        ("auth.token_invalid", good, own, "node+jwt"),
        ("auth.token_elsewhere", msgspec.structs.replace(good, aud="x"), own, "node-at+jwt"),
        ("auth.expired", msgspec.structs.replace(good, exp=1), own, "node-at+jwt"),
        ("auth.revoked", msgspec.structs.replace(good, sub="x"), own, "node-at+jwt"),
        ("auth.revoked", msgspec.structs.replace(good, sid="x"), own, "node-at+jwt"),
        # the node's key must not speak for the cloud
        ("auth.token_invalid", msgspec.structs.replace(good, iss="beira-cloud"), own, "at+jwt"),
    ]
    for code, claims_, key, typ in cases:
        await refused(shop.local.principal(tokens.sign(claims_, key, typ)), code)
    role = tokens.sign(msgspec.structs.replace(good, role="owner"), own, "node-at+jwt")
    assert (await shop.local.principal(role)).role == "member", "rights are those kept here"


async def test_the_token_of_a_node_is_no_persons(shop: Shop) -> None:
    token = await shop.world.node_token(shop.enrolled, shop.key)
    await refused(shop.local.principal(token), "auth.token_elsewhere")


async def test_what_is_kept_holds_no_password_and_is_bounded(shop: Shop, monkeypatch) -> None:
    monkeypatch.setattr(local_module, "PEOPLE_KEPT", 2)
    monkeypatch.setattr(local_module, "SESSIONS_KEPT", 3)
    emails = [await shop.known() for _ in range(3)]
    await refused(shop.local.sign_in(emails[0], PASSWORD), "auth.wrong")
    signed = [await shop.local.sign_in(emails[2], PASSWORD) for _ in range(4)]
    await refused(shop.local.principal(signed[0].access_token), "auth.revoked")
    assert await shop.local.principal(signed[3].access_token)
    raw = shop.marks.kept[MARK].decode()
    assert PASSWORD not in raw and "$argon2id$" in raw
    assert signed[3].refresh_token.split(".")[3] not in raw


async def test_a_broken_mark_does_not_stop_a_node(shop: Shop) -> None:
    await shop.marks.set({MARK: {"people": "?"}})
    await shop.restart()
    assert await shop.local.principal((await shop.world.signed_in(shop.tenant)).access_token)


def test_a_node_needs_no_postgresql_driver() -> None:
    code = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from beira.identity import LocalIdentity, NodeKey, server_key\n"
        "from beira.identity.local import LocalIdentity\n"
        "assert not [m for m in sys.modules if m.startswith('beira.store')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

"""Access tokens as an attacker would make them, and the keys that sign them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import warnings

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.identity.conftest import World
from tests.unit.identity.refusals import refused

from beira.identity import tokens
from beira.identity.keyring import PUBLISH_S
from beira.identity.rotation import GRACE_S, Turn, decide
from beira.identity.vault import base64url, from_base64url
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Unauthenticated


def encoded(part: object) -> str:
    return base64url(json.dumps(part).encode())


def parts(token: str) -> tuple[dict, dict, bytes]:
    header, claims, signature = token.split(".")
    return (
        json.loads(from_base64url(header)),
        json.loads(from_base64url(claims)),
        from_base64url(signature),
    )


async def test_forged_tokens_are_refused(world: World) -> None:
    token = (await world.signed_in(await world.tenant())).access_token
    header, claims, signature = parts(token)
    assert header["alg"] == "EdDSA"
    x = world.one.jwks()["keys"][0]["x"]

    def hs256(secret: bytes, **more: object) -> str:
        text = f"{encoded({**header, 'alg': 'HS256', **more})}.{encoded(claims)}"
        return f"{text}.{base64url(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    own = tokens.key_from_private(os.urandom(32), header["kid"])
    own_jwk = own.as_dict(private=False)
    typed = msgspec.convert(claims, tokens.AccessClaims)
    forged = {
        "alg none": f"{encoded({**header, 'alg': 'none'})}.{encoded(claims)}.",
        "alg None": f"{encoded({**header, 'alg': 'None'})}.{encoded(claims)}.",
        "alg missing": f"{encoded({'kid': header['kid']})}.{encoded(claims)}.{base64url(signature)}",
        "HS256 by the public key's bytes": hs256(from_base64url(x)),
        "HS256 by the public key's text": hs256(x.encode()),
        "HS256 by the JWK": hs256(json.dumps(world.one.jwks()["keys"][0]).encode()),
        "another key under our kid": tokens.sign(typed, own, "at+jwt"),
        "a key of its own in the header": hs256(b"k", jwk=own_jwk, jku="https://evil.example"),
        "an unknown kid": tokens.sign(
            typed, tokens.key_from_private(os.urandom(32), "x"), "at+jwt"
        ),
        "claims changed": ".".join(
            [token.split(".")[0], encoded({**claims, "role": "admin"}), token.split(".")[2]]
        ),
        "no signature": token.rpartition(".")[0] + ".",
        "cut": token[:-3],
        "empty": "",
        "dots": "..",
        "words": "not.a.token",
        "not text": "é.é.é",
        "huge": "A" * 100_000,
        "json header list": f"{encoded([])}.{encoded(claims)}.{base64url(signature)}",
        "kid a list": f"{encoded({**header, 'kid': [1]})}.{encoded(claims)}.{base64url(signature)}",
        "crit": f"{encoded({**header, 'crit': ['b64'], 'b64': False})}.{encoded(claims)}.AA",
        "claims a list": f"{encoded(header)}.{encoded([1])}.{base64url(signature)}",
    }
    for what, made in forged.items():
        with pytest.raises(Unauthenticated) as caught:
            await world.one.principal(made)
        assert caught.value.code == "auth.token_invalid", what


async def test_good_signatures_do_not_make_up_for_wrong_claims(world: World) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    _, claims, _ = parts(signed.access_token)
    good = msgspec.convert(claims, tokens.AccessClaims)
    key = world.one._ring.signing(world.clock())
    now = int(world.clock())
    cases = {
        "auth.token_elsewhere": [{"aud": "other"}, {"iss": "other-cloud"}, {"iss": ""}],
        "auth.token_future": [{"iat": now + 3_600, "exp": now + 7_200}],
        "auth.expired": [{"exp": now}, {"exp": now - 1}, {"exp": -1}],
        "auth.revoked": [
            {"sid": "x"}, {"kind": "service"}, {"tenant": "another"}, {"sub": "another"},
        ],
        "node.revoked": [{"kind": "node"}],
    }  # fmt: skip
    for code, changes in cases.items():
        for change in changes:
            made = tokens.sign(msgspec.structs.replace(good, **change), key, "at+jwt")
            await refused(world.one.principal(made), code)
    for typ in ("node+jwt", "JWT", "node-at+jwt"):
        await refused(world.one.principal(tokens.sign(good, key, typ)), "auth.token_invalid")
    role = tokens.sign(msgspec.structs.replace(good, role="admin"), key, "at+jwt")
    assert (await world.one.principal(role)).role == "owner", "rights come from the database"


async def test_tokens_expire(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    world.clock.now_s += limits.ACCESS_TOKEN_S - 1
    assert await world.one.principal(signed.access_token)
    world.clock.now_s += 1
    await refused(world.one.principal(signed.access_token), "auth.expired")


async def test_a_refresh_token_or_a_nodes_assertion_is_no_access_token(world: World) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    node, key = await world.node(tenant, await world.site(tenant))
    assertion = key.assertion(node.node, world.one.nodes.challenge(), world.clock)
    for token in (signed.refresh_token, assertion):
        await refused(world.one.principal(token), "auth.token_invalid")


async def test_keys_rotate_without_a_gap(world: World) -> None:
    tenant = await world.tenant()
    before = await world.signed_in(tenant)
    kid = await world.one.rotate_keys()
    assert kid in {k["kid"] for k in world.one.jwks()["keys"]}, "published before it signs"
    during = await world.signed_in(tenant)
    assert parts(during.access_token)[0]["kid"] != kid
    assert await world.two.principal(before.access_token)
    world.clock.now_s += PUBLISH_S
    after = await world.signed_in(tenant)
    assert parts(after.access_token)[0]["kid"] == kid
    assert await world.two.principal(after.access_token), "the other replica learns of it"
    world.clock.now_s += limits.ACCESS_TOKEN_S
    assert [k["kid"] for k in world.one.jwks()["keys"]] == [kid]


async def test_a_stolen_key_is_void_at_once(world: World) -> None:
    tenant = await world.tenant()
    before = await world.signed_in(tenant)
    assert await world.one.principal(before.access_token), "and is remembered as proven"
    await world.one.rotate_keys(at_once=True)
    await refused(world.one.principal(before.access_token), "auth.token_invalid")
    again = await world.one.sessions.refresh(before.refresh_token)
    assert await world.one.principal(again.access_token)


async def test_jwks_holds_nothing_private(world: World) -> None:
    for key in world.one.jwks()["keys"]:
        assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        tokens.peek(text)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80))
@settings(max_examples=300)
def test_no_bytes_break_the_verifying_of_a_token(a: bytes, b: bytes, c: bytes) -> None:
    key = tokens.key_from_private(bytes(32), "k")
    with pytest.raises(BeiraError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens.verify(".".join(map(base64url, (a, b, c))), {"k": key}, "at+jwt")


@given(st.binary(max_size=100))
def test_base64url_goes_there_and_back(raw: bytes) -> None:
    assert from_base64url(base64url(raw)) == raw
    assert base64url(raw) == base64.urlsafe_b64encode(raw).decode().rstrip("=")


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_turn_is_given_again_only_just_after_it_was_taken(shown, turn, turned_at, now) -> None:
    decision = decide(shown, turn, turned_at, now)
    if shown == turn:
        assert decision is Turn.NEXT
    elif decision is Turn.AGAIN:
        assert shown + 1 == turn and now - turned_at < GRACE_S
    else:
        assert decision is Turn.STOLEN

"""Nodes: enrolling, proving themselves with any clock, being revoked, replaced, cloned."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest
from tests.unit.identity.conftest import Clock, World
from tests.unit.identity.refusals import refused

from beira.identity import tokens, vault
from beira.identity.node_key import NodeKey
from beira.identity.nodes import TRIES_PER_CODE
from beira.identity.tenants import service
from beira.identity.vault import CODE_ALPHABET
from beira.kernel import limits
from beira.kernel.access import Kind


def new_key() -> NodeKey:
    return NodeKey(os.urandom(32))


@pytest.fixture
async def place(world: World) -> tuple[str, str]:
    tenant = await world.tenant()
    return tenant, await world.site(tenant, groups=("sul", "lojas"))


async def test_a_node_enrols_and_is_known(world: World, place) -> None:
    tenant, site = place
    owner = await world.owner(tenant)
    code = await world.one.nodes.make_code(owner, site, name="Balcão 1")
    plain = code.code.replace("-", "")
    assert len(plain) == 10 and set(plain) <= set(CODE_ALPHABET)
    assert code.code in code.link and code.link.startswith("https://cloud.example/")
    assert code.qr_svg.startswith("<svg") and plain not in repr(code)
    key = new_key()
    typed = f" {code.code.lower()} "
    enrolled = await world.two.nodes.enrol(key.enrol(typed, world.one.nodes.challenge()))
    assert (enrolled.tenant, enrolled.site, enrolled.name) == (tenant, site, "Balcão 1")
    assert tokens.keys_of(enrolled.jwks), "it can verify people's tokens from now on"
    token = await world.node_token(enrolled, key)
    principal = await world.two.principal(token)
    assert (principal.kind, principal.id) == (Kind.NODE, enrolled.node)
    assert (principal.tenant, principal.sites) == (tenant, (site,))
    assert principal.groups == ("lojas", "sul")
    (seen,) = await world.one.nodes.of(owner)
    assert (seen.id, seen.name, seen.revoked_at) == (enrolled.node, "Balcão 1", None)


async def test_one_code_one_node_however_many_race(world: World, place) -> None:
    code = await world.one.nodes.make_code(service(place[0]), place[1])
    racing = [
        identity.nodes.enrol(new_key().enrol(code.code, world.one.nodes.challenge()))
        for identity in (world.one, world.two) * 3
    ]
    answers = await asyncio.gather(*racing, return_exceptions=True)
    codes = [a.code for a in answers if isinstance(a, BaseException)]
    assert codes == ["enrol.code_used"] * 5
    assert len(await world.one.nodes.of(service(place[0]))) == 1


async def test_a_lost_answer_is_given_again_to_the_same_key_only(world: World, place) -> None:
    code = await world.one.nodes.make_code(service(place[0]), place[1])
    key = new_key()
    first = await world.one.nodes.enrol(key.enrol(code.code, world.one.nodes.challenge()))
    again = await world.two.nodes.enrol(key.enrol(code.code, world.one.nodes.challenge()))
    assert again.node == first.node
    thief = new_key().enrol(code.code, world.one.nodes.challenge())
    await refused(world.one.nodes.enrol(thief), "enrol.code_used")
    world.clock.now_s += limits.ENROL_CODE_S
    late = key.enrol(code.code, world.one.nodes.challenge())
    await refused(world.one.nodes.enrol(late), "enrol.code_expired")


async def test_a_code_that_is_taken_is_drawn_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another tenant, too, whose codes cannot be seen."""
    drawn = iter(["AAAA-BBBBBB", "AAAA-CCCCCC", "AAAA-DDDDDD", "EEEE-FFFFFF"])
    monkeypatch.setattr(vault, "new_code", lambda chars: next(drawn))
    made = []
    for _ in range(2):
        tenant = await world.tenant()
        site = await world.site(tenant)
        made.append((await world.one.nodes.make_code(service(tenant), site)).code)
    assert made == ["AAAA-BBBBBB", "EEEE-FFFFFF"]
    monkeypatch.setattr(vault, "new_code", lambda chars: "EEEE-GGGGGG")
    await refused(world.one.nodes.make_code(service(tenant), site), "node.no_code")


async def test_a_code_dies_of_wrong_tries(world: World, place) -> None:
    code = await world.one.nodes.make_code(service(place[0]), place[1])
    other = "7" if code.code[-1] != "7" else "9"
    for n in range(TRIES_PER_CODE):
        guess = new_key().enrol(code.code[:-1] + other, world.one.nodes.challenge())
        wrong = (world.one, world.two)[n % 2].nodes.enrol(guess, address=f"10.1.1.{n}")
        await refused(wrong, "enrol.code_wrong")
    right = new_key().enrol(code.code, world.one.nodes.challenge())
    await refused(world.one.nodes.enrol(right, address="10.2.2.2"), "enrol.code_wrong")


async def test_guessing_codes_is_rate_limited(world: World) -> None:
    for _ in range(limits.ENROL_TRIES):
        guess = new_key().enrol("AAAA-AAAAAA", world.one.nodes.challenge())
        await refused(world.one.nodes.enrol(guess, address="10.9.9.9"), "enrol.code_wrong")
    guess = new_key().enrol("AAAA-AAAAAA", world.one.nodes.challenge())
    await refused(world.two.nodes.enrol(guess, address="10.9.9.9"), "auth.too_many")


async def test_a_code_expires(world: World, place) -> None:
    code = await world.one.nodes.make_code(service(place[0]), place[1])
    world.clock.now_s += limits.ENROL_CODE_S
    late = new_key().enrol(code.code, world.one.nodes.challenge())
    await refused(world.one.nodes.enrol(late), "enrol.code_expired")


async def test_enrolling_needs_the_private_key(world: World, place) -> None:
    code = await world.one.nodes.make_code(service(place[0]), place[1])
    mine, victim = new_key(), new_key()
    request = mine.enrol(code.code, world.one.nodes.challenge())
    odd = [{"public_key": victim.public_key}, {"proof": ""}, {"proof": "é"}, {"public_key": "AA"}]
    for change in odd:
        forged = msgspec.structs.replace(request, nonce=world.one.nodes.challenge().nonce, **change)
        await refused(world.one.nodes.enrol(forged), "enrol.proof_wrong")
    await world.one.nodes.enrol(mine.enrol(code.code, world.one.nodes.challenge()))


async def test_an_enrolment_cannot_be_replayed(world: World, place) -> None:
    code = await world.one.nodes.make_code(service(place[0]), place[1])
    request = new_key().enrol(code.code, world.one.nodes.challenge())
    await world.one.nodes.enrol(request)
    await refused(world.two.nodes.enrol(request), "auth.nonce_invalid")


async def test_a_key_is_one_nodes_only(world: World, place) -> None:
    tenant, site = place
    _, key = await world.node(tenant, site)
    for where, at in ((tenant, site), (other := await world.tenant(), await world.site(other))):
        code = await world.one.nodes.make_code(service(where), at)
        again = key.enrol(code.code, world.one.nodes.challenge())
        await refused(world.one.nodes.enrol(again), "enrol.key_known")


@pytest.mark.parametrize("years", [-20, -1, 0, 1, 20])
async def test_a_node_gets_a_token_whatever_its_clock_says(world: World, place, years: int) -> None:
    node, key = await world.node(*place)
    mad = Clock()
    mad.now_s = world.clock.now_s + years * 31_556_952
    assertion = key.assertion(node.node, world.one.nodes.challenge(), mad)
    token = await world.two.nodes.token(assertion)
    assert (await world.one.principal(token.access_token)).id == node.node


async def test_an_assertion_is_good_once_and_not_for_long(world: World, place) -> None:
    node, key = await world.node(*place)
    assertion = key.assertion(node.node, world.one.nodes.challenge(), world.clock)
    racing = [i.nodes.token(assertion) for i in (world.one, world.two) * 2]
    answers = await asyncio.gather(*racing, return_exceptions=True)
    assert sum(not isinstance(a, BaseException) for a in answers) == 1
    await refused(world.one.nodes.token(assertion), "auth.nonce_invalid")
    slow = key.assertion(node.node, world.one.nodes.challenge(), world.clock)
    world.clock.now_s += limits.ASSERTION_S
    await refused(world.one.nodes.token(slow), "auth.nonce_invalid")


async def test_forged_assertions_are_refused(world: World, place) -> None:
    node, key = await world.node(*place)
    other, other_key = await world.node(*place)
    challenge = world.one.nodes.challenge()
    now = int(world.clock())

    def claims(**changes: object) -> tokens.AssertionClaims:
        good = tokens.AssertionClaims(
            iss=node.node, sub=node.node, aud=challenge.issuer, iat=now, exp=now + 60, jti="j",
            nonce=world.one.nodes.challenge().nonce,
        )  # fmt: skip
        return msgspec.structs.replace(good, **changes)

    def signed(by: NodeKey, typ: str = "node+jwt", **changes: object) -> str:
        made = claims(**changes)
        return tokens.sign(made, tokens.key_from_private(by._private, made.sub), typ)

    forged = {
        "another's key": signed(other_key),
        "another's name": signed(key, sub=other.node),
        "issued by another": signed(key, iss=other.node),
        "for another cloud": signed(key, aud="elsewhere"),
        "lasting too long": signed(key, exp=now + 3_600),
        "lasting no time": signed(key, exp=now),
        "an access token's type": signed(key, typ="at+jwt"),
        "of nobody": signed(key, sub="nobody", iss="nobody"),
    }
    for what, assertion in forged.items():
        with pytest.raises(Exception) as caught:
            await world.one.nodes.token(assertion)
        assert caught.value.code in ("auth.assertion_invalid", "auth.token_invalid"), what
    made_up = [signed(key, nonce=n) for n in ("", "A" * 46, "é", challenge.nonce[:-4] + "AAAA")]
    for assertion in made_up:
        await refused(world.one.nodes.token(assertion), "auth.nonce_invalid")
    assert await world.one.nodes.token(signed(key))


async def test_revoking_a_node_holds_at_once_on_every_replica(world: World, place) -> None:
    tenant, _ = place
    owner = await world.owner(tenant)
    node, key = await world.node(*place)
    token = await world.node_token(node, key)
    grant = await world.two.grant(token)
    news = asyncio.Event()
    end = world.two.subscribe(lambda told: news.set() if grant.touched_by(told) else None)
    await world.one.nodes.revoke(owner, node.node)
    await asyncio.wait_for(news.wait(), 5)
    end()
    for identity in (world.one, world.two):
        await refused(identity.principal(token), "node.revoked")
        await refused(identity.still(grant), "node.revoked")
    assertion = key.assertion(node.node, world.one.nodes.challenge(), world.clock)
    await refused(world.two.nodes.token(assertion), "node.revoked")


async def test_a_replaced_machine_is_fenced_and_told_why(world: World, place) -> None:
    tenant, site = place
    owner = await world.owner(tenant)
    node, old = await world.node(*place)
    token = await world.node_token(node, old)
    code = await world.one.nodes.make_code(owner, site, node=node.node)
    new = new_key()
    again = await world.two.nodes.enrol(new.enrol(code.code, world.one.nodes.challenge()))
    assert (again.node, again.name) == (node.node, node.name)
    await refused(world.two.principal(token), "node.replaced")
    await refused(world.node_token(node, old), "node.replaced")
    stranger = world.node_token(node, new_key())
    await refused(stranger, "auth.assertion_invalid")
    assert (await world.one.principal(await world.node_token(again, new))).id == node.node
    code = await world.one.nodes.make_code(owner, site, node=node.node)
    back = old.enrol(code.code, world.one.nodes.challenge())
    await refused(world.one.nodes.enrol(back), "enrol.key_known")


async def test_a_node_is_replaced_where_it_stands(world: World, place) -> None:
    tenant = place[0]
    node, _ = await world.node(*place)
    elsewhere = await world.site(tenant)
    moving = world.one.nodes.make_code(service(tenant), elsewhere, node=node.node)
    await refused(moving, "not_found")


async def test_a_revoked_node_comes_back_by_a_new_code(world: World, place) -> None:
    tenant, site = place
    node, _ = await world.node(*place)
    await world.one.nodes.revoke(service(tenant), node.node)
    code = await world.one.nodes.make_code(service(tenant), site, node=node.node)
    key = new_key()
    await world.one.nodes.enrol(key.enrol(code.code, world.one.nodes.challenge()))
    assert await world.one.principal(await world.node_token(node, key))


# Tickets


async def test_tickets_of_one_machine_survive_lost_messages(world: World, place) -> None:
    tenant = place[0]
    node = (await world.node(*place))[0].node
    one, two = world.one.nodes, world.two.nodes
    held = await one.tickets.present_ticket(tenant, node, 0)
    await one.tickets.confirm_ticket(tenant, node, held)
    await two.tickets.confirm_ticket(tenant, node, held)  # said twice
    await two.tickets.present_ticket(tenant, node, held)  # this welcome is lost
    kept = await one.tickets.present_ticket(tenant, node, held)  # its confirmation is lost
    assert kept != held
    last = await two.tickets.present_ticket(tenant, node, kept)
    await two.tickets.confirm_ticket(tenant, node, last)
    (seen,) = await one.of(service(tenant))
    assert seen.duplicated_at is None


async def test_a_cloned_card_is_found_and_the_right_machine_goes_on(world: World, place) -> None:
    tenant = place[0]
    owner = await world.owner(tenant)
    node = (await world.node(*place))[0].node
    nodes = world.one.nodes
    card = await nodes.tickets.present_ticket(tenant, node, 0)
    await nodes.tickets.confirm_ticket(tenant, node, card)
    mine = await nodes.tickets.present_ticket(tenant, node, card)
    await nodes.tickets.confirm_ticket(tenant, node, mine)
    again = world.two.nodes.tickets.present_ticket
    await refused(again(tenant, node, card), "node.ticket_old")
    (seen,) = await nodes.of(owner)
    assert seen.duplicated_at is None, "it may have been an old request that came late"
    await refused(again(tenant, node, card, sure=True), "node.duplicated")
    (seen,) = await nodes.of(owner)
    assert seen.duplicated_at == world.clock.now_s
    assert "node_duplicated" in {e.what for e in await world.one.tenants.audit(owner)}
    mine = await nodes.tickets.present_ticket(tenant, node, mine)
    await nodes.tickets.confirm_ticket(tenant, node, mine)
    await nodes.clear_duplicated(owner, node)
    assert (await nodes.of(owner))[0].duplicated_at is None
    assert await nodes.tickets.present_ticket(tenant, node, card), "the owner said: whichever comes"


async def test_of_two_clones_at_once_only_one_is_confirmed(world: World, place) -> None:
    tenant = place[0]
    for _ in range(5):
        node = (await world.node(*place))[0].node

        async def session(nodes, node=node) -> None:
            given = await nodes.tickets.present_ticket(tenant, node, 0)
            await asyncio.sleep(0)
            await nodes.tickets.confirm_ticket(tenant, node, given)

        both = [session(world.one.nodes), session(world.two.nodes)]
        answers = await asyncio.gather(*both, return_exceptions=True)
        refusals = [a.code for a in answers if a is not None]
        assert refusals == ["node.ticket_old"]


async def test_tickets_are_a_tenants_own(world: World, place) -> None:
    node = (await world.node(*place))[0].node
    other = await world.tenant()
    await refused(world.one.nodes.tickets.present_ticket(other, node, 0), "node.duplicated")
    (seen,) = await world.one.nodes.of(service(place[0]))
    assert seen.duplicated_at is None

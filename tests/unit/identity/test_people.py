"""People: the first owner, signing in, the second factor, sessions, invitations."""

from __future__ import annotations

import asyncio
import os

import asyncpg
import pyotp
import pytest
from tests.contract.postgres_fixture import fresh_database
from tests.unit.identity.conftest import PASSWORD, Clock, World
from tests.unit.identity.refusals import refused

from beira.identity import Identity, ServerKey, sessions
from beira.identity.rotation import GRACE_S
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.access import partitions
from beira.kernel.errors import TooMany
from beira.store.postgres import PostgresCloud


async def test_an_invited_owner_signs_in_and_is_known_on_both_replicas(world: World) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    for identity in (world.one, world.two):
        principal = await identity.principal(signed.access_token)
        assert (principal.tenant, principal.role, principal.sites) == (tenant, "owner", None)


async def test_the_first_owner_is_made_once_however_many_ask(postgres_server, postgres_registry):
    dsn, owner_dsn = await fresh_database(postgres_server)
    cloud = await PostgresCloud.open(dsn, postgres_registry, owner_dsn=owner_dsn)
    identity = Identity(cloud, ServerKey(os.urandom(32)), public_url="https://c", now=Clock())
    await identity.start()
    asked = [identity.people.create_first_owner("Loja", f"o{n}@example.com") for n in range(4)]
    made = await asyncio.gather(*asked, return_exceptions=True)
    (first,) = [m for m in made if not isinstance(m, BaseException)]
    assert [m.code for m in made if isinstance(m, BaseException)] == ["identity.not_first"] * 3
    assert first.password and first.password not in repr(first)
    signed = await identity.people.sign_in(first.email, first.password)
    assert (signed.role, signed.tenant) == ("owner", first.tenant)
    admin = await identity.people.sign_in(first.email, first.password, tenant="")
    assert (admin.role, admin.tenant) == ("admin", "")
    await identity.close()
    await cloud.close()


async def test_a_server_with_another_key_does_not_start(world: World) -> None:
    stranger = Identity(world.cloud, ServerKey(os.urandom(32)), public_url="https://c")
    await refused(stranger.start(), "identity.key_wrong")


async def test_unknown_and_wrong_answer_the_same(world: World) -> None:
    email = await world.person(await world.tenant())
    wrong = await refused(world.one.people.sign_in(email, "not the password"), "auth.wrong")
    unknown = await refused(world.one.people.sign_in("who@example.com", PASSWORD), "auth.wrong")
    assert (wrong.message, wrong.hint, wrong.details, wrong.status) == (
        unknown.message, unknown.hint, unknown.details, unknown.status,
    )  # fmt: skip


async def test_unknown_costs_a_hash_like_wrong(world: World, monkeypatch) -> None:
    email = await world.person(await world.tenant())
    hashed: list[str] = []
    passwords = world.one.people._core.passwords
    run = passwords._run

    async def counted(work, stored, password):
        hashed.append(stored[:30])
        return await run(work, stored, password)

    monkeypatch.setattr(passwords, "_run", counted)
    for who in (email, "nobody@example.com"):
        await refused(world.one.people.sign_in(who, "wrong wrong"), "auth.wrong")
    assert len(hashed) == 2 and hashed[0] == hashed[1], "same algorithm and parameters"
    assert hashed[0].startswith("$argon2id$v=19$m=19456,t=2,p")


async def test_email_is_one_however_it_is_typed(world: World) -> None:
    email = await world.person(await world.tenant())
    signed = await world.one.people.sign_in(f"  {email.upper()} ", PASSWORD)
    assert signed.email == email


@pytest.mark.parametrize("text", ["", "a", "@", "a@", "a b@c", "a@b\x00", "x" * 300 + "@y"])
async def test_what_is_no_email_is_refused(world: World, text: str) -> None:
    await refused(world.one.people.sign_in(text, PASSWORD), "auth.email_invalid")


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE accounts; --@x", "%@example.com", "_@_", "\u202e@x"]
)
async def test_sql_and_oddities_in_text_fields_are_only_text(world: World, text: str) -> None:
    with pytest.raises(Exception) as caught:
        await world.one.people.sign_in(text, text, code=text, tenant=text, address=text, label=text)
    assert caught.value.code in ("auth.wrong", "auth.email_invalid")


async def test_guessing_is_stopped_for_an_account_across_replicas(world: World) -> None:
    email = await world.person(await world.tenant())
    for n in range(limits.SIGN_IN_TRIES):
        identity = (world.one, world.two)[n % 2]
        guess = identity.people.sign_in(email, f"wrong number {n}", address=f"10.0.0.{n}")
        await refused(guess, "auth.wrong")
    late = await refused(world.two.people.sign_in(email, PASSWORD), "auth.too_many")
    assert isinstance(late, TooMany) and 0 < late.retry_after_s <= limits.SIGN_IN_WINDOW_S
    world.clock.now_s += limits.SIGN_IN_WINDOW_S + 1
    assert await world.one.people.sign_in(email, PASSWORD)


async def test_many_guesses_at_once_do_not_slip_through(world: World) -> None:
    email = await world.person(await world.tenant())
    guesses = [world.one.people.sign_in(email, f"guess {n} guess") for n in range(20)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    codes = [a.code for a in answers]
    assert codes.count("auth.wrong") == limits.SIGN_IN_TRIES
    assert codes.count("auth.too_many") == 20 - limits.SIGN_IN_TRIES


async def test_one_address_cannot_try_many_accounts(world: World) -> None:
    for n in range(limits.SIGN_IN_TRIES):
        spray = world.one.people.sign_in(f"s{n}@example.com", PASSWORD, address=f"2001:db8::{n}")
        await refused(spray, "auth.wrong")
    email = await world.person(await world.tenant())
    more = world.one.people.sign_in(email, PASSWORD, address="2001:db8::ffff")
    await refused(more, "auth.too_many")
    assert await world.one.people.sign_in(email, PASSWORD, address="2001:db8:0:1::1")


async def test_good_sign_ins_do_not_use_up_the_limit(world: World) -> None:
    email = await world.person(await world.tenant())
    for _ in range(limits.SIGN_IN_TRIES + 2):
        await world.one.people.sign_in(email, PASSWORD, address="192.0.2.7")


async def test_the_second_factor(world: World) -> None:
    email = await world.person(await world.tenant())
    people = world.one.people
    signed = await people.sign_in(email, PASSWORD)
    by = await world.one.principal(signed.access_token)
    setup = await people.begin_totp(by, session=signed.session)
    assert setup.secret not in repr(setup) and setup.qr_svg.startswith("<svg")
    assert (await people.sign_in(email, PASSWORD)).totp is False, "not on before a code was given"
    app = pyotp.TOTP(setup.secret)
    await refused(people.confirm_totp(by, "000000"), "auth.totp_wrong")
    for off_s in (-90, 90):  # a neighbouring half minute is good, one further away is not
        stale = app.at(int(world.clock.now_s) + off_s)
        await refused(people.confirm_totp(by, stale), "auth.totp_wrong")
    await people.confirm_totp(by, app.at(int(world.clock.now_s)))

    await refused(people.sign_in(email, PASSWORD), "auth.totp_needed")
    used = app.at(int(world.clock.now_s))
    await refused(people.sign_in(email, PASSWORD, code=used), "auth.totp_wrong")
    world.clock.now_s += 30
    code = app.at(int(world.clock.now_s))
    racing = [i.people.sign_in(email, PASSWORD, code=code) for i in (world.one, world.two)]
    answers = await asyncio.gather(*racing, return_exceptions=True)
    assert sum(isinstance(a, Exception) for a in answers) == 1, "one code, one sign-in"
    await refused(people.sign_in(email, PASSWORD, code=code), "auth.totp_wrong")

    recovery = setup.recovery_codes[3]
    assert await people.sign_in(email, PASSWORD, code=recovery.lower())
    await refused(people.sign_in(email, PASSWORD, code=recovery), "auth.totp_wrong")
    await refused(people.begin_totp(by, password=PASSWORD), "auth.totp_on")
    await people.disable_totp(by, setup.recovery_codes[0])
    assert await people.sign_in(email, PASSWORD)


async def test_the_second_factor_is_not_asked_of_who_has_not_the_first(world: World) -> None:
    email = await world.person(await world.tenant())
    signed = await world.one.people.sign_in(email, PASSWORD)
    by = await world.one.principal(signed.access_token)
    setup = await world.one.people.begin_totp(by, password=PASSWORD)
    await world.one.people.confirm_totp(by, pyotp.TOTP(setup.secret).at(int(world.clock.now_s)))
    await refused(world.one.people.sign_in(email, "wrong wrong"), "auth.wrong")
    world.clock.now_s += limits.SIGN_IN_WINDOW_S
    codes = [f"{n:06}" for n in range(20)]
    answers = await asyncio.gather(
        *(world.one.people.sign_in(email, PASSWORD, code=c) for c in codes), return_exceptions=True
    )
    assert sum(a.code == "auth.totp_wrong" for a in answers) <= limits.SIGN_IN_TRIES


async def test_an_old_session_cannot_set_up_a_second_factor(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    by = await world.one.principal(signed.access_token)
    world.clock.now_s += 601
    begun = world.one.people.begin_totp(by, session=signed.session)
    await refused(begun, "auth.recent_needed")


async def test_refresh_gives_new_tokens_and_spends_the_old(world: World) -> None:
    first = await world.signed_in(await world.tenant())
    second = await world.one.sessions.refresh(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    third = await world.two.sessions.refresh(second.refresh_token)
    assert (await world.one.principal(third.access_token)).id == first.account
    await refused(world.one.sessions.refresh(first.refresh_token), "auth.refresh_reused")
    await refused(world.one.sessions.refresh(third.refresh_token), "auth.revoked")
    await refused(world.one.principal(third.access_token), "auth.revoked")


async def test_a_lost_answer_can_be_had_again_for_a_while(world: World) -> None:
    first = await world.signed_in(await world.tenant())
    lost = await world.one.sessions.refresh(first.refresh_token)
    again = await world.two.sessions.refresh(first.refresh_token)
    assert again.refresh_token == lost.refresh_token
    world.clock.now_s += GRACE_S
    await refused(world.one.sessions.refresh(first.refresh_token), "auth.refresh_reused")


async def test_tabs_that_refresh_at_once_get_the_same_token(world: World) -> None:
    first = await world.signed_in(await world.tenant())
    both = [i.sessions.refresh(first.refresh_token) for i in (world.one, world.two) * 3]
    tokens = {signed.refresh_token for signed in await asyncio.gather(*both)}
    assert len(tokens) == 1
    again = await world.one.sessions.refresh(tokens.pop())
    assert await world.two.sessions.refresh(again.refresh_token), "they count as one use"


async def test_refresh_tokens_expire_and_cannot_be_made_up(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    other = await world.signed_in(await world.tenant())
    kind, id, turn, mac = signed.refresh_token.split(".")
    made_up = [
        "", "brt", "brt...", f"{kind}.{id}.1.{mac}", f"{kind}.{id}.²1.{mac}", f"{kind}.{id}.-1.{mac}",
        f"{kind}.{other.session}.{turn}.{mac}", f"{kind}.{id}.{turn}.{mac[:-2]}",
        f"{kind}.{'x' * 24}.{turn}.{mac}", signed.access_token,
    ]  # fmt: skip
    for token in made_up:
        await refused(world.one.sessions.refresh(token), "auth.refresh_invalid")
    world.clock.now_s += limits.REFRESH_TOKEN_S
    await refused(world.one.sessions.refresh(signed.refresh_token), "auth.expired")


async def test_a_session_does_not_last_for_ever(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    for _ in range(15):
        world.clock.now_s += limits.REFRESH_TOKEN_S - 1
        try:
            signed = await world.one.sessions.refresh(signed.refresh_token)
        except Exception as error:
            assert error.code == "auth.expired"
            return
    pytest.fail("it was refreshed beyond 90 days")


async def test_signing_out_holds_at_once_and_touches_no_other(world: World) -> None:
    email = await world.person(await world.tenant())
    one, two = [await world.one.people.sign_in(email, PASSWORD, label=f"tab {n}") for n in "ab"]
    by = await world.one.principal(one.access_token)
    await world.one.principal(two.access_token)
    listed = await world.one.sessions.of(by, current=one.session)
    assert {(s.label, s.current) for s in listed} == {("tab a", True), ("tab b", False)}
    await world.one.people.sign_out(by, one.session)
    await refused(world.one.principal(one.access_token), "auth.revoked")
    assert await world.one.principal(two.access_token)
    assert [s.label for s in await world.one.sessions.of(by)] == ["tab b"]


async def test_nobody_ends_anothers_session(world: World) -> None:
    victim = await world.signed_in(await world.tenant())
    attacker = await world.owner(await world.tenant())
    await refused(world.one.sessions.revoke(attacker, victim.session), "not_found")
    assert await world.one.principal(victim.access_token)


async def test_a_new_password_ends_the_other_sessions(world: World) -> None:
    email = await world.person(await world.tenant())
    people = world.one.people
    one, two = [await people.sign_in(email, PASSWORD) for _ in "ab"]
    by = await world.one.principal(one.access_token)
    await refused(people.change_password(by, "wrong wrong", "another password"), "auth.wrong")
    await refused(people.change_password(by, PASSWORD, "short"), "auth.password_weak")
    await refused(people.change_password(by, PASSWORD, "a" * 20), "auth.password_weak")
    ended = await people.change_password(by, PASSWORD, "another password", keep_session=one.session)
    assert ended == 1
    assert await world.one.principal(one.access_token)
    await refused(world.one.principal(two.access_token), "auth.revoked")
    await refused(people.sign_in(email, PASSWORD), "auth.wrong")
    assert await people.sign_in(email, "another password")


async def test_a_sign_in_cannot_pass_a_change_of_password_by(world: World) -> None:
    email = await world.person(await world.tenant())
    people = world.one.people
    by = await world.one.principal((await people.sign_in(email, PASSWORD)).access_token)
    async with people._core.database.open() as connection:
        account = dict(await connection.fetchrow("SELECT * FROM account_by_email($1)", email))
    await people.change_password(by, PASSWORD, "another password")
    await refused(people._open(account, account["password_hash"], None, "", ""), "auth.wrong")


async def test_a_person_of_several_tenants_chooses_and_switches(world: World) -> None:
    a, b, c = [await world.tenant() for _ in "abc"]
    email = await world.person(a)
    invited = await world.one.tenants.invite(service(b), email, "guest")
    await refused(world.one.tenants.accept(invited.code, "not my password"), "auth.wrong")
    await world.one.tenants.accept(invited.code, PASSWORD)
    signed = await world.one.people.sign_in(email, PASSWORD, tenant=b)
    assert (signed.tenant, signed.role) == (b, "guest")
    assert {(m.tenant, m.role) for m in signed.memberships} == {(a, "owner"), (b, "guest")}
    switched = await world.two.switch_tenant(signed.access_token, a)
    assert (await world.one.principal(switched.access_token)).role == "owner"
    await refused(world.one.principal(signed.access_token), "auth.revoked")
    await refused(world.one.switch_tenant(switched.access_token, c), "auth.no_tenant")
    await refused(world.one.people.sign_in(email, PASSWORD, tenant=c), "auth.no_tenant")
    refreshed = await world.one.sessions.refresh(switched.refresh_token)
    assert refreshed.tenant == a


async def test_an_invitation_works_once_for_its_address(world: World) -> None:
    tenant = await world.tenant()
    owner = await world.owner(tenant)
    site = await world.site(tenant, groups=("sul",))
    invited = await world.one.tenants.invite(owner, "New@Example.com", "member", sites=(site,))
    assert invited.code in invited.link and invited.code not in repr(invited)
    await refused(world.one.tenants.accept(invited.code, "short"), "auth.password_weak")
    joining = [i.tenants.accept(invited.code, PASSWORD) for i in (world.one, world.two)]
    joined = await asyncio.gather(*joining, return_exceptions=True)
    assert joined.count("new@example.com") == 1, joined
    await refused(world.one.tenants.accept(invited.code, PASSWORD), "invite.code_wrong")
    signed = await world.one.people.sign_in("new@example.com", PASSWORD)
    by = await world.one.principal(signed.access_token)
    assert (by.role, by.sites, by.groups) == ("member", (site,), ("sul",))
    late = await world.one.tenants.invite(owner, "late@example.com", "member")
    world.clock.now_s += 4 * 86_400
    await refused(world.one.tenants.accept(late.code, PASSWORD), "invite.code_wrong")


async def test_roles_and_sites_hold_at_once_on_every_replica(world: World) -> None:
    tenant = await world.tenant()
    owner = await world.owner(tenant)
    site = await world.site(tenant)
    signed = await world.signed_in(tenant, "member")
    assert (await world.two.principal(signed.access_token)).role == "member"
    heard: list[object] = []
    news = asyncio.Event()
    end = world.two.subscribe(lambda n: (heard.append(n), news.set()))
    await world.one.tenants.set_role(owner, signed.account, "guest", sites=(site,))
    await asyncio.wait_for(news.wait(), 5)
    principal = await world.two.principal(signed.access_token)
    assert (principal.role, principal.sites) == ("guest", (site,))
    assert principal.nodes == ()
    news.clear()
    await world.one.tenants.remove_member(owner, signed.account)
    await asyncio.wait_for(news.wait(), 5)
    end()
    await refused(world.two.principal(signed.access_token), "auth.revoked")
    await refused(world.one.sessions.refresh(signed.refresh_token), "auth.no_tenant")


async def test_who_is_limited_to_sites_may_see_their_nodes(world: World) -> None:
    tenant, other = await world.tenant(), await world.tenant()
    owner = await world.owner(tenant)
    sites = [await world.site(tenant) for _ in range(2)]
    nodes = [(await world.node(tenant, site))[0].node for site in sites]
    await world.node(other, await world.site(other))
    signed = await world.signed_in(tenant, "member")
    assert (await world.one.principal(signed.access_token)).nodes == ()
    await world.one.tenants.set_role(owner, signed.account, "member", sites=(sites[1],))
    principal = await world.one.principal(signed.access_token)
    assert principal.nodes == (nodes[1],)
    granted = partitions(principal)
    assert granted is not None and f"node:{nodes[1]}" in granted
    assert f"node:{nodes[0]}" not in granted


async def test_a_tenant_keeps_an_owner(world: World) -> None:
    tenant = await world.tenant()
    one, two = [await world.owner(tenant) for _ in "ab"]
    both = [
        world.one.tenants.remove_member(one, one.id),
        world.two.tenants.set_role(two, two.id, "guest"),
    ]
    answers = await asyncio.gather(*both, return_exceptions=True)
    refusals = [a for a in answers if a is not None]
    assert [r.code for r in refusals] == ["identity.last_owner"]


async def test_members_and_guests_manage_nothing(world: World) -> None:
    tenant = await world.tenant()
    site = await world.site(tenant)
    for role in ("member", "guest"):
        by = await world.one.principal((await world.signed_in(tenant, role)).access_token)
        for attempt in (
            world.one.tenants.invite(by, "x@example.com", "owner"),
            world.one.tenants.set_role(by, by.id, "owner"),
            world.one.tenants.members(by),
            world.one.tenants.audit(by),
            world.one.tenants.add_site(by, "Mine"),
            world.one.tenants.create(by, "Mine"),
            world.one.tenants.all(by),
            world.one.nodes.make_code(by, site),
            world.one.nodes.of(by),
        ):
            await refused(attempt, "denied")


async def test_an_owner_is_no_admin(world: World) -> None:
    owner = await world.owner(await world.tenant())
    await refused(world.one.tenants.create(owner, "Another"), "denied")
    await refused(world.one.tenants.all(owner), "denied")


async def test_another_tenants_ids_are_not_found(world: World) -> None:
    theirs = await world.tenant("Bistek")
    site = await world.site(theirs)
    victim = await world.owner(theirs)
    node, _ = await world.node(theirs, site)
    mine = await world.owner(await world.tenant())
    one = world.one
    for attempt in (
        one.tenants.set_role(mine, victim.id, "guest"),
        one.tenants.remove_member(mine, victim.id),
        one.tenants.change_site(mine, site, "Mine", ()),
        one.tenants.invite(mine, "x@example.com", "member", sites=(site,)),
        one.nodes.make_code(mine, site),
        one.nodes.make_code(mine, site, node=node.node),
        one.nodes.revoke(mine, node.node),
        one.nodes.rename(mine, node.node, "Mine"),
        one.nodes.clear_duplicated(mine, node.node),
    ):
        await refused(attempt, "not_found")
    assert await one.nodes.of(mine) == ()
    assert [m.account for m in await one.tenants.members(mine)] == [mine.id]
    assert victim.id not in str(await one.tenants.audit(mine))


async def test_the_owner_reads_what_was_done(world: World) -> None:
    tenant = await world.tenant()
    owner = await world.owner(tenant)
    email = await world.person(tenant, "member")
    failing = world.one.people.sign_in(email, "wrong wrong", address="192.0.2.1")
    await refused(failing, "auth.wrong")
    await world.one.people.sign_in(email, PASSWORD)
    entries = await world.one.tenants.audit(owner)
    told = [(e.what, e.ok, e.who) for e in entries]
    assert ("sign_in", False, email) in told and ("sign_in", True, email) in told
    assert ("joined", True, email) in told
    assert PASSWORD not in str(entries)


async def test_secrets_do_not_print(world: World) -> None:
    signed = await world.signed_in(await world.tenant())
    for secret in (signed.access_token, signed.refresh_token):
        assert secret not in repr(signed) and secret not in str(signed)
    assert repr(ServerKey(b"k" * 32)) == "ServerKey(…)"


async def admin_of(world: World) -> str:
    """An admin's address. There is no way to one but the first run, so the owner of the tables
    makes it."""
    email = await world.person(await world.tenant())
    tables = await asyncpg.connect(world.owner_dsn)
    await tables.execute("UPDATE beira_identity.accounts SET admin = true WHERE email = $1", email)
    await tables.close()
    return email


async def test_an_admin_enters_a_tenant_in_the_open(world: World) -> None:
    tenant = await world.tenant()
    email = await admin_of(world)
    signed = await world.one.people.sign_in(email, PASSWORD, tenant="")
    by = await world.one.principal(signed.access_token)
    assert (by.role, by.tenant) == ("admin", "")
    assert tenant in {t.id for t in await world.one.tenants.all(by)}
    await refused(world.one.tenants.members(by), "denied")
    entered = await world.one.switch_tenant(signed.access_token, tenant)
    inside = await world.one.principal(entered.access_token)
    assert (inside.role, inside.tenant) == ("admin", tenant)
    entries = await world.one.tenants.audit(await world.owner(tenant))
    assert ("tenant_entered", email) in {(e.what, e.who) for e in entries}
    await refused(world.one.switch_tenant(entered.access_token, "nowhere"), "auth.no_tenant")
    await refused(world.one.people.sign_in(email, PASSWORD, tenant="nowhere"), "auth.no_tenant")


async def test_a_forgotten_password_is_set_anew_by_an_admin_only(world: World) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    owner = await world.owner(tenant)
    await refused(world.one.people.reset_password(owner, signed.email), "denied")
    admin = await world.one.people.sign_in(await admin_of(world), PASSWORD, tenant="")
    by = await world.one.principal(admin.access_token)
    await refused(world.one.people.reset_password(by, "nobody@example.com"), "not_found")
    password = await world.one.people.reset_password(by, signed.email)
    await refused(world.one.principal(signed.access_token), "auth.revoked")
    await refused(world.one.people.sign_in(signed.email, PASSWORD), "auth.wrong")
    assert await world.one.people.sign_in(signed.email, password)
    assert "password_reset" in {e.what for e in await world.one.tenants.audit(owner)}


async def test_an_invitation_is_no_second_door_to_guess_a_password_at(world: World) -> None:
    victim = await world.person(await world.tenant())
    mine = await world.owner(await world.tenant())
    invited = await world.one.tenants.invite(mine, victim, "guest")
    for n in range(limits.SIGN_IN_TRIES):
        guess = world.one.tenants.accept(invited.code, f"guess {n} guess", address=f"10.3.3.{n}")
        await refused(guess, "auth.wrong")
    more = world.one.tenants.accept(invited.code, PASSWORD, address="10.4.4.4")
    await refused(more, "auth.too_many")
    await refused(world.one.people.sign_in(victim, PASSWORD), "auth.too_many")


async def test_sessions_of_one_account_are_bounded(world: World, monkeypatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MOST", 3)
    email = await world.person(await world.tenant())
    opened = []
    for _ in range(5):
        world.clock.now_s += 1
        opened.append(await world.one.people.sign_in(email, PASSWORD))
    for old in opened[:2]:
        await refused(world.one.principal(old.access_token), "auth.revoked")
    by = await world.one.principal(opened[4].access_token)
    assert [s.id for s in await world.one.sessions.of(by)] == [s.session for s in opened[:1:-1]]
    assert await world.one.sessions.revoke_all(by, keep=opened[4].session) == 2
    await refused(world.one.principal(opened[3].access_token), "auth.revoked")


async def test_a_person_sees_and_renames_themselves(world: World) -> None:
    tenant = await world.tenant()
    signed = await world.signed_in(tenant)
    by = await world.one.principal(signed.access_token)
    await world.one.people.rename(by, "  Maria   da Silva ")
    account = await world.one.people.account(by)
    assert (account.email, account.name, account.totp) == (signed.email, "Maria da Silva", False)
    assert [m.tenant for m in account.memberships] == [tenant]
    await refused(world.one.people.rename(by, "\x00"), "identity.name_invalid")


async def test_tidying_removes_what_has_expired_and_nothing_else(world: World) -> None:
    tenant = await world.tenant()
    site = await world.site(tenant)
    code = await world.one.nodes.make_code(service(tenant), site)
    signed = await world.signed_in(tenant)
    await world.one.tidy()
    assert await world.one.principal(signed.access_token)
    tables = await asyncpg.connect(world.owner_dsn)
    count = "SELECT count(*) FROM beira_identity.enrol_codes WHERE tenant = $1"
    assert await tables.fetchval(count, tenant) == 1 and code
    world.clock.now_s += 2 * 86_400
    await world.one.tidy()
    assert await tables.fetchval(count, tenant) == 0
    assert await tables.fetchval("SELECT count(*) FROM beira_identity.used_once") == 0
    await tables.close()
    assert await world.one.sessions.refresh(signed.refresh_token)

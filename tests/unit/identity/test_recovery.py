"""Coming back after a forgotten password: the owner's one-time link, and all who would misuse it."""

from __future__ import annotations

import asyncio

import asyncpg
import pyotp
from tests.unit.identity.conftest import PASSWORD, World
from tests.unit.identity.refusals import refused

from beira.identity.shapes import SignedIn
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.errors import BeiraError

NEW = "staple horse correct"


async def forgetful(world: World, role: str = "member") -> tuple[str, Principal, SignedIn]:
    """A tenant, its owner, and a member who is about to forget."""
    tenant = await world.tenant()
    return tenant, await world.owner(tenant), await world.signed_in(tenant, role)


async def test_a_link_sets_a_new_password_once_and_ends_all_sessions(world: World) -> None:
    _, owner, signed = await forgetful(world)
    link = await world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    assert link.link == f"https://cloud.example/recover#{link.code}" and link.email == signed.email
    assert link.code not in repr(link)
    assert await world.two.recovery.redeem(link.code.lower(), NEW) == signed.email
    await refused(world.one.principal(signed.access_token), "auth.revoked")
    await refused(world.one.sessions.refresh(signed.refresh_token), "auth.revoked")
    await refused(world.one.people.sign_in(signed.email, PASSWORD), "auth.wrong")
    assert await world.two.people.sign_in(signed.email, NEW)
    await refused(world.one.recovery.redeem(link.code, PASSWORD), "recovery.code_wrong")
    done = {e.what: e for e in await world.one.tenants.audit(owner)}
    assert done["recovery_issued"].about == done["password_recovered"].about == signed.account
    assert done["recovery_issued"].who == owner.name


async def test_of_many_at_once_one_redeems(world: World) -> None:
    _, owner, signed = await forgetful(world)
    link = await world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    passwords = [f"{NEW} {n}" for n in range(6)]
    replicas = (world.one, world.two)
    told = await asyncio.gather(
        *(
            replicas[n % 2].recovery.redeem(link.code, password)
            for n, password in enumerate(passwords)
        ),
        return_exceptions=True,
    )
    won = [n for n, answer in enumerate(told) if not isinstance(answer, BaseException)]
    assert len(won) == 1
    lost = [answer for answer in told if isinstance(answer, BeiraError)]
    assert {error.code for error in lost} == {"recovery.code_wrong"} and len(lost) == 5
    assert await world.one.people.sign_in(signed.email, passwords[won[0]])


async def test_a_link_expires_and_a_newer_one_replaces_it(world: World) -> None:
    _, owner, signed = await forgetful(world)
    first = await world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    second = await world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    await refused(world.one.recovery.redeem(first.code, NEW), "recovery.code_wrong")
    await refused(world.one.recovery.redeem(second.code, "weak"), "auth.password_weak")
    world.clock.now_s += limits.RECOVERY_CODE_S
    await refused(world.one.recovery.redeem(second.code, NEW), "recovery.code_wrong")
    assert await world.one.people.sign_in(signed.email, PASSWORD)


async def test_who_may_make_one_and_for_whom(world: World) -> None:
    tenant, owner, signed = await forgetful(world)
    issue = world.one.recovery.issue
    await refused(issue(owner, signed.account, password="not the owner's"), "auth.wrong")
    await refused(issue(owner, owner.id, password=PASSWORD), "recovery.own")
    await refused(issue(owner, "nobody", password=PASSWORD), "not_found")
    for role in ("member", "guest"):
        other = await world.one.principal((await world.signed_in(tenant, role)).access_token)
        await refused(issue(other, signed.account, password=PASSWORD), "denied")


async def test_another_tenants_owner_gets_nowhere(world: World) -> None:
    """Neither to their members by id, nor by inviting them first, nor by a link made before."""
    tenant, owner, signed = await forgetful(world)
    mine = await world.tenant("Mine")
    attacker = await world.owner(mine)
    issue = world.one.recovery.issue
    await refused(issue(attacker, signed.account, password=PASSWORD), "not_found")
    link = await issue(owner, signed.account, password=PASSWORD)
    invited = await world.one.tenants.invite(attacker, signed.email, "guest")
    await world.one.tenants.accept(invited.code, PASSWORD)
    await refused(issue(attacker, signed.account, password=PASSWORD), "recovery.shared")
    await refused(issue(owner, signed.account, password=PASSWORD), "recovery.shared")
    await refused(world.one.recovery.redeem(link.code, NEW), "recovery.shared")
    assert await world.one.people.sign_in(signed.email, PASSWORD, tenant=tenant)


async def test_the_platforms_admin_is_nobodys_to_recover(world: World) -> None:
    _, owner, signed = await forgetful(world)
    tables = await asyncpg.connect(world.owner_dsn)
    sql = "UPDATE beira_identity.accounts SET admin = $2 WHERE id = $1"
    await tables.execute(sql, signed.account, True)
    issue = world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    await refused(issue, "recovery.shared")
    await tables.execute(sql, signed.account, False)
    await tables.close()


async def test_the_second_factor_stays_unless_the_owner_says_so(world: World) -> None:
    _, owner, signed = await forgetful(world)
    by = await world.one.principal(signed.access_token)
    setup = await world.one.people.begin_totp(by, password=PASSWORD)
    totp = pyotp.TOTP(setup.secret)
    await world.one.people.confirm_totp(by, totp.at(int(world.clock.now_s)))
    link = await world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    await world.one.recovery.redeem(link.code, NEW)
    await refused(world.one.people.sign_in(signed.email, NEW), "auth.totp_needed")
    link = await world.one.recovery.issue(owner, signed.account, password=PASSWORD, totp_off=True)
    await world.one.recovery.redeem(link.code, NEW)
    assert not (await world.one.people.sign_in(signed.email, NEW)).totp


async def test_links_are_not_stored_and_cannot_be_guessed(world: World) -> None:
    _, owner, signed = await forgetful(world)
    link = await world.one.recovery.issue(owner, signed.account, password=PASSWORD)
    tables = await asyncpg.connect(world.owner_dsn)
    kept = str(await tables.fetch("SELECT * FROM beira_identity.recoveries"))
    await tables.close()
    assert link.code.replace("-", "")[10:] not in kept
    for n in range(limits.ENROL_TRIES):
        guess = link.code[:-2] + "34679ACDEF"[n] + ("3" if link.code[-1] != "3" else "4")
        await refused(
            world.one.recovery.redeem(guess, NEW, address="203.0.113.9"), "recovery.code_wrong"
        )
    await refused(world.one.recovery.redeem(link.code, NEW, address="203.0.113.9"), "auth.too_many")


async def test_an_owner_cannot_make_them_without_end(world: World) -> None:
    tenant, _, signed = await forgetful(world)
    for _ in range(20):
        await world.one.recovery.issue(service(tenant), signed.account)
    await refused(world.one.recovery.issue(service(tenant), signed.account), "auth.too_many")

"""The owner's one-time link for a forgotten password, through the pages."""

from __future__ import annotations

from tests.unit.portal.world import PASSWORD, Browser, World

from beira.identity.tenants import service

NEW = "staple horse correct"


async def forgetful(world: World, name: str, role: str = "member") -> tuple[str, str]:
    """Somebody new: account and e-mail."""
    email, tenants = f"{name}@angeloni.example", world.identity.tenants
    invited = await tenants.invite(service("angeloni"), email, role)
    await tenants.accept(invited.code, PASSWORD, name=name)
    members = await tenants.members(service("angeloni"))
    return next(m.account for m in members if m.email == email), email


async def test_from_the_owners_link_to_a_new_password(portal_world: World, owner: Browser) -> None:
    account, email = await forgetful(portal_world, "esquecida")
    assert f'href="/team/{account}/recovery"' in await owner.get("/team")
    await owner.get(f"/team/{account}/recovery")
    await owner.post(f"/team/{account}/recovery", password="not the owner's")
    assert owner.status == 400 and "/recover#" not in owner.text
    text = await owner.post(f"/team/{account}/recovery", password=PASSWORD)
    code = text.split('value="http://cloud.example/recover#')[1].split('"')[0]
    assert "/recover#" not in await owner.get(f"/team/{account}/recovery"), "shown once"
    async with portal_world.browser() as browser:
        await browser.get("/recover")
        await browser.post("/recover", code=code, password="curta")
        assert browser.status == 400 and f'value="{code}"' in browser.text
        assert "curta" not in browser.text
        await browser.post("/recover", code=code, password=NEW)
        assert browser.at == "/sign-in?done=recovered" and "Senha nova salva" in browser.text
        await browser.sign_in(email, NEW)
        assert (browser.status, browser.at) == (200, "/")
        await browser.post("/recover", code=code, password=NEW)
        assert browser.status == 400 and "recovery.code_wrong" in browser.text


async def test_nobody_else_gets_one(portal_world: World) -> None:
    """Neither members, nor another company's owner, nor forms of another site."""
    account, _ = await forgetful(portal_world, "alvo")
    path = f"/team/{account}/recovery"
    others = [(await forgetful(portal_world, f"outro-{r}", r))[1] for r in ("member", "guest")]
    for email, status in ((others[0], 403), (others[1], 403), (portal_world.emails["other"], 404)):
        async with portal_world.browser() as browser:
            await browser.sign_in(email)
            await browser.get(path)
            assert browser.status == status, email
            await browser.post(path, password=PASSWORD)
            assert browser.status == status and "/recover#" not in browser.text, email
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["owner"])
        await browser.post(path, csrf=False, password=PASSWORD)
        assert browser.status == 403 and "portal.forged" in browser.text
    async with portal_world.browser() as browser:
        await browser.post(path, password=PASSWORD)
        assert browser.at.startswith("/sign-in") or browser.status == 403


async def test_an_owner_has_none_for_themselves(portal_world: World, owner: Browser) -> None:
    members = await portal_world.identity.tenants.members(service("angeloni"))
    me = next(m.account for m in members if m.email == portal_world.emails["owner"])
    assert f'href="/team/{me}/recovery"' not in await owner.get("/team")
    await owner.post(f"/team/{me}/recovery", password=PASSWORD)
    assert owner.status == 400 and "recovery.own" in owner.text

"""Who gets in, what a session is made of, and what forged requests get."""

from __future__ import annotations

import pyotp
import pytest
from litestar.testing import RequestFactory
from tests.unit.portal.world import PASSWORD, Browser, World

from beira.identity.tenants import service
from beira.portal.desk import address_of, is_secure


async def test_without_a_session_every_page_leads_to_the_sign_in(portal_world: World) -> None:
    async with portal_world.browser() as browser:
        for path in ("/", "/punches", "/nodes", "/account", "/settings/voice"):
            await browser.get(path)
            assert browser.at.startswith("/sign-in"), path
        await browser.get("/punches?day=2026-11-20")
        assert 'name="next" value="/punches?day=2026-11-20"' in browser.text


async def test_one_goes_on_where_one_was_going_but_never_elsewhere(portal_world: World) -> None:
    email = portal_world.emails["owner"]
    for asked, ends in (
        ("/products", "/products"), ("https://evil.example/", "/"), ("//evil.example", "/"),
        ("/\\evil.example", "/"), ("javascript:alert(1)", "/"), ("/a\nb", "/"),
    ):  # fmt: skip
        async with portal_world.browser() as browser:
            await browser.get("/sign-in")
            await browser.post("/sign-in", email=email, password=PASSWORD, next=asked)
            assert (browser.status, browser.at) == (200, ends)


@pytest.mark.parametrize(
    ("language", "words"), [("pt-BR", "E-mail ou senha não conferem"), ("en", "password is wrong")]
)
async def test_a_wrong_password_is_told_in_the_readers_language(
    portal_world: World, language: str, words: str
) -> None:
    async with portal_world.browser(language) as browser:
        await browser.sign_in("nobody@angeloni.example", "not this one")
        assert browser.status == 401
        assert words in browser.text
        assert "auth.wrong" in browser.text
        assert "not this one" not in browser.text


async def test_cookies_are_kept_from_scripts_and_other_sites(portal_world: World) -> None:
    async with portal_world.browser() as browser:
        await browser.get("/sign-in")
        planted = browser.cookie("form")
        await browser.sign_in(portal_world.emails["owner"])
        assert browser.cookie("form") != planted
        for cookie in browser.session.cookie_jar:
            assert cookie["httponly"], cookie.key
            assert cookie["samesite"].lower() == "lax", cookie.key


async def test_every_page_has_a_strict_policy(owner: Browser) -> None:
    for path in ("/", "/nowhere", "/sign-in", "/products/none"):
        await owner.get(path)
        policy = owner.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert owner.headers["Cache-Control"] == "no-store"


async def test_a_form_without_its_token_does_nothing(portal_world: World, owner: Browser) -> None:
    await owner.post("/products/new", csrf=False, name="Forjado")
    assert owner.status == 403
    data = {"csrf": "0" * 32, "name": "Forjado"}
    async with owner.session.post(portal_world.url + "/products/new", data=data) as answer:
        assert answer.status == 403
    await owner.post("/products/new", csrf=False, name="Forjado")
    assert "portal.forged" in owner.text
    assert "Forjado" not in await owner.get("/products/list?q=Forjado")


async def test_another_sites_form_does_nothing(portal_world: World, owner: Browser) -> None:
    data = {"csrf": owner.cookie("form"), "name": "Forjado"}
    for headers in (
        {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}
    ):  # fmt: skip
        url = portal_world.url + "/products/new"
        async with owner.session.post(url, data=data, headers=headers) as answer:
            assert answer.status == 403
    assert "Forjado" not in await owner.get("/products/list?q=Forjado")


async def test_an_expired_access_token_is_refreshed_unseen(portal_world: World) -> None:
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["member"])
        before = browser.cookie("refresh")
        browser.give({name: "expired" for name in browser.cookies() if "access" in name})
        await browser.get("/products")
        assert (browser.status, browser.at) == (200, "/products")
        assert browser.cookie("refresh") != before
        assert browser.cookie("access") != "expired"


async def test_signing_out_ends_the_session_everywhere(portal_world: World) -> None:
    async with portal_world.browser() as browser, portal_world.browser() as thief:
        await browser.sign_in(portal_world.emails["member"])
        thief.give(browser.cookies())
        await thief.get("/products")
        assert thief.at == "/products"
        await browser.post("/sign-out")
        assert browser.at.startswith("/sign-in")
        await thief.get("/products")
        assert thief.at.startswith("/sign-in")


async def test_the_second_factor_is_asked_for(portal_world: World) -> None:
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["guest"])
        text = await browser.post("/account/totp", password=PASSWORD)
        secret = text.split('<code class="block">')[1].split("<")[0]
        code = pyotp.TOTP(secret)
        await browser.post("/account/totp/confirm", code="000000")
        assert browser.status == 400
        await browser.post("/account/totp/confirm", code=code.now())
        assert "Verificação em duas etapas ligada" in browser.text
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["guest"])
        assert browser.status == 401
        assert 'name="code"' in browser.text
        assert "autenticador" in browser.text


async def test_language_and_theme_are_kept(portal_world: World) -> None:
    async with portal_world.browser("en") as browser:
        text = await browser.get("/sign-in")
        assert '<html lang="en" data-theme="auto">' in text
        text = await browser.post("/look", language="pt-BR", next="/sign-in")
        assert '<html lang="pt-BR" data-theme="auto">' in text
        text = await browser.post("/look", theme="dark", next="/sign-in")
        assert '<html lang="pt-BR" data-theme="dark">' in text


async def test_roles_see_what_is_theirs(portal_world: World) -> None:
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["member"])
        for path in ("/team", "/settings/voice", "/quarantine", "/sites", "/nodes/new", "/admin"):
            await browser.get(path)
            assert browser.status == 403, path
            assert "denied" in browser.text
        await browser.post("/people/new", name="Intruso")
        assert browser.status == 403


async def test_a_guest_sees_nothing_personal(portal_world: World) -> None:
    made = portal_world.identity
    email = "visita@angeloni.example"
    invited = await made.tenants.invite(service("angeloni"), email, "guest")
    await made.tenants.accept(invited.code, PASSWORD, name="Visita")
    async with portal_world.browser() as browser:
        await browser.sign_in(email)
        for path in ("/", "/products", "/sales", "/alerts", "/nodes"):
            text = await browser.get(path)
            assert browser.status == 200, path
            assert "João" not in text
            assert "registrar ponto" not in text
        for path in ("/interactions", "/punches", "/people", "/punches/person/person-0"):
            await browser.get(path)
            assert browser.status == 403, path


async def test_an_invitation_makes_a_member(portal_world: World, owner: Browser) -> None:
    text = await owner.post("/team/invite", email="novo@angeloni.example", role="member", site="")
    link = text.split('value="http://cloud.example/join#')[1].split('"')[0]
    async with portal_world.browser() as browser:
        await browser.get("/join")
        await browser.post("/join", code=link, name="Novo", password="curta")
        assert browser.status == 400
        assert "fraca" in browser.text
        await browser.post("/join", code=link, name="Novo", password=PASSWORD)
        assert "done=joined" in browser.at
        await browser.sign_in("novo@angeloni.example")
        assert browser.status == 200
    assert "Novo" in await owner.get("/team")


async def test_the_admin_sees_companies_and_none_of_their_data(portal_world: World) -> None:
    async with portal_world.browser() as browser:
        await browser.sign_in(portal_world.emails["owner"])
        text = await browser.post("/tenant", tenant="")
        assert browser.at == "/admin"
        assert "Bistek" in text
        text = await browser.post("/admin/tenants", name="Comper", email="dona@comper.example")
        assert "/join#" in text
        for path in ("/products", "/nodes", "/punches"):
            await browser.get(path)
            assert browser.status == 403, path
        await browser.post("/tenant", tenant="angeloni")
        assert (browser.status, browser.at) == (200, "/")
        await browser.post("/tenant", tenant="bistek")
        assert browser.status in (401, 403, 404)


async def test_guessing_is_slowed_down_and_the_wait_is_told(portal_world: World) -> None:
    async with portal_world.browser(**{"X-Forwarded-For": "203.0.113.50"}) as browser:
        statuses = []
        for _ in range(7):
            await browser.sign_in("dona@comper.example", "a wrong password")
            statuses.append(browser.status)
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert "Tente de novo em" in browser.text


@pytest.mark.parametrize(
    ("near", "told", "scheme", "found"),
    [
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "https", ("203.0.113.9", True)),
        ("198.51.100.7", "203.0.113.9", "https", ("198.51.100.7", False)),
        ("10.0.0.1", "", "http", ("", False)),
    ],
)
def test_only_known_proxies_are_believed(
    near: str, told: str, scheme: str, found: tuple[str, bool]
) -> None:
    headers = {"X-Forwarded-For": told, "X-Forwarded-Proto": scheme}
    request = RequestFactory().get("/", headers=headers)
    request.scope["client"] = (near, 1)
    assert (address_of(request, ("10.0.0.1",)), is_secure(request, ("10.0.0.1",))) == found

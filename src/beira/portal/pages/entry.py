"""Coming in and going out: sign-in, invitations, enrolment's explanation, language and theme."""

from __future__ import annotations

import secrets

from beira.api.ports import Tokens
from beira.host.page import Reply
from beira.kernel import limits
from beira.kernel.errors import BeiraError, TooMany, Unauthenticated, Unavailable
from beira.portal.desk import LANGUAGES, THEMES, YEAR_S, local_path
from beira.portal.pages.own import ANYBODY, own
from beira.portal.visit import Visit

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)
TOTP_CODES = ("auth.totp_needed", "auth.totp_wrong")


@own("/sign-in", public=True)
async def sign_in_page(visit: Visit) -> Reply:
    return visit.render("portal/sign_in.html", error=None, email="", totp=False)


@own("/sign-in", method="POST", public=True)
async def sign_in(visit: Visit) -> Reply:
    """Give this browser a session, or say what is wrong beside what was typed."""
    form = visit.form
    try:
        tokens = await visit.desk.sign_in.sign_in(
            form.get("email", "")[:254],
            form.get("password", "")[: limits.PASSWORD_CHARS_MOST],
            code=form.get("code", "").replace(" ", "")[:40],
            tenant="",
            address=visit.request.address,
            label=browser_name(visit.request.agent),
        )
    except BeiraError as error:
        told = (Unauthenticated, Unavailable, TooMany)
        status = error.status if isinstance(error, told) else 400
        return visit.render(
            "portal/sign_in.html",
            status=status,
            error=visit.told(error),
            email=form.get("email", "")[:254],
            totp=error.code in TOTP_CODES,
        )
    _welcome(visit, tokens)
    return visit.redirect(local_path(form.get("next", "/")))


@own("/sign-out", method="POST", roles=ANYBODY)
async def sign_out(visit: Visit) -> Reply:
    visit.desk.kept.forget(visit.session)
    await visit.desk.sign_in.sign_out(visit.token, scope="local")
    visit.drop_cookies()
    return visit.redirect("/sign-in", done="left")


@own("/tenant", method="POST", roles=ANYBODY, where="cloud")
async def switch(visit: Visit) -> Reply:
    """Go on in another company one belongs to."""
    signed = await visit.desk.people.switch_tenant(visit.token, visit.form.get("tenant", "")[:64])
    visit.sign_cookies(
        signed.access_token, signed.expires_in_s, signed.refresh_token, limits.REFRESH_TOKEN_S
    )
    return visit.redirect("/")


@own("/join", public=True, where="cloud")
async def join_page(visit: Visit) -> Reply:
    """An invitation. Its code is in the address's fragment, which the page's script reads."""
    return visit.render("portal/join.html", error=None, name="", code="")


@own("/join", method="POST", public=True, where="cloud")
async def join(visit: Visit) -> Reply:
    form = visit.form
    try:
        await visit.desk.people.tenants.accept(
            form.get("code", "").strip()[:64],
            form.get("password", "")[: limits.PASSWORD_CHARS_MOST],
            name=form.get("name", "").strip()[: limits.NAME_CHARS],
            address=visit.request.address,
        )
    except Unavailable:
        raise
    except BeiraError as error:
        values = {"name": form.get("name", "")[:48], "code": form.get("code", "")[:64]}
        return visit.render("portal/join.html", status=400, error=visit.told(error), **values)
    visit.desk.forget_standings()
    return visit.redirect("/sign-in", done="joined")


@own("/enrol", public=True, where="cloud")
async def enrol_page(visit: Visit) -> Reply:
    """What to do with a node's code, for whoever scanned it with a telephone."""
    return visit.render("portal/enrol.html", address=visit.request.base)


@own("/look", method="POST", public=True)
async def look(visit: Visit) -> Reply:
    """Language and theme, kept in this browser."""
    language = visit.form.get("language", visit.look.language)
    theme = visit.form.get("theme", visit.look.theme)
    if language in LANGUAGES and theme in THEMES:
        visit.cookies["look"] = (f"{language}.{theme}", YEAR_S)
    return visit.redirect(local_path(visit.form.get("next", "/")))


def _welcome(visit: Visit, tokens: Tokens) -> None:
    """A new session gets a new form token: one an attacker planted before would be worthless."""
    visit.sign_cookies(
        tokens.access_token, tokens.expires_in_s, tokens.refresh_token, limits.REFRESH_TOKEN_S
    )
    visit.cookies["form"] = (secrets.token_hex(16), YEAR_S)


def browser_name(agent: str) -> str:
    """What people would call the browser that says this of itself: Chrome · Android."""
    program = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return " · ".join(part for part in (program, system) if part)


PAGES = (sign_in_page, sign_in, sign_out, switch, join_page, join, enrol_page, look)

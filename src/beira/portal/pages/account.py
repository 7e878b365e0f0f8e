"""One's own account: name, password, second factor, and where one is signed in."""

from __future__ import annotations

from typing import Any

from beira.host.page import Reply
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Invalid, Unavailable
from beira.portal.looks import drawing
from beira.portal.pages.own import ANYBODY, own
from beira.portal.visit import Visit


@own("/account", roles=ANYBODY)
async def account(visit: Visit) -> Reply:
    return await _page(visit)


@own("/account/name", method="POST", roles=ANYBODY, where="cloud")
async def rename(visit: Visit) -> Reply:
    try:
        await visit.desk.people.people.rename(visit.principal, visit.form.get("name", ""))
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, name=error)
    visit.desk.forget_standings()
    return visit.redirect("/account", done="renamed")


@own("/account/password", method="POST", roles=ANYBODY, where="cloud")
async def password(visit: Visit) -> Reply:
    form = visit.form
    most = limits.PASSWORD_CHARS_MOST
    try:
        if form.get("new", "") != form.get("again", ""):
            raise Invalid(visit.t("As duas senhas novas diferem.", "The two new ones differ."))
        await visit.desk.people.people.change_password(
            visit.principal,
            form.get("old", "")[:most],
            form.get("new", "")[: most + 1],
            keep_session=visit.session,
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, password=error)
    return visit.redirect("/account", done="password")


@own("/account/totp", method="POST", roles=ANYBODY, where="cloud")
async def begin_totp(visit: Visit) -> Reply:
    """Show the secret once; it counts after a first code of it."""
    typed = visit.form.get("password", "")[: limits.PASSWORD_CHARS_MOST]
    try:
        setup = await visit.desk.people.people.begin_totp(
            visit.principal, password=typed or None, session=visit.session
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, totp=error)
    visit.keepable = False
    return visit.render("portal/totp.html", setup=_shown(setup), error=None)


@own("/account/totp/confirm", method="POST", roles=ANYBODY, where="cloud")
async def confirm_totp(visit: Visit) -> Reply:
    code = visit.form.get("code", "").replace(" ", "")[:40]
    try:
        await visit.desk.people.people.confirm_totp(visit.principal, code)
    except Unavailable:
        raise
    except BeiraError as error:
        return visit.render("portal/totp.html", status=400, setup=None, error=visit.told(error))
    return visit.redirect("/account", done="totp_on")


@own("/account/totp/off", method="POST", roles=ANYBODY, where="cloud")
async def disable_totp(visit: Visit) -> Reply:
    code = visit.form.get("code", "").replace(" ", "")[:40]
    try:
        await visit.desk.people.people.disable_totp(visit.principal, code)
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, totp=error)
    return visit.redirect("/account", done="totp_off")


@own("/account/sessions/end", method="POST", roles=ANYBODY, where="cloud")
async def end_session(visit: Visit) -> Reply:
    sessions = visit.desk.people.sessions
    session = visit.form.get("session", "")
    if session:
        await sessions.revoke(visit.principal, session[:64])
        visit.desk.kept.forget(session)
    else:
        await sessions.revoke_all(visit.principal, keep=visit.session)
    return visit.redirect("/account", done="sessions")


async def _page(visit: Visit, **errors: BeiraError) -> Reply:
    told = {name: visit.told(error) for name, error in errors.items()}
    values: dict[str, Any] = {"errors": told, "person": None, "sessions": ()}
    if visit.in_cloud:
        identity = visit.desk.people
        values["person"] = await identity.people.account(visit.principal)
        values["sessions"] = await identity.sessions.of(visit.principal, visit.session)
    return visit.render("portal/account.html", status=400 if told else 200, **values)


def _shown(setup: Any) -> dict[str, Any]:
    return {
        "secret": setup.secret,
        "qr": drawing(setup.qr_svg),
        "codes": setup.recovery_codes,
    }


PAGES = (account, rename, password, begin_totp, confirm_totp, disable_totp, end_session)

"""Forgotten passwords: an owner's one-time link for a member, and the page it leads to."""

from __future__ import annotations

from beira.host.page import Reply
from beira.kernel import limits
from beira.kernel.errors import BeiraError, NotFound, Unavailable
from beira.portal.pages.own import OWNER, own
from beira.portal.visit import Visit


@own("/team/{account:str}/recovery", roles=OWNER, where="cloud")
async def ask(visit: Visit) -> Reply:
    return await _page(visit)


@own("/team/{account:str}/recovery", method="POST", roles=OWNER, where="cloud")
async def issue(visit: Visit) -> Reply:
    """The link is shown once, here, to be given to that person only."""
    try:
        link = await visit.desk.people.recovery.issue(
            visit.principal,
            visit.path["account"],
            password=visit.form.get("password", "")[: limits.PASSWORD_CHARS_MOST],
            totp_off=visit.form.get("totp_off") == "yes",
        )
    except (Unavailable, NotFound):
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), status=400)
    return await _page(visit, link=link)


@own("/recover", public=True, where="cloud")
async def recover_page(visit: Visit) -> Reply:
    """A recovery link. Its code is in the address's fragment, which the page's script reads."""
    return visit.render("portal/recover.html", error=None, code="")


@own("/recover", method="POST", public=True, where="cloud")
async def recover(visit: Visit) -> Reply:
    form = visit.form
    try:
        await visit.desk.people.recovery.redeem(
            form.get("code", "").strip()[:64],
            form.get("password", "")[: limits.PASSWORD_CHARS_MOST],
            address=visit.request.address,
        )
    except Unavailable:
        raise
    except BeiraError as error:
        code = form.get("code", "")[:64]
        told = visit.told(error)
        return visit.render("portal/recover.html", status=400, error=told, code=code)
    return visit.redirect("/sign-in", done="recovered")


async def _page(visit: Visit, *, status: int = 200, **more: object) -> Reply:
    members = await visit.desk.people.tenants.members(visit.principal)
    found = [member for member in members if member.account == visit.path["account"]]
    if not found:
        raise NotFound("There is no such member.", hint="Choose one of the list.")
    visit.keepable = False
    values = {"error": None, "link": None, **more}
    return visit.render("portal/recovery.html", status=status, member=found[0], **values)


PAGES = (ask, issue, recover_page, recover)

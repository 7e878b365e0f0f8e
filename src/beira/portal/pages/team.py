"""Who belongs to the company: members, their roles and sites, invitations, and what was done."""

from __future__ import annotations

from beira.host.page import Reply
from beira.kernel.errors import BeiraError, Unavailable
from beira.portal.pages import recovery
from beira.portal.pages.own import OWNER, own
from beira.portal.visit import Visit

ROLES = ("owner", "member", "guest")


@own("/team", roles=OWNER, where="cloud")
async def team(visit: Visit) -> Reply:
    return await _page(visit)


@own("/team/invite", method="POST", roles=OWNER, where="cloud")
async def invite(visit: Visit) -> Reply:
    """The link is shown once, here, to be sent to that person only."""
    email = visit.form.get("email", "").strip()[:254]
    try:
        invitation = await visit.desk.people.tenants.invite(
            visit.principal, email, _role(visit), sites=_sites(visit)
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), email=email, status=400)
    return await _page(visit, invitation=invitation)


@own("/team/{account:str}/role", method="POST", roles=OWNER, where="cloud")
async def set_role(visit: Visit) -> Reply:
    try:
        await visit.desk.people.tenants.set_role(
            visit.principal, visit.path["account"], _role(visit), sites=_sites(visit)
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), status=400)
    return visit.redirect("/team", done="saved")


@own("/team/{account:str}/remove", method="POST", roles=OWNER, where="cloud")
async def remove(visit: Visit) -> Reply:
    try:
        await visit.desk.people.tenants.remove_member(visit.principal, visit.path["account"])
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), status=400)
    return visit.redirect("/team", done="removed")


@own("/team/audit", roles=OWNER, where="cloud")
async def audit(visit: Visit) -> Reply:
    entries = await visit.desk.people.tenants.audit(visit.principal, limit=200)
    return visit.render("portal/audit.html", entries=entries, names=await _names(visit))


async def _page(visit: Visit, *, status: int = 200, **more: object) -> Reply:
    members = await visit.desk.people.tenants.members(visit.principal)
    values = {"error": None, "invitation": None, "email": "", **more}
    visit.keepable = "invitation" not in more
    return visit.render("portal/team.html", status=status, members=members, roles=ROLES, **values)


async def _names(visit: Visit) -> dict[str, str]:
    """What the ids in the log are called."""
    members = await visit.desk.people.tenants.members(visit.principal)
    nodes = await visit.desk.people.nodes.of(visit.principal)
    people = {member.account: member.name or member.email for member in members}
    called = {node.id: node.name for node in nodes}
    return {
        **people,
        **called,
        **{f"node {id}": name for id, name in called.items()},
        **visit.site_names,
    }


def _role(visit: Visit) -> str:
    asked = visit.form.get("role", "member")
    return asked if asked in ROLES else "guest"


def _sites(visit: Visit) -> tuple[str, ...] | None:
    """One site, or None for all of them; an unknown one grants nothing at all."""
    chosen = visit.form.get("site", "")
    return (chosen[:64],) if chosen else None


PAGES = (team, invite, set_role, remove, audit, *recovery.PAGES)

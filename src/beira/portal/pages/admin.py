"""The platform's admin: companies and their first owners. Nothing of anybody's data."""

from __future__ import annotations

from beira.host.page import Reply
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import BeiraError, NotFound, Unavailable
from beira.portal.pages.own import own
from beira.portal.visit import Visit

ADMIN = ("admin",)


@own("/admin", roles=ADMIN, where="cloud")
async def tenants(visit: Visit) -> Reply:
    return await _page(visit)


@own("/admin/tenants", method="POST", roles=ADMIN, where="cloud")
async def create(visit: Visit) -> Reply:
    """A new company, and the link for its first owner."""
    form = visit.form
    try:
        made = await visit.desk.people.tenants.create(visit.principal, form.get("name", ""))
        invitation = await visit.desk.people.tenants.invite(
            _platform(made.id), form.get("email", "").strip()[:254], "owner"
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), status=400)
    return await _page(visit, invitation=invitation, made=made)


@own("/admin/tenants/{tenant:str}/invite", method="POST", roles=ADMIN, where="cloud")
async def invite(visit: Visit) -> Reply:
    every = {tenant.id: tenant for tenant in await visit.desk.people.tenants.all(visit.principal)}
    tenant = every.get(visit.path["tenant"])
    if tenant is None:
        raise NotFound("There is no such company.")
    try:
        email = visit.form.get("email", "").strip()[:254]
        invitation = await visit.desk.people.tenants.invite(_platform(tenant.id), email, "owner")
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), status=400)
    return await _page(visit, invitation=invitation, made=tenant)


async def _page(visit: Visit, *, status: int = 200, **more: object) -> Reply:
    found = await visit.desk.people.tenants.all(visit.principal)
    values = {"error": None, "invitation": None, "made": None, **more}
    visit.keepable = "invitation" not in more
    return visit.render("portal/admin.html", status=status, tenants=found, **values)


def _platform(tenant: str) -> Principal:
    """An admin is no member of a company: its first owner is invited by the platform itself."""
    return Principal(kind=Kind.SERVICE, id="portal", tenant=tenant, name="platform")


PAGES = (tenants, create, invite)

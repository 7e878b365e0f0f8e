"""Sites: what they are called, their time zone and the groups they are in."""

from __future__ import annotations

from zoneinfo import available_timezones

from beira.host.page import Reply
from beira.kernel.errors import BeiraError, Invalid, Unavailable
from beira.kernel.query import Order
from beira.kernel.system import Site
from beira.portal.pages.own import OWNER, own
from beira.portal.visit import Visit

ZONES = (
    "America/Sao_Paulo",
    "America/Bahia",
    "America/Fortaleza",
    "America/Recife",
    "America/Belem",
    "America/Cuiaba",
    "America/Campo_Grande",
    "America/Manaus",
    "America/Porto_Velho",
    "America/Boa_Vista",
    "America/Rio_Branco",
    "America/Noronha",
    "Europe/Lisbon",
    "Africa/Maputo",
    "UTC",
)


@own("/sites", roles=OWNER, where="cloud")
async def sites(visit: Visit) -> Reply:
    return await _page(visit)


@own("/sites/add", method="POST", roles=OWNER, where="cloud")
async def add(visit: Visit) -> Reply:
    try:
        made = await visit.desk.people.tenants.add_site(
            visit.principal, visit.form.get("name", ""), groups=_groups(visit)
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error), name=visit.form.get("name", "")[:48])
    await _follow(visit, made.id)
    return visit.redirect("/sites", done="added")


@own("/sites/{site:str}", method="POST", roles=OWNER, where="cloud")
async def change(visit: Visit) -> Reply:
    site = visit.path["site"]
    await visit.row("sites", site)
    try:
        await visit.desk.people.tenants.change_site(
            visit.principal, site, visit.form.get("name", ""), _groups(visit)
        )
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=visit.told(error))
    await _follow(visit, site)
    return visit.redirect("/sites", done="saved")


async def _page(visit: Visit, *, error: object = None, name: str = "") -> Reply:
    page = await visit.rows("sites", order=(Order("name"),), limit=500)
    status = 400 if error else 200
    return visit.render(
        "portal/sites.html", status=status, places=page.rows, zones=ZONES, error=error, name=name
    )


async def _follow(visit: Visit, site: str) -> None:
    """Have the records follow identity's tables, then keep the time zone that was chosen."""
    await visit.desk.follow_places(visit.principal.tenant)
    zone = visit.form.get("zone", "")
    if not zone:
        return
    if zone not in available_timezones():
        raise Invalid(f"There is no time zone {zone[:40]!r}.", code="zone.unknown")
    async with visit.host.writing() as ctx:
        ctx.patch(Site, site, zone=zone)


def _groups(visit: Visit) -> tuple[str, ...]:
    names = (part.strip() for part in visit.form.get("groups", "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


PAGES = (sites, add, change)

"""Alerts, with who has taken note."""

from __future__ import annotations

from beira.host.page import Reply
from beira.kernel.access import check_partition, partitions
from beira.kernel.errors import NotFound
from beira.kernel.query import Compare, Every, Op, Order, where
from beira.kernel.system import Alert
from beira.portal.pages.own import STAFF, own
from beira.portal.visit import Visit

PAGE_ROWS = 50
NEWEST = (Order("_hlc", descending=True),)
OPEN = where(seen_by="")


@own("/alerts")
async def alerts(visit: Visit) -> Reply:
    return await _list(visit, "portal/alerts.html")


@own("/alerts/list")
async def listed(visit: Visit) -> Reply:
    return await _list(visit, "portal/alerts_list.html")


@own("/alerts/banner")
async def banner(visit: Visit) -> Reply:
    """Critical ones that nobody has taken note of, for every open page."""
    critical = Every((Compare("level", Op.EQ, "critical"), OPEN))
    page = await visit.rows("alerts", critical, order=NEWEST, limit=3, count=True)
    visit.keepable = False
    return visit.render("portal/alerts_banner.html", alerts=page.rows, total=page.total or 0)


@own("/alerts/{alert:str}/seen", method="POST", roles=STAFF)
async def seen(visit: Visit) -> Reply:
    """Take note, in the reader's name."""
    row = await visit.host.store.get("alerts", visit.path["alert"])
    if row is None or row.deleted:
        raise NotFound("There is no such alert.")
    check_partition(row.partition, partitions(visit.principal))
    by = visit.principal.name or visit.principal.id
    async with visit.host.writing() as ctx:
        ctx.patch(Alert, row.id, seen_by=by, seen_at=visit.now)
    return visit.redirect("/alerts", done="seen")


async def _list(visit: Visit, template: str) -> Reply:
    only_open = visit.asked.get("which", "open") != "all"
    filters = OPEN if only_open else None
    offset = _offset(visit)
    page = await visit.rows(
        "alerts", filters, order=NEWEST, limit=PAGE_ROWS, offset=offset, count=True
    )
    return visit.render(
        template, alerts=page.rows, total=page.total or 0, only_open=only_open, offset=offset
    )


def _offset(visit: Visit) -> int:
    text = visit.asked.get("from", "0")
    return min(int(text), 1_000_000) if text.isascii() and text.isdigit() else 0


PAGES = (alerts, listed, banner, seen)

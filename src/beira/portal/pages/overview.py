"""The start: what the apps show of today, and first steps where there is nothing yet."""

from __future__ import annotations

from typing import cast

from markupsafe import Markup

from beira.host.page import Page, Reply, View
from beira.kernel.errors import Unavailable
from beira.portal.pages.own import ANYBODY, own
from beira.portal.visit import Visit


@own("/", roles=ANYBODY)
async def overview(visit: Visit) -> Reply:
    """Panels of all apps, one after the other."""
    if not visit.has_tenant:
        return visit.redirect("/admin")
    steps = await _first_steps(visit) if visit.principal.role == "owner" else []
    panels = [await _panel(visit, page) for page in visit.desk.panels(visit.principal.role)]
    return visit.render("portal/overview.html", panels=panels, steps=steps)


async def _panel(visit: Visit, page: Page) -> Markup:
    """A panel that fails must not take the page with it; but an absent database is told whole."""
    try:
        reply = await page.handler(cast(View, visit))
    except Unavailable:
        raise
    return Markup(reply.body)  # noqa: S704 - made by a template that escapes


async def _first_steps(visit: Visit) -> list[dict[str, object]]:
    """What an empty company does first: done ones are ticked, and all done is no list."""
    if not visit.in_cloud:
        return []
    sites = bool(visit.site_names)
    nodes = bool((await visit.rows("node_info", limit=1)).rows)
    heard = bool((await visit.rows("node_status", limit=1)).rows)
    t = visit.t
    steps: list[dict[str, object]] = [
        {
            "done": sites,
            "path": "/sites",
            "title": t("Crie a primeira loja", "Make your first site"),
            "text": t(
                "Um lugar onde um nó vai trabalhar.", "A place where a node is going to work."
            ),
        },
        {
            "done": nodes,
            "path": "/nodes/new",
            "title": t("Traga um nó", "Bring in a node"),
            "text": t(
                "Gere um código e digite-o na máquina da loja.",
                "Make a code and type it on the shop's machine.",
            ),
        },
        {
            "done": heard,
            "path": "/nodes",
            "title": t("Veja o nó se ligar", "See the node connect"),
            "text": t(
                "Ele aparece aqui assim que sincronizar.", "It shows up here once it syncs."
            ),
        },
    ]
    return [] if all(step["done"] for step in steps) else steps


PAGES = (overview,)

"""The start: what the apps show of today, and first steps where there is nothing yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from markupsafe import Markup

from beira.host.page import Page, Reply, View
from beira.portal.pages.own import ANYBODY, own
from beira.portal.pages.quarantine import count_open
from beira.portal.visit import Visit


@dataclass(frozen=True, slots=True)
class Step:
    """One of the first steps."""

    done: bool
    path: str
    title: str
    text: str


_STEPS = (
    (
        "/sites",
        ("Crie a primeira loja", "Make your first site"),
        ("Um lugar onde um nó vai trabalhar.", "A place where a node is going to work."),
    ),
    (
        "/nodes/new",
        ("Traga um nó", "Bring in a node"),
        (
            "Gere um código e digite-o na máquina da loja.",
            "Make a code and type it on the shop's machine.",
        ),
    ),
    (
        "/nodes",
        ("Veja o nó se ligar", "See the node connect"),
        ("Ele aparece aqui assim que sincronizar.", "It shows up here once it syncs."),
    ),
)


@own("/", roles=ANYBODY)
async def overview(visit: Visit) -> Reply:
    """Panels of all apps, one after the other."""
    if not visit.has_tenant:
        return visit.redirect("/admin")
    steps = await _first_steps(visit) if visit.principal.role == "owner" else []
    panels = [await _panel(visit, page) for page in visit.desk.panels(visit.principal.role)]
    refused = await count_open(visit) if visit.principal.role == "owner" else 0
    return visit.render("portal/overview.html", panels=panels, steps=steps, refused=refused)


async def _panel(visit: Visit, page: Page) -> Markup:
    reply = await page.handler(cast(View, visit))
    return Markup(reply.body)  # noqa: S704 - made by a template that escapes


async def _first_steps(visit: Visit) -> list[Step]:
    """What an empty company does first: done ones are ticked, and all done is no list."""
    if not visit.in_cloud:
        return []
    nodes = bool((await visit.rows("node_info", limit=1)).rows)
    heard = bool((await visit.rows("node_status", limit=1)).rows)
    done = (bool(visit.site_names), nodes, heard)
    if all(done):
        return []
    return [
        Step(d, path, visit.t(*title), visit.t(*text))
        for d, (path, title, text) in zip(done, _STEPS, strict=True)
    ]


PAGES = (overview,)

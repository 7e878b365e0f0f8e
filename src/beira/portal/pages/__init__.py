"""The portal's own pages, by what people come for."""

from __future__ import annotations

from pathlib import Path

from beira.host.page import MenuItem, Pages
from beira.portal.pages import (
    account,
    admin,
    alerts,
    conflicts,
    entry,
    nodes,
    overview,
    places,
    quarantine,
    schedules,
    settings,
    team,
)

HERE = Path(__file__).parents[1]
_ALL = frozenset({"owner", "member", "guest"})
_STAFF = frozenset({"owner", "member"})
_OWNER = frozenset({"owner"})


def own_pages() -> tuple[Pages, ...]:
    """The first bundle comes before the apps' in the menu; the second, of management, after."""
    first = Pages(
        name="own",
        pages=(*overview.PAGES, *entry.PAGES),
        templates=HERE / "templates",
        menu=(MenuItem("/", "Início", "Overview", "home", _ALL),),
    )
    rest = Pages(
        name="manage",
        pages=(
            *alerts.PAGES,
            *nodes.PAGES,
            *places.PAGES,
            *team.PAGES,
            *settings.PAGES,
            *account.PAGES,
            *quarantine.PAGES,
            *conflicts.PAGES,
            *schedules.PAGES,
            *admin.PAGES,
        ),
        templates=HERE / "templates",
        menu=(
            MenuItem("/alerts", "Alertas", "Alerts", "bell", _ALL),
            MenuItem("/nodes", "Nós", "Nodes", "node", _ALL, "cloud"),
            MenuItem("/sites", "Lojas", "Sites", "store", _OWNER, "cloud"),
            MenuItem("/team", "Equipe", "Team", "key", _OWNER, "cloud"),
            MenuItem("/settings", "Ajustes", "Settings", "gear", _OWNER, "cloud"),
            MenuItem("/calendar", "Horários", "Schedules", "clock", _OWNER, "cloud"),
            MenuItem("/quarantine", "Recusados", "Refused", "shield", _OWNER, "cloud"),
            MenuItem("/conflicts", "Conflitos", "Conflicts", "merge", _STAFF, "cloud"),
        ),
    )
    return first, rest

"""What the player's pages have in common: shops and places, lengths, windows, and how an asset stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from beira.apps.player.records import Asset
from beira.sdk import (
    Column,
    Denied,
    NotFound,
    Order,
    View,
    every_row,
    group_partition,
    node_partition,
    record_of,
    site_partition,
    where,
)

STAFF = ("owner", "member")
LIST_ROWS = 50
SITES_MOST = 500
NODES_MOST = 2_000
IDS_AT_ONCE = 200
TITLE_CHARS = 120
SOON = timedelta(days=14)
"""What ends within so long is said to."""
TENANT = "tenant"
DAYS = {
    "pt-BR": ("seg", "ter", "qua", "qui", "sex", "sáb", "dom"),
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}


@dataclass(frozen=True)
class Shop:
    """A node as the place where music is heard."""

    id: str
    name: str
    site: str
    site_name: str
    zone: tzinfo
    groups: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """The partitions it lies in, the widest first."""
        groups = (group_partition(group) for group in self.groups)
        return (TENANT, *groups, site_partition(self.site), node_partition(self.id))


async def shops_of(view: View) -> list[Shop]:
    """The shops whose music this person may know of, by name."""
    sites = {str(row["id"]): row for row in await _sites(view)}
    infos = (await view.rows("node_info", order=(Order("name"),), limit=NODES_MOST)).rows
    return [_shop(row, sites[row["site"]]) for row in infos if row["site"] in sites]


async def shop_of(view: View, id: str) -> Shop:
    """Raises NotFound, also for a shop of a site that is not this person's."""
    for shop in await shops_of(view):
        if shop.id == id:
            return shop
    raise NotFound("There is no such shop.")


async def places_of(view: View, also: str = "") -> list[tuple[str, str]]:
    """The places this person may decide for, with their names: whoever has some sites only decides for
    those and their nodes. A site's only node is the site; it is named if `also` says so."""
    sites, shops = await _sites(view), await shops_of(view)
    found: list[tuple[str, str]] = []
    if view.principal.sites is None:
        groups = sorted({str(group) for row in sites for group in row["groups"] or ()})
        found.append((TENANT, view.t("Todas as lojas", "All shops")))
        found += [(group_partition(g), f"{view.t('Grupo', 'Group')} {g}") for g in groups]
    found += [(site_partition(str(row["id"])), str(row["name"])) for row in sites]
    beside = Counter(shop.site for shop in shops)
    return found + [
        (node_partition(s.id), f"{s.site_name} · {s.name}")
        for s in shops
        if beside[s.site] > 1 or node_partition(s.id) == also
    ]


async def check_place(view: View, place: str) -> None:
    """Raises Denied for a place that this person may not decide for."""
    if place not in dict(await places_of(view, place)):
        raise Denied("You may not decide for that place.", hint="Ask an owner of the company.")


def within(place: str, shops: Iterable[Shop]) -> list[Shop]:
    """The shops that a place reaches."""
    return [shop for shop in shops if place in shop.places]


async def titles_of(view: View, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The assets of these ids that there still are, in full."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, dict[str, Any]] = {}
    for at in range(0, len(wanted), IDS_AT_ONCE):
        some = tuple(wanted[at : at + IDS_AT_ONCE])
        rows = (await view.rows("player_assets", where(id__in=some), limit=IDS_AT_ONCE)).rows
        found |= {str(row["id"]): row for row in rows}
    return found


async def playlists_of(view: View) -> list[dict[str, Any]]:
    """All playlists by name, without what is in them."""
    columns = (Column("name"), Column("order"))
    rows = await every_row(view, "player_playlists", None, columns, 2_000)
    return sorted(rows, key=lambda row: str(row["name"]).casefold())


def asset_of(row: Mapping[str, Any]) -> Asset:
    return record_of(Asset, row)


def standing(view: View, row: Mapping[str, Any], local_now: str) -> tuple[str, str, str]:
    """How an asset is: a code, its tone (good, warn, bad or none) and words for it."""
    until = min((str(t) for t in (row["valid_until"], row["licence_until"]) if t), default="")
    soon = local_text(datetime.fromisoformat(local_now) + SOON)
    licence = bool(row["licence_until"]) and until == row["licence_until"]
    what = view.t("licença", "licence") if licence else view.t("validade", "window")
    if row["recalled"]:
        return "recalled", "bad", view.t("Recolhida", "Recalled")
    if row["state"] == "failed":
        return "failed", "bad", view.t("Falhou", "Failed")
    if row["state"] in ("waiting", "working"):
        far = f" {row['progress']} %" if row["progress"] else ""
        making = (f"Preparando{far}", f"In the making{far}")
        return (
            "busy",
            "",
            view.t(*(making if row["state"] == "working" else ("Na fila", "Waiting"))),
        )
    if until and until <= local_now:
        return "expired", "bad", view.t(f"{what} vencida".capitalize(), f"{what} over".capitalize())
    if row["valid_from"] and str(row["valid_from"]) > local_now:
        begins = day_text(view, str(row["valid_from"]))
        return "later", "", view.t(f"Começa em {begins}", f"Begins {begins}")
    if until and until <= soon:
        ends = day_text(view, until)
        return (
            "ending",
            "warn",
            view.t(f"{what} até {ends}".capitalize(), f"{what} ends {ends}".capitalize()),
        )
    return "ready", "good", view.t("Pronta", "Ready")


def local_now(view: View) -> str:
    return local_text(view.host.now().astimezone(view.zone))


def local_text(moment: datetime) -> str:
    """A moment as records write local times."""
    return f"{moment:%Y-%m-%dT%H:%M}"


def day_text(view: View, local: str) -> str:
    """Day and month, with the year where it is another, of a local time."""
    moment = datetime.fromisoformat(local)
    year = "" if moment.year == view.today.year else f"/{moment.year}"
    if view.language == "pt-BR":
        return f"{moment:%d/%m}{year}"
    return f"{moment.day} {moment:%b}{year.replace('/', ' ')}"


def length(ms: int | None) -> str:
    """3:25, or 1:02:03."""
    seconds = round((ms or 0) / 1000)
    hours, rest = divmod(seconds, 3600)
    minutes = f"{rest // 60:02d}" if hours else str(rest // 60)
    return f"{hours}:{minutes}:{rest % 60:02d}" if hours else f"{minutes}:{rest % 60:02d}"


def long_length(ms: int) -> str:
    """2 h 14 min, or 45 s."""
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def wave(peaks: Iterable[int] | None, bars: int) -> str:
    """Peaks of 0 to 100 as an SVG path of so many bars, in a box of 4 times `bars` by 40."""
    given = list(peaks or ())
    if not given:
        return ""
    path = []
    for bar in range(bars):
        low, high = bar * len(given) // bars, max((bar + 1) * len(given) // bars, 1)
        peak = max(given[low:high] or given[low : low + 1] or [0])
        half = max(1, round(min(100, max(0, peak)) * 0.19))
        path.append(f"M{bar * 4 + 2} {20 - half}v{half * 2}")
    return "".join(path)


def days_text(view: View, days: Iterable[int] | None) -> str:
    """seg, ter e sáb; every day for none or all."""
    chosen = sorted(set(days or range(7)))
    names = [DAYS[view.language][day] for day in chosen]
    if len(chosen) == 7:
        return view.t("todos os dias", "every day")
    if chosen == list(range(5)):
        return view.t("seg a sex", "Mon to Fri")
    return ", ".join(names)


async def _sites(view: View) -> list[dict[str, Any]]:
    rows = (await view.rows("sites", order=(Order("name"),), limit=SITES_MOST)).rows
    granted = view.principal.sites
    return [row for row in rows if granted is None or row["id"] in granted]


def _shop(row: Mapping[str, Any], site: Mapping[str, Any]) -> Shop:
    try:
        zone: tzinfo = ZoneInfo(str(site["zone"]))
    except (KeyError, ValueError):
        zone = ZoneInfo("America/Sao_Paulo")
    groups = tuple(str(group) for group in site["groups"] or ())
    return Shop(str(row["id"]), str(row["name"]), str(site["id"]), str(site["name"]), zone, groups)

"""What the portal shows of Aurora: today at a glance, conversations, hours, products, people, sales.

Plain functions of the portal's `View`. What is shown is derived from the facts by `rules`, the same
functions that the voice uses, so that a page and a spoken answer never differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from beira.apps.voice import portal_goods as goods
from beira.apps.voice import portal_hours as hours
from beira.apps.voice import portal_requests as asked
from beira.apps.voice.portal_reading import (
    LIST_ROWS,
    NEWEST,
    QUERY_ROWS,
    ROWS_MOST,
    STAFF,
    money_text,
    p95,
)
from beira.apps.voice.portal_words import WORDS
from beira.sdk import (
    Column,
    Measure,
    MenuItem,
    Pages,
    Reply,
    View,
    between_days,
    every_row,
    is_online,
    local_time,
    ms_of,
    page,
    whole_of,
)

OPENS = 7
STAGES = {
    "speech_end_detect": ("fim da fala", "end of speech"),
    "stt": ("ouvir", "hearing"),
    "intent": ("entender", "understanding"),
    "nlu": ("entender", "understanding"),
    "decide": ("agir", "acting"),
    "command": ("agir", "acting"),
    "tts_first": ("voz", "voice"),
    "tts": ("voz", "voice"),
    "audio": ("som", "sound"),
}


@dataclass
class SiteDay:
    """One site's day so far. `newest_ms`: when the newest of each figure was written."""

    id: str
    name: str
    talks: int = 0
    punches: int = 0
    sales: int = 0
    cents: int = 0
    newest_ms: dict[str, int] = field(default_factory=dict)
    online: bool = False
    synced_at: str | None = None
    waiting: int = 0


@dataclass
class Tile:
    """One figure of the day, and how old the newest of it is."""

    name: str
    icon: str
    path: str
    figure: str
    unit: str = ""
    newest: float | None = None
    late: str = ""
    more: str = ""


@page("/voice/today", panel=10)
async def today(view: View) -> Reply:
    """Tiles of today, each with its freshness, and the sites one by one."""
    sites = await _site_days(view)
    latency = await _latencies(view) if view.principal.role in STAFF else []
    tiles = _tiles(view, sites, latency)
    if view.principal.role in STAFF:
        tiles.insert(3, await _waiting(view))
    away = [s for s in sites if not s.online and s.synced_at]
    staff = view.principal.role in STAFF
    return view.render("voice/today.html", tiles=tiles, sites=sites, away=away, staff=staff)


@page("/voice/plots", panel=20, roles=STAFF)
async def plots(view: View) -> Reply:
    """Use and latency by hour of today."""
    use: dict[int, int] = defaultdict(int)
    slow: dict[int, list[float]] = defaultdict(list)
    for row in await _talks_today(view):
        hour = local_time(view, row["at"]).hour
        use[hour] += 1
        if row["latency_ms"] is not None:
            slow[hour].append(float(row["latency_ms"]))
    now = view.host.now().astimezone(view.zone).hour
    hours = sorted({*range(min(OPENS, now), now + 1), *use})
    return view.render("voice/plots.html", plots=_drawn(view, hours, use, slow))


def _drawn(
    view: View, hours: list[int], use: Mapping[int, int], slow: Mapping[int, list[float]]
) -> list[dict[str, Any]]:
    """Both plots as the page's script draws them, and its tables tell them."""
    labels = {hour: f"{hour}h" if view.language == "pt-BR" else f"{hour}:00" for hour in hours}
    shared = {"x": hours, "labels": labels}
    counts = _line(view.t("conversas", "count"), [use.get(hour, 0) for hour in hours])
    times = [slow.get(hour) for hour in hours]
    middle = _line(view.t("mediana", "median"), [round(median(t), 1) if t else None for t in times])
    worst = _line("p95", [round(p95(t), 1) if t else None for t in times])
    return [
        {
            "title": view.t("Conversas por hora", "Conversations by hour"),
            "plot": {**shared, "bars": True, "series": [counts]},
        },
        {
            "title": view.t("Latência por hora", "Latency by hour"),
            "plot": {**shared, "unit": " ms", "series": [middle, worst]},
        },
    ]


@page("/interactions", roles=STAFF)
async def interactions(view: View) -> Reply:
    return view.render("voice/interactions.html", **await _talks(view))


@page("/interactions/list", roles=STAFF)
async def interactions_list(view: View) -> Reply:
    return view.render("voice/interactions_list.html", **await _talks(view))


async def _site_days(view: View) -> list[SiteDay]:
    names = await view.sites()
    shown = {id: n for id, n in names.items() if not view.site or id == view.site}
    days = {f"site:{id}": SiteDay(id, name) for id, name in shown.items()}
    talks = "interactions" if view.principal.role in STAFF else ""
    for collection, figure in ((talks, "talks"), ("punches", "punches"), ("sales", "sales")):
        for row in await _by_site(view, collection) if collection else ():
            found = days.get(str(row["_partition"]))
            if found is not None:
                setattr(found, figure, int(row["count"]))
                found.cents += int(row.get("cents") or 0)
                found.newest_ms[figure] = ms_of(int(row["newest"]))
    await _take_links(view, days)
    return list(days.values())


async def _by_site(view: View, collection: str) -> list[dict[str, Any]]:
    columns = [
        Column("_partition"),
        Column(measure=Measure.COUNT, alias="count"),
        Column("_hlc", measure=Measure.MAX, alias="newest"),
    ]
    if collection == "sales":
        columns.append(Column("total_cents", measure=Measure.SUM, alias="cents"))
    found = await view.rows(
        collection,
        between_days(view, view.today, view.today),
        columns=tuple(columns),
        limit=QUERY_ROWS,
    )
    return found.rows


async def _take_links(view: View, days: Mapping[str, SiteDay]) -> None:
    """Which sites are connected, and until when we know of the others."""
    infos = {r["id"]: r for r in (await view.rows("node_info", limit=QUERY_ROWS)).rows}
    now = view.host.now()
    for status in (await view.rows("node_status", limit=QUERY_ROWS)).rows:
        info = infos.get(status["id"])
        found = days.get(f"site:{info['site']}") if info else None
        if found is None:
            continue
        found.online = found.online or is_online(status, now)
        found.synced_at = max(filter(None, (found.synced_at, status["last_sync_at"])), default=None)
        found.waiting += sum(int(n) for n in (status["pending"] or {}).values())


async def _talks_today(view: View) -> list[dict[str, Any]]:
    columns = (Column("at"), Column("latency_ms"))
    when = between_days(view, view.today, view.today)
    return await every_row(view, "interactions", when, columns, ROWS_MOST)


async def _latencies(view: View) -> list[float]:
    rows = await _talks_today(view)
    return [float(r["latency_ms"]) for r in rows if r["latency_ms"] is not None]


def _tiles(view: View, sites: list[SiteDay], latency: list[float]) -> list[Tile]:
    late = view.t("pode atrasar até 5 min", "may be up to 5 min late")
    if not view.host.place.in_cloud:
        late = view.t("deste nó, na hora", "of this node, at once")

    def tile(
        name: tuple[str, str], icon: str, path: str, of: str, figure: str, **more: str
    ) -> Tile:
        newest = max((s.newest_ms.get(of, 0) for s in sites), default=0) / 1000 or None
        return Tile(view.t(*name), icon, path, figure, newest=newest, late=late, **more)

    staff = view.principal.role in STAFF
    talks, punched = str(sum(s.talks for s in sites)), str(sum(s.punches for s in sites))
    sold, number = money_text(view, sum(s.cents for s in sites)), sum(s.sales for s in sites)
    count = view.t(f"{number} vendas", f"{number} sales")
    more = count if number != 1 else view.t("1 venda", "1 sale")
    hours = "/punches" if staff else ""
    tiles = [
        tile(("Pontos", "Punches"), "clock", hours, "punches", punched),
        tile(("Vendas", "Sales"), "cart", "/sales", "sales", sold, unit="R$", more=more),
    ]
    if staff:
        said = tile(("Conversas", "Conversations"), "talk", "/interactions", "talks", talks)
        tiles.insert(0, said)
    if latency:
        told = {"unit": "ms", "more": f"p95 {p95(latency):.0f} ms"}
        middle = f"{median(latency):.0f}"
        tiles.append(tile(("Latência", "Latency"), "mic", "/interactions", "talks", middle, **told))
    return tiles


async def _waiting(view: View) -> Tile:
    """Customers' requests that nobody has attended to."""
    count = await asked.open_requests(view)
    more = view.t(
        "em aberto" if count else "ninguém esperando", "open" if count else "nobody waits"
    )
    return Tile(view.t("Pedidos", "Requests"), "note", "/requests", str(count), more=more)


def _line(label: str, values: list[Any]) -> dict[str, Any]:
    return {"label": label, "values": values}


async def _talks(view: View) -> dict[str, Any]:
    offset = whole_of(view.asked.get("from", ""))
    found = await view.rows(
        "interactions", order=NEWEST, limit=LIST_ROWS, offset=offset, count=True
    )
    rows = [{**row, "bar": _bar(view, row)} for row in found.rows]
    legend = list(
        dict.fromkeys((part["name"], part["tone"]) for row in rows for part in row["bar"])
    )
    sites = await view.sites()
    return {
        "talks": rows, "total": found.total or 0, "offset": offset, "legend": legend, "sites": sites,
    }  # fmt: skip


def _bar(view: View, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stages of a turn as parts of a bar of 1000: where its time went."""
    stages = {k: float(v) for k, v in (row["stages_ms"] or {}).items() if k in STAGES and v}
    total = sum(stages.values())
    tones = {name: tone for tone, name in enumerate(dict.fromkeys(STAGES.values()))}
    parts, at = [], 0.0
    for stage, spent_ms in stages.items():
        width = spent_ms / total * 1000
        names = STAGES[stage]
        parts.append({"name": view.t(*names), "ms": spent_ms, "x": round(at, 1),
                      "width": round(width, 1), "tone": tones[names]})  # fmt: skip
        at += width
    return parts


_STAFF = frozenset(STAFF)
_ALL = frozenset((*STAFF, "guest"))
PAGES = Pages(
    name="voice",
    pages=(
        today, plots, interactions, interactions_list,
        hours.punches, hours.punches_list, hours.person_hours, hours.punches_csv, hours.correct,
        hours.save_correction, goods.products, goods.products_list, goods.product_new,
        goods.product_add, goods.product, goods.product_save, goods.people, goods.people_list,
        goods.person_new, goods.person_add, goods.person, goods.person_save, goods.sales,
        goods.sales_list, asked.requests, asked.requests_list, asked.close,
    ),
    templates=Path(__file__).parent / "templates" / "portal",
    menu=(
        MenuItem("/interactions", "Conversas", "Conversations", "talk", _STAFF),
        MenuItem("/punches", "Pontos", "Punches", "clock", _STAFF),
        MenuItem("/sales", "Vendas", "Sales", "cart", _ALL),
        MenuItem("/requests", "Pedidos", "Requests", "note", _STAFF),
        MenuItem("/products", "Produtos", "Products", "tag", _ALL),
        MenuItem("/people", "Pessoas", "People", "people", _STAFF),
        MenuItem("/balcao", "Balcão", "Counter", "mic", _ALL, "node"),
    ),
    words=WORDS,
)  # fmt: skip

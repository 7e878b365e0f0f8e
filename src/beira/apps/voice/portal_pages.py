"""What the portal shows of Aurora: today at a glance, conversations, hours, products, people, sales.

Plain functions of the portal's `View`. What is shown is derived from the facts by `rules`, the same
functions that the voice uses, so that a page and a spoken answer never differ.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from beira.apps.voice.records import Person, Product, Punch, PunchCorrection
from beira.apps.voice.rules import Worked, effective, worked
from beira.sdk import (
    Column,
    Compare,
    Every,
    Invalid,
    Measure,
    MenuItem,
    NotFound,
    Op,
    Order,
    Pages,
    Reply,
    Some,
    View,
    page,
    timestamp,
    where,
)

STAFF = ("owner", "member")
OWNER = ("owner",)
NEWEST = (Order("_hlc", descending=True),)
HLC_COUNTER_BITS = 11
QUERY_ROWS = 1_000
ROWS_MOST = 20_000
LIST_ROWS = 50
FRESH_S = 60
UNITS = ("un", "kg", "l", "cx")
NAME_CHARS = 100
DAYS_OF_CSV = 62
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
TOTALS = frozenset({"total", "end_to_first_sound", "decision_to_first_sound", "latency", "wall"})


@dataclass
class SiteDay:
    """One site's day so far. `fresh_ms`: when the newest of it was written."""

    id: str
    name: str
    talks: int = 0
    punches: int = 0
    sales: int = 0
    cents: int = 0
    newest_ms: int = 0
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


@dataclass
class PersonDay:
    """One person's punches of one day, as they hold."""

    person: str
    name: str
    day: date
    held: list[Worked] = field(default_factory=list)
    seconds: float = 0.0
    odd: bool = False


@page("/voice/today", panel=10)
async def today(view: View) -> Reply:
    """Tiles of today, each with its freshness, and the sites one by one."""
    sites = await _site_days(view)
    latency = await _latencies(view) if view.principal.role in STAFF else []
    tiles = _tiles(view, sites, latency)
    away = [s for s in sites if not s.online and s.synced_at]
    return view.render("voice/today.html", tiles=tiles, sites=sites, away=away)


@page("/voice/plots", panel=20, roles=STAFF)
async def plots(view: View) -> Reply:
    """Use and latency by hour of today."""
    now = view.host.now().astimezone(view.zone)
    last = max(now.hour, 7)
    hours = list(range(min(7, last), last + 1))
    use: dict[int, int] = defaultdict(int)
    slow: dict[int, list[float]] = defaultdict(list)
    for row in await _talks_today(view):
        hour = _local(view, row["at"]).hour
        use[hour] += 1
        if row["latency_ms"] is not None:
            slow[hour].append(float(row["latency_ms"]))
    hours = sorted(set(hours) | set(use))
    labels = {hour: f"{hour}h" if view.language == "pt-BR" else f"{hour}:00" for hour in hours}
    shared = {"x": hours, "labels": labels}
    counts = [use.get(hour, 0) for hour in hours]
    medians = [round(median(slow[h]), 1) if slow.get(h) else None for h in hours]
    worst = [round(_p95(slow[h]), 1) if slow.get(h) else None for h in hours]
    drawn = [
        {
            "title": view.t("Conversas por hora", "Conversations by hour"),
            "plot": {**shared, "bars": True, "series": [_line(view.t("conversas", "count"), counts)]},
        },
        {
            "title": view.t("Latência por hora", "Latency by hour"),
            "plot": {
                **shared,
                "unit": " ms",
                "series": [_line(view.t("mediana", "median"), medians), _line("p95", worst)],
            },
        },
    ]
    return view.render("voice/plots.html", plots=drawn, any=bool(use))


@page("/interactions", roles=STAFF)
async def interactions(view: View) -> Reply:
    return view.render("voice/interactions.html", **await _talks(view))


@page("/interactions/list", roles=STAFF)
async def interactions_list(view: View) -> Reply:
    return view.render("voice/interactions_list.html", **await _talks(view))


@page("/punches", roles=STAFF)
async def punches(view: View) -> Reply:
    return await _punches_page(view, "voice/punches.html")


@page("/punches/list", roles=STAFF)
async def punches_list(view: View) -> Reply:
    return await _punches_page(view, "voice/punches_list.html")


@page("/punches/person/{person:str}", roles=STAFF)
async def person_hours(view: View) -> Reply:
    """One person's month, day by day, with the hours worked."""
    person = view.path["person"]
    first, last = _month(view)
    days = await _person_days(view, first, last, person)
    name = days[0].name if days else await _name_of(view, person)
    return view.render(
        "voice/person_hours.html",
        person=person,
        name=name,
        days=days,
        first=first,
        before=(first - timedelta(days=1)).strftime("%Y-%m"),
        after=(last + timedelta(days=1)).strftime("%Y-%m"),
        ahead=last >= view.today,
        total=sum(day.seconds for day in days),
        odd=sum(day.odd for day in days),
    )


@page("/punches.csv", roles=STAFF)
async def punches_csv(view: View) -> Reply:
    """One line a punch, with semicolons and a comma in decimals, as Brazilian spreadsheets read it."""
    first, last = _asked_days(view)
    days = await _person_days(view, first, last, view.asked.get("person", ""))
    out = io.StringIO()
    sheet = csv.writer(out, delimiter=";", lineterminator="\r\n")
    sheet.writerow(["data", "pessoa", "hora", "tipo", "corrigido", "horas do dia"])
    for found in days:
        for at, w in enumerate(found.held):
            hours = f"{found.seconds / 3600:.2f}".replace(".", ",") if at == 0 else ""
            local = w.at.astimezone(view.zone)
            kind = "entrada" if w.kind == "in" else "saída"
            fixed = "sim" if w.corrected else ""
            row = [f"{found.day:%d/%m/%Y}", _cell(found.name), f"{local:%H:%M}", kind, fixed, hours]
            sheet.writerow(row)
    name = f"pontos-{first:%Y-%m-%d}-{last:%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Reply("\ufeff" + out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


@page("/punches/{punch:str}/correct", roles=OWNER, where="cloud")
async def correct(view: View) -> Reply:
    return await _correction_page(view, {}, None)


@page("/punches/{punch:str}/correct", method="POST", roles=OWNER, where="cloud")
async def save_correction(view: View) -> Reply:
    """Through the voice's own command: a further fact, the punch itself stays."""
    form = view.form
    errors: dict[str, str] = {}
    at = _typed_moment(view, form.get("at", ""))
    void = form.get("void") == "yes"
    if at is None and not void:
        errors["at"] = view.t("Diga o dia e a hora.", "Give the day and the time.")
    if errors:
        return await _correction_page(view, errors, None)
    params: dict[str, object] = {
        "punch": view.path["punch"],
        "kind": "out" if form.get("kind") == "out" else "in",
        "void": void,
        "reason": form.get("reason", "").strip(),
    }
    if at is not None:
        params["at"] = timestamp(at)
    receipt = await view.run("correct_punch", params)
    if not receipt.ok:
        return await _correction_page(view, {}, receipt)
    day = (at or view.host.now()).astimezone(view.zone).date()
    return view.redirect(f"/punches?day={day.isoformat()}", done="corrected")


@page("/products")
async def products(view: View) -> Reply:
    return view.render("voice/products.html", **await _products(view))


@page("/products/list")
async def products_list(view: View) -> Reply:
    return view.render("voice/products_list.html", **await _products(view))


@page("/products/new", roles=STAFF)
async def product_new(view: View) -> Reply:
    return view.render("voice/product.html", product={}, errors={}, units=UNITS)


@page("/products/new", method="POST", roles=STAFF)
async def product_add(view: View) -> Reply:
    values, errors = _product_of(view)
    if not errors:
        try:
            async with view.host.writing() as ctx:
                ctx.put(msgspec.convert(values, Product), partition="tenant")
        except Invalid as error:
            errors["name"] = error.message
    if errors:
        return _product_again(view, {}, errors)
    return view.redirect("/products", done="added")


@page("/products/{product:str}")
async def product(view: View) -> Reply:
    found = await _row(view, "products", view.path["product"])
    return view.render("voice/product.html", product=found, errors={}, units=UNITS)


@page("/products/{product:str}", method="POST", roles=STAFF)
async def product_save(view: View) -> Reply:
    found = await _row(view, "products", view.path["product"])
    if "active" in view.form and "name" not in view.form:
        values, errors = {"active": view.form["active"] == "yes"}, {}
    else:
        values, errors = _product_of(view)
    if not errors:
        async with view.host.writing() as ctx:
            ctx.patch(Product, found["id"], **values)
        return view.redirect("/products", done="saved")
    return _product_again(view, found, errors)


@page("/people", roles=STAFF)
async def people(view: View) -> Reply:
    return view.render("voice/people.html", **await _people(view))


@page("/people/list", roles=STAFF)
async def people_list(view: View) -> Reply:
    return view.render("voice/people_list.html", **await _people(view))


@page("/people/new", roles=OWNER, where="cloud")
async def person_new(view: View) -> Reply:
    return view.render("voice/person.html", person={}, errors={}, sites=await view.sites())


@page("/people/new", method="POST", roles=OWNER, where="cloud")
async def person_add(view: View) -> Reply:
    values, errors = await _person_of(view)
    if errors:
        return await _person_again(view, {}, errors)
    async with view.host.writing() as ctx:
        ctx.put(msgspec.convert(values, Person), partition="tenant")
    return view.redirect("/people", done="added")


@page("/people/{person:str}", roles=STAFF)
async def person(view: View) -> Reply:
    found = await _row(view, "people", view.path["person"])
    return view.render("voice/person.html", person=found, errors={}, sites=await view.sites())


@page("/people/{person:str}", method="POST", roles=OWNER, where="cloud")
async def person_save(view: View) -> Reply:
    found = await _row(view, "people", view.path["person"])
    values: dict[str, Any]
    if "active" in view.form and "name" not in view.form:
        values, errors = {"active": view.form["active"] == "yes"}, {}
    else:
        values, errors = await _person_of(view)
    if errors:
        return await _person_again(view, found, errors)
    async with view.host.writing() as ctx:
        ctx.patch(Person, found["id"], **values)
    return view.redirect("/people", done="saved")


@page("/sales")
async def sales(view: View) -> Reply:
    return view.render("voice/sales.html", **await _sales(view))


@page("/sales/list")
async def sales_list(view: View) -> Reply:
    return view.render("voice/sales_list.html", **await _sales(view))


# Today


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
                found.newest_ms = max(found.newest_ms, int(row["newest"]) >> HLC_COUNTER_BITS)
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
        collection, _between(view, view.today, view.today), columns=tuple(columns), limit=QUERY_ROWS
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
        age_s = (now - datetime.fromisoformat(status["seen_at"])).total_seconds()
        found.online = found.online or (bool(status["online"]) and age_s < FRESH_S)
        found.synced_at = max(filter(None, (found.synced_at, status["last_sync_at"])), default=None)
        found.waiting += sum(int(n) for n in (status["pending"] or {}).values())


async def _talks_today(view: View) -> list[dict[str, Any]]:
    columns = (Column("at"), Column("latency_ms"))
    when = _between(view, view.today, view.today)
    return await _every(view, "interactions", when, columns, ROWS_MOST)


async def _latencies(view: View) -> list[float]:
    rows = await _talks_today(view)
    return [float(r["latency_ms"]) for r in rows if r["latency_ms"] is not None]


def _tiles(view: View, sites: list[SiteDay], latency: list[float]) -> list[Tile]:
    newest = max((s.newest_ms for s in sites), default=0) / 1000 or None
    late = view.t("pode atrasar até 5 min", "may be up to 5 min late")
    count = view.t
    tiles = []
    if view.principal.role in STAFF:
        talks = str(sum(s.talks for s in sites))
        name = count("Conversas", "Conversations")
        tiles.append(Tile(name, "talk", "/interactions", talks, newest=newest, late=late))
    punched = str(sum(s.punches for s in sites))
    path = "/punches" if view.principal.role in STAFF else ""
    tiles.append(Tile(count("Pontos", "Punches"), "clock", path, punched, newest=newest, late=late))
    cents = sum(s.cents for s in sites)
    number = sum(s.sales for s in sites)
    more = count(f"{number} vendas", f"{number} sales") if number != 1 else count("1 venda", "1 sale")
    name = count("Vendas", "Sales")
    tiles.append(Tile(name, "cart", "/sales", _money(view, cents), "R$", newest, late, more))
    if latency:
        more = f"p95 {_p95(latency):.0f} ms"
        name = count("Latência", "Latency")
        figure = f"{median(latency):.0f}"
        tiles.append(Tile(name, "mic", "/interactions", figure, "ms", newest, late, more))
    return tiles


def _line(label: str, values: list[Any]) -> dict[str, Any]:
    return {"label": label, "values": values}


def _p95(values: list[float]) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]


# Conversations


async def _talks(view: View) -> dict[str, Any]:
    offset = _whole(view.asked.get("from", ""))
    found = await view.rows("interactions", order=NEWEST, limit=LIST_ROWS, offset=offset, count=True)
    rows = [{**row, "bar": _bar(view, row)} for row in found.rows]
    legend = list(dict.fromkeys((part["name"], part["tone"]) for row in rows for part in row["bar"]))
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


# Punches


async def _punches_page(view: View, template: str) -> Reply:
    day = _date(view.asked.get("day", "")) or view.today
    days = await _person_days(view, day, day)
    return view.render(
        template,
        day=day,
        before=day - timedelta(days=1),
        after=day + timedelta(days=1),
        people=days,
        can_correct=view.principal.role == "owner",
    )


async def _person_days(view: View, first: date, last: date, person: str = "") -> list[PersonDay]:
    """Punches as they hold, by person and day. A correction can move a punch to another day, so a
    day more is read at both ends."""
    one = timedelta(days=1)
    when = _between(view, first - one, last + one)
    whose = Every((when, where(person=person))) if person else when
    rows = await _every(view, "punches", whose, (), ROWS_MOST)
    told = [_record(Punch, row) for row in rows]
    fixes = [_record(PunchCorrection, row) for row in await _corrections(view, told)]
    days: dict[tuple[date, str], PersonDay] = {}
    for w in effective(told, fixes):
        day = w.at.astimezone(view.zone).date()
        if first <= day <= last:
            found = days.setdefault((day, w.person), PersonDay(w.person, w.employee, day))
            found.held.append(w)
    for found in days.values():
        time, found.odd = worked(found.held)
        found.seconds = time.total_seconds()
    return [days[key] for key in sorted(days, key=lambda k: (k[0], days[k].name.casefold(), k[1]))]


async def _corrections(view: View, punches: list[Punch]) -> list[dict[str, Any]]:
    ids = [p.id for p in punches]
    found: list[dict[str, Any]] = []
    for at in range(0, len(ids), 200):
        chosen = where(punch__in=tuple(ids[at : at + 200]))
        found += await _every(view, "punch_corrections", chosen, (), ROWS_MOST)
    return found


async def _correction_page(view: View, errors: dict[str, str], receipt: Any) -> Reply:
    row = await _row(view, "punches", view.path["punch"])
    fixes = await _every(view, "punch_corrections", where(punch=row["id"]), (), QUERY_ROWS)
    told, made = _record(Punch, row), [_record(PunchCorrection, fix) for fix in fixes]
    held = effective([told], made)
    now_holds = held[0] if held else None
    at = (now_holds.at if now_holds else told.at).astimezone(view.zone)
    return view.render(
        "voice/correct.html",
        status=400 if errors or receipt else 200,
        punch=row,
        at=view.form.get("at") or f"{at:%Y-%m-%dT%H:%M}",
        kind=view.form.get("kind") or (now_holds.kind if now_holds else told.kind),
        void=bool(made) and now_holds is None,
        history=sorted(fixes, key=lambda fix: str(fix["said_at"])),
        errors=errors,
        trouble=receipt,
    )


async def _name_of(view: View, person: str) -> str:
    return str((await _row(view, "people", person))["name"])


def _asked_days(view: View) -> tuple[date, date]:
    """A day, or a month; a few months at most."""
    if view.asked.get("month"):
        return _month(view)
    first = _date(view.asked.get("day", "")) or view.today
    last = _date(view.asked.get("until", "")) or first
    return first, max(first, min(last, first + timedelta(days=DAYS_OF_CSV)))


def _month(view: View) -> tuple[date, date]:
    found = re.fullmatch(r"(\d{4})-(\d{2})", view.asked.get("month", ""), re.ASCII)
    year, month = (int(found[1]), int(found[2])) if found else (view.today.year, view.today.month)
    if not (1 <= month <= 12 and 2000 <= year <= 2100):
        raise Invalid("There is no such month.", hint="Write it like 2026-11.")
    first = date(year, month, 1)
    after = date(year + month // 12, month % 12 + 1, 1)
    return first, after - timedelta(days=1)


def _cell(text: str) -> str:
    """A spreadsheet takes text that begins so for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


# Products, people, sales


async def _products(view: View) -> dict[str, Any]:
    found = await _search(view, "products", ("name", "barcode"))
    ids = tuple(str(row["id"]) for row in found["rows"])
    stock = {}
    if ids:
        columns = (Column("product"), Column("quantity_milli", measure=Measure.SUM, alias="milli"))
        page = await view.rows(
            "stock_movements", where(product__in=ids), columns=columns, limit=QUERY_ROWS
        )
        stock = {row["product"]: int(row["milli"] or 0) for row in page.rows}
    return {**found, "stock": stock, "can_edit": view.principal.role in STAFF}


async def _people(view: View) -> dict[str, Any]:
    found = await _search(view, "people", ("name",))
    can_edit = view.principal.role == "owner" and view.host.place.in_cloud
    return {**found, "sites": await view.sites(), "can_edit": can_edit}


async def _search(view: View, collection: str, columns: tuple[str, ...]) -> dict[str, Any]:
    """Rows whose name has the words asked for; those put aside only when asked for."""
    offset, asked = _whole(view.asked.get("from", "")), view.asked.get("q", "").strip()[:80]
    every = view.asked.get("all") == "yes"
    terms: list[Any] = [] if every else [where(active=True)]
    for word in asked.translate(str.maketrans("", "", "%*_")).split()[:6]:
        terms.append(Some(tuple(Compare(c, Op.ILIKE, f"*{word}*") for c in columns)))
    found = await view.rows(
        collection,
        Every(tuple(terms)) if terms else None,
        order=(Order("name"),),
        limit=LIST_ROWS,
        offset=offset,
        count=True,
    )
    return {
        "rows": found.rows, "total": found.total or 0, "offset": offset, "q": asked, "every": every,
    }  # fmt: skip


def _product_of(view: View) -> tuple[dict[str, Any], dict[str, str]]:
    form, errors = view.form, {}
    name = _name(view, errors)
    price = _cents(form.get("price", ""))
    if form.get("price", "").strip() and price is None:
        errors["price"] = view.t("Escreva como 12,90.", "Write it like 12.90.")
    unit = form.get("unit", "un")
    if unit not in UNITS:
        errors["unit"] = view.t("Escolha uma unidade.", "Choose a unit.")
    barcode = form.get("barcode", "").replace(" ", "")
    if barcode and not (barcode.isascii() and barcode.isdigit() and len(barcode) <= 14):
        errors["barcode"] = view.t("Só números, até 14.", "Digits only, up to 14.")
    return {
        "name": name,
        "also_said": _lines(form.get("also_said", "")),
        "price_cents": price,
        "unit": unit,
        "place": form.get("place", "").strip()[:NAME_CHARS],
        "barcode": barcode[:14],
    }, errors


def _product_again(view: View, found: Mapping[str, Any], errors: dict[str, str]) -> Reply:
    typed = {**found, **view.form, "also_said": _lines(view.form.get("also_said", ""))}
    return view.render(
        "voice/product.html", status=400, product=typed, errors=errors, units=UNITS
    )


async def _person_of(view: View) -> tuple[dict[str, Any], dict[str, str]]:
    form, errors = view.form, {}
    name = _name(view, errors)
    site = form.get("site", "") or None
    if site is not None and site not in await view.sites():
        errors["site"] = view.t("Escolha uma loja.", "Choose a site.")
    return {
        "name": name,
        "also_said": _lines(form.get("also_said", "")),
        "role": form.get("role", "").strip()[:NAME_CHARS],
        "site": site,
    }, errors


async def _person_again(view: View, found: Mapping[str, Any], errors: dict[str, str]) -> Reply:
    typed = {**found, **view.form, "also_said": _lines(view.form.get("also_said", ""))}
    sites = await view.sites()
    return view.render("voice/person.html", status=400, person=typed, errors=errors, sites=sites)


async def _sales(view: View) -> dict[str, Any]:
    day = _date(view.asked.get("day", "")) or view.today
    offset, when = _whole(view.asked.get("from", "")), _between(view, day, day)
    found = await view.rows(
        "sales", when, order=NEWEST, limit=LIST_ROWS, offset=offset, count=True
    )
    total = (Column("total_cents", measure=Measure.SUM, alias="cents"),)
    cents = (await view.rows("sales", when, columns=total)).rows
    return {
        "sales": found.rows, "total": found.total or 0, "offset": offset, "day": day,
        "cents": int(cents[0]["cents"] or 0) if cents else 0, "sites": await view.sites(),
        "before": day - timedelta(days=1), "after": day + timedelta(days=1),
    }  # fmt: skip


# What forms and rows hold


def _name(view: View, errors: dict[str, str]) -> str:
    name = " ".join(view.form.get("name", "").split())
    if not name or len(name) > NAME_CHARS or not name.isprintable():
        errors["name"] = view.t(f"De 1 a {NAME_CHARS} letras.", f"1 to {NAME_CHARS} characters.")
    return name


def _lines(text: str) -> list[str]:
    """Other ways of saying a name: one a line, or separated by commas."""
    parts = (" ".join(part.split()) for part in re.split(r"[\n,;]", text))
    return [part[:NAME_CHARS] for part in dict.fromkeys(parts) if part][:20]


def _cents(text: str) -> int | None:
    """12,90 or 1.234,50 or 12.90 as cents; None for anything else."""
    plain = text.strip().removeprefix("R$").strip()
    if re.fullmatch(r"\d{1,3}(\.\d{3})+(,\d{1,2})?|\d{1,7}(,\d{1,2})?", plain, re.ASCII):
        plain = plain.replace(".", "").replace(",", ".")
    elif not re.fullmatch(r"\d{1,7}\.\d{1,2}", plain, re.ASCII):
        return None
    whole, _, rest = plain.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0") or 0)


def _typed_moment(view: View, text: str) -> datetime | None:
    """A day and time as the shop's clock shows it."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=view.zone).astimezone(UTC)
    except ValueError:
        return None


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _whole(text: str) -> int:
    return min(int(text), 1_000_000) if text.isascii() and text.isdigit() else 0


def _money(view: View, cents: int) -> str:
    text = f"{cents / 100:,.2f}"
    return text.translate(str.maketrans(",.", ".,")) if view.language == "pt-BR" else text


def _local(view: View, moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(view.zone)


def _between(view: View, first: date, last: date) -> Any:
    """From the first day's beginning to the last one's end, in the site's time zone."""
    start = datetime(first.year, first.month, first.day, tzinfo=view.zone)
    after = last + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=view.zone)
    return where(at__gte=timestamp(start), at__lt=timestamp(end))


async def _every(
    view: View, collection: str, filters: Any, columns: tuple[Column, ...], most: int
) -> list[dict[str, Any]]:
    """All rows, in pages."""
    rows: list[dict[str, Any]] = []
    while len(rows) < most:
        found = await view.rows(
            collection, filters, order=(Order("id"),), limit=QUERY_ROWS, offset=len(rows),
            columns=(*columns, Column("id")) if columns else (),
        )  # fmt: skip
        rows += found.rows
        if len(found.rows) < QUERY_ROWS:
            break
    return rows


async def _row(view: View, collection: str, id: str) -> dict[str, Any]:
    found = await view.rows(collection, where(id=id), limit=1)
    if not found.rows:
        raise NotFound(f"There is no {id[:64]} in {collection}.")
    return found.rows[0]


def _record(kind: Any, row: Mapping[str, Any]) -> Any:
    known = {name: row[name] for name in kind.__struct_fields__ if name in row}
    return msgspec.convert(known, kind, strict=False)


_STAFF = frozenset(STAFF)
_ALL = frozenset((*STAFF, "guest"))
PAGES = Pages(
    name="voice",
    pages=(
        today, plots, interactions, interactions_list, punches, punches_list, person_hours,
        punches_csv, correct, save_correction, products, products_list, product_new, product_add,
        product, product_save, people, people_list, person_new, person_add, person, person_save,
        sales, sales_list,
    ),
    templates=Path(__file__).parent / "templates" / "portal",
    menu=(
        MenuItem("/interactions", "Conversas", "Conversations", "talk", _STAFF),
        MenuItem("/punches", "Pontos", "Punches", "clock", _STAFF),
        MenuItem("/sales", "Vendas", "Sales", "cart", _ALL),
        MenuItem("/products", "Produtos", "Products", "tag", _ALL),
        MenuItem("/people", "Pessoas", "People", "people", _STAFF),
        MenuItem("/balcao", "Balcão", "Counter", "mic", _ALL, "node"),
    ),
)  # fmt: skip

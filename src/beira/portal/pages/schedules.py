"""When sync gives way: windows of the week in which lanes wait or the link is shared, and how a week
looks with all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any

import msgspec

from beira.host.page import Reply
from beira.kernel import limits
from beira.kernel.access import TENANT_PARTITION, group_partition, node_partition, site_partition
from beira.kernel.errors import Conflict, NotFound
from beira.kernel.query import Order
from beira.kernel.system import SyncWindow
from beira.portal.pages.own import OWNER, own
from beira.portal.visit import Visit
from beira.portal.week import monday_of, week

SHARES = (100, 75, 50, 30, 20, 10, 5)
KINDS = ("business", "event", "maintenance")
HOLDS = ("none", "normal", "important")
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Form:
    """A window as it is typed: texts, but for the days. `id` is "" for a new one."""

    id: str
    title: str
    kind: str
    begins: str
    ends: str
    days: frozenset[int]
    first: str
    last: str
    hold: str
    share: str
    place: str


@own("/calendar", roles=OWNER, where="cloud")
async def calendar(visit: Visit) -> Reply:
    return await _page(visit)


@own("/calendar/list", roles=OWNER, where="cloud")
async def listed(visit: Visit) -> Reply:
    return await _page(visit, template="portal/calendar_list.html")


@own("/calendar/new", roles=OWNER, where="cloud")
async def new(visit: Visit) -> Reply:
    return await _form_page(visit, _preset(visit, visit.asked.get("preset", "")), {})


@own("/calendar/new", method="POST", roles=OWNER, where="cloud")
async def add(visit: Visit) -> Reply:
    return await _save(visit, "")


@own("/calendar/{window:str}", roles=OWNER, where="cloud")
async def one(visit: Visit) -> Reply:
    return await _form_page(visit, _form_of(await _window(visit)), {})


@own("/calendar/{window:str}", method="POST", roles=OWNER, where="cloud")
async def change(visit: Visit) -> Reply:
    return await _save(visit, (await _window(visit)).id)


@own("/calendar/{window:str}/delete", method="POST", roles=OWNER, where="cloud")
async def remove(visit: Visit) -> Reply:
    window = await _window(visit)
    async with visit.host.writing() as ctx:
        ctx.delete(SyncWindow, window.id)
    await _note(visit, window.title)
    return visit.redirect("/calendar", done="removed")


async def _save(visit: Visit, id: str) -> Reply:
    places = dict(await _places(visit))
    typed = _typed(visit.form, id)
    window, errors = _given(visit, typed, places)
    if window is None:
        return await _form_page(visit, typed, errors, status=400)
    if not id and len(await _windows(visit)) >= limits.WINDOWS_PER_SITE:
        raise Conflict("There are too many windows.", code="calendar.full")
    async with visit.host.writing() as ctx:
        ctx.put(window)
    await _note(visit, window.title)
    return visit.redirect("/calendar", done="saved" if id else "added")


async def _page(visit: Visit, *, template: str = "portal/calendar.html") -> Reply:
    windows = await _windows(visit)
    sites = (await visit.rows("sites", order=(Order("name"),), limit=500)).rows
    site = next((row for row in sites if row["id"] == visit.site), sites[0] if sites else None)
    places = {TENANT_PARTITION}
    if site is not None:
        places |= {site_partition(site["id"]), *(group_partition(g) for g in site["groups"])}
    return visit.render(
        template,
        windows=windows,
        week=week(windows, places, monday_of(visit.today)),
        shown=site["id"] if site else "",
        shown_name=site["name"] if site else "",
        place_names=dict(await _places(visit)),
    )


async def _form_page(
    visit: Visit, form: Form, errors: Mapping[str, str], *, status: int = 200
) -> Reply:
    return visit.render(
        "portal/calendar_one.html",
        status=status,
        form=form,
        errors=errors,
        places=await _places(visit),
        kinds=KINDS,
        holds=HOLDS,
        shares=SHARES,
    )


async def _windows(visit: Visit) -> list[SyncWindow]:
    order = (Order("begins"), Order("id"))
    rows = (await visit.rows("sync_windows", order=order, limit=limits.WINDOWS_PER_SITE)).rows
    return [_decoded(row) for row in rows]


async def _window(visit: Visit) -> SyncWindow:
    """The window of the address. Raises NotFound."""
    return _decoded(await visit.row("sync_windows", visit.path["window"]))


def _decoded(row: Mapping[str, Any]) -> SyncWindow:
    names = set(SyncWindow.__struct_fields__)
    known = {name: value for name, value in row.items() if name in names and value is not None}
    try:
        return msgspec.convert(known, SyncWindow, strict=False)
    except msgspec.ValidationError as error:
        raise NotFound(f"This window cannot be read: {error}.") from None


async def _places(visit: Visit) -> list[tuple[str, str]]:
    """Partitions a window may be for, with their names."""
    sites = (await visit.rows("sites", order=(Order("name"),), limit=500)).rows
    nodes = (await visit.rows("node_info", order=(Order("name"),), limit=1_000)).rows
    groups = sorted({str(group) for row in sites for group in row["groups"]})
    found = [("", visit.t("Toda a empresa", "The whole company"))]
    found += [(site_partition(row["id"]), row["name"]) for row in sites]
    found += [(group_partition(g), f"{visit.t('Grupo', 'Group')} {g}") for g in groups]
    return found + [
        (node_partition(row["id"]), f"{visit.t('Nó', 'Node')} {row['name']}") for row in nodes
    ]


def _preset(visit: Visit, name: str) -> Form:
    """What to begin with: hours in which a shop needs its link, an event, or a night's maintenance."""
    today = visit.today.isoformat()
    weekdays = frozenset(range(6))
    if name == "business":
        title = visit.t("Expediente", "Business hours")
        return Form("", title, name, "08:00", "20:00", weekdays, "", "", "none", "30", "")
    if name == "event":
        title = visit.t("Evento", "Event")
        return Form("", title, name, "18:00", "23:00", EVERY_DAY, today, today, "normal", "20", "")
    title = visit.t("Manutenção", "Maintenance")
    return Form("", title, "maintenance", "22:00", "06:00", EVERY_DAY, "", "", "normal", "100", "")


def _form_of(window: SyncWindow) -> Form:
    return Form(
        id=window.id,
        title=window.title,
        kind=window.kind,
        begins=window.begins,
        ends=window.ends,
        days=frozenset(window.days) or EVERY_DAY,
        first=window.first.isoformat() if window.first else "",
        last=window.last.isoformat() if window.last else "",
        hold=window.hold,
        share=str(round(window.share * 100)),
        place=window.place,
    )


def _typed(form: Mapping[str, str], id: str) -> Form:
    names = ("title", "kind", "begins", "ends", "first", "last", "hold", "share", "place")
    texts = {name: form.get(name, "").strip() for name in names}
    days = frozenset(day for day in range(7) if form.get(f"day.{day}") == "yes")
    return Form(id=id, days=days, **texts)


def _given(
    visit: Visit, form: Form, places: Mapping[str, str]
) -> tuple[SyncWindow | None, dict[str, str]]:
    """The window that was typed, or what is wrong with it, by field."""
    errors = _wrong(visit, form, places)
    hours = {name: _hour(getattr(form, name)) for name in ("begins", "ends")}
    for name, hour in hours.items():
        if not hour:
            errors[name] = visit.t("Uma hora, como 22:00.", "A time, like 22:00.")
    try:
        first, last = _date(form.first), _date(form.last)
    except ValueError:
        return None, errors | {"last": visit.t("Não é um dia.", "That is no day.")}
    if first and last and last < first:
        errors["last"] = visit.t("Vem antes do primeiro dia.", "It is before the first day.")
    if errors:
        return None, errors
    fields: dict[str, object] = {
        "id": form.id,
        "title": form.title,
        "kind": form.kind,
        "first": first,
        "last": last,
        "days": [] if form.days == EVERY_DAY else sorted(form.days),
        "hold": form.hold,
        "share": int(form.share) / 100,
        "place": form.place,
    }
    return msgspec.convert({**fields, **hours}, SyncWindow), {}


def _wrong(visit: Visit, form: Form, places: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a form, but for its hours and dates."""
    errors: dict[str, str] = {}
    choose = visit.t("Escolha um da lista.", "Choose one of the list.")
    if not 0 < len(form.title) <= limits.WINDOW_TITLE_CHARS:
        errors["title"] = visit.t("De 1 a 48 letras.", "1 to 48 characters.")
    for name, allowed in (("kind", KINDS), ("hold", HOLDS), ("place", tuple(places))):
        if getattr(form, name) not in allowed:
            errors[name] = choose
    if not form.share.isdecimal() or not 5 <= int(form.share[:4]) <= 100:
        errors["share"] = choose
    if not form.days:
        errors["days"] = visit.t("Marque pelo menos um dia.", "Mark a day at least.")
    return errors


def _date(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _hour(text: str) -> str:
    """HH:MM, or "" for what is no time of day."""
    try:
        return f"{time.fromisoformat(text):%H:%M}" if ":" in text else ""
    except ValueError:
        return ""


async def _note(visit: Visit, about: str) -> None:
    await visit.desk.people.tenants.note(visit.principal, "calendar_changed", about)


PAGES = (calendar, listed, new, add, one, change, remove)

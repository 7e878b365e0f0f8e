"""Hours in the portal: who was in and out, by day and by month, and an owner's corrections."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from beira.apps.voice.portal_reading import OWNER, QUERY_ROWS, ROWS_MOST, STAFF
from beira.apps.voice.records import Punch, PunchCorrection
from beira.apps.voice.rules import SHIFT_LONGEST, Worked, effective, spent
from beira.sdk import (
    Every,
    Invalid,
    Reply,
    View,
    between_days,
    csv_reply,
    date_of,
    every_row,
    one_row,
    page,
    record_of,
    timestamp,
    typed_moment,
    where,
)

DAYS_OF_CSV = 62


@dataclass
class PersonDay:
    """One person's punches of one day, as they hold. `since`: a shift that runs still; `seconds` counts
    it until now. `odd`: another shift lacks its other end."""

    person: str
    name: str
    day: date
    held: list[Worked] = field(default_factory=list)
    seconds: float = 0.0
    odd: bool = False
    since: datetime | None = None


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
        last=last,
        before=(first - timedelta(days=1)).strftime("%Y-%m"),
        after=(last + timedelta(days=1)).strftime("%Y-%m"),
        ahead=last >= view.today,
        total=sum(day.seconds for day in days),
        odd=sum(day.odd for day in days),
        drawn=_drawn(view, days, first, min(last, view.today)),
    )


def _drawn(view: View, days: list[PersonDay], first: date, last: date) -> dict[str, Any]:
    """Hours worked by day of the month, as the page draws them."""
    worked_s = {day.day: day.seconds for day in days}
    every = [first + timedelta(days=at) for at in range(max(0, (last - first).days) + 1)]
    values = [round(worked_s.get(day, 0.0) / 3600, 2) for day in every]
    series = [{"label": view.t("horas", "hours"), "values": values}]
    numbers = [day.day for day in every]
    plot = {
        "x": numbers, "labels": {n: str(n) for n in numbers}, "bars": True, "unit": " h",
        "axis": view.t("dia", "day"), "series": series, "height": 150,
    }  # fmt: skip
    return {"title": view.t("Horas por dia", "Hours by day"), "plot": plot}


@page("/punches.csv", roles=STAFF)
async def punches_csv(view: View) -> Reply:
    """One line a punch, with semicolons and a comma in decimals, as Brazilian spreadsheets read it."""
    first, last = _asked_days(view)
    days = await _person_days(view, first, last, view.asked.get("person", ""))
    lines = [["data", "pessoa", "hora", "tipo", "corrigido", "horas do dia"]]
    for found in days:
        for at, w in enumerate(found.held):
            hours = f"{found.seconds / 3600:.2f}".replace(".", ",") if at == 0 else ""
            local = w.at.astimezone(view.zone)
            kind = "entrada" if w.kind == "in" else "saída"
            fixed = "sim" if w.corrected else ""
            row = [f"{found.day:%d/%m/%Y}", found.name, f"{local:%H:%M}", kind, fixed, hours]
            lines.append(row)
    return csv_reply(f"pontos-{first:%Y-%m-%d}-{last:%Y-%m-%d}.csv", _at_once(lines))


@page("/punches/{punch:str}/correct", roles=OWNER, where="cloud")
async def correct(view: View) -> Reply:
    return await _correction_page(view, {}, None)


@page("/punches/{punch:str}/correct", method="POST", roles=OWNER, where="cloud")
async def save_correction(view: View) -> Reply:
    """Through the voice's own command: a further fact, the punch itself stays."""
    form = view.form
    errors: dict[str, str] = {}
    at = typed_moment(view, form.get("at", ""))
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


async def _punches_page(view: View, template: str) -> Reply:
    day = date_of(view.asked.get("day", "")) or view.today
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
    when = between_days(view, first - one, last + one)
    whose = Every((when, where(person=person))) if person else when
    rows = await every_row(view, "punches", whose, (), ROWS_MOST)
    told = [record_of(Punch, row) for row in rows]
    fixes = [record_of(PunchCorrection, row) for row in await _corrections(view, told)]
    days: dict[tuple[date, str], PersonDay] = {}
    for day, w in by_day(effective(told, fixes), view.zone):
        if first <= day <= last:
            found = days.setdefault((day, w.person), PersonDay(w.person, w.employee, day))
            found.held.append(w)
    now = view.host.now()
    for found in days.values():
        time, found.since, found.odd = spent(found.held, now)
        found.seconds = time.total_seconds()
    return [days[key] for key in sorted(days, key=lambda k: (k[0], days[k].name.casefold(), k[1]))]


def by_day(held: Iterable[Worked], zone: tzinfo) -> Iterator[tuple[date, Worked]]:
    """Each punch with the day it counts for: a shift past midnight belongs to the day it began."""
    begun: dict[str, Worked] = {}
    for w in held:
        entry = begun.pop(w.person, None)
        starts = w
        if w.kind == "in":
            begun[w.person] = w
        elif entry is not None and w.at - entry.at <= SHIFT_LONGEST:
            starts = entry
        yield starts.at.astimezone(zone).date(), w


async def _corrections(view: View, punches: list[Punch]) -> list[dict[str, Any]]:
    ids = [p.id for p in punches]
    found: list[dict[str, Any]] = []
    for at in range(0, len(ids), 200):
        chosen = where(punch__in=tuple(ids[at : at + 200]))
        found += await every_row(view, "punch_corrections", chosen, (), ROWS_MOST)
    return found


async def _correction_page(view: View, errors: dict[str, str], receipt: Any) -> Reply:
    row = await one_row(view, "punches", view.path["punch"])
    fixes = await every_row(view, "punch_corrections", where(punch=row["id"]), (), QUERY_ROWS)
    told, made = record_of(Punch, row), [record_of(PunchCorrection, fix) for fix in fixes]
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
    return str((await one_row(view, "people", person))["name"])


def _asked_days(view: View) -> tuple[date, date]:
    """A day, or a month; a few months at most."""
    if view.asked.get("month"):
        return _month(view)
    first = date_of(view.asked.get("day", "")) or view.today
    last = date_of(view.asked.get("until", "")) or first
    return first, max(first, min(last, first + timedelta(days=DAYS_OF_CSV)))


def _month(view: View) -> tuple[date, date]:
    found = re.fullmatch(r"(\d{4})-(\d{2})", view.asked.get("month", ""), re.ASCII)
    year, month = (int(found[1]), int(found[2])) if found else (view.today.year, view.today.month)
    if not (1 <= month <= 12 and 2000 <= year <= 2100):
        raise Invalid("There is no such month.", hint="Write it like 2026-11.")
    first = date(year, month, 1)
    after = date(year + month // 12, month % 12 + 1, 1)
    return first, after - timedelta(days=1)


async def _at_once(lines: list[list[str]]) -> AsyncIterator[list[list[str]]]:
    yield lines

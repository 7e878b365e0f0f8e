"""The grid in the portal: which playlist plays when, at a place, and which of several wins there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from beira.apps.player.local_time import moment_of
from beira.apps.player.manifest import PlaylistEntry, SlotEntry
from beira.apps.player.portal_reading import (
    DAYS,
    STAFF,
    TENANT,
    Shop,
    check_place,
    days_text,
    places_of,
    playlists_of,
    shops_of,
)
from beira.apps.player.portal_times import EVERY_DAY, given_times, row_times, typed_times
from beira.apps.player.program import Program
from beira.apps.player.records import Slot
from beira.sdk import Reply, View, date_of, every_row, one_row, page, record_of

STEP_MIN = 30
STEPS = 24 * 60 // STEP_MIN
SLOTS_MOST = 5_000
TONES = 7
USES = ("music", "emergency")


@dataclass(frozen=True)
class Run:
    """A part of a day (0 is Monday), in steps of half an hour, in which one slot wins throughout, and
    the same others (`under`) lose to it. Without a slot nothing is on the grid."""

    day: int
    begins: int
    ends: int
    slot: str
    under: tuple[str, ...] = ()

    @property
    def from_text(self) -> str:
        return _clock(self.begins)

    @property
    def until_text(self) -> str:
        return _clock(self.ends)


@page("/music/grid", roles=STAFF, where="cloud")
async def grid(view: View) -> Reply:
    return await _page(view, "player/grid.html")


@page("/music/grid/week", roles=STAFF, where="cloud")
async def grid_week(view: View) -> Reply:
    return await _page(view, "player/week.html")


@page("/music/grid/new", roles=STAFF, where="cloud")
async def slot_new(view: View) -> Reply:
    asked = view.asked
    day = asked.get("day", "")
    typed = {
        "playlist": asked.get("playlist", ""),
        "place": asked.get("place", "") or (await places_of(view))[0][0],
        "use": "emergency" if asked.get("use") == "emergency" else "music",
        "begins": asked.get("begins", "08:00"), "ends": asked.get("ends", "20:00"),
        "first": "", "last": "", "days": frozenset({int(day)}) if day in set("0123456") else EVERY_DAY,
    }  # fmt: skip
    if typed["use"] == "emergency":
        typed |= {"begins": "00:00", "ends": "00:00"}
    return await _form(view, "", typed, {})


@page("/music/grid/new", method="POST", roles=STAFF, where="cloud")
async def slot_add(view: View) -> Reply:
    return await _save(view, "")


@page("/music/grid/{slot:str}", roles=STAFF, where="cloud")
async def slot(view: View) -> Reply:
    row = await one_row(view, "player_slots", view.path["slot"])
    typed = {
        "playlist": row["playlist"],
        "place": row["place"],
        "use": row["use"],
        **row_times(row),
    }
    return await _form(view, str(row["id"]), typed, {})


@page("/music/grid/{slot:str}", method="POST", roles=STAFF, where="cloud")
async def slot_save(view: View) -> Reply:
    return await _save(view, view.path["slot"])


@page("/music/grid/{slot:str}/delete", method="POST", roles=STAFF, where="cloud")
async def slot_delete(view: View) -> Reply:
    row = await one_row(view, "player_slots", view.path["slot"])
    await check_place(view, str(row["place"]))
    async with view.host.writing() as ctx:
        ctx.delete(Slot, row["id"])
    return view.redirect(f"/music/grid?place={row['place']}", done="removed")


async def _save(view: View, id: str) -> Reply:
    if id:
        old = await one_row(view, "player_slots", id)
        await check_place(view, str(old["place"]))
    typed = {name: view.form.get(name, "") for name in ("playlist", "place", "use")}
    typed |= typed_times(view.form)
    values, errors = given_times(view, typed)
    choose = view.t("Escolha um da lista.", "Choose one of the list.")
    if typed["playlist"] not in {row["id"] for row in await playlists_of(view)}:
        errors["playlist"] = choose
    if typed["place"] not in dict(await places_of(view, typed["place"])):
        errors["place"] = choose
    if typed["use"] not in USES:
        errors["use"] = choose
    if errors:
        return await _form(view, id, typed, errors)
    values |= {name: typed[name] for name in ("playlist", "place", "use")}
    async with view.host.writing() as ctx:
        ctx.put(record_of(Slot, {"id": id, **values}))
    return view.redirect(f"/music/grid?place={values['place']}", done="saved" if id else "added")


async def _form(view: View, id: str, typed: Mapping[str, Any], errors: Mapping[str, str]) -> Reply:
    return view.render(
        "player/slot.html",
        status=400 if errors else 200,
        slot=id, typed=typed, errors=errors,
        playlists=[(row["id"], row["name"]) for row in await playlists_of(view)],
        places=await places_of(view, str(typed["place"])),
    )  # fmt: skip


async def _page(view: View, template: str) -> Reply:
    place = view.asked.get("place", "")
    places = await places_of(view, place)
    names = dict(places)
    place = place if place in names else places[0][0] if places else TENANT
    shops = await shops_of(view)
    chain, zone = _seen_from(place, shops, view.zone)
    asked = date_of(view.asked.get("week", "")) or view.today
    monday = asked - timedelta(days=asked.weekday())
    rows = await every_row(view, "player_slots", None, (), SLOTS_MOST)
    known = {str(row["id"]): row for row in await playlists_of(view)}
    tones = {id: number % TONES for number, id in enumerate(known)}
    here = [_shown(view, row, known, tones, names) for row in rows if row["place"] in chain]
    week = _week(here, chain, zone, monday)
    return view.render(
        template,
        places=places, place=place, place_name=names.get(place, place), monday=monday,
        before=monday - timedelta(days=7), after=monday + timedelta(days=7),
        dates=[monday + timedelta(days=day) for day in range(7)], names=DAYS[view.language],
        week=week, slots={row["id"]: row for row in here},
        music=_ranked(here, chain, "music"), emergency=_ranked(here, chain, "emergency"),
        has_playlists=bool(known), free=all(not run.slot for day in week for run in day),
        today=view.today,
    )  # fmt: skip


def _seen_from(place: str, shops: Iterable[Shop], zone: tzinfo) -> tuple[tuple[str, ...], tzinfo]:
    """The partitions whose slots hold at a place, the widest first, and by which clock."""
    for shop in shops:
        if place in shop.places:
            upto = shop.places.index(place) + 1
            wide = place == TENANT or place.startswith("group:")
            return ((TENANT, place) if wide and place != TENANT else shop.places[:upto]), shop.zone
    return ((TENANT,) if place == TENANT else (TENANT, place)), zone


def _week(
    slots: list[dict[str, Any]], chain: tuple[str, ...], zone: tzinfo, monday: date
) -> list[list[Run]]:
    """For each day from `monday` on its runs, which cover it without gaps. What changes within half an
    hour is drawn from the next one on."""
    program = Program.of([*_playlists(slots), *_entries(slots, chain)], zone=zone)
    return [_day(program, monday + timedelta(days=number), number) for number in range(7)]


def _day(program: Program, day: date, number: int) -> list[Run]:
    runs: list[Run] = []
    midnight = datetime(day.year, day.month, day.day)
    for step in range(STEPS):
        moment = moment_of(midnight + timedelta(minutes=step * STEP_MIN), program.zone)
        held = tuple(slot.id for slot in program.in_force(moment).music)
        slot, under = (held[0], held[1:]) if held else ("", ())
        if runs and (runs[-1].slot, runs[-1].under) == (slot, under):
            runs[-1] = Run(number, runs[-1].begins, step + 1, slot, under)
        else:
            runs.append(Run(number, step, step + 1, slot, under))
    return runs


def _entries(slots: Iterable[Mapping[str, Any]], chain: tuple[str, ...]) -> list[SlotEntry]:
    return [
        SlotEntry(
            id=row["id"], playlist=row["playlist"], nearness=_nearness(row["place"]), use=row["use"],
            days=tuple(row["days"] or ()), begins=row["begins"], ends=row["ends"],
            first=row["first_day"], last=row["last_day"],
        )
        for row in slots if row["place"] in chain
    ]  # fmt: skip


def _playlists(slots: Iterable[Mapping[str, Any]]) -> list[PlaylistEntry]:
    return [PlaylistEntry(id=id, name="", assets=()) for id in {row["playlist"] for row in slots}]


def _nearness(place: str) -> int:
    """As `SlotEntry` ranks places."""
    return {"tenant": 0, "group": 1, "site": 2, "node": 3}[place.partition(":")[0]]


def _shown(
    view: View, row: Mapping[str, Any], playlists: Mapping[str, Any], tones: Mapping[str, int],
    places: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    playlist = playlists.get(str(row["playlist"]))
    gone = view.t("playlist apagada", "deleted playlist")
    return {
        **row,
        "name": playlist["name"] if playlist else gone,
        "tone": tones.get(str(row["playlist"]), TONES - 1),
        "days_text": days_text(view, row["days"]),
        "first_day": date_of(str(row["first"])) if row["first"] else None,
        "last_day": date_of(str(row["last"])) if row["last"] else None,
        "place_name": places.get(str(row["place"]), str(row["place"])),
    }


def _ranked(
    slots: Iterable[dict[str, Any]], chain: tuple[str, ...], use: str
) -> list[dict[str, Any]]:
    """The slots of one use, the nearest place first."""
    some = [row for row in slots if row["use"] == use]
    return sorted(some, key=lambda row: (-_nearness(row["place"]), row["begins"], row["name"]))


def _clock(step: int) -> str:
    return f"{step * STEP_MIN // 60 % 24:02d}:{step * STEP_MIN % 60:02d}"


PAGES = (grid, grid_week, slot_new, slot_add, slot, slot_save, slot_delete)

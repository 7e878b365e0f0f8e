"""Urgent announcements in the portal: what cuts in now, where, and who has played it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from beira.apps.player.portal_library import shown_asset
from beira.apps.player.portal_reading import (
    STAFF,
    TENANT,
    TITLE_CHARS,
    Shop,
    local_now,
    places_of,
    shops_of,
    within,
)
from beira.apps.player.records import UrgentAnnouncement
from beira.sdk import Order, Reply, View, node_partition, one_row, page, timestamp, where

SHOWN = 20
HOLDS_MIN = (5, 15, 30, 60, 120)
HOLDS = 15
ASSETS_SHOWN = 200
PLAYS_LOOKED = 1_000
CALLS_LOOKED = 500
CALL_HOLDS = timedelta(minutes=5)
TEXT_CHARS = 500
SAID_AT_ONCE = 50


@page("/music/urgent", roles=STAFF, where="cloud")
async def urgent(view: View) -> Reply:
    return await _page(view, {}, {})


@page("/music/urgent/list", roles=STAFF, where="cloud")
async def urgent_list(view: View) -> Reply:
    return view.render("player/urgent_list.html", sent=await _sent(view))


@page("/music/urgent", method="POST", roles=STAFF, where="cloud")
async def announce(view: View) -> Reply:
    """Write it down for each place chosen: it goes there before all else."""
    form = dict(view.form)
    places = [place for place, _ in await places_of(view) if form.get(f"place.{place}") == "yes"]
    errors = {}
    if not places:
        errors["places"] = view.t("Marque pelo menos um lugar.", "Mark a place at least.")
    file, duration_ms, title = await _file_of(view, form.get("asset", ""))
    if not file:
        errors["asset"] = view.t(
            "Escolha um áudio que esteja pronto.", "Choose a sound that is ready."
        )
    holds = form.get("holds", "")
    if holds not in map(str, HOLDS_MIN):
        errors["holds"] = view.t("Escolha um da lista.", "Choose one of the list.")
    if errors:
        return await _page(view, form, errors)
    now = view.host.now()
    said = " ".join(form.get("title", "").split())[:TITLE_CHARS] or title
    async with view.host.writing() as ctx:
        for place in _apart(places, await shops_of(view)):
            announcement = UrgentAnnouncement(
                title=said, file=file, duration_ms=duration_ms, at=now,
                by=view.principal.name or view.principal.id,
                expires_at=now + timedelta(minutes=int(holds)),
            )  # fmt: skip
            ctx.put(announcement, partition=place)
    return view.redirect("/music/urgent", done="player.announced")


@page("/music/urgent/say", method="POST", roles=STAFF, where="cloud")
async def say(view: View) -> Reply:
    """Have each shop's own voice speak a text; who did is seen by the receipts."""
    form = dict(view.form)
    text = " ".join(form.get("text", "").split())
    chosen = [place for place, _ in await places_of(view) if form.get(f"place.{place}") == "yes"]
    shops = await shops_of(view)
    reached = {s.id: s for place in chosen for s in within(place, shops)}
    errors = {}
    if not 0 < len(text) <= TEXT_CHARS:
        errors["text"] = view.t(f"De 1 a {TEXT_CHARS} letras.", f"1 to {TEXT_CHARS} characters.")
    if not reached:
        errors["said_places"] = view.t(
            "Marque um lugar que tenha loja.", "Mark a place with a shop."
        )
    elif len(reached) > SAID_AT_ONCE:
        errors["said_places"] = view.t(
            f"Um texto vai a {SAID_AT_ONCE} lojas por vez; para mais, envie um áudio.",
            f"A text goes to {SAID_AT_ONCE} shops at a time; for more, send a sound.",
        )
    if errors:
        return await _page(view, form, errors)
    for shop in reached:
        await view.call(shop, "player_announce", {"text": text, "language": view.language})
    return view.redirect("/music/urgent", done="player.announced")


def _apart(places: list[str], shops: Iterable[Shop]) -> list[str]:
    """The places without those that lie in others of them: no shop is to hear it twice."""
    if TENANT in places:
        return [TENANT]
    shops = list(shops)
    kept: list[str] = []
    covered: set[str] = set()
    for place in sorted(places, key=lambda p: -len(within(p, shops))):
        reached = {shop.id for shop in within(place, shops)}
        if not reached or not reached <= covered:
            kept.append(place)
            covered |= reached
    return kept


async def _file_of(view: View, asset: str) -> tuple[str, int, str]:
    """The file that shops have of an asset, its length and title; empty if there is none yet."""
    if not asset:
        return "", 0, ""
    row = await one_row(view, "player_assets", asset)
    order = (Order("made_at", descending=True),)
    found = (await view.rows("player_renditions", where(asset=asset), order=order, limit=1)).rows
    if not found or row["recalled"]:
        return "", 0, ""
    return str(found[0]["file"]), int(found[0]["duration_ms"]), str(row["title"])


async def _page(view: View, form: Mapping[str, str], errors: Mapping[str, str]) -> Reply:
    kinds = where(kind="announcement", state="ready", recalled=False)
    order = (Order("uploaded_at", descending=True, nulls_first=False), Order("id"))
    rows = (await view.rows("player_assets", kinds, order=order, limit=ASSETS_SHOWN)).rows
    now = local_now(view)
    return view.render(
        "player/urgent.html",
        status=400 if errors else 200,
        assets=[shown_asset(view, row, now) for row in rows], places=await places_of(view),
        typed=form, errors=errors, holds=HOLDS_MIN, default=str(HOLDS), sent=await _sent(view),
    )  # fmt: skip


async def _sent(view: View) -> list[dict[str, Any]]:
    """The last announcements, newest first."""
    both = [*await _files_sent(view), *await _texts_sent(view)]
    return sorted(both, key=lambda one: str(one["at"]), reverse=True)[:SHOWN]


async def _texts_sent(view: View) -> list[dict[str, Any]]:
    """What was to be spoken, each text with the shops it was for and what became of it there."""
    order = (Order("_hlc", descending=True),)
    calls = await view.rows(
        "calls", where(command="player_announce"), order=order, limit=CALLS_LOOKED
    )
    ids = tuple(str(row["id"]) for row in calls.rows)
    receipts = await view.rows("receipts", where(id__in=ids), limit=len(ids)) if ids else None
    by_id = {row["id"]: row for row in receipts.rows} if receipts else {}
    shops = {node_partition(shop.id): shop for shop in await shops_of(view)}
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in calls.rows:
        shop, text = shops.get(str(row["_partition"])), str((row["params"] or {}).get("text", ""))
        if shop is None or not text:
            continue
        ends = datetime.fromisoformat(str(row["expires_at"]))
        key = (text, str(row["by"]), f"{ends:%Y-%m-%dT%H:%M}")
        over = ends <= view.host.now()
        one = found.setdefault(key, {
            "title": text, "by": row["by"], "at": timestamp(ends - CALL_HOLDS), "over": over,
            "place_name": view.t("falado", "spoken"), "shops": [],
        })  # fmt: skip
        one["shops"].append(_spoken(shop, by_id.get(row["id"])))
    return list(found.values())


def _spoken(shop: Shop, receipt: Mapping[str, Any] | None) -> dict[str, Any]:
    at = datetime.fromisoformat(str(receipt["at"])).astimezone(shop.zone) if receipt else None
    good = bool(receipt and receipt["ok"])
    return {
        "name": shop.name, "at": f"{at:%H:%M:%S}" if at and good else "", "online": True,
        "problem": "" if good or not receipt else f"{receipt['message']} {receipt['hint']}".strip(),
    }  # fmt: skip


async def _files_sent(view: View) -> list[dict[str, Any]]:
    """Of sounds, each with the shops it was for and when each played it."""
    order = (Order("at", descending=True), Order("id"))
    rows = (await view.rows("player_urgent", order=order, limit=SHOWN)).rows
    if not rows:
        return []
    shops, names = await shops_of(view), dict(await places_of(view))
    since = min(datetime.fromisoformat(str(row["at"])) for row in rows)
    asked = where(reason="announcement", at__gte=timestamp(since))
    plays = (await view.rows("player_plays", asked, order=order, limit=PLAYS_LOOKED)).rows
    tells = {row["id"]: row for row in (await view.rows("node_status", limit=1_000)).rows}
    return [
        {
            **row,
            "place_name": names.get(str(row["_partition"]), str(row["_partition"])),
            "over": datetime.fromisoformat(str(row["expires_at"])) <= view.host.now(),
            "shops": [
                _heard(shop, row, plays, tells.get(shop.id))
                for shop in within(str(row["_partition"]), shops)
            ],
        }
        for row in rows
    ]


def _heard(
    shop: Shop,
    row: Mapping[str, Any],
    plays: Iterable[Mapping[str, Any]],
    told: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """When a shop played an announcement, if it did."""
    here, since = node_partition(shop.id), datetime.fromisoformat(str(row["at"]))
    heard = (
        datetime.fromisoformat(str(play["at"]))
        for play in plays
        if (play["_partition"], play["file"]) == (here, row["file"]) and play["outcome"] != "failed"
    )
    first = min((at for at in heard if at >= since), default=None)
    moment = first.astimezone(shop.zone) if first else None
    return {
        "name": shop.name, "at": f"{moment:%H:%M:%S}" if moment else "",
        "online": bool(told and told["online"]), "problem": "",
    }  # fmt: skip


PAGES = (urgent, urgent_list, announce, say)

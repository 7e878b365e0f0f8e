"""Campaigns in the portal: spots that come in between, by tracks or by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from beira.apps.player.portal_library import shown_asset
from beira.apps.player.portal_lists import change_list, taken
from beira.apps.player.portal_reading import (
    STAFF,
    TITLE_CHARS,
    check_place,
    days_text,
    local_now,
    places_of,
    titles_of,
)
from beira.apps.player.portal_times import EVERY_DAY, given_times, hours_of, row_times, typed_times
from beira.apps.player.records import Campaign
from beira.sdk import Reply, View, date_of, every_row, one_row, page, record_of

CAMPAIGNS_MOST = 2_000
SPOTS_MOST = 500
EVERY_MOST = 1_000


@page("/music/campaigns", roles=STAFF, where="cloud")
async def campaigns(view: View) -> Reply:
    return view.render("player/campaigns.html", campaigns=await _campaigns(view))


@page("/music/campaigns/list", roles=STAFF, where="cloud")
async def campaigns_list(view: View) -> Reply:
    return view.render("player/campaigns_list.html", campaigns=await _campaigns(view))


@page("/music/campaigns/new", roles=STAFF, where="cloud")
async def campaign_new(view: View) -> Reply:
    typed = {
        "name": "", "place": (await places_of(view))[0][0], "every_tracks": "4", "at": "",
        "begins": "00:00", "ends": "00:00", "first": "", "last": "", "days": EVERY_DAY, "active": True,
    }  # fmt: skip
    return await _page(view, None, typed, {})


@page("/music/campaigns/new", method="POST", roles=STAFF, where="cloud")
async def campaign_add(view: View) -> Reply:
    return await _save(view, None)


@page("/music/campaigns/{campaign:str}", roles=STAFF, where="cloud")
async def campaign(view: View) -> Reply:
    row = await one_row(view, "player_campaigns", view.path["campaign"])
    return await _page(view, row, _row_typed(row), {})


@page("/music/campaigns/{campaign:str}/tracks", roles=STAFF, where="cloud")
async def campaign_tracks(view: View) -> Reply:
    return await _spots(view, await one_row(view, "player_campaigns", view.path["campaign"]))


@page("/music/campaigns/{campaign:str}", method="POST", roles=STAFF, where="cloud")
async def campaign_save(view: View) -> Reply:
    return await _save(view, await _mine(view))


@page("/music/campaigns/{campaign:str}/add", method="POST", roles=STAFF, where="cloud")
async def add(view: View) -> Reply:
    found = await one_row(view, "player_assets", view.form.get("asset", ""))
    return await _changed(view, lambda assets: [*assets, str(found["id"])])


@page("/music/campaigns/{campaign:str}/remove", method="POST", roles=STAFF, where="cloud")
async def remove(view: View) -> Reply:
    return await _changed(view, lambda assets: taken(view, assets)[1])


@page("/music/campaigns/{campaign:str}/active", method="POST", roles=STAFF, where="cloud")
async def switch(view: View) -> Reply:
    row = await _mine(view)
    async with view.host.writing() as ctx:
        ctx.patch(Campaign, row["id"], active=not row["active"])
    return view.redirect("/music/campaigns", done="saved")


@page("/music/campaigns/{campaign:str}/delete", method="POST", roles=STAFF, where="cloud")
async def delete(view: View) -> Reply:
    row = await _mine(view)
    async with view.host.writing() as ctx:
        ctx.delete(Campaign, row["id"])
    return view.redirect("/music/campaigns", done="removed")


async def _mine(view: View) -> dict[str, Any]:
    """The campaign of the address, if this person may decide for its place."""
    row = await one_row(view, "player_campaigns", view.path["campaign"])
    await check_place(view, str(row["place"]))
    return row


async def _campaigns(view: View) -> list[dict[str, Any]]:
    rows = await every_row(view, "player_campaigns", None, (), CAMPAIGNS_MOST)
    names, today = dict(await places_of(view)), view.today
    shown = []
    for row in rows:
        first, last = (date_of(str(row[name])) if row[name] else None for name in ("first", "last"))
        over, later = bool(last and last < today), bool(first and first > today)
        shown.append({
            **row, "first_day": first, "last_day": last, "days_text": days_text(view, row["days"]),
            "place_name": names.get(str(row["place"]), str(row["place"])),
            "state": "off" if not row["active"] else "over" if over else "later" if later else "on",
            "count": len(row["assets"] or ()), "may": row["place"] in names,
        })  # fmt: skip
    return sorted(shown, key=lambda row: (row["state"] != "on", str(row["name"]).casefold()))


async def _save(view: View, row: Mapping[str, Any] | None) -> Reply:
    form = view.form
    names = ("name", "place", "every_tracks", "at")
    typed: dict[str, Any] = {name: form.get(name, "").strip() for name in names}
    typed |= {**typed_times(form), "active": form.get("active") == "yes"}
    values, errors = given_times(view, typed)
    name, at = " ".join(typed["name"].split())[:TITLE_CHARS], hours_of(typed["at"])
    every = typed["every_tracks"] or "0"
    if not name:
        errors["name"] = view.t("Dê um nome.", "Give it a name.")
    if at is None:
        errors["at"] = view.t("Horas como 10:00, 15:30.", "Times like 10:00, 15:30.")
    if not (every.isascii() and every.isdigit() and len(every) < 6 and int(every) <= EVERY_MOST):
        errors["every_tracks"] = view.t(f"De 0 a {EVERY_MOST}.", f"0 to {EVERY_MOST}.")
    elif int(every) == 0 and not at and "at" not in errors:
        errors["every_tracks"] = view.t(
            "Diga de quantas em quantas, ou as horas.", "Say how often, or when."
        )
    if typed["place"] not in dict(await places_of(view, typed["place"])):
        errors["place"] = view.t("Escolha um da lista.", "Choose one of the list.")
    if errors:
        return await _page(view, row, typed, errors)
    values |= {
        "name": name, "place": typed["place"], "every_tracks": int(every), "at": at,
        "active": typed["active"],
    }  # fmt: skip
    made = record_of(Campaign, values)
    async with view.host.writing() as ctx:
        if row is None:
            id = ctx.put(made).id
        else:  # its spots are not the form's: somebody may be adding to them
            id = str(row["id"])
            ctx.patch(Campaign, id, **{field: getattr(made, field) for field in values})
    return view.redirect(f"/music/campaigns/{id}", done="saved" if row else "added")


def _row_typed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"], "place": row["place"], "every_tracks": str(row["every_tracks"]),
        "at": ", ".join(row["at"] or ()), "active": bool(row["active"]), **row_times(row),
    }  # fmt: skip


async def _page(
    view: View, row: Mapping[str, Any] | None, typed: Mapping[str, Any], errors: Mapping[str, str]
) -> Reply:
    return view.render(
        "player/campaign.html",
        status=400 if errors else 200,
        campaign=row, typed=typed, errors=errors,
        places=await places_of(view, str(typed["place"])),
        spots=await _shown_spots(view, row) if row else [],
    )  # fmt: skip


async def _shown_spots(view: View, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    known, now = await titles_of(view, row["assets"] or ()), local_now(view)
    return [
        {**shown_asset(view, known[id], now), "at": at}
        if id in known
        else {"id": id, "at": at, "standing": "gone"}
        for at, id in enumerate(str(one) for one in row["assets"] or ())
    ]


async def _spots(view: View, row: Mapping[str, Any]) -> Reply:
    return view.render("player/spots.html", campaign=row, spots=await _shown_spots(view, row))


async def _changed(view: View, change: Callable[[list[str]], list[str]]) -> Reply:
    row = await _mine(view)
    await change_list(view, Campaign, str(row["id"]), change, SPOTS_MOST)
    if view.form.get("part") == "yes":
        return await _spots(view, await _mine(view))
    return view.redirect(f"/music/campaigns/{row['id']}")


PAGES = (
    campaigns, campaigns_list, campaign_new, campaign_add, campaign, campaign_tracks, campaign_save,
    add, remove, switch, delete,
)  # fmt: skip

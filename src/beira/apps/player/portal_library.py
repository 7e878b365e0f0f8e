"""The library in the portal: what there is to play, sent in, named, bounded in time, recalled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from beira.apps.player.library.problems import told
from beira.apps.player.portal_reading import (
    LIST_ROWS,
    SOON,
    STAFF,
    TITLE_CHARS,
    length,
    local_now,
    local_text,
    standing,
    wave,
)
from beira.apps.player.records import Asset, AssetKind
from beira.sdk import (
    Column,
    Compare,
    Conflict,
    Every,
    Measure,
    Op,
    Order,
    Reply,
    Some,
    View,
    both,
    one_row,
    page,
    where,
    whole_of,
    words_filter,
)

KINDS: tuple[AssetKind, ...] = ("music", "spot", "announcement")
WHICH = ("all", "ready", "busy", "failed", "ending", "recalled")
NEWEST = (Order("uploaded_at", descending=True, nulls_first=False), Order("id"))
ROW_BARS = 48
PAGE_BARS = 200


@page("/music/library", roles=STAFF, where="cloud")
async def library(view: View) -> Reply:
    return view.render("player/library.html", **await _library(view))


@page("/music/library/list", roles=STAFF, where="cloud")
async def library_list(view: View) -> Reply:
    return view.render("player/library_list.html", **await _library(view))


@page("/music/library/{asset:str}", roles=STAFF, where="cloud")
async def asset(view: View) -> Reply:
    return await _asset_page(view, {}, {})


@page("/music/library/{asset:str}/state", roles=STAFF, where="cloud")
async def asset_state(view: View) -> Reply:
    """The part of an asset's page that changes while it is made ready."""
    return await _asset_page(view, {}, {}, template="player/asset_state.html")


@page("/music/library/{asset:str}", method="POST", roles=STAFF, where="cloud")
async def asset_save(view: View) -> Reply:
    found = await one_row(view, "player_assets", view.path["asset"])
    values, errors = _asset_typed(view)
    if errors:
        return await _asset_page(view, errors, dict(view.form))
    async with view.host.writing() as ctx:
        ctx.patch(Asset, found["id"], **values)
    return view.redirect(f"/music/library/{found['id']}", done="saved")


@page("/music/library/{asset:str}/retry", method="POST", roles=STAFF, where="cloud")
async def retry(view: View) -> Reply:
    """Have what failed made anew from its master."""
    found = await one_row(view, "player_assets", view.path["asset"])
    if found["state"] != "failed":
        raise Conflict("That did not fail.", hint="Look at it again: its state has changed.")
    await _ran(view, "player_asset_retry", found)
    return view.redirect(_back(view, str(found["id"])), done="player.retried")


@page("/music/library/{asset:str}/recall", method="POST", roles=STAFF, where="cloud")
async def recall(view: View) -> Reply:
    """Take it from every shop, or give it back."""
    found = await one_row(view, "player_assets", view.path["asset"])
    back = view.form.get("back") == "yes"
    async with view.host.writing() as ctx:
        ctx.patch(Asset, found["id"], recalled=not back)
    done = "player.given_back" if back else "player.recalled"
    return view.redirect(f"/music/library/{found['id']}", done=done)


@page("/music/library/{asset:str}/delete", method="POST", roles=STAFF, where="cloud")
async def delete(view: View) -> Reply:
    """Remove it from the library. What was played stays written down."""
    found = await one_row(view, "player_assets", view.path["asset"])
    await _ran(view, "player_asset_remove", found)
    return view.redirect("/music/library", done="removed")


async def _ran(view: View, command: str, row: Mapping[str, Any]) -> None:
    """Have the library's own command do it. Raises Conflict with what it answered."""
    receipt = await view.run(command, {"asset": str(row["id"])})
    if not receipt.ok:
        raise Conflict(receipt.message, code=receipt.code, hint=receipt.hint)


def shown_asset(
    view: View, row: Mapping[str, Any], now: str, bars: int = ROW_BARS
) -> dict[str, Any]:
    """An asset's row with what pages show of it."""
    code, tone, words = standing(view, row, now)
    return {
        **row,
        "standing": code,
        "tone": tone,
        "said": words,
        "told": told(str(row["problem"] or ""), view.language),
        "length": length(row["duration_ms"]),
        "wave": wave(row["waveform"], bars),
        "bars": bars,
        "cover_url": f"/player/files/{row['id']}/cover?v={row['cover'][:8]}"
        if row["cover"]
        else "",
        "listen_url": f"/player/files/{row['id']}/master" if row["master"] else "",
    }


async def _library(view: View) -> dict[str, Any]:
    words = view.asked.get("q", "").strip()[:80]
    kind = view.asked.get("kind", "")
    which = view.asked.get("which", "all")
    kind, which = kind if kind in KINDS else "", which if which in WHICH else "all"
    offset, now = whole_of(view.asked.get("from", "")), local_now(view)
    chosen = both(words_filter(words, ("title", "artist", "album")), _which(which, now))
    if kind:
        chosen = both(chosen, where(kind=kind))
    found = await view.rows(
        "player_assets", chosen, order=NEWEST, limit=LIST_ROWS, offset=offset, count=True
    )
    return {
        "rows": [shown_asset(view, row, now) for row in found.rows],
        "total": found.total or 0, "offset": offset, "q": words, "kind": kind, "which": which,
        "counts": await _counts(view), "kinds": KINDS,
    }  # fmt: skip


def _which(which: str, now: str) -> Any:
    if which == "recalled":
        return where(recalled=True)
    if which == "failed":
        return where(state="failed")
    if which == "busy":
        return where(state__in=("waiting", "working"))
    if which == "ready":
        ends = [_open(column, now) for column in ("valid_until", "licence_until")]
        return Every((where(state="ready", recalled=False), *ends))
    if which == "ending":
        soon = local_text(datetime.fromisoformat(now) + SOON)
        either = tuple(where(**{f"{c}__lte": soon}) for c in ("valid_until", "licence_until"))
        return Every((where(recalled=False), Some(either)))
    return None


def _open(column: str, now: str) -> Some:
    return Some((Compare(column, Op.IS, None), Compare(column, Op.GT, now)))


async def _counts(view: View) -> dict[str, int]:
    """How many assets there are in each state."""
    columns = (Column("state"), Column(measure=Measure.COUNT, alias="count"))
    rows = (await view.rows("player_assets", columns=columns, limit=20)).rows
    return {str(row["state"]): int(row["count"]) for row in rows}


async def _asset_page(
    view: View,
    errors: Mapping[str, str],
    typed: Mapping[str, str],
    *,
    template: str = "player/asset.html",
) -> Reply:
    row = await one_row(view, "player_assets", view.path["asset"])
    shown = shown_asset(view, row, local_now(view), PAGE_BARS)
    parts = where(asset=row["id"])
    renditions = (await view.rows("player_renditions", parts, limit=10)).rows
    return view.render(
        template,
        status=400 if errors else 200,
        track=shown,
        typed={**shown, **typed},
        errors=errors,
        kinds=KINDS,
        renditions=renditions,
        used_in=await _used_in(view, str(row["id"])) if template == "player/asset.html" else [],
    )


async def _used_in(view: View, id: str) -> list[dict[str, Any]]:
    """The playlists and campaigns that name it."""
    found = []
    for collection, path in (("player_playlists", "playlists"), ("player_campaigns", "campaigns")):
        columns = (Column("id"), Column("name"), Column("assets"))
        rows = (await view.rows(collection, columns=columns, limit=1_000)).rows
        found += [{**row, "path": path} for row in rows if id in (row["assets"] or ())]
    return found


def _asset_typed(view: View) -> tuple[dict[str, Any], dict[str, str]]:
    form, errors = view.form, {}
    values: dict[str, Any] = {
        name: " ".join(form.get(name, "").split())[:TITLE_CHARS]
        for name in ("title", "artist", "album", "genre")
    }
    if not values["title"]:
        errors["title"] = view.t("Dê um nome.", "Give it a name.")
    values["kind"] = form.get("kind", "music")
    if values["kind"] not in KINDS:
        errors["kind"] = view.t("Escolha um tipo.", "Choose a kind.")
    for name in ("valid_from", "valid_until", "licence_until"):
        values[name] = _local(form.get(name, ""))
        if form.get(name, "").strip() and values[name] is None:
            errors[name] = view.t("Um dia e uma hora.", "A day and a time.")
    begins, ends = values["valid_from"], values["valid_until"]
    if begins and ends and ends <= begins:
        errors["valid_until"] = view.t("Termina antes de começar.", "It ends before it begins.")
    return values, errors


def _local(text: str) -> str | None:
    """A typed moment as records write it."""
    try:
        return local_text(datetime.fromisoformat(text.strip()).replace(tzinfo=None))
    except ValueError:
        return None


def _back(view: View, id: str) -> str:
    return (
        "/music/library?which=failed" if view.form.get("to") == "list" else f"/music/library/{id}"
    )


PAGES = (library, library_list, asset, asset_state, asset_save, retry, recall, delete)

"""Playlists in the portal: what is in them, in which order or by which rules, and what of it can play."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from beira.apps.player.portal_library import KINDS, NEWEST, shown_asset
from beira.apps.player.portal_lists import change_list, taken
from beira.apps.player.portal_reading import (
    STAFF,
    TITLE_CHARS,
    local_now,
    long_length,
    titles_of,
)
from beira.apps.player.records import Playlist
from beira.sdk import (
    Column,
    Conflict,
    Invalid,
    Order,
    Reply,
    View,
    both,
    every_row,
    one_row,
    page,
    where,
    whole_of,
    words_filter,
)

TRACKS_SHOWN = 100
TRACKS_MOST = 10_000
PICKED = 12
ADDED_AT_ONCE = 500
PLAYABLE = ("ready", "ending")


@page("/music/playlists", roles=STAFF, where="cloud")
async def playlists(view: View) -> Reply:
    return view.render("player/playlists.html", playlists=await _playlists(view))


@page("/music/playlists/list", roles=STAFF, where="cloud")
async def playlists_list(view: View) -> Reply:
    return view.render("player/playlists_list.html", playlists=await _playlists(view))


@page("/music/playlists/new", method="POST", roles=STAFF, where="cloud")
async def playlist_new(view: View) -> Reply:
    name = " ".join(view.form.get("name", "").split())[:TITLE_CHARS]
    if not name:
        raise Invalid("A playlist needs a name.", code="player.name_missing")
    async with view.host.writing() as ctx:
        made = ctx.put(Playlist(name=name, order="shuffled"))
    return view.redirect(f"/music/playlists/{made.id}", done="added")


@page("/music/playlists/{playlist:str}", roles=STAFF, where="cloud")
async def playlist(view: View) -> Reply:
    return await _page(view, "player/playlist.html")


@page("/music/playlists/{playlist:str}/tracks", roles=STAFF, where="cloud")
async def playlist_tracks(view: View) -> Reply:
    return await _page(view, "player/tracks.html")


@page("/music/playlists/{playlist:str}", method="POST", roles=STAFF, where="cloud")
async def playlist_save(view: View) -> Reply:
    row = await one_row(view, "player_playlists", view.path["playlist"])
    form, errors = view.form, {}
    name = " ".join(form.get("name", "").split())[:TITLE_CHARS]
    if not name:
        errors["name"] = view.t("Dê um nome.", "Give it a name.")
    bounds = {"no_repeat": 10_000, "artist_gap": 100}
    for field, most in bounds.items():
        text = form.get(field, "").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) <= most):
            errors[field] = view.t(f"De 0 a {most}.", f"0 to {most}.")
    if errors:
        return await _page(view, "player/playlist.html", errors)
    values = {name: int(form[name]) for name in bounds}
    order = "ordered" if form.get("order") == "ordered" else "shuffled"
    async with view.host.writing() as ctx:
        ctx.patch(Playlist, row["id"], name=name, order=order, **values)
    return view.redirect(f"/music/playlists/{row['id']}", done="saved")


@page("/music/playlists/{playlist:str}/add", method="POST", roles=STAFF, where="cloud")
async def add(view: View) -> Reply:
    """Put an asset at the end, or all that a search finds."""
    if view.form.get("every") == "yes":
        found = await _found(view, view.form.get("q", ""), view.form.get("kind", ""), ADDED_AT_ONCE)

        def with_new(assets: list[str]) -> list[str]:
            held = set(assets)
            return assets + [id for one in found if (id := str(one["id"])) not in held]

        return await _changed(view, with_new)
    one = await one_row(view, "player_assets", view.form.get("asset", ""))
    return await _changed(view, lambda assets: [*assets, str(one["id"])])


@page("/music/playlists/{playlist:str}/remove", method="POST", roles=STAFF, where="cloud")
async def remove(view: View) -> Reply:
    return await _changed(view, lambda assets: taken(view, assets)[1])


@page("/music/playlists/{playlist:str}/move", method="POST", roles=STAFF, where="cloud")
async def move(view: View) -> Reply:
    """Take the asset at a place to another: both are counted from 0."""
    to = whole_of(view.form.get("to", ""))

    def moved(assets: list[str]) -> list[str]:
        asset, others = taken(view, assets)
        return [*others[:to], asset, *others[to:]]

    return await _changed(view, moved)


@page("/music/playlists/{playlist:str}/delete", method="POST", roles=STAFF, where="cloud")
async def delete(view: View) -> Reply:
    row = await one_row(view, "player_playlists", view.path["playlist"])
    if (await view.rows("player_slots", where(playlist=row["id"]), limit=1)).rows:
        raise Conflict(
            "This playlist is on the grid.",
            code="player.playlist_used",
            hint="Take it from the grid first.",
        )
    async with view.host.writing() as ctx:
        ctx.delete(Playlist, row["id"])
    return view.redirect("/music/playlists", done="removed")


@page("/music/pick", roles=STAFF, where="cloud")
async def pick(view: View) -> Reply:
    """A few assets that a search finds, each with a button that sends it to `action`."""
    action = view.asked.get("action", "")
    if not action.startswith("/music/"):
        raise Invalid("Nothing to pick for.")
    words, kind = view.asked.get("q", "").strip()[:80], view.asked.get("kind", "")
    rows = await _found(view, words, kind, PICKED + 1)
    now = local_now(view)
    return view.render(
        "player/pick.html",
        rows=[shown_asset(view, row, now) for row in rows[:PICKED]],
        more=len(rows) > PICKED, action=action, q=words, kind=kind if kind in KINDS else "",
        many=action.startswith("/music/playlists/"),
    )  # fmt: skip


async def _found(view: View, words: str, kind: str, most: int) -> list[dict[str, Any]]:
    """Assets that a search finds; without words the newest."""
    chosen = both(words_filter(words, ("title", "artist", "album")), where(recalled=False))
    if kind in KINDS:
        chosen = both(chosen, where(kind=kind))
    order = (Order("title"), Order("id")) if words else NEWEST
    return (await view.rows("player_assets", chosen, order=order, limit=most)).rows


async def _playlists(view: View) -> list[dict[str, Any]]:
    rows = await every_row(view, "player_playlists", None, (), 2_000)
    slots = await every_row(view, "player_slots", None, (Column("playlist"),), 5_000)
    used = Counter(str(slot["playlist"]) for slot in slots)
    shown = [
        {**row, "count": len(row["assets"] or ()), "used": used[str(row["id"])]} for row in rows
    ]
    return sorted(shown, key=lambda row: str(row["name"]).casefold())


async def _changed(view: View, change: Callable[[list[str]], list[str]]) -> Reply:
    """Change the list, and show the part of the page that has changed, or the page anew."""
    await change_list(view, Playlist, view.path["playlist"], change, TRACKS_MOST)
    if view.form.get("part") == "yes":
        return await _page(view, "player/tracks.html")
    return view.redirect(f"/music/playlists/{view.path['playlist']}")


async def _page(view: View, template: str, errors: Mapping[str, str] | None = None) -> Reply:
    row = await one_row(view, "player_playlists", view.path["playlist"])
    ids = [str(id) for id in row["assets"] or ()]
    offset = whole_of(view.asked.get("from", "") or view.form.get("from", ""))
    offset = offset if offset < len(ids) else 0
    known, now = await titles_of(view, ids), local_now(view)
    shown = [_track(view, known.get(id), id, at, now) for at, id in enumerate(ids)]
    playable = [one for one in shown if one["standing"] in PLAYABLE]
    slots = await every_row(view, "player_slots", where(playlist=row["id"]), (), 100)
    return view.render(
        template,
        status=400 if errors else 200,
        playlist=row, tracks=shown[offset : offset + TRACKS_SHOWN], total=len(ids), offset=offset,
        shown=TRACKS_SHOWN, playable=len(playable),
        lasts=long_length(sum(int(one["duration_ms"] or 0) for one in playable)),
        artists=len({one["artist"].casefold() for one in playable if one["artist"]}),
        typed={**row, **view.form} if errors else row,
        errors=errors or {}, on_grid=len(slots),
    )  # fmt: skip


def _track(view: View, row: Mapping[str, Any] | None, id: str, at: int, now: str) -> dict[str, Any]:
    if row is not None:
        return {**shown_asset(view, row, now), "at": at}
    gone = view.t("Não está mais na biblioteca", "No longer in the library")
    return {
        "id": id, "at": at, "title": gone, "artist": "", "kind": "music", "standing": "gone",
        "tone": "bad", "said": view.t("Apagada", "Deleted"), "length": "–", "duration_ms": 0,
        "wave": "", "bars": 0, "told": "", "cover_url": "", "listen_url": "",
    }  # fmt: skip


PAGES = (
    playlists, playlists_list, playlist_new, playlist, playlist_tracks, playlist_save, add, remove,
    move, delete, pick,
)  # fmt: skip

"""The shops in the portal: what plays in each at this moment, what stands in its way, and its levers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from beira.apps.player.portal_reading import (
    LIST_ROWS,
    STAFF,
    Shop,
    length,
    shop_of,
    shops_of,
)
from beira.apps.player.portal_words import PROBLEMS, SILENCES
from beira.sdk import (
    Invalid,
    NotFound,
    Order,
    Reply,
    View,
    is_online,
    node_partition,
    page,
    timestamp,
    where,
    whole_of,
)

SHOWN = 60
ROWS_MOST = 1_000
CALLS_LOOKED = 300
CALL_SHOWN = timedelta(minutes=10)
SILENCE_SAID_MS = 10_000
LEVERS = ("player_play", "player_pause", "player_skip", "player_volume")
NEWEST = (Order("at", descending=True), Order("id"))
PARTS = {"plays": "player_plays", "fetches": "player_fetches", "silences": "player_silences"}
STEPS = (
    (
        "/music/library",
        ("Envie as primeiras músicas", "Send the first music"),
        ("Arraste os arquivos; a nuvem os prepara.", "Drop the files; the cloud readies them."),
        "player_assets",
    ),
    (
        "/music/playlists",
        ("Faça uma playlist", "Make a playlist"),
        ("Escolha as faixas e as regras.", "Choose its tracks and rules."),
        "player_playlists",
    ),
    (
        "/music/grid",
        ("Ponha-a na grade", "Put it on the grid"),
        ("Todos os dias, o dia todo, já basta.", "Every day, all day, will do."),
        "player_slots",
    ),
    (
        "/nodes",
        ("Ligue uma loja", "Connect a shop"),
        ("Um nó com o player, e a música começa.", "A node with the player, and music begins."),
        "player_now",
    ),
)
"""What is to be done before anything plays, and the collection that shows that it was."""


@page("/music", where="cloud")
async def shops(view: View) -> Reply:
    return view.render("player/shops.html", **await _shops(view), first=await _first_steps(view))


@page("/music/shops/list", where="cloud")
async def shops_list(view: View) -> Reply:
    return view.render("player/shops_list.html", **await _shops(view))


@page("/music/shops/{shop:str}", where="cloud")
async def shop(view: View) -> Reply:
    return await _shop_page(view, "player/shop.html")


@page("/music/shops/{shop:str}/card", where="cloud")
async def shop_card(view: View) -> Reply:
    return await _shop_page(view, "player/shop_now.html")


@page("/music/shops/{shop:str}/rows", where="cloud")
async def shop_rows(view: View) -> Reply:
    return await _shop_page(view, "player/shop_rows.html")


@page("/music/shops/{shop:str}/lever", method="POST", roles=STAFF, where="cloud")
async def lever(view: View) -> Reply:
    """Send a command to the shop's player; its receipt appears where the button was."""
    found = await shop_of(view, view.path["shop"])
    command = view.form.get("command", "")
    if command not in LEVERS:
        raise Invalid("There is no such lever.")
    params: dict[str, object] = {}
    if command == "player_volume":
        text = view.form.get("volume", "")
        if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= 100):
            raise Invalid("A volume is 0 to 100.", code="player.volume")
        params["volume"] = int(text)
    await view.call(found.id, command, params)
    if view.form.get("part") == "yes":
        return await _shop_page(view, "player/shop_now.html")
    return view.redirect(f"/music/shops/{found.id}", done="sent")


async def _shops(view: View) -> dict[str, Any]:
    words = view.asked.get("q", "").strip()[:80].casefold().split()
    offset = whole_of(view.asked.get("from", ""))
    every = await shops_of(view)
    states = await _states(view, every)
    found = [
        s for s in states if all(w in f"{s['name']} {s['site_name']}".casefold() for w in words)
    ]
    found.sort(key=lambda s: (s["rank"], s["site_name"].casefold(), s["name"].casefold()))
    return {
        "shops": found[offset : offset + SHOWN], "total": len(found), "offset": offset,
        "shown": SHOWN, "q": view.asked.get("q", "").strip()[:80], "every": len(states),
        "playing": sum(s["state"] == "playing" for s in states),
        "away": sum(s["known"] and not s["online"] for s in states),
        "troubled": sum(bool(s["trouble"]) for s in states),
        "silent_s": sum(int(s["now"].get("silent_ms") or 0) for s in states) / 1000,
        "may": view.principal.role in STAFF,
    }  # fmt: skip


async def _states(view: View, shops: Iterable[Shop]) -> list[dict[str, Any]]:
    """Each shop with how its player and its node are, and what was last asked of it."""
    shops = list(shops)
    one = where(id=shops[0].id) if len(shops) == 1 else None
    tells = {r["id"]: r for r in (await view.rows("player_now", one, limit=ROWS_MOST)).rows}
    nodes = {r["id"]: r for r in (await view.rows("node_status", one, limit=ROWS_MOST)).rows}
    calls = await _last_calls(view, shops)
    return [_state(view, s, tells.get(s.id), nodes.get(s.id), calls.get(s.id)) for s in shops]


def _state(
    view: View, shop: Shop, told: Mapping[str, Any] | None, node: Mapping[str, Any] | None,
    call: Mapping[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    now, status = dict(told or {}), dict(node or {})
    online = is_online(status, view.host.now())
    trouble = _trouble(view, now)
    if not told:
        state, rank = ("new", 3)
    elif now.get("paused"):
        state, rank = ("paused", 1)
    else:
        state, rank = ("playing" if online else "away", 2 if online else 1)
    return {
        "id": shop.id, "name": shop.name, "site": shop.site, "site_name": shop.site_name,
        "state": state, "rank": 0 if trouble else rank, "online": online, "known": bool(told),
        "now": now, "status": status, "trouble": trouble, "call": call,
        "length": length(now.get("duration_ms")),
        "silent_s": int(now.get("silent_ms") or 0) / 1000,
        "silent": int(now.get("silent_ms") or 0) >= SILENCE_SAID_MS,
        "missing": max(0, int(now.get("wanted") or 0) - int(now.get("cached") or 0)),
    }  # fmt: skip


def _trouble(view: View, now: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a player and what to do, in the reader's words where its code is known."""
    problem = str(now.get("problem") or "")
    if not problem:
        return None
    known = PROBLEMS.get(problem)
    if known is None:
        return problem, str(now.get("next_step") or "")
    return view.t(*known[0]), view.t(*known[1])


async def _last_calls(view: View, shops: Iterable[Shop]) -> dict[str, dict[str, Any]]:
    """For each shop the last lever that was pulled within some minutes, with its receipt."""
    if view.principal.role not in STAFF:
        return {}
    wanted = {node_partition(shop.id): shop.id for shop in shops}
    since = timestamp(view.host.now() - CALL_SHOWN + timedelta(minutes=5))
    chosen = where(command__in=LEVERS, expires_at__gte=since)
    order = (Order("_hlc", descending=True),)
    rows = (await view.rows("calls", chosen, order=order, limit=CALLS_LOOKED)).rows
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["_partition"] in wanted:
            last.setdefault(wanted[str(row["_partition"])], row)
    ids = tuple(str(row["id"]) for row in last.values())
    receipts = await view.rows("receipts", where(id__in=ids), limit=len(ids)) if ids else None
    by_id = {row["id"]: row for row in receipts.rows} if receipts else {}
    return {shop: {**row, "receipt": by_id.get(row["id"])} for shop, row in last.items()}


async def _shop_page(view: View, template: str) -> Reply:
    found = await shop_of(view, view.path["shop"])
    (state,) = await _states(view, [found])
    part = view.asked.get("part", "plays")
    if part not in PARTS:
        raise NotFound("There is no such list.")
    offset = whole_of(view.asked.get("from", ""))
    rows, total = [], 0
    if template != "player/shop_now.html":
        here = where(_partition=node_partition(found.id))
        lot = await view.rows(
            PARTS[part], here, order=NEWEST, limit=LIST_ROWS, offset=offset, count=True
        )
        rows, total = [_local(view, found, row) for row in lot.rows], lot.total or 0
    return view.render(
        template, shop=state, place=found, part=part, rows=rows, total=total, offset=offset,
        may=view.principal.role in STAFF,
    )  # fmt: skip


def _local(view: View, shop: Shop, row: Mapping[str, Any]) -> dict[str, Any]:
    """A fact of a shop, with its time by the shop's own clock."""
    at = datetime.fromisoformat(str(row["at"])).astimezone(shop.zone)
    day = f"{at:%d/%m}" if view.language == "pt-BR" else f"{at.day} {at:%b}"
    told = str(row.get("why") or "")
    known = SILENCES.get(told) or (PROBLEMS[told][0] if told in PROBLEMS else (told, told))
    return {
        **row, "day": day, "clock": f"{at:%H:%M:%S}", "played": length(row.get("played_ms")),
        "said": view.t(*known),
    }  # fmt: skip


async def _first_steps(view: View) -> list[tuple[str, str, str, bool]]:
    """What is still to be done before anything plays; nothing once all is."""
    if view.principal.role not in STAFF:
        return []
    there = {
        collection: bool((await view.rows(collection, limit=1)).rows) for *_, collection in STEPS
    }
    steps = [
        (path, view.t(*title), view.t(*text), there[collection])
        for path, title, text, collection in STEPS
    ]
    return [] if all(step[3] for step in steps) else steps


PAGES = (shops, shops_list, shop, shop_card, shop_rows, lever)

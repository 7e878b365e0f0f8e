"""The preview in the portal: what a shop will play on a day, by the rules that its player goes by."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

from beira.apps.player.compile import compiled
from beira.apps.player.local_time import moment_of
from beira.apps.player.memory import Memory
from beira.apps.player.portal_reading import STAFF, Shop, length, playlists_of, shops_of
from beira.apps.player.portal_times import hour_of
from beira.apps.player.program import Program
from beira.apps.player.records import Play
from beira.apps.player.rules import Previewed, preview
from beira.sdk import (
    Column,
    NotFound,
    Order,
    Reply,
    View,
    date_of,
    every_row,
    node_partition,
    page,
    record_of,
    where,
)

HOURS = (1, 3, 6, 12, 24)
PLAYS_READ = 1_000
"""Of the shop's last: what the rules remember."""


@page("/music/preview", roles=STAFF, where="cloud")
async def previewed(view: View) -> Reply:
    shops = await shops_of(view)
    shop = next((s for s in shops if s.id == view.asked.get("shop")), shops[0] if shops else None)
    if shop is None:
        return view.render("player/preview.html", shops=[], shop=None, hours=HOURS)
    if view.asked.get("shop") and shop.id != view.asked["shop"]:
        raise NotFound("There is no such shop.")
    local = view.host.now().astimezone(shop.zone)
    day = date_of(view.asked.get("day", "")) or local.date()
    begins = hour_of(view.asked.get("begins", "")) or f"{local:%H:%M}"
    asked_hours = view.asked.get("hours", "")
    hours = int(asked_hours) if asked_hours in map(str, HOURS) else 3
    start = moment_of(datetime.combine(day, time.fromisoformat(begins)), shop.zone)
    rows = await _rows(view, shop, start, start + timedelta(hours=hours))
    return view.render(
        "player/preview.html",
        shops=[(s.id, s.name) for s in shops], shop=shop, day=day, begins=begins, hours=HOURS,
        chosen=hours, rows=rows, lasts=length(sum(row["duration_ms"] for row in rows)),
        counts=_counts(rows),
    )  # fmt: skip


async def _rows(view: View, shop: Shop, start: datetime, until: datetime) -> list[dict[str, Any]]:
    manifest = await compiled(view.host, shop.id)
    program = Program.of(manifest.entries, shop=shop.id, zone=shop.zone)
    memory = Memory.of(await _plays(view, shop))
    names = {str(row["id"]): str(row["name"]) for row in await playlists_of(view)}
    campaigns = await every_row(view, "player_campaigns", None, (Column("name"),), 2_000)
    names |= {str(row["id"]): str(row["name"]) for row in campaigns}
    return [_shown(one, shop, names) for one in preview(program, memory, start, until)]


async def _plays(view: View, shop: Shop) -> list[Play]:
    """What the shop played last, oldest first."""
    order = (Order("at", descending=True), Order("id"))
    here = where(_partition=node_partition(shop.id))
    rows = (await view.rows("player_plays", here, order=order, limit=PLAYS_READ)).rows
    return [record_of(Play, row) for row in reversed(rows)]


def _shown(one: Previewed, shop: Shop, names: dict[str, str]) -> dict[str, Any]:
    at, choice = one.at.astimezone(shop.zone), one.choice
    asset = choice.asset
    return {
        "hour": f"{at:%H}", "clock": f"{at:%H:%M:%S}", "reason": choice.reason,
        "day": at.date(), "asset": asset.id if asset else "",
        "title": asset.title if asset else "", "artist": asset.artist if asset else "",
        "from": names.get(choice.campaign or choice.playlist, ""),
        "duration_ms": asset.duration_ms if asset else 0,
        "length": length(asset.duration_ms) if asset else "–",
    }  # fmt: skip


def _counts(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for row in rows:
        found[row["reason"]] = found.get(row["reason"], 0) + 1
    return sorted(found.items(), key=lambda pair: -pair[1])


PAGES = (previewed,)

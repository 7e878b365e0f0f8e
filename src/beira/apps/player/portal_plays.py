"""Proof of play in the portal: what was played where and when, as a table, a plot and a sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import urlencode

from beira.apps.player.portal_reading import (
    LIST_ROWS,
    TITLE_CHARS,
    Shop,
    length,
    long_length,
    shops_of,
)
from beira.sdk import (
    Column,
    Every,
    Measure,
    Order,
    Reply,
    View,
    both,
    csv_reply,
    date_of,
    node_partition,
    page,
    rows_by_time,
    timestamp,
    where,
    whole_of,
    words_filter,
)

DAYS_SHOWN = 7
DAYS_MOST = 120
"""Plays are kept so long."""
GROUPS_MOST = 1_000
HOURS_AT_ONCE = 1_000
HEAD = (
    "data", "hora", "fuso", "loja", "título", "artista", "tipo", "motivo", "resultado",
    "segundos tocados", "segundos da faixa", "código da faixa", "arquivo (SHA-256)",
)  # fmt: skip
KINDS = {"music": "música", "spot": "spot", "announcement": "anúncio"}
REASONS = {
    "scheduled": "grade", "campaign": "campanha", "announcement": "anúncio urgente",
    "emergency": "emergência", "jingle": "vinheta",
}  # fmt: skip
OUTCOMES = {"whole": "inteira", "skipped": "pulada", "cut": "cortada", "failed": "falhou"}


@dataclass(frozen=True)
class Asked:
    """What is to be proven. Days are counted by the clock of the shop asked for, or of the first."""

    first: date
    last: date
    zone: tzinfo
    words: str
    asset: str
    shop: str
    reason: str
    how: str

    @property
    def address(self) -> Mapping[str, str]:
        return {
            "first": self.first.isoformat(), "last": self.last.isoformat(), "q": self.words,
            "asset": self.asset, "shop": self.shop, "reason": self.reason,
        }  # fmt: skip


@page("/music/plays", where="cloud")
async def plays(view: View) -> Reply:
    return await _page(view, "player/plays.html")


@page("/music/plays/list", where="cloud")
async def plays_list(view: View) -> Reply:
    return await _page(view, "player/plays_list.html")


@page("/music/plays.csv", where="cloud")
async def plays_csv(view: View) -> Reply:
    """One line a play, oldest first, with the time by each shop's own clock."""
    shops = await shops_of(view)
    asked = _asked(view, shops)
    name = f"comprovacao-{asked.first}-{asked.last}.csv"
    return csv_reply(name, _lines(view, asked, {node_partition(s.id): s for s in shops}))


async def _lines(
    view: View, asked: Asked, shops: Mapping[str, Shop]
) -> AsyncIterator[Sequence[Sequence[object]]]:
    yield [HEAD]
    async for rows in rows_by_time(view, "player_plays", _filter(asked, shops.values())):
        yield [_line(row, shops.get(str(row["_partition"])), asked.zone) for row in rows]


def _line(row: Mapping[str, Any], shop: Shop | None, zone: tzinfo) -> list[object]:
    at = datetime.fromisoformat(str(row["at"])).astimezone(shop.zone if shop else zone)
    return [
        f"{at:%d/%m/%Y}", f"{at:%H:%M:%S}", str(at.tzinfo), shop.name if shop else row["_partition"],
        row["title"], row["artist"] or "", KINDS.get(row["kind"], row["kind"]),
        REASONS.get(row["reason"], row["reason"]), OUTCOMES.get(row["outcome"], row["outcome"]),
        _seconds(row["played_ms"]), _seconds(row["duration_ms"]), row["asset"], row["file"],
    ]  # fmt: skip


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.1f}".replace(".", ",")


async def _page(view: View, template: str) -> Reply:
    shops = await shops_of(view)
    asked = _asked(view, shops)
    chosen, offset = _filter(asked, shops), whole_of(view.asked.get("from", ""))
    totals = await _grouped(view, chosen, ())
    names = {node_partition(s.id): s.name for s in shops}
    values: dict[str, Any] = {
        "asked": asked, "offset": offset, "shops": [(s.id, s.name) for s in shops],
        "count": int(totals[0]["count"]) if totals else 0, "reasons": tuple(REASONS),
        "lasts": long_length(int(totals[0]["ms"] or 0)) if totals else "",
        "asset_title": await _title(view, asked.asset) if asked.asset else "",
        "address": urlencode({k: v for k, v in asked.address.items() if v}),
        "drawn": await _drawn(view, asked, chosen), "rows": [], "groups": [], "total": 0,
    }  # fmt: skip
    if asked.how == "each":
        order = (Order("at", descending=True), Order("id"))
        found = await view.rows(
            "player_plays", chosen, order=order, limit=LIST_ROWS, offset=offset, count=True
        )
        by_place = {node_partition(s.id): s for s in shops}
        values["rows"] = [_shown(view, row, by_place, asked.zone) for row in found.rows]
        values["total"] = found.total or 0
    else:
        columns = ("_partition",) if asked.how == "shops" else ("asset", "title", "artist")
        groups = await _grouped(view, chosen, columns)
        values["total"] = len(groups)
        values["groups"] = [
            {
                **row,
                "lasts": long_length(int(row["ms"] or 0)),
                "shop": names.get(str(row.get("_partition")), ""),
            }
            for row in groups[offset : offset + LIST_ROWS]
        ]
    return view.render(template, **values)


def _shown(
    view: View, row: Mapping[str, Any], shops: Mapping[str, Shop], zone: tzinfo
) -> dict[str, Any]:
    shop = shops.get(str(row["_partition"]))
    at = datetime.fromisoformat(str(row["at"])).astimezone(shop.zone if shop else zone)
    day = f"{at:%d/%m}" if view.language == "pt-BR" else f"{at.day} {at:%b}"
    return {
        **row, "when": f"{day} {at:%H:%M:%S}", "shop": shop.name if shop else "",
        "played": length(row["played_ms"]),
    }  # fmt: skip


def _asked(view: View, shops: Sequence[Shop]) -> Asked:
    asked = view.asked
    shop = next((s for s in shops if s.id == asked.get("shop")), None)
    zone = shop.zone if shop else view.zone
    today = view.host.now().astimezone(zone).date()
    last = date_of(asked.get("last", "")) or today
    first = date_of(asked.get("first", "")) or last - timedelta(days=DAYS_SHOWN - 1)
    first = max(min(first, last), last - timedelta(days=DAYS_MOST))
    reason, how = asked.get("reason", ""), asked.get("how", "")
    return Asked(
        first, last, zone, asked.get("q", "").strip()[:80], asked.get("asset", "")[:64],
        shop.id if shop else "", reason if reason in REASONS else "",
        how if how in ("shops", "each") else "assets",
    )  # fmt: skip


def _filter(asked: Asked, shops: Any) -> Any:
    start = datetime(asked.first.year, asked.first.month, asked.first.day, tzinfo=asked.zone)
    after = asked.last + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=asked.zone)
    exact: dict[str, Any] = {"at__gte": timestamp(start), "at__lt": timestamp(end)}
    if asked.asset:
        exact["asset"] = asked.asset
    if asked.reason:
        exact["reason"] = asked.reason
    if asked.shop:
        exact["_partition"] = node_partition(asked.shop)
    return both(where(**exact), words_filter(asked.words, ("title", "artist")))


async def _grouped(view: View, chosen: Every, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Counts and times played by these columns, the most played first."""
    columns = (
        *(Column(name) for name in names),
        Column(measure=Measure.COUNT, alias="count"),
        Column("played_ms", measure=Measure.SUM, alias="ms"),
    )
    order = (Order("count", descending=True), *(Order(name) for name in names)) if names else ()
    found = await view.rows("player_plays", chosen, columns=columns, order=order, limit=GROUPS_MOST)
    return found.rows


async def _drawn(view: View, asked: Asked, chosen: Any) -> dict[str, Any] | None:
    """Plays by day, as the page draws them; by hour for a single day."""
    counts: Counter[datetime] = Counter()
    offset = 0
    columns = (Column("at", hour=True), Column(measure=Measure.COUNT, alias="count"))
    while True:
        lot = await view.rows(
            "player_plays", chosen, columns=columns, order=(Order("at"),), limit=HOURS_AT_ONCE,
            offset=offset,
        )  # fmt: skip
        for row in lot.rows:
            counts[_moment(row["at"]).astimezone(asked.zone)] += int(row["count"])
        offset += len(lot.rows)
        if len(lot.rows) < HOURS_AT_ONCE:
            break
    if not counts:
        return None
    series_label = view.t("execuções", "plays")
    if asked.first == asked.last:
        by_hour: Counter[int] = Counter()
        for at, count in counts.items():
            by_hour[at.hour] += count
        x, values = list(range(24)), [by_hour[hour] for hour in range(24)]
        labels = {hour: f"{hour}h" if view.language == "pt-BR" else f"{hour}:00" for hour in x}
        title, axis = view.t("Execuções por hora", "Plays by hour"), view.t("hora", "hour")
    else:
        by_day: Counter[date] = Counter()
        for at, count in counts.items():
            by_day[at.date()] += count
        days = [asked.first + timedelta(days=n) for n in range((asked.last - asked.first).days + 1)]
        x, values = list(range(len(days))), [by_day[day] for day in days]
        form = "%d/%m" if view.language == "pt-BR" else "%m-%d"
        labels = {n: f"{day:{form}}" for n, day in enumerate(days)}
        title, axis = view.t("Execuções por dia", "Plays by day"), view.t("dia", "day")
    plot = {
        "x": x, "labels": labels, "bars": True, "axis": axis, "height": 150,
        "series": [{"label": series_label, "values": values}],
    }  # fmt: skip
    return {"title": title, "plot": plot}


def _moment(value: Any) -> datetime:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _title(view: View, asset: str) -> str:
    columns = (Column("title"), Column("at"))
    order = (Order("at", descending=True),)
    found = await view.rows(
        "player_plays", where(asset=asset), columns=columns, order=order, limit=1
    )
    return str(found.rows[0]["title"]) if found.rows else asset[:TITLE_CHARS]


PAGES = (plays, plays_list, plays_csv)

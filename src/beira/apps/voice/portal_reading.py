"""What the portal's pages of Aurora read: rows in full, days in the shop's time zone, what forms hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from beira.sdk import Column, NotFound, Order, View, timestamp, where

STAFF = ("owner", "member")
OWNER = ("owner",)
NEWEST = (Order("at", descending=True), Order("id"))
QUERY_ROWS = 1_000
ROWS_MOST = 20_000
LIST_ROWS = 50
NAME_CHARS = 100


def p95(values: list[float]) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]


def checked_name(view: View, errors: dict[str, str]) -> str:
    name = " ".join(view.form.get("name", "").split())
    if not name or len(name) > NAME_CHARS or not name.isprintable():
        errors["name"] = view.t(f"De 1 a {NAME_CHARS} letras.", f"1 to {NAME_CHARS} characters.")
    return name


def said_lines(text: str) -> list[str]:
    """Other ways of saying a name: one a line, or separated by commas."""
    parts = (" ".join(part.split()) for part in re.split(r"[\n,;]", text))
    return [part[:NAME_CHARS] for part in dict.fromkeys(parts) if part][:20]


def cents_of(text: str) -> int | None:
    """12,90 or 1.234,50 or 12.90 as cents; None for anything else."""
    plain = text.strip().removeprefix("R$").strip()
    if re.fullmatch(r"\d{1,3}(\.\d{3})+(,\d{1,2})?|\d{1,7}(,\d{1,2})?", plain, re.ASCII):
        plain = plain.replace(".", "").replace(",", ".")
    elif not re.fullmatch(r"\d{1,7}\.\d{1,2}", plain, re.ASCII):
        return None
    whole, _, rest = plain.partition(".")
    return int(whole) * 100 + int(rest.ljust(2, "0") or 0)


def typed_moment(view: View, text: str) -> datetime | None:
    """A day and time as the shop's clock shows it."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=view.zone).astimezone(UTC)
    except ValueError:
        return None


def date_of(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def whole_of(text: str) -> int:
    return min(int(text), 1_000_000) if text.isascii() and text.isdigit() else 0


def money_text(view: View, cents: int) -> str:
    text = f"{cents / 100:,.2f}"
    return text.translate(str.maketrans(",.", ".,")) if view.language == "pt-BR" else text


def local_time(view: View, moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(view.zone)


def between_days(view: View, first: date, last: date) -> Any:
    """From the first day's beginning to the last one's end, in the site's time zone."""
    start = datetime(first.year, first.month, first.day, tzinfo=view.zone)
    after = last + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=view.zone)
    return where(at__gte=timestamp(start), at__lt=timestamp(end))


async def every_row(
    view: View, collection: str, filters: Any, columns: tuple[Column, ...], most: int
) -> list[dict[str, Any]]:
    """All rows, in pages."""
    rows: list[dict[str, Any]] = []
    while len(rows) < most:
        found = await view.rows(
            collection, filters, order=(Order("id"),), limit=QUERY_ROWS, offset=len(rows),
            columns=(*columns, Column("id")) if columns else (),
        )  # fmt: skip
        rows += found.rows
        if len(found.rows) < QUERY_ROWS:
            break
    return rows


async def one_row(view: View, collection: str, id: str) -> dict[str, Any]:
    found = await view.rows(collection, where(id=id), limit=1)
    if not found.rows:
        raise NotFound(f"There is no {id[:64]} in {collection}.")
    return found.rows[0]


def record_of(kind: Any, row: Mapping[str, Any]) -> Any:
    known = {name: row[name] for name in kind.__struct_fields__ if name in row}
    return msgspec.convert(known, kind, strict=False)

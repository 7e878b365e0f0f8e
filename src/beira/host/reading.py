"""What apps' pages have in common: rows in full, days in a site's time zone, what forms and addresses
hold, and lists to download."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from beira.host.page import Reply, View
from beira.kernel import limits
from beira.kernel.collection import timestamp
from beira.kernel.errors import NotFound
from beira.kernel.query import Column, Compare, Every, Filter, Op, Order, Some, both, where
from beira.kernel.record import Record

R = TypeVar("R", bound=Record)
FORMULA = re.compile(r"\s*[=+\-@\t\r]")
"""A spreadsheet takes text that begins so for a formula."""


async def one_row(view: View, collection: str, id: str) -> dict[str, Any]:
    """Raises NotFound."""
    found = await view.rows(collection, where(id=id), limit=1)
    if not found.rows:
        raise NotFound(f"There is no {id[:64]} in {collection}.")
    return found.rows[0]


async def every_row(
    view: View, collection: str, filters: Filter | None, columns: tuple[Column, ...], most: int
) -> list[dict[str, Any]]:
    """All rows, up to `most`, by their ids."""
    rows: list[dict[str, Any]] = []
    chosen = (*columns, Column("id")) if columns else ()
    while len(rows) < most:
        beyond = where(id__gt=str(rows[-1]["id"])) if rows else None
        found = await view.rows(
            collection, both(filters, beyond), order=(Order("id"),), columns=chosen,
            limit=limits.QUERY_ROWS,
        )  # fmt: skip
        rows += found.rows
        if len(found.rows) < limits.QUERY_ROWS:
            break
    return rows[:most]


async def rows_by_time(
    view: View, collection: str, filters: Filter | None
) -> AsyncIterator[list[dict[str, Any]]]:
    """All rows by their `at`, oldest first, in lots: of any number, since no lot is counted anew."""
    last: dict[str, Any] | None = None
    while True:
        found = await view.rows(
            collection,
            both(filters, _after(last) if last else None),
            order=(Order("at"), Order("id")),
            limit=limits.QUERY_ROWS,
        )
        if found.rows:
            yield found.rows
            last = found.rows[-1]
        if len(found.rows) < limits.QUERY_ROWS:
            return


def _after(row: Mapping[str, Any]) -> Filter:
    later = Compare("at", Op.GT, row["at"])
    beside = Every((Compare("at", Op.EQ, row["at"]), Compare("id", Op.GT, row["id"])))
    return Some((later, beside))


def record_of(kind: type[R], row: Mapping[str, Any]) -> R:
    """A row as its record; what was written before a field was there has its default. Raises
    msgspec.ValidationError for a row of another shape."""
    known = {
        field.name: row[field.name]
        for field in msgspec.structs.fields(kind)
        if row.get(field.name) is not None or (field.required and field.name in row)
    }
    return msgspec.convert(known, kind, strict=False)


def between_days(view: View, first: date, last: date) -> Filter:
    """From the first day's beginning to the last one's end, in the site's time zone."""
    start = datetime(first.year, first.month, first.day, tzinfo=view.zone)
    after = last + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=view.zone)
    return where(at__gte=timestamp(start), at__lt=timestamp(end))


def local_time(view: View, moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(view.zone)


def typed_moment(view: View, text: str) -> datetime | None:
    """A day and time as the shop's clock shows it."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=view.zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def date_of(text: str) -> date | None:
    """A day between 2000 and 2100, or None."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 2000 <= found.year <= 2100 else None


def whole_of(text: str) -> int:
    """A number from an address, 0 for what is none."""
    short = text.isascii() and text.isdigit() and len(text) < 10
    return min(int(text), limits.OFFSET_ROWS) if short else 0


def words_filter(text: str, columns: Iterable[str]) -> Filter | None:
    """That every word of a search is somewhere in one of the columns."""
    names = tuple(columns)
    plain = text.translate(str.maketrans("", "", "%*_\\")).split()[:6]
    terms = tuple(Some(tuple(Compare(c, Op.ILIKE, f"*{word}*") for c in names)) for word in plain)
    return Every(terms) if terms else None


def csv_reply(name: str, lots: AsyncIterator[Sequence[Sequence[object]]]) -> Reply:
    """A sheet to download, made while it is sent: with semicolons, as Brazilian spreadsheets read it.
    Texts that such a program would take for formulas are made harmless."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Reply(_sheet(lots), media_type="text/csv; charset=utf-8", headers=headers)


async def _sheet(lots: AsyncIterator[Sequence[Sequence[object]]]) -> AsyncIterator[bytes]:
    yield "\ufeff".encode()
    async for lot in lots:
        out = io.StringIO()
        sheet = csv.writer(out, delimiter=";", lineterminator="\r\n")
        sheet.writerows([_cell(cell) for cell in line] for line in lot)
        yield out.getvalue().encode()


def _cell(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell

"""What customers asked for: what is still open, and what became of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from beira.apps.voice.portal_reading import LIST_ROWS, ROWS_MOST, STAFF
from beira.apps.voice.records import RequestClosing
from beira.sdk import (
    Reply,
    View,
    every_row,
    one_row,
    page,
    timestamp,
    where,
    whole_of,
)

LOOKED_BACK = timedelta(days=90)
WHICH = ("open", "closed", "all")
OUTCOMES = ("done", "cancelled")


@page("/requests", roles=STAFF)
async def requests(view: View) -> Reply:
    return view.render("voice/requests.html", **await _requests(view))


@page("/requests/list", roles=STAFF)
async def requests_list(view: View) -> Reply:
    return view.render("voice/requests_list.html", **await _requests(view))


@page("/requests/{id:str}/close", method="POST", roles=STAFF)
async def close(view: View) -> Reply:
    """Note what became of a request, in the reader's name; of several notes the first holds."""
    row = await one_row(view, "customer_requests", view.path["id"])
    outcome = "cancelled" if view.form.get("outcome") == "cancelled" else "done"
    if not (await view.rows("request_closings", where(request=row["id"]), limit=1)).rows:
        closing = RequestClosing(
            request=str(row["id"]),
            outcome=outcome,  # type: ignore[arg-type]
            by=view.principal.name or view.principal.id,
            at=view.host.now(),
        )
        async with view.host.writing() as ctx:
            ctx.put(closing, partition=str(row["_partition"]))
    return view.redirect("/requests", done="attended" if outcome == "done" else "given_up")


async def open_requests(view: View) -> int:
    """How many wait for somebody."""
    return sum(row["end"] is None for row in await _with_ends(view))


async def _requests(view: View) -> dict[str, Any]:
    which = view.asked.get("which", "open")
    which = which if which in WHICH else "open"
    words = view.asked.get("q", "").strip()[:80]
    offset = whole_of(view.asked.get("from", ""))
    found = [row for row in await _with_ends(view) if _fits(row, which, words.casefold().split())]
    return {
        "rows": found[offset : offset + LIST_ROWS],
        "total": len(found),
        "offset": offset,
        "which": which,
        "q": words,
        "sites": await view.sites(),
    }


async def _with_ends(view: View) -> list[dict[str, Any]]:
    """The requests of the last months, the newest first, each with its `end` (None: open)."""
    since = where(at__gte=timestamp(view.host.now() - LOOKED_BACK))
    rows = await every_row(view, "customer_requests", since, (), ROWS_MOST)
    ends: dict[str, dict[str, Any]] = {}
    for row in await every_row(view, "request_closings", since, (), ROWS_MOST):
        first = ends.setdefault(str(row["request"]), row)
        if str(row["at"]) < str(first["at"]):
            ends[str(row["request"])] = row
    joined = [{**row, "end": ends.get(str(row["id"]))} for row in rows]
    return sorted(joined, key=lambda row: str(row["at"]), reverse=True)


def _fits(row: Mapping[str, Any], which: str, words: list[str]) -> bool:
    if which != "all" and (row["end"] is None) != (which == "open"):
        return False
    said = f"{row['text']} {row['customer']} {row['phone']}".casefold()
    return all(word in said for word in words)

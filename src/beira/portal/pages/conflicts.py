"""Conflicts: two places wrote different values into one field, neither knowing of the other; which
value was kept, which was not, and a button that takes the other back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from beira.host.page import Reply
from beira.kernel import limits
from beira.kernel.access import Kind, Principal, may_write
from beira.kernel.collection import Collection, Field, FieldType
from beira.kernel.errors import BeiraError, Unavailable
from beira.kernel.query import Query, where
from beira.portal.formats import day, parsed
from beira.portal.forms import as_text
from beira.portal.pages.own import STAFF, own
from beira.portal.visit import Visit
from beira.sync.cloud.conflicts import PAGE_ROWS, lost_values, restore

CALLED_BY = ("name", "title", "label", "text")
"""Fields that records are called by, if they have one; else their first text says it."""
GIST_CHARS = 48


@dataclass(frozen=True, slots=True)
class Lost:
    """A conflict as people read it. `gist` is a few of the record's words, "" for one that is gone."""

    id: str
    collection: str
    gist: str
    field: str
    lost: str
    lost_by: str
    lost_at: str
    kept: str
    kept_by: str
    kept_at: str
    restored_by: str
    restored_at: str | None
    restorable: bool


@own("/conflicts", roles=STAFF, where="cloud")
async def conflicts(visit: Visit) -> Reply:
    return await _list(visit, "portal/conflicts.html")


@own("/conflicts/list", roles=STAFF, where="cloud")
async def listed(visit: Visit) -> Reply:
    return await _list(visit, "portal/conflicts_list.html")


@own("/conflicts/{conflict:str}/restore", method="POST", roles=STAFF, where="cloud")
async def take_back(visit: Visit) -> Reply:
    """Write the value that lost again, in the reader's name."""
    by = visit.principal
    try:
        row = await restore(visit.host, visit.path["conflict"], by=by)
    except Unavailable:
        raise
    except BeiraError as error:
        return await _list(visit, "portal/conflicts.html", error=error)
    noted_by = Principal(kind=Kind.SERVICE, id=by.id, tenant=by.tenant, name=by.name)
    about = f"{row.collection}/{row.id}.{next(iter(row.fields))}"
    await visit.desk.people.tenants.note(noted_by, "conflict_restored", about)
    return visit.redirect("/conflicts", done="restored")


async def _list(visit: Visit, template: str, *, error: BeiraError | None = None) -> Reply:
    only_open = visit.asked.get("which", "open") != "restored"
    text = visit.asked.get("from", "0")
    offset = min(int(text), 1_000_000) if text.isascii() and text.isdigit() else 0
    page = await lost_values(visit.host, visit.principal, restored=not only_open, offset=offset)
    nodes = (await visit.rows("node_info", limit=limits.CONFLICT_NODES)).rows
    names = {str(row["id"]): str(row["name"]) for row in nodes}
    gists = await _gists(visit, page.rows)
    return visit.render(
        template,
        status=error.status if error else 200,
        rows=[_shown(visit, row, names, gists) for row in page.rows],
        total=page.total or 0,
        offset=offset,
        size=PAGE_ROWS,
        only_open=only_open,
        error=visit.told(error) if error else None,
    )


async def _gists(visit: Visit, rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """A few words of each record, by collection and id: ids say nothing to people."""
    wanted: dict[str, list[str]] = {}
    for row in rows:
        wanted.setdefault(row["in_collection"], []).append(row["record"])
    found: dict[tuple[str, str], str] = {}
    for name, ids in wanted.items():
        texts = [
            field.name
            for field in visit.host.store.registry[name].fields.values()
            if field.type is FieldType.TEXT and field.plain is not None
        ]
        texts.sort(key=lambda text: CALLED_BY.index(text) if text in CALLED_BY else len(CALLED_BY))
        asked = Query(collection=name, where=where(id__in=tuple(set(ids))), limit=len(ids))
        for record in (await visit.rows(name, asked.where, limit=asked.limit)).rows:
            said = [record[text].strip() for text in texts if isinstance(record[text], str)]
            found[name, record["id"]] = next((text for text in said if text), "")[:GIST_CHARS]
    return found


def _shown(
    visit: Visit, row: dict[str, Any], nodes: dict[str, str], gists: dict[tuple[str, str], str]
) -> Lost:
    declared = visit.host.store.registry[row["in_collection"]]
    return Lost(
        id=row["id"],
        collection=declared.name,
        gist=gists.get((declared.name, row["record"]), ""),
        field=_named(visit, row["field"]),
        lost=_said(visit, declared, row["field"], row["lost"]),
        lost_by=_who(visit, nodes, row["lost_by"]),
        lost_at=row["lost_at"],
        kept=_said(visit, declared, row["field"], row["kept"]),
        kept_by=_who(visit, nodes, row["kept_by"]),
        kept_at=row["kept_at"],
        restored_by=row["restored_by"],
        restored_at=row["restored_at"],
        restorable=not row["restored_by"] and may_write(visit.principal, declared),
    )


def _named(visit: Visit, field: str) -> str:
    known = visit.words.get(field)
    if known is not None:
        return known[0].partition(" (")[0]
    if field == "_deleted":
        return visit.t("Apagado", "Deleted")
    return field.replace("_", " ").capitalize()


def _who(visit: Visit, nodes: dict[str, str], name: str) -> str:
    """Who stamped a value: a node by its name, the cloud for what was written in its portal."""
    known = nodes.get(name)
    if known is not None:
        return known
    cloud = name.startswith("cloud")
    return visit.t("a nuvem", "the cloud") if cloud else visit.t("outro nó", "another node")


def _said(visit: Visit, declared: Collection, name: str, value: Any) -> str:
    """A value as people write it, in the reader's words and the site's time."""
    field = declared.fields.get(name)
    if value is None or value == "":
        return visit.t("vazio", "empty")
    if isinstance(value, bool):
        return visit.t("sim", "yes") if value else visit.t("não", "no")
    moment = parsed(value) if _is_time(field) and isinstance(value, str) else None
    if moment is not None:
        local = moment.astimezone(visit.zone)
        return f"{day(local.date(), visit.language)} {local:%H:%M}"
    if name.endswith("_cents") and isinstance(value, int):
        return visit.t(f"R$ {value / 100:.2f}".replace(".", ","), f"R$ {value / 100:.2f}")
    chosen = visit.words.get(f"option.{value}") if isinstance(value, str) else None
    text = chosen[0] if chosen else as_text(value)
    return (
        text
        if len(text) <= limits.CONFLICT_VALUE_CHARS
        else text[: limits.CONFLICT_VALUE_CHARS - 1] + "…"
    )


def _is_time(field: Field | None) -> bool:
    return field is not None and field.type is FieldType.TIMESTAMP


PAGES = (conflicts, listed, take_back)

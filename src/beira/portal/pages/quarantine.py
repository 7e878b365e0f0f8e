"""What the cloud refused: what, why, what to do; mended and admitted again, or discarded."""

from __future__ import annotations

from typing import Any

from beira.host.page import Reply
from beira.kernel.access import (
    TENANT_PARTITION,
    Kind,
    Principal,
    group_partition,
    node_partition,
    site_partition,
)
from beira.kernel.errors import BeiraError, Invalid, NotFound, Unavailable
from beira.kernel.quarantine import held
from beira.kernel.query import Compare, Op, Order, Some, where
from beira.kernel.record import Row
from beira.kernel.system import Quarantined
from beira.portal.mend import Mending
from beira.portal.pages.own import OWNER, own
from beira.portal.visit import Visit
from beira.portal.words import refusal
from beira.sync.cloud.quarantine import discard as discard_record
from beira.sync.cloud.quarantine import kept, replay

PAGE_ROWS = 50
GIST_FIELDS = 4
GIST_CHARS = 48
NEWEST = (Order("_hlc", descending=True),)
OPEN = Some((where(state="open"), Compare("state", Op.IS, None)))
ENDED = where(state__in=("replayed", "discarded"))


@own("/quarantine", roles=OWNER, where="cloud")
async def quarantine(visit: Visit) -> Reply:
    return await _list(visit, "portal/quarantine.html")


@own("/quarantine/list", roles=OWNER, where="cloud")
async def listed(visit: Visit) -> Reply:
    return await _list(visit, "portal/quarantine_list.html")


@own("/quarantine/{record:str}", roles=OWNER, where="cloud")
async def one(visit: Visit) -> Reply:
    return await _page(visit)


@own("/quarantine/{record:str}/replay", method="POST", roles=OWNER, where="cloud")
async def again(visit: Visit) -> Reply:
    """Admit it once more, as its node's; what was typed goes in the place of what came."""
    record = await kept(visit.host, visit.path["record"], visit.principal)
    row = held(record)
    fields: dict[str, Any] | None = None
    mending = _mending(visit, row)
    if mending is not None and visit.form.get("mended") == "yes":
        fields, errors = mending.given(visit.form)
        if errors:
            return await _page(visit, errors=errors)
    asked = visit.form.get("partition", "")
    try:
        node = await _node(visit, record.node)
        if node is None:
            raise NotFound("There is no such node any more.", code="quarantine.node_gone")
        await replay(
            visit.host,
            record.id,
            by=visit.principal,
            node=node,
            fields=None if fields == row.fields else fields,
            partition="" if asked == row.partition else asked,
        )
    except Unavailable:
        raise
    except BeiraError as error:
        await _note(visit, "quarantine_replayed", record, ok=False, detail=error.code)
        name = str(error.details.get("field", ""))
        return await _page(visit, error=error, errors={name: error.message} if name else {})
    await _note(visit, "quarantine_replayed", record)
    return visit.redirect("/quarantine", done="admitted")


@own("/quarantine/{record:str}/discard", method="POST", roles=OWNER, where="cloud")
async def discard(visit: Visit) -> Reply:
    record = await kept(visit.host, visit.path["record"], visit.principal)
    try:
        await discard_record(visit.host, record.id, by=visit.principal)
    except Unavailable:
        raise
    except BeiraError as error:
        return await _page(visit, error=error)
    await _note(visit, "quarantine_discarded", record)
    return visit.redirect("/quarantine", done="discarded")


async def count_open(visit: Visit) -> int:
    """How many refused records wait for an owner, in the cloud."""
    if not visit.in_cloud:
        return 0
    return (await visit.rows("quarantine", OPEN, limit=1, count=True)).total or 0


async def _list(visit: Visit, template: str) -> Reply:
    only_open = visit.asked.get("which", "open") != "ended"
    text = visit.asked.get("from", "0")
    offset = min(int(text), 1_000_000) if text.isascii() and text.isdigit() else 0
    page = await visit.rows(
        "quarantine", OPEN if only_open else ENDED, order=NEWEST, limit=PAGE_ROWS, offset=offset,
        count=True,
    )  # fmt: skip
    nodes = (await visit.rows("node_info", limit=1_000)).rows
    return visit.render(
        template,
        rows=[
            {**row, "why": refusal(row["code"], visit.language), "gist": _gist(row["row"])}
            for row in page.rows
        ],
        total=page.total or 0,
        offset=offset,
        only_open=only_open,
        node_names={row["id"]: row["name"] for row in nodes},
    )


async def _page(
    visit: Visit, *, errors: dict[str, str] | None = None, error: BeiraError | None = None
) -> Reply:
    record = await kept(visit.host, visit.path["record"], visit.principal)
    row: Row | None
    try:
        row = held(record)
    except Invalid:
        row = None
    node = await _node(visit, record.node)
    mending = _mending(visit, row) if row is not None else None
    failed = errors is not None or error is not None
    typed = visit.form if failed and visit.form.get("mended") == "yes" else None
    wrong = errors if errors is not None else (mending.wrong() if mending else {})
    granted = _places(visit, node) if node is not None else []
    return visit.render(
        "portal/quarantine_one.html",
        status=400 if failed else 200,
        record=record,
        row=row,
        node=node,
        why=refusal(record.code, visit.language),
        error=visit.told(error) if error else None,
        errors=errors or {},
        inputs=mending.inputs(typed, wrong) if mending else [],
        others=mending.others if mending else [],
        places=granted,
        strays=row is not None and row.partition not in dict(granted),
    )


def _gist(whole: Any) -> str:
    """A few of a record's words, to know it by."""
    fields = whole.get("fields") if isinstance(whole, dict) else None
    texts = [v for v in fields.values() if isinstance(v, str)] if isinstance(fields, dict) else []
    few = [text[:GIST_CHARS] for text in texts if text.strip()][:GIST_FIELDS]
    return " · ".join(few)


def _mending(visit: Visit, row: Row) -> Mending | None:
    """The form of a record whose collection is known here."""
    registry = visit.host.store.registry
    if row.collection not in registry:
        return None
    return Mending(
        registry[row.collection], row.fields, words=visit.words, say=visit.t, zone=visit.zone
    )


def _places(visit: Visit, node: Principal) -> list[tuple[str, str]]:
    """Where a record of the node may belong."""
    sites = node.sites or ()
    found = [(site_partition(id), visit.site_names.get(id, id)) for id in sites]
    found += [(group_partition(group), group) for group in node.groups]
    found.append((TENANT_PARTITION, visit.t("Toda a empresa", "The whole company")))
    found.append((node_partition(node.id), f"{node.name} ({visit.t('nó', 'node')})"))
    return found


async def _node(visit: Visit, id: str) -> Principal | None:
    """The node with what it may write today, revoked or not: an owner answers for its record."""
    people, by = visit.desk.people, visit.principal
    view = next((v for v in await people.nodes.of(by) if v.id == id), None)
    if view is None:
        return None
    sites = {site.id: site for site in await people.tenants.sites(by)}
    groups = sites[view.site].groups if view.site in sites else ()
    return Principal(
        kind=Kind.NODE,
        id=view.id,
        tenant=by.tenant,
        name=view.name,
        sites=(view.site,),
        groups=groups,
    )


async def _note(
    visit: Visit, what: str, record: Quarantined, *, ok: bool = True, detail: str = ""
) -> None:
    about = f"{record.in_collection}/{record.record}"
    await visit.desk.people.tenants.note(visit.principal, what, about, ok=ok, detail=detail)


PAGES = (quarantine, listed, one, again, discard)

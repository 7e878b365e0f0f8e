"""Nodes: how each one is, what it still has to send, its codes, its end, and commands sent to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from beira.host.page import Reply
from beira.kernel import limits
from beira.kernel.access import node_partition, require
from beira.kernel.collection import Lane
from beira.kernel.command import Command, Runs
from beira.kernel.errors import BeiraError, Invalid, NotFound, Unavailable
from beira.kernel.lateness import SHARE_LEAST, day_of
from beira.kernel.query import Order, where
from beira.kernel.system import is_online
from beira.portal.formats import parsed
from beira.portal.forms import as_text, command_inputs, given
from beira.portal.looks import drawing
from beira.portal.pages.own import OWNER, STAFF, own
from beira.portal.visit import Visit
from beira.portal.words import trouble

RAW_LEAST_BYTES = 10_000
LANES = (Lane.CRITICAL, Lane.IMPORTANT, Lane.NORMAL)


@own("/nodes", where="cloud")
async def nodes(visit: Visit) -> Reply:
    return visit.render("portal/nodes.html", nodes=await all_nodes(visit))


@own("/nodes/list", where="cloud")
async def listed(visit: Visit) -> Reply:
    return visit.render("portal/nodes_list.html", nodes=await all_nodes(visit))


@own("/nodes/new", roles=OWNER, where="cloud")
async def new(visit: Visit) -> Reply:
    return visit.render("portal/node_new.html", code=None, error=None, replacing=None)


@own("/nodes/new", method="POST", roles=OWNER, where="cloud")
async def make_code(visit: Visit) -> Reply:
    """A one-time code, shown here and nowhere again."""
    form = visit.form
    node = form.get("node", "")[:64] or None
    try:
        code = await visit.desk.people.nodes.make_code(
            visit.principal, form.get("site", "")[:64], name=form.get("name", ""), node=node
        )
    except Unavailable:
        raise
    except BeiraError as error:
        told = visit.told(error)
        return visit.render(
            "portal/node_new.html", status=400, code=None, error=told, replacing=node
        )
    shown = {
        "code": code.code,
        "link": code.link,
        "qr": drawing(code.qr_svg),
        "expires_at": code.expires_at,
        "site": visit.site_names.get(code.site, code.site),
    }
    address = code.link.partition("/enrol#")[0]
    return visit.render(
        "portal/node_new.html", code=shown, error=None, address=address, replacing=node
    )


@own("/nodes/{node:str}", where="cloud")
async def node(visit: Visit) -> Reply:
    return await _node_page(visit)


@own("/nodes/{node:str}/status", where="cloud")
async def status(visit: Visit) -> Reply:
    found = await _one(visit)
    return visit.render("portal/node_status.html", node=found)


@own("/nodes/{node:str}/calls", roles=STAFF, where="cloud")
async def calls(visit: Visit) -> Reply:
    found = await _one(visit)
    return visit.render("portal/node_calls.html", node=found, calls=await _calls(visit))


@own("/nodes/{node:str}/call", method="POST", roles=STAFF, where="cloud")
async def call(visit: Visit) -> Reply:
    """Send a command: a record that goes down, whose receipt comes up."""
    found = await _one(visit)
    command = _command(visit, visit.form.get("command", ""))
    inputs = command_inputs(command, visit.form, visit.words)
    values, errors = given(inputs, _zoned(visit, inputs))
    if not errors:
        try:
            command.check(values)
        except Invalid as error:
            errors[str(error.details.get("parameter", ""))] = error.message
    if errors:
        return await _node_page(visit, chosen=command, errors=errors)
    await visit.call(found["id"], command.name, values)
    return visit.redirect(f"/nodes/{found['id']}", done="sent")


@own("/nodes/{node:str}/rename", method="POST", roles=OWNER, where="cloud")
async def rename(visit: Visit) -> Reply:
    found = await _one(visit)
    try:
        name = visit.form.get("name", "")
        await visit.desk.people.nodes.rename(visit.principal, found["id"], name)
    except Unavailable:
        raise
    except BeiraError as error:
        return await _node_page(visit, problem=visit.told(error))
    await visit.desk.follow_places(visit.principal.tenant)
    return visit.redirect(f"/nodes/{found['id']}", done="renamed")


@own("/nodes/{node:str}/revoke", method="POST", roles=OWNER, where="cloud")
async def revoke(visit: Visit) -> Reply:
    found = await _one(visit)
    await visit.desk.people.nodes.revoke(visit.principal, found["id"])
    await visit.desk.follow_places(visit.principal.tenant)
    return visit.redirect("/nodes", done="revoked")


@own("/nodes/{node:str}/clear", method="POST", roles=OWNER, where="cloud")
async def clear(visit: Visit) -> Reply:
    found = await _one(visit)
    await visit.desk.people.nodes.clear_duplicated(visit.principal, found["id"])
    return visit.redirect(f"/nodes/{found['id']}", done="saved")


async def all_nodes(visit: Visit) -> list[dict[str, Any]]:
    """Every node this person may know of, with how it is."""
    infos = (await visit.rows("node_info", order=(Order("name"),), limit=limits.NODES_SHOWN)).rows
    statuses = (await visit.rows("node_status", limit=limits.NODES_SHOWN)).rows
    by_id = {row["id"]: row for row in statuses}
    names = visit.site_names
    seen = [row for row in infos if visit.principal.sites is None or row["site"] in names]
    return [_with_state(visit, row, by_id.get(row["id"])) for row in seen]


async def _one(visit: Visit) -> dict[str, Any]:
    """The node of the address. Raises NotFound, also for another's site."""
    info = await visit.row("node_info", visit.path["node"])
    if visit.principal.sites is not None and info["site"] not in visit.site_names:
        raise NotFound("There is no such node.")
    found = (await visit.rows("node_status", where(id=info["id"]), limit=1)).rows
    return _with_state(visit, info, found[0] if found else None)


def _with_state(visit: Visit, info: dict[str, Any], told: dict[str, Any] | None) -> dict[str, Any]:
    status = told or {}
    pending = {lane.lower(): int(n) for lane, n in (status.get("pending") or {}).items()}
    return {
        "id": info["id"],
        "name": info["name"],
        "site": info["site"],
        "site_name": visit.site_names.get(info["site"], info["site"]),
        "state": "on" if is_online(status, visit.now) else ("off" if told else "new"),
        "status": status,
        "lanes": [_lane(status, pending, lane) for lane in LANES],
        "waiting": sum(pending.values()),
        "ratio": _ratio(status),
        "trouble": trouble(
            status.get("last_code") or "",
            status.get("last_error") or "",
            status.get("next_step") or "",
            visit.language,
        ),
    }


def _ratio(status: dict[str, Any]) -> float | None:
    """How large what was sent is, of what was to be sent; None while that says nothing yet."""
    raw, sent = status.get("bytes_raw") or 0, status.get("bytes_sent") or 0
    return sent / raw if raw >= RAW_LEAST_BYTES else None


def _lane(status: dict[str, Any], pending: dict[str, int], lane: Lane) -> dict[str, Any]:
    """What waits in a lane; `met` is the share of the last day's batches that kept their deadline, or
    None, or since the node was started where the day is not known (`day` is False)."""
    name = lane.name.lower()
    oldest = {key.lower(): value for key, value in (status.get("oldest_s") or {}).items()}
    kept = {key.lower(): value for key, value in (status.get("met") or {}).items()}
    hours = status.get("hours") or {}
    met, late = day_of(hours, name) if hours else [*(kept.get(name) or ()), 0, 0][:2]
    share = met / (met + late) if met + late else None
    low = share is not None and share < SHARE_LEAST
    return {
        "name": name,
        "deadline_s": lane.deadline_s,
        "waiting": pending.get(name, 0),
        "oldest_s": oldest.get(name, 0),
        "met": share,
        "low": low,
        "late": late,
        "batches": met + late,
        "day": bool(hours),
        "held": name in (status.get("held") or ()),
    }


async def _node_page(
    visit: Visit,
    *,
    chosen: Command | None = None,
    errors: dict[str, str] | None = None,
    problem: object = None,
) -> Reply:
    found = await _one(visit)
    may_send = visit.in_cloud and visit.principal.role in STAFF
    commands = _commands(visit) if may_send else []
    if chosen is None and visit.asked.get("command"):
        chosen = _command(visit, visit.asked["command"])
    inputs = command_inputs(chosen, visit.form, visit.words) if chosen else []
    duplicated = await _duplicated(visit, found["id"]) if visit.principal.role == "owner" else None
    return visit.render(
        "portal/node.html",
        status=400 if errors or problem else 200,
        node=found,
        commands=commands,
        chosen=chosen,
        inputs=inputs,
        errors=errors or {},
        trouble=problem,
        duplicated=duplicated,
        calls=await _calls(visit) if visit.principal.role in STAFF else [],
    )


async def _duplicated(visit: Visit, id: str) -> float | None:
    if not visit.in_cloud:
        return None
    views = await visit.desk.people.nodes.of(visit.principal)
    return next((view.duplicated_at for view in views if view.id == id), None)


def _commands(visit: Visit) -> list[Command]:
    """What this person may ask of a node."""
    role = visit.principal.role
    every = visit.host.catalogue.commands.values()
    fitting = [c for c in every if role in c.roles and c.runs is not Runs.CLOUD]
    return sorted(fitting, key=lambda command: command.name)


def _command(visit: Visit, name: str) -> Command:
    command = visit.host.catalogue.command(name[:64])
    require(command in _commands(visit), visit.principal, "send", command.name)
    return command


async def _calls(visit: Visit) -> list[dict[str, Any]]:
    """The last commands sent to the node, with what became of each."""
    partition = node_partition(visit.path["node"])
    order = (Order("_hlc", descending=True),)
    sent = (await visit.rows("calls", where(_partition=partition), order=order, limit=10)).rows
    if not sent:
        return []
    ids = tuple(str(row["id"]) for row in sent)
    receipts = (await visit.rows("receipts", where(id__in=ids), limit=len(ids))).rows
    by_id = {row["id"]: row for row in receipts}
    return [
        {**row, "receipt": by_id.get(row["id"]), "given": _given_to(visit, row)} for row in sent
    ]


def _given_to(visit: Visit, call: dict[str, Any]) -> list[tuple[str, str]]:
    """What a command was given, as people would say it."""
    found = []
    for name, value in (call["params"] or {}).items():
        moment = parsed(value) if name == "at" else None
        shown = f"{moment.astimezone(visit.zone):%d/%m %H:%M}" if moment else as_text(value)
        words = visit.words.get(name)
        found.append((words[0] if words else name.replace("_", " "), shown))
    return found


def _zoned(visit: Visit, inputs: list[Any]) -> dict[str, str]:
    """Times are typed as the shop's clock shows them."""
    form = dict(visit.form)
    zone = visit.zone if isinstance(visit.zone, ZoneInfo) else ZoneInfo("UTC")
    for item in inputs:
        text = form.get(f"p.{item.name}", "")
        if item.widget == "datetime" and text:
            try:
                moment = datetime.fromisoformat(text).replace(tzinfo=zone)
            except ValueError:
                continue
            form[f"p.{item.name}"] = moment.isoformat()
    return form


PAGES = (nodes, listed, new, make_code, node, status, calls, call, rename, revoke, clear)

"""Sending a command to a node from the cloud, and waiting a while for what became of it.

The call is a record that flows down and its receipt one that flows up, so that nothing is lost when
the node is offline: an answer then says only that the call was sent.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from beira.api.door import Caller
from beira.host import Host
from beira.kernel import limits
from beira.kernel.access import Kind, node_partition, require
from beira.kernel.collection import collection_of
from beira.kernel.command import Call, Command, Receipt, Runs
from beira.kernel.errors import Conflict, Denied, NotFound
from beira.store.port import News


async def send(
    caller: Caller,
    node: str,
    command: Command,
    params: dict[str, object],
    *,
    call_id: str,
    trace_id: str,
    wait_s: float,
) -> Receipt | str:
    """Call `command` on a node: the receipt if it came within `wait_s`, else the call's id.

    A `call_id` that was sent before is not sent again. Raises: NotFound, Denied, Invalid, Conflict.
    """
    await _check(caller, node, command)
    command.check(params)
    host = caller.host
    call = Call(
        id=call_id or host.wall.new_id(),
        command=command.name,
        params=params,
        by=caller.principal.name or caller.principal.id,
        role=caller.principal.role,
        expires_at=host.now() + timedelta(seconds=limits.CALL_EXPIRES_S),
        trace=trace_id,
    )
    came = asyncio.Event()

    def heard(news: News) -> None:
        if any(row[:2] == ("receipts", call.id) for row in news.rows):
            came.set()

    end = host.store.subscribe(heard)
    try:
        await _put_once(host, call, node)
        return await _receipt(caller, call.id, came, wait_s) or call.id
    finally:
        end()


async def _put_once(host: Host, call: Call, node: str) -> None:
    """Write the call unless it is there, perhaps by another replica at this moment."""
    if await host.store.get("calls", call.id) is not None:
        return
    try:
        async with host.writing() as ctx:
            ctx.put(call, partition=node_partition(node))
    except Conflict:
        row = await host.store.get("calls", call.id)
        first = row and (row.partition, row.fields.get("command"), row.fields.get("by"))
        if first != (node_partition(node), call.command, call.by):
            raise reused() from None


def reused() -> Conflict:
    return Conflict(
        "That Idempotency-Key was used for another call.",
        code="idempotency.reused",
        hint="Make a new key for each call, and repeat it only to try the same call again.",
    )


async def _receipt(caller: Caller, id: str, came: asyncio.Event, wait_s: float) -> Receipt | None:
    row = await caller.host.store.get("receipts", id)
    if row is None and wait_s > 0:
        try:
            await asyncio.wait_for(came.wait(), min(wait_s, limits.POLL_WAIT_S))
        except TimeoutError:
            return None
        row = await caller.host.store.get("receipts", id)
    if row is None:
        return None
    receipt = collection_of(Receipt).decode(row.id, row.fields)
    assert isinstance(receipt, Receipt)
    return receipt


async def _check(caller: Caller, node: str, command: Command) -> None:
    principal = caller.principal
    person = principal.kind is Kind.PERSON
    allowed = (person and principal.role in command.roles) or principal.kind is Kind.SERVICE
    require(allowed, principal, "run", command.name)
    if not caller.host.place.in_cloud or command.runs is Runs.CLOUD:
        raise Denied(
            f"{command.name} cannot be sent to {node[: limits.ID_CHARS]} from here.",
            code="command.elsewhere",
            hint="Ask the cloud to send it.",
        )
    row = await caller.host.store.get("node_info", node)
    known = row is not None and not row.deleted
    sites = principal.sites
    if row is None or not known or (sites is not None and row.fields.get("site") not in sites):
        raise NotFound(
            f"There is no node {node[: limits.ID_CHARS]}.",
            code="node.unknown",
            hint="See /rest/v1/node_info for those there are.",
        )

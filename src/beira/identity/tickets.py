"""Tickets of nodes in PostgreSQL: how two machines with one identity are found out (`kernel.ticket`)."""

from __future__ import annotations

import secrets
from functools import partial

from beira.identity.core import Core, audit
from beira.identity.database import Transaction
from beira.kernel import ticket as tickets
from beira.kernel.errors import Conflict, Denied
from beira.store.gathering import Gathering

PAUSE_S = 0.02
"""From one look at the tickets of a tenant's nodes to the next; the first after a rest goes at once."""


class Tickets:
    """Who holds a node's ticket, on all replicas."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._showing: dict[str, Gathering[tuple[str, int], bool]] = {}

    async def present_ticket(
        self, tenant: str, node: str, ticket: int, *, sure: bool = False
    ) -> int:
        """The next ticket for a node that shows the one it has; to be confirmed once it is kept.

        Good are the ticket shown last, any at all after enrolling, and any of a later turn: one that
        was offered here, or given before this database became an older copy. Another raises Conflict
        `node.ticket_old`: it may be no more than an old request that comes late. Who has heard that
        and is `sure` is a second machine: raises Denied `node.duplicated`, and the owner sees it. The
        machine that has the right ticket goes on.
        """
        if not await self._shows(tenant, node, ticket):
            async with self._core.database.open(tenant) as connection:
                good = await self._shown(connection, node, ticket)
                if not good and sure:
                    await self._mark_duplicated(connection, tenant, node)
            if not good:
                raise _duplicated() if sure or good is None else _ticket_old()
        return tickets.following(ticket, secrets.randbelow(tickets.CHANCES))

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        """The node has `ticket` on disk. Harmless when repeated. Raises Conflict `node.ticket_old`."""
        if not await self._shows(tenant, node, ticket):
            async with self._core.database.open(tenant) as connection:
                good = await self._shown(connection, node, ticket)
            if not good:
                raise _ticket_old()

    async def _shows(self, tenant: str, node: str, ticket: int) -> bool:
        """Whether a ticket is good, and if so it is the last: asked of many nodes at once, without
        taking a lock before it is known. False may be wrong: of two tickets that one node shows at the
        same moment only one is looked at."""
        if not tickets.is_good(ticket, None):
            return False
        if tenant not in self._showing:
            read = partial(self._show_all, tenant)
            self._showing[tenant] = Gathering(read, pause_s=PAUSE_S)
        return await self._showing[tenant].ask((node, ticket))

    async def _show_all(self, tenant: str, shown: list[tuple[str, int]]) -> list[bool]:
        first = dict(sorted(reversed(shown)))
        held = list(first.values())
        began = [tickets.turn_began(ticket) for ticket in held]
        rows = await self._core.database.call("tickets_shown", tenant, list(first), held, began)
        good = {row[0] for row in rows}
        return [node in good and first[node] == ticket for node, ticket in shown]

    async def _shown(self, connection: Transaction, node: str, ticket: int) -> bool | None:
        """Whether a ticket is good, and if so it is the last; None if there is no such node."""
        row = await connection.fetchrow("SELECT ticket FROM nodes WHERE id = $1 FOR UPDATE", node)
        if row is None:
            return None
        good = tickets.is_good(ticket, row["ticket"])
        if good and ticket != row["ticket"]:
            await connection.execute("UPDATE nodes SET ticket = $2 WHERE id = $1", node, ticket)
        return good

    async def _mark_duplicated(self, connection: Transaction, tenant: str, node: str) -> None:
        marked = await connection.fetchval(
            "UPDATE nodes SET duplicated_at = $2 WHERE id = $1 AND duplicated_at IS NULL"
            " RETURNING id",
            node,
            self._core.now(),
        )
        if marked:
            who, what = f"node {node}", "node_duplicated"
            await audit(connection, self._core, tenant, who, what, node, ok=False)


def _duplicated() -> Denied:
    return Denied(
        "Two machines use this node's identity.",
        code="node.duplicated",
        hint="Turn the copy off and clear the mark in the portal; or beira node enrol --again URL CODE "
        "on this one, with a code made for it.",
    )


def _ticket_old() -> Conflict:
    return Conflict(
        "The ticket shown was used before.",
        code="node.ticket_old",
        hint="If it says so again, a second machine uses this node's identity.",
    )

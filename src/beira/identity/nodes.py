"""Nodes: enrolled by a one-time code, known by their own key, and one machine each.

A node proves itself by signing a nonce of the cloud's, so that it gets a token whatever its clock
says. Tickets find clones: each sync session is given a new one, and a node that shows an old one
is a second machine with the same key.
"""

from __future__ import annotations

import secrets
from typing import Any

import asyncpg

from beira.identity import tokens, vault
from beira.identity.core import Core, audit, checked_name, new_id, require_manager
from beira.identity.database import Transaction
from beira.identity.guard import network_of
from beira.identity.node_key import proof_holds
from beira.identity.qr import svg
from beira.identity.shapes import (
    Challenge,
    EnrolCode,
    Enrolled,
    EnrolRequest,
    NodeToken,
    NodeView,
)
from beira.identity.tickets import Tickets
from beira.identity.vault import base64url, from_base64url
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import (
    BeiraError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from beira.store.gathering import Gathering

CODE_CHARS = 10
CODES_DRAWN = 8
PAUSE_S = 0.02
"""From one reading of the rows of nodes that come to the next; the first after a rest goes at once."""
TRIES_PER_CODE = limits.TRIES_PER_CODE


class Nodes:
    """What owners do with nodes, and what nodes do to be let in."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.tickets = Tickets(core)
        self._principals: Gathering[str, Any] = Gathering(self._read_principals, pause_s=PAUSE_S)

    # Owners

    async def make_code(
        self, by: Principal, site: str, *, name: str = "", node: str | None = None
    ) -> EnrolCode:
        """A code to enrol a new node at `site`, or to replace `node`'s machine by another.

        It holds for ENROL_CODE_S, once. Raises NotFound for another tenant's site or node.
        """
        tenant, now = require_manager(by), self._core.now()
        expires_at = now + limits.ENROL_CODE_S
        async with self._core.database.open(tenant) as connection:
            place = await connection.fetchrow("SELECT * FROM sites WHERE id = $1", site)
            known = node and await connection.fetchrow(
                "SELECT * FROM nodes WHERE id = $1 AND site = $2", node, site
            )
            if place is None or (node and known is None):
                raise NotFound("There is no such site or node.", hint="Choose one of the list.")
            named = checked_name(name or (known["name"] if known else place["name"]))
            code = await self._drawn(connection, tenant, site, node, named, by.id, expires_at)
            await audit(connection, self._core, tenant, by, "enrol_code_made", node or site)
        link = f"{self._core.public_url}/enrol#{code}"
        return EnrolCode(
            code=code, link=link, qr_svg=svg(link), site=site, node=node, expires_at=expires_at
        )

    async def _drawn(self, connection: Transaction, tenant: str, *code_is: Any) -> str:
        """A code that nobody has, kept with what it is for. Four letters find it, which two codes in a
        thousand thousand have in common."""
        for _ in range(CODES_DRAWN):
            code = vault.new_code(CODE_CHARS)
            selector, secret = vault.split_code(code)
            kept = await connection.fetchval(
                "INSERT INTO enrol_codes (tenant, selector, mac, site, node, name, made_by,"
                " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
                " ON CONFLICT DO NOTHING RETURNING selector",
                tenant,
                selector,
                self._mac(selector, secret),
                *code_is,
            )
            if kept is not None:
                return code
        raise Unavailable("No code was free.", code="node.no_code", hint="Try again.")

    async def of(self, by: Principal) -> tuple[NodeView, ...]:
        """The nodes of the tenant, by name."""
        async with self._core.database.open(require_manager(by)) as connection:
            rows = await connection.fetch("SELECT * FROM nodes ORDER BY name, id")
        return tuple(
            NodeView(
                id=r["id"],
                site=r["site"],
                name=r["name"],
                enrolled_at=r["enrolled_at"],
                revoked_at=r["revoked_at"],
                duplicated_at=r["duplicated_at"],
                fingerprint=r["public_key"][:16],
            )
            for r in rows
        )

    async def rename(self, by: Principal, node: str, name: str) -> None:
        await self._change(by, node, "node_renamed", "name = $2", checked_name(name))

    async def revoke(self, by: Principal, node: str) -> None:
        """Shut a node out at once, live connections included. A new code for it lets it back in."""
        await self._change(by, node, "node_revoked", "revoked_at = $2", self._core.now())

    async def clear_duplicated(self, by: Principal, node: str) -> None:
        """The owner has put the second machine away: whichever shows itself next is the node."""
        change = "duplicated_at = NULL, ticket = NULL"
        await self._change(by, node, "node_duplicate_cleared", change)

    async def _change(
        self, by: Principal, node: str, what: str, change: str, *args: object
    ) -> None:
        tenant = require_manager(by)
        async with self._core.database.open(tenant) as connection:
            sql = f"UPDATE nodes SET {change} WHERE id = $1 RETURNING id"  # noqa: S608 - constants
            if not await connection.fetchval(sql, node, *args):
                raise NotFound("There is no such node.", hint="Choose one of the list.")
            await audit(connection, self._core, tenant, by, what, node)
            if what == "node_revoked":
                await connection.revoked("node", node, tenant)
            elif what == "node_renamed":
                await connection.revoked("tenant", tenant=tenant)

    # Enrolling

    def challenge(self) -> Challenge:
        """A nonce for one proof within ASSERTION_S. Nothing is stored until it is used."""
        now = self._core.now()
        body = int(now).to_bytes(6, "big") + secrets.token_bytes(12)
        return Challenge(
            nonce=base64url(body + self._core.key.mac("nonce", body)[:16]),
            expires_in_s=limits.ASSERTION_S,
            issuer=self._core.issuer,
            now_s=now,
        )

    async def enrol(self, request: EnrolRequest, *, address: str = "") -> Enrolled:
        """Make whoever holds the code and the key a node.

        If the answer is lost, the same code and key get it again while the code lasts.
        Raises: Denied `enrol.code_wrong`, `enrol.code_expired`, `enrol.code_used`,
        `enrol.proof_wrong`; Unauthenticated `auth.nonce_invalid`; Conflict `enrol.key_known`;
        TooMany.
        """
        keys = [f"enrol:{network_of(address)}"] if address else ["enrol:nowhere"]
        await self._core.guard.count(
            keys,
            most=limits.ENROL_TRIES,
            window_s=limits.ENROL_WINDOW_S,
            now_s=self._core.now(),
        )
        await self._check_nonce(request.nonce)
        if not proof_holds(request):
            raise Denied(
                "The proof does not fit the public key.",
                code="enrol.proof_wrong",
                hint="Sign the code and the nonce with the key that is sent.",
            )
        try:
            found = await self._enrol(request)
        except asyncpg.UniqueViolationError:
            found = _refusal("key_known")
        if isinstance(found, BeiraError):
            raise found
        await self._core.guard.refund(keys)
        return found

    async def _enrol(self, request: EnrolRequest) -> Enrolled | BeiraError:
        """Errors are returned, not raised: what was counted must be committed."""
        selector, secret = vault.split_code(request.code)
        async with self._core.database.open() as connection:
            tenant = await connection.fetchval("SELECT tenant_of_enrol_code($1)", selector)
            await connection.use(tenant or "")
            row = await connection.fetchrow(
                "SELECT * FROM enrol_codes WHERE selector = $1 FOR UPDATE", selector
            )
            if row is None or row["tries"] >= TRIES_PER_CODE:
                return _refusal("code_wrong")
            if not vault.same(row["mac"], self._mac(selector, secret)):
                await connection.execute(
                    "UPDATE enrol_codes SET tries = tries + 1 WHERE selector = $1", selector
                )
                return _refusal("code_wrong")
            if row["expires_at"] <= self._core.now():
                return _refusal("code_expired")
            if row["used_at"] is None:
                return await self._admit(connection, row, request.public_key)
            return await self._again(connection, row, request.public_key)

    async def _admit(
        self, connection: Transaction, code: Any, public_key: str
    ) -> Enrolled | BeiraError:
        now, tenant = self._core.now(), code["tenant"]
        if await connection.fetchval("SELECT 1 FROM old_keys WHERE public_key = $1", public_key):
            return _refusal("key_known")
        await connection.execute(
            "UPDATE enrol_codes SET used_at = $2, used_key = $3 WHERE selector = $1",
            code["selector"],
            now,
            public_key,
        )
        node = code["node"] or f"n{new_id()}"
        if code["node"]:
            await self._replace(connection, tenant, node, public_key)
        else:
            await connection.execute(
                "INSERT INTO nodes (tenant, id, site, name, public_key, enrolled_at)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                tenant,
                node,
                code["site"],
                code["name"],
                public_key,
                now,
            )
        await audit(connection, self._core, tenant, f"node {node}", "node_enrolled", node)
        return await self._welcome(connection, node)

    async def _replace(
        self, connection: Transaction, tenant: str, node: str, public_key: str
    ) -> None:
        """The old machine's key is fenced: what it shows from now on says `node.replaced`."""
        now = self._core.now()
        await connection.execute(
            "INSERT INTO old_keys (tenant, node, public_key, epoch, replaced_at)"
            " SELECT tenant, id, public_key, epoch, $2 FROM nodes WHERE id = $1",
            node,
            now,
        )
        await connection.execute(
            "UPDATE nodes SET public_key = $2, epoch = epoch + 1, enrolled_at = $3, ticket = NULL,"
            " revoked_at = NULL, duplicated_at = NULL WHERE id = $1",
            node,
            public_key,
            now,
        )
        await connection.revoked("node", node, tenant)

    async def _again(
        self, connection: Transaction, code: Any, public_key: str
    ) -> Enrolled | BeiraError:
        """The same machine asks again because it never got the answer."""
        if code["used_key"] != public_key:
            return _refusal("code_used")
        node = await connection.fetchval(
            "SELECT id FROM nodes WHERE public_key = $1 AND revoked_at IS NULL", public_key
        )
        return await self._welcome(connection, node) if node else _refusal("code_used")

    async def _welcome(self, connection: Transaction, node: str) -> Enrolled:
        row = await connection.fetchrow(
            "SELECT n.*, s.name AS site_name, s.groups, t.name AS tenant_name FROM nodes n"
            " JOIN sites s ON s.tenant = n.tenant AND s.id = n.site"
            " JOIN tenants t ON t.id = n.tenant WHERE n.id = $1",
            node,
        )
        return Enrolled(
            node=node,
            tenant=row["tenant"],
            tenant_name=row["tenant_name"],
            site=row["site"],
            site_name=row["site_name"],
            name=row["name"],
            groups=tuple(row["groups"]),
            issuer=self._core.issuer,
            jwks=tokens.jwks(self._core.ring.trusted(self._core.now())),
        )

    # Tokens

    async def token(self, assertion: str) -> NodeToken:
        """An access token for a node that signed one of our nonces.

        Raises Unauthenticated: `auth.assertion_invalid`, `auth.nonce_invalid`, `node.revoked`,
        `node.replaced`.
        """
        _, unproven = tokens.peek(assertion)
        node = str(unproven.get("sub", ""))[: limits.ID_CHARS]
        row = await self.principal_of(node)
        try:
            claims = self._asserted(assertion, node, row)
        except Unauthenticated as error:
            if row is not None and error.code == "auth.assertion_invalid":
                await self._refuse_replaced(assertion, node, row["tenant"])
            raise
        await self._check_nonce(claims.nonce)
        return self._issue(node, row)

    async def principal_of(self, node: str) -> Any:
        """Who the node is, as its row says now; None if there is no such node."""
        return await self._principals.ask(node)

    async def _read_principals(self, group: list[str]) -> list[Any]:
        rows = await self._core.database.call("principals_of_nodes", group)
        found = {row["id"]: row for row in rows}
        return [found.get(node) for node in group]

    async def _refuse_replaced(self, assertion: str, node: str, tenant: str) -> None:
        """A key the node had before says that another machine has its place. Raises `node.replaced`."""
        async with self._core.database.open(tenant) as connection:
            old = await connection.fetch(
                "SELECT public_key FROM old_keys WHERE node = $1 ORDER BY replaced_at DESC LIMIT $2",
                node,
                limits.NODE_KEYS_KEPT,
            )
        if any(_signed_by(assertion, node, row["public_key"]) for row in old):
            raise replaced() from None

    def _asserted(self, assertion: str, node: str, row: Any) -> tokens.AssertionClaims:
        if row is None:
            raise _assertion_invalid()
        try:
            proven = _verified(assertion, node, row["public_key"])
        except Unauthenticated:
            raise _assertion_invalid() from None
        claims: tokens.AssertionClaims = tokens.convert(proven, tokens.AssertionClaims)
        lasts_s = claims.exp - claims.iat
        wrong = claims.iss != node or claims.sub != node or claims.aud != self._core.issuer
        if wrong or not 0 < lasts_s <= limits.ASSERTION_S:
            raise _assertion_invalid()
        if row["revoked_at"] is not None:
            raise node_revoked()
        return claims

    def _issue(self, node: str, row: Any) -> NodeToken:
        now = int(self._core.now())
        claims = tokens.AccessClaims(
            sub=node,
            kind=Kind.NODE.value,
            tenant=row["tenant"],
            sid=str(row["epoch"]),
            iss=self._core.issuer,
            aud=tokens.AUDIENCE,
            iat=now,
            exp=now + limits.ACCESS_TOKEN_S,
            jti=secrets.token_hex(8),
            name=row["name"],
            sites=(row["site"],),
            groups=tuple(row["groups"]),
        )
        return NodeToken(
            access_token=tokens.sign(claims, self._core.ring.signing(now), tokens.ACCESS),
            expires_in_s=limits.ACCESS_TOKEN_S,
            expires_at=claims.exp,
        )

    async def _check_nonce(self, nonce: str) -> None:
        """Ours, fresh, and for the first time. Raises Unauthenticated `auth.nonce_invalid`."""
        try:
            raw = from_base64url(nonce[:128])
        except Invalid:
            raw = b""
        body, mac = raw[:18], raw[18:]
        made_s = int.from_bytes(body[:6], "big")
        now = self._core.now()
        ours = vault.same(mac, self._core.key.mac("nonce", body)[:16])
        lead_s = tokens.CLOCK_LEEWAY_S  # another replica made it
        fresh = made_s - lead_s <= now < made_s + limits.ASSERTION_S
        until_s = made_s + limits.ASSERTION_S + lead_s
        guard = self._core.guard
        if not (ours and fresh and await guard.use_once(body.hex(), until_s=until_s)):
            raise Unauthenticated(
                "The nonce is not ours, too old, or was used before.",
                code="auth.nonce_invalid",
                hint="Ask for a new challenge, and answer it once.",
            )

    def _mac(self, selector: str, secret: str) -> bytes:
        return self._core.key.mac("enrol", selector, secret)


def _verified(assertion: str, node: str, public_key: str) -> dict[str, Any]:
    return tokens.verify(
        assertion, {node: tokens.key_from_public(public_key, node)}, tokens.ASSERTION
    )


def _signed_by(assertion: str, node: str, public_key: str) -> bool:
    try:
        _verified(assertion, node, public_key)
    except Unauthenticated:
        return False
    return True


def replaced() -> Unauthenticated:
    return Unauthenticated(
        "Another machine has taken this node's place.",
        code="node.replaced",
        hint="To use this machine again: beira node enrol --again URL CODE, with a code made for this "
        "node in the portal; what it has not sent is kept.",
    )


def node_revoked() -> Unauthenticated:
    return Unauthenticated(
        "This node was shut out by an owner.",
        code="node.revoked",
        hint="Ask an owner for a code for this node, then: beira node enrol --again URL CODE; what it "
        "has not sent is kept.",
    )


def _assertion_invalid() -> Unauthenticated:
    return Unauthenticated(
        "The assertion is not one of a node known here.",
        code="auth.assertion_invalid",
        hint="Ask an owner for a code, then: beira node enrol URL CODE.",
    )


_REFUSALS = {
    "code_wrong": ("The code is wrong.", "Check it, or ask an owner for a new one."),
    "code_expired": ("The code has expired.", "Ask an owner for a new one."),
    "code_used": ("The code was used already.", "Ask an owner for a new one."),
}


def _refusal(why: str) -> BeiraError:
    if why == "key_known":
        return Conflict(
            "This key belongs, or belonged, to a node already.",
            code="enrol.key_known",
            hint="Ask for a code made for this very node, then: beira node enrol --again URL CODE, which "
            "makes a new key.",
        )
    message, hint = _REFUSALS[why]
    return Denied(message, code=f"enrol.{why}", hint=hint)

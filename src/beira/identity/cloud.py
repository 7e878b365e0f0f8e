"""The cloud's identity, whole: `people`, `sessions`, `nodes`, `tenants`, and who a token stands for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from beira.identity import schema, tokens
from beira.identity.core import Core
from beira.identity.database import Database
from beira.identity.guard import Guard
from beira.identity.keyring import KeyRing
from beira.identity.nodes import Nodes, node_revoked, replaced
from beira.identity.people import People
from beira.identity.recovery import Recovery
from beira.identity.sessions import Sessions, gone
from beira.identity.shapes import Revocation, SignedIn
from beira.identity.tenants import Tenants
from beira.identity.vault import Passwords, ServerKey
from beira.identity.watch import Watch
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Unauthenticated
from beira.store.postgres.cloud import PostgresCloud


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a token gave: to whom, by which session (a node's is its key's epoch), until when.

    A live connection keeps it, and asks `Identity.still` when `touched_by` says so.
    """

    principal: Principal
    session: str
    expires_at: int

    def touched_by(self, news: Revocation) -> bool:
        if news.kind == "lost":
            return True
        if news.kind == "tenant":
            return self.principal.tenant == news.tenant
        if news.kind == "session":
            return self.principal.kind is Kind.PERSON and self.session == news.id
        return self.principal.id == news.id


class Identity:
    """Start it once per replica; replicas share the database and the server's key."""

    def __init__(
        self,
        cloud: PostgresCloud,
        key: ServerKey,
        *,
        public_url: str,
        issuer: str = "beira-cloud",
        now: Callable[[], float] = time.time,
    ) -> None:
        database = Database(cloud)
        self._ring = KeyRing(database, key)
        self._core = Core(
            database=database,
            key=key,
            ring=self._ring,
            guard=Guard(database),
            passwords=Passwords(),
            now=now,
            issuer=issuer,
            public_url=public_url.rstrip("/"),
        )
        self._verifier = tokens.Verifier(tokens.ACCESS)
        self._watch = Watch(database, on_keys=self._reload_keys, now=now)
        database.told = self._watch.tell
        self.sessions = Sessions(self._core)
        self.people = People(self._core, self.sessions)
        self.recovery = Recovery(self._core, self.people, self.sessions)
        self.nodes = Nodes(self._core)
        self.tenants = Tenants(self._core)

    async def start(self) -> None:
        """Bring the tables to this release, make or read the signing keys, and begin to hear of
        revocations. Close it before the database.

        Raises Corrupt `identity.key_wrong` when the
        server's key is not the one this database was made with.
        """
        cloud = self._core.database.cloud
        async with cloud.connection() as connection:
            role = await connection.fetchval("SELECT current_user")
        await cloud.migrate(schema.statements(role), schema_name=schema.SCHEMA)
        await self._ring.load(self._core.now())
        await self._watch.start()

    async def close(self) -> None:
        await self._watch.close()

    async def principal(self, token: str) -> Principal:
        """Who the bearer of an access token is, as of now. Raises Unauthenticated."""
        return (await self.grant(token)).principal

    async def grant(self, token: str) -> Grant:
        """Like `principal`, with what a live connection needs to know besides."""
        claims = await self.claims(token)
        grant = Grant(
            principal=Principal(kind=Kind(claims.kind), id=claims.sub, tenant=claims.tenant),
            session=claims.sid,
            expires_at=claims.exp,
        )
        return await self.still(grant)

    async def claims(self, token: str) -> tokens.AccessClaims:
        """What an access token says, proven and in time; whether it was revoked is not asked."""
        now = self._core.now()
        keys = self._ring.trusted(now)
        if not self._verifier.knows(token):
            kid, _ = tokens.peek(token)
            keys = await self._ring.trusted_with(kid, now)
        claims = self._verifier.access(token, keys, issuer=self._core.issuer, now_s=now)
        if claims.kind not in (Kind.PERSON.value, Kind.NODE.value):
            raise gone()
        return claims

    async def still(self, grant: Grant) -> Grant:
        """`grant` with the rights of now, whatever its token's age. Raises Unauthenticated
        `auth.revoked`, `auth.expired`, `node.revoked`, `node.replaced`."""
        was = grant.principal
        now = self._core.now()
        ask: Callable[[], Awaitable[Principal]]
        if was.kind is Kind.NODE:
            key = f"node:{was.id}:{grant.session}"
            ask = partial(self._ask_node, was.id, grant.session)
        else:
            key = f"session:{grant.session}"
            ask = partial(self._ask_session, grant.session)
        principal = await self._watch.remembered(key, now, ask)
        if principal.tenant != was.tenant or principal.id != was.id:
            raise gone()
        return msgspec.structs.replace(grant, principal=principal)

    async def switch_tenant(self, token: str, tenant: str) -> SignedIn:
        """Go on in another tenant one belongs to; the token given stops working."""
        await self.principal(token)
        return await self.sessions.switch(await self.claims(token), tenant)

    def subscribe(self, listener: Callable[[Revocation], None]) -> Callable[[], None]:
        """Hear, on the event loop, of all that is revoked on any replica; the result ends it."""
        return self._watch.subscribe(listener)

    def jwks(self) -> dict[str, object]:
        """The public keys by which nodes verify people's tokens offline."""
        return tokens.jwks(self._ring.trusted(self._core.now()))

    def sign_bytes(self, data: bytes) -> tuple[str, bytes]:
        """A plain signature by today's signing key: (the key's id, signature)."""
        key = self._ring.signing(self._core.now())
        return key.kid or "", tokens.sign_bytes(data, key)

    def verifies(self, data: bytes, key_id: str, signature: bytes) -> bool:
        """Whether a key that is trusted now made this plain signature."""
        keys = self._ring.trusted(self._core.now())
        return tokens.verifies(data, signature, keys.get(key_id))

    async def rotate_keys(self, *, at_once: bool = False) -> str:
        """A new signing key; `at_once` voids every token signed so far (a key was stolen)."""
        return await self._ring.rotate(self._core.now(), at_once=at_once)

    async def tidy(self) -> None:
        """Remove what has expired, and audit entries over a year old. Once an hour is enough."""
        now = self._core.now()
        async with self._core.database.open() as connection:
            await connection.execute("SELECT tidy($1, $2)", now, now - limits.AUDIT_DAYS * 86_400)

    async def _reload_keys(self) -> None:
        await self._ring.load(self._core.now())

    async def _ask_session(self, session: str) -> Principal:
        async with self._core.database.open() as connection:
            row = await connection.fetchrow("SELECT * FROM person_of_session($1)", session)
        role = row and (row["role"] or ("admin" if row["admin"] else ""))
        if row is None or row["revoked_at"] is not None or not role:
            raise gone()
        if row["expires_at"] <= self._core.now():
            raise Unauthenticated(
                "The sign-in has expired.", code="auth.expired", hint="Sign in again."
            )
        return _person(row, role)

    async def _ask_node(self, node: str, epoch: str) -> Principal:
        row = await self.nodes.principal_of(node)
        if row is None or row["revoked_at"] is not None:
            raise node_revoked()
        if str(row["epoch"]) != epoch:
            raise replaced()
        return Principal(
            kind=Kind.NODE,
            id=node,
            tenant=row["tenant"],
            name=row["name"],
            sites=(row["site"],),
            groups=tuple(row["groups"]),
        )


def _person(row: Mapping[str, Any], role: str) -> Principal:
    return Principal(
        kind=Kind.PERSON,
        id=row["account"],
        tenant=row["tenant"],
        name=row["name"] or row["email"],
        role=role,
        sites=None if row["sites"] is None else tuple(row["sites"]),
        groups=tuple(row["groups"]),
        nodes=tuple(row["nodes"]),
    )

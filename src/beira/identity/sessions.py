"""Sessions of people: opened by a sign-in, renewed by refresh tokens, ended by whoever owns them."""

from __future__ import annotations

import secrets
from typing import Any

from beira.identity import tokens
from beira.identity.core import Core, audit
from beira.identity.database import Transaction
from beira.identity.rotation import Turn, decide
from beira.identity.shapes import Membership, Session, SignedIn
from beira.identity.vault import base64url, same
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Denied, NotFound, Unauthenticated

SESSIONS_MOST = limits.SESSIONS_PER_PERSON
"""Of one account; a further sign-in ends the oldest."""
RECENT_S = 600


class Sessions:
    """Opens, renews, lists and ends sessions."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def open(
        self,
        connection: Transaction,
        account: Any,
        membership: Membership,
        every: tuple[Membership, ...],
        *,
        label: str,
        address: str,
    ) -> SignedIn:
        """A new session in `membership`'s tenant; the transaction must hold the account."""
        now, id = self._core.now(), secrets.token_hex(12)
        salt = secrets.token_bytes(16)
        await self._enter(connection, membership.tenant)
        await connection.execute(
            "INSERT INTO sessions (id, account, tenant, salt, turned_at, created_at, expires_at,"
            " label, address) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8)",
            id,
            account["id"],
            membership.tenant,
            salt,
            now,
            now + limits.REFRESH_TOKEN_S,
            label[: limits.SESSION_LABEL_CHARS],
            address[: limits.SESSION_LABEL_CHARS],
        )
        too_many = await connection.fetch(
            "SELECT sessions_cap($1, $2, $3) AS id", account["id"], SESSIONS_MOST, now
        )
        for row in too_many:
            await connection.revoked("session", row["id"])
        return self._tokens(account, id, salt, 0, membership, every)

    async def _enter(self, connection: Transaction, tenant: str) -> None:
        """See the rows of `tenant`. Raises Denied for one that there is not (an admin's slip)."""
        await connection.use(tenant)
        if tenant and not await connection.fetchval("SELECT 1 FROM tenants WHERE id = $1", tenant):
            raise no_tenant(tenant)

    async def refresh(self, refresh_token: str, *, address: str = "") -> SignedIn:
        """New tokens for a refresh token; the old one is spent.

        Raises: Unauthenticated `auth.refresh_invalid`, `auth.expired`, `auth.revoked`, and
        `auth.refresh_reused`, which ends the session.
        """
        id, shown = self._parse(refresh_token)
        async with self._core.database.open() as connection:
            row = await connection.fetchrow("SELECT * FROM session_by_id($1)", id)
            self._proven(row, id, shown, refresh_token)
            turn = await self._turn(connection, row, shown)
            account = await connection.fetchrow("SELECT * FROM account_by_id($1)", row["account"])
            if turn is not None:
                every = await memberships(connection, account["id"])
                chosen = choose(every, account, row["tenant"])
                return self._tokens(account, id, row["salt"], turn, chosen, every)
            await self._end(connection, row["account"], id)
            await connection.execute(
                "SELECT audit_sign_in($1, $2, $3, $4, false, 'refresh_reused', $5)",
                secrets.token_hex(12),
                account["id"],
                self._core.now(),
                account["email"],
                address,
            )
        raise Unauthenticated(
            "This refresh token was used before, so the session was ended: it may be stolen.",
            code="auth.refresh_reused",
            hint="Sign in again. If that was not you, change the password.",
        )

    async def switch(self, access: tokens.AccessClaims, tenant: str) -> SignedIn:
        """Go on in another tenant (empty: the platform, for admins) with the same session."""
        async with self._core.database.open() as connection:
            row = await connection.fetchrow("SELECT * FROM session_by_id($1)", access.sid)
            account = await connection.fetchrow("SELECT * FROM account_by_id($1)", access.sub)
            every = await memberships(connection, access.sub)
            chosen = choose(every, account, tenant)
            if not await connection.fetchval(
                "SELECT session_tenant($1, $2)", access.sid, chosen.tenant
            ):
                raise gone()
            await self._enter(connection, chosen.tenant)
            await audit(connection, self._core, chosen.tenant, account["email"], "tenant_entered")
            await connection.revoked("session", access.sid)
        return self._tokens(account, access.sid, row["salt"], row["turn"], chosen, every)

    async def of(self, by: Principal, current: str = "") -> tuple[Session, ...]:
        """The sessions of `by` that still hold, the newest first."""
        async with self._core.database.open() as connection:
            rows = await connection.fetch("SELECT * FROM sessions_of($1)", by.id)
        now = self._core.now()
        live = [r for r in rows if r["revoked_at"] is None and r["expires_at"] > now]
        return tuple(
            Session(
                id=r["id"],
                tenant=r["tenant"],
                label=r["label"],
                address=r["address"],
                created_at=r["created_at"],
                used_at=r["turned_at"],
                current=r["id"] == current,
            )
            for r in live
        )

    async def revoke(self, by: Principal, session: str) -> None:
        """End a session of one's own, everywhere at once; signing out is this. Raises NotFound."""
        async with self._core.database.open() as connection:
            if not await self._end(connection, by.id, session):
                raise NotFound(
                    "There is no such session.",
                    hint="It may have ended already; your account's page lists those that last.",
                )
            await connection.use(by.tenant)
            await audit(connection, self._core, by.tenant, by, "signed_out", session)

    async def revoke_all(self, by: Principal, *, keep: str | None = None) -> int:
        """End all sessions of `by`, but `keep`; returns how many."""
        async with self._core.database.open(by.tenant) as connection:
            ended = await self.end_all(connection, by.id, keep)
            await audit(connection, self._core, by.tenant, by, "signed_out_everywhere")
        return ended

    async def check_recent(self, by: Principal, session: str) -> None:
        """Raises Unauthenticated `auth.recent_needed` unless `by` opened `session` just now."""
        async with self._core.database.open() as connection:
            row = await connection.fetchrow("SELECT * FROM session_by_id($1)", session)
        if (
            row is None
            or row["account"] != by.id
            or row["revoked_at"] is not None
            or row["created_at"] + RECENT_S < self._core.now()
        ):
            raise Unauthenticated(
                "This needs a recent sign-in.",
                code="auth.recent_needed",
                hint="Give your password again, or sign in again.",
            )

    async def _end(
        self, connection: Transaction, account: str, session: str | None, keep: str | None = None
    ) -> int:
        ended = await connection.fetch(
            "SELECT sessions_end($1, $2, $3, $4) AS id", account, session, keep, self._core.now()
        )
        for row in ended:
            await connection.revoked("session", row["id"])
        return len(ended)

    async def end_all(self, connection: Transaction, account: str, keep: str | None = None) -> int:
        """End all sessions of `account`, but `keep`, and what nodes remember of it; returns how
        many sessions."""
        await connection.execute("SELECT account_shut($1, $2)", account, self._core.now())
        for membership in await memberships(connection, account):
            await connection.revoked("account", account, membership.tenant)
        return await self._end(connection, account, None, keep)

    async def _turn(self, connection: Transaction, row: Any, shown: int) -> int | None:
        """The turn of the token to give, or None for one that was stolen."""
        now = self._core.now()
        until = min(now + limits.REFRESH_TOKEN_S, row["created_at"] + limits.SESSION_S)
        decision = decide(shown, row["turn"], row["turned_at"], now)
        if decision is Turn.NEXT:
            args = (row["id"], shown, now, until)
            moved = await connection.fetchval("SELECT session_turn($1, $2, $3, $4)", *args)
            if not moved:  # another replica was first, or the session was just ended
                again = await connection.fetchrow("SELECT * FROM session_by_id($1)", row["id"])
                if again["revoked_at"] is not None:
                    raise gone()
                decision = decide(shown, again["turn"], again["turned_at"], now)
        return None if decision is Turn.STOLEN else shown + 1

    def _proven(self, row: Any, id: str, shown: int, refresh_token: str) -> None:
        salt = row["salt"] if row else b""
        if not same(self._refresh_token(id, shown, salt), refresh_token) or row is None:
            raise _invalid()
        if row["revoked_at"] is not None:
            raise gone()
        now = self._core.now()
        if row["expires_at"] <= now or row["created_at"] + limits.SESSION_S <= now:
            raise Unauthenticated(
                "The sign-in has expired.", code="auth.expired", hint="Sign in again."
            )

    def _refresh_token(self, id: str, turn: int, salt: bytes) -> str:
        mac = self._core.key.mac("refresh", id, str(turn), salt)
        return f"brt.{id}.{turn}.{base64url(mac)}"

    def _parse(self, refresh_token: str) -> tuple[str, int]:
        parts = refresh_token[:256].split(".")
        if len(parts) != 4 or not (parts[2].isascii() and parts[2].isdigit()) or len(parts[2]) > 9:
            raise _invalid()
        if not parts[1].isalnum() or not parts[1].isascii():
            raise _invalid()
        return parts[1], int(parts[2])

    def _tokens(
        self,
        account: Any,
        session: str,
        salt: bytes,
        turn: int,
        membership: Membership,
        every: tuple[Membership, ...],
    ) -> SignedIn:
        now = int(self._core.now())
        claims = tokens.AccessClaims(
            sub=account["id"],
            kind=Kind.PERSON.value,
            tenant=membership.tenant,
            sid=session,
            iss=self._core.issuer,
            aud=tokens.AUDIENCE,
            iat=now,
            exp=now + limits.ACCESS_TOKEN_S,
            jti=secrets.token_hex(8),
            name=account["name"],
            role=membership.role,
            sites=membership.sites,
        )
        return SignedIn(
            access_token=tokens.sign(claims, self._core.ring.signing(now), tokens.ACCESS),
            refresh_token=self._refresh_token(session, turn, salt),
            expires_in_s=limits.ACCESS_TOKEN_S,
            expires_at=claims.exp,
            session=session,
            account=account["id"],
            email=account["email"],
            name=account["name"],
            tenant=membership.tenant,
            role=membership.role,
            sites=membership.sites,
            memberships=every,
            totp=account["totp_on"],
        )


async def memberships(connection: Transaction, account: str) -> tuple[Membership, ...]:
    rows = await connection.fetch("SELECT * FROM memberships_of($1)", account)
    return tuple(
        Membership(
            tenant=r["tenant"],
            name=r["name"],
            role=r["role"],
            sites=None if r["sites"] is None else tuple(r["sites"]),
        )
        for r in rows
    )


def choose(every: tuple[Membership, ...], account: Any, tenant: str | None) -> Membership:
    """The membership to act under: the one asked for, or the first by name.

    An admin may enter any tenant (it is in that tenant's audit) to manage it; its records stay
    closed, for no collection names the role admin. Raises Denied `auth.no_tenant`.
    """
    for membership in every:
        if tenant is None or membership.tenant == tenant:
            return membership
    if account["admin"]:
        return Membership(tenant=tenant or "", name="", role="admin")
    raise no_tenant(tenant)


def no_tenant(tenant: str | None) -> Denied:
    return Denied(
        "You are not a member of that tenant." if tenant else "You are a member of no tenant.",
        code="auth.no_tenant",
        hint="Ask an owner for an invitation.",
    )


def gone() -> Unauthenticated:
    return Unauthenticated("The session was ended.", code="auth.revoked", hint="Sign in again.")


def _invalid() -> Unauthenticated:
    return Unauthenticated(
        "That is no refresh token.", code="auth.refresh_invalid", hint="Sign in again."
    )

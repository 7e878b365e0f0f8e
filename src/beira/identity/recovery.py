"""Coming back after a forgotten password, without e-mail: Beira sends none.

An owner makes a one-time link for a member and hands it over as they know the person: by hand, by
telephone, by their messenger. Whoever opens it sets a new password. It is for accounts of that one
tenant only: an account that also belongs to another tenant, or runs the platform, is not one owner's to
open, so it is set anew at the cloud's machine (`beira cloud reset-password`).
"""

from __future__ import annotations

from typing import Any

from beira.identity import vault
from beira.identity.core import Core, audit, require_manager
from beira.identity.database import Transaction
from beira.identity.guard import network_of
from beira.identity.people import People
from beira.identity.sessions import Sessions, memberships
from beira.identity.shapes import RecoveryLink
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Conflict, Denied, NotFound

CODE_CHARS = 20
SELECTOR_CHARS = 10
_LOOK = "SELECT * FROM recoveries WHERE selector = $1"
_TAKE = "DELETE FROM recoveries WHERE selector = $1 RETURNING *"


class Recovery:
    """Issues one-time links and redeems them."""

    def __init__(self, core: Core, people: People, sessions: Sessions) -> None:
        self._core = core
        self._people = people
        self._sessions = sessions

    async def issue(
        self, by: Principal, account: str, *, password: str = "", totp_off: bool = False
    ) -> RecoveryLink:
        """A link by which a member sets a new password, good once and for an hour. One made before
        holds no longer.

        Args: `password` is the owner's own, shown again, so that a stolen session is not enough;
        `totp_off` also turns the member's second factor off, for who lost their telephone too.

        Raises: Denied `recovery.own`, `recovery.shared`; NotFound for no member;
        Unauthenticated `auth.wrong`; TooMany.
        """
        tenant = require_manager(by)
        if account == by.id:
            raise Denied(
                "Nobody makes a link for themselves.",
                code="recovery.own",
                hint="Change your password under your account, or ask another owner.",
            )
        if by.kind is Kind.PERSON:
            await self._people.prove(by, password)
        await self._core.guard.count(
            [f"recovery:{tenant}"],
            most=limits.RECOVERY_CODES_OPEN,
            window_s=3_600,
            now_s=self._core.now(),
        )
        code = vault.new_code(CODE_CHARS)
        expires_at = self._core.now() + limits.RECOVERY_CODE_S
        async with self._core.database.open(tenant) as connection:
            email = await connection.fetchval(
                "SELECT a.email FROM memberships m JOIN accounts a ON a.id = m.account"
                " WHERE m.account = $1",
                account,
            )
            if email is None:
                raise NotFound("There is no such member.", hint="Choose one of the list.")
            await self._check_sole(connection, account, tenant)
            await self._store(connection, tenant, account, code, totp_off, expires_at)
            await audit(connection, self._core, tenant, by, "recovery_issued", account)
        link = f"{self._core.public_url}/recover#{code}"
        return RecoveryLink(code=code, link=link, email=email, expires_at=expires_at)

    async def redeem(self, code: str, password: str, *, address: str = "") -> str:
        """Set a new password by a link; all sessions of the account end. Returns the e-mail.

        Raises: Denied `recovery.code_wrong` (also when used or expired), `recovery.shared`;
        Invalid `auth.password_weak`; TooMany.
        """
        core = self._core
        keys = [f"recover:{network_of(address)}"]
        await core.guard.count(
            keys, most=limits.ENROL_TRIES, window_s=limits.ENROL_WINDOW_S, now_s=core.now()
        )
        typed = vault.code_of(code)
        async with core.database.open() as connection:
            await self._recovery(connection, typed, _LOOK)
        hashed = await core.passwords.hash(vault.checked_password(password))
        async with core.database.open() as connection:
            row = await self._recovery(connection, typed, _TAKE)
            email = await self._set(connection, row, hashed, address)
        await core.guard.refund(keys)
        return email

    async def _store(
        self,
        connection: Transaction,
        tenant: str,
        account: str,
        code: str,
        totp_off: bool,
        expires_at: float,
    ) -> None:
        selector, secret = _parts(vault.code_of(code))
        await connection.execute("DELETE FROM recoveries WHERE account = $1", account)
        await connection.execute(
            "INSERT INTO recoveries (tenant, selector, mac, account, totp_off, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            tenant,
            selector,
            self._mac(selector, secret),
            account,
            totp_off,
            expires_at,
        )

    async def _set(self, connection: Transaction, row: Any, hashed: str, address: str) -> str:
        id, tenant = row["account"], row["tenant"]
        account = await connection.fetchrow("SELECT * FROM account_by_id($1)", id)
        await self._check_sole(connection, id, tenant)
        args = (id, account["password_hash"], hashed)
        if not await connection.fetchval("SELECT account_password($1, $2, $3)", *args):
            raise Conflict(
                "The password was just changed elsewhere.",
                code="auth.raced",
                hint="Sign in with the new one.",
            )
        if row["totp_off"]:
            await connection.execute("SELECT account_totp($1, NULL, false, '{}')", id)
        await self._sessions.end_all(connection, id)
        await audit(
            connection, self._core, tenant, account["email"], "password_recovered", id,
            address=address,
        )  # fmt: skip
        return str(account["email"])

    async def _recovery(self, connection: Transaction, typed: str, sql: str) -> Any:
        """The row if the code is right and still good; the transaction sees its tenant. Taken, it is
        gone when the transaction commits, and of two at once one finds nothing."""
        selector, secret = _parts(typed)
        tenant = await connection.fetchval("SELECT tenant_of_recovery($1)", selector)
        await connection.use(tenant or "")
        row = await connection.fetchrow(sql, selector)
        right = row is not None and vault.same(row["mac"], self._mac(selector, secret))
        if not right or row["expires_at"] <= self._core.now():
            raise Denied(
                "The link is wrong, used or expired.",
                code="recovery.code_wrong",
                hint="Ask an owner for a new one: it holds once, and for an hour.",
            )
        return row

    async def _check_sole(self, connection: Transaction, account: str, tenant: str) -> None:
        """Raises Denied unless the account is a member of `tenant` and of nothing else."""
        row = await connection.fetchrow("SELECT * FROM account_by_id($1)", account)
        every = [m.tenant for m in await memberships(connection, account)]
        if row is None or row["admin"] or every != [tenant]:
            raise Denied(
                "This account is not of this company alone.",
                code="recovery.shared",
                hint="Whoever runs the cloud sets its password: beira cloud reset-password EMAIL.",
            )

    def _mac(self, selector: str, secret: str) -> bytes:
        return self._core.key.mac("recovery link", selector, secret)


def _parts(typed: str) -> tuple[str, str]:
    return typed[:SELECTOR_CHARS], typed[SELECTOR_CHARS:]

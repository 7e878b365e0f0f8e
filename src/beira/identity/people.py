"""People: who they are, how they prove it, and how they change what proves it."""

from __future__ import annotations

import secrets
from typing import Any

import pyotp

from beira.identity import vault
from beira.identity.core import Core, audit, checked_name, new_id, require_admin, tries_of
from beira.identity.guard import network_of
from beira.identity.qr import svg
from beira.identity.sessions import Sessions, choose, gone, memberships
from beira.identity.shapes import Account, FirstOwner, SignedIn, TotpSetup
from beira.identity.vault import base64url
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.errors import Conflict, Invalid, NotFound, Unauthenticated

TOTP_STEP_S = 30
RECOVERY_CODES = 8
CODE_CHARS = 10


class People:
    """Accounts and signing in. `sessions` is what a sign-in opens."""

    def __init__(self, core: Core, sessions: Sessions) -> None:
        self._core = core
        self._sessions = sessions

    async def create_first_owner(
        self, tenant_name: str, email: str, password: str | None = None, *, tenant_id: str = ""
    ) -> FirstOwner:
        """The first account: platform admin, and owner of a first tenant.

        Without `password` one is made up and returned, this once. Raises Conflict
        `identity.not_first` if there is any account, however many ask at once.
        """
        made_up = password is None
        password = vault.checked_password(password or _random_password())
        account, tenant = new_id(), tenant_id or new_id()
        email, name = vault.email_of(email), checked_name(tenant_name)
        hashed = await self._core.passwords.hash(password)
        async with self._core.database.open(tenant) as connection:
            now = self._core.now()
            args = (account, email, hashed, now)
            if not await connection.fetchval("SELECT account_first($1, $2, $3, $4)", *args):
                raise Conflict(
                    "There is an owner already.",
                    code="identity.not_first",
                    hint="Sign in, and invite people from there. If the password is forgotten: "
                    "beira cloud reset-password EMAIL.",
                )
            await connection.execute("INSERT INTO tenants VALUES ($1, $2, $3)", tenant, name, now)
            await connection.execute(
                "INSERT INTO memberships VALUES ($1, $2, 'owner', NULL)", tenant, account
            )
            await audit(connection, self._core, tenant, email, "first_owner", account)
        return FirstOwner(
            account=account, tenant=tenant, email=email, password=password if made_up else None
        )

    async def sign_in(
        self,
        email: str,
        password: str,
        *,
        code: str | None = None,
        tenant: str | None = None,
        address: str = "",
        label: str = "",
    ) -> SignedIn:
        """Tokens for an e-mail and password, and the second factor if it is on.

        Args: `code` of the authenticator, or a recovery code; `tenant` to act in (None: the first
        by name); `address` of the caller, which counts its tries; `label` shows in the sessions.

        Raises: Unauthenticated `auth.wrong` (which of the two is not said), `auth.totp_needed`,
        `auth.totp_wrong`; TooMany; Denied `auth.no_tenant`.
        """
        core, email = self._core, vault.email_of(email)
        password = vault.canonical_password(password)
        by_account = tries_of(core, email)
        keys = [by_account, *([f"address:{network_of(address)}"] if address else [])]
        await core.guard.count(
            keys, most=limits.SIGN_IN_TRIES, window_s=limits.SIGN_IN_WINDOW_S, now_s=core.now()
        )
        async with core.database.open() as connection:
            account = await connection.fetchrow("SELECT * FROM account_by_email($1)", email)
        right = await core.passwords.verify(account and account["password_hash"], password)
        if account is None or not right:
            await self._audit_sign_in(account, email, False, "wrong", address)
            raise _wrong()
        await self._second_factor(account, code, keys, address)
        await core.guard.refund(keys)
        await core.guard.forget(by_account)
        held = await self._renewed_hash(account, password)
        return await self._open(account, held, tenant, label, address)

    async def sign_out(self, by: Principal, session: str) -> None:
        await self._sessions.revoke(by, session)

    async def change_password(
        self, by: Principal, old: str, new: str, *, keep_session: str | None = None
    ) -> int:
        """Set a new password; all other sessions end. Returns how many did.

        Raises: Unauthenticated `auth.wrong`, Invalid `auth.password_weak`, TooMany.
        """
        new = vault.checked_password(new)
        account = await self._proven(by, old)
        hashed = await self._core.passwords.hash(new)
        async with self._core.database.open() as connection:
            args = (by.id, account["password_hash"], hashed)
            if not await connection.fetchval("SELECT account_password($1, $2, $3)", *args):
                raise Conflict(
                    "The password was just changed elsewhere.",
                    code="auth.raced",
                    hint="Sign in with the new one.",
                )
            ended = await self._sessions.end_all(connection, by.id, keep_session)
            await connection.use(by.tenant)
            await audit(connection, self._core, by.tenant, by, "password_changed")
        return ended

    async def reset_password(self, by: Principal, email: str, password: str = "") -> str:
        """A new password for somebody who forgot theirs: the one given, or one made up. It is
        returned this once, and an admin tells them.

        All their sessions end and the second factor goes off.
        Raises: NotFound, Denied, Invalid `auth.password_weak`.
        """
        require_admin(by)
        email = vault.email_of(email)
        password = vault.checked_password(password or _random_password())
        hashed = await self._core.passwords.hash(password)
        async with self._core.database.open() as connection:
            account = await connection.fetchrow("SELECT * FROM account_by_email($1)", email)
            if account is None:
                raise NotFound("Nobody has that address.", hint="Check it in the list of members.")
            args = (account["id"], account["password_hash"], hashed)
            await connection.fetchval("SELECT account_password($1, $2, $3)", *args)
            await connection.execute("SELECT account_totp($1, NULL, false, '{}')", account["id"])
            await self._sessions.end_all(connection, account["id"])
            for membership in await memberships(connection, account["id"]):
                await connection.use(membership.tenant)
                await audit(
                    connection, self._core, membership.tenant, by, "password_reset", account["id"]
                )
        return password

    async def account(self, by: Principal) -> Account:
        """What `by` may know of themselves."""
        async with self._core.database.open() as connection:
            row = await connection.fetchrow("SELECT * FROM account_by_id($1)", by.id)
            if row is None:
                raise gone()
            every = await memberships(connection, by.id)
        return Account(
            id=row["id"],
            email=row["email"],
            name=row["name"],
            admin=row["admin"],
            totp=row["totp_on"],
            memberships=every,
        )

    async def rename(self, by: Principal, name: str) -> None:
        async with self._core.database.open() as connection:
            await connection.execute("SELECT account_name($1, $2)", by.id, checked_name(name))

    async def begin_totp(
        self, by: Principal, *, password: str | None = None, session: str = ""
    ) -> TotpSetup:
        """A new authenticator secret; it counts once `confirm_totp` was given a code of it.

        A stolen token must not be enough to lock its owner out: the password is needed, or a
        `session` that was signed in within the last ten minutes.
        Raises: Unauthenticated `auth.wrong`, `auth.recent_needed`; Conflict `auth.totp_on`.
        """
        if password is None:
            await self._sessions.check_recent(by, session)
            account = await self._account(by.id)
        else:
            account = await self._proven(by, password)
        if account["totp_on"]:
            raise Conflict(
                "The second factor is on already.",
                code="auth.totp_on",
                hint="Turn it off first, with a code of the present authenticator.",
            )
        secret = pyotp.random_base32()
        recovery = [vault.new_code(CODE_CHARS) for _ in range(RECOVERY_CODES)]
        macs = [self._recovery_mac(by.id, c) for c in recovery]
        sealed = self._core.key.seal(secret.encode(), f"totp:{by.id}")
        async with self._core.database.open() as connection:
            await connection.execute("SELECT account_totp($1, $2, false, $3)", by.id, sealed, macs)
        uri = pyotp.TOTP(secret).provisioning_uri(name=account["email"], issuer_name="Beira")
        return TotpSetup(secret=secret, uri=uri, qr_svg=svg(uri), recovery_codes=tuple(recovery))

    async def confirm_totp(self, by: Principal, code: str) -> None:
        """Turn the second factor on. Raises Unauthenticated `auth.totp_wrong`, TooMany."""
        await self._count_own(by)
        account = await self._account(by.id)
        if account["totp_sealed"] is None:
            raise Invalid(
                "No authenticator was set up.",
                code="auth.totp_none",
                hint="Begin with a new secret for it.",
            )
        if not await self._totp_right(account, code, turn_on=True):
            raise _totp_wrong()
        await self._audit_own(by, "totp_on")

    async def disable_totp(self, by: Principal, code: str) -> None:
        """Turn the second factor off, with a last code of it or a recovery code."""
        await self._count_own(by)
        account = await self._account(by.id)
        if account["totp_on"] and not await self._code_right(account, code):
            raise _totp_wrong()
        async with self._core.database.open() as connection:
            await connection.execute("SELECT account_totp($1, NULL, false, '{}')", by.id)
        await self._audit_own(by, "totp_off")

    async def _open(
        self, account: Any, held: str, tenant: str | None, label: str, address: str
    ) -> SignedIn:
        async with self._core.database.open() as connection:
            every = await memberships(connection, account["id"])
            chosen = choose(every, account, tenant)
            # Held until the session is in, so that a change of password cannot pass it by.
            if not await connection.fetchval("SELECT account_hold($1, $2)", account["id"], held):
                raise _wrong()
            signed = await self._sessions.open(
                connection, account, chosen, every, label=label, address=address
            )
            await connection.use(chosen.tenant)
            await audit(
                connection, self._core, chosen.tenant, account["email"], "sign_in",
                signed.session, address=address,
            )  # fmt: skip
        return signed

    async def _second_factor(
        self, account: Any, code: str | None, keys: list[str], address: str
    ) -> None:
        if not account["totp_on"]:
            return
        if not code:
            await self._core.guard.refund(keys)
            raise Unauthenticated(
                "The code of your authenticator is needed too.",
                code="auth.totp_needed",
                hint="Send the six digits it shows, or a recovery code.",
            )
        if not await self._code_right(account, code):
            await self._audit_sign_in(account, account["email"], False, "totp_wrong", address)
            raise _totp_wrong()

    async def _code_right(self, account: Any, code: str) -> bool:
        typed = vault.code_of(code)
        if len(typed) == CODE_CHARS:
            mac = self._recovery_mac(account["id"], typed)
            async with self._core.database.open() as connection:
                used = await connection.fetchval(
                    "SELECT account_recovery($1, $2)", account["id"], mac
                )
            return used is not None
        return await self._totp_right(account, typed)

    async def _totp_right(self, account: Any, code: str, *, turn_on: bool = False) -> bool:
        """Whether `code` is of this half minute or a neighbour, and none as late was used before."""
        secret = self._core.key.unseal(account["totp_sealed"], f"totp:{account['id']}").decode()
        step = int(self._core.now()) // TOTP_STEP_S
        totp, typed = pyotp.TOTP(secret), vault.code_of(code)
        found = [s for s in (step - 1, step, step + 1) if vault.same(totp.generate_otp(s), typed)]
        if not found:
            return False
        async with self._core.database.open() as connection:
            args = (account["id"], found[-1], turn_on)
            moved = await connection.fetchval("SELECT account_totp_step($1, $2, $3)", *args)
        return moved is not None

    async def prove(self, by: Principal, password: str) -> None:
        """That it is `by` who asks, by their own password. Raises Unauthenticated, TooMany."""
        await self._proven(by, password)

    async def _proven(self, by: Principal, password: str) -> Any:
        """The account of `by`, who has just shown its password again."""
        await self._count_own(by)
        account = await self._account(by.id)
        password = vault.canonical_password(password)
        if not await self._core.passwords.verify(account["password_hash"], password):
            raise _wrong()
        await self._core.guard.forget(f"own:{by.id}")
        return account

    async def _count_own(self, by: Principal) -> None:
        await self._core.guard.count(
            [f"own:{by.id}"],
            most=limits.SIGN_IN_TRIES,
            window_s=limits.SIGN_IN_WINDOW_S,
            now_s=self._core.now(),
        )

    async def _account(self, id: str) -> Any:
        async with self._core.database.open() as connection:
            account = await connection.fetchrow("SELECT * FROM account_by_id($1)", id)
        if account is None:
            raise gone()
        return account

    async def _renewed_hash(self, account: Any, password: str) -> str:
        """The hash now stored, made anew if it was made with other parameters than today's."""
        old: str = account["password_hash"]
        if not self._core.passwords.outdated(old):
            return old
        hashed = await self._core.passwords.hash(password)
        async with self._core.database.open() as connection:
            args = (account["id"], old, hashed)
            await connection.execute("SELECT account_password($1, $2, $3)", *args)
        return hashed

    async def _audit_sign_in(
        self, account: Any, email: str, ok: bool, detail: str, address: str
    ) -> None:
        """In the audit of each tenant of the account; for an unknown one as much work is done."""
        who = email if account else self._core.key.mac("unknown", email).hex()[:16]
        async with self._core.database.open() as connection:
            await connection.execute(
                "SELECT audit_sign_in($1, $2, $3, $4, $5, $6, $7)",
                secrets.token_hex(12),
                account["id"] if account else "",
                self._core.now(),
                who,
                ok,
                detail,
                address,
            )

    async def _audit_own(self, by: Principal, what: str) -> None:
        async with self._core.database.open(by.tenant) as connection:
            await audit(connection, self._core, by.tenant, by, what)

    def _recovery_mac(self, account: str, code: str) -> str:
        return self._core.key.mac("recovery", account, vault.code_of(code)).hex()


def _random_password() -> str:
    return base64url(secrets.token_bytes(15))


def _wrong() -> Unauthenticated:
    return Unauthenticated(
        "E-mail or password is wrong.",
        code="auth.wrong",
        hint="Check both. Who forgot the password asks an owner of the company for a recovery link.",
    )


def _totp_wrong() -> Unauthenticated:
    return Unauthenticated(
        "The code is wrong or was used already.",
        code="auth.totp_wrong",
        hint="Wait for the next code, and check the clock of the phone.",
    )

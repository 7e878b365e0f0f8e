"""Tenants, their places, and who belongs to them with which role."""

from __future__ import annotations

from typing import Any

from beira.identity import vault
from beira.identity.core import (
    Core,
    audit,
    checked_id,
    checked_name,
    new_id,
    require_admin,
    require_manager,
    tries_of,
)
from beira.identity.database import Transaction
from beira.identity.guard import network_of
from beira.identity.shapes import ROLES, AuditEntry, Invitation, Member, SiteInfo, Tenant
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import BeiraError, Conflict, Denied, Invalid, NotFound

INVITATION_CHARS = 20


class Tenants:
    """What admins do with tenants, and owners with sites, members, invitations and the audit."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def create(self, by: Principal, name: str, *, id: str = "") -> Tenant:
        """A new tenant; invite its owner next. Raises Denied, Conflict `identity.exists`."""
        require_admin(by)
        tenant = Tenant(id=checked_id(id) if id else new_id(), name=checked_name(name))
        async with self._core.database.open(tenant.id) as connection:
            made = await connection.fetchval(
                "INSERT INTO tenants VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id",
                tenant.id,
                tenant.name,
                self._core.now(),
            )
            if not made:
                raise _exists("tenant")
            await audit(connection, self._core, tenant.id, by, "tenant_created", tenant.id)
        return tenant

    async def all(self, by: Principal) -> tuple[Tenant, ...]:
        require_admin(by)
        async with self._core.database.open() as connection:
            rows = await connection.fetch("SELECT * FROM tenants_all()")
        return tuple(Tenant(id=r["id"], name=r["name"]) for r in rows)

    async def add_site(
        self, by: Principal, name: str, *, id: str = "", groups: tuple[str, ...] = ()
    ) -> SiteInfo:
        """Raises Denied, Invalid, Conflict `identity.exists`."""
        tenant = require_manager(by)
        site = SiteInfo(
            id=checked_id(id) if id else new_id(), name=checked_name(name), groups=_groups(groups)
        )
        async with self._core.database.open(tenant) as connection:
            made = await connection.fetchval(
                "INSERT INTO sites VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING id",
                tenant,
                site.id,
                site.name,
                list(site.groups),
            )
            if not made:
                raise _exists("site")
            await audit(connection, self._core, tenant, by, "site_added", site.id)
        return site

    async def change_site(
        self, by: Principal, site: str, name: str, groups: tuple[str, ...]
    ) -> None:
        """What a site is called and which groups it is in; grants follow at once."""
        tenant = require_manager(by)
        async with self._core.database.open(tenant) as connection:
            args = (site, checked_name(name), list(_groups(groups)))
            sql = "UPDATE sites SET name = $2, groups = $3 WHERE id = $1 RETURNING id"
            if not await connection.fetchval(sql, *args):
                raise _no_site()
            await audit(connection, self._core, tenant, by, "site_changed", site)
            await connection.revoked("tenant", tenant=tenant)

    async def sites(self, by: Principal) -> tuple[SiteInfo, ...]:
        async with self._core.database.open(require_manager(by)) as connection:
            rows = await connection.fetch("SELECT * FROM sites ORDER BY name, id")
        return tuple(SiteInfo(id=r["id"], name=r["name"], groups=tuple(r["groups"])) for r in rows)

    # Members

    async def members(self, by: Principal) -> tuple[Member, ...]:
        async with self._core.database.open(require_manager(by)) as connection:
            rows = await connection.fetch(
                "SELECT a.id, a.email, a.name, a.totp_on, a.shut_at, m.role, m.sites FROM memberships m"
                " JOIN accounts a ON a.id = m.account ORDER BY a.email"
            )
        return tuple(
            Member(
                account=r["id"],
                email=r["email"],
                name=r["name"],
                role=r["role"],
                sites=None if r["sites"] is None else tuple(r["sites"]),
                totp=r["totp_on"],
                shut_at=r["shut_at"],
            )
            for r in rows
        )

    async def invite(
        self, by: Principal, email: str, role: str, *, sites: tuple[str, ...] | None = None
    ) -> Invitation:
        """A one-time link for `email` to join under `role`, good for three days.

        Send it to that address only: whoever opens it first becomes that member.
        """
        tenant, email = require_manager(by), vault.email_of(email)
        _check_role(role, sites)
        code = vault.new_code(INVITATION_CHARS)
        selector, secret = code.replace("-", "")[:10], code.replace("-", "")[10:]
        expires_at = self._core.now() + limits.INVITATION_S
        async with self._core.database.open(tenant) as connection:
            await self._check_sites(connection, sites)
            await connection.execute(
                "INSERT INTO invitations (tenant, selector, mac, email, role, sites, expires_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                tenant,
                selector,
                self._core.key.mac("invitation", selector, secret),
                email,
                role,
                None if sites is None else list(sites),
                expires_at,
            )
            await audit(connection, self._core, tenant, by, "invited", email, detail=role)
        link = f"{self._core.public_url}/join#{code}"
        return Invitation(code=code, link=link, email=email, role=role, expires_at=expires_at)

    async def accept(self, code: str, password: str, *, name: str = "", address: str = "") -> str:
        """Join by an invitation; returns the e-mail to sign in with.

        A new account gets `password`; whoever has one already proves it with theirs.
        Raises: Denied `invite.code_wrong` (also when used or expired), `auth.wrong`; Invalid
        `auth.password_weak`; TooMany.
        """
        core = self._core
        keys = [f"invite:{network_of(address)}"]
        await core.guard.count(
            keys, most=limits.ENROL_TRIES, window_s=limits.ENROL_WINDOW_S, now_s=core.now()
        )
        typed = vault.code_of(code)
        selector, secret = typed[:10], typed[10:]
        async with core.database.open() as connection:
            row = await self._invitation(connection, selector, secret)
            sql = "SELECT * FROM account_by_email($1)"
            account = await connection.fetchrow(sql, row["email"])
        if account is None:
            hashed = await core.passwords.hash(vault.checked_password(password))
        else:
            await self._prove(account, password)
            hashed = ""
        async with core.database.open() as connection:
            row = await self._invitation(connection, selector, secret)
            await self._join(connection, row, account, hashed, name)
        await core.guard.refund(keys)
        return str(row["email"])

    async def _prove(self, account: Any, password: str) -> None:
        """That whoever joins is the one who has this account; counted with the sign-in's tries, so
        that an invitation is no second door to guess at. Raises Denied `auth.wrong`, TooMany."""
        keys = [tries_of(self._core, account["email"])]
        await self._core.guard.count(
            keys,
            most=limits.SIGN_IN_TRIES,
            window_s=limits.SIGN_IN_WINDOW_S,
            now_s=self._core.now(),
        )
        typed = vault.canonical_password(password)
        if not await self._core.passwords.verify(account["password_hash"], typed):
            raise Denied(
                "This address has an account already, with another password.",
                code="auth.wrong",
                hint="Give the password you have.",
            )
        await self._core.guard.refund(keys)

    async def _join(
        self, connection: Transaction, row: Any, account: Any, hashed: str, name: str
    ) -> None:
        tenant, email, now = row["tenant"], row["email"], self._core.now()
        id = account["id"] if account else new_id()
        if account is None:
            shown = checked_name(name) if name else email.partition("@")[0][: limits.NAME_CHARS]
            args = (id, email, shown, hashed, False, now)
            sql = "SELECT account_add($1, $2, $3, $4, $5, $6)"
            if not await connection.fetchval(sql, *args):
                raise _exists("account")
        await connection.execute(
            "UPDATE invitations SET used_at = $2 WHERE selector = $1", row["selector"], now
        )
        await connection.execute(
            "INSERT INTO memberships VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (tenant, account) DO UPDATE SET role = $3, sites = $4",
            tenant,
            id,
            row["role"],
            row["sites"],
        )
        await audit(connection, self._core, tenant, email, "joined", id, detail=row["role"])
        await connection.revoked("account", id, tenant)

    async def _invitation(self, connection: Transaction, selector: str, secret: str) -> Any:
        """The invitation, locked, if the code is right and still good."""
        tenant = await connection.fetchval("SELECT tenant_of_invitation($1)", selector)
        await connection.use(tenant or "")
        row = await connection.fetchrow(
            "SELECT * FROM invitations WHERE selector = $1 FOR UPDATE", selector
        )
        right = row is not None and vault.same(
            row["mac"], self._core.key.mac("invitation", selector, secret)
        )
        if not right or row["used_at"] is not None or row["expires_at"] <= self._core.now():
            raise Denied(
                "The invitation is wrong, used or expired.",
                code="invite.code_wrong",
                hint="Ask an owner for a new one.",
            )
        return row

    async def set_role(
        self, by: Principal, account: str, role: str, *, sites: tuple[str, ...] | None = None
    ) -> None:
        """Give a member another role or other sites, at once. The last owner keeps theirs."""
        tenant = require_manager(by)
        _check_role(role, sites)
        async with self._core.database.open(tenant) as connection:
            await self._check_sites(connection, sites)
            await self._lock_owners(connection, account, stays=role == "owner")
            await connection.execute(
                "UPDATE memberships SET role = $2, sites = $3 WHERE account = $1",
                account,
                role,
                None if sites is None else list(sites),
            )
            await audit(connection, self._core, tenant, by, "role_changed", account, detail=role)
            await connection.revoked("account", account, tenant)

    async def remove_member(self, by: Principal, account: str) -> None:
        """Take a person out of the tenant, at once. The last owner stays."""
        tenant = require_manager(by)
        async with self._core.database.open(tenant) as connection:
            await self._lock_owners(connection, account, stays=False)
            await connection.execute("DELETE FROM memberships WHERE account = $1", account)
            await audit(connection, self._core, tenant, by, "member_removed", account)
            await connection.revoked("account", account, tenant)

    async def audit(self, by: Principal, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """What was done with identity in this tenant, the newest first."""
        tenant = require_manager(by)
        async with self._core.database.open(tenant) as connection:
            rows = await connection.fetch(
                "SELECT * FROM audit WHERE tenant = $1 ORDER BY at DESC, id LIMIT $2",
                tenant,
                min(max(limit, 0), limits.QUERY_ROWS),
            )
        names = AuditEntry.__struct_fields__
        return tuple(AuditEntry(**{n: r[n] for n in names}) for r in rows)

    async def note(
        self, by: Principal, what: str, about: str = "", *, ok: bool = True, detail: str = ""
    ) -> None:
        """Put into the tenant's audit what an owner did with its records."""
        tenant = require_manager(by)
        async with self._core.database.open(tenant) as connection:
            await audit(connection, self._core, tenant, by, what, about, ok=ok, detail=detail)

    async def _check_sites(self, connection: Transaction, sites: tuple[str, ...] | None) -> None:
        known = await connection.fetchval(
            "SELECT count(*) FROM sites WHERE id = ANY ($1)", list(sites or ())
        )
        if known != len(set(sites or ())):
            raise _no_site()

    async def _lock_owners(self, connection: Transaction, account: str, *, stays: bool) -> None:
        """Raises NotFound for no member, Conflict `identity.last_owner`; the rows stay locked."""
        rows = await connection.fetch(
            "SELECT account, role, sites FROM memberships WHERE role = 'owner' OR account = $1"
            " ORDER BY account FOR UPDATE",
            account,
        )
        if not any(r["account"] == account for r in rows):
            raise NotFound("There is no such member.", hint="Choose one of the list.")
        others = [r for r in rows if r["role"] == "owner" and r["account"] != account]
        if not stays and not others:
            raise Conflict(
                "A tenant keeps at least one owner.",
                code="identity.last_owner",
                hint="Make somebody else an owner first.",
            )


def service(tenant: str, name: str = "beira") -> Principal:
    """The program itself managing `tenant`: for the command line and the demonstration."""
    return Principal(kind=Kind.SERVICE, id=name, tenant=tenant, name=name)


def _check_role(role: str, sites: tuple[str, ...] | None) -> None:
    if role not in ROLES:
        raise Invalid(f"There is no role {role!r}.", hint="Roles: " + ", ".join(ROLES) + ".")
    if role == "owner" and sites is not None:
        raise Invalid("An owner has all sites.", hint="Name no sites, or make them a member.")


def _groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    if len(groups) > limits.GROUPS_PER_SITE:
        raise Invalid(
            f"A site is in {limits.GROUPS_PER_SITE} groups at most.", hint="Join some of them."
        )
    return tuple(sorted({checked_id(g) for g in groups}))


def _exists(what: str) -> BeiraError:
    return Conflict(
        f"There is such a {what} already.", code="identity.exists", hint="Choose another id."
    )


def _no_site() -> NotFound:
    return NotFound("There is no such site.", hint="Choose one of the list.")

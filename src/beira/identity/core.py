"""What every part of the cloud's identity works with, and what each of them does the same way."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from beira.identity.database import Database, Transaction
from beira.identity.guard import Guard
from beira.identity.keyring import KeyRing
from beira.identity.vault import CODE_ALPHABET, Passwords, ServerKey
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import Denied, Invalid

ID_CHARS = 12


@dataclass(frozen=True)
class Core:
    """`now` gives seconds since 1970; `public_url` is where nodes and people find the cloud."""

    database: Database
    key: ServerKey
    ring: KeyRing
    guard: Guard
    passwords: Passwords
    now: Callable[[], float]
    issuer: str
    public_url: str


def new_id() -> str:
    """12 characters, 55 bits: ids travel with every record, so they are short."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(ID_CHARS)).lower()


def checked_id(text: str) -> str:
    """An id somebody chose. Raises Invalid."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text):
        raise Invalid(
            "An id has small letters, digits, - and _ only.",
            code="identity.id_invalid",
            hint="Write it like angeloni-1, or give none.",
        )
    return text


def checked_name(text: str) -> str:
    """A name people gave to a tenant, site, node or themselves. Raises Invalid."""
    name = " ".join(text[: limits.NAME_CHARS * 4].split())
    if not name or len(name) > limits.NAME_CHARS or not name.isprintable():
        raise Invalid(
            f"A name has 1 to {limits.NAME_CHARS} printable characters.",
            code="identity.name_invalid",
            hint="Write a shorter one, in one line.",
        )
    return name


def require_manager(by: Principal) -> str:
    """The tenant that `by` may manage: an owner's, an admin's chosen one, or a service's own.

    Raises Denied.
    """
    may = by.kind is Kind.SERVICE or (by.kind is Kind.PERSON and by.role in ("owner", "admin"))
    if not may or not by.tenant:
        raise Denied("Only an owner of the tenant may do that.", hint="Ask an owner of the tenant.")
    return by.tenant


def require_admin(by: Principal) -> None:
    """Raises Denied unless `by` is the platform's admin or the program itself."""
    if not (by.kind is Kind.SERVICE or (by.kind is Kind.PERSON and by.role == "admin")):
        raise Denied(
            "Only the platform's admin may do that.",
            hint="Sign in as an admin, without choosing a tenant.",
        )


def tries_of(core: Core, email: str) -> str:
    """Under what the tries to guess somebody's password are counted, whichever door they use."""
    return f"account:{core.key.mac('tries', email).hex()[:32]}"


async def audit(
    connection: Transaction,
    core: Core,
    tenant: str,
    by: Principal | str,
    what: str,
    about: str = "",
    *,
    ok: bool = True,
    detail: str = "",
    address: str = "",
) -> None:
    """Write down who did what, in the same transaction. The transaction must see `tenant`."""
    who = by if isinstance(by, str) else by.name or by.id
    await connection.execute(
        "INSERT INTO audit (tenant, id, at, who, what, about, ok, detail, address) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        tenant,
        secrets.token_hex(12),
        core.now(),
        who,
        what,
        about,
        ok,
        detail,
        address,
    )

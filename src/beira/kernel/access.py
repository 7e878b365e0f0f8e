"""Who may see and do what: pure functions of a principal and a declaration (law 7).

The cloud asks these before every read and write; row-level security in PostgreSQL is the second
wall behind them, and knows only tenants.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec

from beira.kernel.collection import Collection, Scope
from beira.kernel.errors import Denied, Invalid

TENANT_PARTITION = "tenant"


def site_partition(site: str) -> str:
    return f"site:{site}"


def node_partition(node: str) -> str:
    return f"node:{node}"


def group_partition(group: str) -> str:
    return f"group:{group}"


class Kind(Enum):
    """What sort of principal asks."""

    PERSON = "person"
    NODE = "node"
    SERVICE = "service"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking.

    `role` is admin (of the platform), owner, member or guest for a person; empty for a node or a
    service. `sites` limits a person to some sites (None: all of the tenant); for a node it holds its
    own site. `groups` are those a node's site, or a limited person's sites, belong to, `nodes` those
    that stand at a limited person's sites.
    """

    kind: Kind
    id: str
    tenant: str
    name: str = ""
    role: str = ""
    sites: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def partitions(principal: Principal) -> frozenset[str] | None:
    """The partitions a principal may see, or None for the whole of its tenant."""
    if principal.kind is Kind.SERVICE or (
        principal.kind is Kind.PERSON and principal.sites is None
    ):
        return None
    granted = {TENANT_PARTITION}
    granted |= {site_partition(site) for site in principal.sites or ()}
    granted |= {group_partition(group) for group in principal.groups}
    nodes = (principal.id,) if principal.kind is Kind.NODE else principal.nodes
    granted |= {node_partition(node) for node in nodes}
    return frozenset(granted)


def may_read(principal: Principal, collection: Collection) -> bool:
    if principal.kind is Kind.PERSON:
        return principal.role in collection.read
    return True


def may_write(principal: Principal, collection: Collection) -> bool:
    """Whether records may be written directly; effects of commands are not asked here."""
    if principal.kind is Kind.PERSON:
        return principal.role in collection.write
    return principal.kind is Kind.SERVICE or collection.goes_up


def hidden_fields(principal: Principal, collection: Collection) -> frozenset[str]:
    """Fields a principal may not see: a guest sees nothing personal."""
    if principal.kind is Kind.PERSON and principal.role == "guest":
        return frozenset(f.name for f in collection.fields.values() if f.personal)
    return frozenset()


def require(allowed: bool, principal: Principal, verb: str, what: str) -> None:
    """Raise Denied unless `allowed`."""
    if not allowed:
        raise Denied(
            f"{principal.role or principal.kind.value} may not {verb} {what}.",
            hint="Ask an owner of the tenant for the right.",
        )


def home_partition(collection: Collection, *, site: str | None, node: str | None) -> str:
    """Where a record goes when its writer names no partition.

    Raises Invalid where the declaration wants a site or node and the writer has none (the cloud).
    """
    if collection.scope is Scope.TENANT:
        return TENANT_PARTITION
    if collection.scope is Scope.SITE and site:
        return site_partition(site)
    if collection.scope is Scope.NODE and node:
        return node_partition(node)
    raise Invalid(
        f"Which {collection.scope.value} do these {collection.name} belong to?",
        code="partition.missing",
        hint="Name the partition: site:<id> or node:<id>.",
    )


def check_partition(partition: str, granted: Iterable[str] | None) -> None:
    """Raise Denied for a partition outside those granted (None grants the whole tenant)."""
    if granted is not None and partition not in granted:
        raise Denied(
            f"{partition} is not among the partitions granted.",
            code="partition.denied",
            hint="A node writes only to its tenant, its site, its groups and itself.",
        )

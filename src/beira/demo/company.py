"""The demonstration's companies, made once: tenants, shops, owners, and the apps' sample records."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec
import structlog

from beira.cloud.program import Cloud
from beira.host.apps import load
from beira.identity.tenants import service
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import BeiraError, Misconfigured

log = structlog.get_logger(__name__)
FILE = "company.json"
TENANTS = (("angeloni", "Angeloni"), ("bistek", "Bistek"))
SHOPS = (
    ("angeloni", "angeloni-1", "Angeloni 1"),
    ("angeloni", "angeloni-2", "Angeloni 2"),
    ("bistek", "bistek-1", "Bistek 1"),
)


class SignIn(msgspec.Struct, kw_only=True):
    """An owner's sign-in, made up for this demonstration and kept in its folder only."""

    tenant: str
    email: str
    password: str

    def __repr__(self) -> str:
        return f"SignIn({self.email})"


class Shop(msgspec.Struct, kw_only=True):
    """A shop and its node's folder."""

    tenant: str
    site: str
    name: str


class Company(msgspec.Struct, kw_only=True):
    """What the demonstration made at its first run."""

    sign_ins: list[SignIn]
    shops: list[Shop]


def read(folder: Path) -> Company | None:
    """What an earlier run made, or None. Raises Misconfigured for a damaged file."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Company)
    except msgspec.MsgspecError as error:
        raise Misconfigured(
            f"{path} is damaged: {error}.", hint="make clean-demo forgets the demonstration."
        ) from None


async def make(folder: Path, cloud: Cloud) -> Company:
    """Make the companies in an empty cloud, and note their sign-ins in a file of mode 0600."""
    sign_ins = [
        SignIn(tenant=n, email=f"dona@{id}.example", password=_password()) for id, n in TENANTS
    ]
    shops = [Shop(tenant=tenant, site=site, name=name) for tenant, site, name in SHOPS]
    first = await cloud.identity.people.create_first_owner(
        TENANTS[0][1], sign_ins[0].email, sign_ins[0].password, tenant_id=TENANTS[0][0]
    )
    admin = Principal(kind=Kind.PERSON, id=first.account, tenant="", role="admin")
    for (id, name), sign_in in zip(TENANTS[1:], sign_ins[1:], strict=True):
        await cloud.identity.tenants.create(admin, name, id=id)
        invitation = await cloud.identity.tenants.invite(service(id), sign_in.email, "owner")
        await cloud.identity.tenants.accept(invitation.code, sign_in.password, name=f"Dona {name}")
    for shop in shops:
        await cloud.identity.tenants.add_site(service(shop.tenant), shop.name, id=shop.site)
    for id, name in TENANTS:
        await cloud.follow_places(id)
        await _fill(cloud, id, name)
    company = Company(sign_ins=sign_ins, shops=shops)
    path = folder / FILE
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(company))
    return company


async def _fill(cloud: Cloud, tenant: str, name: str) -> None:
    """The sample records of each app that has some (`demo:records`)."""
    host = await cloud.host_of_tenant(tenant)
    sites = [site for its_tenant, site, _ in SHOPS if its_tenant == tenant]
    for app in cloud.catalogue.apps:
        if app.demo:
            async with host.writing() as ctx:
                for record, partition in load(app.demo)(name, sites, host.now()):
                    ctx.put(record, partition=partition)


async def work(cloud: Cloud) -> None:
    """What apps make for the demonstration beyond records, while it runs already."""
    for id, name in TENANTS:
        host = await cloud.host_of_tenant(id)
        sites = [site for tenant, site, _ in SHOPS if tenant == id]
        for app in cloud.catalogue.apps:
            if app.demo_work:
                try:
                    await load(app.demo_work)(host, name, sites)
                except BeiraError as error:
                    log.warning("demo.work_failed", app=app.name, why=error.message)


def _password() -> str:
    return "-".join(secrets.token_hex(2) for _ in range(4))

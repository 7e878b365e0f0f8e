"""A small app, its people and a server that really listens: what the API's tests run against."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
import uvicorn
from litestar import Litestar

from beira.api import Api, ApiSettings, Door
from beira.api.ports import Person, SignIn, Tokens
from beira.host import Host, Place, SystemWall
from beira.kernel.access import Principal
from beira.kernel.app import App, Catalogue, catalogue
from beira.kernel.errors import Denied, Unauthenticated
from beira.sdk import (
    BOTH,
    DOWN,
    LOCAL,
    SITE,
    TENANT,
    UP,
    Context,
    Fact,
    Invalid,
    Kind,
    NotFound,
    Personal,
    Runs,
    State,
    collection,
    collection_of,
    command,
    command_of,
)
from beira.store.memory import MemoryStore
from beira.store.port import Store


@collection("products", flow=BOTH, partition=TENANT, write=("owner", "member"))
class Product(State):
    """What a shop sells."""

    name: str
    price: float = 0.0
    stock: int = 0
    active: bool = True
    tags: list[str] = []
    since: date | None = None
    note: str | None = None


@collection("sales", flow=UP, partition=SITE, write=("owner", "member"))
class Sale(Fact):
    """One sale."""

    product: str
    amount: float
    at: datetime
    seller: Annotated[str, Personal] = ""


@collection("prices", flow=DOWN, partition=TENANT)
class Price(State):
    """Kept in the cloud."""

    value: float


@collection("notes", flow=LOCAL, partition=SITE, read=("owner",), write=("owner",))
class Note(State):
    """For the owner's eyes."""

    text: str


@command(runs=Runs.ANYWHERE, roles=("owner", "member"))
async def sell(ctx: Context, product: str, amount: float, seller: str = "") -> Sale:
    """Records a sale."""
    if amount <= 0:
        raise Invalid("A sale has an amount.", code="sale.empty", hint="Say the amount.")
    if product == "nothing":
        raise NotFound("No such product.", code="product.unknown")
    await asyncio.sleep(0.01)  # so that calls overlap
    sale = Sale(product=product, amount=amount, at=ctx.now(), seller=seller)
    return ctx.put(sale, partition=None if ctx.site else "site:s1")


@command(runs=Runs.ANYWHERE, roles=("owner",))
async def broken(ctx: Context, kind: Literal["a", "b"] = "a") -> None:
    """Fails in a way nobody foresaw."""
    raise RuntimeError("secret inside")


@command(runs=Runs.NODE)
async def at_a_node(ctx: Context) -> str:
    """Runs where the node is."""
    return "done"


SHOP = App(
    name="shop",
    title="Shop",
    collections=tuple(collection_of(kind) for kind in (Product, Sale, Price, Note)),
    commands=tuple(command_of(handler) for handler in (sell, broken, at_a_node)),
)

PEOPLE = {
    "owner": Principal(kind=Kind.PERSON, id="p1", tenant="t1", name="Ana", role="owner"),
    "member": Principal(
        kind=Kind.PERSON, id="p2", tenant="t1", name="Bia", role="member", sites=("s1",)
    ),
    "guest": Principal(kind=Kind.PERSON, id="p3", tenant="t1", name="Caio", role="guest"),
    "elsewhere": Principal(
        kind=Kind.PERSON, id="p4", tenant="t1", name="Davi", role="member", sites=("s2",)
    ),
    "other": Principal(kind=Kind.PERSON, id="p5", tenant="t2", name="Eva", role="owner"),
    "node": Principal(kind=Kind.NODE, id="n1", tenant="t1", name="N1", sites=("s1",)),
}


@dataclass
class Tickets:
    """Who a token speaks for; `revoked` tokens speak for nobody. `tenants` gives tenants another
    name. Implements Authenticator and Revocations."""

    tenants: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    listeners: list[Callable[[object], None]] = field(default_factory=list)

    async def principal(self, token: str) -> Principal:
        if token in self.revoked or token not in PEOPLE:
            raise Unauthenticated("The token does not hold.", code="auth.token_invalid")
        who = PEOPLE[token]
        return msgspec.structs.replace(who, tenant=self.tenants.get(who.tenant, who.tenant))

    def subscribe(self, listener: Callable[[object], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def revoke(self, token: str) -> None:
        self.revoked.add(token)
        for listener in list(self.listeners):
            listener(token)


@dataclass
class Rooms:
    """Hosts by tenant."""

    hosts: dict[str, Host]

    async def host_of(self, principal: Principal) -> Host:
        try:
            return self.hosts[principal.tenant]
        except KeyError:
            raise Denied("That tenant is not here.") from None


class PasswordOnly:
    """Sign-in for tests: the password is the name of one of PEOPLE. Implements SignIn."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets
        self.ended: list[tuple[str, str]] = []

    async def sign_in(
        self, email: str, password: str, *, code: str, tenant: str, address: str, label: str
    ) -> Tokens:
        if password not in PEOPLE:
            raise Unauthenticated("E-mail or password is wrong.", code="auth.wrong")
        if email.startswith("totp") and code != "123456":
            raise Unauthenticated("A code is needed too.", code="auth.totp_needed")
        return self._tokens(password)

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        return self._tokens(refresh_token.removeprefix("refresh-"))

    async def sign_out(self, token: str, *, scope: str) -> None:
        await self._tickets.principal(token)
        self.ended.append((token, scope))

    async def person(self, token: str) -> Person:
        return self._person(await self._tickets.principal(token))

    async def change_password(self, token: str, old: str, new: str) -> None:
        if old != token:
            raise Unauthenticated("E-mail or password is wrong.", code="auth.wrong")

    async def begin_totp(self, token: str, password: str) -> Any:
        return _Setup()

    async def confirm_totp(self, token: str, code: str) -> None:
        if code != "123456":
            raise Unauthenticated("The code is wrong.", code="auth.totp_wrong")

    async def disable_totp(self, token: str, code: str) -> None:
        return None

    async def rename(self, token: str, name: str) -> None:
        return None

    def jwks(self) -> dict[str, object]:
        return {"keys": [{"kid": "k1"}]}

    def _person(self, who: Principal) -> Person:
        return Person(
            id=who.id,
            email=f"{who.name.lower()}@example.com",
            name=who.name,
            tenant=who.tenant,
            role=who.role,
            sites=who.sites,
        )

    def _tokens(self, who: str) -> Tokens:
        return Tokens(
            access_token=who,
            refresh_token=f"refresh-{who}",
            expires_in_s=900,
            expires_at=4_000_000_000,
            person=self._person(PEOPLE[who]),
        )


@dataclass(frozen=True)
class _Setup:
    secret: str = "S"
    uri: str = "otpauth://totp/x"
    qr_svg: str = "<svg/>"
    recovery_codes: tuple[str, ...] = ("r1",)


def sign_in_of(tickets: Tickets) -> SignIn:
    return PasswordOnly(tickets)


def shop() -> Catalogue:
    return catalogue([SHOP])


def host_over(store: Store, *, node: bool = False, tenant: str = "t1") -> Host:
    """A host of the shop: in the cloud, or at site s1."""
    place = Place(tenant=tenant, node="n1", site="s1") if node else Place(tenant=tenant, node="c1")
    return Host(
        place=place, store=store, catalogue=shop(), wall=SystemWall(), route=lambda row: None
    )


def memory_host(*, node: bool = False, tenant: str = "t1") -> Host:
    return host_over(MemoryStore(shop().collections, tenant=tenant), node=node, tenant=tenant)


def application(
    hosts: dict[str, Host], tickets: Tickets, settings: ApiSettings = ApiSettings()
) -> Litestar:
    api = Api(
        Door(tickets, Rooms(hosts)),
        sign_in=sign_in_of(tickets),
        revocations=tickets,
        settings=settings,
    )
    return Litestar(plugins=[api], openapi_config=None, logging_config=None)


class _Server(uvicorn.Server):
    """Leaves signals alone, and stops at once rather than at its next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()


@contextlib.asynccontextmanager
async def listening(app: Litestar) -> AsyncIterator[str]:
    """The app on a free port of this machine; gives its address."""
    sock = socket.socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # else no TCP_NODELAY
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="on",
        proxy_headers=False,
        http="httptools",
        ws="websockets-sansio",
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.stopping.set()
        await task

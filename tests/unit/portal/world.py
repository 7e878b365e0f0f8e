"""A cloud to look at: real PostgreSQL, real identity, the voice app, two companies and their day."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

import aiohttp
import msgspec
from litestar import Litestar
from yarl import URL

from beira.api import Api, Door
from beira.api.accounts import CloudAccounts
from beira.apps.voice import app as voice
from beira.apps.voice.records import (
    CustomerRequest,
    Interaction,
    Person,
    Product,
    Punch,
    RequestClosing,
    Sale,
    SaleItem,
    StockMovement,
)
from beira.blobs import FolderBlobs
from beira.cloud.opening import Opening
from beira.cloud.program import Cloud
from beira.host import Host, Place, SystemWall
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.identity import Identity, ServerKey
from beira.identity.node_key import NodeKey
from beira.identity.tenants import service
from beira.kernel.access import TENANT_PARTITION, node_partition, site_partition
from beira.kernel.app import Catalogue
from beira.kernel.collection import collection_of
from beira.kernel.record import DELETED, Record
from beira.kernel.system import Alert, LostValue, NodeStatus, Quarantined, SyncWindow
from beira.portal import Portal
from beira.store.postgres import EmbeddedPostgres, PostgresCloud

PASSWORD = "correct horse battery"
BAD = """<script>window.evil=1</script>"'><img src=x onerror="window.evil=1">{{7*7}}"""


@dataclass
class World:
    """A portal at `url`, over a database that tests may stop and start."""

    url: str
    cloud: Cloud
    identity: Identity
    portal: Portal
    server: EmbeddedPostgres
    tenants: dict[str, str]
    emails: dict[str, str]
    nodes: dict[str, str]
    directory: Path = Path()

    async def host(self, name: str = "angeloni") -> Host:
        return await self.cloud.host_of_tenant(self.tenants[name])

    async def write(self, host: Host, records: Sequence[tuple[Record, str]]) -> None:
        """Write records as if they had come up from a site."""
        rows = []
        for record, partition in records:
            declared = collection_of(record)
            record.id = record.id or host.wall.new_id()
            fields = declared.encode(record)
            if not declared.is_fact:
                fields[DELETED] = False
            rows.append(host.stamped(declared, record.id, partition, fields))
        await host.write(rows)

    def browser(self, language: str = "pt-BR", **headers: str) -> Browser:
        return Browser(self.url, language, **headers)


class Browser:
    """A browser without scripts: cookies, forms and redirects. Each has an address of its own, as the
    world's proxy tells: or wrong passwords of all tests together would be too many tries of one."""

    _addresses = count(1)

    def __init__(self, url: str, language: str, **more: str) -> None:
        jar = aiohttp.CookieJar(unsafe=True)
        address = IPv4Address("198.18.0.0") + next(self._addresses)
        headers = {"Accept-Language": language, "X-Forwarded-For": str(address), **more}
        self.url, self.status, self.text, self.at = url, 0, "", ""
        self.headers: dict[str, str] = {}
        self.session = aiohttp.ClientSession(cookie_jar=jar, headers=headers)

    async def get(self, path: str, **headers: str) -> str:
        async with self.session.get(self.url + path, headers=headers) as answer:
            return await self._took(answer)

    async def post(self, path: str, *, csrf: bool = True, **fields: str) -> str:
        if csrf:
            fields["csrf"] = self.cookie("form")
        async with self.session.post(self.url + path, data=fields) as answer:
            return await self._took(answer)

    async def _took(self, answer: aiohttp.ClientResponse) -> str:
        self.status, self.at = answer.status, answer.url.path_qs
        self.headers = dict(answer.headers)
        self.text = (await answer.read()).decode()
        return self.text

    def cookie(self, name: str) -> str:
        found = {c.key: c.value for c in self.session.cookie_jar}
        return next((v for k, v in found.items() if k.startswith(f"beira_{name}")), "")

    def cookies(self) -> dict[str, str]:
        return {c.key: c.value for c in self.session.cookie_jar}

    def give(self, cookies: dict[str, str]) -> None:
        self.session.cookie_jar.update_cookies(cookies, URL(self.url))

    async def sign_in(self, email: str, password: str = PASSWORD) -> str:
        await self.get("/sign-in")
        return await self.post("/sign-in", email=email, password=password)

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()


@asynccontextmanager
async def world(server: EmbeddedPostgres, dsn: str, owner_dsn: str) -> AsyncIterator[World]:
    """Serve a portal over an empty database, with two companies in it."""
    catalogue = Catalogue((voice,))
    database = PostgresCloud(dsn, catalogue.collections, owner_dsn)
    identity = Identity(database, ServerKey(os.urandom(32)), public_url="http://cloud.example")
    opening = Opening(database, identity, persevere=False)
    await opening.begin()
    blobs = FolderBlobs(Path(tempfile.mkdtemp(prefix="beira-blobs-")))
    cloud = Cloud(database, identity, catalogue, SystemWall(), blobs, opening)
    door = Door(identity, cloud)
    portal = Portal(door=door, identity=identity, cloud=cloud, proxies=("127.0.0.1",))
    app = Litestar(plugins=[_api(cloud), portal], openapi_config=None, logging_config=None)
    try:
        async with serving(app, Listen()) as url:
            yield await _people(World(url, cloud, identity, portal, server, {}, {}, {}))
            await portal.close()
    finally:
        await cloud.close()
        await identity.close()
        await database.close()
        shutil.rmtree(blobs.root, ignore_errors=True)


def _api(cloud: Cloud) -> Api:
    accounts = CloudAccounts(cloud.identity)
    door = Door(accounts, cloud)
    return Api(door, sign_in=accounts, nodes=accounts, revocations=accounts)


async def _people(made: World) -> World:
    first = await made.identity.people.create_first_owner(
        "Angeloni", "dona@angeloni.example", PASSWORD, tenant_id="angeloni"
    )
    made.tenants["angeloni"] = first.tenant
    made.emails["owner"] = "dona@angeloni.example"
    await made.identity.tenants.create(service(""), "Bistek", id="bistek")
    made.tenants["bistek"] = "bistek"
    sites = {"angeloni": ("Angeloni 1", "Angeloni 2"), "bistek": ("Bistek 1",)}
    for tenant, names in sites.items():
        for at, name in enumerate(names, 1):
            await made.identity.tenants.add_site(service(tenant), name, id=f"{tenant}-{at}")
    await invite(made, "bistek", "other", "owner")
    await invite(made, "angeloni", "member", "member")
    await invite(made, "angeloni", "guest", "guest")
    await invite(made, "angeloni", "clerk", "member", sites=("angeloni-2",))
    for tenant, names in sites.items():
        for at, name in enumerate(names, 1):
            await _enrol(made, tenant, f"{tenant}-{at}", f"Balcão {name}")
        await made.cloud.follow_places(tenant)
    return made


async def invite(made: World, tenant: str, who: str, role: str, **more: object) -> None:
    email = f"{who}@{tenant}.example"
    invited = await made.identity.tenants.invite(service(tenant), email, role, **more)
    await made.identity.tenants.accept(invited.code, PASSWORD, name=who.title())
    made.emails[who] = email


async def _enrol(made: World, tenant: str, site: str, name: str) -> None:
    key = NodeKey(os.urandom(32))
    code = await made.identity.nodes.make_code(service(tenant), site, name=name)
    request = key.enrol(code.code, made.identity.nodes.challenge())
    made.nodes[site] = (await made.identity.nodes.enrol(request)).node


async def fill(made: World, *, marked: str = "", tenant: str = "angeloni") -> None:
    """A day at the shops. `marked` is put into every text, to see what pages make of it."""
    host = await made.host(tenant)
    now = host.now()
    await made.write(host, _goods(marked))
    sites = [site for site in made.nodes if site.startswith(tenant)]
    for number, site in enumerate(sites):
        await made.write(host, _status(made, site, now, online=number == 0))
        await made.write(host, _day(site, now, marked, 24 if number == 0 else 7))


def _goods(marked: str) -> list[tuple[Record, str]]:
    people = ("João da Silva", "Maria Souza", "Ana Lima", "Pedro Rocha")
    goods = (
        ("Pão francês", 1890, "kg", "Padaria"),
        ("Café torrado", 1690, "un", "Corredor 3"),
        ("Leite integral", 549, "l", "Corredor 7"),
        ("Banana prata", 699, "kg", "Hortifruti"),
    )
    made: list[tuple[Record, str]] = []
    for at, name in enumerate(people):
        person = Person(id=f"person-{at}", name=name + marked, role="Caixa" + marked)
        person.also_said = ["Zé" + marked]
        made.append((person, TENANT_PARTITION))
    for at, (name, cents, unit, place) in enumerate(goods):
        product = Product(id=f"product-{at}", name=name + marked, price_cents=cents, unit=unit)
        product.place = place + marked
        made.append((product, TENANT_PARTITION))
    return made


def _status(made: World, site: str, now: datetime, *, online: bool) -> list[tuple[Record, str]]:
    seen = now if online else now - timedelta(minutes=23)
    status = NodeStatus(
        id=made.nodes[site], release="0.1.0", started_at=now - timedelta(hours=6), seen_at=seen,
        online=online, last_sync_at=seen, skew_ms=40, latency_ms=612.0, rtt_ms=18.0,
        pending={"critical": 0, "important": 0 if online else 12, "normal": 3},
        oldest_s={"critical": 0, "important": 0 if online else 1380, "normal": 140},
        met={"critical": [4, 0], "important": [210, 3], "normal": [41, 0]},
        disk_free_bytes=21_474_836_480, link="ws", bytes_raw=48_210_000, bytes_sent=5_120_000,
        checked_at=seen - timedelta(hours=2), mended=0 if online else 3,
        backup_at=seen - timedelta(hours=4), held=[] if online else ["normal"],
        share=0.3 if online else 1.0, metered=not online, next_step="",
        last_code="" if online else "sync.silent",
        last_error="" if online else "The cloud could not be reached.",
        hours={"critical": [[1, 4, 0]], "important": [[1, 100, 1], [2, 110, 2]]},
    )  # fmt: skip
    return [(status, node_partition(made.nodes[site]))]


def _day(site: str, now: datetime, marked: str, talks: int) -> list[tuple[Record, str]]:
    home = site_partition(site)
    made: list[tuple[Record, str]] = []
    said = (
        ("registrar ponto do João", "Ponto do João, entrada, às 8 e 2.", "register_punch", "done"),
        (
            "quanto custa o café torrado",
            "Café torrado custa 16 reais e 90.",
            "product_price",
            "done",
        ),
        ("vendi dois leites", "Vendi 2 litros de leite. Confirma?", "record_sale", "asked"),
        (
            "me conta uma piada",
            "Não entendi. Diga, por exemplo: que horas são?",
            "",
            "not_understood",
        ),
    )
    for at in range(talks):
        text, answer, intent, outcome = said[at % 4]
        moment = now - timedelta(minutes=(talks - at) * 11, seconds=at)
        stages = {
            "speech_end_detect": 310.0 + at * 3,
            "stt": 38.0 + at,
            "decide": 9.0,
            "tts_first": 41.0,
        }
        talk = Interaction(
            text=text + marked, answer=answer + marked, intent=intent, outcome=outcome,
            confidence=None if outcome == "not_understood" else 0.97,
            door="microphone", at=moment, stages_ms=stages, latency_ms=round(sum(stages.values()), 1),
        )  # fmt: skip
        made.append((talk, home))
    morning = (now - timedelta(hours=5)).replace(second=0, microsecond=0)
    working = {0: "João da Silva", 1: "Maria Souza", 2: "Ana Lima"}
    for at, name in (working if site.endswith("1") else {3: "Pedro Rocha"}).items():
        for kind, hours in (("in", 0), ("out", 4), ("in", 4.9))[: 3 if at else 2]:
            moment = morning + timedelta(hours=hours, minutes=at * 3)
            punch = Punch(id=f"{site}-{at}-{hours}", person=f"person-{at}", employee=name + marked,
                          kind=kind, at=moment, said_at=moment)  # fmt: skip
            made.append((punch, home))
    for at in range(6):
        item = SaleItem(product="product-1", name="Café torrado" + marked, quantity_milli=2000, unit="un",
                        price_cents=1690, total_cents=3380)  # fmt: skip
        made.append(
            (Sale(items=[item], total_cents=3380, at=now - timedelta(minutes=at * 17)), home)
        )
    stock = StockMovement(product="product-1", name="Café torrado", quantity_milli=48_000, unit="un",
                          reason="in", at=now)  # fmt: skip
    made.append((stock, home))
    made += [(record, home) for record in _asked(site, now, marked)]
    return made


def _asked(site: str, now: datetime, marked: str) -> list[Record]:
    """What customers asked for: two wait, one was attended to."""
    asked = (
        ("bolo de cenoura", "Dona Ana", "48999991234", 2_000),
        ("pão sem glúten", "", "", 0),
        ("queijo colonial inteiro", "Seu Pedro", "", 1_000),
    )
    made: list[Record] = []
    for at, (text, customer, phone, milli) in enumerate(asked):
        made.append(
            CustomerRequest(
                id=f"{site}-request-{at}", text=text + marked, at=now - timedelta(hours=at * 3 + 1),
                customer=customer and customer + marked, phone=phone, quantity_milli=milli, unit="un",
            )
        )  # fmt: skip
    made.append(
        RequestClosing(
            id=f"{site}-closing", request=f"{site}-request-2", outcome="done", by="Maria" + marked,
            at=now - timedelta(minutes=40),
        )
    )  # fmt: skip
    return made


def alert(level: str = "critical", marked: str = "") -> Alert:
    return msgspec.convert(
        {"id": "", "kind": "fire", "level": level, "title": "Fogo no depósito" + marked,
         "text": "aurora, tem fogo perto das prateleiras" + marked, "at": datetime.now(UTC).isoformat()},
        Alert,
    )  # fmt: skip


def quarantined(node: str, marked: str = "") -> Quarantined:
    fields = {
        "person": "person-0", "employee": "João da Silva" + marked, "kind": "in",
        "at": "ontem" + marked, "said_at": datetime.now(UTC).isoformat(), "extra" + marked: marked,
    }  # fmt: skip
    return Quarantined(
        id="refused-" + node, node=node, in_collection="punches", record="r1",
        code="field.invalid", at=datetime.now(UTC),
        message="punches.at: Invalid RFC3339 encoded datetime." + marked,
        row={"fields": fields, "partition": "site:angeloni-1", "stamp": [1 << 50, 1, node]},
    )  # fmt: skip


def contested(made: World) -> list[tuple[Record, str]]:
    """Two values that lost, one of them taken back."""
    now = datetime.now(UTC)
    lost = LostValue(
        id="lost-price", in_collection="products", record="product-1", place=TENANT_PARTITION,
        field="price_cents", lost=1590, lost_by=made.nodes["angeloni-1"],
        lost_at=now - timedelta(minutes=50), kept=1690, kept_by=made.nodes["angeloni-2"],
        kept_at=now - timedelta(minutes=44), at=now - timedelta(minutes=5),
    )  # fmt: skip
    back = LostValue(
        id="lost-place", in_collection="products", record="product-3", place=TENANT_PARTITION,
        field="place", lost="Entrada", lost_by="cloud-1", lost_at=now - timedelta(hours=9),
        kept="Hortifruti", kept_by=made.nodes["angeloni-2"], kept_at=now - timedelta(hours=8),
        at=now - timedelta(hours=7), restored_by="Dona", restored_at=now - timedelta(hours=2),
    )  # fmt: skip
    return [(lost, TENANT_PARTITION), (back, TENANT_PARTITION)]


def scheduled() -> list[tuple[Record, str]]:
    """A shop's opening hours, a night's maintenance and the inventory."""
    found = (
        SyncWindow(id="day", title="Expediente", kind="business", begins="08:00", ends="20:00",
                   days=[0, 1, 2, 3, 4, 5], hold="none", share=0.3),
        SyncWindow(id="night", title="Manutenção da rede", begins="22:00", ends="05:30"),
        SyncWindow(id="count", title="Inventário", kind="event", begins="13:00", ends="17:00",
                   days=[6], hold="important", place="site:angeloni-1"),
    )  # fmt: skip
    return [(window, TENANT_PARTITION) for window in found]


def local_place() -> Place:
    """A node of Angeloni 1."""
    return Place(tenant="angeloni", node="n1", site="angeloni-1", name="Balcão 1")

"""A shop in memory with a clock one can turn, for Aurora's tests."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from beira.apps.voice import app
from beira.apps.voice.assistant import Assistant, Heard, Turn
from beira.apps.voice.records import Person, Product
from beira.host import Host, Place
from beira.kernel.app import catalogue
from beira.kernel.collection import collection_of
from beira.kernel.record import Record
from beira.store.memory import MemoryStore

ZONE = ZoneInfo("America/Sao_Paulo")
MORNING = datetime(2026, 11, 20, 15, 0, tzinfo=ZONE)


class TurnedWall:
    """A wall clock that stands still until it is turned."""

    def __init__(self, at: datetime = MORNING) -> None:
        self.at = at
        self._ids = 0

    def now_ms(self) -> int:
        return int(self.at.timestamp() * 1000)

    def monotonic_s(self) -> float:
        return self.at.timestamp()

    def new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids:06d}"

    def turn(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


PEOPLE = [
    Person(id="p-silva", name="João Silva", role="caixa"),
    Person(id="p-souza", name="João Souza", role="padeiro"),
    Person(id="p-maria", name="Maria Clara Nunes", also_said=["Clarinha"]),
    Person(id="p-wesley", name="Wesley Santos"),
    Person(id="p-gone", name="Renato Gone", active=False),
    Person(id="p-far", name="Otávio Longe", site="other"),
]
PRODUCTS = [
    Product(id="arroz", name="Arroz Tio João 5 kg", price_cents=2_799, place="corredor 3"),
    Product(id="integral", name="Arroz integral 1 kg", price_cents=899),
    Product(id="pao", name="Pão francês", price_cents=1_590, unit="kg", place="padaria"),
    Product(id="coca", name="Coca-Cola 2 L", price_cents=999, also_said=["coca"]),
    Product(id="leite", name="Leite integral", price_cents=None),
    Product(id="ovo", name="Ovo branco", price_cents=100, also_said=["ovo"]),
]


class Shop:
    """A node's host with people and products, and one conversation at its counter."""

    def __init__(self, language: str = "", store: Any = None) -> None:
        declared = catalogue([app])
        self.wall = TurnedWall()
        self.store: Any = store or MemoryStore(declared.collections, tenant="angeloni")
        place = Place(tenant="angeloni", node="n1", site="s1", name="Balcão", zone=ZONE)
        self.host = Host(
            place=place,
            store=self.store,
            catalogue=declared,
            wall=self.wall,
            route=lambda row: None,
        )
        self.assistant = Assistant(self.host, language)

    async def open(self) -> Shop:
        await self.write(*PEOPLE, *PRODUCTS)
        return self

    async def write(self, *records: Record) -> None:
        """As the cloud would send them."""
        rows = []
        for record in records:
            declared = collection_of(record)
            rows.append(self.host.stamped(declared, record.id, "tenant", declared.encode(record)))
        await self.host.write(rows)

    async def say(self, text: str, confidence: float | None = 1.0, door: str = "typed") -> Turn:
        return await self.assistant.hear(
            Heard(text=text, confidence=confidence, door=door, trace="t")
        )

    async def rows(self, collection: str) -> list[dict[str, Any]]:
        from beira.kernel.query import Order, Query

        page = await self.store.query(
            Query(collection=collection, order=(Order("_hlc"),), limit=1_000)
        )
        return page.rows

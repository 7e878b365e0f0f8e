"""What is synced: 10,000 records of about 300 bytes of JSON, the same for Beira and its peers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from beira.apps.voice.records import Interaction as Talk
from beira.host.wall import SystemWall
from beira.kernel.app import App, catalogue
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    IMPORTANT,
    TENANT,
    UP,
    Personal,
    collection,
    collection_of,
)
from beira.kernel.record import Fact, Record, State

RECORDS = 10_000
BATCH = 500
UPDATED = 1_000
NAMES = ("João Silva", "Ana Souza", "Maria Lima", "Pedro Alves", "Carla Reis")


@collection("bench_interactions", flow=UP, lane=IMPORTANT)
class Interaction(Fact):
    """What a shop says to its assistant: about 300 bytes of JSON."""

    at: datetime
    text: Annotated[str, Personal]
    intent: str
    outcome: str
    answer: Annotated[str, Personal]
    confidence: float
    latency_ms: int


@collection("bench_goods", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class Good(State):
    """A catalogue entry of about 300 bytes."""

    name: str
    text: str
    price_cents: int
    place: str


@collection("bench_alarms", flow=UP, lane=CRITICAL)
class Alarm(Fact):
    """Something the cloud must know within 30 seconds."""

    at: datetime
    kind: str
    title: str
    text: str
    level: str


APP = App(
    name="bench",
    title="Bench",
    collections=tuple(collection_of(record) for record in (Interaction, Good, Alarm, Talk)),
)
CATALOGUE = catalogue([APP])


def interactions(count: int) -> list[Record]:
    """Fresh ones, with ids as a node gives them."""
    wall = SystemWall()
    made: list[Record] = [interaction(i) for i in range(count)]
    for record in made:
        record.id = wall.new_id()
    return made


def interaction(i: int) -> Interaction:
    who = NAMES[i % len(NAMES)]
    return Interaction(
        at=datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(seconds=37 * i),
        text=f"registrar ponto do {who} às {8 + i % 10} e {i % 60:02}",
        intent="register_punch",
        outcome="done",
        answer=f"Ponto de {who} registrado às {8 + i % 10}:{i % 60:02}.",
        confidence=round(0.9 + (i % 97) / 1000, 3),
        latency_ms=400 + i * 7919 % 500,
    )


def goods(count: int) -> list[Record]:
    """A catalogue; the ids are the same at each call."""
    made: list[Record] = [good(i) for i in range(count)]
    for i, record in enumerate(made):
        record.id = good_id(i)
    return made


def good(i: int) -> Good:
    text = f"Produto {i} da prateleira {i % 40}, embalagem de {i % 9 + 1} unidades, lote {i * 31 % 9973}"
    return Good(
        name=f"Produto {i}", text=text, price_cents=100 + i * 13 % 9_000, place=f"C{i % 40}"
    )


def good_id(i: int) -> str:
    """A UUID of version 7 whose random part is what a hash makes of `i`."""
    scattered = i * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**74
    text = (
        f"{0x0193F0000000 + i // 7:012x}7{scattered >> 62:03x}{scattered & 2**62 - 1 | 2**63:016x}"
    )
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def alarm(i: int) -> Alarm:
    return Alarm(
        at=datetime(2026, 11, 20, 8, tzinfo=UTC) + timedelta(seconds=61 * i),
        kind="freezer",
        title=f"Câmara fria {i % 4 + 1} acima de -15 °C",
        text=f"A câmara fria {i % 4 + 1} está a -{14 - i % 5},{i % 10} °C há {5 + i % 7} minutos.",
        level="critical",
    )


def plain(record: Record) -> dict[str, Any]:
    """A record as its peers get it: JSON's own types."""
    made: dict[str, Any] = msgspec.to_builtins(record)
    return made


def json_bytes(records: list[Record]) -> int:
    return sum(len(msgspec.json.encode(record)) for record in records)

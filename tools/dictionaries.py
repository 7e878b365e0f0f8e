"""Train the compression dictionary that comes with Beira, from messages as a shop's node says them.

    python tools/dictionaries.py [--check]

Small messages compress well only against something that both ends have already. What is trained on
is made up here, of people, goods and sentences as Aurora's, and is no customer's. A dictionary that
has been released is never changed: nodes of that release compress with it. A better one gets the
next number (below `kernel.dictionary.FIRST_OWN`: from there a site's own are numbered, which the cloud
trains), and the old one stays for those who know no other. `--check` prints what it saves on
messages it was not trained on.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from beira.apps.voice.records import (
    CustomerRequest,
    Interaction,
    Product,
    Punch,
    Sale,
    SaleItem,
    StockMovement,
)
from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import collection_of
from beira.kernel.command import Receipt
from beira.kernel.record import DELETED, Record, Row, State
from beira.kernel.system import Alert
from beira.kernel.wire import Ack, Confirm, Feed, Got, Ping, Pong, Push, Status, Wire
from beira.sync.brief import NUMBER, Known

SIZE_BYTES = 16_384
SAMPLES = 6_000
SEED = 20_261_121
FOLDER = Path(__file__).parents[1] / "src/beira/sync/dictionaries"

FIRST = "João Maria Ana Pedro Carla Antônia Rafael Beatriz Wesley Fernanda Gustavo Patrícia Sérgio Luiza"
LAST = "Silva Souza Nunes Ferreira Lima Rocha Santos Alves Pereira Moraes Duarte Ramos Gomes Costa"
GOODS = (
    "Arroz branco 5 kg", "Feijão preto 1 kg", "Leite integral 1 L", "Café em pó 500 g",
    "Açúcar refinado 1 kg", "Óleo de soja 900 ml", "Macarrão espaguete 500 g", "Pão francês",
    "Coca-Cola 2 L", "Guaraná 2 L", "Banana prata", "Tomate", "Carne moída", "Queijo minas",
    "Sabão em pó 800 g", "Detergente 500 ml", "Papel higiênico 12 rolos", "Farinha de trigo 1 kg",
)  # fmt: skip
PLACES = ("corredor 3", "corredor 5", "padaria", "açougue", "hortifrúti", "frios", "depósito")
ALARMS = (
    ("emergency.fire", "Emergência: incêndio", "fogo"),
    ("emergency.medical", "Emergência: pessoa ferida", "uma pessoa passando mal"),
    ("security.theft", "Segurança: furto", "furto"),
    ("security.suspicious", "Segurança: atitude suspeita", "pessoa suspeita"),
    ("failure", "Falha: câmara fria", "a câmara fria parou"),
    ("failure", "Falha: internet", "a internet caiu"),
    ("failure", "Falha: caixa 2", "o caixa 2 travou"),
)


class Shop:
    """One made-up shop's node, and what it might write at any moment."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        self.node = "n" + "".join(chance.choices(letters, k=12))
        self.site = "s" + "".join(chance.choices(letters, k=12))
        self.ms = 1_790_000_000_000 + chance.randrange(60_000_000_000)
        self.number = chance.randrange(1, 60_000)

    def id(self) -> str:
        value = (self.ms << 80) | 7 << 76 | self.chance.getrandbits(76) & ~(3 << 74)
        value = value & ~(3 << 62) | 2 << 62
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def now(self) -> datetime:
        self.ms += self.chance.randrange(1, 40_000)
        more = timedelta(milliseconds=self.ms, microseconds=self.chance.randrange(1_000))
        return datetime(1970, 1, 1, tzinfo=UTC) + more

    def person(self) -> str:
        return f"{self.chance.choice(FIRST.split())} {self.chance.choice(LAST.split())}"

    def alert(self) -> Record:
        kind, title, said = self.chance.choice(ALARMS)
        text = self.chance.choice(
            ("", f"aurora {said}", f"aurora, {said}", f"{said} na {self.chance.choice(PLACES)}")
        )
        at = self.now()
        return Alert(kind=kind, level="critical", title=title, at=at, text=text, node=self.node)

    def interaction(self) -> Record:
        who, hour, minute = self.person(), self.chance.randrange(6, 22), self.chance.randrange(60)
        good = self.chance.choice(GOODS)
        intent, text, answer = self.chance.choice((
            ("register_punch", f"aurora registrar ponto do {who} às {hour} e {minute}",
             f"Ponto de {who} registrado às {hour}:{minute:02}."),
            ("product_price", f"aurora qual o preço do {good.lower()}",
             f"{good} custa R$ {self.chance.randrange(1, 60)},{self.chance.randrange(100):02}."),
            ("product_place", f"aurora onde fica o {good.lower()}",
             f"{good} fica no {self.chance.choice(PLACES)}."),
            ("register_sale", f"aurora vender dois {good.lower()}", f"Venda registrada: 2 {good}."),
        ))  # fmt: skip
        stages = {"end": 180.0, "recognise": 21.4, "understand": 0.6, "command": 3.1, "speak": 9.2}
        stages = {name: round(ms * self.chance.uniform(0.7, 1.9), 1) for name, ms in stages.items()}
        return Interaction(
            text=text, at=self.now(), intent=intent, outcome="done", answer=answer,
            confidence=round(self.chance.uniform(0.8, 1), 3), door=self.chance.choice(("voice", "text")),
            command=intent, receipt=self.id(), language="pt-BR", stages_ms=stages,
            latency_ms=round(sum(stages.values()), 1), trace=self.id(),
        )  # fmt: skip

    def punch(self) -> Record:
        at, kind = self.now(), self.chance.choice(("in", "out"))
        who, trace = self.person(), self.id()
        return Punch(person=self.id(), employee=who, kind=kind, at=at, said_at=at, trace=trace)

    def movement(self) -> Record:
        good = self.chance.choice(GOODS)
        return StockMovement(
            product=self.id(), name=good, quantity_milli=self.chance.randrange(-9, 30) * 1_000,
            unit=self.chance.choice(("un", "kg")), reason=self.chance.choice(("in", "out", "sale")),
            at=self.now(), trace=self.id(),
        )  # fmt: skip

    def sale(self) -> Record:
        cents = self.chance.randrange(100, 9_000)
        item = SaleItem(
            product=self.id(), name=self.chance.choice(GOODS), quantity_milli=2_000, unit="un",
            price_cents=cents, total_cents=2 * cents,
        )  # fmt: skip
        return Sale(items=[item], total_cents=2 * cents, at=self.now(), trace=self.id())

    def request(self) -> Record:
        text = f"cliente pediu {self.chance.choice(GOODS).lower()}"
        return CustomerRequest(text=text, at=self.now(), trace=self.id())

    def receipt(self) -> Record:
        command = self.chance.choice(("register_punch", "register_sale", "raise_emergency"))
        return Receipt(
            command=command, by=self.node, door="voice", at=self.now(), ok=True,
            took_ms=round(self.chance.uniform(1, 9), 1), trace=self.id(),
        )  # fmt: skip

    def product(self) -> Record:
        return Product(
            name=self.chance.choice(GOODS), price_cents=self.chance.randrange(100, 9_000),
            place=self.chance.choice(PLACES),
        )  # fmt: skip

    def rows(self, make: Callable[[], Record], count: int, names: set[str] | None) -> list[Row]:
        made = []
        for _ in range(count):
            record = make()
            declared = collection_of(record)
            self.ms += 3
            stamp = Stamp(hlc_at(self.ms) + self.chance.randrange(3), int(declared.lane), self.node)
            partition = "tenant" if declared.scope.value == "tenant" else f"site:{self.site}"
            row = Row(
                collection=declared.name, id=self.id(), partition=partition,
                fields=_fields(record), stamp=stamp,
            )  # fmt: skip
            made.append((row.only(names & row.fields.keys()) if names else None) or row)
        return made

    def message(self) -> Wire:
        """One of those that are small and frequent."""
        chance = self.chance
        makes = (
            self.alert,
            self.alert,
            self.alert,
            self.alert,
            self.interaction,
            self.punch,
            self.movement,
            self.sale,
        )
        make = chance.choice((*makes, self.request, self.receipt, self.product))
        rows = self.rows(make, chance.choice((1, 1, 1, 1, 2, 3)), None)
        lane, before = rows[0].stamp.lane, self.number
        self.number += len(rows)
        kind = chance.random()
        if kind < 0.7:
            return Push(lane=lane, after=before, upto=self.number, groups=pack(rows))
        if kind < 0.75:
            changed = self.rows(
                self.product, 1, {"price_cents", "place"} if kind > 0.72 else {"place"}
            )
            return Push(lane=1, after=before, upto=self.number, groups=pack(changed))
        if kind < 0.85:
            partition = rows[0].partition
            return Feed(partition=partition, after=before, upto=self.number, groups=pack(rows))
        if kind < 0.9:
            return Ack(lane=lane, upto=self.number)
        if kind < 0.93:
            return Got(partition=rows[0].partition, upto=self.number)
        if kind < 0.94:
            return Confirm(ticket=chance.getrandbits(62))
        if kind < 0.96:
            ms = chance.randrange(90_000_000)
            return chance.choice((Ping(sent_ms=ms), Pong(sent_ms=ms, clock_ms=self.ms)))
        waiting = {"critical": 0, "important": chance.randrange(9), "normal": chance.randrange(99)}
        return Status(
            fields={
                "release": "0.2.0", "pending": waiting, "oldest_s": {},
                "met": {"critical": [3, 0], "important": [chance.randrange(900), 0], "normal": [1, 0]},
                "skew_ms": chance.randrange(-40, 40), "link": "websocket",
                "rtt_ms": round(chance.uniform(8, 90), 1), "last_error": "",
            }
        )  # fmt: skip


def _fields(record: Record) -> dict[str, object]:
    """As a write gives them: a state says that it is not deleted."""
    fields = collection_of(record).encode(record)
    if isinstance(record, State):
        fields[DELETED] = False
    return dict(sorted(fields.items()))


def messages(seed: int, count: int) -> list[bytes]:
    """Messages of many shops."""
    chance = random.Random(seed)  # noqa: S311
    shops = [Shop(chance) for _ in range(max(1, count // 20))]
    return [plain(chance.choice(shops)) for _ in range(count)]


def plain(shop: Shop) -> bytes:
    """A message of a session that began some time ago, as it lies under the compression."""
    message = shop.message()
    began_ms = shop.ms - shop.chance.randrange(1_000, 80_000_000)
    partitions = (f"node:{shop.node}", f"site:{shop.site}", "tenant")
    return Known(shop.node, partitions, hlc_at(began_ms)).plain([message])


def trained() -> bytes:
    samples = messages(SEED, SAMPLES)
    made = zstandard.train_dictionary(SIZE_BYTES, samples, dict_id=NUMBER, level=19)
    return made.as_bytes()


def check(path: Path) -> None:
    """Print what it saves on others' messages."""
    known = zstandard.ZstdCompressionDict(path.read_bytes())
    plain = zstandard.ZstdCompressor(level=19)
    with_it = zstandard.ZstdCompressor(level=19, dict_data=known)
    fresh = messages(SEED + 1, 500)
    sizes = [sum(len(c.compress(m)) for m in fresh) for c in (plain, with_it)]
    print(f"{sum(map(len, fresh))} bytes: {sizes[0]} without it, {sizes[1]} with it")


def main() -> None:
    path = FOLDER / f"{NUMBER}.zdict"
    if "--check" not in sys.argv:
        path.write_bytes(trained())
    check(path)


if __name__ == "__main__":
    main()

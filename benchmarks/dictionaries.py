"""What a site's own dictionary saves: the bytes of a day of one tenant's small messages, with the
dictionary that comes with Beira and with one retrained as the cloud does it.

    python -m benchmarks.dictionaries [--quick]

One JSON object a line: name, value, unit, peer, ratio, target, met. The day is Aurora's, from the
shops the shipped dictionary was made for (its best case: their words are its words), and from a shop
with goods and places of its own. The retrained one is judged by another day than it was made of.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

from tools import dictionaries as shops

from beira.apps.voice import app as voice
from beira.kernel import limits
from beira.kernel.app import catalogue
from beira.kernel.clock import hlc_at
from beira.kernel.dictionary import FIRST_OWN, is_worth
from beira.kernel.wire import Hello, Welcome, Wire
from beira.sync.brief import BriefCodec, Dictionary, Known, Shelf, shipped
from beira.sync.dictionaries.cloud import Sample, Samples
from beira.sync.dictionaries.training import Request, trial

TARGET = 0.95
OWN_GOODS = (
    "Bicicleta aro 29 alumínio", "Câmara de ar aro 26", "Pneu 700x28c", "Corrente 8 velocidades",
    "Capacete tamanho M", "Freio a disco hidráulico", "Selim com gel", "Pedal de encaixe",
)  # fmt: skip
OWN_PLACES = ("vitrine", "oficina", "balcão dos fundos", "mezanino")


class Day:
    """One shop's day: its messages in order, in one session."""

    def __init__(self, seed: int, count: int) -> None:
        self.shop = shops.Shop(random.Random(seed))
        partitions = [f"node:{self.shop.node}", f"site:{self.shop.site}", "tenant"]
        self.welcome = Welcome(
            protocol=1,
            release="0",
            ticket=1,
            clock_ms=self.shop.ms,
            cloud="c",
            partitions=partitions,
        )
        self.messages: list[Wire] = [self.shop.message() for _ in range(count)]

    def sample(self) -> Sample:
        """As the cloud samples it."""
        samples, registry = Samples(random.Random(1)), catalogue([voice]).collections
        known = Known(self.shop.node, tuple(self.welcome.partitions), hlc_at(self.welcome.clock_ms))
        for message in self.messages:
            samples.heard(("t", self.shop.site), registry, known, [message])
        return samples.sites["t", self.shop.site]

    def size(self, dictionary: Dictionary) -> int:
        """Bytes on the wire. Each message must arrive as it was."""
        shelf = Shelf()
        if dictionary != shipped():
            shelf.held, shelf.offer = {dictionary.number: dictionary}, dictionary.offered
        node, cloud = BriefCodec(is_node=True, shelf=shelf), BriefCodec(is_node=False, shelf=shelf)
        hello = Hello(protocol=1, release="0", ticket=1, clock_ms=0)
        cloud.decode(node.encode([hello]))
        node.decode(cloud.encode([self.welcome]))
        assert node.dictionary == dictionary.number
        total = 0
        for message in self.messages:
            data = node.encode([message])
            assert cloud.decode(data) == [message]
            total += len(data)
        return total


async def retrained(day: Day) -> tuple[Dictionary, float, bool]:
    """The dictionary, how long it took, and whether the cloud would have kept it."""
    sample, base = day.sample(), shipped().data
    asked = Request(
        sample.training.messages,
        sample.held_out.messages,
        base,
        base,
        FIRST_OWN,
        limits.DICTIONARY_BYTES,
    )
    began_s = time.perf_counter()
    made = await trial(asked)
    took_s = time.perf_counter() - began_s
    return (
        Dictionary(FIRST_OWN, made.dictionary),
        took_s,
        is_worth(made.in_use_bytes, made.new_bytes),
    )


def told(name: str, value: float, unit: str, **more: object) -> None:
    given = {"peer": None, "ratio": None, "target": None, "met": None} | more
    print(json.dumps({"name": name, "value": value, "unit": unit, **given}), flush=True)


async def compare(name: str, count: int) -> None:
    """One kind of shop. Days of the same seed are one shop's: the second half is the day after."""
    before = Day(7, 2 * count)
    after = Day(7, 2 * count)
    before.messages, after.messages = before.messages[:count], after.messages[count:]
    made, took_s, worth = await retrained(before)
    own, peer = after.size(made), after.size(shipped())
    told(
        f"dictionary.{name}.day", own, "bytes", peer=f"shipped dictionary: {peer}",
        ratio=round(own / peer, 4), target=f"at most {TARGET} of it, or not kept",
        met=own <= TARGET * peer or not worth,
    )  # fmt: skip
    told(f"dictionary.{name}.kept", int(worth), "yes=1")
    told(f"dictionary.{name}.training", round(took_s, 3), "s", target=limits.DICTIONARY_TRAINING_S,
         met=took_s < limits.DICTIONARY_TRAINING_S)  # fmt: skip


async def main() -> None:
    count = 2_000 if "--quick" in sys.argv else 6_000
    await compare("shop_as_trained", count)
    goods, places = shops.GOODS, shops.PLACES
    shops.GOODS, shops.PLACES = OWN_GOODS, OWN_PLACES
    try:
        await compare("shop_of_its_own", count)
    finally:
        shops.GOODS, shops.PLACES = goods, places


if __name__ == "__main__":
    asyncio.run(main())

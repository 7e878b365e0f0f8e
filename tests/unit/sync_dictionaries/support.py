"""A shop's messages, and dictionaries made of some."""

from __future__ import annotations

from functools import cache

from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.record import Row
from beira.kernel.wire import Hello, Offered, Push, Welcome, Wire
from beira.sync.brief import BriefCodec, Dictionary, Known, Shelf
from beira.sync.dictionaries.training import Request, judged

NOW_MS = 1_790_000_000_000
PARTITIONS = ["node:n1", "site:a", "tenant"]
HELLO = Hello(protocol=1, release="test", ticket=1, clock_ms=NOW_MS)
WELCOME = Welcome(
    protocol=1, release="test", ticket=1, clock_ms=NOW_MS, cloud="c", partitions=PARTITIONS
)


def push(number: int, word: str = "bicicletaria") -> Push:
    fields = {"at": number, "kind": f"{word} {number % 7} {number}", "text": f"peça {number % 5}"}
    row = Row(
        collection="repairs", id=f"r{number}", partition="site:a", fields=fields,
        stamp=Stamp(hlc_at(NOW_MS + number), 1, "n1"),
    )  # fmt: skip
    return Push(lane=1, after=number, upto=number + 1, groups=pack([row]))


@cache
def made(number: int, word: str = "bicicletaria") -> Dictionary:
    """A dictionary of a shop's messages."""
    known = Known.of(WELCOME)
    training = [known.plain([push(at, word)]) for at in range(600)]
    found = judged(Request(training, training[:50], b"", b"", number, 4_096))
    assert found.dictionary
    return Dictionary(number, found.dictionary)


def shelf(*held: Dictionary) -> Shelf:
    given = Shelf()
    given.held = {one.number: one for one in held}
    if held:
        given.offer = max(held, key=lambda one: one.number).offered
    return given


def greeted(node: Shelf, cloud: Shelf) -> tuple[BriefCodec, BriefCodec]:
    """Both ends, once hello and welcome were said."""
    ends = BriefCodec(is_node=True, shelf=node), BriefCodec(is_node=False, shelf=cloud)
    ends[1].decode(ends[0].encode([HELLO]))
    ends[0].decode(ends[1].encode([WELCOME]))
    return ends


def offered(one: Dictionary) -> Offered:
    return one.offered


__all__ = ["HELLO", "NOW_MS", "WELCOME", "Wire", "greeted", "made", "offered", "push", "shelf"]

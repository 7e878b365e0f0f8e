"""The cloud samples, trains, keeps and gives; each site's own, and nothing of it to any other."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import pytest
from tests.unit.sync_dictionaries.support import NOW_MS

from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import (
    IMPORTANT,
    SITE,
    UP,
    Personal,
    Registry,
    collection,
    collection_of,
)
from beira.kernel.errors import BeiraError, NotFound, Unavailable
from beira.kernel.record import DELETED, Fact, Row
from beira.kernel.wire import Ack, Push
from beira.store.memory import MemoryStore
from beira.sync.brief import Dictionary, Known
from beira.sync.dictionaries import cloud as dictionaries_cloud
from beira.sync.dictionaries import training as dictionaries_training
from beira.sync.dictionaries.cloud import CloudDictionaries, Samples
from beira.sync.dictionaries.training import Request, Trial

NAMES = {"a": "Zoraide Quixadá", "b": "Valdomiro Itaúna"}
GOODS = {"a": "bicicleta aro 29", "b": "orquídea borboleta"}


@collection("repairs_for_dictionaries", flow=UP, lane=IMPORTANT, partition=SITE)
class Repair(Fact):
    owner: Annotated[str, Personal]
    thing: str
    price_cents: int


REGISTRY = Registry([collection_of(Repair)])


@dataclass
class Wall:
    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Host:
    store: MemoryStore = field(default_factory=lambda: MemoryStore(REGISTRY))
    wall: Wall = field(default_factory=Wall)


class Tenants:
    """A host for each."""

    def __init__(self) -> None:
        self.hosts = {"t": Host(), "u": Host()}

    async def __call__(self, tenant: str) -> Any:
        return self.hosts[tenant]


def node(site: str, tenant: str = "t") -> Principal:
    return Principal(kind=Kind.NODE, id=f"n{site}", tenant=tenant, sites=(site,))


def push(site: str, number: int) -> Push:
    fields = {
        "owner": f"{NAMES[site]} {number % 3}", "price_cents": number % 9,
        "thing": f"{GOODS[site]} {number % 5}, revisão completa e entrega", DELETED: False,
    }  # fmt: skip
    row = Row(
        collection="repairs_for_dictionaries", id=f"01990000-0000-7000-8000-{number:012x}",
        partition=f"site:{site}", fields=fields, stamp=Stamp(hlc_at(NOW_MS + number), 1, f"n{site}"),
    )  # fmt: skip
    return Push(lane=1, after=number, upto=number + 1, groups=pack([row]))


def known(site: str) -> Known:
    return Known(f"n{site}", (f"node:n{site}", f"site:{site}", "tenant"), hlc_at(NOW_MS))


async def talk(cloud: CloudDictionaries, site: str, count: int, tenant: str = "t") -> None:
    shelf = await cloud.of(node(site, tenant))
    for number in range(count):
        shelf.heard(known(site), [push(site, number)])
        shelf.heard(known(site), [Ack(lane=1, upto=number)])


@pytest.fixture
def enough(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(limits, "DICTIONARY_CHANGES_LEAST", 200)
    return 200


async def test_each_site_gets_its_own_and_no_word_of_another(enough: int) -> None:
    cloud = CloudDictionaries(Tenants())
    for site in "ab":
        await talk(cloud, site, enough)
    await cloud.look()
    texts = {site: await cloud.get(node(site), 16) for site in "ab"}
    for site, other in ("ab", "ba"):
        assert GOODS[site].encode() in texts[site]
        assert GOODS[other].encode() not in texts[site]
        for name in NAMES.values():
            for word in name.split():
                assert word.encode() not in texts[site], "a person's name, and be it of this site"
    assert (await cloud.of(node("a"))).offer == Dictionary(16, texts["a"]).offered


async def test_nobody_else_is_given_it(enough: int) -> None:
    cloud = CloudDictionaries(Tenants())
    await talk(cloud, "a", enough)
    await cloud.look()
    await cloud.get(node("a"), 16)
    for stranger in (node("a", "u"), node("b"), node("")):
        with pytest.raises(NotFound) as told:
            await cloud.get(stranger, 16)
        assert told.value.code == "dictionary.missing"
        assert (await cloud.of(stranger)).offer is None
    with pytest.raises(NotFound):
        await cloud.get(node("a"), 1)


async def test_another_replica_finds_it_and_few_are_kept(enough: int) -> None:
    tenants = Tenants()
    one = CloudDictionaries(tenants)
    for day in range(4):
        tenants.hosts["t"].wall.ms += limits.DICTIONARY_EVERY_S * 1_000
        shelf = await one.of(node("a"))
        for number in range(enough):
            message = push("a", number)
            message.groups[0].columns[message.groups[0].fields.index("thing")] = [
                f"{random.Random(day).randbytes(20).hex()} {number % 4} {day}"
            ]
            shelf.heard(known("a"), [message])
        await one.look()
    other = CloudDictionaries(tenants)
    held = (await other.of(node("a"))).names()
    assert sorted(held) == [18, 19], "the newest two of four"
    marks = await tenants.hosts["t"].store.marks(dictionaries_cloud.DATA_MARK)
    assert sorted(marks) == ["dictionary.data:a:18", "dictionary.data:a:19"]


async def test_a_day_has_one_try_whoever_looks(
    enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    async def trial(request: Request) -> Trial:
        tried.append(request.number)
        await asyncio.sleep(0)
        return Trial(b"", 100, 100)

    monkeypatch.setattr(dictionaries_cloud, "trial", trial)
    tenants = Tenants()
    replicas = [CloudDictionaries(tenants), CloudDictionaries(tenants)]
    for replica in replicas:
        await talk(replica, "a", enough)
    await asyncio.gather(*(replica.look() for replica in replicas))
    assert tried == [16]
    await talk(replicas[0], "a", enough)
    await replicas[0].look()
    assert tried == [16], "not before tomorrow"
    tenants.hosts["t"].wall.ms += limits.DICTIONARY_EVERY_S * 1_000
    await talk(replicas[0], "a", enough)
    await replicas[0].look()
    assert tried == [16, 16]
    assert (await replicas[0].of(node("a"))).offer is None, "it was not worth it"


async def test_a_training_that_fails_leaves_all_as_it_was(
    enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trial(request: Request) -> Trial:
        raise Unavailable("too long")

    monkeypatch.setattr(dictionaries_cloud, "trial", trial)
    cloud = CloudDictionaries(Tenants())
    await talk(cloud, "a", enough)
    await cloud.look()
    assert (await cloud.of(node("a"))).offer is None


async def test_a_training_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DICTIONARY_TRAINING_S", 0)
    with pytest.raises(BeiraError) as told:
        await dictionaries_training.trial(Request([b"a" * 50] * 9, [b"b"], b"", b"", 2, 1_024))
    assert told.value.code == "dictionary.untrained"


async def test_from_too_little_nothing_is_made() -> None:
    found = await dictionaries_training.trial(Request([b"a"], [b"b"], b"", b"", 2, 1_024))
    assert found.dictionary == b""


async def test_a_dictionary_spoilt_in_the_database_is_not_given(enough: int) -> None:
    tenants = Tenants()
    cloud = CloudDictionaries(tenants)
    await talk(cloud, "a", enough)
    await cloud.look()
    store = tenants.hosts["t"].store
    await store.commit([], marks={"dictionary.data:a:16": "c3BvaWx0"})
    other = CloudDictionaries(tenants)
    with pytest.raises(NotFound):
        await other.get(node("a"), 16)
    assert (await other.of(node("a"))).offer is None


def test_samples_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DICTIONARY_SAMPLES", 20)
    monkeypatch.setattr(limits, "DICTIONARY_SAMPLE_BYTES", 3_000)
    monkeypatch.setattr(limits, "DICTIONARY_SITES", 2)
    samples = Samples(random.Random(7))
    for number in range(300):
        for site in ("x", "y", "z"):
            samples.heard(("t", site), REGISTRY, known("a"), [push("a", number)])
            samples.heard(("t", site), REGISTRY, known("a"), [Ack(lane=1, upto=number)])
    assert list(samples.sites) == [("t", "x"), ("t", "y")]
    for sample in samples.sites.values():
        assert sample.seen == 600
        assert sample.changes == 300
        for part, most, most_bytes in ((sample.training, 16, 2_400), (sample.held_out, 4, 600)):
            assert 2 <= len(part.messages) <= most
            assert sum(map(len, part.messages)) == part.size_bytes <= most_bytes
        late = [
            at
            for at in (msgspec.msgpack.decode(m)[0] for m in sample.training.messages)
            if at.get("upto", at.get("a", 0)) > 20
        ]
        assert late, "not only the first to come"


def test_what_is_personal_is_only_among_what_is_judged_by() -> None:
    samples = Samples(random.Random(7))
    for number in range(50):
        samples.heard(("t", "a"), REGISTRY, known("a"), [push("a", number)])
    (sample,) = samples.sites.values()
    assert not any(b"Zoraide" in message for message in sample.training.messages)
    assert len(sample.training.messages) == 40
    assert all(b"Zoraide" in message for message in sample.held_out.messages)
    assert len(sample.held_out.messages) == 10

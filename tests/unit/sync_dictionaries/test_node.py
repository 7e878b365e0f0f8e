"""What a node keeps: whole, few, and none that it has reason to doubt."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.sync_dictionaries.support import greeted, made, push, shelf

from beira.kernel import limits
from beira.kernel.collection import Registry
from beira.kernel.errors import BeiraError, Unavailable
from beira.store.memory import MemoryStore
from beira.sync.dictionaries.node import MARK, NodeDictionaries


def store() -> MemoryStore:
    return MemoryStore(Registry([]))


async def test_what_is_offered_is_fetched_once_and_there_after_a_restart() -> None:
    disk, asked = store(), []

    async def get(number: int) -> bytes:
        asked.append(number)
        return made(16).data

    here = NodeDictionaries(disk)
    await here.load()
    following = asyncio.create_task(here.follow(get))
    node, cloud = greeted(here, shelf(made(16)))
    await following
    assert asked == [16]
    assert cloud.decode(node.encode([push(1)])) == [push(1)], "the session goes on as it began"
    again = NodeDictionaries(disk)
    await again.load()
    assert again.held == {16: made(16)}
    node, _ = greeted(again, shelf(made(16)))
    assert node.dictionary == 16
    assert not again._told.is_set(), "nothing more to fetch"


@pytest.mark.parametrize(
    "content", [b"", b"garbled", made(16).data[:-1], made(17).data, b"x" * 20_000]
)
async def test_what_is_not_what_was_offered_is_thrown_away(content: bytes) -> None:
    here = NodeDictionaries(store())
    with pytest.raises(BeiraError) as told:
        await here.keep(made(16).offered, content)
    assert told.value.code == "dictionary.mismatch"
    assert here.held == {}
    node, cloud = greeted(here, shelf(made(16)))
    assert cloud.decode(node.encode([push(1)])) == [push(1)]


async def test_one_whose_number_is_another_is_thrown_away() -> None:
    here = NodeDictionaries(store())
    lie = msgspec.structs.replace(made(16).offered, number=19)
    with pytest.raises(BeiraError):
        await here.keep(lie, made(16).data)


async def test_the_last_few_are_kept() -> None:
    here = NodeDictionaries(store())
    for number in (16, 17, 18):
        await here.keep(made(number).offered, made(number).data)
    assert sorted(here.held) == [17, 18]
    assert limits.DICTIONARIES_KEPT == 2


async def test_another_of_the_same_number_takes_its_place() -> None:
    """After the cloud's database was an older copy, numbers are given again."""
    here = NodeDictionaries(store())
    await here.keep(made(17).offered, made(17).data)
    newer = made(17, "floricultura")
    node, _ = greeted(here, shelf(newer))
    assert node.dictionary == 1
    assert here._told.is_set()
    await here.keep(newer.offered, newer.data)
    assert here.held == {17: newer}


async def test_what_is_damaged_on_disk_is_not_there() -> None:
    disk = store()
    await NodeDictionaries(disk).keep(made(16).offered, made(16).data)
    ((number, sha256, text),) = (await disk.marks(MARK))[MARK]
    for spoilt in ([[number, sha256, text[4:]]], [[number, sha256]], "nonsense", [[number, 1, 2]]):
        await disk.commit([], marks={MARK: spoilt})
        here = NodeDictionaries(disk)
        await here.load()
        assert here.held == {}


async def test_what_told_nonsense_is_offered_and_fetched_no_more() -> None:
    here = NodeDictionaries(store())
    await here.keep(made(16).offered, made(16).data)
    here.distrust()
    node, cloud = greeted(here, shelf(made(16)))
    assert node.dictionary == cloud.dictionary == 1
    assert not here._told.is_set()


async def test_it_waits_for_a_cheap_link_and_outlives_a_cloud_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[bool] = []
    monkeypatch.setattr("beira.sync.dictionaries.node.CHEAP_LOOK_S", 0)

    def cheap() -> bool:
        looks.append(len(looks) == 2)
        return looks[-1]

    async def away(number: int) -> bytes:
        assert len(looks) == 3
        raise Unavailable("away")

    here = NodeDictionaries(store(), cheap)
    here.told(made(16).offered)
    await here.follow(away)
    assert here.held == {}
    here.told(made(16).offered)
    assert here._told.is_set(), "the next session tries again"

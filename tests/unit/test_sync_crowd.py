"""Pushes of many nodes are one commit, and one that cannot be committed fails alone (laws 2 and 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.contract.records import REGISTRY, thing

from beira.kernel.errors import Conflict, Unavailable
from beira.kernel.record import Row
from beira.store.memory import MemoryStore
from beira.sync.cloud.crowd import Crowd, Pushed


class Slow(MemoryStore):
    """Counts its commits, and lets others speak meanwhile."""

    def __init__(self) -> None:
        super().__init__(REGISTRY, tenant="angeloni")
        self.commits = 0
        self.is_away = False

    async def commit(self, rows: Sequence[Row], **options: Any) -> Any:
        self.commits += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("It does not answer.", code="database.away")
        return await super().commit(rows, **options)


def pushed(id: str, lane: str, has: int | None, upto: int, partition: str = "site:1") -> Pushed:
    row = thing(id, partition=partition)
    return Pushed([row], {f"up:{lane}": has}, {f"up:{lane}": upto})


def crowd_on(store: Slow) -> Crowd:
    return Crowd(store, lambda row: None)


async def test_what_many_push_meanwhile_is_one_commit() -> None:
    store = Slow()
    crowd = crowd_on(store)
    await asyncio.gather(*(crowd.push(pushed(f"p{n}", f"n{n}:1", None, 1)) for n in range(60)))
    assert store.commits <= 3
    assert len(await store.marks("up:")) == 60


async def test_one_whose_lane_has_moved_fails_alone() -> None:
    store = Slow()
    await store.commit([], marks={"up:b:1": 5})
    crowd = crowd_on(store)
    pushes = [crowd.push(pushed(f"r-{node}", f"{node}:1", None, 1)) for node in "abc"]
    done = await asyncio.gather(*pushes, return_exceptions=True)
    assert [type(result) for result in done] == [type(None), Conflict, type(None)]
    assert await store.marks("up:") == {"up:a:1": 1, "up:b:1": 5, "up:c:1": 1}
    assert await store.get("things", "r-b") is None


async def test_pushes_of_one_lane_follow_each_other() -> None:
    store = Slow()
    crowd = crowd_on(store)
    turns = [pushed(f"r{n}", "a:1", n or None, n + 1) for n in range(5)]
    await asyncio.gather(*(crowd.push(turn) for turn in turns))
    assert await store.marks("up:") == {"up:a:1": 5}


async def test_a_record_pushed_by_two_is_merged_and_not_joined_unseen() -> None:
    store = Slow()
    crowd = crowd_on(store)
    await asyncio.gather(
        crowd.push(pushed("same", "a:1", None, 1)), crowd.push(pushed("same", "b:1", None, 1))
    )
    assert store.commits == 2


async def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    store = Slow()
    store.is_away = True
    crowd = crowd_on(store)
    pushes = [crowd.push(pushed(f"p{n}", f"n{n}:1", None, 1)) for n in range(60)]
    for result in await asyncio.gather(*pushes, return_exceptions=True):
        assert isinstance(result, Unavailable)
    assert store.commits <= 3


async def test_each_sees_its_own_marks_and_streams_only() -> None:
    store = Slow()
    await store.commit([], marks={"up:a:1": 1, "up:b:1": 2, "floor:tenant": [3, 4]})
    crowd = crowd_on(store)
    (of_a, ends), (of_b, _) = await asyncio.gather(
        crowd.look(["up:a:", "floor:tenant"], ["feed:a"]), crowd.look(["up:b:"], ["feed:b"])
    )
    assert of_a == {"up:a:1": 1, "floor:tenant": [3, 4]}
    assert of_b == {"up:b:1": 2}
    assert ends == {"feed:a": 0}


async def test_whoever_gives_up_waiting_takes_nobody_along() -> None:
    store = Slow()
    crowd = crowd_on(store)
    gone = asyncio.ensure_future(crowd.push(pushed("a", "a:1", None, 1)))
    await asyncio.sleep(0)
    gone.cancel()
    await crowd.push(pushed("b", "b:1", None, 1))
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert set(await store.marks("up:")) == {"up:a:1", "up:b:1"}

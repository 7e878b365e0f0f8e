"""What many nodes say is written together, and one that cannot be written fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.contract.records import REGISTRY, thing

from beira.kernel.errors import Conflict
from beira.kernel.record import Row
from beira.store.memory import MemoryStore
from beira.sync.cloud.notes import Notes


class Slow(MemoryStore):
    """Counts its commits, and lets others speak meanwhile."""

    def __init__(self) -> None:
        super().__init__(REGISTRY, tenant="angeloni")
        self.commits = 0

    async def commit(self, rows: Sequence[Row], **options: Any) -> Any:
        self.commits += 1
        await asyncio.sleep(0)
        return await super().commit(rows, **options)


async def test_what_comes_meanwhile_is_committed_together() -> None:
    store = Slow()
    notes = Notes(store)
    await asyncio.gather(*(notes.write(thing(f"n{n}"), marks={f"down:{n}": n}) for n in range(50)))
    assert store.commits <= 3
    assert await store.get("things", "n49") is not None
    assert (await store.marks("down:"))["down:49"] == 49


async def test_one_that_cannot_be_written_fails_alone() -> None:
    store = Slow()
    await store.commit([thing("b", partition="site:2")])
    notes = Notes(store)
    writes = [notes.write(thing(id)) for id in "abc"]
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in done] == [type(None), Conflict, type(None)]
    assert await store.get("things", "c") is not None


async def test_whoever_gives_up_waiting_disturbs_nobody() -> None:
    store = Slow()
    notes = Notes(store)
    gone = asyncio.ensure_future(notes.write(thing("a")))
    await asyncio.sleep(0)
    gone.cancel()
    await notes.write(thing("b"))
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await store.get("things", "b") is not None

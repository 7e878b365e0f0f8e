"""What a program does about its memory once it runs."""

from __future__ import annotations

import asyncio
import gc

import pytest

from beira.host import memory


async def test_what_stays_for_good_is_looked_through_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "SETTLED_AFTER_S", 0)
    before = gc.get_freeze_count()
    stays = [{"n": n} for n in range(100)]
    task = asyncio.create_task(memory.give_back())
    try:
        while gc.get_freeze_count() <= before + len(stays):
            assert not task.done()
            await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gc.unfreeze()

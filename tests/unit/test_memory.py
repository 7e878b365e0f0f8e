"""What a program does about its memory once it runs."""

from __future__ import annotations

import gc

import pytest

from beira.host import memory


async def test_what_stays_for_good_is_looked_through_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "SETTLED_AFTER_S", 0)
    stays = [{"n": n} for n in range(100)]
    before = gc.get_freeze_count()
    try:
        await memory.settled()
        assert gc.get_freeze_count() > before + len(stays)
    finally:
        gc.unfreeze()

"""When a shop asks the cloud again for its programme."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from beira.apps.player import syncing
from beira.apps.player.syncing import Syncing
from beira.sdk import Unavailable


class Line:
    """A line to the cloud that is not up yet, and a cloud that then answers with an error."""

    def __init__(self, away: int) -> None:
        self.asked = 0
        self._away = away

    async def ask_cloud(self, name: str, body: bytes) -> bytes:
        self.asked += 1
        code = "cloud.away" if self.asked <= self._away else "answer.timeout"
        raise Unavailable("No.", code=code)


async def rounds(line: Line, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it means to wait after each round, until one that another fault ended."""
    waits: list[float] = []
    made = Syncing(
        SimpleNamespace(host=line, manifest=syncing.Manifest(), head=None),  # type: ignore[arg-type]
        lambda: None,
    )
    line.store = SimpleNamespace(subscribe=lambda heard: lambda: None)  # type: ignore[attr-defined]

    def noted(wait_s: float) -> asyncio.Timeout:
        waits.append(wait_s)
        return asyncio.Timeout(asyncio.get_running_loop().time())

    monkeypatch.setattr(syncing, "asyncio", SimpleNamespace(Event=asyncio.Event, timeout=noted))
    task = asyncio.ensure_future(made.run())
    while line.asked < 8:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return waits[:7]


async def test_without_a_link_it_looks_often_and_with_one_it_tries_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = await rounds(Line(away=5), monkeypatch)
    assert waits[:5] == [syncing.LINK_LOOK_S] * 5
    assert waits[5:] == [2 * syncing.AGAIN_FIRST_S, 4 * syncing.AGAIN_FIRST_S]

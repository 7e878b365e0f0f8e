"""Keeping a node's manifest as the cloud has it: asked for at the start, when a head's news comes, and
every ten minutes. Whatever fails, what is held goes on being played."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

import structlog

from beira.apps.player.held import Held, check, taken
from beira.apps.player.manifest import Answer, Manifest, Question
from beira.apps.player.wire import ASKED, opened, packed, unpacked
from beira.sdk import BeiraError, Corrupt, Host, News

log = structlog.get_logger(__name__)
EVERY_S = 600.0
JITTER = 0.1
AGAIN_FIRST_S = 2.0
AGAIN_MOST_S = 600.0
LINK_LOOK_S = 1.0
AWAY = "cloud.away"
"""There is no link, which is known without asking anybody: looked at often, so that it is asked as soon
as there is one."""
HEADS = "player_heads"


def questions(held: Manifest, version: int) -> list[Question]:
    """What to ask, one after the other, until an answer comes to its head's root: with the root alone
    (most often nothing has changed), with the buckets' marks, and as one who holds nothing."""
    return [
        Question(root=held.root, version=version),
        Question(root=held.root, version=version, marks=held.marks),
        Question(marks=Manifest().marks),
    ]


class Syncing:
    """Asks the cloud. `synced_at` is when it last answered; `heard` is called each time it did, and
    before what it said is written."""

    def __init__(
        self,
        held: Held,
        heard: Callable[[], None],
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.synced_at: datetime | None = None
        self.problem: BeiraError | None = None
        self._held = held
        self._host: Host = held.host
        self._heard = heard
        self._chance = chance
        self._asked = asyncio.Event()
        self._known_other = False

    def ask_now(self) -> None:
        """The cloud is asked at once."""
        self._asked.set()

    async def run(self) -> None:
        """Ask whenever it is time, until cancelled."""
        stop = self._host.store.subscribe(self._news)
        failures = 0
        try:
            while True:
                try:
                    await self.round()
                    failures, self.problem = 0, None
                except BeiraError as error:
                    failures = 0 if error.code == AWAY else failures + 1
                    self._note(error)
                await self._wait(failures)
        finally:
            stop()

    async def _wait(self, failures: int) -> None:
        wait_s = EVERY_S * (1 + JITTER * (2 * self._chance() - 1))
        if self.problem is not None and self.problem.code == AWAY:
            wait_s = LINK_LOOK_S
        elif failures:
            wait_s = min(wait_s, AGAIN_MOST_S, AGAIN_FIRST_S * 2.0 ** min(failures, 16))
        try:
            async with asyncio.timeout(wait_s):
                await self._asked.wait()
        except TimeoutError:
            pass
        self._asked.clear()

    async def round(self) -> bool:
        """Ask until what is held is what the cloud has; whether it has changed. Raises BeiraError."""
        held = self._held
        asked = questions(held.manifest, held.head.version if held.head else 0)
        for question in asked[1 if self._known_other else 0 :]:
            answer = unpacked(await self._host.ask_cloud(ASKED, packed(question)), Answer)
            if answer.signed is None:
                break
            head = opened(self._host, answer.signed)
            check(head, held.head, self._host.place.tenant, self._host.place.node)
            base = held.manifest if question.root else Manifest()
            made = taken(base, head, answer.buckets)
            if made is not None:
                held.take(head, answer.signed, made)
                await self._settled()
                return True
        else:
            raise Corrupt(
                "The cloud's manifest does not come to its root.",
                code="player.root",
                hint="It is asked again; what is held goes on being played.",
            )
        await self._settled()
        return False

    async def _settled(self) -> None:
        self._known_other = False
        self.synced_at = self._host.now()
        self._heard()
        if self._held.unwritten:
            await self._held.write()

    def _news(self, news: News) -> None:
        node = self._host.place.node
        if any(name == HEADS and id == node for name, id, _ in news.rows):
            self._known_other = True
            self._asked.set()

    def _note(self, error: BeiraError) -> None:
        if self.problem is None or self.problem.code != error.code:
            log.info("player.not_synced", code=error.code, why=error.message)
        self.problem = error

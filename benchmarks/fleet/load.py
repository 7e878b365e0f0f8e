"""What the fleet does to the cloud: stays, comes and goes, or comes back all at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import msgspec

from beira.kernel import limits
from beira.kernel.collection import Lane
from beira.kernel.policy import retry_after_s
from benchmarks.fleet.enrolled import Enrolled, challenge_of
from benchmarks.fleet.visit import Visit, one_urgent

CYCLE_S = 300.0
MARGIN_S = 15.0
"""A node comes this long before the oldest of its changes is due."""
URGENT_EVERY_S = 300.0
TICK_S = 0.1
DIALS_AT_ONCE = 400
GIVE_UP_S = 45.0


@dataclass
class Told:
    """What was seen: latencies in seconds, and what went wrong by its reason."""

    token_s: list[float] = field(default_factory=list)
    urgent_s: list[float] = field(default_factory=list)
    cycle_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    pushed: int = 0
    met: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def share(self, lane: str) -> float:
        return 100 * self.met[lane] / max(1, self.met[lane] + self.missed[lane])


class Live:
    """A node that stays: comes back whenever it is cut off, tells how it is, says urgent things."""

    def __init__(self, load: Load, node: Enrolled) -> None:
        self.load, self.node = load, node
        self.visit: Visit | None = None
        self.failures = 0
        self._urgent_since_s = 0.0
        self._lasting = True

    @property
    def is_live(self) -> bool:
        return self.visit is not None and self.visit.live

    async def connect(self) -> None:
        async with self.load.dialling:
            try:
                token = await self.load.token(self.node)
            except (OSError, aiohttp.ClientError, TimeoutError) as error:
                self._ended(f"token: {error!r}"[:60])
                return
            self.visit = Visit(self.load.port, self.node, token, stays=True, done=self._ended)
            await self.visit.begin(self._acked, self._welcome)

    def say(self) -> None:
        """Something that must be in the cloud within thirty seconds, from now on; a node that is cut off
        says it once it is back. One that has never been there yet says nothing."""
        if self._urgent_since_s or not (self.is_live or self.failures):
            return
        self._urgent_since_s = time.monotonic()
        if self.is_live:
            self._push_urgent()

    def _welcome(self) -> None:
        if self._urgent_since_s:
            self._push_urgent()

    def _push_urgent(self) -> None:
        assert self.visit is not None
        self.visit.push(Lane.CRITICAL, one_urgent(self.node, time.time()))

    def stay_away(self) -> None:
        self._lasting = False
        if self.visit is not None:
            self.visit.leave()

    def _acked(self, lane: int) -> None:
        if lane == Lane.CRITICAL and self._urgent_since_s:
            took_s = time.monotonic() - self._urgent_since_s
            self._urgent_since_s = 0.0
            told = self.load.told
            told.urgent_s.append(took_s)
            told.pushed += 1
            (told.met if took_s <= limits.DEADLINE_CRITICAL_S else told.missed)["critical"] += 1

    def _ended(self, why: str) -> None:
        if not self._lasting:
            return
        self.load.told.failed[why] += 1
        was_live, self.visit = self.visit is not None and self.failures == 0, None
        self.failures = 1 if was_live else self.failures + 1
        wait_s = retry_after_s(self.failures, random.random())
        asyncio.get_running_loop().call_later(wait_s, self._again)

    def _again(self) -> None:
        if self._lasting:
            self.load.start(self.connect())


class Load:
    """Both kinds of nodes, at one cloud."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.port = port
        self.told = Told()
        self.live: list[Live] = []
        self.dialling = asyncio.Semaphore(DIALS_AT_ONCE)
        self.coming = 0
        self.give_up_s = GIVE_UP_S
        self._session = session
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: asyncio.Future[None] | object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def token(self, node: Enrolled) -> str:
        """The node's token: a new one if it has none that lasts for another minute."""
        if time.time() < node.token_until_s - 60:
            return node.token
        started_s = time.monotonic()
        base = f"http://127.0.0.1:{self.port}/auth/v1/nodes"
        async with self._session.post(f"{base}/challenge") as answer:
            answer.raise_for_status()
            challenge = challenge_of(await answer.read())
        body = {"assertion": node.assertion(challenge)}
        async with self._session.post(f"{base}/token", json=body) as answer:
            answer.raise_for_status()
            given = msgspec.json.decode(await answer.read())
        node.token = given["access_token"]
        node.token_until_s = time.time() + given["expires_in_s"]
        self.told.token_s.append(time.monotonic() - started_s)
        return node.token

    async def connect(self, nodes: list[Enrolled], per_s: float, within_s: float) -> float:
        """Connect `nodes` for good, at most so many a second; how long it took until all were live."""
        started_s = time.monotonic()
        fresh = [Live(self, node) for node in nodes]
        self.live += fresh
        for i, one in enumerate(fresh):
            await _at(started_s + i / per_s)
            self.start(one.connect())
        await self.all_live(within_s)
        return time.monotonic() - started_s

    async def all_live(self, within_s: float) -> bool:
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            if all(one.is_live for one in self.live):
                return True
            await asyncio.sleep(TICK_S)
        return False

    async def keep_telling(self) -> None:
        """Each live node asks whether the cloud is there and says how it is, as often as one of which
        nothing changes, and says something urgent every five minutes. From the first that is there on:
        a node that says nothing is taken for gone."""
        asked = told = urged = 0.0
        then_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            turns, then_s = (now_s - then_s) * len(self.live), now_s
            asked = self._each(asked, asked + turns / limits.PING_EVERY_S, _ask)
            told = self._each(told, told + turns / limits.STATUS_CALM_EVERY_S, _tell)
            urged = self._each(urged, urged + turns / URGENT_EVERY_S, Live.say)

    def _each(self, done: float, upto: float, act: Callable[[Live], None]) -> float:
        """Have as many act as whole numbers lie between `done` and `upto`, which is returned."""
        for turn in range(int(done), int(upto)):
            act(self.live[turn * 7919 % len(self.live)])
        return upto

    async def cycle(self, nodes: list[Enrolled], per_s: float) -> None:
        """Every node comes once, at moments planned beforehand: who is slow makes nobody wait."""
        started_s = time.monotonic()
        for i, node in enumerate(nodes):
            planned_s = started_s + i / per_s
            await _at(planned_s)
            self.coming += 1
            self.start(self._visit(node, planned_s))
        while self.coming:
            await asyncio.sleep(TICK_S)

    async def _visit(self, node: Enrolled, planned_s: float) -> None:
        """Until its changes are confirmed; a node that fails tries again, as nodes do."""
        failures = 0
        try:
            while True:
                why = await self._once(node)
                if not why:
                    break
                self.told.failed[why] += 1
                failures += 1
                if time.monotonic() - planned_s > self.give_up_s:
                    break
                await asyncio.sleep(retry_after_s(failures, random.random()))
            took_s = time.monotonic() - planned_s
            self.told.cycle_s.append(took_s)
            met = not why and took_s <= MARGIN_S
            (self.told.met if met else self.told.missed)["important"] += 1
            self.told.pushed += 0 if why else 3
        finally:
            self.coming -= 1

    async def _once(self, node: Enrolled) -> str:
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        visit: Visit | None = None
        try:
            async with asyncio.timeout(self.give_up_s):
                token = await self.token(node)
                visit = Visit(self.port, node, token, stays=False, done=lambda w: _settle(over, w))
                await visit.begin(lambda lane: None)
                return await over
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            if visit is not None:
                visit.leave()
            return f"{type(error).__name__} {getattr(error, 'status', '')}"


def _ask(one: Live) -> None:
    if one.visit is not None and one.visit.live:
        one.visit.ask()


def _tell(one: Live) -> None:
    if one.visit is not None and one.visit.live:
        one.visit.tell()


def _settle(over: asyncio.Future[str], why: str) -> None:
    if not over.done():
        over.set_result(why)


async def _at(when_s: float) -> None:
    wait_s = when_s - time.monotonic()
    if wait_s > 0:
        await asyncio.sleep(wait_s)

"""What the player writes down, without ever waiting for it: playing goes on while a disk is slow or full.

Facts and the mark of what has begun are committed together, so that of a power cut exactly what had
begun is left, and becomes a play that was cut. What cannot be written is held, to a limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from typing import Any

import msgspec
import structlog

from beira.apps.player.records import NowPlaying, Play
from beira.sdk import BeiraError, Fact, Host, timestamp

log = structlog.get_logger(__name__)
BEGUN_MARK = "player.begun"
WAITING_MOST = 5_000
AT_ONCE = 500
GATHER_S = 0.2
AGAIN_S = 5.0


class Begun(msgspec.Struct, kw_only=True):
    """Plays under way, the one that was cut in last; `player.begun` holds it as JSON."""

    plays: list[Play] = []


class PlayLog:
    """Writes in the background; `flush` at the end."""

    def __init__(self, host: Host) -> None:
        self.lost = 0
        self.problem: BeiraError | None = None
        self._host = host
        self._facts: deque[Fact] = deque()
        self._begun: Begun | None = None
        self._now: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}
        self._changed = asyncio.Event()

    async def unfinished(self) -> list[Play]:
        """The plays that a power cut left, written now as cut; what was shown of the player."""
        marks = await self._host.store.marks(BEGUN_MARK)
        text = marks.get(BEGUN_MARK)
        left = []
        if text:
            try:
                left = msgspec.json.decode(str(text), type=Begun).plays
            except msgspec.MsgspecError:
                log.warning("player.begun_damaged")
        row = await self._host.store.get("player_now", self._host.place.node)
        if row is not None and not row.deleted:
            self._shown = {k: v for k, v in row.fields.items() if k in _FIELDS}
        for play in left:
            self.fact(play)
        self.begun([])
        return left

    def fact(self, fact: Fact) -> None:
        """Write this down. Beyond a limit the oldest is lost, and counted."""
        self._facts.append(fact)
        if len(self._facts) > WAITING_MOST:
            self._facts.popleft()
            self.lost += 1
        self._changed.set()

    def begun(self, plays: list[Play]) -> None:
        """These are under way, as far as each has come."""
        self._begun = Begun(plays=plays)
        self._changed.set()

    def now(self, **fields: Any) -> None:
        """How the player is: only what changed is written."""
        self._now |= fields
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            try:
                await self.flush()
                self.problem = None
            except BeiraError as error:
                if self.problem is None:
                    log.warning("player.not_written", code=error.code, why=error.message)
                self.problem = error
                await asyncio.sleep(AGAIN_S)

    async def flush(self) -> None:
        """Write all that waits. Raises Full, Unavailable; then it still waits."""
        self._changed.clear()
        while True:
            facts, begun = list(self._facts)[:AT_ONCE], self._begun
            last = len(facts) == len(self._facts)
            marks = {}
            if last and begun is not None:
                marks[BEGUN_MARK] = msgspec.json.encode(begun).decode()
            try:
                await self._commit(facts, marks)
            except BeiraError:
                self._changed.set()
                raise
            for _ in facts:
                self._facts.popleft()
            if last:
                self._begun = None if self._begun is begun else self._begun
                return

    async def _commit(self, facts: list[Fact], marks: dict[str, str]) -> None:
        shown = {**self._shown, **_encoded(self._now)}
        changed = {k: v for k, v in shown.items() if self._shown.get(k, _MISSING) != v}
        if not (facts or marks or changed):
            return
        async with self._host.writing(marks=marks) as ctx:
            for fact in facts:
                ctx.put(fact)
            if changed and not self._shown:
                ctx.put(NowPlaying(id=self._host.place.node, **self._now))
            elif changed:
                now = {name: self._now[name] for name in changed if name in self._now}
                ctx.patch(NowPlaying, self._host.place.node, **now)
        self._shown = shown


_FIELDS = frozenset(NowPlaying.__struct_fields__) - {"id"}
_MISSING = object()


def _encoded(fields: dict[str, Any]) -> dict[str, Any]:
    """Times as they are stored, so that what did not change is seen not to have."""
    return {k: timestamp(v) if isinstance(v, datetime) else v for k, v in fields.items()}

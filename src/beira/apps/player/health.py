"""Whether anything is heard: silences are written down, and people are told when they come again and
again or do not end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from beira.apps.player.engines.port import Restarted, Silenced, Trouble
from beira.apps.player.records import Silence
from beira.sdk import Alert, Host, Query, where

DAY = timedelta(hours=24)
OFTEN = 3
OFTEN_WITHIN = timedelta(hours=1)
LONG = timedelta(seconds=60)
WELL_AFTER = timedelta(minutes=10)
NOTED_MS = 1_000
"""A shorter gap is none that people notice."""
KIND = "player_silent"


class Health:
    """Silences of the last day. `fact` writes one down."""

    def __init__(self, host: Host, fact: Callable[[Silence], None]) -> None:
        self._host = host
        self._fact = fact
        self._silences: deque[tuple[datetime, int]] = deque(maxlen=10_000)
        self._since: datetime | None = None
        self._trouble: Trouble | None = None
        self._last: datetime | None = None
        self._alert = ""

    async def load(self) -> None:
        """The silences of the last day, from the facts."""
        since = self._host.now() - DAY
        asked = Query(collection="player_silences", where=where(at__gte=since), limit=1_000)
        for row in (await self._host.store.query(asked)).rows:
            self._silences.append((datetime.fromisoformat(str(row["at"])), int(row["ms"])))

    @property
    def silent_ms(self) -> int:
        """Of the last 24 hours, the present silence included."""
        now = self._host.now()
        past = sum(ms for at, ms in self._silences if at > now - DAY)
        return past + (round((now - self._since).total_seconds() * 1000) if self._since else 0)

    def heard(self, event: Silenced | Restarted) -> None:
        """The engine noticed something."""
        now = self._host.now()
        if isinstance(event, Restarted) or event.over:
            self._over(now, event.ms, event.why)
        elif self._since is None:
            self._since = now - timedelta(milliseconds=event.ms)

    def _over(self, now: datetime, ms: int, why: str) -> None:
        began = now - timedelta(milliseconds=ms)
        if self._since is not None:
            began, self._since = min(began, self._since), None
        ms = round((now - began).total_seconds() * 1000)
        if ms >= NOTED_MS:
            self._silences.append((began, ms))
            self._last = now
            self._fact(Silence(at=began, ms=ms, why=why or "quiet"))

    async def look(self, trouble: Trouble | None) -> None:
        """Tell people, or that it is over. Called some times a minute."""
        now = self._host.now()
        if trouble is not None and trouble.code == "player.off":
            trouble = None
        if trouble is not None and self._since is None:
            self._since = now
        elif trouble is None and self._trouble is not None and self._since is not None:
            self._over(now, 0, self._trouble.code)
        self._trouble = trouble
        often = sum(at > now - OFTEN_WITHIN for at, _ in self._silences) >= OFTEN
        long = self._since is not None and now - self._since > LONG
        if (often or long) and not self._alert:
            await self._tell(now, trouble)
        elif self._alert and self._since is None and now - (self._last or now) > WELL_AFTER:
            await self._end(now)

    async def _tell(self, now: datetime, trouble: Trouble | None) -> None:
        place = self._host.place
        text = f"{trouble.message} {trouble.hint}" if trouble else (
            "O player foi reiniciado várias vezes porque nada se ouvia. "
            "Veja a caixa de som, o volume e os cabos."
        )  # fmt: skip
        alert = Alert(
            id=self._host.wall.new_id(), kind=KIND, level="critical", at=now, node=place.node,
            title=f"Sem música em {place.name or place.node}", text=text,
        )  # fmt: skip
        await self._write(alert)
        self._alert = alert.id

    async def _write(self, alert: Alert) -> None:
        async with self._host.writing() as ctx:
            ctx.put(alert)

    async def _end(self, now: datetime) -> None:
        async with self._host.writing() as ctx:
            ctx.patch(Alert, self._alert, ended_at=now)
        self._alert = ""

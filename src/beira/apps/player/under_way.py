"""A play under way, and what it comes to when it ends. Pure but for the file it keeps open."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from beira.apps.player.engines.port import Cue
from beira.apps.player.memory import Choice
from beira.apps.player.records import Outcome, Play

JINGLE = Path(__file__).parent / "sound" / "jingle.opus"
JINGLE_MS = 8_000
JINGLE_TITLE = "Vinheta"


@dataclass
class UnderWay:
    """What is, or is about to be, heard. `heard_ms` counts what was heard in earlier goes (before an
    announcement cut in, or of a jingle that comes again); this go began at `from_ms` of the file."""

    play: Play
    path: str
    choice: Choice | None
    open: AsyncExitStack = field(default_factory=AsyncExitStack)
    heard_ms: int = 0
    from_ms: int = 0
    cue_id: str = ""

    @property
    def id(self) -> str:
        """What the engine calls it."""
        return self.cue_id or self.play.id

    @property
    def is_jingle(self) -> bool:
        return self.play.reason == "jingle"

    @property
    def is_announcement(self) -> bool:
        return self.play.reason == "announcement"

    @property
    def cue(self) -> Cue:
        return Cue(
            id=self.id,
            path=self.path,
            duration_ms=self.play.duration_ms,
            start_ms=self.from_ms,
            fades=self.play.kind == "music",
        )

    def so_far(self, position_ms: int, outcome: Outcome = "cut") -> Play:
        """The fact, if it ended at this position."""
        played_ms = self.heard_ms + max(0, position_ms - self.from_ms)
        return msgspec.structs.replace(self.play, outcome=outcome, played_ms=played_ms)

    def interrupted(self, position_ms: int) -> None:
        """It goes on later, from here."""
        self.heard_ms += max(0, position_ms - self.from_ms)
        self.from_ms = position_ms

    def again(self, cue_id: str) -> None:
        """The whole of it was heard, and it is heard again as another cue."""
        self.heard_ms += max(0, self.play.duration_ms - self.from_ms)
        self.from_ms, self.cue_id = 0, cue_id

    def same_as(self, choice: Choice) -> bool:
        """Whether this is what is chosen."""
        if self.choice is None:
            return False
        mine, its = self.choice, choice
        of_same = (mine.asset is None) == (its.asset is None) and (
            mine.asset is None or its.asset is None or mine.asset.file == its.asset.file
        )
        return of_same and (mine.reason, mine.playlist, mine.campaign) == (
            its.reason, its.playlist, its.campaign,
        )  # fmt: skip


def begun(choice: Choice, id: str, at: datetime) -> Play:
    """The fact of a choice that begins now; a power cut leaves it as it is."""
    asset = choice.asset
    if asset is None:
        return Play(
            id=id, asset="", title=JINGLE_TITLE, kind="jingle", reason="jingle", outcome="cut",
            at=at, played_ms=0, duration_ms=JINGLE_MS, file="",
        )  # fmt: skip
    return Play(
        id=id, asset=asset.id, title=asset.title, artist=asset.artist, kind=asset.kind,
        reason=choice.reason, outcome="cut", at=at, played_ms=0, duration_ms=asset.duration_ms,
        file=asset.file, playlist=choice.playlist, campaign=choice.campaign,
    )  # fmt: skip

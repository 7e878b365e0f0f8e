"""What the player asks of what makes its sound. One implementation: mpv, on one deck or two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

OUTPUT = "BEIRA_PLAYER_OUTPUT"
"""Takes the place of an output that the settings leave open: `null` for a machine without sound, `off`
for one on which nothing is to play."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A file to be heard. `path` is a local file, and stays one until the cue has ended; `id` is the
    play's. `start_ms` is where to begin; `fades` says whether it may overlap its neighbours."""

    id: str
    path: str
    duration_ms: int
    start_ms: int = 0
    fades: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A cue is being heard."""

    id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A cue is no longer heard: to its end, or it could not be (`why`). `then` is the cue that the
    engine has gone on to by itself ("": to none): what was to follow at that moment, which may be another
    than is to follow since."""

    id: str
    position_ms: int
    failed: bool = False
    why: str = ""
    then: str = ""


@dataclass(frozen=True, slots=True)
class Silenced:
    """Nothing was heard for `ms` though something should have been; `over`: now there is again."""

    ms: int
    why: str
    over: bool


@dataclass(frozen=True, slots=True)
class Restarted:
    """The sound's process was started anew, `ms` after it was lost."""

    why: str
    ms: int


Event: TypeAlias = Started | Ended | Silenced | Restarted


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no sound, and what to do."""

    code: Literal["player.mpv_missing", "player.no_output", "player.mpv_failed", "player.off"]
    message: str
    hint: str


class Engine(Protocol):
    """Plays one cue after another. Commands return at once; what becomes of them are events."""

    @property
    def trouble(self) -> Trouble | None: ...
    @property
    def position_ms(self) -> int:
        """Of what is heard now."""
        ...

    @property
    def cue(self) -> Cue | None:
        """What is heard now, or comes up."""
        ...

    async def event(self) -> Event:
        """The next event, waiting for it."""
        ...

    def play(self, cue: Cue) -> None:
        """Hear this now, whatever was heard: of that comes no `Ended`."""
        ...

    def follow(self, cue: Cue | None) -> None:
        """What joins on when the present cue ends, instead of what was to follow (None: nothing)."""
        ...

    def pause(self, paused: bool) -> None: ...
    def volume(self, percent: int) -> None: ...
    def expect(self, *, silence_s: float, crossfade_ms: int, output: str) -> None:
        """Settings: how long silence may last, how long tracks overlap, where the sound goes."""
        ...

    async def run(self) -> None:
        """Keep it going until cancelled."""
        ...

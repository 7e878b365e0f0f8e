"""Notices silence: something plays, and nothing is heard. Pure.

What is heard is the level mpv measures behind its decoder, and whether its position moves: a sound
device that hangs stops the position, a broken decoder or a file of nothing stops the level.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOOR_DB = -70.0
"""Quieter than this nobody hears anything in a shop, not even in a pause of a slow movement."""


@dataclass
class Watch:
    """Feed it what is measured some times a second. Times are of a clock that never goes back."""

    silent_since_s: float | None = None
    _position_ms: int = -1

    def look(
        self, now_s: float, *, playing: bool, position_ms: int | None, level_db: float | None
    ) -> float:
        """How many seconds nothing has been heard."""
        moved = position_ms is not None and position_ms != self._position_ms
        self._position_ms = -1 if position_ms is None else position_ms
        heard = moved and level_db is not None and level_db > FLOOR_DB
        if not playing or heard:
            self.silent_since_s = None
            return 0.0
        if self.silent_since_s is None:
            self.silent_since_s = now_s
        return now_s - self.silent_since_s

    def why(self, level_db: float | None) -> str:
        """In a word: stalled (the position stands still) or quiet."""
        return "stalled" if level_db is None else "quiet"

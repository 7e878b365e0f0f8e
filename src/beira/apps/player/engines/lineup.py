"""What a deck's mpv is to play now and next, and what it says it plays. Pure: no process, no clock.

mpv goes on to the next entry of its playlist by itself, and tells of it a little later. Meanwhile we may
have changed what comes next, and its answers may overtake its events. So what mpv says is held against
what should be: when the present entry ends, what was to follow is the present one from that moment, and
whatever else mpv enters is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from beira.apps.player.engines.port import Cue

NOW, NEXT = "now", "next"


@dataclass
class Held:
    """A cue, by mpv's number for it (0: mpv has not said one yet). `joined`: it was put behind another,
    and not in the place of what was heard."""

    cue: Cue
    entry: int = 0
    joined: bool = False
    heard: bool = False
    deaths: int = 0
    restarts: int = 0

    def replaces(self, answer: Any) -> None:
        """mpv took it in the place of all it had."""
        self.entry, self.joined = int(answer["playlist_entry_id"]), False

    def joins(self, answer: Any) -> None:
        """mpv put it behind what it plays."""
        self.entry, self.joined = int(answer["playlist_entry_id"]), True


class Lineup:
    """`to_load` is what mpv has to be given: NOW in the place of everything, NEXT behind it."""

    def __init__(self) -> None:
        self.now: Held | None = None
        self.next: Held | None = None
        self.entered = 0
        self.to_load: set[str] = set()
        self._replacing = False

    def play(self, cue: Cue | None) -> None:
        """This now (None: nothing), and nothing after it."""
        self.now, self.next = Held(cue) if cue else None, None
        self._replace()

    def follow(self, cue: Cue | None) -> None:
        """This after what is played now, in the place of what was to follow."""
        self.next = Held(cue) if cue else None
        self.to_load.add(NEXT)

    def anew(self, at_ms: int) -> None:
        """Another mpv takes over, from here on; it numbers its entries anew."""
        self.entered = 0
        if self.now is not None:
            start_ms = max(self.now.cue.start_ms, at_ms)
            self.now.cue = replace(self.now.cue, start_ms=start_ms)
        self._replace()

    def replaced(self) -> None:
        """mpv has been given what is to be heard now."""
        self._replacing = NOW in self.to_load

    def starts(self, entry: int) -> None:
        """mpv begins with an entry of its playlist. What it was given in the place of another comes
        for certain, and events from before may still be under way."""
        self.entered = entry
        now = self.now
        if self._replacing or (now is not None and (now.entry == entry or _comes(now))):
            return
        self._replace()

    def ends(self, entry: int) -> Held | None:
        """mpv is through with an entry: what that was, if it was the present one. What was to follow
        and has not reached mpv yet is put in its place."""
        ended = self.now
        if ended is None or not entry or ended.entry != entry:
            return None
        self.now, self.next = self.next, None
        if self.now is not None and not self.now.entry:
            self._replace()
        return ended

    def give_up(self) -> Held | None:
        """We are through with the present one, while mpv is not: what that was."""
        gone = self.now
        self.now, self.next = self.next, None
        self._replace()
        return gone

    @property
    def is_entered(self) -> bool:
        """Whether mpv says that it is at what is to be heard now."""
        return self.now is not None and 0 < self.now.entry == self.entered

    def _replace(self) -> None:
        for held in (self.now, self.next):
            if held is not None:
                held.entry = 0
        self._replacing = True
        self.to_load.add(NOW)


def _comes(held: Held) -> bool:
    return held.entry > 0 and not held.joined

"""What was chosen, and what a shop remembers of it. Pure but for what is added.

Plays are counted rather than timed, so that a clock that jumps changes no order. A *track* is what a
playlist gave; spots, announcements and the jingle are none.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from beira.apps.player.manifest import AssetEntry
from beira.apps.player.records import Play, Reason

TRACKS = ("scheduled", "emergency")
RECENT_TRACKS = 10_000
"""As many as `no_repeat` can be."""
MOST_ASSETS = 200_000
"""Remembered to have been played; beyond that the half longest ago is forgotten."""


@dataclass(frozen=True)
class Choice:
    """What is to be played, and why. Without an asset it is the jingle that is in the package.

    `playlist` is where a track comes from, `campaign` where a spot does, `place` where in the list of
    either it stands.
    """

    asset: AssetEntry | None
    reason: Reason
    playlist: str = ""
    campaign: str = ""
    place: int = -1


JINGLE = Choice(None, "jingle")


@dataclass
class Turn:
    """Where a playlist or campaign has got to: the asset it gave last, and its place in the list (-1:
    not known any more). `track` counts the tracks there had been by then."""

    asset: str
    place: int
    at: datetime
    track: int


@dataclass
class Memory:
    """What was played. `tracks` counts tracks, `played` has the number of each asset's last play (in
    that order), `recent` the last tracks with their artists, `turns` each list's last.

    `latest` is when the last was begun: time does not go behind it (see `rules.sure`).
    """

    tracks: int = 0
    played: OrderedDict[str, int] = field(default_factory=OrderedDict)
    recent: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=RECENT_TRACKS))
    turns: dict[str, Turn] = field(default_factory=dict)
    latest: datetime | None = None
    forgotten: int = 0

    @classmethod
    def of(cls, plays: Iterable[Play]) -> Memory:
        """From plays as they were written, oldest first."""
        made = cls()
        for play in plays:
            made._add(play.asset, play.artist, play.at, play.reason, play.playlist, play.campaign)
        return made

    def add(self, choice: Choice, at: datetime) -> None:
        """That it has begun to play."""
        asset = choice.asset
        self._add(asset.id if asset else "", asset.artist if asset else "", at,
                  choice.reason, choice.playlist, choice.campaign, choice.place)  # fmt: skip

    def _add(self, asset: str, artist: str, at: datetime, reason: Reason,
             playlist: str, campaign: str, place: int = -1) -> None:  # fmt: skip
        at = at.astimezone(UTC)
        self.latest = max(at, self.latest or at)
        if reason in TRACKS:
            self.tracks += 1
            self.played[asset] = self.tracks
            self.played.move_to_end(asset)
            self.recent.append((asset, artist))
            self.turns[f"playlist:{playlist}"] = Turn(asset, place, at, self.tracks)
            self._forget()
        elif reason == "campaign":
            self.turns[f"campaign:{campaign}"] = Turn(asset, place, at, self.tracks)

    def _forget(self) -> None:
        if len(self.played) > MOST_ASSETS:
            for _ in range(MOST_ASSETS // 2):
                self.played.popitem(last=False)
            self.forgotten += 1

    def trust(self, now: datetime) -> None:
        """That the time is known for sure, as by the cloud: plays of a clock that ran ahead were not
        after it."""
        now = now.astimezone(UTC)
        self.latest = min(self.latest, now) if self.latest else None
        for turn in self.turns.values():
            turn.at = min(turn.at, now)

    def artists_within(self, gap: int) -> dict[str, int]:
        """The artists of the last `gap` tracks, and how many tracks ago each was last heard."""
        found: dict[str, int] = {}
        for ago in range(1, min(gap, len(self.recent)) + 1):
            artist = self.recent[-ago][1]
            if artist:
                found.setdefault(artist, ago)
        return found

    def spot_at(self, campaign: str) -> datetime | None:
        turn = self.turns.get(f"campaign:{campaign}")
        return turn.at if turn else None

    def tracks_since_spot(self, campaign: str) -> int:
        """Since the campaign's last spot; since anything is remembered, if there was none."""
        turn = self.turns.get(f"campaign:{campaign}")
        return self.tracks - (turn.track if turn else 0)

    def copy(self) -> Memory:
        return Memory(
            self.tracks, self.played.copy(), self.recent.copy(),
            {key: Turn(t.asset, t.place, t.at, t.track) for key, t in self.turns.items()},
            self.latest, self.forgotten,
        )  # fmt: skip

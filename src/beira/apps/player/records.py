"""What the player writes down: what there is to play, when and where it is to be played, and what was.

The library and its programme lie in the cloud only. A shop gets what concerns it as a signed manifest
(`manifest`), so that a library of 100,000 assets costs a shop no more than what it plays. What a shop
played, fetched and was silent for goes up as facts.

Times of day and windows are local: each shop reads them by its own clock, so that "until Christmas"
ends at midnight in each of its time zones.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta

from beira.sdk import (
    CRITICAL,
    DOWN,
    IMPORTANT,
    LOCAL,
    NODE,
    NORMAL,
    TENANT,
    UP,
    Blob,
    Fact,
    Fetch,
    Personal,
    State,
    collection,
)

STAFF = ("owner", "member")
LOCAL_TIME = r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]$"
LocalTime = Annotated[str, Meta(pattern=LOCAL_TIME)]
"""A moment by the shop's own clock, such as 2026-12-24T18:00."""
OfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""A time of day by the shop's own clock, such as 18:00."""
Weekday = Annotated[int, Meta(ge=0, le=6)]
"""0 is Monday."""

AssetKind = Literal["music", "spot", "announcement"]
AssetState = Literal["waiting", "working", "ready", "failed"]
Order = Literal["ordered", "shuffled"]
Use = Literal["music", "emergency"]
Reason = Literal["scheduled", "campaign", "announcement", "emergency", "jingle"]
Outcome = Literal["whole", "skipped", "cut", "failed"]


@collection("player_assets", flow=LOCAL, lane=NORMAL, partition=TENANT, write=STAFF, read=STAFF)
class Asset(State):
    """Something that can be played. `master` is the file as it was uploaded.

    It plays from `valid_from` until before `valid_until`, and never once `licence_until` is reached:
    a licence has an end of its own. `recalled` takes it from every shop at once. `waveform` has 200
    peaks of 0 to 100 in equal steps of its length; `progress` is in percent while it is made ready.
    While `state` is failed, `problem` says why and the master is kept, so that it can be tried again.
    `made_by` is the recipe it was made ready by: by another one it is made again, while shops go on with
    what there is.
    """

    title: str
    kind: AssetKind = "music"
    artist: str = ""
    album: str = ""
    genre: str = ""
    master: Annotated[str, Blob(Fetch.LAZY)] = ""
    master_name: str = ""
    master_bytes: int = 0
    cover: Annotated[str, Blob(Fetch.LAZY)] = ""
    state: AssetState = "waiting"
    progress: int = 0
    problem: str = ""
    made_by: str = ""
    duration_ms: int = 0
    loudness_lufs: float | None = None
    peak_dbtp: float | None = None
    waveform: list[int] = []
    valid_from: LocalTime | None = None
    valid_until: LocalTime | None = None
    licence_until: LocalTime | None = None
    recalled: bool = False
    uploaded_at: datetime | None = None
    uploaded_by: str = ""


@collection("player_renditions", flow=LOCAL, lane=NORMAL, partition=TENANT, read=STAFF, write=())
class Rendition(State):
    """An asset as a profile makes it for shops; the id is its file's SHA-256. Only files that are
    renditions (or covers) are given out at media addresses."""

    asset: str
    profile: str
    file: Annotated[str, Blob(Fetch.LAZY)]
    size_bytes: int
    duration_ms: int
    made_at: datetime


@collection("player_playlists", flow=LOCAL, lane=NORMAL, partition=TENANT, write=STAFF)
class Playlist(State):
    """Assets in their order, or shuffled: then none comes again within `no_repeat` tracks, nor its
    artist within `artist_gap`, as far as there are enough."""

    name: str
    order: Order = "ordered"
    assets: list[str] = []
    no_repeat: Annotated[int, Meta(ge=0, le=10_000)] = 50
    artist_gap: Annotated[int, Meta(ge=0, le=100)] = 2


@collection("player_slots", flow=LOCAL, lane=NORMAL, partition=TENANT, write=STAFF)
class Slot(State):
    """When a playlist plays at a place: a cell of the grid of days and hours.

    `place` is a partition: tenant, group:…, site:… or node:…. It holds on `days` (none: every day)
    from `begins` to `ends`, past midnight if that is not later, the whole day if they are equal,
    between the dates `first` and `last`. Of several, the nearest place wins, then the one with dates,
    then the one that began last. A playlist of `use` emergency plays where nothing else can.
    """

    playlist: str
    place: str = "tenant"
    use: Use = "music"
    days: list[Weekday] = []
    begins: OfDay = "00:00"
    ends: OfDay = "00:00"
    first: date | None = None
    last: date | None = None


@collection("player_campaigns", flow=LOCAL, lane=NORMAL, partition=TENANT, write=STAFF)
class Campaign(State):
    """Spots that come in between: one of `assets` in turn, every `every_tracks` tracks and at each
    time `at`, while its days, hours and dates hold (as in a slot)."""

    name: str
    assets: list[str] = []
    place: str = "tenant"
    every_tracks: Annotated[int, Meta(ge=0, le=1_000)] = 0
    at: list[OfDay] = []
    days: list[Weekday] = []
    begins: OfDay = "00:00"
    ends: OfDay = "00:00"
    first: date | None = None
    last: date | None = None
    active: bool = True


@collection("player_heads", flow=DOWN, lane=CRITICAL, partition=NODE, write=())
class ManifestHead(State):
    """What a node's manifest has come to; the id is the node's. It tells a node at once that there is
    another, and is not believed itself: the manifest is signed."""

    version: int
    root: str


@collection(
    "player_urgent", flow=DOWN, lane=CRITICAL, partition=TENANT, write=(), retention_days=30
)
class UrgentAnnouncement(Fact):
    """An announcement that cuts in now, wherever the partition it lies in reaches; not after
    `expires_at`. The file comes before all others."""

    title: str
    file: Annotated[str, Blob(Fetch.EAGER)]
    duration_ms: int
    by: Annotated[str, Personal]
    at: datetime
    expires_at: datetime


@collection("player_now", flow=UP, lane=IMPORTANT, partition=NODE, write=())
class NowPlaying(State):
    """How a shop's player is; the id is the node's. `silent_ms` counts the last 24 hours."""

    asset: str = ""
    title: str = ""
    artist: str = ""
    reason: str = ""
    playlist: str = ""
    since: datetime | None = None
    duration_ms: int = 0
    next_asset: str = ""
    next_title: str = ""
    paused: bool = False
    volume: int = 100
    version: int = 0
    synced_at: datetime | None = None
    cached: int = 0
    wanted: int = 0
    cached_bytes: int = 0
    silent_ms: int = 0
    output: str = ""
    problem: str = ""
    next_step: str = ""


@collection("player_plays", flow=UP, lane=NORMAL, partition=NODE, write=(), retention_days=120)
class Play(Fact):
    """Proof that something was played: what, when, why and how much of it. Written when it ended, or
    after a power cut for what had been begun."""

    asset: str
    title: str
    kind: str
    reason: Reason
    outcome: Outcome
    at: datetime
    played_ms: int
    duration_ms: int
    file: str
    artist: str = ""
    playlist: str = ""
    campaign: str = ""


@collection("player_fetches", flow=UP, lane=NORMAL, partition=NODE, write=(), retention_days=120)
class Fetched(Fact):
    """A file a player got, or removed: the audit of what lies in a shop."""

    asset: str
    title: str
    file: str
    size_bytes: int
    at: datetime
    kind: Literal["fetched", "removed", "damaged"]
    took_ms: int = 0
    why: str = ""


@collection(
    "player_silences", flow=UP, lane=IMPORTANT, partition=NODE, write=(), retention_days=120
)
class Silence(Fact):
    """Nothing was heard for `ms`, though something should have been."""

    at: datetime
    ms: int
    why: str


@collection("player_entries", flow=LOCAL, lane=NORMAL, partition=NODE, read=(), write=())
class HeldEntry(State):
    """A node's own copy of one entry of its manifest; the id is the entry's key. `file` keeps the file
    on the disk; the player itself says which to fetch, and when."""

    body: str
    file: Annotated[str, Blob(Fetch.LAZY)] = ""


COLLECTIONS = (
    Asset, Rendition, Playlist, Slot, Campaign, ManifestHead, UrgentAnnouncement, NowPlaying, Play,
    Fetched, Silence, HeldEntry,
)  # fmt: skip

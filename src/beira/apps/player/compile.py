"""From the tenant's programme to one shop's manifest: what concerns it, and nothing else.

A slot or campaign concerns a shop if its place is the company, one of the shop's groups, its site or
itself, and if it holds on some day until `ahead_days` from now. With them come their playlists, and of
these the assets that can be heard by then. Shops that play the same share all but their few own entries.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from contextlib import suppress
from datetime import date, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from beira.apps.player.manifest import (
    CampaignEntry,
    Entry,
    Manifest,
    PlaylistEntry,
    ShopEntry,
    SlotEntry,
    body_of,
    bucket_of,
    key_of,
)
from beira.apps.player.records import Campaign, Playlist, Slot
from beira.apps.player.settings import PlayerSettings
from beira.apps.player.snapshot import Fields, Piece, Snapshot
from beira.sdk import (
    Conflict,
    Host,
    NodeInfo,
    NotFound,
    Place,
    Setting,
    Site,
    group_partition,
    node_partition,
    settings_at,
    site_partition,
)

BASES_KEPT = 256
KEY_MARK = "player.media_key"
KEY_BYTES = 32
SHOP = "shop"
_compilers: WeakKeyDictionary[Host, Compiler] = WeakKeyDictionary()


async def compiled(host: Host, node_id: str) -> Manifest:
    """A node's manifest as of now. Raises NotFound `player.node_unknown`."""
    return await compiler_of(host).manifest(node_id)


def compiler_of(host: Host) -> Compiler:
    """The one of this tenant in this program."""
    if host not in _compilers:
        _compilers[host] = Compiler(host)
    return _compilers[host]


def forget(host: Host) -> None:
    """The host is no longer served here."""
    compiler = _compilers.pop(host, None)
    if compiler is not None:
        compiler.snapshot.close()


class Compiler:
    """One tenant's. What shops have in common is kept until something changes, or the day."""

    def __init__(self, host: Host) -> None:
        self.snapshot = Snapshot(host)
        self._host = host
        self._bases: OrderedDict[tuple[Any, ...], Manifest] = OrderedDict()
        self._key = ""
        self._settings: dict[tuple[Any, ...], PlayerSettings] = {}
        self._as_of: tuple[int, date] = (-1, date.min)

    async def manifest(self, node_id: str) -> Manifest:
        """As `compiled`."""
        await self._prepare()
        return self._manifest(node_id)

    async def roots(self) -> dict[str, str]:
        """What each node's manifest comes to."""
        await self._prepare()
        roots = {}
        for n, node_id in enumerate(list(self.snapshot.of(NodeInfo))):
            with suppress(NotFound):
                roots[node_id] = self._manifest(node_id).root
            if n % 50 == 0:
                await asyncio.sleep(0)
        return roots

    async def media_key(self) -> str:
        """The tenant's secret by which its files' addresses are proven (hex); made when first asked."""
        if not self._key:
            store = self._host.store
            marks = await store.marks(KEY_MARK)
            if KEY_MARK not in marks:
                made = {KEY_MARK: secrets.token_hex(KEY_BYTES)}
                with suppress(Conflict):
                    await store.commit([], marks=made, expect={KEY_MARK: None})
                marks = await store.marks(KEY_MARK)
            self._key = str(marks[KEY_MARK])
        return self._key

    async def _prepare(self) -> None:
        await self.media_key()
        await self.snapshot.refresh()
        as_of = (self.snapshot.revision, self._host.now().date())
        if as_of != self._as_of:
            self._bases.clear()
            self._settings.clear()
            self._as_of = as_of

    def _manifest(self, node_id: str) -> Manifest:
        place, zone = self._place(node_id)
        settings = self._settings_of(place)
        places = _places(place)
        day, ahead = self._as_of[1], settings.ahead_days
        slots = [
            (row, places[row["place"]])
            for row in self.snapshot.of(Slot).values()
            if row["place"] in places
            and _within(row, day, ahead)
            and row["playlist"] in self.snapshot.of(Playlist)
        ]
        campaigns = [
            row["id"]
            for row in self.snapshot.of(Campaign).values()
            if row["active"] and row["place"] in places and _within(row, day, ahead)
        ]
        playlists = frozenset(row["playlist"] for row, _ in slots)
        base = self._base(settings.profile, ahead, playlists, frozenset(campaigns))
        own: list[Entry] = [_slot(row, nearness) for row, nearness in slots]
        own.append(ShopEntry(id=SHOP, zone=zone, media=settings.media_url, media_key=self._key))
        return base.with_entries(own)

    def _base(
        self, profile: str, ahead: int, playlists: frozenset[str], campaigns: frozenset[str]
    ) -> Manifest:
        key = (profile, ahead, playlists, campaigns)
        base = self._bases.get(key)
        if base is None:
            base = Manifest.of_bodies(self._common(profile, ahead, playlists, campaigns))
            self._bases[key] = base
            if len(self._bases) > BASES_KEPT:
                self._bases.popitem(last=False)
        else:
            self._bases.move_to_end(key)
        return base

    def _common(
        self, profile: str, ahead: int, playlists: frozenset[str], campaigns: frozenset[str]
    ) -> list[Piece]:
        """Playlists, campaigns and their assets, encoded."""
        pieces: dict[str, Piece | None] = {}

        def heard(assets: list[str]) -> tuple[str, ...]:
            for id in assets:
                if id not in pieces:
                    pieces[id] = self.snapshot.piece(id, profile, self._as_of[1], ahead)
            return tuple(id for id in assets if pieces[id] is not None)

        entries: list[Entry] = []
        for id in playlists:
            row = self.snapshot.of(Playlist)[id]
            entries.append(_playlist(row, heard(row["assets"])))
        for id in campaigns:
            row = self.snapshot.of(Campaign)[id]
            entries.append(_campaign(row, heard(row["assets"])))
        return [*map(_encoded, entries), *(piece for piece in pieces.values() if piece is not None)]

    def _place(self, node_id: str) -> tuple[Place, str]:
        """Where a node stands, and its time zone."""
        node = self.snapshot.of(NodeInfo).get(node_id)
        site = self.snapshot.of(Site).get(node["site"]) if node is not None else None
        if node is None or site is None:
            raise NotFound("There is no such node.", code="player.node_unknown")
        place = Place(
            tenant=self._host.place.tenant,
            node=node_id,
            site=node["site"],
            groups=tuple(site["groups"]),
        )
        return place, site["zone"]

    def _settings_of(self, place: Place) -> PlayerSettings:
        """Few places have settings of their own; the others share what was worked out once."""
        rows = [r for r in self.snapshot.of(Setting).values() if r["app"] == "player"]
        partitions = {row["_partition"] for row in rows}
        own = (site_partition(place.site or ""), node_partition(place.node))
        key = (place.groups, *(name for name in own if name in partitions))
        if key not in self._settings:
            self._settings[key] = settings_at(PlayerSettings, rows, place)
        return self._settings[key]


def _places(place: Place) -> dict[str, int]:
    """The partitions that reach a shop, by nearness."""
    return {
        "tenant": 0,
        **{group_partition(group): 1 for group in place.groups},
        site_partition(place.site or ""): 2,
        node_partition(place.node): 3,
    }


def _within(row: Fields, day: date, ahead_days: int) -> bool:
    """Whether a slot or campaign holds on any day from yesterday (it may go past midnight, and there
    are time zones) until the last one looked ahead to."""
    first, last = _day(row["first"]), _day(row["last"])
    days = frozenset(row["days"])
    for n in range(-2, ahead_days + 3):
        one = day + timedelta(days=n)
        begun, ended = first is None or first <= one, last is not None and last < one
        if begun and not ended and (not days or one.weekday() in days):
            return True
    return False


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _slot(row: Fields, nearness: int) -> SlotEntry:
    return SlotEntry(
        id=row["id"],
        playlist=row["playlist"],
        nearness=nearness,
        use=row["use"],
        days=tuple(row["days"]),
        begins=row["begins"],
        ends=row["ends"],
        first=_day(row["first"]),
        last=_day(row["last"]),
    )


def _playlist(row: Fields, assets: tuple[str, ...]) -> PlaylistEntry:
    return PlaylistEntry(
        id=row["id"],
        name=row["name"],
        assets=assets,
        order=row["order"],
        no_repeat=row["no_repeat"],
        artist_gap=row["artist_gap"],
    )


def _campaign(row: Fields, assets: tuple[str, ...]) -> CampaignEntry:
    return CampaignEntry(
        id=row["id"],
        name=row["name"],
        assets=assets,
        every_tracks=row["every_tracks"],
        at=tuple(row["at"]),
        days=tuple(row["days"]),
        begins=row["begins"],
        ends=row["ends"],
        first=_day(row["first"]),
        last=_day(row["last"]),
    )


def _encoded(entry: Entry) -> Piece:
    key = key_of(entry)
    return bucket_of(key), key, body_of(entry)

"""What the cloud knows of a tenant's library and programme, in memory, kept as the records are.

It is read whole once, and then follows the news, so that 1,000 shops' manifests cost no more reading
than one. What is kept of an asset is its entry as bytes, by profile: a library of 100,000 is some 50 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from beira.apps.player.manifest import AssetEntry, body_of, bucket_of, key_of
from beira.apps.player.records import Asset, Campaign, Playlist, Rendition, Slot
from beira.sdk import (
    Collection,
    Column,
    Host,
    News,
    NodeInfo,
    Order,
    Query,
    Record,
    Setting,
    Site,
    collection_of,
    where,
)

PAGE = 1_000
CHANGES_KEPT = 5_000
_COLUMNS = {
    "player_assets": (
        "title", "kind", "artist", "valid_from", "valid_until", "licence_until", "recalled",
    ),
    "player_renditions": ("asset", "profile", "file", "size_bytes", "duration_ms"),
}  # fmt: skip
KINDS: tuple[type[Record], ...] = (
    Asset, Rendition, Playlist, Slot, Campaign, Site, NodeInfo, Setting,
)  # fmt: skip
Fields = Mapping[str, Any]
Piece = tuple[int, str, bytes]


class Snapshot:
    """One tenant's. `revision` grows with each change that a manifest may show; `changed` is set when
    there is one to take in, and whoever waits for it clears it."""

    def __init__(self, host: Host) -> None:
        self.revision = 0
        self.changed = asyncio.Event()
        self.rows: dict[str, dict[str, Fields]] = {}
        self._host = host
        self._declared = {collection_of(kind).name: collection_of(kind) for kind in KINDS}
        self._dirty: set[tuple[str, str]] | None = None
        self._refreshing = asyncio.Lock()
        self._files: dict[str, dict[str, str]] = {}
        self._pieces: dict[tuple[str, str], Piece | None] = {}
        self.close: Callable[[], None] = host.store.subscribe(self._heard)

    async def refresh(self) -> None:
        """Take in all that has changed."""
        async with self._refreshing:
            dirty, self._dirty = self._dirty, set()
            try:
                if dirty is None:
                    await self._read_all()
                else:
                    await self._read_changed(dirty)
            except BaseException:
                self._dirty = None
                raise
            if dirty is None or dirty:
                self.revision += 1

    def of(self, kind: type[Record]) -> dict[str, Fields]:
        """All records of a kind, by id."""
        return self.rows.get(collection_of(kind).name, {})

    def piece(self, asset: str, profile: str, day: date, ahead_days: int) -> Piece | None:
        """An asset's entry as (bucket, key, body), if it may be heard at all between the day before
        and `ahead_days` after `day` and its file is there."""
        key = (asset, profile)
        if key not in self._pieces:
            self._pieces[key] = self._encoded(asset, profile)
        piece = self._pieces[key]
        if piece is None or not _near(self.of(Asset)[asset], day, ahead_days):
            return None
        return piece

    def _encoded(self, asset: str, profile: str) -> Piece | None:
        """While an asset is made anew, or that has failed, shops go on with what was made of it; where
        their profile has not been made yet, with another: every player plays all of them."""
        row = self.of(Asset).get(asset)
        files = self._files.get(asset, {})
        made = self.of(Rendition).get(files.get(profile) or files.get("opus-64", ""))
        if row is None or made is None or row["recalled"]:
            return None
        entry = AssetEntry(
            id=asset,
            file=made["file"],
            size_bytes=made["size_bytes"],
            title=row["title"],
            duration_ms=made["duration_ms"],
            kind=row["kind"],
            artist=row["artist"],
            valid_from=row["valid_from"],
            valid_until=row["valid_until"],
            licence_until=row["licence_until"],
        )
        key_text = key_of(entry)
        return bucket_of(key_text), key_text, body_of(entry)

    def _heard(self, news: News) -> None:
        if not news.rows:
            self._dirty = None
        elif self._dirty is not None:
            self._dirty |= {(name, id) for name, id, _ in news.rows if name in self._declared}
            if len(self._dirty) > CHANGES_KEPT:
                self._dirty = None
        if self._dirty is None or self._dirty:
            self.changed.set()

    async def _read_all(self) -> None:
        rows: dict[str, dict[str, Fields]] = {}
        for name, declared in self._declared.items():
            rows[name] = await self._read_collection(declared)
        self.rows = rows
        self._pieces.clear()
        self._files.clear()
        for id, row in self.of(Rendition).items():
            self._files.setdefault(row["asset"], {})[row["profile"]] = id

    async def _read_collection(self, declared: Collection) -> dict[str, Fields]:
        found: dict[str, Fields] = {}
        after = ""
        while True:
            page = await self._query(declared, id__gt=after)
            found.update((str(row["id"]), row) for row in page)
            if len(page) < PAGE:
                return {id: row for id, row in found.items() if _whole(declared, row)}
            after = str(page[-1]["id"])

    async def _read_changed(self, changed: set[tuple[str, str]]) -> None:
        ids_of: dict[str, list[str]] = {}
        for name, id in changed:
            ids_of.setdefault(name, []).append(id)
        for name, ids in ids_of.items():
            declared, known = self._declared[name], self.rows.setdefault(name, {})
            for at in range(0, len(ids), PAGE):
                some = ids[at : at + PAGE]
                page = await self._query(declared, id__in=tuple(some))
                now = {str(row["id"]): row for row in page if _whole(declared, row)}
                for id in some:
                    former = known.pop(id, None)
                    if id in now:
                        known[id] = now[id]
                    self._forget_pieces(name, id, former)

    async def _query(self, declared: Collection, **which: object) -> Sequence[Fields]:
        """At most PAGE rows, in the order of their ids."""
        names = _COLUMNS.get(declared.name, tuple(declared.fields))
        question = Query(
            collection=declared.name,
            columns=tuple(Column(name) for name in ("id", "_partition", *names)),
            where=where(**which),
            order=(Order("id"),),
            limit=PAGE,
        )
        return (await self._host.store.query(question)).rows

    def _forget_pieces(self, name: str, id: str, former: Fields | None) -> None:
        assets = set()
        if name == "player_assets":
            assets.add(id)
        elif name == "player_renditions":
            for row in (former, self.rows[name].get(id)):
                if row is not None:
                    files = self._files.setdefault(row["asset"], {})
                    if row is former and files.get(row["profile"]) == id:
                        del files[row["profile"]]
                    elif row is not former:
                        files[row["profile"]] = id
                    assets.add(row["asset"])
        for asset in assets:
            for profile in ("opus-64", "he-aac-v2"):
                self._pieces.pop((asset, profile), None)


def _whole(declared: Collection, row: Fields) -> bool:
    """Whether all is here that a record must have: what a database lost may come back in parts."""
    needed = (field.name for field in declared.fields.values() if field.required)
    return all(row.get(name, "") is not None for name in needed)


def _near(row: Fields, day: date, ahead_days: int) -> bool:
    """Whether its windows touch these days; a day of grace at both ends, for the shops' time zones."""
    first = (day - timedelta(days=1)).isoformat()
    last = (day + timedelta(days=ahead_days + 2)).isoformat()
    ends = min(filter(None, (row["valid_until"], row["licence_until"])), default="9999")
    return str(ends) > first and str(row["valid_from"] or "") < last

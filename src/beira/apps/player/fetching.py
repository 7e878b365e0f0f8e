"""Which files a shop wants, in which order, and what becomes of them on its disk.

What is wanted follows from the programme: what plays now, the emergency playlists, then what plays
soon, within the disk that music may take. Outside the hours for it only what is needed soon is
fetched. What was recalled, or whose licence ended, goes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog

from beira.apps.player.local_time import moment_of_text
from beira.apps.player.manifest import AssetEntry, ShopEntry
from beira.apps.player.media import addresses_of
from beira.apps.player.memory import Memory
from beira.apps.player.on_disk import OnDisk
from beira.apps.player.program import Program
from beira.apps.player.records import Fetched
from beira.apps.player.rules import upcoming
from beira.apps.player.settings import PlayerSettings
from beira.sdk import BlobNews, Host

log = structlog.get_logger(__name__)
APP = "player"
SOON = timedelta(hours=2)
MB = 1_000_000


def may_fetch(settings: PlayerSettings, local: datetime) -> bool:
    """Whether what is not urgent may be fetched at this hour of the shop's clock."""
    begins, ends = settings.download_from, settings.download_until
    now = f"{local:%H:%M}"
    if begins == ends:
        return True
    return begins <= now < ends if begins < ends else now >= begins or now < ends


def wishes(
    program: Program,
    memory: Memory,
    now: datetime,
    settings: PlayerSettings,
    holds: Callable[[str], bool],
) -> list[AssetEntry]:
    """The assets whose files are wanted here, first what is needed first, within the disk's budget."""
    soon = upcoming(program, memory, now, SOON)
    later = upcoming(program, memory, now, timedelta(days=settings.ahead_days))
    if not may_fetch(settings, now.astimezone(program.zone)):
        later = [asset for asset in later if holds(asset.file)]
    room = settings.disk_mb * MB
    found: dict[str, AssetEntry] = {}
    for asset in (*soon, *later):
        if asset.file not in found and asset.size_bytes <= room:
            found[asset.file] = asset
            room -= asset.size_bytes
    return list(found.values())


def licence_over(program: Program, asset: AssetEntry, now: datetime) -> bool:
    """Whether its licence has ended: then not even the file may be kept."""
    if asset.licence_until is None:
        return False
    ends = moment_of_text(asset.licence_until, program.zone)
    return ends is not None and ends <= now


class Fetching:
    """Hands a node's wishes to the blobs' lane, and knows what is here (`on_disk`)."""

    def __init__(self, host: Host, fact: Callable[[Fetched], None]) -> None:
        assert host.wishes is not None
        self.on_disk = OnDisk()
        self.wanted: list[AssetEntry] = []
        self._host = host
        self._wishes = host.wishes
        self._fact = fact
        self._named: dict[str, AssetEntry] = {}
        self._shop: ShopEntry | None = None
        self._stop = self._wishes.subscribe(self._heard)

    def close(self) -> None:
        self._stop()

    @property
    def cached(self) -> tuple[int, int]:
        """How many of the programme's files are here, and their bytes."""
        here = [file for file in self._named if self._wishes.holds(file)]
        return len(here), sum(self._wishes.held_bytes(file) for file in here)

    def here(self, sha256: str) -> bool:
        """Whether this file is on the node, whatever it is for."""
        return self._wishes.holds(sha256)

    @property
    def missing(self) -> int:
        """How many of the wanted files are not here."""
        return sum(not self._wishes.holds(asset.file) for asset in self.wanted)

    async def use(self, program: Program, shop: ShopEntry | None) -> None:
        """Another programme is in force: files that it no longer names go at once."""
        before, self._shop = self._named, shop
        self._named = {asset.file: asset for asset in program.assets.values()}
        for file in self._named:
            if self._wishes.holds(file):
                self.on_disk.add(file)
        for file in before.keys() - self._named.keys():
            await self._drop(before[file], "recalled")

    async def renew(
        self, program: Program, memory: Memory, now: datetime, settings: PlayerSettings
    ) -> None:
        """Wish for what is wanted now, and let go of what may not or need not be kept."""
        for asset in list(self._named.values()):
            if licence_over(program, asset, now):
                self._named.pop(asset.file)
                await self._drop(asset, "licence")
        holds = self._wishes.holds
        self.wanted = wishes(program, memory, now, settings, holds)
        self._wishes.want(APP, [asset.file for asset in self.wanted], self._source)
        await self._keep_within(settings.disk_mb * MB, {asset.file for asset in self.wanted})

    async def _keep_within(self, budget: int, wanted: Iterable[str]) -> None:
        """Beyond the budget go files that nobody wants for now."""
        over = self.cached[1] - budget
        for file in set(self._named) - set(wanted):
            if over <= 0:
                return
            over -= self._wishes.held_bytes(file)
            await self._drop(self._named[file], "room")

    async def _drop(self, asset: AssetEntry, why: str) -> None:
        """Nothing plays it from now on; a file that an announcement also needs stays on the disk."""
        self.on_disk.discard(asset.file)
        if self._wishes.holds(asset.file):
            size = self._wishes.held_bytes(asset.file)
            if await self._wishes.drop(asset.file):
                self._tell(asset, "removed", size, why=why)

    def _source(self, sha256: str) -> list[str]:
        if self._shop is None or not self._shop.media_key or sha256 not in self._named:
            return []
        tenant = self._host.place.tenant
        return addresses_of(self._shop.media, tenant, self._shop.media_key, sha256)

    def _heard(self, news: BlobNews) -> None:
        if news.what in ("removed", "damaged"):
            self.on_disk.discard(news.sha256)
        asset = self._named.get(news.sha256)
        if asset is None:
            return
        if news.what in ("fetched", "added"):
            self.on_disk.add(news.sha256)
            self._tell(asset, "fetched", news.size_bytes, took_ms=news.took_ms)
        elif news.what == "damaged":
            self._tell(asset, "damaged", news.size_bytes, why="hash")

    def _tell(
        self, asset: AssetEntry, kind: str, size_bytes: int, *, took_ms: int = 0, why: str = ""
    ) -> None:
        self._fact(
            Fetched(
                asset=asset.id,
                title=asset.title,
                file=asset.file,
                size_bytes=size_bytes,
                at=self._host.now(),
                kind=kind,  # type: ignore[arg-type]
                took_ms=took_ms,
                why=why,
            )
        )

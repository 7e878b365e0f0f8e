"""The player on a node: its programme kept as the cloud's, its files fetched, its sound kept going.

`edge(host)` is what the node program runs. Playing begins from what the disk holds, before there is a
network, and does not wait for one again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from beira.apps.player.announcing import Announcing
from beira.apps.player.engines.fading import Fading
from beira.apps.player.engines.port import OUTPUT, Engine
from beira.apps.player.fetching import Fetching
from beira.apps.player.held import Held
from beira.apps.player.local_time import EARLIEST
from beira.apps.player.log import PlayLog
from beira.apps.player.manifest import AssetEntry, ShopEntry
from beira.apps.player.playing import Playing
from beira.apps.player.program import Program
from beira.apps.player.records import Play
from beira.apps.player.settings import PlayerSettings
from beira.apps.player.syncing import Syncing
from beira.sdk import BeiraError, Host, News, Order, Query, Unavailable, collection_of

log = structlog.get_logger(__name__)
RENEW_EVERY_S = 300.0
FIRST_SOUND_S = 1.0
REMEMBERED = 1_000


class PlayerEdge:
    """All of the player on one node."""

    def __init__(self, host: Host, engine: Engine | None = None) -> None:
        if host.wishes is None:
            raise Unavailable("The player needs a node with blobs.", code="player.no_blobs")
        self.host = host
        self.engine = engine or Fading()
        self._stale = asyncio.Event()
        self._used: tuple[str, PlayerSettings] | None = None
        self.notes = PlayLog(host)
        self.held = Held(host)
        self.fetching = Fetching(host, self.notes.fact)
        self.playing = Playing(host, self.engine, self.notes, self.fetching.on_disk)
        self.syncing = Syncing(self.held, self._stale_now)
        self.announcing = Announcing(host, self.playing)

    async def begin(self) -> None:
        """From what is on the disk: enough to play, and nothing that could wait."""
        await self.held.load()
        left = await self.notes.unfinished()
        await self.playing.begin([*reversed(await self.last_plays(REMEMBERED)), *left])
        settings = await self._settings()
        self.playing.take(await self._program(), settings)
        self._used = (self.held.manifest.root, settings)

    async def last_plays(self, most: int) -> list[Play]:
        """What was played last, the newest first."""
        asked = Query(
            collection="player_plays", order=(Order("_hlc", descending=True),), limit=most
        )
        declared = collection_of(Play)
        rows = (await self.host.store.query(asked)).rows
        plays = declared.decode_whole(rows)
        return [play for play in plays if isinstance(play, Play)]

    def announcements(self) -> list[AssetEntry]:
        """Those of the programme whose files are here."""
        found = self.playing.program.assets.values()
        here = (a for a in found if a.kind == "announcement" and self.fetching.here(a.file))
        return sorted(here, key=lambda asset: asset.title.casefold())

    async def first_sound(self) -> None:
        """Wait for it, but not long: what the node's program does next keeps it busy, and music comes
        before pages."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SOUND_S):
                while not self.playing.was_heard and self.engine.trouble is None:
                    await asyncio.sleep(0.01)

    async def run(self) -> None:
        """Play, sync and fetch until cancelled."""
        stop = self.host.store.subscribe(self._news)
        self._stale.set()
        works = [
            self.engine.run(), self.playing.run(), self.notes.run(), self.syncing.run(),
            self.announcing.run(), self._tend(),
        ]  # fmt: skip
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            stop()
            self.fetching.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(BeiraError):
                await self.notes.flush()

    def _stale_now(self) -> None:
        self._stale.set()

    def _news(self, news: News) -> None:
        if any(collection == "settings" for collection, _, _ in news.rows):
            self._stale.set()

    async def _tend(self) -> None:
        """Go by the newest programme and settings, and wish for the files they want."""
        trusted = None
        while True:
            self._stale.clear()
            try:
                head = self.held.head
                settings = await self._settings()
                if self._used != (self.held.manifest.root, settings):
                    self._used = (self.held.manifest.root, settings)
                    await self.playing.use(await self._program(), settings)
                if self.syncing.synced_at != trusted:
                    trusted = self.syncing.synced_at
                    await self.playing.do(self._trust)
                await self.fetching.renew(
                    self.playing.program, self.playing.memory, self.playing.now(), settings
                )
                self._tell(head.version if head else 0)
            except BeiraError as error:
                log.warning("player.not_tended", code=error.code, why=error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_EVERY_S):
                    await self._stale.wait()

    async def _trust(self) -> None:
        self.playing.trust_clock()

    async def _settings(self) -> PlayerSettings:
        settings = await self.host.settings(PlayerSettings)
        if not settings.output:
            settings.output = os.environ.get(OUTPUT, "")
        return settings

    async def _program(self) -> Program:
        """What is held, laid out; its files are looked for."""
        entries, head = self.held.manifest.entries, self.held.head
        shop = next((entry for entry in entries if isinstance(entry, ShopEntry)), None)
        program = Program.of(
            entries,
            shop=self.host.place.node,
            issued_at=head.issued_at if head else EARLIEST,
            zone=self.host.place.zone,
        )
        await self.fetching.use(program, shop)
        return program

    def _tell(self, version: int) -> None:
        cached, cached_bytes = self.fetching.cached
        self.notes.now(
            version=version,
            synced_at=self.syncing.synced_at,
            cached=cached,
            wanted=len(self.fetching.wanted),
            cached_bytes=cached_bytes,
        )


@asynccontextmanager
async def edge(host: Host) -> AsyncIterator[PlayerEdge]:
    """Run the player on a node while the context lasts; commands and pages find it by `host.edge`."""
    player = PlayerEdge(host)
    await player.begin()
    task = asyncio.create_task(player.run())
    await player.first_sound()
    try:
        yield player
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

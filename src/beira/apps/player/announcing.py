"""Urgent announcements: fetched before all else, cut in at once, once each, and not once expired."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

import structlog

from beira.apps.player.playing import Announcement, Playing
from beira.apps.player.records import UrgentAnnouncement
from beira.sdk import BeiraError, Host, News, Query, collection_of, where

log = structlog.get_logger(__name__)
URGENT = "player_urgent"
LOOK_EVERY_S = 60.0
MOST = 100


class Announcing:
    """Hands announcements that came from the cloud to the player."""

    def __init__(self, host: Host, playing: Playing) -> None:
        self._host = host
        self._playing = playing
        self._came = asyncio.Event()
        self._taken: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        stop = self._host.store.subscribe(self._news)
        try:
            while True:
                self._came.clear()
                try:
                    await self._look()
                except BeiraError as error:
                    log.warning("player.urgent_not_read", why=error.message)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._came.wait()
        finally:
            stop()
            for task in self._tasks:
                task.cancel()

    def _news(self, news: News) -> None:
        if any(collection == URGENT for collection, _, _ in news.rows):
            self._came.set()

    async def _look(self) -> None:
        now = self._host.now()
        asked = Query(collection=URGENT, where=where(expires_at__gt=now), limit=MOST)
        declared = collection_of(UrgentAnnouncement)
        for urgent in declared.decode_whole((await self._host.store.query(asked)).rows):
            assert isinstance(urgent, UrgentAnnouncement)
            if urgent.id not in self._taken and not await self._was_played(urgent.id):
                self._taken.add(urgent.id)
                task = asyncio.create_task(self._bring(urgent))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _was_played(self, urgent: str) -> bool:
        return await self._host.store.get("player_plays", self._play_id(urgent)) is not None

    def _play_id(self, urgent: str) -> str:
        """The same each time, so that it is known after a restart whether it was played here."""
        return hashlib.sha256(f"{self._host.place.node}\0{urgent}".encode()).hexdigest()[:40]

    async def _bring(self, urgent: UrgentAnnouncement) -> None:
        left_s = (urgent.expires_at - self._host.now()).total_seconds()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                assert self._host.blobs is not None
                await self._host.blobs.fetch(urgent.file)
        except TimeoutError:
            log.warning("player.urgent_expired", title=urgent.title)
            return
        except BeiraError as error:
            log.warning("player.urgent_not_fetched", why=error.message)
            self._taken.discard(urgent.id)
            return
        await self._playing.announce(
            Announcement(
                id=self._play_id(urgent.id),
                title=urgent.title,
                file=urgent.file,
                duration_ms=urgent.duration_ms,
            )
        )

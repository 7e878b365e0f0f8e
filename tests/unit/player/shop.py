"""A shop's node for the player's tests: its store and shelf, a clock tests move, and an engine that plays
by that clock instead of by sound."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from beira.apps.player import app
from beira.apps.player.edge import PlayerEdge
from beira.apps.player.engines.port import Cue, Ended, Event, Started, Trouble
from beira.apps.player.manifest import (
    AssetEntry,
    Entry,
    Head,
    Manifest,
    PlaylistEntry,
    SignedHead,
    SlotEntry,
)
from beira.apps.player.records import Play
from beira.blobs import FolderBlobs, Shelf
from beira.host.host import Host, Place
from beira.kernel.app import catalogue
from beira.store.memory import MemoryStore
from beira.sync.blobs.agent import BlobAgent
from beira.sync.streams import log_route
from beira.testing import Clock

NOON = datetime(2026, 11, 20, 15, tzinfo=UTC)
SETTLE_TURNS = 60


class FakeEngine:
    """Plays cues by the tests' clock: `listen(ms)` lets so much be heard."""

    def __init__(self, clock: Clock) -> None:
        self.trouble: Trouble | None = None
        self.clock = clock
        self.now: Cue | None = None
        self.next: Cue | None = None
        self.position_ms = 0
        self.paused = False
        self.percent = -1
        self.heard: list[str] = []
        self.expected: dict[str, Any] = {}
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    @property
    def cue(self) -> Cue | None:
        return self.now

    async def event(self) -> Event:
        return await self._events.get()

    def play(self, cue: Cue) -> None:
        self.now, self.next, self.position_ms = cue, None, cue.start_ms
        self.heard.append(cue.path)
        self._events.put_nowait(Started(cue.id))

    def follow(self, cue: Cue | None) -> None:
        self.next = cue

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def volume(self, percent: int) -> None:
        self.percent = percent

    def expect(self, **settings: Any) -> None:
        self.expected = settings

    async def run(self) -> None:
        await asyncio.Event().wait()

    def tell(self, event: Event) -> None:
        self._events.put_nowait(event)

    def listen(self, ms: int) -> None:
        """Time goes by, and so does what is heard, up to the end of the cue."""
        self.clock.forward(ms / 1000)
        if self.now is None or self.paused:
            return
        self.position_ms += ms
        if self.position_ms >= self.now.duration_ms:
            self.end()

    def end(self, *, failed: bool = False) -> None:
        """The cue ends; what was lined up goes on."""
        assert self.now is not None
        at_ms = self.position_ms if failed else self.now.duration_ms
        then = "" if self.next is None else self.next.id
        self.tell(Ended(self.now.id, at_ms, failed, "broken" if failed else "", then))
        self.now, self.next, self.position_ms = self.next, None, 0
        if self.now is not None:
            self.heard.append(self.now.path)
            self.tell(Started(self.now.id))


@dataclass
class Shop:
    """A node with the player on it, and no cloud but what a test hands it."""

    folder: Path
    host: Host
    clock: Clock
    blobs: BlobAgent
    engine: FakeEngine
    player: PlayerEdge
    files: dict[str, bytes] = field(default_factory=dict)
    version: int = 0

    async def file(self, name: str) -> str:
        """A file on the shelf, of this name's own content: its SHA-256."""
        data = name.encode() * 100
        self.files[name] = data
        return (await self.blobs.add(data)).sha256

    async def sound(self, name: str, wav: bytes, **more: Any) -> AssetEntry:
        """A track of real sound."""
        file = (await self.blobs.add(wav)).sha256
        with wave.open(io.BytesIO(wav)) as opened:
            ms = round(opened.getnframes() * 1000 / opened.getframerate())
        return AssetEntry(
            id=name, title=name, file=file, size_bytes=len(wav), duration_ms=ms, **more
        )

    async def asset(self, name: str, *, here: bool = True, **more: Any) -> AssetEntry:
        data = name.encode() * 100
        file = await self.file(name) if here else hashlib.sha256(data).hexdigest()
        fields = {"title": name, "duration_ms": 180_000, "size_bytes": len(data)} | more
        return AssetEntry(id=name, file=file, **fields)

    async def programme(self, *entries: Entry, at: datetime | None = None) -> None:
        """The cloud's manifest, as if it had been asked for and verified."""
        self.version += 1
        manifest = Manifest.of(entries)
        head = Head(
            tenant="padaria", node="n1", version=self.version, root=manifest.root,
            issued_at=at or self.host.now(),
        )  # fmt: skip
        signed = SignedHead(head=_json(head), signature=b"-", key_id="-")
        self.player.held.take(head, signed, manifest)
        self.player._stale.set()
        await self.settle()
        await self.player.held.write()
        await self.settle()

    async def settle(self) -> None:
        """Let everything that can happen now happen."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0.005)
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(0)

    async def hears(self, ms: int) -> None:
        self.engine.listen(ms)
        await self.settle()

    async def plays(self) -> list[Play]:
        """The facts there are, oldest first."""
        await self.player.notes.flush()
        async with self.host.writing() as ctx:
            return await ctx.find(Play)

    @property
    def title(self) -> str:
        current = self.player.playing.current
        return current.play.title if current else ""

    @property
    def next_title(self) -> str:
        lined = self.player.playing.lined
        return lined.play.title if lined else ""


def _json(head: Head) -> bytes:
    return msgspec.json.encode(head)


def music(*assets: AssetEntry, order: str = "ordered") -> list[Entry]:
    """A programme that plays these all day long."""
    names = tuple(asset.id for asset in assets)
    playlist = PlaylistEntry(id="all", name="Tudo", assets=names, order=order, no_repeat=0,
                             artist_gap=0)  # type: ignore[arg-type] # fmt: skip
    return [*assets, playlist, SlotEntry(id="always", playlist="all")]


@contextlib.asynccontextmanager
async def shop(
    folder: Path,
    *,
    store: MemoryStore | None = None,
    clock: Any = None,
    engine: Any = None,
) -> AsyncIterator[Shop]:
    """A shop that has started; with the `store` of another it is that one, started anew. A real
    `engine` wants a real clock."""
    clock = clock or Clock(NOON)
    declared = catalogue([app])
    host = Host(
        place=Place(tenant="padaria", node="n1", site="s1", name="Loja 1"),
        store=store or MemoryStore(declared.collections, tenant="padaria"),
        catalogue=declared,
        wall=clock,
        route=log_route(declared.collections),
    )
    await host.start()
    shelf = Shelf(FolderBlobs(folder / "blobs", reserve_bytes=0), "padaria", clock)
    blobs = BlobAgent(host=host, shelf=shelf, client=None, online=lambda: False)  # type: ignore[arg-type]
    await blobs.begin()
    host.blobs = host.wishes = blobs
    engine = engine or FakeEngine(clock)
    player = PlayerEdge(host, engine)
    host.edges.append(player)
    await player.begin()
    task = asyncio.create_task(player.run())
    made = Shop(folder, host, clock, blobs, engine, player)
    try:
        await made.settle()
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


__all__ = ["NOON", "FakeEngine", "Shop", "music", "shop"]

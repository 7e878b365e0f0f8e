"""The node's half of the blobs' lane: sends what the node's records name, and fetches what they lack.

It runs beside the agent and never in its way: its own requests, a bandwidth budget, and chunks so
small that a record waits half a second for the link at most. Each chunk is decided anew, so what is
most urgent goes next and what was begun goes on later where it was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from beira.blobs import FolderBlobs, Shelf
from beira.blobs.port import BlobNews, Source, missing
from beira.blobs.shelf import What
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.blob import BlobRef, RecordKey, has_blobs, names_in
from beira.kernel.blob_ledger import Ledger, Named
from beira.kernel.collection import Collection, Fetch, Lane
from beira.kernel.errors import BeiraError, Full
from beira.kernel.policy import retry_after_s
from beira.kernel.query import Order, Query, where
from beira.store.port import News
from beira.sync.blobs import metrics
from beira.sync.blobs.client import BlobClient
from beira.sync.blobs.transfer import Downloads, Pace, Uploads
from beira.sync.node.marks import CLOUD_MARK
from beira.sync.streams import lane_stream

log = structlog.get_logger(__name__)
LOOK_S = 5.0


class BlobState(msgspec.Struct, kw_only=True):
    """What people may know of a node's blobs."""

    to_send: int = 0
    to_fetch: int = 0
    no_room: int = 0
    held: int = 0
    disk_bytes: int = 0
    last_error: str = ""
    next_step: str = ""


class BlobAgent:
    """Runs the blobs' lane of one node until it is cancelled. Implements `Blobs` and `Wishes` of
    `blobs.port`; what lies here is known once `begin` was awaited.

    `online` says whether there is a session with the cloud. `bytes_per_s` caps what blobs may take
    of the link (0: no cap), `disk_bytes` what they may take of the disk. `plain` is where blobs lay
    before this node was encrypted.
    """

    def __init__(
        self,
        *,
        host: Host,
        shelf: Shelf,
        client: BlobClient,
        online: Callable[[], bool],
        bytes_per_s: int = 0,
        disk_bytes: int = limits.BLOB_NODE_BYTES,
        plain: FolderBlobs | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.state = BlobState()
        self.ledger = Ledger(budget_bytes=disk_bytes)
        self._host = host
        self._shelf = shelf
        self._plain = plain
        self._online = online
        self._chance = chance
        self._pace = Pace(bytes_per_s, host.wall.monotonic_s)
        self._uploads = Uploads(self.ledger, shelf, client, self._pace, self._now_s)
        self._downloads = Downloads(self.ledger, shelf, client, self._pace, self._now_s)
        self._declared = {c.name: c for c in host.store.registry if has_blobs(c)}
        self._changed: set[RecordKey] | None = None
        self._woken = {name: asyncio.Event() for name in ("follow", "up", "down", "held")}
        self._cloud = ""
        self._listeners: set[Callable[[BlobNews], None]] = set()
        shelf.on_change = self._shelf_changed

    async def add(self, content: bytes | AsyncIterable[bytes]) -> BlobRef:
        await self._make_room(1)
        ref = await self._shelf.add(content)
        with suppress(Full):
            await self._make_room(0)
        return ref

    async def path(self, sha256: str) -> Path | None:
        """Where a blob lies, verified, as the disk has it; None while it is not here."""
        found = await self._shelf.path(sha256)
        if found is not None:
            self.ledger.used(sha256, self._now_s())
        return found

    @asynccontextmanager
    async def file(self, sha256: str) -> AsyncIterator[Path]:
        async with self._shelf.file(sha256) as path:
            self.ledger.used(sha256, self._now_s())
            yield path

    async def size(self, sha256: str) -> int:
        held = self._shelf.held(sha256)
        if held is None:
            raise missing(sha256)
        return held.size_bytes

    async def read(self, sha256: str, start: int, size_bytes: int) -> bytes:
        return await self._shelf.read(sha256, start, size_bytes)

    async def fetch(self, sha256: str) -> None:
        while True:
            held = self._woken["held"]
            found = await self.path(sha256)
            if found is not None:
                return
            self.ledger.ask_for(sha256)
            self._downloads.at_once(sha256)
            self._woken["down"].set()
            await held.wait()

    def want(self, by: str, names: Sequence[str], source: Source | None = None) -> None:
        self._downloads.sources.give(by, source)
        self.ledger.wish(by, names)
        self._woken["down"].set()

    def holds(self, sha256: str) -> bool:
        return sha256 in self.ledger.held

    def held_bytes(self, sha256: str) -> int:
        held = self.ledger.held.get(sha256)
        return held.size_bytes if held else 0

    async def check(self, sha256: str) -> bool:
        return await self._shelf.look_again(sha256)

    async def drop(self, sha256: str) -> bool:
        await self._shelf.folder.discard(self._shelf.tenant, self._shelf.owner, sha256)
        if self.ledger.may_drop(sha256):
            await self._shelf.drop(sha256)
        return sha256 not in self.ledger.held

    def subscribe(self, heard: Callable[[BlobNews], None]) -> Callable[[], None]:
        self._listeners.add(heard)
        return lambda: self._listeners.discard(heard)

    async def begin(self) -> None:
        """Look at what is here."""
        for name, held in (await asyncio.to_thread(self._shelf.listing)).items():
            self.ledger.holds(name, held)

    async def run(self) -> None:
        """Follow the records and carry what they name."""
        unsubscribe = self._host.store.subscribe(self._heard)
        await self._prepare()
        await self.begin()
        try:
            await asyncio.gather(
                self._follow(),
                self._carry("up", lambda: bool(self.ledger.unsent), self._uploads.step),
                self._carry("up", lambda: bool(self.ledger.unsent), self._uploads.help),
                self._carry("down", lambda: bool(self.ledger.wants), self._downloads.step),
                self._carry("down", lambda: bool(self.ledger.wants), self._downloads.help),
            )
        finally:
            unsubscribe()

    async def _make_room(self, size_bytes: int) -> None:
        """Keep within the disk's budget. Raises Full `blob.budget` where nothing may go."""
        free = self._shelf.folder.free_bytes()
        evicted = self.ledger.room_for(size_bytes, max(free, size_bytes), self._now_s())
        if evicted is None:
            raise Full(
                "This node's room for blobs is used up.",
                code="blob.budget",
                hint="Connect it, so that the cloud gets what it lacks; or give blobs more room.",
            )
        for name in evicted:
            await self._shelf.drop(name)

    async def _prepare(self) -> None:
        """Seal what lies there plain, and throw away what nobody went on with."""
        try:
            if self._plain is not None:
                await self._shelf.take_over(self._plain)
            before_s = self._now_s() - limits.BLOB_STAGED_S
            await self._shelf.folder.tidy(self._shelf.tenant, before_s)
        except (BeiraError, OSError) as error:
            log.warning("blob.not_tidied", why=str(error))

    def _heard(self, news: News) -> None:
        if not news.rows:
            self._changed = None
        elif self._changed is not None:
            self._changed |= {(name, id) for name, id, _ in news.rows if name in self._declared}
            if len(self._changed) > limits.BLOB_CHANGES_KEPT:
                self._changed = None
        if self._changed is None or self._changed:
            self._woken["follow"].set()

    def _shelf_changed(self, name: str, what: What) -> None:
        held = self._shelf.held(name)
        size_bytes = held.size_bytes if held else self.held_bytes(name)
        took_ms = self._downloads.took_ms(name) if what == "fetched" else 0
        if held is None:
            self.ledger.lost(name)
        else:
            self.ledger.holds(name, held)
            self._woken["held"].set()
            self._woken["held"] = asyncio.Event()
        self._wake()
        for heard in list(self._listeners):
            heard(BlobNews(name, what, size_bytes, took_ms))

    def _wake(self) -> None:
        for name in ("follow", "up", "down"):
            self._woken[name].set()

    async def _follow(self) -> None:
        """Keep the ledger as the records are."""
        scanned_s = 0.0
        while True:
            try:
                changed, self._changed = self._changed, set()
                now_s = self._host.wall.monotonic_s()
                if changed is None or now_s - scanned_s > limits.BLOB_RESCAN_EVERY_S:
                    await self._look_at_all()
                    scanned_s = now_s
                else:
                    for key in changed:
                        await self._look_at(key)
                await self._mark_what_goes_up()
                await self._look_whose_cloud()
            except BeiraError as error:
                self._changed = None
                self._note(error)
            self._tell()
            if self._changed is not None and not self._changed:
                await _either(self._woken["follow"], LOOK_S)
            else:
                await asyncio.sleep(LOOK_S if self.state.last_error else 0)

    async def _look_at_all(self) -> None:
        """Read all records that may name blobs; forget those that are gone (retention tells nobody)."""
        seen: set[RecordKey] = set()
        for declared in self._declared.values():
            after = ""
            while True:
                question = Query(
                    collection=declared.name,
                    where=where(id__gt=after),
                    order=(Order("id"),),
                    limit=limits.QUERY_ROWS,
                )
                rows = (await self._host.store.query(question)).rows
                for row in rows:
                    key = (declared.name, str(row["id"]))
                    seen.add(key)
                    names = names_in(declared, row)
                    self._refer(declared, key, names, int(row["_lane"]), int(row["_hlc"]))
                if len(rows) < limits.QUERY_ROWS:
                    break
                after = str(rows[-1]["id"])
        for key in self.ledger.keys - seen:
            self.ledger.refer(key, {})
        for name in self.ledger.stale(self._now_s()):
            await self._shelf.drop(name)
        self._wake_carriers()

    async def _look_at(self, key: RecordKey) -> None:
        row = await self._host.store.get(*key)
        if row is None or row.deleted:
            self.ledger.refer(key, {})
        else:
            declared = self._declared[key[0]]
            names = names_in(declared, row.fields)
            self._refer(declared, key, names, int(row.stamp.lane), row.stamp.hlc)
        self._wake_carriers()

    def _refer(
        self, declared: Collection, key: RecordKey, names: dict[str, Fetch], lane: int, hlc: int
    ) -> None:
        up = declared.goes_up
        self.ledger.refer(key, {n: Named(how, lane, hlc, up) for n, how in names.items()})

    async def _mark_what_goes_up(self) -> None:
        """Before anything else may happen to the record that names it."""
        for name in self.ledger.to_mark():
            await asyncio.to_thread(self._shelf.mark_sent_up, name)
            self.ledger.marked(name)

    async def _look_whose_cloud(self) -> None:
        """Another cloud, or one restored from a backup, has confirmed nothing."""
        cloud = str((await self._host.store.marks(CLOUD_MARK)).get(CLOUD_MARK, ""))
        if cloud != self._cloud:
            self.ledger.doubt()
            self._cloud = cloud
        self.ledger.doubt(self._now_s() - limits.BLOB_ASK_AGAIN_S)
        self._pace.busy = await self._records_wait()

    async def _records_wait(self) -> bool:
        """Whether the cloud has not confirmed all records yet: they and blobs share the link."""
        store = self._host.store
        acked = await store.marks("acked:")
        for lane in Lane:
            if await store.end(lane_stream(lane)) > int(acked.get(f"acked:{int(lane)}", 0)):
                return True
        return False

    def _wake_carriers(self) -> None:
        self._woken["up"].set()
        self._woken["down"].set()

    async def _carry(
        self, way: str, has_work: Callable[[], bool], step: Callable[[], Awaitable[bool]]
    ) -> None:
        """Take one step after the other while there is a link and something to carry."""
        failures = 0
        while True:
            if not (self._online() and has_work()):
                await _either(self._woken[way], LOOK_S)
                continue
            try:
                moved = await step()
                failures = 0
                if moved:
                    self.state.last_error = self.state.next_step = ""
                    self._woken[way].set()
                else:
                    self._tell()
                    await _either(self._woken[way], LOOK_S)
            except BeiraError as error:
                failures += 1
                self._note(error)
                await asyncio.sleep(retry_after_s(failures, self._chance()))
            except Exception as error:
                failures += 1
                log.exception("blob.failed")
                self._note(BeiraError(f"Blobs failed: {error}.", hint="The log has the details."))
                await asyncio.sleep(retry_after_s(failures, self._chance()))

    def _note(self, error: BeiraError) -> None:
        if error.message != self.state.last_error:
            log.warning("blob.lost", code=error.code, why=error.message)
        self.state.last_error, self.state.next_step = error.message, error.hint

    def _tell(self) -> None:
        state, ledger = self.state, self.ledger
        state.to_send, state.to_fetch = len(ledger.unsent), len(ledger.wants)
        state.no_room = self._downloads.no_room
        state.held, state.disk_bytes = len(ledger.held), ledger.used_bytes
        metrics.QUEUED.labels("up").set(state.to_send)
        metrics.QUEUED.labels("down").set(state.to_fetch)
        metrics.DISK_BYTES.set(state.disk_bytes)
        metrics.NO_ROOM.set(state.no_room)

    def _now_s(self) -> float:
        return self._host.wall.now_ms() / 1000


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, but not for ever: links and disks change without telling."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()

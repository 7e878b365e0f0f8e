"""Shops, their player and a director, in virtual time: what the week of a player's shops is made of.

The production code decides: the manifest's questions and answers, what is believed, what is wished for,
what is chosen. This plays it: time, lines, disks and files, all drawn from a seed. The laws are looked
at as things happen, by plainer means than the code's own.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from beira.apps.player import app
from beira.apps.player.cloud import Heads
from beira.apps.player.compile import compiler_of, forget
from beira.apps.player.fetching import licence_over, wishes
from beira.apps.player.held import check, taken
from beira.apps.player.manifest import (
    Answer,
    AssetEntry,
    Head,
    Manifest,
    Question,
    SignedHead,
    answered,
)
from beira.apps.player.memory import Choice, Memory
from beira.apps.player.on_disk import OnDisk
from beira.apps.player.program import Program
from beira.apps.player.records import Asset, Campaign, Outcome, Play, Playlist, Rendition, Slot
from beira.apps.player.rules import choose, sure
from beira.apps.player.settings import PlayerSettings
from beira.apps.player.syncing import EVERY_S, JITTER, questions
from beira.apps.player.wire import packed
from beira.host.host import Host, Place
from beira.kernel.app import catalogue
from beira.kernel.errors import Corrupt
from beira.kernel.record import Record
from beira.kernel.system import NodeInfo, Site
from beira.store.memory import MemoryStore
from beira.sync.streams import feed_route

T = TypeVar("T")
CATALOGUE = catalogue([app])
TENANT = "t"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
JINGLE = 15 * SECOND
RENEW = 2 * HOUR
BYTES_PER_S = 500_000
RECALL = MINUTE
"""Within this a recalled asset is gone from every shop that has a link."""
SPOT_LATE = timedelta(minutes=15)
NO_CHANGE_BYTES = 1_000
SETTINGS = PlayerSettings(disk_mb=400, ahead_days=7)


@dataclass
class World:
    """Time, and what is due. `breaches` are laws that were broken, in words."""

    seed: int
    now: datetime
    breaches: list[str] = field(default_factory=list)
    _due: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def at(self, moment: datetime, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (max(moment, self.now), next(self._numbers), what))

    def run(self, until: datetime) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, what = heapq.heappop(self._due)
            what()
        self.now = until

    def must(self, holds: bool, law: str, about: object = "") -> None:
        if not holds:
            self.breaches.append(f"{self.now:%Y-%m-%d %H:%M:%S}Z {law} {about}")


class CloudWall:
    """The cloud's clock is right."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ids = count(1)

    def now_ms(self) -> int:
        return int(self._world.now.timestamp() * 1000)

    def monotonic_s(self) -> float:
        return self._world.now.timestamp()

    def new_id(self) -> str:
        return f"{next(self._ids):08d}"


class Cloud:
    """The director's records in a store, and what the product's compiler makes of them for each shop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recalled: dict[str, datetime] = {}
        self.shops: list[Shop] = []
        self._loop = asyncio.new_event_loop()
        self._store = MemoryStore(CATALOGUE.collections, tenant=TENANT)
        self._host = Host(
            place=Place(tenant=TENANT, node="cloud"),
            store=self._store,
            catalogue=CATALOGUE,
            wall=CloudWall(world),
            route=feed_route(CATALOGUE.collections),
        )
        self._run(self._host.start())
        self._compiler = compiler_of(self._host)

    def close(self) -> None:
        forget(self._host)
        self._loop.close()

    def open_shop(self, name: str, zone: ZoneInfo) -> Shop:
        """A site with one node in it, both of that name."""
        self.put([Site(id=name, name=name, zone=zone.key), NodeInfo(id=name, name=name, site=name)])
        shop = Shop(self.world, self, name, zone)
        self.shops.append(shop)
        return shop

    def put(self, records: Iterable[Record]) -> None:
        async def write() -> None:
            async with self._host.writing() as ctx:
                for record in records:
                    ctx.put(record, partition="tenant")

        self._run(write())

    def change(self, *changes: tuple[type[Record], str, dict[str, object]]) -> None:
        """Change fields of records, together, and let the shops hear of it."""

        async def write() -> None:
            async with self._host.writing() as ctx:
                for kind, id, fields in changes:
                    ctx.patch(kind, id, **fields)

        self._run(write())
        self._tell()

    def recall(self, asset: str) -> None:
        self.recalled[asset] = self.world.now
        self.change((Asset, asset, {"recalled": True}))

    @property
    def music(self) -> list[str]:
        """What may be heard, by id."""
        rows = self._compiler.snapshot.of(Asset).values()
        return sorted(str(r["id"]) for r in rows if r["kind"] == "music" and not r["recalled"])

    def manifest(self, shop: Shop) -> Manifest:
        return self._run(self._compiler.manifest(shop.name))

    def answer(self, shop: Shop, question: Question) -> Answer:
        """As `answer_manifest`, but for threads and signatures."""
        manifest = self.manifest(shop)
        if question.root == manifest.root:
            return Answer()
        version = self._run(Heads(self._host).version(shop.name, manifest, question.version))
        head = Head(
            tenant=TENANT,
            node=shop.name,
            version=version,
            root=manifest.root,
            issued_at=self.world.now,
        )
        return answered(manifest, sealed(head), question)

    def _tell(self) -> None:
        """The news of another head goes out; it takes what a line and a queue take."""
        for shop in self.shops:
            self.world.at(self.world.now + self.world.chance.uniform(0.5, 5) * SECOND, shop.sync)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


def sealed(head: Head) -> SignedHead:
    """Signatures are looked at elsewhere; here the line is honest, but may bring what is old."""
    return SignedHead(head=msgspec.json.encode(head), signature=b"", key_id="k")


@dataclass
class Shop:
    """A node with its player. `clock_off` is how much its clock goes wrong by."""

    world: World
    cloud: Cloud
    name: str
    zone: ZoneInfo
    online: bool = True
    powered: bool = True
    disk_full: bool = False
    clock_off: timedelta = timedelta()
    manifest: Manifest = field(default_factory=Manifest)
    head: Head | None = None
    program: Program = field(default_factory=lambda: Program.of([]))
    memory: Memory = field(default_factory=Memory)
    disk: OnDisk = field(default_factory=OnDisk)
    rotten: set[str] = field(default_factory=set)
    plays: list[Play] = field(default_factory=list)
    fetches: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    refused: int = 0
    online_since: datetime | None = None
    current: tuple[Choice, datetime] | None = None
    _ahead: timedelta = timedelta()
    _turn: int = 0
    _fetching: bool = False
    _wanted: list[AssetEntry] = field(default_factory=list)
    _silent_since: datetime | None = None

    def begin(self) -> None:
        self.online_since = self.world.now
        self._silent_since = self.world.now
        self._use()
        self._next("whole")
        self._sync_by_itself()
        self._renew_by_itself()

    # Time

    @property
    def clock(self) -> datetime:
        return self.world.now + self.clock_off

    @property
    def believed(self) -> datetime:
        """The time decided by: as the edge does it."""
        return self.clock + self._ahead

    def _set_clock(self) -> None:
        self._ahead = max(timedelta(), sure(self.program, self.memory, self.clock) - self.clock)

    @property
    def clock_right(self) -> bool:
        return not self.clock_off and not self._ahead

    # Sound

    def _next(self, outcome: Outcome) -> None:
        if not self.powered:
            return
        self._ended(outcome)
        for _ in range(50):
            choice = choose(self.program, self.memory, self.believed, self.disk)
            self.memory.add(choice, self.believed)
            if choice.asset is None or choice.asset.file not in self.rotten:
                break
            self.current = (choice, self.believed)
            self._ended("failed")
            self._lose(choice.asset.file)
        self.current = (choice, self.believed)
        self._look_at(choice)
        silent_since, self._silent_since = self._silent_since, None
        silent = self.world.now - (silent_since or self.world.now)
        self.world.must(silent <= SECOND, f"law 1: {self.name} was silent for {silent}")
        self._turn += 1
        turn = self._turn
        length = timedelta(milliseconds=choice.asset.duration_ms) if choice.asset else JINGLE
        self.world.at(self.world.now + length, lambda: self._over(turn))

    def _over(self, turn: int) -> None:
        if turn == self._turn and self.powered:
            self._silent_since = self.world.now
            self._next("whole")

    def _ended(self, outcome: Outcome) -> None:
        if self.current is None:
            return
        (choice, at), self.current = self.current, None
        asset = choice.asset
        self.plays.append(
            Play(
                asset=asset.id if asset else "", title="", kind="music", reason=choice.reason,
                outcome=outcome, at=at, played_ms=0, duration_ms=asset.duration_ms if asset else 0,
                file=asset.file if asset else "", artist=asset.artist if asset else "",
                playlist=choice.playlist, campaign=choice.campaign,
            )
        )  # fmt: skip

    def _look_at(self, choice: Choice) -> None:
        """The laws, of what has just begun."""
        asset, must, told = choice.asset, self.world.must, (self.name, choice)
        if asset is None:
            return
        must(asset.file in self.disk and asset.file not in self.rotten, "law 2: not whole", told)
        must(asset.id in self.program.assets, "law 2: not in the manifest", told)
        begins = self.believed
        ends = begins + timedelta(milliseconds=asset.duration_ms)
        for text in (asset.valid_until, asset.licence_until):
            must(not text or ends <= self._moment(text), "law 2: beyond its window", told)
        must(not asset.valid_from or begins >= self._moment(asset.valid_from),
             "law 2: before its window", told)  # fmt: skip
        recalled = self.cloud.recalled.get(asset.id)
        if recalled and self.online_since:
            heard = max(recalled, self.online_since) + RECALL
            must(self.world.now <= heard, f"recalled {recalled}", told)
        if choice.reason == "scheduled" and self.clock_right:
            local = self.world.now.astimezone(self.zone)
            night = not 8 <= local.hour < 22
            expected = "noite" if night else "dia"
            must(choice.playlist == expected, f"law 4: at {local:%H:%M}", told)

    def _moment(self, text: str) -> datetime:
        """The world's windows begin and end at hours that every day has once."""
        return datetime.fromisoformat(text).replace(tzinfo=self.zone).astimezone(UTC)

    # The line

    def _sync_by_itself(self) -> None:
        self.sync()
        wait_s = EVERY_S * self.world.chance.uniform(1 - JITTER, 1 + JITTER)
        self.world.at(self.world.now + wait_s * SECOND, self._sync_by_itself)

    def sync(self) -> None:
        """One round, as the node's own: until an answer comes to its head's root."""
        if not (self.online and self.powered):
            return
        self.clock_off = timedelta()
        self.memory.trust(self.clock)
        self._ahead = timedelta()
        for question in questions(self.manifest, self.head.version if self.head else 0):
            answer = self.cloud.answer(self, question)
            if answer.signed is None:
                size = len(packed(question)) + len(packed(answer))
                self.world.must(size < NO_CHANGE_BYTES, f"no change took {size} bytes")
                return
            self.answers.append(answer)
            if self.take(question, answer):
                return
        self.world.must(False, f"{self.name} did not come to the cloud's root")

    def take(self, question: Question, answer: Answer) -> bool:
        """Whether an answer is believed and comes to its root. Then it is gone by."""
        assert answer.signed is not None
        head = msgspec.json.decode(answer.signed.head, type=Head)
        try:
            check(head, self.head, TENANT, self.name)
        except Corrupt:
            self.refused += 1
            return False
        made = taken(self.manifest if question.root else Manifest(), head, answer.buckets)
        if made is None:
            return False
        self.head, self.manifest = head, made
        self._use()
        return True

    def old_answer(self) -> None:
        """Somebody brings again what the cloud said once: nothing that is older comes back by it."""
        if self.answers and self.powered:
            version = self.head.version if self.head else 0
            for question in questions(self.manifest, version)[1:]:
                self.take(question, self.world.chance.choice(self.answers))
            held = self.head.version if self.head else 0
            self.world.must(held >= version, f"{self.name} went back from {version} to {held}")

    def _use(self) -> None:
        """Go by the manifest: what it no longer names is gone, and cut if it plays."""
        before = {a.file for a in self.program.assets.values()}
        self.program = Program.of(
            self.manifest.entries, shop=self.name, zone=self.zone,
            issued_at=self.head.issued_at if self.head else datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        self._set_clock()
        for file in before - {a.file for a in self.program.assets.values()}:
            self._lose(file)
        playing = self.current[0].asset if self.current else None
        if playing is not None and playing.id not in self.program.assets:
            self._silent_since = self.world.now
            self._next("cut")
        self._renew()

    # The disk

    def _renew_by_itself(self) -> None:
        self._renew()
        self.world.at(self.world.now + RENEW, self._renew_by_itself)

    def _renew(self) -> None:
        for asset in self.program.assets.values():
            if licence_over(self.program, asset, self.believed):
                self._lose(asset.file)
        holds = self.disk.__contains__
        self._wanted = wishes(self.program, self.memory, self.believed, SETTINGS, holds)
        self._fetch()

    def _fetch(self) -> None:
        missing = (a for a in self._wanted if a.file not in self.disk)
        asset = next(missing, None)
        if asset is None or self._fetching or self.disk_full or not (self.online and self.powered):
            return
        self._fetching = True
        took = asset.size_bytes / BYTES_PER_S * SECOND
        self.world.at(self.world.now + took, lambda: self._fetched(asset))

    def _fetched(self, asset: AssetEntry) -> None:
        self._fetching = False
        if self.online and self.powered and not self.disk_full:
            if asset.id in self.program.assets:
                self.rotten.discard(asset.file)
                self.disk.add(asset.file)
                self.fetches[asset.file] = self.fetches.get(asset.file, 0) + 1
            self._fetch()

    def _lose(self, file: str) -> None:
        if file in self.disk:
            self.lost[file] = self.lost.get(file, 0) + 1
        self.disk.discard(file)
        self._fetch()

    # Misfortune

    def go_offline(self, for_: timedelta) -> None:
        self.online, self.online_since = False, None
        self.world.at(self.world.now + for_, self._go_online)

    def _go_online(self) -> None:
        self.online, self.online_since = True, self.world.now
        self.sync()
        self._fetch()

    def lose_power(self, for_: timedelta, clock_lost: bool) -> None:
        if not self.powered:
            return
        self._ended("cut")
        self.powered = False
        self.world.at(self.world.now + for_, lambda: self._boot(clock_lost))

    def _boot(self, clock_lost: bool) -> None:
        """From what the disk has: the manifest, the plays, the files."""
        self.powered = True
        if clock_lost and not self.online:
            self.clock_off = datetime(1970, 1, 1, tzinfo=UTC) - self.world.now
        self.memory = Memory.of(self.plays)
        files = [a.file for a in self.program.assets.values() if a.file in self.disk]
        self.disk = OnDisk(files)
        self._silent_since = self.world.now
        self._use()
        self._next("whole")

    def rot(self) -> None:
        files = sorted(a.file for a in self.program.assets.values() if a.file in self.disk)
        if files:
            self.rotten.add(self.world.chance.choice(files))

    def lose_file(self) -> None:
        files = sorted(a.file for a in self.program.assets.values() if a.file in self.disk)
        if files:
            self._lose(self.world.chance.choice(files))

    def fill_disk(self, for_: timedelta) -> None:
        self.disk_full = True
        self.world.at(self.world.now + for_, self._disk_has_room)

    def _disk_has_room(self) -> None:
        self.disk_full = False
        self._fetch()


def library(chance: random.Random, since: datetime) -> Iterable[Record]:
    """Music by day and by night, an emergency playlist, spots, and windows that open and close."""
    for n in range(120):
        spot, id, file = n >= 112, f"a{n:03}", sha256(b"%d" % n).hexdigest()
        length_ms = 30_000 if spot else chance.randrange(120_000, 420_000)
        yield Asset(
            id=id, title=f"Faixa {n}", state="ready", kind="spot" if spot else "music",
            artist=f"Artista {chance.randrange(25)}", duration_ms=length_ms,
            **_windows(chance, since) if n < 104 else {},
        )  # fmt: skip
        yield Rendition(
            id=file, asset=id, profile="opus-64", file=file, duration_ms=length_ms, made_at=since,
            size_bytes=240_000 if spot else 1_600_000,
        )  # fmt: skip
    ids = [f"a{n:03}" for n in range(120)]
    yield Playlist(id="dia", name="Dia", assets=ids[:70], order="shuffled", no_repeat=30)
    yield Playlist(id="noite", name="Noite", assets=ids[60:104])
    yield Playlist(id="reserva", name="Reserva", assets=ids[104:112])
    yield Slot(id="s-dia", playlist="dia", begins="08:00", ends="22:00")
    yield Slot(id="s-noite", playlist="noite", begins="22:00", ends="08:00")
    yield Slot(id="s-reserva", playlist="reserva", use="emergency")
    yield Campaign(id="oferta", name="Oferta", assets=ids[112:116], every_tracks=5)
    yield Campaign(id="aviso", name="Aviso", assets=ids[116:], at=["12:00", "01:30", "02:30"])


def _windows(chance: random.Random, since: datetime) -> dict[str, str]:
    drawn = {
        "valid_from": chance.random() < 0.2,
        "valid_until": chance.random() < 0.3,
        "licence_until": chance.random() < 0.2,
    }
    return {
        name: f"{since + chance.randrange(-2, 40) * DAY:%Y-%m-%d}T{chance.randrange(9, 21):02}:00"
        for name, wanted in drawn.items()
        if wanted
    }

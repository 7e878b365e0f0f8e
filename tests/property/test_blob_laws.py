"""The laws at the head of `kernel/blob.py`, held against random cuts, garbling, crashes and clocks."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from beira.blobs import FolderBlobs
from beira.kernel import limits
from beira.kernel.blob import (
    Ask,
    BlobRef,
    Bucket,
    Chunk,
    Done,
    Download,
    Prove,
    Step,
    Told,
    Upload,
    chunk_bytes,
    content_digest,
    proving,
    rate,
)
from beira.kernel.blob_ledger import Held, Ledger, Named
from beira.kernel.collection import Fetch
from beira.kernel.errors import Corrupt

CONTENT = bytes(range(251)) * 9
REF = BlobRef(sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))
NONCE = "00ff"


class Carrying(RuleBasedStateMachine):
    """A blob on its way to a place that may lose answers, forget what it has, or get something else.

    `shown` is what anybody could see under its name; `confirmed` whether the sender may let go.
    """

    def __init__(self) -> None:
        super().__init__()
        self.upload = Upload(REF)
        self.staged = b""
        self.shown: bytes | None = None
        self.held = False
        self.confirmed = False

    def step(self, most: int = 700) -> Step:
        return self.upload.next(most)

    def answer(self) -> Told:
        """What the cloud says when it is asked."""
        if self.shown is None:
            return Told(sha256=REF.sha256, state="missing", offset=len(self.staged))
        if self.held:
            return Told(sha256=REF.sha256, state="present")
        return Told(sha256=REF.sha256, state="prove", nonce=NONCE)

    def hear(self, heard: bool, told: Told) -> None:
        """The cloud's answer arrives, or is lost on its way."""
        if not heard:
            self.upload.lost()
            return
        self.upload.told(told)
        self.confirmed = isinstance(self.upload.next(1), Done)

    @precondition(lambda self: isinstance(self.step(), Ask))
    @rule(heard=st.booleans(), later=st.booleans())
    def ask(self, heard: bool, later: bool) -> None:
        told = Told(sha256=REF.sha256, state="later") if later else self.answer()
        self.hear(heard, told)

    @precondition(lambda self: isinstance(self.step(), Chunk))
    @rule(most=st.integers(1, 3_000), heard=st.booleans(), arrives=st.booleans())
    def send(self, most: int, heard: bool, arrives: bool) -> None:
        step = self.step(most)
        assert isinstance(step, Chunk) and step.size_bytes <= most
        if not arrives:
            self.upload.lost()
            return
        chunk = CONTENT[step.offset : step.offset + step.size_bytes]
        if step.offset == len(self.staged):
            self.staged += chunk
        if len(self.staged) == REF.size_bytes and self.shown is None:
            self.verify()
        self.hear(heard, self.answer())

    def verify(self) -> None:
        right = hashlib.sha256(self.staged).hexdigest() == REF.sha256
        self.shown, self.held = (self.staged, True) if right else (None, False)
        self.staged = b""

    @precondition(lambda self: isinstance(self.step(), Prove))
    @rule(heard=st.booleans())
    def prove(self, heard: bool) -> None:
        step = self.step()
        assert isinstance(step, Prove)
        shown = proving(step.nonce)
        shown.update(CONTENT)
        wanted = proving(NONCE)
        wanted.update(self.shown or b"")
        self.held = self.held or shown.digest() == wanted.digest()
        self.hear(heard, self.answer())

    @precondition(lambda self: self.staged and self.shown is None)
    @rule(keep=st.integers(0, 2_000))
    def power_cut(self, keep: int) -> None:
        """The cloud loses a tail it had not synced."""
        self.staged = self.staged[:keep]
        self.upload.lost()

    @precondition(lambda self: self.staged and self.shown is None)
    @rule(at=st.integers(0, 5_000))
    def rot(self, at: int) -> None:
        at %= len(self.staged)
        self.staged = self.staged[:at] + bytes([self.staged[at] ^ 1]) + self.staged[at + 1 :]

    @rule()
    def the_line_is_cut(self) -> None:
        self.upload.lost()
        assert isinstance(self.step(), Done) == self.confirmed, "what is done stays done"

    @precondition(lambda self: self.shown is None and not self.confirmed)
    @rule()
    def another_sends_it(self) -> None:
        self.shown, self.held = CONTENT, False

    @invariant()
    def law_1_what_is_shown_is_what_its_name_says(self) -> None:
        assert self.shown is None or self.shown == CONTENT

    @invariant()
    def law_2_it_is_confirmed_only_once_it_is_shown_and_ours(self) -> None:
        assert not self.confirmed or (self.shown == CONTENT and self.held)

    def teardown(self) -> None:
        """Once nothing is lost any more it arrives: nothing that happened has it stuck."""
        for _ in range(20):
            match self.step(3_000):
                case Ask():
                    self.hear(True, self.answer())
                case Prove(nonce):
                    digest = proving(nonce)
                    digest.update(CONTENT)
                    self.held = True
                    self.hear(True, self.answer())
                case Chunk(offset, size):
                    if offset != len(self.staged):
                        self.upload.lost()
                        continue
                    self.staged += CONTENT[offset : offset + size]
                    if len(self.staged) == REF.size_bytes and self.shown is None:
                        self.verify()
                    self.hear(True, self.answer())
                case Done():
                    break
        assert self.shown == CONTENT and self.confirmed


TestCarrying = Carrying.TestCase
TestCarrying.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("chunk"), st.integers(1, 1_500)),
            st.tuples(st.just("garbled"), st.integers(1, 1_500)),
            st.tuples(st.just("ended"), st.integers(0, 0)),
            st.tuples(st.just("torn"), st.integers(1, 500)),
            st.tuples(st.just("rot"), st.integers(0, 5_000)),
        ),
        max_size=14,
    )
)
async def test_laws_1_and_3_of_a_download_into_a_real_folder(moves: list[tuple[str, int]]) -> None:
    """Whatever program ends, chunk is torn or disk garbled: the exact bytes in the end, and at no
    moment anything else. What is durable is never fetched again unless the whole turned out wrong."""
    with tempfile.TemporaryDirectory() as place:
        folder = FolderBlobs(Path(place), reserve_bytes=0)
        download = Download(REF, 0)
        for kind, number in moves:
            path = Path(place) / "t" / "staged" / "n" / REF.sha256
            if kind in ("chunk", "garbled"):
                await fetch(folder, download, number, garbled=kind == "garbled")
            elif kind == "torn" and path.exists():
                path.write_bytes(path.read_bytes()[:-number])
            elif kind == "rot" and path.exists() and (there := bytearray(path.read_bytes())):
                there[number % len(there)] ^= 1
                path.write_bytes(there)
            if kind in ("ended", "torn", "rot"):
                folder = FolderBlobs(Path(place), reserve_bytes=0)
                download = Download(REF, await folder.staged("t", "n", REF.sha256))
            shown = await folder.size("t", REF.sha256)
            assert shown is None or await folder.read("t", REF.sha256, 0, 9_999) == CONTENT
        while not download.done:
            await fetch(folder, download, 1_500)
        assert await folder.read("t", REF.sha256, 0, 9_999) == CONTENT


async def fetch(
    folder: FolderBlobs, download: Download, most: int, *, garbled: bool = False
) -> None:
    step = download.next(most)
    if isinstance(step, Done):
        return
    assert isinstance(step, Chunk)
    assert step.offset + step.size_bytes <= REF.size_bytes
    data = CONTENT[step.offset : step.offset + step.size_bytes]
    came = bytes([data[0] ^ 1]) + data[1:] if garbled and data else data
    if content_digest(came) != content_digest(data):
        return  # refused: the same chunk is asked for again
    if data:
        download.kept(await folder.append("t", "n", REF.sha256, step.offset, data))
    if download.next(1) == Chunk(REF.size_bytes, 0):
        try:
            await folder.finish("t", "n", REF)
        except Corrupt:
            download.verified(False)
        else:
            download.verified(True)


@given(
    speed=st.floats(1_000, 1e8),
    asks=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 10_000_000)), max_size=60),
)
def test_law_4_the_budget_holds_over_any_span(speed: float, asks: list[tuple[float, int]]) -> None:
    bucket = Bucket(speed)
    now_s, taken = 0.0, []
    for waited_s, size in asks:
        now_s += waited_s
        size = min(size, bucket.burst_bytes)
        if bucket.take(size, now_s) == 0:
            taken.append((now_s, size))
    for first, (began_s, _) in enumerate(taken):
        for last in range(first, len(taken)):
            span_s = taken[last][0] - began_s
            total = sum(size for _, size in taken[first : last + 1])
            assert total <= bucket.burst_bytes + speed * span_s * 1.000001 + 1


@given(speed=st.floats(1_000, 1e8), size=st.integers(1, 10_000_000))
def test_law_4_whoever_waits_as_told_gets_it(speed: float, size: int) -> None:
    bucket = Bucket(speed)
    size = min(size, bucket.burst_bytes)
    now_s = 0.0
    for _ in range(3):
        while wait_s := bucket.take(size, now_s):
            assert 0 < wait_s <= size / speed + 0.002
            now_s += wait_s


@given(
    cap=st.none() | st.floats(1_000, 1e9),
    speed=st.none() | st.floats(1_000, 1e9),
    busy=st.booleans(),
)
def test_law_4_a_chunk_fits_its_budget_and_its_limits(
    cap: float | None, speed: float | None, busy: bool
) -> None:
    allowed = rate(cap, speed, busy=busy)
    bucket = Bucket(allowed)
    size = chunk_bytes(speed, bucket)
    assert limits.BLOB_CHUNK_LEAST_BYTES <= size <= limits.BLOB_CHUNK_BYTES
    assert size <= bucket.burst_bytes
    assert cap is None or (allowed is not None and allowed <= cap)
    assert not (busy and speed) or (allowed is not None and allowed <= speed / 2)


NAMES = [f"{n:064x}" for n in range(6)]
KEYS = [("tracks", "a"), ("tracks", "b"), ("sounds", "c")]


class Keeping(RuleBasedStateMachine):
    """A node's ledger against the plainest account of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(budget_bytes=1_000)
        self.named: dict[tuple[str, str], dict[str, Named]] = {}
        self.held: dict[str, Held] = {}
        self.confirmed: set[str] = set()
        self.asked: set[str] = set()
        self.wishes: dict[str, list[str]] = {}
        self.now_s = 1_000_000.0

    @rule(
        key=st.sampled_from(KEYS),
        names=st.dictionaries(
            st.sampled_from(NAMES),
            st.tuples(st.sampled_from(Fetch), st.integers(0, 2), st.integers(1, 9)),
            max_size=3,
        ),
    )
    def a_record_changes(
        self, key: tuple[str, str], names: dict[str, tuple[Fetch, int, int]]
    ) -> None:
        up = key[0] == "sounds"
        self.named[key] = {n: Named(how, lane, hlc, up) for n, (how, lane, hlc) in names.items()}
        self.ledger.refer(key, self.named[key])

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 400), made_here=st.booleans())
    def a_blob_comes(self, name: str, size: int, made_here: bool) -> None:
        if name not in self.held:
            self.held[name] = Held(size, self.now_s, outbox=made_here)
            self.ledger.holds(name, Held(size, self.now_s, outbox=made_here))
            self.asked.discard(name)

    @rule(name=st.sampled_from(NAMES))
    def a_blob_is_lost(self, name: str) -> None:
        self.held.pop(name, None)
        self.ledger.lost(name)

    @rule(name=st.sampled_from(NAMES))
    def the_cloud_confirms(self, name: str) -> None:
        self.confirmed.add(name)
        self.ledger.confirmed(name, self.now_s)
        if name in self.held:
            self.held[name].outbox = self.held[name].sent_up = False

    @rule()
    def it_is_another_cloud(self) -> None:
        self.confirmed.clear()
        self.ledger.doubt()

    @rule()
    def the_disk_is_told_what_goes_up(self) -> None:
        for name in self.ledger.to_mark():
            assert self.held[name].outbox and self.is_up(name)
            self.held[name].sent_up = True
            self.ledger.marked(name)

    @rule(name=st.sampled_from(NAMES))
    def an_app_asks(self, name: str) -> None:
        self.ledger.ask_for(name)
        if name not in self.held:
            self.asked.add(name)

    @rule(later_s=st.integers(1, 500_000))
    def time_goes_by(self, later_s: int) -> None:
        self.now_s += later_s

    @rule(app=st.sampled_from(["player", "voice"]), names=st.lists(st.sampled_from(NAMES)))
    def an_app_wishes(self, app: str, names: list[str]) -> None:
        self.ledger.wish(app, names)
        self.wishes[app] = names

    @rule(size=st.integers(0, 1_200), disk=st.integers(0, 2_000), name=st.sampled_from(NAMES))
    def room_is_wanted(self, size: int, disk: int, name: str) -> None:
        if name in self.held:
            return
        evicted = self.ledger.room_for(size, disk, self.now_s, name=name)
        may_go = {each for each in self.held if self.may_go(each) or self.gives_way(each, name)}
        freed = sum(self.held[each].size_bytes for each in evicted or ())
        used = sum(held.size_bytes for held in self.held.values())
        if evicted is None:
            freeable = sum(self.held[each].size_bytes for each in may_go)
            assert used - freeable + size > 1_000 or disk + freeable < size
            return
        assert set(evicted) <= may_go, "what is named, or the cloud lacks, stays"
        assert used - freed + size <= 1_000 or not size
        assert disk + freed >= size
        kept = may_go - set(evicted)
        assert all(self.goes_before(gone) <= self.goes_before(left)
                   for gone in evicted for left in kept), "the least wanted goes first"  # fmt: skip
        for each in evicted:
            self.a_blob_is_lost(each)

    def rank(self, name: str) -> int:
        """Its place among wishes; 99 if nobody wishes for it."""
        return min((w.index(name) for w in self.wished_in(name)), default=99)

    def wished_in(self, name: str) -> list[list[str]]:
        return [list(dict.fromkeys(w)) for w in self.wishes.values() if name in w]

    def gives_way(self, name: str, wanted: str) -> bool:
        """Whether what is lazily named may go, so that a wish has room."""
        held = self.held[name]
        lazy = all(named.fetch is Fetch.LAZY for named in self.names_of(name))
        there = held.outbox or held.sent_up
        return self.rank(wanted) < 99 and lazy and not there and self.rank(name) > self.rank(wanted)

    def goes_before(self, name: str) -> tuple[bool, int]:
        return (bool(self.names_of(name)), -self.rank(name) if self.names_of(name) else 0)

    @rule()
    def what_is_stale_goes(self) -> None:
        before_s = self.now_s - limits.BLOB_SPARED_S
        stale = {n for n, h in self.held.items() if h.used_s < before_s and self.may_go(n)}
        assert set(self.ledger.stale(self.now_s)) == stale
        for name in stale:
            self.a_blob_is_lost(name)

    def may_go(self, name: str) -> bool:
        held = self.held[name]
        spared = held.outbox and held.used_s >= self.now_s - limits.BLOB_SPARED_S
        return not (self.names_of(name) or held.sent_up or spared)

    def names_of(self, name: str) -> list[Named]:
        return [names[name] for names in self.named.values() if name in names]

    def is_up(self, name: str) -> bool:
        return any(named.up for named in self.names_of(name))

    @invariant()
    def what_is_wanted_is_what_is_named_and_not_here(self) -> None:
        wanted = {
            name
            for name in NAMES
            if name not in self.held
            and self.names_of(name)
            and (
                name in self.asked
                or self.rank(name) < 99
                or any(named.fetch is Fetch.EAGER for named in self.names_of(name))
            )
        }
        assert set(self.ledger.wanted) == wanted == set(self.ledger.wants)

    @invariant()
    def what_is_unsent_is_what_goes_up_and_is_not_confirmed(self) -> None:
        unsent = {
            name
            for name, held in self.held.items()
            if name not in self.confirmed and (self.is_up(name) or held.sent_up)
        }
        assert set(self.ledger.unsent) == unsent

    @invariant()
    def the_urgent_comes_first(self) -> None:
        lanes = [
            (name in self.asked, max(n.lane for n in self.names_of(name)), -self.rank(name))
            for name in self.ledger.wanted
        ]
        assert lanes == sorted(lanes, reverse=True)

    @invariant()
    def what_is_used_is_the_sum(self) -> None:
        assert self.ledger.used_bytes == sum(held.size_bytes for held in self.held.values())


TestKeeping = Keeping.TestCase
TestKeeping.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


@given(offset=st.integers(-10, 10_000))
def test_law_3_an_offset_that_cannot_be_is_not_believed(offset: int) -> None:
    upload = Upload(REF)
    upload.told(Told(sha256=REF.sha256, state="missing", offset=offset))
    step = upload.next(500)
    if 0 <= offset <= REF.size_bytes:
        assert isinstance(step, Chunk) and step.offset == offset
    else:
        assert isinstance(step, Ask)


def test_law_2_nothing_unsent_is_evicted_however_long_it_waits() -> None:
    """Not even once retention has forgotten the record that named it."""
    ledger = Ledger(budget_bytes=100)
    ledger.holds(NAMES[0], Held(60, used_s=0, outbox=True))
    ledger.refer(KEYS[2], {NAMES[0]: Named(Fetch.EAGER, 0, 1, up=True)})
    ledger.marked(NAMES[0])
    ledger.refer(KEYS[2], {})
    years_s = 1e9
    assert ledger.room_for(60, 1_000, years_s) is None
    assert ledger.unsent == [NAMES[0]]
    ledger.confirmed(NAMES[0], years_s)
    assert ledger.room_for(60, 1_000, years_s) == [NAMES[0]]

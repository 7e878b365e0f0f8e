"""Blobs: files named by their SHA-256. What to carry next, how much of it, and when it may be believed.

A record names blobs by fields marked `Blob`; nothing else keeps a blob alive. A node's `Ledger`
knows which are named, which it holds and which the cloud has confirmed, and decides what to fetch,
send and evict. `Upload` and `Download` are the two transfers as state machines, and `Bucket` keeps
both within their budget. No I/O here: tests/property/test_blob_laws.py cites the laws.

1. What is visible under a name has that SHA-256; until then it is not visible at all.
2. The cloud confirms a blob only once it is verified and durable; a node evicts nothing before.
3. A transfer that is cut goes on where the other side says, and never starts a byte further.
4. Blobs never take more of the link than their budget, nor the last of a disk.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from beira.kernel import limits
from beira.kernel.collection import (
    LOCAL,
    NORMAL,
    TENANT,
    Collection,
    Fetch,
    collection,
    collection_of,
)
from beira.kernel.errors import Corrupt, Invalid, TooLarge
from beira.kernel.record import Row, State, Value

CHUNK_TIME_S = 0.5
"""A chunk occupies the link for so long at most, so that what is more urgent soon gets its turn."""
BUSY_SHARE = 0.5
"""What blobs may take of the link as measured while records wait for it too."""
CHUNK_FIRST_BYTES = 262_144
SHA256_CHARS = 64
_HEX = frozenset("0123456789abcdef")

RecordKey: TypeAlias = tuple[str, str]
"""A record by its collection and id."""


class BlobRef(msgspec.Struct, frozen=True, kw_only=True):
    """A blob's name and size. What sort of file it is, is for the record that names it to say."""

    sha256: str
    size_bytes: int


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the cloud says of a blob to a node.

    present: it is verified and durable there, and this node has shown that it has it
    missing: send it, from `offset` on
    prove:   it is there; answer with `proving(nonce)` over the content rather than send it
    later:   it is just being collected; ask again
    """

    sha256: str
    state: Literal["present", "missing", "prove", "later"]
    offset: int = 0
    nonce: str = ""


@collection("blobs", flow=LOCAL, lane=NORMAL, partition=TENANT, read=(), write=())
class StoredBlob(State):
    """A blob in the cloud's storage; the id is its SHA-256. `condemned_at` is set while the collector
    takes it away, `touched_at` when a node was told that it is there."""

    size_bytes: int
    touched_at: datetime
    stored_at: datetime | None = None
    condemned_at: datetime | None = None


@collection("blob_holdings", flow=LOCAL, lane=NORMAL, partition=TENANT, read=(), write=())
class BlobHolding(State):
    """A node that has had the whole of a blob: it sent or proved it, or was given it for a record.
    Knowing a name is not enough to be given what it names."""

    sha256: str
    node: str
    at: datetime


def holding_id(sha256: str, node: str) -> str:
    """The id of a node's holding of a blob."""
    return hashlib.sha256(f"{sha256}\0{node}".encode()).hexdigest()


def checked_ref(ref: BlobRef) -> BlobRef:
    """`ref` if it can be a blob's. Raises Invalid `blob.name`, TooLarge `blob.too_large`."""
    if len(ref.sha256) != SHA256_CHARS or not _HEX.issuperset(ref.sha256):
        raise Invalid("A blob's name is its SHA-256 in lower-case hex.", code="blob.name")
    if ref.size_bytes < 0:
        raise Invalid("A blob's size cannot be negative.", code="blob.name")
    if ref.size_bytes > limits.BLOB_BYTES:
        raise TooLarge(
            f"A blob has {limits.BLOB_BYTES} bytes at most.",
            code="blob.too_large",
            hint="Cut it in several, and name them by a list.",
        )
    return ref


def names_in(declared: Collection, fields: Mapping[str, Value]) -> dict[str, Fetch]:
    """The blobs that a record's fields name, and how each is fetched (eagerly, if any field says so)."""
    found: dict[str, Fetch] = {}
    for item in declared.fields.values():
        if item.blob is None:
            continue
        value = fields.get(item.name)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name and found.get(name) is not Fetch.EAGER:
                found[name] = item.blob.fetch
    return found


def named_by(declared: Collection, row: Row) -> dict[str, tuple[Fetch, str]]:
    """The blobs a stored row names, each with its way of fetching and the node whose write named it."""
    found: dict[str, tuple[Fetch, str]] = {}
    if row.deleted:
        return found
    for item in declared.fields.values():
        if item.blob is not None and item.name in row.fields:
            one = names_in(declared, {item.name: row.fields[item.name]})
            for name, fetch in one.items():
                found[name] = (fetch, row.stamp_of(item.name).node)
    return found


def has_blobs(declared: Collection) -> bool:
    return any(item.blob is not None for item in declared.fields.values())


def content_digest(data: bytes) -> str:
    """The `Content-Digest` of a message's bytes (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def repr_digest(sha256: str) -> str:
    """The `Repr-Digest` of a whole blob (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def check_digest(data: bytes, digest: str) -> None:
    """Raise Corrupt `blob.digest` unless `data` is what `digest` was made of."""
    if digest != content_digest(data):
        raise Corrupt(
            "A chunk came other than it was sent.",
            code="blob.digest",
            hint="Send it again, with Content-Digest: sha-256=:<base64>: over its bytes.",
        )


def proving(nonce: str) -> hashlib._Hash:
    """A hash begun with `nonce`: over the whole content its hex digest shows that one has it."""
    return hashlib.sha256(bytes.fromhex(nonce))


class Bucket:
    """A token bucket: in any `t` seconds at most `rate * t` bytes and one burst go out.

    `rate_bytes_per_s` None is no limit.
    """

    def __init__(self, rate_bytes_per_s: float | None = None) -> None:
        self._rate = rate_bytes_per_s
        self._tokens = float(self.burst_bytes)
        self._at_s: float | None = None

    @property
    def burst_bytes(self) -> int:
        """The most that may be taken at once."""
        if self._rate is None:
            return limits.BLOB_CHUNK_BYTES
        return max(limits.BLOB_CHUNK_LEAST_BYTES, int(self._rate * CHUNK_TIME_S))

    def set_rate(self, rate_bytes_per_s: float | None, now_s: float) -> None:
        """From now on another rate; what was saved up stays within the smaller burst."""
        self._fill(now_s)
        self._rate = rate_bytes_per_s
        self._tokens = min(self._tokens, self.burst_bytes)

    def take(self, size_bytes: int, now_s: float) -> float:
        """Take `size_bytes` (at most one burst) and return 0, or take none and return how many
        seconds to wait."""
        if self._rate is None:
            return 0.0
        self._fill(now_s)
        wanted = min(size_bytes, self.burst_bytes)
        if self._tokens >= wanted:
            self._tokens -= wanted
            return 0.0
        return max((wanted - self._tokens) / self._rate, 0.001)

    def give_back(self, size_bytes: int) -> None:
        """What was taken and turned out not to be needed."""
        self._tokens = min(float(self.burst_bytes), self._tokens + size_bytes)

    def _fill(self, now_s: float) -> None:
        if self._at_s is not None and self._rate is not None:
            gained = max(0.0, now_s - self._at_s) * self._rate
            self._tokens = min(float(self.burst_bytes), self._tokens + gained)
        self._at_s = now_s if self._at_s is None else max(self._at_s, now_s)


def rate(cap: float | None, measured: float | None, *, busy: bool) -> float | None:
    """The bytes a second blobs may take: the operator's `cap`, and half of what the link was
    `measured` to carry while records wait for it (`busy`)."""
    share = measured * BUSY_SHARE if busy and measured else None
    given = [each for each in (cap, share) if each]
    return min(given) if given else None


def chunk_bytes(measured: float | None, bucket: Bucket) -> int:
    """How large a chunk may be, on a link measured at so many bytes a second (None: not yet)."""
    wanted = CHUNK_FIRST_BYTES if measured is None else int(measured * CHUNK_TIME_S)
    most = min(limits.BLOB_CHUNK_BYTES, bucket.burst_bytes)
    return max(limits.BLOB_CHUNK_LEAST_BYTES, min(most, wanted))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Carry `size_bytes` from `offset` on; no bytes: ask that the whole be verified."""

    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the cloud what it has of it."""


@dataclass(frozen=True, slots=True)
class Prove:
    """Show that one has the content, by `proving(nonce)`."""

    nonce: str


@dataclass(frozen=True, slots=True)
class Done:
    """Verified and durable at the other side."""


Step: TypeAlias = Ask | Prove | Chunk | Done


class Upload:
    """A blob on its way to the cloud. It believes what the cloud says, and nothing else."""

    def __init__(self, ref: BlobRef) -> None:
        self.ref = ref
        self._step: Step = Ask()

    def next(self, most_bytes: int) -> Step:
        """What to do now; the same until something was told or lost."""
        if isinstance(self._step, Chunk):
            left = self.ref.size_bytes - self._step.offset
            return Chunk(self._step.offset, min(most_bytes, left))
        return self._step

    def told(self, told: Told) -> None:
        """The cloud answered an ask, a proof or a chunk."""
        if told.state == "present":
            self._step = Done()
        elif told.state == "prove":
            self._step = Prove(told.nonce)
        elif told.state == "missing" and 0 <= told.offset <= self.ref.size_bytes:
            self._step = Chunk(told.offset, 0)
        else:
            self._step = Ask()

    def lost(self) -> None:
        """An answer did not come, or was an error: only the cloud knows how far it is."""
        if not isinstance(self._step, Done):
            self._step = Ask()


class Download:
    """A blob on its way to a node. `offset` is what is durable here; nobody sees it before `done`."""

    def __init__(self, ref: BlobRef, offset: int) -> None:
        self.ref = ref
        self.offset = offset if 0 <= offset <= ref.size_bytes else 0
        self.done = False

    def next(self, most_bytes: int) -> Step:
        """The range to get, a chunk of no bytes when all is here and must be verified, or Done."""
        if self.done:
            return Done()
        return Chunk(self.offset, min(most_bytes, self.ref.size_bytes - self.offset))

    def kept(self, offset: int) -> None:
        """A chunk is durable; so much is here now."""
        self.offset = offset

    def verified(self, right: bool) -> None:
        """The whole was hashed. What is not what it must be was thrown away: it begins anew."""
        self.done = right
        if not right:
            self.offset = 0


@dataclass(frozen=True, slots=True)
class Named:
    """How a record names a blob. `up`: the record goes to the cloud, so its blobs do too."""

    fetch: Fetch
    lane: int
    hlc: int
    up: bool


@dataclass(slots=True)
class Held:
    """A blob on this node's disk. `outbox`: it was made here and the cloud has not confirmed it;
    `sent_up`: a record that goes up has named it, so that it is sent even if that record is gone."""

    size_bytes: int
    used_s: float
    outbox: bool = False
    sent_up: bool = False


@dataclass
class Ledger:
    """All that a node knows of its blobs, and what follows from it. Times are seconds since 1970."""

    budget_bytes: int = limits.BLOB_NODE_BYTES
    held: dict[str, Held] = field(default_factory=dict)
    used_bytes: int = 0
    _names: dict[RecordKey, dict[str, Named]] = field(default_factory=dict)
    _named: dict[str, dict[RecordKey, Named]] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _confirmed_s: dict[str, float] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)
    _unsent: set[str] = field(default_factory=set)
    _to_mark: set[str] = field(default_factory=set)
    _orders: dict[str, list[str]] = field(default_factory=dict)

    def refer(self, key: RecordKey, names: Mapping[str, Named]) -> None:
        """A record names these blobs from now on (none: it is gone)."""
        before = self._names.pop(key, {})
        if names:
            self._names[key] = dict(names)
        for name in before:
            self._named[name].pop(key, None)
            if not self._named[name]:
                del self._named[name]
        for name, named in names.items():
            self._named.setdefault(name, {})[key] = named
        for name in {*before, *names}:
            self._look_at(name)

    def holds(self, name: str, held: Held) -> None:
        """A verified blob is on the disk."""
        self.lost(name)
        self.held[name] = held
        self.used_bytes += held.size_bytes
        self._asked.discard(name)
        self._look_at(name)

    def lost(self, name: str) -> None:
        """A blob is no longer on the disk."""
        gone = self.held.pop(name, None)
        if gone is not None:
            self.used_bytes -= gone.size_bytes
            self._look_at(name)

    def used(self, name: str, now_s: float) -> None:
        if name in self.held:
            self.held[name].used_s = now_s

    def ask_for(self, name: str) -> None:
        """An app wants it, and now."""
        if name not in self.held:
            self._asked.add(name)
            self._look_at(name)

    def confirmed(self, name: str, now_s: float) -> None:
        """The cloud has it, verified and durable."""
        self._confirmed_s[name] = now_s
        if name in self.held:
            self.held[name].outbox = self.held[name].sent_up = False
        self._look_at(name)

    def doubt(self, before_s: float | None = None) -> None:
        """Ask again about what was confirmed before then (None: about all, for it is another cloud)."""
        for name, at_s in list(self._confirmed_s.items()):
            if before_s is None or at_s < before_s:
                del self._confirmed_s[name]
                self._look_at(name)

    def to_mark(self) -> list[str]:
        """Blobs made here which a record that goes up names, and of which the disk must say so."""
        return sorted(self._to_mark)

    def marked(self, name: str) -> None:
        """The disk says so now: it is sent even if the record is forgotten first."""
        if name in self.held and self.held[name].outbox:
            self.held[name].sent_up = True
        self._look_at(name)

    def goes_up(self, name: str) -> bool:
        """Whether a record that goes to the cloud names it, or one did before it was confirmed."""
        there = self.held.get(name)
        return (there is not None and there.sent_up) or any(
            named.up for named in self._named.get(name, {}).values()
        )

    def keys_of(self, name: str) -> list[RecordKey]:
        """The records that name it: the cloud gives a blob for a record, never for its name alone.
        Those that the cloud sent come first."""
        keys = self._named.get(name, {})
        return sorted(keys, key=lambda key: (keys[key].up, key))

    @property
    def keys(self) -> set[RecordKey]:
        """The records that name any blob."""
        return set(self._names)

    @property
    def wants(self) -> Set[str]:
        """What is to be fetched, in no order."""
        return self._wanted

    @property
    def wanted(self) -> list[str]:
        """What to fetch, the most urgent first: what an app waits for, then by lane, then by age."""
        return self._ordered("wanted", self._wanted)

    @property
    def unsent(self) -> list[str]:
        """What the cloud must still get or confirm, the most urgent first."""
        return self._ordered("unsent", self._unsent)

    def room_for(
        self, size_bytes: int, disk_bytes: int, now_s: float, *, staged_bytes: int = 0
    ) -> list[str] | None:
        """What to evict so that `size_bytes` more fit into the budget, beside `staged_bytes` of others
        on their way, and into `disk_bytes` of disk; None if it cannot be. What a record names is
        never evicted, nor what the cloud lacks."""
        over = self.used_bytes + staged_bytes + size_bytes - self.budget_bytes
        short = max(over, size_bytes - disk_bytes)
        evicted: list[str] = []
        if short <= 0:
            return evicted
        for name in sorted(self.held, key=lambda each: self.held[each].used_s):
            if short <= 0:
                break
            if self._may_go(name, now_s):
                evicted.append(name)
                short -= self.held[name].size_bytes
        return evicted if short <= 0 else None

    def _may_go(self, name: str, now_s: float) -> bool:
        there = self.held[name]
        if name in self._named or there.sent_up:
            return False
        return not there.outbox or there.used_s < now_s - limits.BLOB_SPARED_S

    def _look_at(self, name: str) -> None:
        """Put a blob among the wanted or the unsent, or take it out."""
        self._orders.clear()
        here, named = name in self.held, self._named.get(name, {})
        eager = any(each.fetch is Fetch.EAGER for each in named.values())
        _put(self._wanted, name, not here and bool(named) and (eager or name in self._asked))
        up = any(each.up for each in named.values())
        unmarked = here and self.held[name].outbox and not self.held[name].sent_up
        _put(self._to_mark, name, up and unmarked)
        unconfirmed = name not in self._confirmed_s
        _put(self._unsent, name, here and unconfirmed and self.goes_up(name))

    def _ordered(self, what: str, names: set[str]) -> list[str]:
        """`names` by urgency, sorted again only once something has changed."""
        if what not in self._orders:
            self._orders[what] = sorted(names, key=self._urgency)
        return self._orders[what]

    def _urgency(self, name: str) -> tuple[bool, int, int, str]:
        named = self._named.get(name, {}).values()
        lane = max((each.lane for each in named), default=0)
        hlc = min((each.hlc for each in named), default=0)
        return (name not in self._asked, -lane, hlc, name)


def _put(names: set[str], name: str, wanted: bool) -> None:
    (names.add if wanted else names.discard)(name)


BLOB_COLLECTIONS = (collection_of(StoredBlob), collection_of(BlobHolding))

"""Blobs: files named by their SHA-256. What to carry next, how much of it, and when it may be believed.

A record names blobs by fields marked `Blob`; nothing else keeps a blob alive. `Upload` and `Download`
are the two transfers as state machines, and `Bucket` keeps both within their budget; a node's ledger
(`kernel.blob_ledger`) decides which is next. No I/O here; tests/property/test_blob_laws.py cites
the laws.

1. What is visible under a name has that SHA-256; until then it is not visible at all.
2. The cloud confirms a blob only once it is verified and durable; a node evicts nothing before.
3. A transfer that is cut goes on where the other side says, and never starts a byte further.
4. Blobs never take more of the link than their budget, nor the last of a disk.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
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


BLOB_COLLECTIONS = (collection_of(StoredBlob), collection_of(BlobHolding))

"""A shop's manifest: all that its player must know, as entries under keys, signed as a whole.

Cloud and node each lay the entries out in 256 buckets by their key's hash. The root is a hash over the
buckets, so equal roots mean equal manifests. A node says its root; if it is another, it says four
bytes of each bucket, and gets the entries of the buckets that differ: no history is kept, any replica
can answer, and a node that holds anything at all gets only what it lacks. Pure.

1. A manifest is believed only if its head is signed by the tenant's cloud for this node, and its
   entries come to the head's root.
2. A manifest's version never goes back at a node.
3. A manifest that has got old goes on being played: age blocks nothing but older ones.
4. Whatever a node holds, it comes to the cloud's manifest by three questions at most, and gets only
   the buckets that differ unless two marks are alike by chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import ClassVar

import msgspec

from beira.apps.player.records import AssetKind, LocalTime, OfDay, Order, Use, Weekday
from beira.sdk import Corrupt

BUCKETS = 256
MARK_BYTES = 4
"""Of a bucket's hash, in a question. Two that are alike by chance are found out by the root."""


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str


class AssetEntry(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="asset"):
    """Something to play: its file by SHA-256, and its windows by the shop's own clock."""

    file: str
    size_bytes: int
    title: str
    duration_ms: int
    kind: AssetKind = "music"
    artist: str = ""
    valid_from: LocalTime | None = None
    valid_until: LocalTime | None = None
    licence_until: LocalTime | None = None


class PlaylistEntry(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="playlist"):
    """As the record of the same name."""

    name: str
    assets: tuple[str, ...]
    order: Order = "ordered"
    no_repeat: int = 50
    artist_gap: int = 2


class SlotEntry(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="slot"):
    """As the record, at this shop. `nearness` ranks its place: 0 tenant, 1 group, 2 site, 3 node."""

    playlist: str
    nearness: int = 0
    use: Use = "music"
    days: tuple[Weekday, ...] = ()
    begins: OfDay = "00:00"
    ends: OfDay = "00:00"
    first: date | None = None
    last: date | None = None


class CampaignEntry(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="campaign"):
    """As the record, at this shop."""

    name: str
    assets: tuple[str, ...]
    every_tracks: int = 0
    at: tuple[OfDay, ...] = ()
    days: tuple[Weekday, ...] = ()
    begins: OfDay = "00:00"
    ends: OfDay = "00:00"
    first: date | None = None
    last: date | None = None


class ShopEntry(_Entry, frozen=True, kw_only=True, omit_defaults=True, tag="shop"):
    """What is of the shop as a whole. `media` is where its files are (an address before `/media/`;
    empty: the cloud itself), `media_key` proves a file's address (hex)."""

    zone: str
    media: str = ""
    media_key: str = ""


Entry = AssetEntry | PlaylistEntry | SlotEntry | CampaignEntry | ShopEntry
_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def key_of(entry: Entry) -> str:
    """Its name in the manifest: kind and id."""
    return f"{entry.__struct_config__.tag}:{entry.id}"


def body_of(entry: Entry) -> bytes:
    """Its bytes, the same on every machine: they are hashed."""
    return _ENCODER.encode(entry)


def entry_of(body: bytes) -> Entry:
    """The entry of these bytes. Raises Corrupt `player.entry`."""
    try:
        return _DECODER.decode(body)
    except msgspec.MsgspecError as error:
        raise Corrupt(
            f"An entry of a manifest is not understood: {error}.", code="player.entry"
        ) from None


def bucket_of(key: str) -> int:
    return hashlib.sha256(key.encode()).digest()[0]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: whose manifest this is, its version, and what its entries come to."""

    tenant: str
    node: str
    version: int
    root: str
    issued_at: datetime


class SignedHead(msgspec.Struct, frozen=True, kw_only=True):
    """A head's bytes as JSON, and the Ed25519 signature over them by the key named `key_id`."""

    head: bytes
    signature: bytes
    key_id: str


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node asks: the root and version it holds; with `marks` (four bytes a bucket, in order)
    once it knows that there is another."""

    root: str = ""
    version: int = 0
    marks: bytes = b""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the cloud answers. Equal: neither `signed` nor buckets. Otherwise the head, and if marks
    were given for each bucket that differs the bodies of all entries in it (none: it is empty now)."""

    signed: SignedHead | None = None
    buckets: dict[int, list[bytes]] = {}


@dataclass(frozen=True)
class Manifest:
    """Entries' bodies by key, laid out in buckets. Immutable: `replaced` makes another."""

    buckets: tuple[Mapping[str, bytes], ...] = field(default=({},) * BUCKETS)
    hashes: tuple[bytes, ...] = field(default=())
    EMPTY_HASH: ClassVar[bytes] = hashlib.sha256(b"").digest()

    def __post_init__(self) -> None:
        if not self.hashes:
            object.__setattr__(self, "hashes", tuple(_hash(b) for b in self.buckets))

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        buckets: list[dict[str, bytes]] = [{} for _ in range(BUCKETS)]
        for entry in entries:
            key = key_of(entry)
            buckets[bucket_of(key)][key] = body_of(entry)
        return cls(tuple(buckets))

    @classmethod
    def of_bodies(cls, bodies: Iterable[tuple[int, str, bytes]]) -> Manifest:
        """Of entries that are encoded already: (bucket, key, body) of each."""
        buckets: list[dict[str, bytes]] = [{} for _ in range(BUCKETS)]
        for bucket, key, body in bodies:
            buckets[bucket][key] = body
        return cls(tuple(buckets))

    def with_entries(self, entries: Iterable[Entry]) -> Manifest:
        """With these besides (or in place of those of the same key); the rest is shared."""
        made, hashes = list(self.buckets), list(self.hashes)
        touched: dict[int, dict[str, bytes]] = {}
        for entry in entries:
            key = key_of(entry)
            index = bucket_of(key)
            bucket = touched.setdefault(index, dict(made[index]))
            bucket[key] = body_of(entry)
        for index, bucket in touched.items():
            made[index], hashes[index] = bucket, _hash(bucket)
        return Manifest(tuple(made), tuple(hashes))

    @cached_property
    def root(self) -> str:
        return hashlib.sha256(b"".join(self.hashes)).hexdigest()

    @cached_property
    def marks(self) -> bytes:
        return b"".join(one[:MARK_BYTES] for one in self.hashes)

    @property
    def bodies(self) -> dict[str, bytes]:
        return {key: body for bucket in self.buckets for key, body in bucket.items()}

    @property
    def entries(self) -> list[Entry]:
        return [entry_of(body) for body in self.bodies.values()]

    def lacking(self, marks: bytes) -> dict[int, list[bytes]]:
        """The buckets that differ from those of `marks`, whole; all that hold anything, for marks of
        another length."""
        if len(marks) != BUCKETS * MARK_BYTES:
            return {i: list(b.values()) for i, b in enumerate(self.buckets) if b}
        return {
            i: list(bucket.values())
            for i, bucket in enumerate(self.buckets)
            if self.hashes[i][:MARK_BYTES] != marks[i * MARK_BYTES : (i + 1) * MARK_BYTES]
        }

    def replaced(self, buckets: Mapping[int, Iterable[bytes]]) -> Manifest:
        """With these buckets in place of its own. Raises Corrupt for an entry that is not understood
        or lies in a bucket that is not its own."""
        made = list(self.buckets)
        hashes = list(self.hashes)
        for index, bodies in buckets.items():
            bucket = {key_of(entry_of(body)): body for body in bodies}
            if not 0 <= index < BUCKETS or any(bucket_of(key) != index for key in bucket):
                raise Corrupt("An entry lies in another bucket than its own.", code="player.entry")
            made[index], hashes[index] = bucket, _hash(bucket)
        return Manifest(tuple(made), tuple(hashes))


def _hash(bucket: Mapping[str, bytes]) -> bytes:
    if not bucket:
        return Manifest.EMPTY_HASH
    made = hashlib.sha256()
    for key in sorted(bucket):
        made.update(hashlib.sha256(key.encode()).digest())
        made.update(hashlib.sha256(bucket[key]).digest())
    return made.digest()


def answered(manifest: Manifest, signed: SignedHead, question: Question) -> Answer:
    """What the cloud says to it, holding this for the node."""
    if question.root == manifest.root:
        return Answer()
    return Answer(signed=signed, buckets=manifest.lacking(question.marks) if question.marks else {})

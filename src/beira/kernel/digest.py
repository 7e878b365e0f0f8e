"""Digests: whether two replicas of a partition hold equal rows, said in a few numbers.

A row's digest is a number made from its id, values and stamps; the digest of a set is their sum, so
it needs no order and a set may be cut anywhere. Rows fall into buckets by their id: where two sums
differ, the buckets say where to look. Deleted rows count for nothing, since one replica may have
collected a tombstone that the other still has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import TypeAlias
from zlib import crc32

import msgspec

from beira.kernel import limits
from beira.kernel.collection import Collection, Flow
from beira.kernel.record import Row

Sums: TypeAlias = list[tuple[int, int]]
"""(rows, sum of their digests) of a whole set, or of each of its buckets."""

_MODULUS = 1 << 53
"""JSON's numbers are exact below it."""


def row_digest(row: Row) -> int:
    """A number below 2**53 that equal rows share: the first 53 bits (big-endian) of the BLAKE2b
    hash, 8 bytes long, of the JSON text `[id, {field: value}, {field: [hlc, lane, node]}]`, keys
    in order, without spaces."""
    stamps = {name: row.stamp_of(name) for name in row.fields}
    text = msgspec.json.encode([row.id, row.fields, stamps], order="deterministic")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11


def bucket_of(id: str) -> int:
    """Which bucket an id falls into: the CRC-32 of its UTF-8 text, modulo their number."""
    return crc32(id.encode()) % limits.DIGEST_BUCKETS


class Digest:
    """Adds up rows, into one sum or a sum for each bucket."""

    def __init__(self, *, buckets: bool) -> None:
        self._buckets = buckets
        size = limits.DIGEST_BUCKETS if buckets else 1
        self._counts = [0] * size
        self._totals = [0] * size

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if not row.deleted:
                at = bucket_of(row.id) if self._buckets else 0
                self._counts[at] += 1
                self._totals[at] = (self._totals[at] + row_digest(row)) % _MODULUS

    @property
    def sums(self) -> Sums:
        return list(zip(self._counts, self._totals, strict=True))


def differing(one: Sums, other: Sums) -> list[int]:
    """Where two lists of sums differ; everywhere, if they are not of one length."""
    if len(one) != len(other):
        return list(range(max(len(one), len(other))))
    return [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if tuple(a) != tuple(b)]


def counts(collection: Collection, row: Row, node: str) -> bool:
    """Whether a row is compared between `node` and the cloud: of what only goes up, a node holds
    just its own."""
    return collection.flow is not Flow.UP or row.stamp.node == node


class Verdict(Enum):
    """What a node does with a row once it knows what the cloud has of it."""

    KEEP = "keep"
    SEND = "send"
    """Its own writes are missing there: send them again."""
    ADOPT = "adopt"
    """The cloud has lost what others wrote: write it again, under the node's own name."""
    REPLACE = "replace"
    """The cloud is the source: take what it has, or remove the row if it has none."""
    REMOVE = "remove"
    """It was deleted, and the cloud has forgotten even that."""


def lacking(mine: Row, theirs: Row | None) -> frozenset[str]:
    """The fields of `mine` that the cloud does not have as they are here."""
    known = {} if theirs is None else {name: theirs.stamp_of(name) for name in theirs.fields}
    return frozenset(name for name in mine.fields if known.get(name) != mine.stamp_of(name))


def verdict(
    collection: Collection,
    mine: Row,
    theirs: Row | None,
    *,
    node: str,
    horizon_hlc: int,
    settled_hlc: int,
) -> Verdict:
    """What to do with `mine`, after what the cloud has (`theirs`) was merged into it.

    A row last written at or before `horizon_hlc` that the cloud does not have was deleted there. Of
    what was written after `settled_hlc` only the node's own is judged: the rest may have been on its
    way while the two were compared, and is looked at next time.
    """
    missing = lacking(mine, theirs)
    if theirs is None and collection.goes_down and mine.stamp.hlc <= horizon_hlc:
        return Verdict.REMOVE
    if not missing or (theirs is None and mine.deleted and collection.goes_up):
        return Verdict.KEEP
    if collection.goes_up and any(mine.stamp_of(name).node == node for name in missing):
        return Verdict.SEND
    if collection.is_fact or mine.stamp.hlc > settled_hlc:
        return Verdict.KEEP
    if not collection.goes_up:
        return Verdict.REPLACE
    return Verdict.ADOPT if collection.goes_down else Verdict.KEEP

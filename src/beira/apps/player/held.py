"""The manifest a node holds: in memory, and on its disk as rows that change with it.

What is signed and newer is taken over at once; what of it is new is written in one transaction with its
head. A disk that cannot be written keeps nobody from playing by it: it is written later.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import structlog

from beira.apps.player.manifest import (
    AssetEntry,
    Head,
    Manifest,
    SignedHead,
    bucket_of,
    entry_of,
    key_of,
)
from beira.apps.player.records import HeldEntry
from beira.sdk import BeiraError, Corrupt, Host, Order, Query, where

log = structlog.get_logger(__name__)
HEAD_MARK = "player.head"
PAGE = 1_000
ENTRIES_MOST = 200_000
ID_CHARS = 64


@dataclass
class Held:
    """What a node holds of its manifest. `head` is None while it has none."""

    host: Host
    manifest: Manifest = field(default_factory=Manifest)
    head: Head | None = None
    _written: Manifest = field(default_factory=Manifest)
    _signed: SignedHead | None = None

    @property
    def unwritten(self) -> bool:
        """Whether the disk has another than is played by."""
        return self._written.root != self.manifest.root

    async def load(self) -> None:
        """What the disk has. Entries that do not come to their head's root (they were damaged, or
        the database is older than the mark) are used, as far as they go, until the cloud is heard;
        what is not understood is left out."""
        marks = await self.host.store.marks(HEAD_MARK)
        bodies = await self._bodies()
        self.manifest = self._written = _laid_out(bodies)
        text = marks.get(HEAD_MARK)
        if text:
            try:
                self._signed = msgspec.json.decode(base64.b64decode(str(text)), type=SignedHead)
                self.head = msgspec.json.decode(self._signed.head, type=Head)
            except (ValueError, msgspec.MsgspecError):
                log.warning("player.head_damaged")

    async def _bodies(self) -> list[bytes]:
        found: list[bytes] = []
        after = ""
        while len(found) < ENTRIES_MOST:
            asked = Query(
                collection="player_entries", where=where(id__gt=after), order=(Order("id"),),
                limit=PAGE,
            )  # fmt: skip
            rows = (await self.host.store.query(asked)).rows
            found += [str(row["body"]).encode() for row in rows]
            if len(rows) < PAGE:
                break
            after = str(rows[-1]["id"])
        return found

    def take(self, head: Head, signed: SignedHead, manifest: Manifest) -> None:
        """Go by another manifest, that was verified, from now on."""
        self.head, self._signed, self.manifest = head, signed, manifest

    async def write(self) -> None:
        """Have the disk hold it: what changed, and its head, or nothing. Raises Full, Unavailable."""
        assert self._signed is not None
        now, before = self.manifest.bodies, self._written.bodies
        mark = base64.b64encode(msgspec.json.encode(self._signed)).decode()
        changed = {key: body for key, body in now.items() if before.get(key) != body}
        gone = before.keys() - now.keys()
        async with self.host.writing(
            marks={HEAD_MARK: mark}, most_writes=len(changed) + len(gone)
        ) as ctx:
            for key, body in changed.items():
                ctx.put(HeldEntry(id=row_id(key), body=body.decode(), file=_file_of(body)))
            for key in gone:
                ctx.delete(HeldEntry, row_id(key))
        self._written = self.manifest


def row_id(key: str) -> str:
    """The id of an entry's row: its key, or a hash of one that is too long."""
    return key if len(key) <= ID_CHARS else hashlib.sha256(key.encode()).hexdigest()


def _file_of(body: bytes) -> str:
    entry = entry_of(body)
    return entry.file if isinstance(entry, AssetEntry) else ""


def _laid_out(bodies: list[bytes]) -> Manifest:
    buckets: dict[int, list[bytes]] = {}
    for body in bodies:
        try:
            buckets.setdefault(bucket_of(key_of(entry_of(body))), []).append(body)
        except BeiraError as error:
            log.warning("player.entry_left_out", why=error.message)
    return Manifest().replaced(buckets)


def taken(held: Manifest, head: Head, buckets: Mapping[int, list[bytes]]) -> Manifest | None:
    """What the held manifest and an answer's buckets come to; None if that is not the head's root."""
    made = held.replaced(buckets) if buckets else held
    return made if made.root == head.root else None


def check(head: Head, held: Head | None, tenant: str, node: str) -> None:
    """Raise Corrupt unless this head is this node's, and not older than the one it holds."""
    if (head.tenant, head.node) != (tenant, node):
        raise Corrupt("A manifest of another node came.", code="player.other_node")
    if held is not None and (head.version, head.issued_at) < (held.version, held.issued_at):
        raise Corrupt(
            f"The manifest {head.version} is older than {held.version}, which is held.",
            code="player.older",
            hint="Was the cloud restored from a backup? Its next change is newer, and is taken.",
        )

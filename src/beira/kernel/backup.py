"""Backups that nodes keep in the cloud: the records that keep their chunks from being collected, and
the three questions a node asks about them. The cloud never has the key: it knows names and sizes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.collection import LOCAL, NORMAL, TENANT, Blob, Fetch, collection, collection_of
from beira.kernel.record import State

NAMES_PER_RECORD = limits.BACKUP_NAMES_PER_RECORD
SHA256_BYTES = 32


@collection("backups", flow=LOCAL, lane=NORMAL, partition=TENANT, read=(), write=())
class KeptBackup(State):
    """A complete backup of a node. `names` is a blob too: the SHA-256 of each chunk, one after the
    other, 32 bytes each. `parts` says how many `KeptChunks` name them."""

    node: str
    taken_at: datetime
    manifest: Annotated[str, Blob(Fetch.LAZY)]
    manifest_bytes: int
    names: Annotated[str, Blob(Fetch.LAZY)]
    parts: int
    size_bytes: int


@collection("backup_chunks", flow=LOCAL, lane=NORMAL, partition=TENANT, read=(), write=())
class KeptChunks(State):
    """Some of a backup's chunks; the id is `<backup's id>.<number>`."""

    backup: str
    chunks: Annotated[list[str], Blob(Fetch.LAZY)] = []


class KeepBackup(msgspec.Struct, frozen=True, kw_only=True):
    """A node asks that what it has sent be kept as one backup."""

    taken_ms: int
    manifest: BlobRef
    names: BlobRef


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: the chunks that must be sent first. None: the backup is kept."""

    lacking: list[str] = []


class BackupHere(msgspec.Struct, frozen=True, kw_only=True):
    """A backup the cloud has of the node that asks."""

    taken_ms: int
    manifest: BlobRef


class BackupsHere(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, the newest first."""

    backups: list[BackupHere]


class CheckChunks(msgspec.Struct, frozen=True, kw_only=True):
    """A node asks that some of its chunks be read through, `BACKUP_CHECKED_CHUNKS` at most."""

    chunks: list[BlobRef]


class Damaged(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: those that are not what they are called. The cloud has let go of them, so that they
    can be sent anew."""

    damaged: list[str] = []


BACKUP_COLLECTIONS = (collection_of(KeptBackup), collection_of(KeptChunks))

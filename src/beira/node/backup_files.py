"""What a node keeps about its own backups, in the folder `backup` beside its database: the recovery
key, how the last backups went, where they go, and a lock, since one runs at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from beira.identity.private_files import PrivateFiles
from beira.kernel import limits
from beira.kernel.errors import Conflict, Misconfigured

BACKUP_FOLDER = "backup"
KEY_FILE, STATUS_FILE, PLAN_FILE, LOCK_FILE = "recovery.key", "status.json", "plan.json", "lock"


class PlaceStatus(msgspec.Struct, kw_only=True):
    """How backups to one place go; times in ms since 1970, 0 for never.

    `taken_ms` is of the latest complete backup, `read_back_ms` when some of it was last read back,
    `checked_ms` when all of it was: of a folder by the node, and its database opened and checked;
    of the cloud by the cloud, chunk for chunk.
    """

    taken_ms: int = 0
    tried_ms: int = 0
    read_back_ms: int = 0
    checked_ms: int = 0
    size_bytes: int = 0
    new_bytes: int = 0
    took_s: float = 0.0
    error: str = ""
    code: str = ""
    next_step: str = ""


class BackupStatus(msgspec.Struct, kw_only=True):
    """How a node's backups are, by their places."""

    places: dict[str, PlaceStatus] = {}

    @property
    def taken_ms(self) -> int:
        """When the newest complete backup was taken, 0 for never."""
        return max((place.taken_ms for place in self.places.values()), default=0)


class BackupPlan(msgspec.Struct, kw_only=True):
    """Where a node's backups go, as its program was last told. `options` is how it was started, so
    that a new machine can be started in the same way; `bytes_per_s` 0 is no cap."""

    data: str
    key_from: str = ""
    to: str = ""
    cloud: bool = True
    every_s: int = limits.BACKUP_EVERY_S
    url: str = ""
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    bytes_per_s: int = 0
    options: dict[str, Any] = {}


def folder(data: Path) -> Path:
    made = data / BACKUP_FOLDER
    made.mkdir(mode=0o700, exist_ok=True)
    return made


def has_key(data: Path) -> bool:
    """Whether the node has a recovery key: without one nothing is backed up, as nobody could open it."""
    return (data / BACKUP_FOLDER / KEY_FILE).exists()


def read_key(data: Path, files: PrivateFiles) -> bytes:
    """The secret of the recovery key. Raises Misconfigured `backup.no_key`, Corrupt."""
    try:
        return files.read(data / BACKUP_FOLDER / KEY_FILE)
    except FileNotFoundError:
        raise Misconfigured(
            "This node has no recovery key yet, so nothing is backed up.",
            code="backup.no_key",
            hint=f"Make one, and write it down: beira node backup-key --data {data}",
        ) from None


def write_key(data: Path, files: PrivateFiles, secret: bytes) -> None:
    files.write(folder(data) / KEY_FILE, secret, durable=True)


def status(data: Path) -> BackupStatus:
    """How the last backups went; nothing where there were none."""
    try:
        content = (data / BACKUP_FOLDER / STATUS_FILE).read_bytes()
        return msgspec.json.decode(content, type=BackupStatus)
    except (OSError, msgspec.MsgspecError):
        return BackupStatus()


def write_status(data: Path, told: BackupStatus) -> None:
    PrivateFiles().write(folder(data) / STATUS_FILE, msgspec.json.encode(told))


def plan(data: Path) -> BackupPlan:
    """What the node's program was last told."""
    try:
        content = (data / BACKUP_FOLDER / PLAN_FILE).read_bytes()
        return msgspec.json.decode(content, type=BackupPlan)
    except (OSError, msgspec.MsgspecError):
        return BackupPlan(data=str(data))


def write_plan(told: BackupPlan) -> None:
    PrivateFiles().write(folder(Path(told.data)) / PLAN_FILE, msgspec.json.encode(told))


@contextlib.contextmanager
def alone(data: Path) -> Iterator[None]:
    """Raises Conflict `backup.running` while another backup of this node is being made."""
    descriptor = os.open(folder(data) / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                "A backup of this node is being made already.",
                code="backup.running",
                hint="See how it goes: beira node backup --status",
            ) from None
        yield
    finally:
        os.close(descriptor)

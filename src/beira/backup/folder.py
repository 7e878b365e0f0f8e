"""Backups in a folder: another disk, a USB stick, a network drive.

    <node>/chunks/<2 hex>/<sha256>             sealed chunks
    <node>/manifests/<taken ms>-<sha256>       one for each complete backup

A manifest gets its name only once all of its chunks are synced. What a cut left behind is written
again, for only chunks that a manifest names are believed to be whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from beira.backup.gently import synced
from beira.backup.manifest import Generation
from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import BeiraError, Full, Invalid, NotFound, Unavailable

T = TypeVar("T")
SPARED_S = limits.BACKUP_SPARED_S
"""A chunk that no manifest names may belong to a backup that is being made."""
_MANIFEST = re.compile(r"(\d{1,16})-([0-9a-f]{64})\Z")
_NODE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_PART = ".part"

Named = Callable[[bytes], Collection[str]]
"""Opens a sealed manifest: the names of the chunks it needs."""


class FolderPlace:
    """Implements `Place` below `root`, which must be there already: an absent mount point is an error,
    not a reason to fill the disk below it. `named` is asked what older backups still need."""

    def __init__(self, root: Path, node: str, named: Named) -> None:
        if not _NODE.match(node):
            raise Invalid(f"{node!r} cannot be a folder's name.", code="backup.node")
        self.label = str(root)
        self._root = root
        self._own = root / node
        self._named = named
        self._touched: set[Path] = set()

    async def generations(self) -> list[Generation]:
        return await asyncio.to_thread(self._told, self._generations)

    async def manifest(self, generation: Generation) -> bytes:
        path = self._manifests / f"{generation.taken_ms}-{generation.sha256}"
        data = await asyncio.to_thread(self._told, path.read_bytes)
        if hashlib.sha256(data).hexdigest() != generation.sha256:
            raise NotFound(f"{path} is damaged.", code="backup.manifest", hint="Take an older one.")
        return data

    async def read(self, ref: BlobRef) -> bytes:
        return await asyncio.to_thread(self._told, self._chunk(ref.sha256).read_bytes)

    async def put(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        await asyncio.to_thread(self._told, lambda: self._put(chunks))

    async def finish(self, taken_ms: int, manifest: bytes, names: Collection[str]) -> list[str]:
        return await asyncio.to_thread(self._told, lambda: self._finish(taken_ms, manifest, names))

    async def absent(self, chunks: Sequence[BlobRef]) -> list[str]:
        return await asyncio.to_thread(self._told, lambda: self._absent(chunks))

    @property
    def _manifests(self) -> Path:
        return self._own / "manifests"

    def _chunk(self, name: str) -> Path:
        return self._own / "chunks" / name[:2] / name

    def _generations(self) -> list[Generation]:
        found = []
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "it is not there", str(self._root))
        for path in self._manifests.glob("*-*"):
            if told := _MANIFEST.match(path.name):
                size = path.stat().st_size
                found.append(Generation(taken_ms=int(told[1]), sha256=told[2], size_bytes=size))
        return sorted(found, key=lambda one: (one.taken_ms, one.sha256), reverse=True)

    def _put(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "it is not there", str(self._root))
        if shutil.disk_usage(self._root).free < limits.BACKUP_FREE_BYTES:
            raise _full(self._root)
        for name, data in chunks:
            path = self._chunk(name)
            _make_folder(path.parent)
            _write(path, data)
            self._touched.add(path.parent)

    def _finish(self, taken_ms: int, manifest: bytes, names: Collection[str]) -> list[str]:
        absent = [name for name in names if not self._chunk(name).exists()]
        if absent:
            return absent
        _make_folder(self._manifests)
        for folder in (*self._touched, self._own / "chunks", self._own):
            _sync(folder)
        self._touched = set()
        _write(self._manifests / f"{taken_ms}-{hashlib.sha256(manifest).hexdigest()}", manifest)
        _sync(self._manifests)
        self._prune()
        return []

    def _prune(self) -> None:
        """Forget the oldest backups, then the chunks that none of the others needs. A manifest that
        does not open (of another key) keeps everything: it may be all that is left of a machine."""
        for old in self._generations()[limits.BACKUP_GENERATIONS :]:
            (self._manifests / f"{old.taken_ms}-{old.sha256}").unlink(missing_ok=True)
        needed: set[str] = set()
        for kept in self._generations():
            data = (self._manifests / f"{kept.taken_ms}-{kept.sha256}").read_bytes()
            try:
                needed.update(self._named(data))
            except BeiraError:
                return
        before_s = time.time() - SPARED_S
        for path in (self._own / "chunks").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.name not in needed and path.stat().st_mtime < before_s:
                    path.unlink()

    def _absent(self, chunks: Sequence[BlobRef]) -> list[str]:
        def whole(ref: BlobRef) -> bool:
            try:
                return self._chunk(ref.sha256).stat().st_size == ref.size_bytes
            except FileNotFoundError:
                return False

        return [ref.sha256 for ref in chunks if not whole(ref)]

    def _told(self, work: Callable[[], T]) -> T:
        """What the system says of a disk, in our words."""
        with failures(self._root):
            return work()


def nodes_in(root: Path) -> list[str]:
    """The nodes that have backups below `root`."""
    with failures(root):
        return sorted(path.name for path in root.iterdir() if (path / "manifests").is_dir())


@contextlib.contextmanager
def failures(root: Path) -> Iterator[None]:
    """Raises: NotFound, Full `backup.full`, Unavailable `backup.place`."""
    try:
        yield
    except BeiraError:
        raise
    except FileNotFoundError as error:
        if not root.is_dir():
            raise _away(root, "it is not there") from None
        raise NotFound(f"{error.filename} is missing.", code="backup.missing") from None
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _full(root) from None
        raise _away(root, error.strerror or str(error)) from None


def _away(root: Path, why: str) -> Unavailable:
    return Unavailable(
        f"The backup's folder {root} cannot be used: {why}.",
        code="backup.place",
        hint="Mount its disk, and see that this user may write there. It is tried again by itself.",
    )


def _full(root: Path) -> Full:
    return Full(
        f"There is no room for backups in {root}.",
        code="backup.full",
        hint="Free some space there, or give a larger disk with --backup-to.",
    )


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _write(path: Path, data: bytes) -> None:
    """It has its name only once it is whole and on the disk."""
    part = path.with_name(path.name + _PART)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        synced(descriptor)
    part.replace(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        synced(descriptor)
    finally:
        os.close(descriptor)

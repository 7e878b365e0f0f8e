"""Blobs in a folder: what a node has, and what a cloud has unless told otherwise.

    <tenant>/blobs/<2 hex>/<sha256>      verified, never changed
    <tenant>/staged/<owner>/<sha256>     as far as it has come

A chunk is synced before its offset is told; a file gets its name by a rename, after it was verified,
and the rename is synced before it is confirmed. A process that dies leaves at most a tail in
`staged`, and hashing the whole finds a tail that a power cut garbled.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from beira.blobs.port import checked_part, disk_full, missing, wrong_offset
from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import BeiraError, Conflict, Corrupt, Misconfigured, Unavailable

READ_BYTES = 1_048_576
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class FolderBlobs:
    """Implements `BlobStore` in `root`, leaving `BLOB_DISK_RESERVE_BYTES` (or `reserve_bytes`) of its
    disk free. With a `key` of 32 bytes what lies there is encrypted (AES-256-CTR, which keeps sizes
    and offsets; that nothing was changed is shown by a blob's own name)."""

    def __init__(
        self, root: Path, *, reserve_bytes: int | None = None, key: bytes | None = None
    ) -> None:
        self.root = root
        self._key = key
        self._reserve_bytes = reserve_bytes
        self._hashes = _Hashes()
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Misconfigured(
                f"{root} cannot be made: {error.strerror}.",
                code="blob.folder",
                hint="Choose another folder for blobs, or give this user the right to write there.",
            ) from None

    async def size(self, tenant: str, sha256: str) -> int | None:
        return await asyncio.to_thread(_size, self.path(tenant, sha256))

    async def staged(self, tenant: str, owner: str, sha256: str) -> int:
        return await asyncio.to_thread(_size, self._staged(tenant, owner, sha256)) or 0

    async def append(self, tenant: str, owner: str, sha256: str, offset: int, data: bytes) -> int:
        path = self._staged(tenant, owner, sha256)
        return await asyncio.to_thread(self._append, path, offset, data)

    async def finish(self, tenant: str, owner: str, ref: BlobRef, *, staged_as: str = "") -> None:
        staged = self._staged(tenant, owner, staged_as or ref.sha256)
        final = self.path(tenant, ref.sha256)
        await asyncio.to_thread(self._finish, staged, final, ref)

    async def hashed(self, tenant: str, owner: str, name: str) -> BlobRef:
        return await asyncio.to_thread(self._hashed, self._staged(tenant, owner, name))

    async def read(self, tenant: str, sha256: str, start: int, size_bytes: int) -> bytes:
        path = self.path(tenant, sha256)
        data = await asyncio.to_thread(_read, path, sha256, start, size_bytes)
        return self._crypt(sha256, start, data)

    async def digest(self, tenant: str, sha256: str) -> str | None:
        """The SHA-256 of what lies under a name; None if nothing does."""
        return await asyncio.to_thread(self._digest, self.path(tenant, sha256))

    async def discard(self, tenant: str, owner: str, sha256: str) -> None:
        path = self._staged(tenant, owner, sha256)
        self._hashes.drop(path)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def delete(self, tenant: str, sha256: str) -> None:
        await asyncio.to_thread(self.path(tenant, sha256).unlink, missing_ok=True)

    async def tidy(self, tenant: str, before_s: float) -> int:
        return await asyncio.to_thread(self._tidy, self.root / checked_part(tenant), before_s)

    def path(self, tenant: str, sha256: str) -> Path:
        """Where a verified blob is, or would be."""
        name = checked_part(sha256)
        return self.root / checked_part(tenant) / "blobs" / name[:2] / name

    def listing(self, tenant: str) -> Iterator[tuple[str, os.stat_result]]:
        """The verified blobs of a tenant, each with its file's state."""
        for path in (self.root / checked_part(tenant) / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path.name, path.stat()

    def adopt(self, scratch: Path, tenant: str, ref: BlobRef) -> None:
        """Show a file of the same disk that was made, hashed and synced here. Raises Full."""
        final = self.path(tenant, ref.sha256)
        with failures():
            _make_folder(final.parent)
            scratch.rename(final)
            _sync_folder(final.parent)

    def scratched(self, scratch: Path, offset: int, data: bytes) -> bytes:
        """What a scratch file holds, encrypted or decrypted, while the blob has no name yet."""
        return self._crypt(scratch.name, offset, data)

    @property
    def sealed(self) -> bool:
        """Whether what lies here is encrypted."""
        return self._key is not None

    def _crypt(self, name: str, offset: int, data: bytes) -> bytes:
        """`data` of the blob `name` from `offset`, encrypted or (the same) decrypted."""
        if self._key is None:
            return data
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16])
        counter = (start + offset // 16) % 2**128
        stream = Cipher(algorithms.AES(self._key), modes.CTR(counter.to_bytes(16))).encryptor()
        stream.update(bytes(offset % 16))
        return stream.update(data)

    def _digest(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                return self._hash(path.name, file.fileno())
        except FileNotFoundError:
            return None

    def _hash(self, name: str, fd: int) -> str:
        os.lseek(fd, 0, os.SEEK_SET)
        digest, offset = hashlib.sha256(), 0
        while data := os.read(fd, READ_BYTES):
            digest.update(self._crypt(name, offset, data))
            offset += len(data)
        return digest.hexdigest()

    def free_bytes(self) -> int:
        """How much of the disk blobs may still take."""
        kept = self._reserve_bytes
        if kept is None:
            kept = limits.BLOB_DISK_RESERVE_BYTES
        return shutil.disk_usage(self.root).free - kept

    def _staged(self, tenant: str, owner: str, sha256: str) -> Path:
        parts = checked_part(tenant), "staged", checked_part(owner), checked_part(sha256)
        return self.root.joinpath(*parts)

    def _append(self, path: Path, offset: int, data: bytes) -> int:
        if self.free_bytes() < len(data):
            raise disk_full()
        with failures(), _locked(path, create=True) as fd:
            there = os.fstat(fd).st_size
            if there != offset:
                raise wrong_offset(there)
            try:
                _write(fd, self._crypt(path.name, offset, data), offset)
                os.fdatasync(fd)
            except OSError:
                os.ftruncate(fd, offset)
                self._hashes.drop(path)
                raise
            self._hashes.grow(path, offset, data)
            return offset + len(data)

    def _finish(self, staged: Path, final: Path, ref: BlobRef) -> None:
        with failures(), _locked(staged, create=ref.size_bytes == 0) as fd:
            there = os.fstat(fd).st_size
            if there < ref.size_bytes:
                raise wrong_offset(there)
            digest = self._hashes.take(staged, there)
            if digest is None:  # what another process wrote may be in memory only
                digest = self._hash(staged.name, fd)
                os.fsync(fd)
            if digest != ref.sha256 or there != ref.size_bytes:
                staged.unlink(missing_ok=True)
                raise Corrupt(
                    f"What came as {ref.sha256[:12]}… is another file.",
                    code="blob.mismatch",
                    hint="Send it again from the beginning.",
                )
            if _size(final) == ref.size_bytes:
                staged.unlink(missing_ok=True)
                return
            _make_folder(final.parent)
            if self.sealed and staged.name != final.name:
                self._reseal(fd, staged.name, final.name)
            staged.rename(final)
            _sync_folder(final.parent)

    def _hashed(self, staged: Path) -> BlobRef:
        with failures(), _locked(staged, create=False) as fd:
            size = os.fstat(fd).st_size
            digest = self._hashes.known(staged, size) or self._hash(staged.name, fd)
            return BlobRef(sha256=digest, size_bytes=size)

    def _reseal(self, fd: int, old: str, new: str) -> None:
        """What is encrypted under one name, encrypted under another, in its place. If this is cut
        short, the next try finds a hash that does not fit, and it is sent again."""
        offset = 0
        while data := os.pread(fd, READ_BYTES, offset):
            _write(fd, self._crypt(new, offset, self._crypt(old, offset, data)), offset)
            offset += len(data)
        os.fsync(fd)

    def _tidy(self, tenant: Path, before_s: float) -> int:
        gone = 0
        for path in (tenant / "staged").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before_s:
                    path.unlink()
                    self._hashes.drop(path)
                    gone += 1
        return gone


class _Hashes:
    """The hashes of files on their way, so that a blob that comes in one go is not read again."""

    def __init__(self) -> None:
        self._begun: OrderedDict[Path, tuple[hashlib._Hash, int]] = OrderedDict()
        self._lock = threading.Lock()

    def grow(self, path: Path, offset: int, data: bytes) -> None:
        with self._lock:
            begun, upto = self._begun.pop(path, (None, 0))
        if offset == 0:
            begun, upto = hashlib.sha256(), 0
        if begun is None or upto != offset:
            return
        begun.update(data)
        with self._lock:
            self._begun[path] = begun, offset + len(data)
            while len(self._begun) > limits.BLOB_HASHES_KEPT:
                self._begun.popitem(last=False)

    def known(self, path: Path, size: int) -> str | None:
        """As `take`, and it stays known."""
        with self._lock:
            begun, upto = self._begun.get(path, (None, 0))
            return begun.hexdigest() if begun is not None and upto == size else None

    def take(self, path: Path, size: int) -> str | None:
        """The digest of the whole, if all of its bytes went by here."""
        with self._lock:
            begun, upto = self._begun.pop(path, (None, 0))
        return begun.hexdigest() if begun is not None and upto == size else None

    def drop(self, path: Path) -> None:
        with self._lock:
            self._begun.pop(path, None)


@contextlib.contextmanager
def _locked(path: Path, *, create: bool) -> Iterator[int]:
    """The staged file, ours alone among threads, and among replicas that share the folder."""
    if create:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        raise wrong_offset(0) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _inode(path) != os.fstat(fd).st_ino:
            raise BlockingIOError  # it was made visible, or thrown away, before we had the lock
        yield fd
    except BlockingIOError:
        raise Conflict(
            "Another chunk of this blob is being written.",
            code="blob.busy",
            hint="Ask how far it is, and go on from there.",
        ) from None
    finally:
        os.close(fd)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """What the system says of a disk, in our words: Full, Unavailable."""
    try:
        yield
    except BeiraError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise disk_full() from None
        raise Unavailable(
            f"The folder of blobs cannot be used: {error.strerror}.",
            code="blob.storage",
            hint="See that its disk is mounted and may be written.",
        ) from None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _read(path: Path, sha256: str, start: int, size_bytes: int) -> bytes:
    try:
        with _reading(sha256), path.open("rb") as file:
            file.seek(start)
            return file.read(size_bytes)
    except OSError as error:
        raise Unavailable(
            f"A blob cannot be read: {error.strerror}.",
            code="blob.storage",
            hint="See that its disk is mounted and healthy.",
        ) from None


@contextlib.contextmanager
def _reading(sha256: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise missing(sha256) from None


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _make_folder(folder: Path) -> None:
    """Make it and what is missing above it, each durably."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Small files that nobody else may read: a node's key, who it is, voices, what was said and kept.

On a node that is encrypted they are sealed (AES-256-GCM), each under its own name, so that one cannot
be put in another's place. A database has its own encryption; this is for what lies beside it. Apps
keep their files through it as well: `host.private`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from beira.identity import vault
from beira.kernel.errors import Corrupt

MAGIC = b"BEIRA\x01"
ID_BYTES = 8
NONCE_BYTES = 12
_HEAD_BYTES = len(MAGIC) + ID_BYTES + NONCE_BYTES


class PrivateFiles:
    """Reads and writes such files. Without keys they are plain, and only their mode (0600) guards them.

    Args: `keys` of 32 bytes, the one that seals first; the others still open. `plain_too`: a plain
    file is read as it is, while a folder is on its way to be sealed.
    """

    def __init__(self, keys: tuple[bytes, ...] = (), *, plain_too: bool = False) -> None:
        self._ciphers = {_id(key): AESGCM(key) for key in keys}
        self._names = keys[0] if keys else b""
        self.plain_too = plain_too or not keys

    def __repr__(self) -> str:
        return f"PrivateFiles({len(self._ciphers)} keys)"

    @property
    def sealed(self) -> bool:
        """Whether what is written is sealed."""
        return bool(self._ciphers)

    def read(self, path: Path) -> bytes:
        """What `write` put there. Raises OSError, and Corrupt `private.sealed` or `private.plain`."""
        return self.opened(path.read_bytes(), path)

    def write(self, path: Path, content: bytes, *, durable: bool = False) -> None:
        """Put `content` in the file's place, whole or not at all; `durable`: synced to the disk."""
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._closed(content, path))
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            fresh.replace(path)
        except OSError:  # a full disk must not keep the half of it
            fresh.unlink(missing_ok=True)
            raise
        if durable:
            vault.sync_folder(path.parent)

    def secret(self, path: Path, size_bytes: int) -> bytes:
        """The secret in `path`, made at random if there is none. Raises Misconfigured, Corrupt."""
        if not self.sealed:
            return vault.private_file(path, size_bytes)
        if not path.exists():
            self.write(path, secrets.token_bytes(size_bytes), durable=True)
        return self.read(path)

    @contextmanager
    def as_file(self, path: Path) -> Iterator[Path]:
        """A path under which the content can be read, for what takes nothing but paths. What is sealed
        is shown in memory only, while the context lasts (on Linux)."""
        content = self.read(path)
        if not self.sealed:
            yield path
            return
        descriptor = os.memfd_create(path.name)
        with os.fdopen(descriptor, "wb") as shown:
            shown.write(content)
            shown.flush()
            yield Path(f"/proc/self/fd/{descriptor}")

    def name_of(self, text: str) -> str:
        """A file's name for what `text` says, 40 characters: always the same, and where files are
        sealed nobody without the key can find out by trial which text it was."""
        made = hashlib.blake2b(text.encode(), key=self._names, digest_size=20, person=b"beira name")
        return made.hexdigest()

    def opened(self, data: bytes, path: Path) -> bytes:
        """The content of a file whose bytes were read already."""
        if not data.startswith(MAGIC):
            if self.plain_too:
                return data
            raise Corrupt(
                f"{path} is not sealed, and this node's files must be.",
                code="private.plain",
                hint="Somebody may have put it there: remove it, or restore it from a backup.",
            )
        at = len(MAGIC)
        cipher = self._ciphers.get(data[at : at + ID_BYTES])
        nonce = data[at + ID_BYTES : _HEAD_BYTES]
        try:
            if cipher is None:
                raise InvalidTag
            return cipher.decrypt(nonce, data[_HEAD_BYTES:], path.name.encode())
        except (InvalidTag, ValueError):
            raise Corrupt(
                f"{path} does not open with this node's key.",
                code="private.sealed",
                hint="It is damaged or another node's: restore it from a backup of this one.",
            ) from None

    def is_newest(self, data: bytes) -> bool:
        """Whether a file with these bytes was sealed by the first of the keys."""
        first = next(iter(self._ciphers), b"")
        return bool(first) and data.startswith(MAGIC + first)

    def _closed(self, content: bytes, path: Path) -> bytes:
        for id, cipher in self._ciphers.items():
            nonce = os.urandom(NONCE_BYTES)
            return MAGIC + id + nonce + cipher.encrypt(nonce, content, path.name.encode())
        return content


def _id(key: bytes) -> bytes:
    """Says which key sealed a file, and nothing of the key."""
    return hashlib.sha256(b"beira file key " + key).digest()[:ID_BYTES]

"""Sealing: the same chunk under the same key always gives the same bytes, so that what has not
changed is not stored or sent again.

The nonce is a MAC of exactly what is encrypted, as in the SIV construction: two different chunks get
two different nonces (96 bits of a keyed hash; among 2**32 chunks a repetition has a chance below
2**-32), and equal ones show only that they are equal. A chunk's *name* is a keyed hash of its content:
it finds out what is stored already before anything is compressed, and who lacks the key cannot try
whether a known file is among the chunks.
"""

from __future__ import annotations

import hashlib
import os

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from beira.kernel import limits
from beira.kernel.errors import Corrupt

KEYS_BYTES = 96
NONCE_BYTES = 12
_LEVEL = 1
_PLAIN, _ZSTD = b"\x00", b"\x01"
_CHUNK, _MANIFEST = b"beira chunk 1", b"beira manifest 1"


class Sealer:
    """Seals one node's chunks and manifests. Safe to use from several threads."""

    def __init__(self, keys: bytes) -> None:
        """`keys`: 96 bytes, for names, nonces and encryption."""
        self._name_key, self._nonce_key = keys[:32], keys[32:64]
        self._cipher = AESGCM(keys[64:KEYS_BYTES])

    def name(self, content: bytes) -> bytes:
        """32 bytes that stand for `content`."""
        return hashlib.blake2b(content, key=self._name_key, digest_size=32).digest()

    def seal(self, content: bytes) -> bytes:
        """`content` compressed (where that helps) and encrypted."""
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
        body = _ZSTD + packed if len(packed) < len(content) else _PLAIN + content
        nonce = self._nonce(body)
        return nonce + self._cipher.encrypt(nonce, body, _CHUNK)

    def open(self, sealed: bytes, name: bytes) -> bytes:
        """The content of a chunk that is called `name`. Raises Corrupt `backup.chunk`."""
        content = self._opened(sealed, _CHUNK, limits.BACKUP_CHUNK_BYTES)
        if content is None or self.name(content) != name:
            raise Corrupt(
                "A chunk of a backup is damaged.",
                code="backup.chunk",
                hint="It is looked for in another place, or an older backup is taken.",
            )
        return content

    def seal_manifest(self, content: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        packed = zstandard.ZstdCompressor(level=3).compress(content)
        return nonce + self._cipher.encrypt(nonce, _ZSTD + packed, _MANIFEST)

    def open_manifest(self, sealed: bytes) -> bytes | None:
        """Its content, or None if this key does not open it or it is damaged."""
        return self._opened(sealed, _MANIFEST, limits.BACKUP_MANIFEST_BYTES)

    def _nonce(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._nonce_key, digest_size=NONCE_BYTES).digest()

    def _opened(self, sealed: bytes, what: bytes, most_bytes: int) -> bytes | None:
        try:
            body = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], what)
        except (InvalidTag, ValueError):
            return None
        if body[:1] == _PLAIN:
            return body[1:]
        try:
            return zstandard.ZstdDecompressor().decompress(body[1:], max_output_size=most_bytes)
        except zstandard.ZstdError:
            return None

"""The recovery key: what opens a node's backups when the machine is gone.

It is made at the node, and written down by a person: 32 letters and digits, in groups of four. A
checksum tells a slip of the pen from a key that is another node's.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from beira.backup.seal import KEYS_BYTES, Sealer
from beira.kernel.errors import Invalid

SECRET_BYTES = 18
CHECK_BYTES = 2
GROUP_CHARS = 4
_READ_AS = str.maketrans({"0": "O", "1": "I", "8": "B", "-": "", " ": ""})


@dataclass(frozen=True)
class RecoveryKey:
    """144 random bits. One may serve several nodes: each has keys of its own, derived from it."""

    secret: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> RecoveryKey:
        return cls(secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def read(cls, text: str) -> RecoveryKey:
        """The key that was written down, in any case, with or without hyphens.

        Raises: Invalid `backup.key_text`.
        """
        letters = "".join(text.split()).upper().translate(_READ_AS)
        try:
            raw = base64.b32decode(letters)
        except ValueError:
            raw = b""
        secret, check = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
        if len(raw) != SECRET_BYTES + CHECK_BYTES or check != _check(secret):
            raise Invalid(
                "That is not a recovery key: a letter is wrong or missing.",
                code="backup.key_text",
                hint="It has eight groups of four letters and digits, as `beira node backup-key` "
                "showed them. Check it letter by letter.",
            )
        return cls(secret)

    @property
    def text(self) -> str:
        """As people write it: XXXX-XXXX-… in eight groups."""
        letters = base64.b32encode(self.secret + _check(self.secret)).decode()
        groups = range(0, len(letters), GROUP_CHARS)
        return "-".join(letters[at : at + GROUP_CHARS] for at in groups)

    def sealer(self, node: str) -> Sealer:
        """What seals and opens the backups of `node`."""
        info = b"beira backup 1 " + node.encode()
        derived = HKDF(algorithm=hashes.SHA256(), length=KEYS_BYTES, salt=None, info=info)
        return Sealer(derived.derive(self.secret))


def _check(secret: bytes) -> bytes:
    return hashlib.sha256(b"beira recovery key " + secret).digest()[:CHECK_BYTES]

"""The key a node makes itself and never gives away, and what it proves with it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc.jwk import OKPKey

from beira.identity import tokens, vault
from beira.identity.private_files import PrivateFiles
from beira.identity.shapes import Challenge, EnrolRequest
from beira.identity.vault import ServerKey, base64url, from_base64url
from beira.kernel import limits
from beira.kernel.errors import Invalid

_ENROL = b"beira enrol 1"


class NodeKey:
    """An Ed25519 key in a file of mode 0600. `seals` makes MACs for what this node alone checks."""

    def __init__(self, private: bytes) -> None:
        self._private = private
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public_key = base64url(self._key.public_key().public_bytes_raw())
        self.seals = ServerKey(hashlib.sha256(b"beira node seals 1" + private).digest())

    def __repr__(self) -> str:
        return f"NodeKey({self.public_key[:8]}…)"

    @classmethod
    def load(cls, path: Path, files: PrivateFiles | None = None) -> NodeKey:
        """The key in `path`, made at the first call. Raises Misconfigured, Corrupt."""
        return cls((files or PrivateFiles()).secret(path, 32))

    @classmethod
    def renew(cls, path: Path, files: PrivateFiles | None = None) -> NodeKey:
        """A new key in the place of the old, for enrolling again."""
        (files or PrivateFiles()).write(path, secrets.token_bytes(32), durable=True)
        return cls.load(path, files)

    @property
    def signing(self) -> OKPKey:
        """For tokens this node issues itself."""
        return tokens.key_from_private(self._private, self.public_key[:16])

    def enrol(self, code: str, challenge: Challenge) -> EnrolRequest:
        """What to send to the cloud to become a node of it."""
        proof = self._key.sign(_statement(code, challenge.nonce, self.public_key))
        return EnrolRequest(
            code=code,
            public_key=self.public_key,
            nonce=challenge.nonce,
            proof=base64url(proof),
        )

    def assertion(self, node: str, challenge: Challenge, now: Callable[[], float]) -> str:
        """A signed claim to be `node`, good for one token. The clock may be wrong by any amount:
        what makes the claim fresh is the cloud's nonce."""
        at = int(now())
        claims = tokens.AssertionClaims(
            iss=node,
            sub=node,
            aud=challenge.issuer,
            iat=at,
            exp=at + limits.ASSERTION_S,
            jti=secrets.token_hex(8),
            nonce=challenge.nonce,
        )
        return tokens.sign(claims, tokens.key_from_private(self._private, node), tokens.ASSERTION)


def proof_holds(request: EnrolRequest) -> bool:
    """Whether whoever sent it holds the private half of its public key."""
    try:
        key = Ed25519PublicKey.from_public_bytes(from_base64url(request.public_key))
        statement = _statement(request.code, request.nonce, request.public_key)
        key.verify(from_base64url(request.proof), statement)
    except (InvalidSignature, ValueError, Invalid):
        return False
    return True


def _statement(code: str, nonce: str, public_key: str) -> bytes:
    parts = [vault.code_of(code).encode(), nonce.encode(), public_key.encode()]
    return b"".join([_ENROL, *(len(p).to_bytes(2, "big") + p for p in parts)])

"""JSON Web Tokens signed with Ed25519: made by cloud, node or both, and checked in one place.

A token says what it is for in `typ`, so that one of a kind never passes for another. Only the
algorithm EdDSA is accepted, and the key is chosen by the verifier from those it trusts, never by
anything in the token but its `kid`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import OKPKey

from beira.identity.vault import base64url, from_base64url
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Unauthenticated

# The libraries of other languages know the algorithm by its old name only (RFC 9864 has a new one).
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

ALGORITHM = "EdDSA"
AUDIENCE = "beira"
ACCESS, NODE_ACCESS, ASSERTION = "at+jwt", "node-at+jwt", "node+jwt"
"""Types: a cloud's access token, one of a node for itself, what a node signs to get one."""
CLOCK_LEEWAY_S = limits.TOKEN_LEEWAY_S
"""How far ahead another replica's clock may be before its fresh tokens are refused."""


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True):
    """An access token of a person or a node; a node's `sid` is its key's epoch."""

    sub: str
    kind: str
    tenant: str
    sid: str
    iss: str
    aud: str
    iat: int
    exp: int
    jti: str
    name: str = ""
    role: str = ""
    sites: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()


class AssertionClaims(msgspec.Struct, kw_only=True):
    """What a node signs to get a token. Its times are its own clock's and prove nothing alone."""

    iss: str
    sub: str
    aud: str
    iat: int
    exp: int
    jti: str
    nonce: str
    epoch: int = 0


def key_from_private(private: bytes, kid: str) -> OKPKey:
    """The signing key of 32 private bytes."""
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    fields = {"d": base64url(private), "x": base64url(public), "kid": kid}
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", **fields})


def key_from_public(public: str, kid: str) -> OKPKey:
    """The verifying key of 32 public bytes in base64url. Raises Invalid for anything else."""
    if len(from_base64url(public)) != 32:
        raise Unauthenticated(
            "That is no Ed25519 public key.",
            code="auth.key_invalid",
            hint="Send its 32 bytes in base64url.",
        )
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": public, "kid": kid})


def sign(claims: msgspec.Struct, key: OKPKey, typ: str) -> str:
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": typ}
    return jws.serialize_compact(header, msgspec.json.encode(claims), key, algorithms=[ALGORITHM])


def sign_bytes(data: bytes, key: OKPKey) -> bytes:
    """A plain signature. What `data` says must be unlike any token: see `host.ports.signed_bytes`."""
    private = key.private_key
    assert isinstance(private, Ed25519PrivateKey)
    return private.sign(data)


def verifies(data: bytes, signature: bytes, key: OKPKey | None) -> bool:
    """Whether `key` made this plain signature."""
    public = key.public_key if key is not None else None
    if not isinstance(public, Ed25519PublicKey):
        return False
    try:
        public.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def peek(token: str) -> tuple[str, dict[str, Any]]:
    """The `kid` and the claims of a token, unproven: only to choose the key that must prove it."""
    try:
        if len(token) > limits.TOKEN_CHARS:
            raise ValueError
        found = jws.extract_compact(token.encode("ascii"))
        claims = msgspec.json.decode(found.payload, type=dict[str, Any])
        return str(found.headers().get("kid", "")), claims
    except (JoseError, ValueError, TypeError, KeyError, msgspec.MsgspecError, BeiraError):
        raise _malformed() from None


def verify(token: str, keys: Mapping[str, OKPKey], typ: str) -> dict[str, Any]:
    """The proven claims of `token`; times, audience and issuer are still to be checked.

    Raises Unauthenticated `auth.token_invalid`.
    """
    kid, _ = peek(token)
    key = keys.get(kid)
    if key is None:
        raise Unauthenticated(
            "The token was signed by a key that is not trusted here.",
            code="auth.token_invalid",
            hint="Sign in again.",
        )
    try:
        found = jws.deserialize_compact(token, key, algorithms=[ALGORITHM])
        if found.headers().get("typ") != typ or "crit" in found.headers():
            raise ValueError
        return msgspec.json.decode(found.payload, type=dict[str, Any])
    except (JoseError, ValueError, TypeError, KeyError, msgspec.MsgspecError):
        raise _malformed() from None


class Verifier:
    """Checks access tokens of one type, and proves each signature once: the same token comes with
    every request. What was proven holds only while the very key that proved it is trusted; times
    are always asked.
    """

    def __init__(self, typ: str) -> None:
        self._typ = typ
        self._proven: dict[bytes, tuple[OKPKey, AccessClaims]] = {}

    def knows(self, token: str) -> bool:
        return _digest(token) in self._proven

    def access(
        self,
        token: str,
        keys: Mapping[str, OKPKey],
        *,
        issuer: str,
        now_s: float,
    ) -> AccessClaims:
        """The claims of an access token that holds now. Raises Unauthenticated with its code."""
        claims = self._claims(token, keys)
        if claims.iss != issuer or claims.aud != AUDIENCE:
            raise Unauthenticated(
                "The token was made for somewhere else.",
                code="auth.token_elsewhere",
                hint="Sign in here.",
            )
        if claims.iat > now_s + CLOCK_LEEWAY_S:
            raise Unauthenticated(
                "The token is from the future.",
                code="auth.token_future",
                hint="Check the clock of the machine, then sign in again.",
            )
        if claims.exp <= now_s:
            raise Unauthenticated(
                "The sign-in has expired.",
                code="auth.expired",
                hint="Refresh it, or sign in again.",
            )
        return claims

    def _claims(self, token: str, keys: Mapping[str, OKPKey]) -> AccessClaims:
        digest = _digest(token)
        key, claims = self._proven.get(digest, (None, None))
        if claims is not None and key is not None and keys.get(key.kid or "") is key:
            return claims
        kid, _ = peek(token)
        proven: AccessClaims = convert(verify(token, keys, self._typ), AccessClaims)
        if len(self._proven) >= limits.TOKENS_PROVEN:
            self._proven.clear()
        self._proven[digest] = (keys[kid], proven)
        return proven


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def convert(claims: dict[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(claims, kind)
    except msgspec.ValidationError:
        raise _malformed() from None


def jwks(keys: Mapping[str, OKPKey]) -> dict[str, object]:
    """The public keys as a JWKS document (RFC 7517)."""
    public = [dict(key.as_dict(private=False)) for key in keys.values()]
    return {"keys": [{**k, "alg": ALGORITHM, "use": "sig"} for k in public]}


def keys_of(document: Mapping[str, Any]) -> dict[str, OKPKey]:
    """The trusted keys of a JWKS document; what is not an Ed25519 key is left out."""
    found = {}
    for entry in document.get("keys", ()):
        if isinstance(entry, Mapping) and entry.get("crv") == "Ed25519":
            kid = str(entry.get("kid", ""))
            found[kid] = key_from_public(str(entry.get("x", "")), kid)
    return found


def _malformed() -> Unauthenticated:
    return Unauthenticated(
        "That is not a valid token.", code="auth.token_invalid", hint="Sign in again."
    )

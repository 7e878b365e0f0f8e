"""Where a file of the player is to be had: the same address for all of a tenant's shops, and for ever, so
that a cache or CDN may keep it. Pure.

Who has been given an address may fetch that file; the proof in it is made with a key of the tenant's,
so that nobody makes one up from a hash he saw somewhere.
"""

from __future__ import annotations

import hashlib
import hmac

PREFIX = "/media/v1"
PROOF_CHARS = 32


def proof_of(media_key: str, sha256: str) -> str:
    """What shows that an address was given by the cloud. `media_key` is the manifest's (hex)."""
    made = hmac.new(bytes.fromhex(media_key), sha256.encode(), hashlib.sha256)
    return made.hexdigest()[:PROOF_CHARS]


def path_of(tenant: str, media_key: str, sha256: str) -> str:
    """A file's path, at the cloud or at a cache before it."""
    return f"{PREFIX}/{tenant}/{sha256}/{proof_of(media_key, sha256)}"


def addresses_of(media: str, tenant: str, media_key: str, sha256: str) -> list[str]:
    """Where a shop may have it, the best first: the cache it was told of, then the cloud itself."""
    path = path_of(tenant, media_key, sha256)
    return [media.rstrip("/") + path, path] if media else [path]

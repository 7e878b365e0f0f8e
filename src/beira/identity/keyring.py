"""The cloud's signing keys: made on first run, kept sealed in PostgreSQL, replaced without a gap.

A new key is published for `PUBLISH_S` before it signs, so that nodes have it when its first token
reaches them; the old one is trusted until its last token has expired. Every replica comes to the
same choice from the rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from beira.identity import tokens
from beira.identity.database import Database, Transaction
from beira.identity.vault import ServerKey, base64url
from beira.kernel import limits

PUBLISH_S = limits.KEY_PUBLISH_S
_LOCK = 0x62656972


@dataclass(frozen=True)
class _Kept:
    key: OKPKey
    created_at: float
    retired_at: float | None

    def trusted(self, now_s: float) -> bool:
        return self.retired_at is None or self.retired_at > now_s


class KeyRing:
    """Keys by `kid`, reloaded when news of a rotation comes or an unknown `kid` turns up."""

    def __init__(self, database: Database, key: ServerKey) -> None:
        self._database = database
        self._key = key
        self._kept: dict[str, _Kept] = {}
        self._loaded_s = 0.0

    async def load(self, now_s: float) -> None:
        """Read the keys; make the first if there is none. Raises Corrupt `identity.key_wrong`."""
        async with self._database.open() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if not await connection.fetchval("SELECT count(*) FROM signing_keys"):
                await self._add(connection, now_s)
            rows = await connection.fetch("SELECT * FROM signing_keys ORDER BY created_at, kid")
        self._kept = {row["kid"]: self._opened(row) for row in rows}
        self._loaded_s = now_s

    async def rotate(self, now_s: float, *, at_once: bool = False) -> str:
        """Add a key; it takes over after PUBLISH_S. Returns its kid.

        `at_once` is for a stolen key: every token signed before is void from now on.
        """
        overlap_s = 0 if at_once else PUBLISH_S + limits.ACCESS_TOKEN_S
        async with self._database.open() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(
                "UPDATE signing_keys SET retired_at = $1 "
                "WHERE retired_at IS NULL OR retired_at > $1",
                now_s + overlap_s,
            )
            kid = await self._add(connection, now_s)
            await connection.revoked("keys")
        await self.load(now_s)
        return kid

    def signing(self, now_s: float) -> OKPKey:
        trusted = [kept for kept in self._kept.values() if kept.trusted(now_s)]
        published = [kept for kept in trusted if kept.created_at + PUBLISH_S <= now_s]
        return (published[-1] if published else trusted[0]).key

    def trusted(self, now_s: float) -> dict[str, OKPKey]:
        return {kid: kept.key for kid, kept in self._kept.items() if kept.trusted(now_s)}

    async def trusted_with(self, kid: str, now_s: float) -> dict[str, OKPKey]:
        """The trusted keys, read anew (not too often) if `kid` is not among those known."""
        if kid not in self._kept and now_s >= self._loaded_s + limits.KEY_RELOAD_S:
            await self.load(now_s)
        return self.trusted(now_s)

    async def _add(self, connection: Transaction, now_s: float) -> str:
        private = Ed25519PrivateKey.generate()
        public = base64url(private.public_key().public_bytes_raw())
        kid = public[:16]
        sealed = self._key.seal(private.private_bytes_raw(), f"signing:{kid}")
        await connection.execute(
            "INSERT INTO signing_keys (kid, public_key, sealed, created_at) VALUES ($1, $2, $3, $4)",
            kid,
            public,
            sealed,
            now_s,
        )
        return kid

    def _opened(self, row: Any) -> _Kept:
        private = self._key.unseal(row["sealed"], f"signing:{row['kid']}")
        key = tokens.key_from_private(private, row["kid"])
        return _Kept(key, row["created_at"], row["retired_at"])

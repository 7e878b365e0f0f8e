"""Rate limits and things that hold once, kept in PostgreSQL so that all replicas count together."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from beira.identity.database import Database
from beira.kernel.errors import TooMany
from beira.store.gathering import Gathering

_COUNT = """
INSERT INTO tries (key, since, count) VALUES ($1, $2, 1)
ON CONFLICT (key) DO UPDATE SET
  since = CASE WHEN tries.since <= $2 - $3 THEN $2 ELSE tries.since END,
  count = CASE WHEN tries.since <= $2 - $3 THEN 1 ELSE least(tries.count, $4) + 1 END
RETURNING since, count"""

_USE = """
INSERT INTO beira_identity.used_once SELECT * FROM unnest($1::text[], $2::text[]::float8[])
ON CONFLICT DO NOTHING RETURNING id"""


class Guard:
    """Counts tries per key within a window that begins at the first of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._once: Gathering[tuple[str, float], bool] = Gathering(self._use_once)

    async def count(self, keys: Sequence[str], *, most: int, window_s: float, now_s: float) -> None:
        """One more try under each of `keys`, counted before it is known whether it succeeds, so that
        many at once do not slip through. Raises TooMany `auth.too_many`."""
        wait_s = 0.0
        async with self._database.open() as connection:
            for key in sorted(keys):
                row = await connection.fetchrow(_COUNT, key, now_s, float(window_s), most)
                if row["count"] > most:
                    wait_s = max(wait_s, row["since"] + window_s - now_s)
        if wait_s > 0:
            raise TooMany("Too many tries.", retry_after_s=wait_s, code="auth.too_many")

    async def refund(self, keys: Sequence[str]) -> None:
        """Take back a try that was no guess."""
        async with self._database.open() as connection:
            await connection.execute(
                "UPDATE tries SET count = greatest(count - 1, 0) WHERE key = ANY ($1)", list(keys)
            )

    async def forget(self, key: str) -> None:
        """Start again at nought: whoever it was has shown the secret."""
        async with self._database.open() as connection:
            await connection.execute("DELETE FROM tries WHERE key = $1", key)

    async def use_once(self, id: str, *, until_s: float) -> bool:
        """Whether this is the first use of `id`; kept until `until_s`, when it is void anyway."""
        return await self._once.ask((id, until_s))

    async def _use_once(self, group: list[tuple[str, float]]) -> list[bool]:
        """Of two uses in one group the first is the first."""
        ids = dict(reversed(group))
        async with self._database.cloud.connection() as connection:
            used = {
                row[0]
                for row in await connection.fetch(
                    _USE, list(ids), [repr(until_s) for until_s in ids.values()]
                )
            }
        answers = []
        for id, _ in group:
            answers.append(id in used)
            used.discard(id)
        return answers


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or a /64 of IPv6, which one household has whole."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)

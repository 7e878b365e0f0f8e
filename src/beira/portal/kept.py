"""What was last shown, for when the database is away: each person's own pages, and nobody else's.

A page is kept under the session it was made for, so that no other can be given it, and only for as
long as somebody could still need it. It is bounded in pages and in bytes; the oldest go first. With
the database away nobody's token can be checked, nor renewed when it runs out: whose a request is, is
known by its having exactly the secret that was last good, of which only a digest is kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from beira.kernel import limits

PAGES_PER_SESSION = limits.PAGES_PER_SESSION
BYTES = limits.PAGES_KEPT_BYTES


@dataclass(frozen=True, slots=True)
class Whose:
    """The session a page was made for."""

    account: str
    session: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as it was, and when (seconds since 1970)."""

    html: str
    at_s: float


class Kept:
    """A bounded memory of good pages."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[Whose, str], Shown] = OrderedDict()
        self._known: OrderedDict[bytes, Whose] = OrderedDict()
        self._size_bytes = 0

    def know(self, secret: str, whose: Whose) -> None:
        """This refresh token was good, and `whose`."""
        self._known[_digest(secret)] = whose
        self._known.move_to_end(_digest(secret))
        while len(self._known) > limits.SESSION_SECRETS:
            self._known.popitem(last=False)

    def whose(self, secret: str) -> Whose | None:
        """Whose a refresh token was when it was last good here."""
        return self._known.get(_digest(secret)) if secret else None

    def keep(self, whose: Whose, url: str, html: str, now_s: float) -> None:
        """Remember what `whose` was shown at `url`."""
        self._drop((whose, url))
        mine = [key for key in self._pages if key[0].session == whose.session]
        if len(mine) >= PAGES_PER_SESSION:
            self._drop(mine[0])
        self._pages[(whose, url)] = Shown(html, now_s)
        self._size_bytes += len(html)
        while self._pages and (len(self._pages) > limits.PAGES_KEPT or self._size_bytes > BYTES):
            self._drop(next(iter(self._pages)))

    def last(self, whose: Whose, url: str, now_s: float) -> Shown | None:
        """What `whose` was last shown at `url`, if that was within `PAGES_KEPT_S`."""
        shown = self._pages.get((whose, url))
        if shown is not None and now_s - shown.at_s > limits.PAGES_KEPT_S:
            self._drop((whose, url))
            return None
        return shown

    def forget(self, id: str) -> None:
        """A session ended, or an account's rights changed: nothing of it stays."""
        for key in [key for key in self._pages if id in (key[0].session, key[0].account)]:
            self._drop(key)
        for digest in [d for d, w in self._known.items() if id in (w.session, w.account)]:
            del self._known[digest]

    def _drop(self, key: tuple[Whose, str]) -> None:
        shown = self._pages.pop(key, None)
        if shown is not None:
            self._size_bytes -= len(shown.html)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

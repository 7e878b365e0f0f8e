"""What was last shown, for when the database is away: each person's own pages, and nobody else's.

A page is kept under the session it was made for, so that no other can be given it, and only for as
long as somebody could still need it. It is bounded in pages and in bytes; the oldest go first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

PAGES = 1_000
PAGES_PER_SESSION = 40
BYTES = 33_554_432
KEPT_S = 43_200


@dataclass(frozen=True, slots=True)
class Whose:
    """The session a page was made for, and how it was asked to look."""

    account: str
    session: str
    tenant: str
    look: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as it was, and when (seconds since 1970)."""

    html: str
    at_s: float


class Kept:
    """A bounded memory of good pages."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[Whose, str], Shown] = OrderedDict()
        self._size_bytes = 0

    def keep(self, whose: Whose, url: str, html: str, now_s: float) -> None:
        """Remember what `whose` was shown at `url`."""
        self._drop((whose, url))
        mine = [key for key in self._pages if key[0].session == whose.session]
        if len(mine) >= PAGES_PER_SESSION:
            self._drop(mine[0])
        self._pages[(whose, url)] = Shown(html, now_s)
        self._size_bytes += len(html)
        while self._pages and (len(self._pages) > PAGES or self._size_bytes > BYTES):
            self._drop(next(iter(self._pages)))

    def last(self, whose: Whose, url: str, now_s: float) -> Shown | None:
        """What `whose` was last shown at `url`, if that was within `KEPT_S`."""
        shown = self._pages.get((whose, url))
        if shown is not None and now_s - shown.at_s > KEPT_S:
            self._drop((whose, url))
            return None
        return shown

    def forget(self, session: str) -> None:
        """A session ended: nothing of it stays."""
        for key in [key for key in self._pages if key[0].session == session]:
            self._drop(key)

    def _drop(self, key: tuple[Whose, str]) -> None:
        shown = self._pages.pop(key, None)
        if shown is not None:
            self._size_bytes -= len(shown.html)

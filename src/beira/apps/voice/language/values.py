"""What is said, as values: times that may mean two moments, quantities with units; and folding."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Protocol

import msgspec

DAY_MIN = 1_440
MOST_NUMBER = 999_999
_APART = re.compile(r"[^\w\s]|_")


def fold(text: str) -> str:
    """Small letters, no accents, words apart by one space: how texts are compared."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("'", "").replace("’", ""))
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(_APART.sub(" ", bare).split())


class SaidTime(msgspec.Struct, frozen=True):
    """A time of day as said: every minute of the day (0 to 1439) it can mean, or so long ago.

    `ago_min` 0 is now. `days_ago` 1 is yesterday; without it the latest such moment is meant.
    """

    minutes: tuple[int, ...] = ()
    ago_min: int | None = None
    days_ago: int | None = None

    def within(self, minutes: Iterable[int]) -> SaidTime:
        """Only those of `minutes`; unchanged if that leaves none."""
        kept = set(minutes)
        left = tuple(m for m in self.minutes if m in kept)
        return msgspec.structs.replace(self, minutes=left) if left else self


class Quantity(msgspec.Struct, frozen=True):
    """Thousandths of a unit: kg, l, un, cx, or "" where none was said (pieces, or what it is sold in)."""

    milli: int
    unit: str = ""


class Tongue(Protocol):
    """A language's ways. Parsers take folded text and give None for what is not wholly theirs."""

    def __hash__(self) -> int: ...

    def parse_number(self, text: str) -> int | None: ...
    def say_number(self, number: int, *, feminine: bool = False) -> str:
        """Words of 0 to MOST_NUMBER; digits beyond."""
        ...

    def parse_time(self, text: str) -> SaidTime | None: ...
    def say_time(self, minute: int) -> str:
        """A minute of the day, so that it cannot be mistaken."""
        ...

    def period(self, text: str) -> frozenset[int] | None:
        """The minutes of a part of the day ("tarde"), or None."""
        ...

    def parse_money(self, text: str) -> int | None:
        """Cents."""
        ...

    def say_money(self, cents: int) -> str: ...
    def show_money(self, cents: int) -> str: ...
    def parse_quantity(self, text: str) -> Quantity | None: ...
    def say_quantity(self, quantity: Quantity) -> str: ...
    def show_quantity(self, quantity: Quantity) -> str: ...
    def spell(self, text: str) -> str:
        """Typed text with its digits, times and prices in words, as they would be said."""
        ...


def below_thousand(
    words: list[str],
    hundreds: dict[str, int],
    tens: dict[str, int],
    units: dict[str, int],
    link: str,
) -> int | None:
    """The value of at most one of each, falling, with `link` between or not."""
    total, rank, linked = 0, 4, True
    for word in words:
        if word == link:
            if linked:
                return None
            linked = True
            continue
        found = next(
            ((t[word], r) for t, r in ((hundreds, 3), (tens, 2), (units, 1)) if word in t), None
        )
        if found is None or found[1] >= rank or (rank == 2 and found[0] > 9):
            return None
        total, rank, linked = total + found[0], found[1], False
    return total if words and not linked else None

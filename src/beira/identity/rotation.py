"""When a refresh token may be used: each once, and once more if the answer was lost.

A session counts its turns; the token of a turn is a MAC of (session, turn), so that a lost answer can
be given again, the same. A token is refused as stolen once its successor was used, or `GRACE_S` after
it was itself used: then two parties hold the session, and nobody can say which is the thief, so
the whole session ends. The grace costs no detection: thief and owner get the same successor, and
whoever is second to use it is late.
"""

from __future__ import annotations

from enum import Enum

from beira.kernel import limits

GRACE_S = limits.REFRESH_GRACE_S


class Turn(Enum):
    """What to do with a refresh token."""

    NEXT = "next"
    AGAIN = "again"
    STOLEN = "stolen"


def decide(shown: int, turn: int, turned_at: float, now_s: float) -> Turn:
    """`shown` is the turn of the token presented, `turn` the session's, begun at `turned_at`."""
    if shown == turn:
        return Turn.NEXT
    if shown == turn - 1 and now_s < turned_at + GRACE_S:
        return Turn.AGAIN
    return Turn.STOLEN

"""Tickets: how a second machine with a node's identity is found out, and an older database is not
taken for one.

A ticket is a turn and a chance in one number below 2**53. Each session a node shows the ticket it
has and gets one of the next turn. A clone shows a ticket that was used already; a cloud restored
from a backup is shown one of a later turn than it ever saw.

The cloud remembers only the last ticket shown or confirmed. What it offered it need not remember:
of all the tickets offered for one, a machine keeps one, and the first that is shown again makes the
others old. So a request that comes twice, late, or not at all takes no ticket away from anybody.
"""

from __future__ import annotations

CHANCES = 1 << 21
"""How many tickets a turn has: a guess is right once in two million."""
_MOST = (1 << 53) - CHANCES


def turn_of(ticket: int) -> int:
    return ticket // CHANCES


def is_good(ticket: int, last: int | None) -> bool:
    """Whether a node that shows `ticket` is the one that showed `last`: it has the same still (the
    answer was lost), or one of a later turn. `last` is None after enrolling: then any is good."""
    if not 0 <= ticket <= _MOST:
        return False
    return last is None or ticket == last or turn_of(ticket) > turn_of(last)


def turn_began(ticket: int) -> int:
    """The least ticket of the same turn: smaller ones are of earlier turns."""
    return turn_of(ticket) * CHANCES


def following(ticket: int, chance: int) -> int:
    """A ticket of the turn after `ticket`; `chance` is below `CHANCES`."""
    return (turn_of(ticket) + 1) * CHANCES + chance

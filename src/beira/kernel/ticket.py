"""Tickets: how a second machine with a node's identity is found out, and an older database is not
taken for one.

A ticket is a turn and a chance in one number below 2**53. Each session a node shows the ticket it
has and gets one of the next turn. A clone shows a ticket that was used already; a cloud restored
from a backup is shown one of a later turn than it ever gave.
"""

from __future__ import annotations

import hashlib

CHANCES = 1 << 21
"""How many tickets a turn has: a guess is right once in two million."""
_MOST = (1 << 53) - CHANCES


def turn_of(ticket: int) -> int:
    return ticket // CHANCES


def is_good(ticket: int, confirmed: int | None, pending: int | None) -> bool:
    """Whether a node that shows `ticket` is the one that was given it. `confirmed` is None after
    enrolling: then any is good. `pending` was offered last, and its confirmation may be lost."""
    if not 0 <= ticket <= _MOST:
        return False
    latest = max(confirmed or 0, pending or 0)
    return confirmed is None or ticket in (confirmed, pending) or turn_of(ticket) > turn_of(latest)


def is_later(ticket: int, confirmed: int | None, pending: int | None) -> bool:
    """Whether a good ticket is of a later turn than this cloud remembers giving."""
    return confirmed is not None and turn_of(ticket) > turn_of(max(confirmed, pending or 0))


def chance_of(node: str, ticket: int, call: str) -> int:
    """The chance drawn by a hello that says which `call` it is."""
    drawn = hashlib.blake2b(f"{node}:{ticket}:{call}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) % CHANCES


def following(ticket: int, confirmed: int | None, pending: int | None, chance: int) -> int:
    """The ticket of the turn after all of these; `chance` is below `CHANCES`. The same hello come
    twice (something between the two repeats requests) gets the same ticket: the node may have heard
    either answer."""
    if pending is not None and ticket == confirmed and pending % CHANCES == chance:
        return pending
    return (turn_of(max(ticket, confirmed or 0, pending or 0)) + 1) * CHANCES + chance

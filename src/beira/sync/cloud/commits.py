"""Pushes that wait while another is being committed are committed together: one wait for the disk."""

from __future__ import annotations

from collections.abc import Sequence

from beira.kernel import limits
from beira.kernel.collection import Lane
from beira.kernel.gate_session import Action, Commit

COMMIT_CHANGES = 2 * limits.BATCH_CHANGES
"""Pushes that wait are committed together until there are so many rows."""


def has_room(actions: Sequence[Action]) -> bool:
    """Whether there is nothing but one commit that has room for more."""
    return (
        len(actions) == 1
        and isinstance(actions[0], Commit)
        and len(actions[0].admitted.rows) < COMMIT_CHANGES
    )


def joined(actions: list[Action]) -> list[Action]:
    """Two commits of one lane that follow each other, as one: the disk is waited for once."""
    match actions:
        case [Commit() as first, Commit() as second] if (
            first.lane == second.lane and first.upto == second.has
        ):
            admitted = first.admitted.joined(second.admitted)
            newest = max(first.newest_hlc, second.newest_hlc)
            return [Commit(first.lane, first.has, second.upto, admitted, newest)]
    return actions


def one_lane(actions: Sequence[Action]) -> Lane | None:
    """The lane, if all there is to do is to commit some of it."""
    lanes = {action.lane if isinstance(action, Commit) else None for action in actions}
    return lanes.pop() if len(lanes) == 1 else None

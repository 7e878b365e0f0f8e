"""Conflicts: two places wrote different values into one field, neither knowing of the other.

Merging settles each the same way everywhere; what it dropped is kept, so that people can see it and
take it back. An ordinary change, made by somebody who had seen the old value, is no conflict.
"""

from __future__ import annotations

import msgspec

from beira.kernel.clock import Stamp, ms_of
from beira.kernel.collection import Collection
from beira.kernel.record import Row, Value


class Contest(msgspec.Struct, kw_only=True, frozen=True):
    """One field for which a row that came in and the one stored held values of different writers.

    `number` is where the stored row stood in its feed before (0: in none).
    """

    collection: str
    id: str
    partition: str
    field: str
    mine: Value
    mine_stamp: Stamp
    theirs: Value
    theirs_stamp: Stamp
    came_in_won: bool
    number: int = 0

    @property
    def lost(self) -> tuple[Value, Stamp]:
        """The value that was dropped, and its stamp."""
        return (
            (self.mine, self.mine_stamp) if self.came_in_won else (self.theirs, self.theirs_stamp)
        )

    @property
    def kept(self) -> tuple[Value, Stamp]:
        return (
            (self.theirs, self.theirs_stamp) if self.came_in_won else (self.mine, self.mine_stamp)
        )


def contests(collection: Collection, before: Row | None, row: Row, after: Row) -> list[Contest]:
    """The fields of `row` (it came in) that met a different value of another writer in `before`."""
    if before is None or collection.is_fact:
        return []
    found = []
    for name in row.fields.keys() & before.fields.keys():
        mine, theirs = before.stamp_of(name), row.stamp_of(name)
        if mine.node != theirs.node and before.fields[name] != row.fields[name]:
            found.append(
                Contest(
                    collection=row.collection,
                    id=row.id,
                    partition=before.partition,
                    field=name,
                    mine=before.fields[name],
                    mine_stamp=mine,
                    theirs=row.fields[name],
                    theirs_stamp=theirs,
                    came_in_won=after.stamp_of(name) == theirs,
                )
            )
    return sorted(found, key=lambda contest: contest.field)


def is_conflict(contest: Contest, *, began_ms: int, began_at: int, got: int) -> bool:
    """Whether the writer of the value that came in had not seen the stored one.

    A value that lost was written in ignorance: a clock that had seen the winner would be later. One
    that won was, if the stored row was not yet on the node's disk: for what the node wrote before
    this session began (`began_ms`) its cursor then (`began_at`) says so, for later writes `got`.
    """
    if not contest.came_in_won:
        return True
    seen = began_at if ms_of(contest.theirs_stamp.hlc) < began_ms else got
    return contest.number > seen

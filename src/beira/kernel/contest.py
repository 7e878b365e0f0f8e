"""Conflicts: two places wrote different values into one field, neither knowing of the other.

Merging settles each the same way everywhere; what it dropped is kept, so that people can see it and
take it back. An ordinary change, made by somebody who had seen the old value, is no conflict.

Whoever meets a conflict first keeps it, in the transaction that dropped the value: the cloud, when a
push meets what its node has not been told of yet; the node, when a feed meets what it has not sent.
"""

from __future__ import annotations

import msgspec

from beira.kernel.clock import Stamp
from beira.kernel.collection import Collection
from beira.kernel.record import Row, Value


class Contest(msgspec.Struct, kw_only=True, frozen=True):
    """One field for which a row that came in and the one stored held values of different writers.

    `number` is where the stored row stood in its feed before (0: in none); `unsent`, on a node, whether
    `mine` is in its log.
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
    unsent: bool = False

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


def is_conflict(contest: Contest, got: int) -> bool:
    """Whether the writer of a value pushed to the cloud had not seen the stored one, as far as the
    cloud can know. A value that lost was written in ignorance: a clock that had seen the winner would
    be later. One that won was, if the stored row has not reached the node, which has its feed up to
    `got`, or never reaches it. (What reached it before it pushed, it judged itself.)
    """
    return not contest.came_in_won or contest.number == 0 or contest.number > got

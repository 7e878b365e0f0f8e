"""Which stamps move when a node whose clock ran ahead brings its unsent ones down (law 10).

Pure: a store shows every stamp of the node, sent or unsent, and is told what to replace. Order is
kept among all of the node's stamps, those already sent included, since what was sent cannot move.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from beira.kernel.clock import Stamp, relaid
from beira.kernel.record import Row


@dataclass
class Restamping:
    """Collects what `node` has stamped, then says how it is laid anew below `ceiling`. `sent` is the
    greatest stamp number known to have been sent: its value may have been written over here, and then
    no row tells of it, but elsewhere it stands, and wins over what is laid below it."""

    node: str
    ceiling: int
    sent: int
    _unsent: set[int] = field(default_factory=set)
    _moved: dict[int, int] = field(default_factory=dict)

    def see_sent(self, hlc: int) -> None:
        self.sent = max(self.sent, hlc)

    def see(self, row: Row, since_hlc: int) -> None:
        """A row of which nothing stamped at `since_hlc` or later has been sent."""
        for name in row.fields:
            stamp = row.stamp_of(name)
            if stamp.node != self.node:
                continue
            if stamp.hlc >= since_hlc:
                self._unsent.add(stamp.hlc)
            else:
                self.see_sent(stamp.hlc)

    def decide(self) -> bool:
        """Lay the stamps seen; whether any of them moves."""
        old = sorted(self._unsent)
        pairs = zip(old, relaid(old, self.ceiling, self.sent), strict=True)
        self._moved = {before: after for before, after in pairs if before != after}
        return bool(self._moved)

    @property
    def greatest(self) -> int:
        """The node's greatest stamp number once all that was decided is applied."""
        return max([self.sent, *(self._moved.get(hlc, hlc) for hlc in self._unsent)])

    def moved(self, row: Row, since_hlc: int) -> tuple[Row, int] | None:
        """The row with its stamps laid anew, and since when it is unsent now; None if it stays."""
        stamps = {name: row.stamp_of(name) for name in row.fields}
        unsent = {name for name, stamp in stamps.items() if stamp.hlc >= since_hlc}
        changed = {name: self._move(stamps[name]) for name in unsent}
        if all(stamps[name] == stamp for name, stamp in changed.items()):
            return None
        made = Row.of(row.collection, row.id, row.partition, row.fields, stamps | changed)
        return made, min(stamp.hlc for stamp in changed.values())

    def _move(self, stamp: Stamp) -> Stamp:
        if stamp.node != self.node:
            return stamp
        return stamp._replace(hlc=self._moved.get(stamp.hlc, stamp.hlc))

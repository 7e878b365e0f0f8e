"""Whose numbers a lane's are: how the cloud tells a node's log from an older copy of it.

The cloud keeps `[run, upto, hlc]` of each lane of each node: the run of the node's program that pushed
last, how far, and the greatest stamp number ever pushed. A run is a number drawn when the program
starts. Only to the run that pushed does the cloud's number mean what it says. A program that starts may
run on an older copy of the disk (a backup put back, a card copied), whose log has other changes under
the same numbers: it is told no more than it knew to be acknowledged, and sends the rest. Sent twice is
harmless, forgotten is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from beira.kernel import limits
from beira.kernel.collection import Lane
from beira.kernel.record import Value


def run_of(runs: Sequence[int]) -> int:
    """The present run; 0 for a node that tells of none, and is always taken for the same."""
    return runs[-1] if runs else 0


def with_run(runs: Sequence[int], run: int) -> list[int]:
    """What a program that starts remembers: the run of the last acknowledgement is always the first."""
    return [*runs[:1], *runs[1:][-(limits.RUNS_REMEMBERED - 2) :], run]


def has_of(mark: Value, runs: Sequence[int], acked: int) -> int:
    """How far the cloud has a lane, in the numbers of the present run, going by its `mark`. Less than
    `acked` says that this database lacks what the node was told is there: it is an older copy, or the
    run that pushed last is none of this node's."""
    run, upto, _ = mark or (0, 0, 0)
    if run == run_of(runs):
        return int(upto)
    return min(int(upto), acked) if run in runs else 0


class LaneMarks:
    """The marks of one node's lanes, as one conversation with its present run moves them. `found` is
    what they were when it began."""

    def __init__(
        self,
        prefix: str,
        found: Mapping[str, Value],
        runs: Sequence[int] = (),
        acked: Mapping[int, int] | None = None,
    ) -> None:
        self._prefix = prefix
        self._run = run_of(runs)
        self._found = {lane: found.get(self._name(lane)) for lane in Lane}
        self.has = {
            lane: has_of(mark, runs, (acked or {}).get(int(lane), 0))
            for lane, mark in self._found.items()
        }
        self._pushed_hlc = {lane: mark[2] if mark else 0 for lane, mark in self._found.items()}
        self.ours = all(mark and mark[0] == self._run for mark in self._found.values())

    @property
    def pushed_hlc(self) -> int:
        """The greatest stamp number the node ever pushed, whichever its run."""
        return max(self._pushed_hlc.values())

    def moved(
        self, lane: Lane, has: int, upto: int, newest_hlc: int
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """What to set when a push moves a lane, and what must still be so then. The first push of a
        run makes all lanes its own, so that nothing of an earlier one can move any of them; it is the
        first only where it begins at what the cloud has."""
        before = self._pushed_hlc[lane]
        after = self._pushed_hlc[lane] = max(before, newest_hlc)
        moved: dict[str, Value] = {self._name(lane): [self._run, upto, after]}
        if self.ours or has != self.has[lane]:
            return moved, {self._name(lane): [self._run, has, before]}
        self.ours = True
        marks = {self._name(x): [self._run, self.has[x], self._pushed_hlc[x]] for x in Lane}
        return marks | moved, {self._name(x): mark for x, mark in self._found.items()}

    def _name(self, lane: Lane) -> str:
        return f"{self._prefix}{int(lane)}"

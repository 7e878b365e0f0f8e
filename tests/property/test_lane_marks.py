"""Whose numbers a lane's are, over commits in any order: what a push is behind comes before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beira.kernel.collection import Lane
from beira.kernel.record import Value
from beira.kernel.runs import LaneMarks

OLD, NEW = 11, 22


class Marks(dict[str, Value]):
    """A store's marks, with its compare and set."""

    def commit(self, moved: tuple[dict[str, Value], dict[str, Value]]) -> bool:
        after, expect = moved
        if any(self.get(name) != value for name, value in expect.items()):
            return False
        self.update(after)
        return True


def started(stored: Marks, runs: list[int], acked: int) -> LaneMarks:
    return LaneMarks("up:", dict(stored), runs, dict.fromkeys(map(int, Lane), acked))


@given(data=st.data(), ours=st.booleans(), has=st.integers(0, 5))
def test_a_push_moves_a_lane_only_from_where_it_is(
    data: st.DataObject, ours: bool, has: int
) -> None:
    """Law 6, the first push of a run included: pushes of one conversation, begun in any order."""
    stored = Marks({f"up:{int(lane)}": [NEW if ours else OLD, has, 7] for lane in Lane})
    marks = started(stored, [OLD, NEW], has)
    ends = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    pushes, after = [], has
    for length in ends:
        pushes.append((after, after + length))
        after += length
    for after, upto in data.draw(st.permutations(pushes)):
        before = stored["up:2"][1]
        if stored.commit(marks.moved(Lane.CRITICAL, after, upto, upto)):
            assert before == after
            assert stored["up:2"][:2] == [NEW, upto]
        else:
            assert stored["up:2"][1] == before
            marks = started(stored, [OLD, NEW], has)


@given(st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(0, 99)), min_size=1))
def test_the_greatest_stamp_ever_pushed_is_kept(pushed: list[tuple[Lane, int]]) -> None:
    """Whichever the run, and whatever of it the cloud has to be told again."""
    stored, has = Marks(), dict.fromkeys(Lane, 0)
    for number, (lane, hlc) in enumerate(pushed):
        runs = [100 + number]
        marks = started(stored, runs, 0)
        has = dict.fromkeys(Lane, 0)
        assert marks.has == has
        assert stored.commit(marks.moved(lane, 0, 1, hlc))
    assert started(stored, [5], 0).pushed_hlc == max(hlc for _, hlc in pushed)

"""Digests: equal for equal sets in any order, different when anything differs; tickets: a clone is
found out, an older database is not taken for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.contract.records import REGISTRY, part, sale, stamp, thing

from beira.kernel import ticket as tickets
from beira.kernel.digest import Digest, Verdict, bucket_of, differing, row_digest, verdict
from beira.kernel.merge import merge
from beira.kernel.record import Row

ROWS = st.lists(
    st.builds(
        lambda id, ms, name, node: thing(f"i{id}", ms=ms, name=name, node=node),
        st.integers(0, 40),
        st.integers(0, 5),
        st.text(max_size=3),
        st.sampled_from(["n1", "n2"]),
    ),
    unique_by=lambda row: row.id,
)


def digest(rows: list[Row], *, buckets: bool = False) -> list[tuple[int, int]]:
    made = Digest(buckets=buckets)
    made.add(rows)
    return made.sums


@given(ROWS, st.randoms())
def test_order_and_grouping_do_not_matter(rows: list[Row], random: st.DataObject) -> None:
    shuffled = rows[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest(rows) == digest(shuffled)
    assert sum(count for count, _ in digest(rows, buckets=True)) == len(rows)


@given(ROWS, ROWS)
def test_buckets_name_every_difference(mine: list[Row], theirs: list[Row]) -> None:
    one, other = ({row.id: row for row in rows} for rows in (mine, theirs))
    wrong = {id for id in one.keys() | other.keys() if one.get(id) != other.get(id)}
    found = differing(digest(mine, buckets=True), digest(theirs, buckets=True))
    assert set(found) == {bucket_of(id) for id in wrong}
    assert bool(differing(digest(mine), digest(theirs))) == bool(wrong)


@given(st.integers(0, 5), st.text(max_size=3))
def test_value_stamp_and_id_all_count(ms: int, name: str) -> None:
    row = thing("a", ms=ms, name=name)
    others = [
        thing("b", ms=ms, name=name),
        thing("a", ms=ms + 1, name=name),
        thing("a", ms=ms, name=name + "x"),
        thing("a", ms=ms, name=name, node="n9"),
    ]
    assert row_digest(row) < 1 << 53
    assert row_digest(row) not in [row_digest(other) for other in others]


def test_deleted_rows_count_for_nothing() -> None:
    gone = merge(REGISTRY["things"], thing("a"), part("a", ms=9, _deleted=True))
    assert digest([gone]) == digest([])


def judged(mine: Row, theirs: Row | None, **options: int) -> Verdict:
    bounds = {"horizon_hlc": 0, "settled_hlc": stamp(100).hlc, **options}
    return verdict(REGISTRY[mine.collection], mine, theirs, node="n1", **bounds)


def price(ms: int) -> Row:
    return Row.of("prices", "p", "tenant", {"cents": ms}, {"cents": stamp(ms, node="cloud")})


def test_what_a_node_does_with_what_differs() -> None:
    mine, theirs = thing("a", ms=5, node="n1"), thing("a", ms=5, node="n2")
    assert judged(mine, mine) is Verdict.KEEP
    assert judged(mine, None) is Verdict.SEND
    assert judged(mine, None, horizon_hlc=stamp(5).hlc) is Verdict.REMOVE
    assert judged(mine, None, horizon_hlc=stamp(4).hlc) is Verdict.SEND
    assert judged(theirs, None) is Verdict.ADOPT
    assert judged(theirs, None, settled_hlc=stamp(4).hlc) is Verdict.KEEP
    assert judged(sale("s"), None) is Verdict.SEND
    assert judged(sale("s", node="n2"), None) is Verdict.KEEP
    assert judged(price(5), price(4)) is Verdict.REPLACE
    assert judged(price(5), None) is Verdict.REPLACE
    assert judged(price(5), price(4), settled_hlc=stamp(4).hlc) is Verdict.KEEP


TICKETS = st.integers(0, tickets.CHANCES - 1)


@given(st.lists(TICKETS, min_size=2, max_size=20), st.data())
def test_a_clone_is_found_out_and_an_older_cloud_is_not_fooled(
    chances: list[int], data: st.DataObject
) -> None:
    """A node through many sessions; its clone stopped at one of them, a backup was made at one."""
    held = [0]
    for chance in chances:
        fresh = tickets.following(held[-1], chance)
        assert tickets.is_good(held[-1], held[-1]) and tickets.is_good(fresh, held[-1])
        held.append(fresh)
    then = data.draw(st.integers(0, len(held) - 2))
    assert not tickets.is_good(held[then], held[-1]), "the clone"
    assert tickets.is_good(held[-1], held[then]), "the node, after the cloud was restored"


@given(st.lists(st.tuples(st.integers(0, 4), TICKETS), max_size=40))
def test_late_and_lost_requests_take_no_ticket_away(steps: list[tuple[int, int]]) -> None:
    """An honest node's requests: answered, or their answer lost, and any earlier one comes again."""
    last, mine, said = None, 0, [0]
    for what, chance in steps:
        if what:
            assert tickets.is_good(mine, last), "the node's own, as it comes"
            said.append(mine)
            last = mine
            if what > 1:
                mine = tickets.following(mine, chance)
        else:
            again = said[chance % len(said)]
            last = again if tickets.is_good(again, last) else last


@given(st.lists(st.tuples(st.booleans(), TICKETS), min_size=1, max_size=40))
def test_of_two_machines_never_both_go_on(steps: list[tuple[bool, int]]) -> None:
    """Whichever of two machines with one ticket shows itself, at each step: once each has been given
    one of its own, only one of them is let in."""
    last, mine, own = 0, [0, 0], [False, False]
    for second, chance in steps:
        if tickets.is_good(mine[second], last):
            last = mine[second]
            mine[second] = tickets.following(mine[second], chance)
            own[second] = True
    if all(own) and mine[0] != mine[1]:
        last = max(last, *mine)
        assert [tickets.is_good(ticket, last) for ticket in mine].count(True) == 1


def test_nonsense_is_no_ticket() -> None:
    for ticket in (-1, 1 << 53, 1 << 70):
        assert not tickets.is_good(ticket, None)

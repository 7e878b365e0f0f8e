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
    given_, confirmed, pending = [0], 0, None
    held = [(confirmed, pending)]
    for chance in chances:
        assert tickets.is_good(given_[-1], confirmed, pending)
        fresh = tickets.following(given_[-1], confirmed, pending, chance)
        confirmed, pending = fresh, None
        given_.append(fresh)
        held.append((confirmed, pending))
    then = data.draw(st.integers(0, len(given_) - 2))
    assert not tickets.is_good(given_[then], confirmed, pending), "the clone"
    assert tickets.is_good(given_[-1], *held[then]), "the node, after the cloud was restored"
    assert tickets.is_later(given_[-1], *held[then])
    assert not tickets.is_later(given_[-1], confirmed, pending)


@given(TICKETS, TICKETS)
def test_an_answer_that_was_lost_is_forgiven_once(one: int, other: int) -> None:
    offered = tickets.following(0, None, None, one)
    again = tickets.following(0, 0, offered, other)
    assert tickets.is_good(0, 0, offered) and tickets.is_good(offered, 0, offered)
    if one == other:
        assert again == offered, "the same hello, come twice"
    else:
        assert tickets.turn_of(again) > tickets.turn_of(offered)


def test_nonsense_is_no_ticket() -> None:
    for ticket in (-1, 1 << 53, 1 << 70):
        assert not tickets.is_good(ticket, None, None)

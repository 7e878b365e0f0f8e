"""Laws 6 and 7 at the cloud's gate, over whatever a node may send: no gaps, and nothing strays."""

from __future__ import annotations

from typing import Annotated

from hypothesis import given, settings
from hypothesis import strategies as st

from beira.host.host import Place
from beira.kernel import limits
from beira.kernel.access import partitions
from beira.kernel.admit import admit, without_echo
from beira.kernel.batch import pack, unpack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import (
    BOTH,
    DOWN,
    IMPORTANT,
    LOCAL,
    SITE,
    TENANT,
    UP,
    Lane,
    Personal,
    Registry,
    collection,
    collection_of,
)
from beira.kernel.gate_session import Commit, GateSession, Send
from beira.kernel.record import Fact, Row, State
from beira.kernel.wire import Ack, Bye, Feed, Gap, Hello, Push

NOW_MS = 1_790_000_000_000
NODE = Place(tenant="t", node="n1", site="s1", groups=("g1",)).principal


@collection("seen", flow=UP, lane=IMPORTANT, partition=SITE)
class Seen(Fact):
    text: Annotated[str, Personal]


@collection("shared", flow=BOTH, lane=IMPORTANT, partition=TENANT)
class Shared(State):
    text: str


@collection("told", flow=DOWN, lane=IMPORTANT, partition=TENANT)
class Told(State):
    text: str


@collection("kept", flow=LOCAL, partition=TENANT)
class Kept(State):
    text: str


REGISTRY = Registry([collection_of(c) for c in (Seen, Shared, Told, Kept)])
PARTITIONS = ["tenant", "site:s1", "group:g1", "node:n1", "site:s2", "node:n2", "group:g2", "", "x"]
rows = st.builds(
    lambda name, id, partition, text, node, ms, lane: Row(
        collection=name,
        id=id,
        partition=partition,
        fields={"text": text},
        stamp=Stamp(hlc_at(ms) + 1, lane, node),
        stamps={},
    ),
    st.sampled_from(["seen", "shared", "told", "kept", "nothing"]),
    st.text(max_size=70),
    st.sampled_from(PARTITIONS),
    st.one_of(st.text(max_size=9), st.integers(), st.none()),
    st.sampled_from(["n1", "n2", "cloud", ""]),
    st.integers(0, NOW_MS),
    st.integers(-1, 3),
)
pushes = st.builds(
    lambda lane, after, length: (lane, after, after + length),
    st.sampled_from(list(Lane)),
    st.integers(0, 12),
    st.integers(-1, 5),
)


def gate() -> GateSession:
    session = GateSession(
        node=NODE,
        registry=REGISTRY,
        release="test",
        cloud="epoch",
        acked={lane: 0 for lane in Lane},
    )
    session.received(
        Hello(protocol=1, release="test", ticket=0, clock_ms=NOW_MS, cursors={"tenant": 1}), NOW_MS
    )
    session.ticket_given(1, NOW_MS)
    return session


@given(st.lists(pushes, max_size=40))
def test_law_6_no_gaps(sent: list[tuple[Lane, int, int]]) -> None:
    """Whatever is pushed, what was committed of a lane is contiguous from its beginning, and a gap
    is answered with the number that is wanted."""
    session = gate()
    has = dict.fromkeys(Lane, 0)
    for lane, after, upto in sent:
        push = Push(lane=int(lane), after=after, upto=upto)
        for action in session.received(push, NOW_MS):
            if isinstance(action, Commit):
                assert action.has == has[lane] and action.upto > has[lane]
                assert after <= has[lane], "took a batch with something missing before it"
                has[lane] = action.upto
                (answer,) = session.committed(lane, action.upto, [])
                assert isinstance(answer, Send) and answer.message == Ack(
                    lane=lane, upto=action.upto
                )
            elif isinstance(action, Send) and isinstance(action.message, Gap):
                assert action.message.has == has[lane]
                assert after > has[lane] or upto < after
            else:
                assert isinstance(action, Send) and isinstance(action.message, Ack)
                assert action.message.upto == has[lane]
    assert session.acked == has


@given(st.lists(rows, max_size=30))
def test_law_7_nothing_strays_in(sent: list[Row]) -> None:
    """What is admitted goes up, lies in the node's partitions and carries its own stamps; all the
    rest is kept with its reason."""
    admitted = admit(sent, NODE, REGISTRY)
    granted = partitions(NODE)
    assert granted is not None
    assert len(admitted.rows) + len(admitted.refused) == len(sent)
    for row in admitted.rows:
        assert REGISTRY[row.collection].goes_up
        assert row.partition in granted
        assert {row.stamp.node, *(s.node for s in row.stamps.values())} == {"n1"}
        assert isinstance(row.fields["text"], str) and 0 < len(row.id) <= limits.ID_CHARS
    for row, why in admitted.refused:
        assert why.code and why.message and row in sent


@given(st.sampled_from(PARTITIONS), st.lists(rows, max_size=10))
def test_law_7_nothing_strays_out(partition: str, stored: list[Row]) -> None:
    """Feeds are read only for partitions granted, and never bring a node its own writes back."""
    session = gate()
    granted = partitions(NODE)
    assert granted is not None and set(session.feeds) == granted
    session.news([partition])
    if partition in granted and partition:
        actions = session.feed_read(partition, session.feeds[partition].sent, 99, stored, False)
        feeds = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Feed)]
        if partition == "tenant":
            told = [row for feed in feeds for row in unpack(feed.groups)]
            assert all(row.stamp_of(f).node != "n1" for row in told for f in row.fields)
    else:
        assert partition not in session.feeds


@given(st.lists(rows, max_size=30))
def test_batches_bring_every_row_back(sent: list[Row]) -> None:
    back = unpack(pack(sent))
    key = lambda row: (row.collection, row.id, repr(row))  # noqa: E731
    assert sorted(back, key=key) == sorted(sent, key=key)


@given(rows)
def test_without_echo_tells_all_that_others_wrote(row: Row) -> None:
    told = without_echo(row, "n1")
    theirs = {f for f in row.fields if row.stamp_of(f).node != "n1"}
    assert (set(told.fields) if told else set()) == theirs


@settings(max_examples=20)
@given(st.integers(-5, 10))
def test_only_neighbouring_protocols_are_let_in(protocol: int) -> None:
    session = GateSession(node=NODE, registry=REGISTRY, release="t", cloud="e", acked={})
    actions = session.received(
        Hello(protocol=protocol, release="t", ticket=0, clock_ms=NOW_MS), NOW_MS
    )
    refused = any(isinstance(a, Send) and isinstance(a.message, Bye) for a in actions)
    assert refused == (abs(protocol - 1) > 1)

"""The laws, held by every store against random histories: memory, SQLite and PostgreSQL.

Each example writes under ids, streams and a node of its own, so that one store serves them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.records import REGISTRY, T0, thing
from tests.property.rows import rows

from beira.kernel.clock import Stamp, hlc_at, tolerated
from beira.kernel.record import Row
from beira.store.memory import MemoryStore

EXAMPLE = itertools.count(1)
HALF_A_MINUTE = hlc_at(30_000)
"""Two of them are what clocks may drift."""
LAWS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
IDS = "abc"
HISTORY = st.lists(rows(IDS), min_size=1, max_size=10)


def apart(history: Sequence[Row], example: int) -> list[Row]:
    return [msgspec.structs.replace(row, id=f"{example}-{row.id}") for row in history]


async def commit_in_groups(store: Any, history: Sequence[Row], cuts: Sequence[int]) -> None:
    """Commit rows in order, some of them together."""
    bounds = [0, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    for start, end in itertools.pairwise(bounds):
        await store.commit(history[start:end])


async def state(store: Any, history: Sequence[Row]) -> list[Row | None]:
    keys = sorted({(row.collection, row.id) for row in history})
    return [await store.get(*key) for key in keys]


@LAWS
@given(data=st.data())
async def test_any_order_and_replay_gives_equal_rows(data: st.DataObject, store: Any) -> None:
    """Laws 3 and 4."""
    history = apart(data.draw(HISTORY), next(EXAMPLE))
    plain = MemoryStore(REGISTRY)
    await plain.commit(history)
    again = data.draw(st.lists(st.sampled_from(history), max_size=5))
    shuffled = data.draw(st.permutations(history + again))
    cuts = data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4))
    await commit_in_groups(store, shuffled, cuts)
    assert await state(store, history) == await state(plain, history)
    assert (await store.commit(history)).rows == ()


@LAWS
@given(data=st.data())
async def test_what_a_stream_hands_out_rebuilds_the_rows(data: st.DataObject, store: Any) -> None:
    """Laws 2, 4 and 6: writing, reading in small slices and trimming at random moments loses
    nothing, skips nothing, and numbers only rise."""
    example = next(EXAMPLE)
    history = apart(data.draw(HISTORY), example)
    stream, route = f"up:{example}", lambda row: f"up:{example}"
    receiver = MemoryStore(REGISTRY)
    last = 0
    for row in history:
        await store.commit([row], route=route)
        for _ in range(data.draw(st.integers(0, 2))):
            last = await _send(store, receiver, stream, last, data)
    while (await store.pending(stream)).count:
        last = await _send(store, receiver, stream, last, data, trim=True)
    assert await state(receiver, history) == await state(store, history)
    assert (await store.pending(stream)).oldest_hlc is None


async def _send(
    store: Any,
    receiver: MemoryStore,
    stream: str,
    last: int,
    data: st.DataObject,
    *,
    trim: bool = False,
) -> int:
    """Hand some changes over, and perhaps trim them."""
    before = await store.pending(stream)
    assert before.last >= last
    found = await store.since(
        stream,
        0,
        most=data.draw(st.integers(1, 3)),
        most_bytes=1 << 20,
        whole=data.draw(st.booleans()),
    )
    assert found.upto <= before.last and bool(found.rows) == bool(before.count)
    assert found.more == (len(found.rows) < before.count)
    await receiver.commit(found.rows)
    if trim or data.draw(st.booleans()):
        await store.trim(stream, found.upto)
        after = await store.pending(stream)
        assert after.count == before.count - len(found.rows) and after.last == before.last
    return int(before.last)


@LAWS
@given(data=st.data())
async def test_reading_on_by_cursor_sees_every_latest_row(data: st.DataObject, store: Any) -> None:
    """Laws 4 and 6, as a node follows a feed that nobody trims."""
    example = next(EXAMPLE)
    history = apart(data.draw(HISTORY), example)
    stream, route = f"feed:{example}", lambda row: f"feed:{example}"
    follower = MemoryStore(REGISTRY)
    cursor = 0
    for row in [*history, None]:
        if row is not None:
            await store.commit([row], route=route)
        if row is None or data.draw(st.booleans()):
            more = True
            while more:
                found = await store.since(stream, cursor, whole=True, most=2, most_bytes=1 << 20)
                await follower.commit(found.rows)
                assert found.upto > cursor or not found.rows
                cursor, more = found.upto, found.more
    assert await state(follower, history) == await state(store, history)


@LAWS
@given(data=st.data())
async def test_restamping_keeps_order_and_what_was_sent(
    data: st.DataObject, node_store: Any
) -> None:
    """Law 10: a node whose clock ran ahead loses nothing and reorders nothing of its own."""
    example = next(EXAMPLE)
    node, stream = f"node{example}", f"up:{example}"
    steps = data.draw(
        st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 3), st.booleans()), max_size=8)
    )
    hlc, order = hlc_at(T0), list[tuple[str, str]]()
    for number, (id, jump, trim) in enumerate(steps):
        hlc += 1 + jump * HALF_A_MINUTE
        name = ("name", "number", "ratio", "data")[number % 4]
        fields = {name: {"name": "x", "number": number, "ratio": 0.5, "data": {}}[name]}
        written = Row(
            collection="things",
            id=f"{example}-{id}",
            partition="site:1",
            fields=fields,
            stamp=Stamp(hlc, 0, node),
        )
        await node_store.commit([written], route=lambda row: stream)
        order = [key for key in order if key != (written.id, name)] + [(written.id, name)]
        if trim and data.draw(st.booleans()):
            await node_store.trim(stream, (await node_store.pending(stream)).last)
    ceiling = hlc_at(T0) + data.draw(st.integers(0, 30_000))
    unsent = await _unsent(node_store, stream)
    before = await _stamps(node_store, order)
    greatest = await node_store.restamp([stream], node, ceiling)
    after = await _stamps(node_store, order)
    assert greatest == max(after.values(), default=0)
    assert [after[key] for key in order] == sorted(set(after.values()))
    kept = tolerated(ceiling)
    sent = [before[key] for key in order if key not in unsent]
    floor = max([*sent, *(before[k] for k in unsent if before[k] <= kept)], default=0)
    for key in order:
        if key not in unsent or before[key] <= kept:
            assert after[key] == before[key]
        else:
            assert after[key] <= max(ceiling, floor + len(unsent))
    assert await _unsent(node_store, stream) >= unsent


async def _unsent(store: Any, stream: str) -> set[tuple[str, str]]:
    found = await store.since(stream, 0, most=1_000, most_bytes=1 << 20)
    return {(row.id, name) for row in found.rows for name in row.fields}


async def _stamps(store: Any, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    found = {}
    for id, name in keys:
        row = await store.get("things", id)
        found[id, name] = row.stamp_of(name).hlc
    return found


async def test_an_example_really_collides(store: Any) -> None:
    """The strategies above would prove nothing if rows never met."""
    await store.commit([thing("a", ms=2, name="late")])
    assert (await store.commit([thing("a", ms=1, name="early")])).rows == ()

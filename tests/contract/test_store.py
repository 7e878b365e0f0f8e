"""What `store.port` promises, asked of every implementation: memory, SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.contract.records import T0, by_lane, one_stream, part, row, sale, stamp, thing

from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.collection import CRITICAL, IMPORTANT, NORMAL
from beira.kernel.errors import BeiraError, Conflict, Invalid, NotFound
from beira.kernel.record import Row
from beira.store.port import News, Slice

WHOLE = {
    "name": "Café São João 'é' \"x\" ; -- %_*?[",
    "number": 2**63 - 1,
    "ratio": 0.1,
    "open": False,
    "at": "2026-11-20T14:30:00.25Z",
    "day": "2024-02-29",
    "data": {"b": [1, 2.5, None, True, {"ç": "\u2028"}], "a": ""},
}


async def read(store: Any, stream: str = "s", after: int = 0, **options: Any) -> Slice:
    options = {"most": 1_000, "most_bytes": 1 << 20, **options}
    found: Slice = await store.since(stream, after, **options)
    return found


def ids(found: Slice) -> list[str]:
    return [row.id for row in found.rows]


class TestRows:
    async def test_a_row_comes_back_as_it_went_in(self, store: Any) -> None:
        written = thing("a", **WHOLE)
        commit = await store.commit([written])
        assert commit.rows == (written,)
        found = await store.get("things", "a")
        assert found == written
        assert {n: type(v) for n, v in found.fields.items()} == {
            n: type(v) for n, v in written.fields.items()
        }

    @pytest.mark.parametrize(
        "fields",
        [
            {"number": -(2**63), "ratio": -1.5, "open": True, "at": "2026-01-01T00:00:00Z"},
            {"number": 0, "ratio": 1e300, "name": "", "data": {}},
            {"ratio": 3.0, "at": "2026-01-01T00:00:00.000001Z", "day": "9999-12-31"},
            {},
        ],
    )
    async def test_extremes_and_nulls_come_back(self, store: Any, fields: dict[str, Any]) -> None:
        written = thing("a", **fields)
        await store.commit([written])
        found = await store.get("things", "a")
        assert found == written
        assert repr(sorted(found.fields.items())) == repr(sorted(written.fields.items()))

    async def test_a_part_of_a_row_stays_a_part(self, store: Any) -> None:
        written = part("a", ms=0, name="x", number=None)
        await store.commit([written])
        assert await store.get("things", "a") == written

    async def test_a_fields_own_stamp_is_kept(self, store: Any) -> None:
        await store.commit([thing("a", name="x", ms=0)])
        await store.commit([part("a", ms=5, number=7, node="n2")])
        found = await store.get("things", "a")
        assert found.stamp == stamp(5, node="n2")
        assert found.stamp_of("number") == stamp(5, node="n2")
        assert found.stamp_of("name") == stamp(0)
        assert found.fields["name"] == "x" and found.fields["number"] == 7

    async def test_fields_of_other_releases_survive(self, store: Any) -> None:
        """Law 8."""
        fields = {"name": "x", "colour": "blue", "sizes": [1, None], "gone": None}
        await store.commit([row("things", "a", fields)])
        await store.commit([part("a", ms=5, name="y")])
        found = await store.get("things", "a")
        assert found.fields == {**fields, "name": "y"}
        assert found.stamp_of("colour") == stamp(0)

    async def test_a_deletion_is_a_field(self, store: Any) -> None:
        await store.commit([thing("a", name="x")])
        await store.commit([part("a", ms=5, _deleted=True)])
        found = await store.get("things", "a")
        assert found.deleted and found.fields["name"] == "x"
        await store.commit([part("a", ms=9, _deleted=False)])
        found = await store.get("things", "a")
        assert not found.deleted and found.fields["_deleted"] is False

    async def test_what_is_not_there_is_none(self, store: Any) -> None:
        assert await store.get("things", "nobody") is None

    async def test_an_unknown_collection_is_refused(self, store: Any) -> None:
        with pytest.raises(NotFound) as caught:
            await store.get("ghosts", "a")
        assert caught.value.code == "collection.unknown"
        with pytest.raises(NotFound):
            await store.commit([row("ghosts", "a", {"x": 1})])

    @pytest.mark.parametrize("id", ["", "x" * 65, "a\x00b"])
    async def test_an_id_that_cannot_be_is_refused(self, store: Any, id: str) -> None:
        with pytest.raises(Invalid) as caught:
            await store.commit([thing(id)])
        assert caught.value.code == "id.invalid" and caught.value.hint

    async def test_a_row_without_fields_is_refused(self, store: Any) -> None:
        with pytest.raises(Invalid):
            await store.commit([row("things", "a", {})])


class TestMerging:
    async def test_replay_changes_nothing(self, store: Any) -> None:
        """Law 3."""
        rows = [sale("s1"), thing("t1", name="x")]
        await store.commit(rows, route=one_stream)
        before = await store.pending("s")
        again = await store.commit(rows, route=one_stream)
        assert again.rows == ()
        assert await store.pending("s") == before

    async def test_the_later_write_wins_whatever_comes_first(self, store: Any) -> None:
        await store.commit([part("a", ms=9, name="late")])
        commit = await store.commit([part("a", ms=3, name="early")])
        assert commit.rows == ()
        assert (await store.get("things", "a")).fields["name"] == "late"

    async def test_the_more_urgent_write_wins_where_so_declared(self, store: Any) -> None:
        await store.commit([row("alarms", "a", {"level": "fire"}, ms=1, lane=CRITICAL)])
        await store.commit([row("alarms", "a", {"level": "none"}, ms=9, lane=NORMAL)])
        assert (await store.get("alarms", "a")).fields["level"] == "fire"

    async def test_a_fact_is_never_changed(self, store: Any) -> None:
        await store.commit([sale("s1", ms=1, cents=100)])
        commit = await store.commit([sale("s1", ms=5, cents=999)])
        assert commit.rows == ()
        assert (await store.get("sales", "s1")).fields["cents"] == 100

    async def test_the_earlier_of_two_facts_stays(self, store: Any) -> None:
        await store.commit([sale("s1", ms=5, cents=999)])
        commit = await store.commit([sale("s1", ms=1, cents=100)])
        assert [r.fields["cents"] for r in commit.rows] == [100]
        assert (await store.get("sales", "s1")).fields["cents"] == 100

    async def test_twice_in_one_commit_is_one_row_of_its_answer(self, store: Any) -> None:
        rows = [part("a", ms=1, name="x"), part("b", ms=2, name="b"), part("a", ms=3, number=1)]
        commit = await store.commit(rows, route=one_stream)
        assert [(r.id, r.fields) for r in commit.rows] == [
            ("b", {"name": "b"}),
            ("a", {"name": "x", "number": 1}),
        ]
        assert ids(await read(store)) == ["b", "a"]

    async def test_another_partition_is_refused_and_nothing_of_it_kept(self, store: Any) -> None:
        await store.commit([thing("a", name="x")])
        moved = thing("a", name="y", ms=5, partition="site:2")
        with pytest.raises(Conflict) as caught:
            await store.commit([sale("s1"), moved], route=one_stream, marks={"m": 1})
        assert caught.value.code == "partition.fixed"
        assert await store.get("sales", "s1") is None
        assert (await store.get("things", "a")).fields["name"] == "x"
        assert await store.marks() == {}
        assert (await store.pending("s")).count == 0

    async def test_anothers_fact_is_refused(self, store: Any) -> None:
        await store.commit([sale("s1", node="n1")])
        with pytest.raises(Conflict):
            await store.commit([sale("s1", node="n2")])

    async def test_rows_of_one_answer_are_in_normal_form(self, store: Any) -> None:
        loose = Row(
            collection="things",
            id="a",
            partition="site:1",
            fields={"number": 1, "name": "x"},
            stamp=stamp(0),
            stamps={"name": stamp(3), "number": stamp(1)},
        )
        await store.commit([loose])
        found = await store.get("things", "a")
        assert found.stamp == stamp(3) and found.stamps == {"number": stamp(1)}


class TestStreams:
    async def test_a_stream_gives_what_changed_in_order(self, store: Any) -> None:
        for i in range(5):
            await store.commit([sale(f"s{i}", ms=i)], route=one_stream)
        found = await read(store)
        assert ids(found) == ["s0", "s1", "s2", "s3", "s4"]
        assert found.after == 0 and not found.more
        assert found.upto == (await store.pending("s")).last == await store.end("s")

    async def test_rows_of_many_collections_keep_their_order(self, store: Any) -> None:
        rows = [sale("1"), thing("2"), sale("3"), row("alarms", "4", {"level": "x"}), thing("5")]
        await store.commit(rows, route=one_stream)
        assert ids(await read(store)) == ["1", "2", "3", "4", "5"]

    async def test_no_route_no_stream(self, store: Any) -> None:
        await store.commit([sale("s1")])
        await store.commit([sale("s2")], route=lambda row: None)
        assert (await read(store)).rows == ()

    async def test_a_record_is_named_once_at_its_latest_change(self, store: Any) -> None:
        await store.commit([thing("a", name="x", ms=1)], route=one_stream)
        await store.commit([thing("b", ms=2)], route=one_stream)
        await store.commit([part("a", ms=3, name="y")], route=one_stream)
        found = await read(store)
        assert ids(found) == ["b", "a"]
        assert found.rows[1].fields["name"] == "y"
        pending = await store.pending("s")
        assert pending.count == 2 and pending.last == found.upto
        assert pending.oldest_hlc == stamp(1).hlc

    async def test_only_what_changed_since_the_trim_is_sent(self, store: Any) -> None:
        await store.commit([thing("a", name="x", number=1, ms=1)], route=one_stream)
        await store.trim("s", (await read(store)).upto)
        await store.commit([part("a", ms=5, name="y")], route=one_stream)
        await store.commit([part("a", ms=7, open=True)], route=one_stream)
        found = (await read(store)).rows[0]
        assert found.fields == {"name": "y", "open": True}
        assert found.stamp_of("name") == stamp(5) and found.stamp == stamp(7)
        assert (await store.pending("s")).oldest_hlc == stamp(5).hlc
        whole = (await read(store, whole=True)).rows[0]
        assert whole == await store.get("things", "a")

    async def test_what_changed_while_it_was_sent_stays(self, store: Any) -> None:
        """Law 2: a trim takes only what was handed out."""
        await store.commit([thing("a", name="x", ms=1), thing("b", ms=1)], route=one_stream)
        sent = await read(store)
        await store.commit([part("a", ms=5, name="y")], route=one_stream)
        await store.trim("s", sent.upto)
        assert ids(await read(store)) == ["a"]
        assert (await read(store)).rows[0].fields["name"] == "y"

    async def test_numbers_never_go_back(self, store: Any) -> None:
        """Law 6: not even when a stream has been trimmed to nothing."""
        await store.commit([sale("s1"), sale("s2")], route=one_stream)
        first = await read(store)
        await store.trim("s", first.upto)
        empty = await store.pending("s")
        assert await store.end("nobody") == 0
        assert empty.count == 0 and empty.oldest_hlc is None and empty.last == first.upto
        await store.commit([sale("s3")], route=one_stream)
        second = await read(store, after=first.upto)
        assert ids(second) == ["s3"] and second.upto > first.upto

    async def test_an_empty_slice_ends_where_it_looked(self, store: Any) -> None:
        nothing = await read(store, "none", after=7)
        assert nothing == Slice(stream="none", after=7, upto=7, rows=(), more=False)
        await store.commit([sale("s1")], route=one_stream)
        found = await read(store)
        assert (await read(store, after=found.upto)).upto == found.upto

    async def test_slices_are_bounded_by_rows(self, store: Any) -> None:
        await store.commit([sale(f"s{i:03}", ms=i) for i in range(25)], route=one_stream)
        seen: list[str] = []
        after, more = 0, True
        while more:
            found = await read(store, after=after, most=10)
            assert 0 < len(found.rows) <= 10 and found.upto > after
            seen += ids(found)
            after, more = found.upto, found.more
        assert seen == [f"s{i:03}" for i in range(25)]

    async def test_a_slice_that_ends_on_its_bound_has_no_more(self, store: Any) -> None:
        await store.commit([sale(f"s{i}", ms=i) for i in range(4)], route=one_stream)
        assert not (await read(store, most=4)).more
        assert (await read(store, most=3)).more

    async def test_slices_are_bounded_by_bytes(self, store: Any) -> None:
        rows = [thing(f"t{i}", ms=i, name="x" * 4_000) for i in range(10)]
        await store.commit(rows, route=one_stream)
        found = await read(store, most_bytes=20_000)
        assert 2 <= len(found.rows) <= 5 and found.more
        one = await read(store, most_bytes=1)
        assert len(one.rows) == 1 and one.more

    async def test_streams_are_apart(self, store: Any) -> None:
        rows = [sale("n", lane=NORMAL), sale("i", lane=IMPORTANT), sale("c", lane=CRITICAL)]
        await store.commit(rows, route=by_lane)
        assert [ids(await read(store, f"up:{lane}")) for lane in range(3)] == [["n"], ["i"], ["c"]]
        await store.trim("up:1", 1_000)
        assert [(await store.pending(f"up:{lane}")).count for lane in range(3)] == [1, 0, 1]

    async def test_a_trim_sets_its_marks(self, store: Any) -> None:
        await store.commit([sale("s1")], route=one_stream)
        await store.trim("s", 1_000, marks={"acked:s": 1})
        assert await store.marks() == {"acked:s": 1}

    async def test_a_fact_replaced_is_sent_again_whole(self, store: Any) -> None:
        await store.commit([sale("s1", ms=5, cents=999)], route=one_stream)
        await store.trim("s", 1_000)
        await store.commit([sale("s1", ms=1, cents=100)], route=one_stream)
        found = (await read(store)).rows[0]
        assert found == await store.get("sales", "s1")


class TestMarks:
    async def test_marks_are_kept_and_found_by_prefix(self, store: Any) -> None:
        await store.commit([], marks={"cursor:site:1": 7, "cursor:tenant": {"at": 9}, "x": "é"})
        await store.commit([], marks={"x": [1, None]})
        assert await store.marks("cursor:") == {"cursor:site:1": 7, "cursor:tenant": {"at": 9}}
        assert (await store.marks())["x"] == [1, None]
        assert await store.marks("CURSOR") == {} and await store.marks("%") == {}

    async def test_none_takes_a_mark_away(self, store: Any) -> None:
        await store.commit([], marks={"x": 1, "y": 2})
        await store.commit([], marks={"x": None})
        assert await store.marks() == {"y": 2}

    async def test_expected_marks_decide(self, store: Any) -> None:
        await store.commit([], marks={"n": 1}, expect={"n": None})
        await store.commit([sale("s1")], marks={"n": 2}, expect={"n": 1, "other": None})
        with pytest.raises(Conflict) as caught:
            await store.commit([sale("s2")], marks={"n": 3}, expect={"n": 1})
        assert caught.value.code == "marks.moved" and caught.value.hint
        assert await store.marks() == {"n": 2}
        assert await store.get("sales", "s2") is None

    async def test_of_many_who_expect_the_same_one_wins(self, store: Any) -> None:
        await store.commit([], marks={"n": 0})
        tries = [store.commit([], marks={"n": i}, expect={"n": 0}) for i in range(1, 9)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(d, BaseException) for d in done) == 1
        assert all(isinstance(d, Conflict) for d in done if isinstance(d, BaseException))


class TestForgetting:
    async def test_old_rows_go_and_what_is_pending_stays(self, store: Any) -> None:
        await store.commit([sale("old", ms=1), sale("new", ms=9)])
        await store.commit([sale("pending", ms=2)], route=one_stream)
        assert await store.forget("sales", stamp(5).hlc) == 1
        assert await store.get("sales", "old") is None
        assert await store.get("sales", "new") is not None
        assert ids(await read(store)) == ["pending"]
        await store.trim("s", 1_000)
        assert await store.forget("sales", stamp(5).hlc) == 1

    async def test_it_is_bounded(self, store: Any) -> None:
        await store.commit([sale(f"s{i}", ms=i) for i in range(7)])
        counts = [await store.forget("sales", stamp(100).hlc, most=3) for _ in range(4)]
        assert counts == [3, 3, 1, 0]


class TestNews:
    async def test_listeners_hear_of_each_change_once(self, store: Any, tenant: str) -> None:
        heard: list[News] = []
        told = asyncio.Event()

        def listen(news: News) -> None:
            heard.append(news)
            told.set()

        end = store.subscribe(listen)
        await store.commit([sale("s1"), thing("t1")])
        await asyncio.wait_for(told.wait(), 10)
        assert heard[0].tenant == tenant
        assert set(heard[0].rows) == {("sales", "s1", "site:1"), ("things", "t1", "site:1")}
        await store.commit([sale("s1")])
        await store.commit([], marks={"x": 1})
        await store.commit([sale("s2")])
        await _until(lambda: len(heard) >= 2)
        assert [news.rows[0][1] for news in heard[1:]] == ["s2"]
        end()
        end()
        await store.commit([sale("s3")])
        await asyncio.sleep(0.05)
        assert len(heard) == 2

    async def test_a_listener_that_fails_hurts_nobody(self, store: Any) -> None:
        heard: list[News] = []

        def fail(news: News) -> None:
            raise RuntimeError("broken")

        ends = [store.subscribe(fail), store.subscribe(heard.append)]
        await store.commit([sale("s1")])
        await _until(lambda: bool(heard))
        for end in ends:
            end()
        assert await store.get("sales", "s1") is not None


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


class TestManyAtOnce:
    async def test_concurrent_commits_all_arrive(self, store: Any) -> None:
        rows = [sale(f"s{i}", ms=i) for i in range(100)]
        await asyncio.gather(*(store.commit([r], route=one_stream) for r in rows))
        found = await read(store)
        assert sorted(ids(found)) == sorted(r.id for r in rows)

    async def test_concurrent_writes_of_one_record_converge(self, store: Any) -> None:
        rows = [part("a", ms=i, name=f"v{i}") for i in range(40)]
        await asyncio.gather(*(store.commit([r], route=one_stream) for r in rows))
        assert (await store.get("things", "a")).fields == {"name": "v39"}
        assert (await store.pending("s")).count == 1

    async def test_one_that_fails_does_not_fail_the_others(self, store: Any) -> None:
        await store.commit([thing("a", name="x")])
        bad = thing("a", ms=5, partition="site:2")
        tries = [store.commit([sale(f"s{i}")], route=one_stream) for i in range(10)]
        tries[5:5] = [store.commit([sale("never"), bad], route=one_stream)]
        done = await asyncio.gather(*tries, return_exceptions=True)
        assert [isinstance(d, BeiraError) for d in done] == [i == 5 for i in range(11)]
        assert sorted(ids(await read(store))) == sorted(f"s{i}" for i in range(10))


class TestRestamping:
    async def test_unsent_stamps_come_down_in_order(self, node_store: Any) -> None:
        """Law 10."""
        ahead = 10_000_000
        await node_store.commit([thing("now", ms=0)], route=by_lane)
        await node_store.commit([thing("a", ms=ahead), sale("b", ms=ahead + 1)], route=by_lane)
        await node_store.commit([part("a", ms=ahead + 2, name="last")], route=by_lane)
        ceiling = hlc_at(T0 + 1_000)
        greatest = await node_store.restamp(["up:0", "up:1"], "n1", ceiling)
        a, b = await node_store.get("things", "a"), await node_store.get("sales", "b")
        assert a.stamp_of("number").hlc < b.stamp.hlc < a.stamp_of("name").hlc
        assert a.stamp_of("name").hlc == greatest <= ceiling
        assert (await node_store.get("things", "now")).stamp == stamp(0)
        oldest = (await node_store.pending("up:1")).oldest_hlc
        assert oldest is not None and oldest <= ceiling
        assert (await read(node_store, "up:0")).rows[-1].fields == a.fields

    async def test_what_was_sent_and_what_others_wrote_stays(self, node_store: Any) -> None:
        ahead = 10_000_000
        await node_store.commit([thing("sent", ms=500)], route=by_lane)
        await node_store.trim("up:0", 1_000)
        await node_store.commit([thing("theirs", ms=ahead, node="n2")], route=by_lane)
        await node_store.commit([part("sent", ms=ahead, name="x")], route=by_lane)
        greatest = await node_store.restamp(["up:0"], "n1", hlc_at(T0 + 500))
        sent = await node_store.get("things", "sent")
        assert sent.stamp_of("number") == stamp(500)
        assert sent.stamp_of("name") == Stamp(stamp(500).hlc + 1, 0, "n1")
        assert greatest == stamp(500).hlc + 1
        assert (await node_store.get("things", "theirs")).stamp == stamp(ahead, node="n2")
        changed = (await read(node_store, "up:0")).rows[-1]
        assert changed.fields == {"name": "x"}

    async def test_what_never_leaves_comes_down_too(self, node_store: Any) -> None:
        note = row("notes", "a", {"text": "x"}, ms=10_000_000)
        await node_store.commit([note])
        greatest = await node_store.restamp(["up:0"], "n1", stamp(0).hlc)
        assert greatest == stamp(0).hlc
        assert (await node_store.get("notes", "a")).stamp == stamp(0)

    async def test_nothing_comes_down_to_what_was_sent_and_written_over(
        self, node_store: Any
    ) -> None:
        """The value that was sent is in no row any more; the one over it must still win elsewhere."""
        await node_store.commit([thing("a", ms=30_000)], route=by_lane)
        await node_store.commit([thing("a", ms=10_000_000)], route=by_lane)
        sent = stamp(30_000).hlc
        assert await node_store.restamp(["up:0"], "n1", hlc_at(T0 + 100), sent) == sent + 1
        assert (await node_store.get("things", "a")).stamp.hlc == sent + 1

    async def test_nothing_ahead_nothing_moves(self, node_store: Any) -> None:
        await node_store.commit([thing("a", ms=3)], route=by_lane)
        assert await node_store.restamp(["up:0"], "n1", stamp(3).hlc) == stamp(3).hlc
        assert await node_store.restamp(["up:0"], "n9", stamp(3).hlc) == 0
        assert (await node_store.get("things", "a")).stamp == stamp(3)


class TestContests:
    """What different writers put into one field."""

    async def test_the_value_that_lost_is_told_with_its_place_in_the_feed(self, store: Any) -> None:
        first = await store.commit([thing("a", name="old", ms=0, node="n1")], route=one_stream)
        assert list(first.contests) == []
        number = await store.end("s")
        done = await store.commit([part("a", ms=5, name="new", node="n2")], route=one_stream)
        (met,) = done.contests
        assert (met.id, met.field, met.came_in_won, met.number) == ("a", "name", True, number)
        assert met.lost == ("old", stamp(0, node="n1")) and met.kept == ("new", stamp(5, node="n2"))

    async def test_one_that_comes_too_late_is_told_though_it_changes_nothing(
        self, store: Any
    ) -> None:
        await store.commit([thing("a", name="kept", ms=9, node="n1")], route=one_stream)
        done = await store.commit([part("a", ms=5, name="late", node="n2")], route=one_stream)
        assert not done.rows
        assert [(met.lost[0], met.came_in_won) for met in done.contests] == [("late", False)]

    async def test_what_is_dropped_is_written_down_in_the_same_transaction(
        self, store: Any
    ) -> None:
        await store.commit([thing("a", name="old", ms=0, node="n1")], route=one_stream)

        def dropped(met: Any) -> list[Row]:
            return [row("notes", "lost", {"text": met[0].lost[0]}, ms=6)]

        new = [part("a", ms=5, name="new", node="n2")]
        with pytest.raises(Conflict):
            await store.commit(new, route=one_stream, expect={"m": 1}, dropped=dropped)
        assert await store.get("notes", "lost") is None
        done = await store.commit(new, route=one_stream, dropped=dropped)
        assert sorted(ids(done)) == ["a", "lost"]
        assert (await store.get("notes", "lost")).fields["text"] == "old"
        assert "lost" in ids(await read(store))

    async def test_a_node_is_told_what_met_values_it_has_not_sent(self, node_store: Any) -> None:
        await node_store.commit([thing("a", name="mine", ms=3)], route=by_lane)
        feed = [part("a", ms=5, name="theirs", number=9, node="n2")]
        unsent = (await node_store.commit(feed, route=lambda row: None)).contests
        assert unsent and all(met.unsent for met in unsent)
        await node_store.commit([part("a", ms=6, name="again")], route=by_lane)
        await node_store.trim("up:0", 1_000)
        later = [part("a", ms=7, name="and again", node="n2")]
        (met,) = (await node_store.commit(later, route=lambda row: None)).contests
        assert not met.unsent

    async def test_ones_own_changes_equal_values_and_facts_are_none(self, store: Any) -> None:
        await store.commit([thing("a", name="x", ms=0), sale("s")], route=one_stream)
        own = await store.commit([part("a", ms=5, name="y"), sale("s")], route=one_stream)
        same = await store.commit([part("a", ms=6, name="y", node="n2")], route=one_stream)
        assert not own.contests and not same.contests


class TestInspection:
    """What integrity checks and the collection of tombstones need."""

    async def test_a_partitions_rows_come_in_the_order_of_writing(self, store: Any) -> None:
        rows = [thing(f"i{n}", ms=100 - n) for n in range(5)]
        await store.commit([*rows, thing("other", ms=1, partition="site:2")])
        await store.commit([part("i4", ms=200, _deleted=True)])
        found = await store.rows("things", "site:1", after=(0, ""), most=3)
        assert [r.id for r in found] == ["i3", "i2", "i1"]
        last = found[-1]
        rest = await store.rows("things", "site:1", after=(last.stamp.hlc, last.id), most=10)
        assert [r.id for r in rest] == ["i0", "i4"] and rest[-1].deleted
        assert found[0] == await store.get("things", "i3")

    async def test_rows_of_one_stamp_are_paged_by_id(self, store: Any) -> None:
        await store.commit([thing(id, ms=7) for id in ("c", "a", "b")])
        at = stamp(7).hlc
        assert [r.id for r in await store.rows("things", "site:1", after=(at, "a"), most=9)] == [
            "b",
            "c",
        ]

    async def test_tombstones_are_collected_and_the_living_stay(self, store: Any) -> None:
        await store.commit([thing(f"i{n}", ms=n) for n in range(4)], route=one_stream)
        for n in (0, 1, 2):
            await store.commit([part(f"i{n}", ms=10 + n, _deleted=True)], route=one_stream)
        last = (await store.since("s", 0, most=100, most_bytes=1 << 20)).upto
        floor = stamp(12).hlc
        assert await store.collect("s", last, floor, floor="f") == 2
        assert await store.marks("f") == {"f": [last - 1, floor]}
        assert await store.get("things", "i0") is None and await store.get("things", "i1") is None
        assert (await store.get("things", "i2")).deleted
        assert ids(await read(store)) == ["i3", "i2"]
        assert await store.end("s") == last
        assert await store.collect("s", last, floor, floor="f") == 0
        assert await store.collect("s", last, stamp(13).hlc, floor="f") == 1
        assert await store.marks("f") == {"f": [last, stamp(13).hlc]}

    @pytest.mark.parametrize("most", [2, 3, 100])
    async def test_who_has_all_that_is_left_stands_at_the_end(self, store: Any, most: int) -> None:
        """The stream's last entries are gone: nothing else would ever bring a reader beyond them."""
        await store.commit([thing(f"i{n}", ms=n) for n in range(3)], route=one_stream)
        await store.commit([part("i0", ms=10, _deleted=True)], route=one_stream)
        end = await store.end("s")
        assert await store.collect("s", end, stamp(11).hlc, floor="f") == 1
        found = await store.since("s", 0, most=most, most_bytes=1 << 20)
        assert (ids(found), found.more, found.upto) == (["i1", "i2"], False, end)
        found = await store.since("s", 0, most=1, most_bytes=1 << 20)
        assert ids(found) == ["i1"] and found.more and found.upto < end

    async def test_what_the_slowest_has_not_seen_is_not_collected(self, store: Any) -> None:
        await store.commit([thing("a", ms=0)], route=one_stream)
        await store.commit([part("a", ms=1, _deleted=True)], route=one_stream)
        end = await store.end("s")
        assert await store.collect("s", end - 1, stamp(100).hlc, floor="f") == 0
        assert await store.collect("s", end, stamp(100).hlc, floor="f", most=0) == 0
        assert await store.marks("f") == {}
        assert (await store.get("things", "a")).deleted

    async def test_rows_logged_anew_are_sent_whole(self, node_store: Any) -> None:
        await node_store.commit([thing("a", ms=0)], route=by_lane)
        await node_store.commit([part("a", ms=5, name="x")], route=by_lane)
        await node_store.trim("up:0", 1_000)
        assert await node_store.relog([("things", "a"), ("things", "none")], by_lane) == 1
        found = await read(node_store, "up:0")
        assert found.rows == (await node_store.get("things", "a"),)

    async def test_facts_that_wait_are_named_once_whoever_names_them_again(
        self, node_store: Any
    ) -> None:
        facts = [sale(f"s{i}", ms=i + 5, lane=NORMAL) for i in range(3)]
        await node_store.commit(facts, route=by_lane)
        assert await node_store.relog([("sales", "s0"), ("sales", "s0")], by_lane) > 0
        assert ids(await read(node_store, "up:0")) == ["s1", "s2", "s0"]
        await node_store.commit([sale("s1", ms=1, lane=NORMAL)], route=by_lane)  # the earlier wins
        assert ids(await read(node_store, "up:0")) == ["s2", "s0", "s1"]
        assert (await node_store.pending("up:0")).count == 3

    async def test_facts_are_removed_unless_they_wait_to_be_sent(self, node_store: Any) -> None:
        await node_store.commit([sale("sent")])
        await node_store.commit([sale("waits")], route=by_lane)
        assert await node_store.remove([("sales", id) for id in ("sent", "waits", "none")]) == 1
        assert await node_store.get("sales", "waits") is not None

    async def test_rows_are_removed_unless_they_wait_to_be_sent(self, node_store: Any) -> None:
        await node_store.commit([thing("sent", ms=0)])
        await node_store.commit([thing("waits", ms=0)], route=by_lane)
        keys = [("things", id) for id in ("sent", "waits", "none")]
        assert await node_store.remove(keys) == 1
        assert await node_store.get("things", "sent") is None
        assert await node_store.get("things", "waits") is not None


async def test_a_closed_store_says_so(node_store: Any) -> None:
    await node_store.commit([sale("s1")])
    await node_store.close()
    await node_store.close()
    with pytest.raises(BeiraError) as caught:
        await node_store.commit([sale("s2")])
    assert caught.value.code == "store.closed"
    with pytest.raises(BeiraError):
        await node_store.get("sales", "s1")


async def test_a_look_gives_marks_by_several_prefixes_and_ends_of_streams_at_once(
    store: Any,
) -> None:
    marks = {"a:1": 1, "a:2": "x", "b": 3, "c": 4}
    await store.commit([sale("s1"), sale("s2")], route=one_stream, marks=marks)
    stream = one_stream(sale("s1"))
    found, ends = await store.look(["a:", "b"], [stream, "none"])
    assert found == {"a:1": 1, "a:2": "x", "b": 3}
    assert ends == {stream: 2, "none": 0}
    assert await store.look(["a:2"], []) == ({"a:2": "x"}, {})

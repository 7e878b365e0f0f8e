"""One question has one answer, whichever store is asked: memory, SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.records import REGISTRY, part, row, stamp, thing

from beira.kernel.collection import IMPORTANT
from beira.kernel.errors import Corrupt, Invalid, TooLarge
from beira.kernel.query import (
    Column,
    Compare,
    Every,
    Filter,
    Measure,
    Not,
    Op,
    Order,
    Page,
    Query,
    Some,
    checked,
    where,
)
from beira.kernel.record import Row
from beira.store.memory import MemoryStore

THINGS = [
    thing("a", name="João Silva", number=1, ratio=0.5, open=True, at="2026-11-20T14:30:00Z"),
    thing("b", name="JOÃO 50%", number=2, ratio=1.5, open=False, at="2026-11-20T14:30:00.5Z"),
    thing("c", name="joana_x", number=-3, open=True, at="2026-11-20T13:59:59.999999Z"),
    thing("d", name="Ünal*[z]", number=2, ratio=-2.0, at="2026-11-20T15:00:00Z", day="2026-11-20"),
    thing("e", number=2**53, day="2025-01-31", data={"x": 1}),
    thing("f", name="a\\b", partition="site:2", ms=7, node="n2"),
    thing("g", name="", number=0, ratio=0.0, open=False, day="2026-11-21", partition="site:2"),
]


@pytest.fixture
async def things(store: Any) -> Any:
    await store.commit(THINGS)
    await store.commit([thing("gone", name="João"), part("gone", ms=5, _deleted=True)])
    return store


async def ask(store: Any, *terms: Filter, partitions: Any = None, **rest: Any) -> Page:
    made = Query(collection="things", where=Every(terms) if terms else None, **rest)
    page: Page = await store.query(checked(made, REGISTRY["things"]), partitions)
    return page


async def ids(store: Any, *terms: Filter, **rest: Any) -> str:
    return "".join(row["id"] for row in (await ask(store, *terms, **rest)).rows)


class TestFilters:
    @pytest.mark.parametrize(
        ("column", "op", "value", "found"),
        [
            ("name", Op.EQ, "João Silva", "a"),
            ("name", Op.EQ, "", "g"),
            ("name", Op.NEQ, "", "abcdf"),
            ("name", Op.GT, "a", "cdf"),
            ("number", Op.EQ, 2, "bd"),
            ("number", Op.EQ, "2", "bd"),
            ("number", Op.NEQ, 2, "aceg"),
            ("number", Op.GTE, 2**53, "e"),
            ("number", Op.LT, 0, "c"),
            ("ratio", Op.GT, "0.5", "b"),
            ("ratio", Op.LTE, 0, "dg"),
            ("open", Op.EQ, True, "ac"),
            ("open", Op.EQ, "false", "bg"),
            ("open", Op.IS, True, "ac"),
            ("open", Op.IS, False, "bg"),
            ("open", Op.IS, None, "def"),
            ("data", Op.IS, None, "abcdfg"),
            ("name", Op.EQ, None, "e"),
            ("name", Op.NEQ, None, "abcdfg"),
            ("at", Op.GT, "2026-11-20T14:30:00Z", "bd"),
            ("at", Op.GTE, "2026-11-20T11:30:00-03:00", "abd"),
            ("at", Op.LT, "2026-11-20T14:30:00.500000+00:00", "ac"),
            ("at", Op.EQ, datetime.fromisoformat("2026-11-20T14:30:00.5+00:00"), "b"),
            ("day", Op.GTE, "2026-11-20", "dg"),
            ("day", Op.IN, ["2025-01-31", "2026-11-21"], "eg"),
            ("number", Op.IN, (1, "-3", 77), "ac"),
            ("ratio", Op.IN, [0.5, 0], "ag"),
            ("open", Op.IN, [True], "ac"),
            ("at", Op.IN, ["2026-11-20T14:30:00Z"], "a"),
            ("name", Op.IN, [], ""),
            ("id", Op.IN, ["a", "zz", "e"], "ae"),
            ("id", Op.GT, "e", "fg"),
            ("_partition", Op.EQ, "site:2", "fg"),
            ("_node", Op.EQ, "n2", "f"),
            ("_lane", Op.EQ, 0, "abcdefg"),
            ("_hlc", Op.GT, stamp(0).hlc, "f"),
            ("name", Op.LIKE, "Jo*", "a"),
            ("name", Op.LIKE, "jo%", "c"),
            ("name", Op.ILIKE, "jo*", "abc"),
            ("name", Op.ILIKE, "joão*", "ab"),
            ("name", Op.ILIKE, "ü*", "d"),
            ("name", Op.LIKE, "*%*", "abcdfg"),
            ("name", Op.LIKE, r"*\%*", "b"),
            ("name", Op.LIKE, r"*\**", "d"),
            ("name", Op.LIKE, r"*[z]", "d"),
            ("name", Op.LIKE, r"*?*", ""),
            ("name", Op.LIKE, r"a\\b", "f"),
            ("name", Op.LIKE, r"joana\_x", "c"),
            ("name", Op.LIKE, "joan__x", "c"),
            ("name", Op.LIKE, "_", ""),
            ("name", Op.LIKE, "", "g"),
            ("name", Op.LIKE, "*a*b*", "f"),
            ("name", Op.ILIKE, "*O*O*", "ab"),
        ],
    )
    async def test_comparisons(
        self, things: Any, column: str, op: Op, value: Any, found: str
    ) -> None:
        assert await ids(things, Compare(column, op, value)) == found

    @pytest.mark.parametrize(
        ("term", "found"),
        [
            (Every(()), "abcdefg"),
            (Some(()), ""),
            (Not(Some(())), "abcdefg"),
            (Some((where(number=1), where(open=False))), "abg"),
            (Every((where(number=2), where(open=False))), "b"),
            (Not(where(open=True)), "bg"),
            (Not(where(number__in=[2])), "aceg"),
            (Not(where(name__like="J*")), "cdfg"),
            (Not(Some((where(open=True), where(number=2)))), "g"),
            (Not(Every((where(open=True), where(number=2)))), "abceg"),
            (where(number=2, open=None), "d"),
        ],
    )
    async def test_what_is_unknown_is_left_out(self, things: Any, term: Filter, found: str) -> None:
        assert await ids(things, term) == found

    @pytest.mark.parametrize(
        ("column", "op", "value"),
        [
            ("number", Op.EQ, "many"),
            ("number", Op.EQ, 2**63),
            ("number", Op.EQ, 1.5),
            ("ratio", Op.GT, "x"),
            ("open", Op.EQ, "maybe"),
            ("at", Op.GT, "yesterday"),
            ("at", Op.GT, "2026-11-20T14:30:00"),
            ("day", Op.EQ, "2026-13-01"),
            ("name", Op.EQ, 5),
            ("name", Op.EQ, "a\x00"),
            ("name", Op.GT, None),
            ("number", Op.LIKE, "1*"),
            ("name", Op.IS, True),
            ("open", Op.IS, 1),
            ("name", Op.IN, "abc"),
            ("name", Op.IN, [None]),
            ("data", Op.EQ, {"x": 1}),
        ],
    )
    async def test_a_value_that_is_none_is_refused(
        self, things: Any, column: str, op: Op, value: Any
    ) -> None:
        with pytest.raises(Invalid) as caught:
            await ask(things, Compare(column, op, value))
        assert caught.value.code == "filter.invalid" and caught.value.hint

    async def test_lists_are_bounded(self, things: Any) -> None:
        with pytest.raises(TooLarge):
            await ask(things, where(number__in=list(range(1_001))))

    @pytest.mark.parametrize(
        "text", ["' OR 1=1 --", '"; DROP TABLE things; --', "?1", "$1", "%s", "\\", "😀", "\u2028"]
    )
    async def test_text_is_only_text(self, things: Any, text: str) -> None:
        await things.commit([thing("z", name=text)])
        assert await ids(things, where(name=text)) == "z"
        assert await ids(things, where(name__in=[text])) == "z"
        assert (await ask(things, where(name__ilike=text.replace("\\", "\\\\")))).rows

    async def test_partitions_are_a_wall(self, things: Any) -> None:
        """Law 7."""
        assert await ids(things, partitions=["site:2", "tenant"]) == "fg"
        assert await ids(things, where(id="a"), partitions=["site:2"]) == ""
        assert await ids(things, partitions=[]) == ""
        assert await ids(things, Some((Not(where(id="zz")),)), partitions={"site:2"}) == "fg"


class TestOrder:
    @pytest.mark.parametrize(
        ("order", "found"),
        [
            ((), "abcdefg"),
            ((Order("number"),), "cgabdef"),
            ((Order("number", True),), "fedbagc"),
            ((Order("number", nulls_first=True),), "fcgabde"),
            ((Order("number", True, nulls_first=False),), "edbagcf"),
            ((Order("at"), Order("id", True)), "cabdgfe"),
            ((Order("name"),), "gbafcde"),
            ((Order("open"), Order("number", True)), "bgacfed"),
            ((Order("day", True, False),), "gdefcba"),
            ((Order("_hlc", True),), "fgedcba"),
            ((Order("id", True),), "gfedcba"),
        ],
    )
    async def test_order_is_total(self, things: Any, order: Any, found: str) -> None:
        assert await ids(things, order=order) == found

    async def test_pages_follow_one_another(self, things: Any) -> None:
        pages = [
            await ids(things, order=(Order("open"),), limit=3, offset=at) for at in (0, 3, 6, 9)
        ]
        assert pages == ["bga", "cde", "f", ""]
        assert await ids(things, limit=0) == ""

    async def test_the_total_is_counted_when_asked(self, things: Any) -> None:
        page = await ask(things, where(number__gte=1), limit=2, count=True)
        assert len(page.rows) == 2 and page.total == 4
        assert (await ask(things)).total is None

    async def test_structures_have_no_order(self, things: Any) -> None:
        with pytest.raises(Invalid):
            await ask(things, order=(Order("data"),))


class TestColumns:
    async def test_all_columns_come_with_the_last_writes_own(self, things: Any) -> None:
        page = await ask(things, where(id="d"))
        assert page.rows == [
            {
                "id": "d",
                "_partition": "site:1",
                "_node": "n1",
                "_lane": 0,
                "_hlc": stamp(0).hlc,
                **THINGS[3].fields,
            }
        ]

    async def test_values_have_their_types(self, things: Any) -> None:
        found = (await ask(things, where(id="a"))).rows[0]
        kinds = {name: type(found[name]) for name in ("name", "number", "ratio", "open", "at")}
        assert kinds == {"name": str, "number": int, "ratio": float, "open": bool, "at": str}
        assert (await ask(things, where(id="e"))).rows[0]["data"] == {"x": 1}

    async def test_named_columns_come_alone_and_renamed(self, things: Any) -> None:
        columns = (Column("name"), Column("at", "when"), Column("at", "hour", hour=True))
        page = await ask(things, where(id="b"), columns=columns)
        assert page.rows == [
            {"name": "JOÃO 50%", "when": "2026-11-20T14:30:00.5Z", "hour": "2026-11-20T14:00:00Z"}
        ]

    async def test_an_alias_is_only_a_name(self, things: Any) -> None:
        alias = 'x" FROM things; --' + "é" * 80
        page = await ask(things, where(id="a"), columns=(Column("number", alias),))
        assert page.rows == [{alias: 1}]

    async def test_two_columns_of_one_name_are_refused(self, things: Any) -> None:
        with pytest.raises(Invalid):
            await ask(things, columns=(Column("name"), Column("number", "name")))

    async def test_fields_absent_are_null(self, things: Any) -> None:
        await things.commit([part("z", ms=1, number=5)])
        page = await ask(things, where(id="z"), columns=(Column("number"), Column("name")))
        assert page.rows == [{"number": 5, "name": None}]


class TestMeasures:
    async def test_the_whole(self, things: Any) -> None:
        columns = (
            Column(measure=Measure.COUNT, alias="all"),
            Column("number", measure=Measure.COUNT),
            Column("number", "sum", Measure.SUM),
            Column("ratio", "ratios", Measure.SUM),
            Column("ratio", "mean", Measure.AVG),
            Column("number", "least", Measure.MIN),
            Column("name", "most", Measure.MAX),
            Column("at", "first", Measure.MIN),
            Column("day", "last", Measure.MAX),
        )
        page = await ask(things, columns=columns, count=True)
        found = page.rows[0]
        assert page.total == 1
        assert found["sum"] == 2**53 + 2 and type(found["sum"]) is int
        assert found["mean"] == pytest.approx(0.0) and type(found["mean"]) is float
        assert found == {
            "all": 7,
            "count": 6,
            "sum": 2**53 + 2,
            "ratios": 0.0,
            "mean": 0.0,
            "least": -3,
            "most": "Ünal*[z]",
            "first": "2026-11-20T13:59:59.999999Z",
            "last": "2026-11-21",
        }

    async def test_of_nothing(self, things: Any) -> None:
        columns = (Column(measure=Measure.COUNT), Column("number", "sum", Measure.SUM))
        page = await ask(things, where(id="zz"), columns=columns)
        assert page.rows == [{"count": 0, "sum": None}]
        grouped = await ask(things, where(id="zz"), columns=(Column("open"), *columns), count=True)
        assert grouped.rows == [] and grouped.total == 0

    async def test_groups(self, things: Any) -> None:
        columns = (
            Column("open"),
            Column(measure=Measure.COUNT),
            Column("number", "n", Measure.SUM),
        )
        page = await ask(things, columns=columns, order=(Order("open"),), count=True)
        assert page.rows == [
            {"open": False, "count": 2, "n": 2},
            {"open": True, "count": 2, "n": -2},
            {"open": None, "count": 3, "n": 2**53 + 2},
        ]
        assert page.total == 3

    async def test_hours(self, things: Any) -> None:
        columns = (Column("at", "hour", hour=True), Column(measure=Measure.COUNT))
        page = await ask(
            things, where(at__neq=None), columns=columns, order=(Order("count", True), Order("at"))
        )
        assert page.rows == [
            {"hour": "2026-11-20T14:00:00Z", "count": 2},
            {"hour": "2026-11-20T13:00:00Z", "count": 1},
            {"hour": "2026-11-20T15:00:00Z", "count": 1},
        ]
        first = await ask(things, columns=columns, order=(Order("count", True),), limit=1)
        assert first.rows == [{"hour": None, "count": 3}]

    @pytest.mark.parametrize(
        "columns",
        [
            (Column("name", measure=Measure.SUM),),
            (Column("at", measure=Measure.AVG),),
            (Column("data", measure=Measure.MIN),),
            (Column("open", measure=Measure.MAX),),
            (Column("name", hour=True),),
            (Column(),),
        ],
    )
    async def test_what_has_no_meaning_is_refused(self, things: Any, columns: Any) -> None:
        with pytest.raises(Invalid) as caught:
            await ask(things, columns=columns)
        assert caught.value.code == "query.invalid" and caught.value.hint

    async def test_groups_cannot_be_ordered_by_what_they_lack(self, things: Any) -> None:
        columns = (Column("open"), Column(measure=Measure.COUNT))
        with pytest.raises(Invalid):
            await ask(things, columns=columns, order=(Order("name"),))


async def test_the_lane_is_that_of_the_last_write(store: Any) -> None:
    await store.commit([row("alarms", "a", {"level": "x"}, lane=IMPORTANT)])
    made = Query(collection="alarms", columns=(Column("_lane"),))
    assert (await store.query(made)).rows == [{"_lane": 1}]


TEXTS = st.sampled_from(["", "a", "A", "ab", "á", "Á", "%", "_", "*", "\\", "[a]", "é?", "z"])
COMPARISONS = st.one_of(
    st.builds(Compare, st.just("name"), st.sampled_from(list(Op)[:6]), TEXTS),
    st.builds(Compare, st.just("name"), st.sampled_from([Op.LIKE, Op.ILIKE]), TEXTS),
    st.builds(Compare, st.just("number"), st.sampled_from(list(Op)[:6]), st.integers(-2, 2)),
    st.builds(Compare, st.just("number"), st.just(Op.IN), st.lists(st.integers(-2, 2)).map(tuple)),
    st.builds(Compare, st.just("open"), st.just(Op.IS), st.sampled_from([None, True, False])),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Every, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Some, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
ORDERS = st.lists(
    st.builds(
        Order,
        st.sampled_from(["name", "number", "open", "id"]),
        st.booleans(),
        st.sampled_from([None, True, False]),
    ),
    max_size=3,
).map(tuple)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_every_store_answers_as_memory_does(data: st.DataObject, store: Any) -> None:
    """The stores agree on questions nobody thought of."""
    fields = st.fixed_dictionaries(
        {
            "name": st.none() | TEXTS,
            "number": st.none() | st.integers(-2, 2),
            "open": st.none() | st.booleans(),
        }
    )
    rows = [thing(f"t{i}", ms=data.draw(st.integers(0, 50)), **data.draw(fields)) for i in range(5)]
    await store.commit(rows)
    plain = MemoryStore(REGISTRY)
    for id in (written.id for written in rows):
        await plain.commit([await store.get("things", id)])
    made = Query(
        collection="things",
        where=data.draw(st.none() | FILTERS),
        order=data.draw(ORDERS),
        limit=data.draw(st.integers(0, 6)),
        offset=data.draw(st.integers(0, 2)),
        count=True,
    )
    assert await store.query(made) == await plain.query(made)


class TestFieldsThatARowLacks:
    """As rows do that were written before there was such a field."""

    @pytest.fixture
    async def alarms(self, store: Any) -> Any:
        def alarm(id: str, **fields: Any) -> Row:
            return row("alarms", id, fields)

        await store.commit(
            [
                alarm("a", level="it's 5", seen=True),
                alarm("b", level="", seen=False),
                alarm("c", level="high"),
                alarm("d", seen=True),
                alarm("e", level=""),
            ]
        )
        return store

    async def ids(self, store: Any, where: Filter | None = None, **rest: Any) -> str:
        query = Query(collection="alarms", where=where, **rest)
        page = await store.query(checked(query, REGISTRY["alarms"]))
        return "".join(found["id"] for found in page.rows)

    async def test_they_are_answered_as_the_default(self, alarms: Any) -> None:
        page = await alarms.query(checked(Query(collection="alarms"), REGISTRY["alarms"]))
        found = {answer["id"]: (answer["level"], answer["seen"]) for answer in page.rows}
        assert found == {
            "a": ("it's 5", True),
            "b": ("", False),
            "c": ("high", False),
            "d": ("", True),
            "e": ("", False),
        }
        assert len(REGISTRY["alarms"].decode_whole(page.rows)) == 5

    @pytest.mark.parametrize(
        ("filter", "found"),
        [
            (Compare("level", Op.EQ, ""), "bde"),
            (Compare("level", Op.NEQ, ""), "ac"),
            (Not(Compare("level", Op.EQ, "")), "ac"),
            (Not(Compare("level", Op.EQ, "high")), "abde"),
            (Compare("level", Op.IN, ("", "high")), "bcde"),
            (Compare("level", Op.LT, "i"), "bcde"),
            (Compare("level", Op.LIKE, "*"), "abcde"),
            (Compare("level", Op.ILIKE, "H*"), "c"),
            (Compare("level", Op.IS, None), ""),
            (Compare("seen", Op.EQ, False), "bce"),
            (Compare("seen", Op.IS, False), "bce"),
            (Compare("seen", Op.IS, True), "ad"),
            (Not(Compare("seen", Op.IS, None)), "abcde"),
        ],
    )
    async def test_they_are_compared_as_the_default(
        self, alarms: Any, filter: Filter, found: str
    ) -> None:
        assert await self.ids(alarms, filter) == found

    async def test_they_sort_and_group_as_the_default(self, alarms: Any) -> None:
        order = (Order("level", descending=True), Order("id"))
        assert await self.ids(alarms, order=order) == "acbde"
        columns = (Column("seen"), Column("", measure=Measure.COUNT, alias="count"))
        query = Query(collection="alarms", columns=columns, order=(Order("seen"),), count=True)
        page = await alarms.query(checked(query, REGISTRY["alarms"]))
        assert page.rows == [{"seen": False, "count": 3}, {"seen": True, "count": 2}]
        assert page.total == 2

    async def test_a_record_that_lacks_what_it_needs_is_left_out(self, store: Any) -> None:
        await store.commit([row("sales", "s", {"product": "x"})])
        page = await store.query(checked(Query(collection="sales"), REGISTRY["sales"]))
        assert len(page.rows) == 1 and REGISTRY["sales"].decode_whole(page.rows) == []
        with pytest.raises(Corrupt, match="sales s"):
            REGISTRY["sales"].decode("s", {"product": "x"})

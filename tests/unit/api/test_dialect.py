"""PostgREST's words: whatever is written is read back the same, and nothing a stranger sends crashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.api.dialect import filters, ordering, selection, split
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Invalid, TooLarge
from beira.kernel.query import Column, Compare, Every, Filter, Measure, Not, Op, Order, Some

TEXTS = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=20
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True).filter(
    lambda name: name not in ("and", "or", "not")
)
PLAIN_OPS = [op for op in Op if op not in (Op.IN, Op.IS)]


def comparisons() -> st.SearchStrategy[Filter]:
    return st.one_of(
        st.builds(Compare, NAMES, st.sampled_from(PLAIN_OPS), TEXTS),
        st.builds(Compare, NAMES, st.just(Op.IN), st.lists(TEXTS, max_size=4).map(tuple)),
        st.builds(Compare, NAMES, st.just(Op.IS), st.sampled_from([None, True, False])),
    )


def trees() -> st.SearchStrategy[Filter]:
    def grown(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        terms = st.lists(inner, min_size=1, max_size=3).map(tuple)
        group = st.builds(Every, terms) | st.builds(Some, terms)
        return group | st.builds(Not, group) | st.builds(Not, comparisons())

    return st.recursive(comparisons(), grown, max_leaves=12)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(node: Filter) -> str:
    """A filter as a client writes it inside and=(...)."""
    if isinstance(node, Not):
        if isinstance(node.term, Compare):
            column, _, rest = written(node.term).partition(".")
            return f"{column}.not.{rest}"
        return "not." + written(node.term)
    if isinstance(node, Every | Some):
        word = "and" if isinstance(node, Every) else "or"
        return f"{word}({','.join(map(written, node.terms))})"
    if node.op is Op.IN:
        return f"{node.column}.in.({','.join(map(quoted, node.value))})"
    if node.op is Op.IS:
        return f"{node.column}.is.{ {None: 'null', True: 'true', False: 'false'}[node.value] }"
    return f"{node.column}.{node.op.value}.{quoted(node.value)}"


@given(st.lists(trees(), min_size=1, max_size=3).map(tuple))
def test_what_is_written_is_read_back(terms: tuple[Filter, ...]) -> None:
    text = "(" + ",".join(map(written, terms)) + ")"
    assert filters([("and", text)]) == Every(terms)


@given(NAMES, st.sampled_from(PLAIN_OPS), TEXTS)
def test_a_value_outside_of_groups_is_taken_as_it_stands(name: str, op: Op, text: str) -> None:
    assert filters([(name, f"{op.value}.{text}")]) == Compare(name, op, text)
    assert filters([(name, f"not.{op.value}.{text}")]) == Not(Compare(name, op, text))


PIECES = [
    *("and", "or", "not.", "(", ")", ",", "eq.", "in.", "is.", "{", "}", "any", "a", "."),
    *("::", "sum()", "*", "->", "null", "count()", "desc", ":", '"', "\\", " "),
]
SHREDS = st.lists(st.sampled_from(PIECES) | TEXTS, max_size=12).map("".join)


@given(SHREDS, SHREDS)
def test_nothing_crashes_the_reader(key: str, text: str) -> None:
    for read in (
        lambda: filters([(key, text)]),
        lambda: filters([("and", text)]),
        lambda: filters([("a", text)]),
        lambda: selection(text),
        lambda: ordering(text),
        lambda: split(text),
    ):
        try:
            read()
        except BeiraError as error:
            assert error.status < 500 and error.message


def test_select() -> None:
    found = selection("id,nome:name,count(),total:price.sum()::text,hora:at.hour()")
    assert found.columns == (
        Column("id"),
        Column("name", "nome"),
        Column("", measure=Measure.COUNT),
        Column("price", "total", Measure.SUM),
        Column("at", "hora", hour=True),
    )
    assert found.casts == {"total": str} and not found.star
    assert selection("").star and selection("*,n:name").star


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("sites(*)", "dialect.unsupported"),
        ("...sites(name)", "dialect.unsupported"),
        ("data->>x", "dialect.unsupported"),
        ("price::money", "dialect.unsupported"),
        ("a b c", "column.unknown"),
        ("sum()", "select.invalid"),
        ("price.median()", "select.invalid"),
        (",", "select.invalid"),
    ],
)
def test_what_select_does_not_cover_is_said(text: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        selection(text)
    assert refused.value.code == code and refused.value.hint


def test_order() -> None:
    assert ordering("at.desc.nullslast,id") == (Order("at", True, False), Order("id"))
    assert ordering("a.nullsfirst") == (Order("a", False, True),)
    with pytest.raises(Invalid):
        ordering("a.down")


def test_lists_quantifiers_and_distinct() -> None:
    assert filters([("a", 'in.(1,"x,y","\\"")')]) == Compare("a", Op.IN, ("1", "x,y", '"'))
    either = Some((Compare("a", Op.LIKE, "x*"), Compare("a", Op.LIKE, "y*")))
    assert filters([("a", "like(any).{x*,y*}")]) == either
    assert filters([("a", "isdistinct.1")]) == Some(
        (Compare("a", Op.NEQ, "1"), Compare("a", Op.IS, None))
    )
    assert filters([("a", "is.not_null")]) == Not(Compare("a", Op.IS, None))


def test_limits_of_filters() -> None:
    many = "(" + ",".join(["a.eq.1"] * (limits.FILTER_TERMS + 1)) + ")"
    deep = "(" + "and(" * 5_000 + "a.eq.1" + ")" * 5_001
    for text in (many, deep):
        with pytest.raises(TooLarge):
            filters([("or", text)])
    with pytest.raises(TooLarge):
        filters([("a", "eq.1")] * 10_000)
    with pytest.raises(TooLarge):
        filters([("a", "in.(" + "1," * 10_000 + "1)")])

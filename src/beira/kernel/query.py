"""Questions to a store, as data: a store turns them into SQL, the memory store evaluates them.

The API parses PostgREST's dialect into these; apps build them with `where(...)`.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import msgspec

from beira.kernel import limits
from beira.kernel.collection import Collection, FieldType
from beira.kernel.errors import Invalid, TooLarge
from beira.kernel.record import Value

META_COLUMNS = {
    "id": FieldType.TEXT,
    "_partition": FieldType.TEXT,
    "_node": FieldType.TEXT,
    "_lane": FieldType.INTEGER,
    "_hlc": FieldType.INTEGER,
}
"""Columns every collection has besides its fields: the last write's node, lane and stamp number."""


class Op(Enum):
    """Comparisons, named as PostgREST names them."""

    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    LIKE = "like"
    ILIKE = "ilike"
    IN = "in"
    IS = "is"


class Compare(msgspec.Struct, frozen=True):
    """`column op value`. IN takes a tuple; IS takes None, True or False; LIKE has * or % for any."""

    column: str
    op: Op
    value: Value


class Every(msgspec.Struct, frozen=True):
    terms: tuple[Filter, ...]


class Some(msgspec.Struct, frozen=True):
    terms: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True):
    term: Filter


Filter: TypeAlias = Compare | Every | Some | Not


class Measure(Enum):
    """Aggregates. COUNT without a column counts rows."""

    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


class Column(msgspec.Struct, frozen=True):
    """What to select: a column, or a measure of one; `hour` cuts a timestamp to its hour in UTC."""

    name: str = ""
    alias: str = ""
    measure: Measure | None = None
    hour: bool = False

    @property
    def label(self) -> str:
        return self.alias or (self.measure.value if self.measure else self.name)


class Order(msgspec.Struct, frozen=True):
    column: str
    descending: bool = False
    nulls_first: bool | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question about one collection. No columns means all; with measures the rest group the rows."""

    collection: str
    columns: tuple[Column, ...] = ()
    where: Filter | None = None
    order: tuple[Order, ...] = ()
    limit: int = limits.QUERY_ROWS_DEFAULT
    offset: int = 0
    count: bool = False


class Page(msgspec.Struct, kw_only=True):
    """An answer: plain rows (with meta columns unless columns were named) and the count if asked."""

    rows: list[dict[str, Value]]
    total: int | None = None


def where(**comparisons: Value) -> Filter:
    """`where(kind="in", at__gte=moment)`: all must hold; `__op` names a comparison other than eq."""
    terms = []
    for key, value in comparisons.items():
        column, _, op = key.partition("__")
        terms.append(Compare(column, Op(op or "eq"), value))
    return terms[0] if len(terms) == 1 else Every(tuple(terms))


def both(left: Filter | None, right: Filter | None) -> Filter | None:
    """Left and right, either of which may be absent."""
    if left is None or right is None:
        return left or right
    return Every((left, right))


def checked(query: Query, collection: Collection, hidden: frozenset[str] = frozenset()) -> Query:
    """`query` with its columns known, its size bounded, and nothing of `hidden` used anywhere.

    Raises: Invalid `column.unknown`, TooLarge.
    """
    known = (set(collection.fields) | set(META_COLUMNS)) - hidden
    used = [c.name for c in query.columns if c.name] + [o.column for o in query.order]
    labels = {c.label for c in query.columns if c.measure}
    terms = list(_columns_in(query.where))
    if len(terms) > limits.FILTER_TERMS:
        raise TooLarge(f"A filter has {limits.FILTER_TERMS} terms at most.")
    for name in used + terms:
        if name not in known and name not in labels:
            raise Invalid(
                f"{collection.name} has no column {name!r}.",
                code="column.unknown",
                hint="Columns: " + ", ".join(sorted(known)) + ".",
            )
    if query.limit < 0 or query.offset < 0:
        raise Invalid("limit and offset cannot be negative.")
    columns = query.columns
    if not columns and hidden:
        columns = tuple(Column(n) for n in (*META_COLUMNS, *collection.fields) if n in known)
    return msgspec.structs.replace(
        query, limit=min(query.limit, limits.QUERY_ROWS), columns=columns
    )


def _columns_in(node: Filter | None) -> list[str]:
    if node is None:
        return []
    if isinstance(node, Compare):
        return [node.column]
    if isinstance(node, Not):
        return _columns_in(node.term)
    return [name for term in node.terms for name in _columns_in(term)]

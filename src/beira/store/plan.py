"""What a query means, worked out once for every store: outputs, groups, order, and filter values.

`store.sql` renders a plan as SQL and `store.memory` evaluates it, so the stores cannot disagree on
which type a column has, what sorts where, or what `like` matches. Comparisons follow SQL: whatever
is compared with null is unknown, and unknown rows are left out. Text sorts by code point. A field that
cannot be null and that a row lacks, as rows written before there was such a field do, has its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any

import msgspec

from beira.kernel import limits
from beira.kernel.collection import Collection, FieldType, timestamp
from beira.kernel.errors import Invalid, TooLarge
from beira.kernel.query import (
    META_COLUMNS,
    Column,
    Compare,
    Every,
    Filter,
    Measure,
    Not,
    Op,
    Query,
    Some,
)
from beira.kernel.record import Value


@dataclass(frozen=True, slots=True)
class Expression:
    """A column of type `source`, perhaps cut to its hour, perhaps measured; `type` is what comes out.

    COUNT of rows has no column.
    """

    column: str
    source: FieldType
    type: FieldType
    measure: Measure | None = None
    hour: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of the order. `nulls_first` is None where nothing can be null: an index serves then."""

    expression: Expression
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A query made unambiguous. `groups` is None for plain rows, else what the rows are grouped by.

    `order` is total: it ends with the id, or with every group. `where` holds canonical values only.
    `partitions` None means all. `defaults` are those of fields that cannot be null.
    """

    collection: str
    types: Mapping[str, FieldType]
    defaults: Mapping[str, Value]
    labels: tuple[str, ...]
    outputs: tuple[Expression, ...]
    groups: tuple[Expression, ...] | None
    where: Filter | None
    partitions: tuple[str, ...] | None
    order: tuple[Sort, ...]
    limit: int
    offset: int
    count: bool


def plan(query: Query, collection: Collection, partitions: Iterable[str] | None = None) -> Plan:
    """The plan of a query that `kernel.query.checked` has passed.

    Raises: Invalid `query.invalid` for what has no meaning (the sum of a text, two columns under one
    name), Invalid `filter.invalid` for a value that is not of the column's type.
    """
    types = column_types(collection)
    columns = query.columns or tuple(Column(name) for name in types)
    labels = tuple(column.label for column in columns)
    if len(set(labels)) < len(labels):
        raise _invalid("Two columns of the answer have one name.", "Give one of them an alias.")
    outputs = tuple(_expression(column, types) for column in columns)
    groups = None
    if any(output.measure for output in outputs):
        groups = tuple(output for output in outputs if output.measure is None)
        if any(group.type is FieldType.JSON for group in groups):
            raise _invalid("Structured values make no groups.", "Group by another column.")
    return Plan(
        collection=collection.name,
        types=types,
        defaults={
            field.name: field.default
            for field in collection.fields.values()
            if not field.nullable and field.default is not None
        },
        labels=labels,
        outputs=outputs,
        groups=groups,
        where=_canonical_filter(query.where, types),
        partitions=None if partitions is None else tuple(sorted(set(partitions))),
        order=_order(query, collection, dict(zip(labels, outputs, strict=True)), groups),
        limit=query.limit,
        offset=query.offset,
        count=query.count,
    )


def column_types(collection: Collection) -> dict[str, FieldType]:
    """Every column a query may name, with its type, in the order they are answered."""
    return {**META_COLUMNS, **{field.name: field.type for field in collection.fields.values()}}


class Wild(Enum):
    """The two wildcards of a pattern; everything else in it stands for itself."""

    ANY = "any"
    ONE = "one"


def pattern(text: str) -> list[str | Wild]:
    r"""A LIKE pattern taken apart: `*` or `%` is any text, `_` one character, `\` spares the next."""
    parts: list[str | Wild] = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            parts.append(next(chars, "\\"))
        elif char in "*%":
            parts.append(Wild.ANY)
        else:
            parts.append(Wild.ONE if char == "_" else char)
    return parts


def _expression(column: Column, types: dict[str, FieldType]) -> Expression:
    if not column.name:
        if column.measure is not Measure.COUNT:
            raise _invalid("Only count can stand without a column.", "Name the column.")
        return Expression("", FieldType.INTEGER, FieldType.INTEGER, Measure.COUNT)
    source = types[column.name]
    if column.hour and source is not FieldType.TIMESTAMP:
        raise _invalid(f"{column.name} is not a time.", "Only times can be cut to their hour.")
    return Expression(
        column.name, source, _result(column, source), column.measure, hour=column.hour
    )


def _result(column: Column, source: FieldType) -> FieldType:
    measure = column.measure
    if measure is Measure.COUNT:
        return FieldType.INTEGER
    if measure in (Measure.SUM, Measure.AVG):
        if source not in (FieldType.INTEGER, FieldType.REAL):
            raise _invalid(f"{column.name} is not a number.", "Only numbers have a sum.")
        return FieldType.REAL if measure is Measure.AVG else source
    if measure is not None and source in (FieldType.BOOLEAN, FieldType.JSON):
        raise _invalid(f"{column.name} has no least and no greatest value.", "Count it instead.")
    return source


def _order(
    query: Query,
    collection: Collection,
    by_label: dict[str, Expression],
    groups: tuple[Expression, ...] | None,
) -> tuple[Sort, ...]:
    """The order asked for, then what makes it total, in the same direction as the last."""
    types = column_types(collection)
    sorts = []
    for order in query.order:
        expression = _ordered(order.column, types, by_label, groups)
        first = order.descending if order.nulls_first is None else order.nulls_first
        nullable = _may_be_null(expression, collection)
        sorts.append(Sort(expression, order.descending, first if nullable else None))
    named = {sort.expression for sort in sorts}
    down = bool(sorts) and sorts[-1].descending
    for tail in (_plain("id", types),) if groups is None else groups:
        if tail not in named and tail.source is not FieldType.JSON:
            sorts.append(Sort(tail, down, down if _may_be_null(tail, collection) else None))
    return tuple(sorts)


def _may_be_null(expression: Expression, collection: Collection) -> bool:
    if expression.measure is not None:
        return expression.measure is not Measure.COUNT
    return expression.column not in META_COLUMNS and collection.fields[expression.column].nullable


def _ordered(
    name: str,
    types: dict[str, FieldType],
    by_label: dict[str, Expression],
    groups: tuple[Expression, ...] | None,
) -> Expression:
    if groups is None:
        expression = _plain(name, types)
    elif name in by_label:
        expression = by_label[name]
    else:
        found = [group for group in groups if group.column == name]
        if not found:
            raise _invalid(f"Groups cannot be put in order of {name}.", "Select it as well.")
        expression = found[0]
    if expression.type is FieldType.JSON:
        raise _invalid(f"{name} has no order.", "Order by another column.")
    return expression


def _plain(name: str, types: dict[str, FieldType]) -> Expression:
    return Expression(name, types[name], types[name])


def _canonical_filter(node: Filter | None, types: dict[str, FieldType]) -> Filter | None:
    if node is None:
        return None
    if isinstance(node, Compare):
        return _canonical_compare(node, types[node.column])
    if isinstance(node, Not):
        return Not(_some_filter(node.term, types))
    terms = tuple(_some_filter(term, types) for term in node.terms)
    return Every(terms) if isinstance(node, Every) else Some(terms)


def _some_filter(node: Filter, types: dict[str, FieldType]) -> Filter:
    found = _canonical_filter(node, types)
    assert found is not None
    return found


def _canonical_compare(node: Compare, kind: FieldType) -> Filter:
    op, value = node.op, node.value
    if op in (Op.EQ, Op.NEQ) and value is None:
        absent = Compare(node.column, Op.IS, None)
        return absent if op is Op.EQ else Not(absent)
    if op is Op.IS:
        if value is None or (isinstance(value, bool) and kind is FieldType.BOOLEAN):
            return node
        raise _bad_value(node, "null, and for a yes-or-no column true or false")
    if op is Op.IN:
        return Compare(node.column, op, _members(node, kind))
    if op in (Op.LIKE, Op.ILIKE) and kind is not FieldType.TEXT:
        raise _bad_value(node, "a text column")
    return Compare(node.column, op, _operand(node, kind, value))


def _members(node: Compare, kind: FieldType) -> tuple[Value, ...]:
    if not isinstance(node.value, list | tuple | set | frozenset):
        raise _bad_value(node, "a list of values")
    if len(node.value) > limits.QUERY_ROWS:
        raise TooLarge(f"A list of a filter has {limits.QUERY_ROWS} values at most.")
    return tuple(_operand(node, kind, value) for value in node.value)


_PYTHON: dict[FieldType, Any] = {
    FieldType.TEXT: str,
    FieldType.INTEGER: int,
    FieldType.REAL: float,
    FieldType.BOOLEAN: bool,
    FieldType.TIMESTAMP: datetime,
    FieldType.DATE: date,
}


def _operand(node: Compare, kind: FieldType, value: object) -> Value:
    """`value` as the column keeps it. Texts are read as what the column holds: they come from URLs."""
    if kind is FieldType.JSON:
        raise _bad_value(node, "is (null): structured values are not compared")
    try:
        typed = msgspec.convert(msgspec.to_builtins(value), _PYTHON[kind], strict=False)
        if kind is FieldType.INTEGER and not -(2**63) <= typed < 2**63:
            raise OverflowError
        if isinstance(typed, datetime):
            return timestamp(typed)
        if isinstance(typed, str) and "\x00" in typed:
            raise ValueError
        return msgspec.to_builtins(typed)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, Invalid):
        raise _bad_value(node, _WANTED[kind]) from None


_WANTED = {
    FieldType.TEXT: "a text",
    FieldType.INTEGER: "a whole number of 64 bits",
    FieldType.REAL: "a number",
    FieldType.BOOLEAN: "true or false",
    FieldType.TIMESTAMP: "a time with its zone, such as 2026-01-31T14:30:00-03:00",
    FieldType.DATE: "a date, such as 2026-01-31",
}


def _bad_value(node: Compare, wanted: str) -> Invalid:
    return Invalid(
        f"{node.column} {node.op.value} {node.value!r:.80}: that is not what it compares with.",
        code="filter.invalid",
        hint=f"{node.column} with {node.op.value} wants {wanted}.",
        details={"column": node.column},
    )


def _invalid(message: str, hint: str) -> Invalid:
    return Invalid(message, code="query.invalid", hint=hint)

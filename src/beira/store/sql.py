"""SQL for both databases, rendered from one plan; `Dialect` holds all that they say differently.

Conventions of the tables this is written for (`store.rows` packs rows into them): a table is named
after its collection; it has the columns of `kernel.query.META_COLUMNS`, a nullable `_deleted`, and
one per field. PostgreSQL's tables have `tenant_id` besides, text columns of theirs are `COLLATE "C"`.
Nothing of a query but column names already checked enters the text: all values are parameters, but for
the defaults that collections declare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from beira.kernel.collection import FieldType, timestamp
from beira.kernel.query import Compare, Every, Filter, Measure, Not, Op
from beira.kernel.record import Value
from beira.store.plan import Expression, Plan, Sort, Wild, pattern


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Dialect(Protocol):
    """What the databases say differently. Values: canonical ones are those of `Collection.check`."""

    column_types: dict[FieldType, str]
    """The type of the column that keeps a field of each type."""

    def parameter(self, position: int, kind: FieldType) -> str:
        """The placeholder of the parameter at `position` (from 1)."""
        ...

    def encode(self, kind: FieldType, value: Value) -> Any:
        """A canonical value as the driver takes it; None stays None."""
        ...

    def literal(self, kind: FieldType, value: Value) -> str:
        """A canonical value that is not null, written out."""
        ...

    def decode(self, kind: FieldType, value: Any) -> Value:
        """What the driver gives, as the canonical value."""
        ...

    def member(self, column: str, position: int, kind: FieldType) -> str:
        """Whether `column` is among the values of one parameter, made by `encode_many`."""
        ...

    def encode_many(self, kind: FieldType, values: Iterable[Value]) -> Any: ...

    def like(self, column: str, position: int, *, fold: bool) -> str:
        """Whether `column` matches the pattern in a parameter made by `encode_pattern`."""
        ...

    def encode_pattern(self, text: str, *, fold: bool) -> str: ...

    def hour(self, column: str) -> str: ...

    def measure(self, measure: Measure, column: str, result: FieldType) -> str: ...


class SqliteDialect:
    """SQLite through apsw. Times are kept with all six digits of the second, so that text order is
    time order. `beira_ilike` is a function the store registers (`ilike_function`)."""

    column_types = {
        FieldType.TEXT: "TEXT",
        FieldType.INTEGER: "INTEGER",
        FieldType.REAL: "REAL",
        FieldType.BOOLEAN: "INTEGER",
        FieldType.TIMESTAMP: "TEXT",
        FieldType.DATE: "TEXT",
        FieldType.JSON: "TEXT",
    }

    def parameter(self, position: int, kind: FieldType) -> str:
        return f"?{position}"

    def encode(self, kind: FieldType, value: Value) -> Any:
        if value is None:
            return None
        if kind is FieldType.TIMESTAMP:
            return fixed_width(value)
        if kind is FieldType.JSON:
            return msgspec.json.encode(value).decode()
        return int(value) if kind is FieldType.BOOLEAN else value

    def literal(self, kind: FieldType, value: Value) -> str:
        made = self.encode(kind, value)
        return _quoted_text(made) if isinstance(made, str) else repr(made)

    def decode(self, kind: FieldType, value: Any) -> Value:
        if value is None:
            return None
        if kind is FieldType.TIMESTAMP:
            return shortest(value)
        if kind is FieldType.JSON:
            return msgspec.json.decode(value)
        return bool(value) if kind is FieldType.BOOLEAN else value

    def member(self, column: str, position: int, kind: FieldType) -> str:
        return f"{column} IN (SELECT value FROM json_each(?{position}))"  # noqa: S608

    def encode_many(self, kind: FieldType, values: Iterable[Value]) -> Any:
        return msgspec.json.encode([self.encode(kind, value) for value in values]).decode()

    def like(self, column: str, position: int, *, fold: bool) -> str:
        return f"beira_ilike(?{position}, {column})" if fold else f"{column} GLOB ?{position}"

    def encode_pattern(self, text: str, *, fold: bool) -> str:
        if fold:
            return text
        signs = {Wild.ANY: "*", Wild.ONE: "?"}
        return "".join(
            signs[part] if isinstance(part, Wild) else f"[{part}]" if part in "*?[" else part
            for part in pattern(text)
        )

    def hour(self, column: str) -> str:
        return f"substr({column}, 1, 13) || ':00:00.000000Z'"

    def measure(self, measure: Measure, column: str, result: FieldType) -> str:
        return f"{measure.value}({column})"


class PostgresDialect:
    """PostgreSQL through asyncpg, json and jsonb as text (asyncpg's default).

    `fold` is the collation whose `lower` knows all of Unicode, whatever the cluster's locale: the
    built-in one needs PostgreSQL 17; before that, give `und-x-icu`.
    """

    def __init__(self, fold: str = "pg_c_utf8") -> None:
        self._fold = fold

    column_types = {
        FieldType.TEXT: 'text COLLATE "C"',
        FieldType.INTEGER: "bigint",
        FieldType.REAL: "double precision",
        FieldType.BOOLEAN: "boolean",
        FieldType.TIMESTAMP: "timestamptz",
        FieldType.DATE: "date",
        FieldType.JSON: "json",
    }

    def parameter(self, position: int, kind: FieldType) -> str:
        return f"${position}::{self._cast(kind)}"

    def encode(self, kind: FieldType, value: Value) -> Any:
        if value is None:
            return None
        if kind is FieldType.TIMESTAMP:
            return datetime.fromisoformat(value)
        if kind is FieldType.DATE:
            return date.fromisoformat(value)
        if kind is FieldType.JSON:
            return msgspec.json.encode(value).decode()
        return value

    def literal(self, kind: FieldType, value: Value) -> str:
        if kind is FieldType.JSON:
            value = msgspec.json.encode(value).decode()
        return f"{_quoted_text(str(value))}::{self._cast(kind)}"

    def decode(self, kind: FieldType, value: Any) -> Value:
        if value is None:
            return None
        if kind is FieldType.TIMESTAMP:
            return timestamp(value if value.tzinfo else value.replace(tzinfo=UTC))  # an infinity
        if kind is FieldType.DATE:
            return value.isoformat()
        if kind is FieldType.JSON:
            return msgspec.json.decode(value)
        return value

    def member(self, column: str, position: int, kind: FieldType) -> str:
        return f"{column} = ANY(${position}::{self._cast(kind)}[])"

    def encode_many(self, kind: FieldType, values: Iterable[Value]) -> Any:
        return [self.encode(kind, value) for value in values]

    def like(self, column: str, position: int, *, fold: bool) -> str:
        if fold:
            column = f'lower({column} COLLATE {quoted(self._fold)}) COLLATE "C"'
        return rf"{column} LIKE ${position}::text ESCAPE '\'"

    def encode_pattern(self, text: str, *, fold: bool) -> str:
        signs = {Wild.ANY: "%", Wild.ONE: "_"}
        made = "".join(
            signs[part] if isinstance(part, Wild) else "\\" + part if part in "%_\\" else part
            for part in pattern(text)
        )
        return made.lower() if fold else made

    def hour(self, column: str) -> str:
        return f"date_trunc('hour', {column}, 'UTC')"

    def measure(self, measure: Measure, column: str, result: FieldType) -> str:
        made = f"{measure.value}({column})"
        if measure in (Measure.SUM, Measure.AVG):  # numeric otherwise
            made += f"::{self._cast(result)}"
        return made

    def _cast(self, kind: FieldType) -> str:
        return "text" if kind is FieldType.TEXT else self.column_types[kind]


SQLITE: Dialect = SqliteDialect()
POSTGRES: Dialect = PostgresDialect()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan as SQL: `parameters` are for `text`; `count_text`, if the total was asked for, takes
    all of them but the last two (limit and offset)."""

    text: str
    parameters: tuple[Any, ...]
    count_text: str | None
    plan: Plan
    dialect: Dialect

    @property
    def count_parameters(self) -> tuple[Any, ...]:
        return self.parameters[:-2]

    def rows(self, found: Iterable[Sequence[Any]]) -> list[dict[str, Value]]:
        """What the driver gave, in the order of the columns selected, as plain rows."""
        kinds = [
            (label, out.type)
            for label, out in zip(self.plan.labels, self.plan.outputs, strict=True)
        ]
        decode = self.dialect.decode
        return [
            {label: decode(kind, value) for (label, kind), value in zip(kinds, values, strict=True)}
            for values in found
        ]


def compiled(
    plan: Plan, dialect: Dialect, *, tenant: str | None = None, table: str = ""
) -> Compiled:
    """`plan` as SQL. `tenant` adds the condition on `tenant_id`; `table` replaces the table's name
    (already quoted)."""
    return _Compiler(plan, dialect).compile(tenant, table or quoted(plan.collection))


@dataclass
class _Compiler:
    plan: Plan
    dialect: Dialect
    parameters: list[Any] = field(default_factory=list)

    def compile(self, tenant: str | None, table: str) -> Compiled:
        plan = self.plan
        outputs = ", ".join(self.expression(output) for output in plan.outputs)
        conditions = " AND ".join(self.conditions(tenant))
        base = f"SELECT {outputs} FROM {table} WHERE {conditions}"  # noqa: S608 (names are checked)
        if plan.groups:
            base += " GROUP BY " + ", ".join(self.expression(group) for group in plan.groups)
        count = f"SELECT count(*) FROM ({base}) AS counted" if plan.count else None  # noqa: S608
        text = base
        if plan.order:
            text += " ORDER BY " + ", ".join(self.sort(sort) for sort in plan.order)
        limit = self.bind(FieldType.INTEGER, plan.limit)
        text += f" LIMIT {limit} OFFSET {self.bind(FieldType.INTEGER, plan.offset)}"
        return Compiled(text, tuple(self.parameters), count, plan, self.dialect)

    def conditions(self, tenant: str | None) -> Iterable[str]:
        if tenant is not None:
            yield f'"tenant_id" = {self.bind(FieldType.TEXT, tenant)}'
        yield '"_deleted" IS NOT TRUE'
        if self.plan.partitions is not None:
            yield self.member(quoted("_partition"), FieldType.TEXT, self.plan.partitions)
        if self.plan.where is not None:
            yield self.filter(self.plan.where)

    def filter(self, node: Filter) -> str:
        if isinstance(node, Compare):
            return self.compare(node)
        if isinstance(node, Not):
            return f"NOT ({self.filter(node.term)})"
        joiner, nothing = (" AND ", "TRUE") if isinstance(node, Every) else (" OR ", "FALSE")
        return "(" + (joiner.join(self.filter(term) for term in node.terms) or nothing) + ")"

    def compare(self, node: Compare) -> str:
        """Of a column with a default both cases are told apart, so that an index still serves."""
        column, default = quoted(node.column), self.default(node.column)
        if default is None:
            return self.compared(node, column)
        there, absent = self.compared(node, column), self.compared(node, default)
        return f"(({column} IS NOT NULL AND {there}) OR ({column} IS NULL AND {absent}))"

    def compared(self, node: Compare, operand: str) -> str:
        kind = self.plan.types[node.column]
        if node.op is Op.IS:
            return f"{operand} IS {_IS[node.value]}"
        if node.op is Op.IN:
            return self.member(operand, kind, node.value)
        if node.op in (Op.LIKE, Op.ILIKE):
            fold = node.op is Op.ILIKE
            self.parameters.append(self.dialect.encode_pattern(node.value, fold=fold))
            return self.dialect.like(operand, len(self.parameters), fold=fold)
        return f"{operand} {_SIGNS[node.op]} {self.bind(kind, node.value)}"

    def default(self, column: str) -> str | None:
        """What a row has that lacks the column, written out; None if that is null."""
        if column not in self.plan.defaults:
            return None
        return self.dialect.literal(self.plan.types[column], self.plan.defaults[column])

    def member(self, operand: str, kind: FieldType, values: Iterable[Value]) -> str:
        self.parameters.append(self.dialect.encode_many(kind, values))
        return self.dialect.member(operand, len(self.parameters), kind)

    def bind(self, kind: FieldType, value: Value) -> str:
        self.parameters.append(self.dialect.encode(kind, value))
        return self.dialect.parameter(len(self.parameters), kind)

    def expression(self, made: Expression) -> str:
        if not made.column:
            return "count(*)"
        column, default = quoted(made.column), self.default(made.column)
        if default is not None:
            column = f"coalesce({column}, {default})"
        if made.hour:
            column = self.dialect.hour(column)
        return self.dialect.measure(made.measure, column, made.type) if made.measure else column

    def sort(self, sort: Sort) -> str:
        direction = "DESC" if sort.descending else "ASC"
        made = f"{self.expression(sort.expression)} {direction}"
        if sort.nulls_first is None:
            return made
        return made + (" NULLS FIRST" if sort.nulls_first else " NULLS LAST")


def _quoted_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SIGNS = {Op.EQ: "=", Op.NEQ: "<>", Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<="}
_IS = {None: "NULL", True: "TRUE", False: "FALSE"}


def fixed_width(moment: str) -> str:
    """A canonical time with all six digits of its second: such texts sort as the times do."""
    seconds, _, fraction = moment[:-1].partition(".")
    return f"{seconds}.{fraction:0<6}Z"


def shortest(moment: str) -> str:
    """The canonical time of a fixed-width one."""
    return moment[:-1].rstrip("0").rstrip(".") + "Z" if "." in moment else moment


def ilike_function(text: Any, value: Any) -> bool | None:
    """`value ILIKE text` over all of Unicode, where SQLite's own LIKE folds ASCII only."""
    if text is None or value is None:
        return None
    return _folded(text).fullmatch(value.lower()) is not None


def like_matches(text: str, value: str, *, fold: bool) -> bool:
    """Whether `value` matches a pattern of `store.plan.pattern`."""
    return (_folded if fold else _exact)(text).fullmatch(
        value.lower() if fold else value
    ) is not None


@lru_cache(maxsize=256)
def _folded(text: str) -> re.Pattern[str]:
    return _regex([p if isinstance(p, Wild) else p.lower() for p in pattern(text)])


@lru_cache(maxsize=256)
def _exact(text: str) -> re.Pattern[str]:
    return _regex(pattern(text))


def _regex(parts: list[str | Wild]) -> re.Pattern[str]:
    """What lies between two wildcards is looked for once (an atomic group): no pattern is slow."""
    stretches = [""]
    for part in parts:
        if part is Wild.ANY:
            stretches.append("")
        else:
            stretches[-1] += "." if isinstance(part, Wild) else re.escape(part)
    first, *rest = stretches
    made = first + "".join(f"(?>.*?{stretch})" for stretch in rest[:-1])
    return re.compile(made + (".*" + rest[-1] if rest else ""), re.DOTALL)

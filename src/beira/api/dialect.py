"""PostgREST's words for a query, read into `kernel.query`: select, filters and order.

What is not covered (embedding, JSON paths, full-text search) is refused by name, so that nobody
takes a wrong answer for a right one. Values stay text: the store reads them as their column's type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from beira.api.errors import NotCovered
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Invalid, TooLarge
from beira.kernel.query import Column, Compare, Every, Filter, Measure, Not, Op, Order, Some

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OPERATOR = re.compile(r"([a-z]+)(?:\((any|all)\))?\.")
_LOGIC = re.compile(r"(not\.)?(and|or)\(")
_ITEM = re.compile(
    r"""(?:(?P<alias>[^:().,"]+|"[^"]*"):(?!:))?
        (?:(?P<rows>count)\(\)
        |(?P<name>[^:().,"]+|"[^"]*")(?:\.(?P<call>count|sum|avg|min|max|hour)\(\))?)
        (?:::(?P<cast>[a-z0-9_ ]+))?\Z""",
    re.VERBOSE,
)
_UNSUPPORTED = frozenset(
    "fts plfts phfts wfts cs cd ov sl sr nxr nxl adj match imatch".split()  # noqa: SIM905
)
_CASTS = {
    "text": str,
    "int": int,
    "integer": int,
    "int4": int,
    "int8": int,
    "bigint": int,
    "float": float,
    "float8": float,
    "numeric": float,
}
_IS = {"null": None, "unknown": None, "true": True, "false": False}
_SORTS = {"asc", "desc", "nullsfirst", "nullslast"}


@dataclass(frozen=True)
class Selection:
    """What `select` asks for. `star` stands for every column, before those named."""

    star: bool = True
    columns: tuple[Column, ...] = ()
    casts: dict[str, type] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        return any(column.measure for column in self.columns)


def selection(text: str) -> Selection:
    """Read `select=`. Raises Invalid or NotCovered."""
    star, columns, casts = False, [], {}
    for item in split(text) if text.strip() else ["*"]:
        if item == "*":
            star = True
            continue
        column, cast = _item(item)
        columns.append(column)
        if cast:
            casts[column.label] = _CASTS[cast]
    return Selection(star, tuple(columns), casts)


def ordering(text: str) -> tuple[Order, ...]:
    """Read `order=at.desc.nullslast,id`."""
    return tuple(_order(item) for item in split(text) if item)


def filters(pairs: Iterable[tuple[str, str]]) -> Filter | None:
    """Read column filters and and/or groups; all of them must hold."""
    terms: list[Filter] = []
    for key, value in pairs:
        if key in ("and", "or", "not.and", "not.or"):
            reader = _Reader(key + value)
            terms.append(reader.term(0))
            reader.end()
        else:
            terms.append(_predicate(column_name(key), value))
        _bounded(sum(map(count, terms)))
    return terms[0] if len(terms) == 1 else Every(tuple(terms)) if terms else None


def count(node: Filter) -> int:
    """How many comparisons a filter holds."""
    if isinstance(node, Compare):
        return 1
    if isinstance(node, Not):
        return count(node.term)
    return sum(map(count, node.terms))


def split(text: str, separator: str = ",") -> list[str]:
    """Split at `separator`, but not inside quotes or parentheses."""
    parts, current, depth, quoted, escaped = [], "", 0, False, False
    for char in text:
        if char == separator and not depth and not quoted:
            parts.append(current.strip())
            current = ""
            continue
        current += char
        if escaped:
            escaped = False
        elif quoted:
            escaped = char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        else:
            depth += (char == "(") - (char == ")")
    return [*parts, current.strip()]


def column_name(text: str) -> str:
    """A column's name, perhaps quoted. Raises NotCovered for JSON paths and embedded resources."""
    name = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if _COLUMN.match(name) and len(name) <= limits.NAME_CHARS:
        return name
    if "->" in name:
        raise NotCovered(
            f"Paths into JSON are not covered: {name:.60}",
            hint="Select the whole column and take it apart in the client.",
        )
    raise Invalid(
        f"{name[:60]!r} is not a column's name.",
        code="column.unknown",
        hint="Names are of letters, digits and _. Embedded resources are not covered.",
    )


def _item(text: str) -> tuple[Column, str]:
    found = _ITEM.match(text)
    if found is None:
        raise _unknown_item(text)
    cast = (found["cast"] or "").strip()
    if cast and cast not in _CASTS:
        raise NotCovered(
            f"A cast to {cast[:40]!r} is not covered.", hint="Casts: " + ", ".join(_CASTS) + "."
        )
    name, call = found["name"], found["rows"] or found["call"]
    hour = call == "hour"
    column = Column(
        name=column_name(name.strip()) if name else "",
        alias=(found["alias"] or "").strip(' "')[: limits.NAME_CHARS],
        measure=Measure(call) if call and not hour else None,
        hour=hour,
    )
    return column, cast


def _unknown_item(text: str) -> BeiraError:
    if "->" in text:
        return NotCovered(
            f"Paths into JSON are not covered: {text[:60]}",
            hint="Select the whole column and take it apart in the client.",
        )
    if "(" in text and not text.split("::")[0].endswith("()"):
        return NotCovered(
            f"Embedding other collections is not covered: {text[:60]}",
            hint="Ask for the other collection by itself.",
        )
    return Invalid(
        f"select does not understand {text[:60]!r}.",
        code="select.invalid",
        hint="Write select=id,alias:column,count(),amount.sum(),at.hour().",
    )


def _order(text: str) -> Order:
    name, *words = text.split(".")
    if not set(words) <= _SORTS or len(words) > 2:
        raise Invalid(
            f"order does not understand {text[:60]!r}.",
            code="order.invalid",
            hint="Write order=at.desc.nullslast,id.",
        )
    nulls = [word == "nullsfirst" for word in words if word.startswith("nulls")]
    return Order(column_name(name), "desc" in words, nulls[0] if nulls else None)


def _predicate(column: str, text: str) -> Filter:
    """`[not.]op[(any|all)].value`, the value to the end of the text and taken as it stands."""
    if text.startswith("not."):
        return Not(_predicate_once(column, text[4:]))
    return _predicate_once(column, text)


def _predicate_once(column: str, text: str) -> Filter:
    operator, quantifier, rest = _operator(column, text)
    if operator == "in" or quantifier:
        reader = _Reader(rest)
        values = reader.values("()" if operator == "in" else "{}")
        reader.end()
        return _listed(column, operator, quantifier, values)
    return _compare(column, operator, rest)


def _operator(column: str, text: str) -> tuple[str, str, str]:
    found = _OPERATOR.match(text)
    name = found[1] if found else ""
    if name in _UNSUPPORTED:
        raise NotCovered(f"The operator {name} is not covered.", hint=_operators())
    if found is None or (name != "isdistinct" and name not in Op._value2member_map_):
        raise Invalid(
            f"{column}={text[:60]}: no comparison is named there.",
            code="filter.invalid",
            hint=f"Write {column}=eq.value. {_operators()}",
        )
    return name, found[2] or "", text[found.end() :]


def _operators() -> str:
    return "Comparisons: " + ", ".join(op.value for op in Op) + ", each with not. before it."


def _listed(column: str, operator: str, quantifier: str, values: tuple[str, ...]) -> Filter:
    if operator == "in":
        return Compare(column, Op.IN, values)
    if not values:
        raise Invalid("(any) and (all) want at least one value.", code="filter.invalid")
    terms = tuple(_compare(column, operator, value) for value in values)
    return Some(terms) if quantifier == "any" else Every(terms)


def _compare(column: str, operator: str, value: str) -> Filter:
    if operator == "isdistinct":
        return Some((Compare(column, Op.NEQ, value), Compare(column, Op.IS, None)))
    if operator != "is":
        return Compare(column, Op(operator), value)
    word = value.lower()
    if word == "not_null":
        return Not(Compare(column, Op.IS, None))
    if word not in _IS:
        raise Invalid(
            f"{column}=is.{value[:20]}: is compares with null, true and false.",
            code="filter.invalid",
            hint=f"Write {column}=is.null, or {column}=eq.{value[:20]}.",
        )
    return Compare(column, Op.IS, _IS[word])


class _Reader:
    """Reads `and(a.eq.1,or(b.gt.2,not.c.in.(x,"y,z")))` from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def term(self, depth: int) -> Filter:
        if depth > limits.FILTER_DEPTH:
            raise TooLarge(
                f"Filters nest {limits.FILTER_DEPTH} deep at most.", code="filter.nesting"
            )
        found = _LOGIC.match(self._text, self._at)
        if found is None:
            return self._comparison()
        self._at = found.end()
        terms = [self.term(depth + 1)]
        while self._take(","):
            terms.append(self.term(depth + 1))
        if not self._take(")"):
            raise self._unreadable()
        group: Filter = Every(tuple(terms)) if found[2] == "and" else Some(tuple(terms))
        return Not(group) if found[1] else group

    def values(self, brackets: str) -> tuple[str, ...]:
        """`(a,"b,c")`: the values between brackets."""
        if not self._take(brackets[0]):
            raise self._unreadable()
        if self._take(brackets[1]):
            return ()
        values = [self._value("," + brackets[1])]
        while self._take(","):
            values.append(self._value("," + brackets[1]))
            if len(values) > limits.QUERY_ROWS:
                raise TooLarge(f"A list of a filter has {limits.QUERY_ROWS} values at most.")
        if not self._take(brackets[1]):
            raise self._unreadable()
        return tuple(values)

    def end(self) -> None:
        if self._at != len(self._text):
            raise self._unreadable()

    def _comparison(self) -> Filter:
        self._terms += 1
        _bounded(self._terms)
        dot = self._text.find(".", self._at)
        if dot < 0:
            raise self._unreadable()
        column = column_name(self._text[self._at : dot].strip())
        self._at = dot + 1
        negated = self._take("not.")
        operator, quantifier, rest = _operator(column, self._text[self._at :])
        self._at = len(self._text) - len(rest)
        if operator == "in" or quantifier:
            brackets = "()" if operator == "in" else "{}"
            term = _listed(column, operator, quantifier, self.values(brackets))
        else:
            term = _compare(column, operator, self._value(",)"))
        return Not(term) if negated else term

    def _value(self, ends: str) -> str:
        if self._take('"'):
            return self._quoted()
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ends:
            self._at += 1
        return self._text[start : self._at]

    def _quoted(self) -> str:
        chars: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == '"':
                return "".join(chars)
            if char == "\\" and self._at < len(self._text):
                char = self._text[self._at]
                self._at += 1
            chars.append(char)
        raise self._unreadable()

    def _take(self, token: str) -> bool:
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def _unreadable(self) -> BeiraError:
        return Invalid(
            f"The filter is not understood at character {self._at + 1}: "
            f"{self._text[self._at : self._at + 40]!r}.",
            code="filter.invalid",
            hint='Write and=(a.eq.1,or(b.gt.2,c.in.(x,"y,z"))).',
        )


def _bounded(terms: int) -> None:
    if terms > limits.FILTER_TERMS:
        raise TooLarge(
            f"A filter has {limits.FILTER_TERMS} terms at most.",
            hint="Use in.(...) for many values, or ask in several requests.",
        )

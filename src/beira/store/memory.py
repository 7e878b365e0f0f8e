"""A store in memory: for tests and the simulator. Deterministic, without threads, lost at exit.

It is held to the same contract as the others, and the plainest of the three to read: what it does
is what a store means.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from beira.kernel.collection import FieldType, Flow, Registry
from beira.kernel.contest import Contest, contests
from beira.kernel.errors import Unavailable
from beira.kernel.query import Compare, Every, Filter, Measure, Not, Op, Page, Query
from beira.kernel.record import Row, Value
from beira.store.news import Listeners
from beira.store.plan import Expression, Plan, Sort, plan
from beira.store.port import Commit, Dropped, News, Pending, Route, Slice
from beira.store.restamp import Restamping
from beira.store.rows import check_marks, normal, plain_value, raised, row_bytes, sent_since, settle
from beira.store.sql import fixed_width, like_matches, shortest

Key = tuple[str, str]


class MemoryStore:
    """Implements `NodeStore` for one tenant."""

    def __init__(self, registry: Registry, *, tenant: str = "") -> None:
        self.tenant = tenant
        self._registry = registry
        self._tables: dict[str, dict[str, Row]] = {c.name: {} for c in registry}
        self._streams: dict[str, _Stream] = {}
        self._marks: dict[str, Value] = {}
        self._listeners = Listeners()
        self._closed = False

    @property
    def registry(self) -> Registry:
        return self._registry

    async def commit(
        self,
        rows: Sequence[Row],
        *,
        route: Route | None = None,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
        dropped: Dropped | None = None,
    ) -> Commit:
        self._check_open()
        check_marks(self._marks, expect)
        changed: dict[Key, Row] = {}
        since: dict[tuple[str, Key], int] = {}
        met: list[Contest] = []
        self._merge(rows, route, changed, since, met)
        if met and dropped is not None:
            self._merge(dropped(met), route, changed, since, [])
        self._apply(changed, since, marks)
        return Commit(rows=tuple(changed.values()), contests=met)

    def _merge(
        self,
        rows: Sequence[Row],
        route: Route | None,
        changed: dict[Key, Row],
        since: dict[tuple[str, Key], int],
        met: list[Contest],
    ) -> None:
        for row in map(normal, rows):
            key = (row.collection, row.id)
            declared = self._registry[row.collection]
            before = changed.get(key) or self._tables[row.collection].get(row.id)
            settled = settle(declared, before, row)
            after = settled.row if settled else before or row
            met += self._numbered(contests(declared, before, row, after), route)
            if settled is None:
                continue
            changed.pop(key, None)
            changed[key] = settled.row
            stream = route(settled.row) if route else None
            if stream is not None:
                earliest = since.pop((stream, key), settled.since_hlc)
                since[stream, key] = min(earliest, settled.since_hlc)

    def _numbered(self, met: list[Contest], route: Route | None) -> list[Contest]:
        """Contests with the place of their rows in the feed, as it is before the commit, and whether
        what they met is named in a log."""
        if not met or route is None:
            return met
        key = (met[0].collection, met[0].id)
        stored = self._tables[key[0]].get(key[1])
        if stored is None:
            return met
        fed = route(stored) or ""
        logs = [s.entries[key] for s in self._streams.values() if key in s.entries]
        since_hlc = min((since for _, since in logs), default=1 << 63)
        number, _ = self._streams.get(fed, _Stream()).entries.get(key, (0, 0))
        return [
            msgspec.structs.replace(met, number=number, unsent=met.mine_stamp.hlc >= since_hlc)
            for met in met
        ]

    def _apply(
        self,
        changed: dict[Key, Row],
        since: dict[tuple[str, Key], int],
        marks: Mapping[str, Value] | None,
    ) -> None:
        for (collection, id), row in changed.items():
            self._tables[collection][id] = row
        for (stream, key), since_hlc in since.items():
            self._streams.setdefault(stream, _Stream()).add(key, since_hlc)
        self._set_marks(marks)
        if changed:
            told = tuple((row.collection, row.id, row.partition) for row in changed.values())
            self._listeners.tell(News(tenant=self.tenant, rows=told))

    async def since(
        self, stream: str, after: int, *, whole: bool = False, most: int, most_bytes: int
    ) -> Slice:
        self._check_open()
        found = self._streams.get(stream, _Stream())
        rows: list[Row] = []
        upto, size_bytes, more = after, 0, False
        for number, key, since_hlc in found.after(after):
            if key[0] not in self._registry:
                continue
            row = self._tables[key[0]][key[1]]
            if not whole:
                row = sent_since(self._registry[key[0]], row, since_hlc)
            size_bytes += row_bytes(row)
            if rows and (len(rows) >= most or size_bytes > most_bytes):
                more = True
                break
            rows.append(row)
            upto = number
        upto = upto if more else max(after, found.last)
        return Slice(stream=stream, after=after, upto=upto, rows=tuple(rows), more=more)

    async def trim(
        self, stream: str, upto: int, *, marks: Mapping[str, Value] | None = None
    ) -> None:
        self._check_open()
        if stream in self._streams:
            self._streams[stream].trim(upto, self._registry)
        self._set_marks(marks)

    async def pending(self, stream: str) -> Pending:
        self._check_open()
        found = self._streams.get(stream, _Stream())
        known = [since for key, (_, since) in found.entries.items() if key[0] in self._registry]
        return Pending(count=len(known), oldest_hlc=min(known, default=None), last=found.last)

    async def end(self, stream: str) -> int:
        self._check_open()
        return self._streams.get(stream, _Stream()).last

    async def look(
        self, prefixes: Sequence[str], streams: Sequence[str]
    ) -> tuple[dict[str, Value], dict[str, int]]:
        self._check_open()
        found = {n: v for n, v in sorted(self._marks.items()) if n.startswith(tuple(prefixes))}
        return found, {s: self._streams.get(s, _Stream()).last for s in streams}

    async def get(self, collection: str, id: str) -> Row | None:
        self._check_open()
        return self._tables[self._registry[collection].name].get(id)

    async def rows(
        self, collection: str, partition: str, *, after: tuple[int, str], most: int
    ) -> tuple[Row, ...]:
        self._check_open()
        table = self._tables[self._registry[collection].name]
        found = [
            row
            for row in table.values()
            if row.partition == partition and (row.stamp.hlc, row.id) > after
        ]
        return tuple(sorted(found, key=lambda row: (row.stamp.hlc, row.id))[:most])

    async def query(self, query: Query, partitions: Iterable[str] | None = None) -> Page:
        self._check_open()
        made = plan(query, self._registry[query.collection], partitions)
        return answer(made, self._tables[query.collection].values())

    async def marks(self, prefix: str = "") -> dict[str, Value]:
        self._check_open()
        return {
            name: value for name, value in sorted(self._marks.items()) if name.startswith(prefix)
        }

    async def forget(self, collection: str, before_hlc: int, *, most: int = 1_000) -> int:
        self._check_open()
        table = self._tables[self._registry[collection].name]
        named = {key for stream in self._streams.values() for key in stream.entries}
        old = sorted(
            (row.stamp.hlc, row.id)
            for row in table.values()
            if row.stamp.hlc < before_hlc and (collection, row.id) not in named
        )
        for _, id in old[:most]:
            del table[id]
        return len(old[:most])

    async def collect(
        self, stream: str, upto: int, before_hlc: int, *, floor: str, most: int = 1_000
    ) -> int:
        self._check_open()
        found = self._streams.get(stream, _Stream())
        gone: list[int] = []
        for number, (collection, id), _ in list(found.after(0)):
            row = self._tables[collection][id]
            if number > upto or len(gone) >= most:
                break
            if row.deleted and row.stamp.hlc < before_hlc:
                del self._tables[collection][id], found.entries[collection, id]
                gone.append(number)
        if gone:
            self._marks[floor] = raised(self._marks.get(floor), gone[-1], before_hlc)
        return len(gone)

    async def relog(self, keys: Sequence[Key], route: Route) -> int:
        self._check_open()
        rows = [self._tables[c][id] for c, id in keys if id in self._tables[c]]
        since = {(stream, (row.collection, row.id)): 0 for row in rows if (stream := route(row))}
        self._apply({(row.collection, row.id): row for row in rows}, since, None)
        return len(rows)

    async def remove(self, keys: Sequence[Key]) -> int:
        self._check_open()
        named = {key for stream in self._streams.values() for key in stream.entries}
        gone = [key for key in keys if key not in named and key[1] in self._tables[key[0]]]
        for collection, id in gone:
            del self._tables[collection][id]
        return len(gone)

    async def restamp(self, streams: Sequence[str], node: str, ceiling: int, floor: int = 0) -> int:
        self._check_open()
        work = Restamping(node, ceiling, floor)
        unsent = self._unsent_since(streams)
        for collection, table in self._tables.items():
            for id, row in table.items():
                work.see(row, unsent.get((collection, id), 1 << 63))
        if work.decide():
            for key, since_hlc in unsent.items():
                moved = work.moved(self._tables[key[0]][key[1]], since_hlc)
                if moved is not None:
                    self._tables[key[0]][key[1]], since_hlc = moved
                    for stream in streams:
                        self._streams.get(stream, _Stream()).lower(key, since_hlc)
        return work.greatest

    def _unsent_since(self, streams: Sequence[str]) -> dict[Key, int]:
        """Since when each row is unsent: by its streams, and always for what never leaves."""
        unsent = {
            (declared.name, id): 0
            for declared in self._registry
            if declared.flow is Flow.LOCAL
            for id in self._tables[declared.name]
        }
        for name in streams:
            for key, (_, since_hlc) in self._streams.get(name, _Stream()).entries.items():
                unsent[key] = min(since_hlc, unsent.get(key, since_hlc))
        return unsent

    def subscribe(self, listener: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(listener)

    def copy(self) -> MemoryStore:
        """All it holds, in a store of its own: a backup, or a cloned disk."""
        other = MemoryStore(self._registry, tenant=self.tenant)
        other._tables = deepcopy(self._tables)
        other._streams = deepcopy(self._streams)
        other._marks = deepcopy(self._marks)
        return other

    async def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("The store is closed.", code="store.closed")

    def _set_marks(self, marks: Mapping[str, Value] | None) -> None:
        for name, value in (marks or {}).items():
            if value is None:
                self._marks.pop(name, None)
            else:
                self._marks[name] = plain_value(value)


class _Stream:
    """One stream: its entries by record, and a log of numbers in which moved ones are left stale."""

    def __init__(self) -> None:
        self.last = 0
        self.entries: dict[Key, tuple[int, int]] = {}
        self._log: list[tuple[int, Key]] = []

    def add(self, key: Key, since_hlc: int) -> None:
        self.last += 1
        if key in self.entries:
            since_hlc = min(since_hlc, self.entries[key][1])
        self.entries[key] = (self.last, since_hlc)
        self._log.append((self.last, key))
        if len(self._log) > 2 * len(self.entries) + 64:
            self._log = [(n, k) for n, k in self._log if self.entries.get(k, (0, 0))[0] == n]

    def after(self, after: int) -> Iterable[tuple[int, Key, int]]:
        for at in range(bisect_right(self._log, after, key=lambda item: item[0]), len(self._log)):
            number, key = self._log[at]
            entry = self.entries.get(key)
            if entry is not None and entry[0] == number:
                yield number, key, entry[1]

    def trim(self, upto: int, registry: Registry) -> None:
        """Entries of collections that no app here declares stay: they were never handed out."""
        for number, key, _ in list(self.after(0)):
            if number > upto:
                break
            if key[0] in registry:
                del self.entries[key]

    def lower(self, key: Key, since_hlc: int) -> None:
        if key in self.entries:
            self.entries[key] = (self.entries[key][0], since_hlc)


def answer(made: Plan, rows: Iterable[Row]) -> Page:
    """The plan's answer from rows, as SQL would give it."""
    granted = None if made.partitions is None else frozenset(made.partitions)
    kept = [
        plain
        for row in rows
        if not row.deleted and (granted is None or row.partition in granted)
        for plain in [_plain(row, made)]
        if made.where is None or _holds(made.where, plain, made) is True
    ]
    groups = [[plain] for plain in kept] if made.groups is None else _grouped(made.groups, kept)
    for sort in reversed(made.order):
        groups = _sorted(sort, groups)
    page = groups[made.offset : made.offset + made.limit]
    return Page(
        rows=[
            {
                label: _shown(output, _evaluate(output, group))
                for label, output in zip(made.labels, made.outputs, strict=True)
            }
            for group in page
        ],
        total=len(groups) if made.count else None,
    )


Plain = dict[str, Value]


def _plain(row: Row, made: Plan) -> Plain:
    """A row as a query sees it: with defaults, and with times at their fixed width, so that they compare
    as texts."""
    meta = {"id": row.id, "_partition": row.partition, "_node": row.stamp.node}
    plain = {**made.defaults, **row.fields, **meta, "_lane": row.stamp.lane, "_hlc": row.stamp.hlc}
    for name, kind in made.types.items():
        if kind is FieldType.TIMESTAMP and plain.get(name) is not None:
            plain[name] = fixed_width(plain[name])
    return plain


def _shown(made: Expression, value: Value) -> Value:
    return shortest(value) if made.type is FieldType.TIMESTAMP and value is not None else value


def _grouped(by: tuple[Expression, ...], rows: list[Plain]) -> list[list[Plain]]:
    if not by:
        return [rows]
    groups: dict[bytes, list[Plain]] = {}
    for row in rows:
        key = msgspec.json.encode([_value(e, row) for e in by], order="deterministic")
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _sorted(sort: Sort, groups: list[list[Plain]]) -> list[list[Plain]]:
    """In the order of one key, those equal in it as they were."""
    keyed = [(_evaluate(sort.expression, group), group) for group in groups]
    nulls = [group for value, group in keyed if value is None]
    rest = [pair for pair in keyed if pair[0] is not None]
    rest.sort(key=lambda pair: pair[0], reverse=sort.descending)
    found = [group for _, group in rest]
    return nulls + found if sort.nulls_first else found + nulls


def _evaluate(made: Expression, group: list[Plain]) -> Value:
    if made.measure is None:
        return _value(made, group[0])
    if not made.column:
        return len(group)
    values = [v for v in (_value(made, row) for row in group) if v is not None]
    if made.measure is Measure.COUNT:
        return len(values)
    return _MEASURES[made.measure](values) if values else None


def _total(values: list[Any]) -> Value:
    return math.fsum(values) if isinstance(values[0], float) else sum(values)


_MEASURES: dict[Measure, Callable[[list[Any]], Value]] = {
    Measure.SUM: _total,
    Measure.AVG: lambda values: math.fsum(values) / len(values),
    Measure.MIN: min,
    Measure.MAX: max,
}


def _value(made: Expression, row: Plain) -> Value:
    value = row.get(made.column)
    return f"{value[:13]}:00:00.000000Z" if made.hour and value is not None else value


def _holds(node: Filter, row: Plain, made: Plan) -> bool | None:
    """Three-valued, as SQL is: None is unknown."""
    if isinstance(node, Compare):
        return _compares(node, row.get(node.column), made.types[node.column])
    if isinstance(node, Not):
        held = _holds(node.term, row, made)
        return None if held is None else not held
    decisive = not isinstance(node, Every)
    found = [_holds(term, row, made) for term in node.terms]
    if decisive in found:
        return decisive
    return None if None in found else not decisive


def _compares(node: Compare, value: Any, kind: FieldType) -> bool | None:
    operand = node.value
    if node.op is Op.IS:
        return value is operand
    if value is None and operand != ():  # SQL knows that nothing is among no values
        return None
    if kind is FieldType.TIMESTAMP:
        many = isinstance(operand, tuple)
        operand = tuple(map(fixed_width, operand)) if many else fixed_width(operand)
    return _COMPARISONS[node.op](value, operand)


_COMPARISONS: dict[Op, Callable[[Any, Any], bool]] = {
    Op.EQ: lambda left, right: left == right,
    Op.NEQ: lambda left, right: left != right,
    Op.GT: lambda left, right: left > right,
    Op.GTE: lambda left, right: left >= right,
    Op.LT: lambda left, right: left < right,
    Op.LTE: lambda left, right: left <= right,
    Op.IN: lambda left, right: left in right,
    Op.LIKE: lambda left, right: like_matches(right, left, fold=False),
    Op.ILIKE: lambda left, right: like_matches(right, left, fold=True),
}

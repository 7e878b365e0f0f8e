"""How a kind of record lives: its flow, lane, merging, partition, privacy, rights and retention.

    @collection("punches", flow=UP, lane=IMPORTANT, partition=SITE)
    class Punch(Fact):
        employee: Annotated[str, Personal]

The declaration is all that sync, stores, API and portal need; nothing else of an app knows of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TypeVar

import msgspec

from beira.kernel import limits
from beira.kernel.errors import Corrupt, Invalid, NotFound
from beira.kernel.field import (
    DELETED_FIELD,
    Blob,
    Fetch,
    Field,
    FieldType,
    Personal,
    Pseudonym,
    Travel,
    Withheld,
    checked_name,
    fields_of,
)
from beira.kernel.record import DELETED, Fact, Record, Value
from beira.kernel.rollup import Rollup
from beira.kernel.values import (
    canonical,
    canonical_column,
    check_size,
    invalid,
    most_bytes,
    timestamp,
    unknown,
)


class Flow(Enum):
    """Which way a collection's records travel."""

    LOCAL = "local"
    UP = "up"
    DOWN = "down"
    BOTH = "both"


class Lane(IntEnum):
    """How soon a change must leave the node. The higher the number, the more urgent."""

    NORMAL = 0
    IMPORTANT = 1
    CRITICAL = 2

    @property
    def deadline_s(self) -> int:
        return _DEADLINES_S[self]


_DEADLINES_S = {
    Lane.NORMAL: limits.DEADLINE_NORMAL_S,
    Lane.IMPORTANT: limits.DEADLINE_IMPORTANT_S,
    Lane.CRITICAL: limits.DEADLINE_CRITICAL_S,
}


class Scope(Enum):
    """Which partition a record belongs to when its writer names none."""

    TENANT = "tenant"
    SITE = "site"
    NODE = "node"


class MergeOrder(Enum):
    """What decides between two writes of one field."""

    LATEST = "latest"
    URGENT = "urgent"


LOCAL, UP, DOWN, BOTH = Flow.LOCAL, Flow.UP, Flow.DOWN, Flow.BOTH
NORMAL, IMPORTANT, CRITICAL = Lane.NORMAL, Lane.IMPORTANT, Lane.CRITICAL
TENANT, SITE, NODE = Scope.TENANT, Scope.SITE, Scope.NODE


@dataclass(frozen=True, slots=True)
class Collection:
    """A declaration. `read` and `write` name the roles of people; nodes follow flow and partition."""

    name: str
    record: type[Record]
    flow: Flow
    lane: Lane
    scope: Scope
    order: MergeOrder
    fields: Mapping[str, Field]
    read: frozenset[str]
    write: frozenset[str]
    retention_days: int | None
    doc: str
    rollup: Rollup | None = None
    """What of it travels by the hour, for records that stay on their node."""

    @property
    def disguised(self) -> bool:
        """Whether a record leaves the node otherwise than it lies there."""
        return any(field.travel is not Travel.AS_IT_IS for field in self.fields.values())

    @property
    def is_fact(self) -> bool:
        return issubclass(self.record, Fact)

    @property
    def goes_up(self) -> bool:
        return self.flow in (Flow.UP, Flow.BOTH)

    @property
    def goes_down(self) -> bool:
        return self.flow in (Flow.DOWN, Flow.BOTH)

    def encode(self, record: Record) -> dict[str, Value]:
        """A record's fields as plain values, checked; `id` is not among them."""
        if not isinstance(record, self.record):
            raise Invalid(f"{self.name} holds {self.record.__name__}, not {type(record).__name__}.")
        return self.check({name: getattr(record, name) for name in self.fields}, whole=True)

    def check(self, fields: Mapping[str, object], *, whole: bool) -> dict[str, Value]:
        """`fields` as canonical plain values.

        Args: `whole` adds defaults and demands every required field; without it only the fields
        given are checked. Fields this release does not know pass through untouched (law 8).

        Raises: Invalid with the field's name, TooLarge.
        """
        checked: dict[str, Value] = {}
        for name, field in self.fields.items():
            if name in fields:
                checked[name] = canonical(self.name, field, fields[name])
            elif whole and field.required:
                raise invalid(self.name, name, "is missing")
            elif whole:
                checked[name] = field.default
        for name in fields.keys() - self.fields.keys() - {"id"}:
            checked[name] = unknown(self.name, name, fields[name])
        check_size(self.name, checked)
        return checked

    def check_columns(
        self, names: Sequence[str], columns: Sequence[Sequence[object]]
    ) -> list[list[Value]] | None:
        """What `check` makes of rows that have the fields `names`, for all of them at once, in
        columns; None if some value needs the closer look that `check` takes."""
        checked: list[list[Value]] = []
        size_bytes = 2
        for name, column in zip(names, columns, strict=True):
            field = self.fields.get(name)
            made = canonical_column(self.name, field or DELETED_FIELD, column)
            if made is None or (field is None and name != DELETED):
                return None
            checked.append(made)
            size_bytes += len(name) + 4 + most_bytes(field or DELETED_FIELD, made)
        unlike = len(set(names)) < len(names) or size_bytes > limits.RECORD_BYTES
        return None if unlike else checked

    def decode(self, id: str, fields: Mapping[str, Value]) -> Record:
        """The typed record of a stored row. Fields the record does not know are left out, and those that
        the row lacks have their defaults.

        Raises Corrupt `record.incomplete`: what a cloud or a disk has lost may come back field by field.
        """
        known = {name: value for name, value in fields.items() if name in self.fields}
        try:
            return msgspec.convert({"id": id, **known}, self.record, strict=False)
        except msgspec.ValidationError as error:
            raise Corrupt(
                f"{self.name} {id} is not whole here: {error}.",
                code="record.incomplete",
                hint="It is, once what the nodes and the cloud hold has been compared.",
            ) from None

    def decode_whole(self, rows: Iterable[Mapping[str, Value]]) -> list[Record]:
        """The typed records of a query's rows, which have an `id`, but for those that are not whole."""
        found = []
        for row in rows:
            with suppress(Corrupt):
                found.append(self.decode(str(row["id"]), row))
        return found


R = TypeVar("R", bound=Record)
_DECLARED = "__beira_collection__"
_EVERYONE = ("owner", "member", "guest")


def collection(
    name: str,
    *,
    flow: Flow,
    lane: Lane = Lane.NORMAL,
    partition: Scope = Scope.SITE,
    order: MergeOrder = MergeOrder.LATEST,
    read: Iterable[str] = _EVERYONE,
    write: Iterable[str] = ("owner",),
    retention_days: int | None = None,
    rollup: Rollup | None = None,
) -> Callable[[type[R]], type[R]]:
    """Declare the decorated `Fact` or `State` as the collection `name`.

    `read` and `write` are roles of people. `retention_days` is how long a node keeps what the cloud
    has confirmed (None: for ever). Raises Invalid at import time for a declaration that cannot be.
    """

    def declare(record: type[R]) -> type[R]:
        declared = Collection(
            name=checked_name(name),
            record=record,
            flow=flow,
            lane=lane,
            scope=partition,
            order=order,
            fields=fields_of(name, record),
            read=frozenset(read),
            write=frozenset(write),
            retention_days=retention_days,
            rollup=rollup,
            doc=(record.__doc__ or "").strip(),
        )
        _check_disguise(declared)
        setattr(record, _DECLARED, declared)
        return record

    return declare


def _check_disguise(declared: Collection) -> None:
    """What comes back from the cloud would take the place of what only the node knows."""
    for field in declared.fields.values():
        if field.travel is Travel.AS_IT_IS:
            continue
        if declared.goes_down:
            raise Invalid(f"{declared.name}.{field.name} is disguised, so it can only go up.")
        if field.travel is Travel.WITHHELD and field.required:
            raise Invalid(f"{declared.name}.{field.name} is withheld, so it needs a default.")
        if field.travel is Travel.PSEUDONYM and field.type is not FieldType.TEXT:
            raise Invalid(f"{declared.name}.{field.name} is no text: it has no pseudonym.")


def collection_of(record: type[Record] | Record) -> Collection:
    """The declaration of a record class or instance. Raises Invalid if there is none."""
    found = getattr(record, _DECLARED, None)
    if not isinstance(found, Collection):
        name = record.__name__ if isinstance(record, type) else type(record).__name__
        raise Invalid(f"{name} is not declared.", hint="Decorate it with @collection(...).")
    return found


class Registry:
    """All collections of the apps installed, by name."""

    def __init__(self, collections: Iterable[Collection]) -> None:
        self._by_name: dict[str, Collection] = {}
        for item in collections:
            if item.name in self._by_name:
                raise Invalid(f"Two collections are called {item.name}.")
            self._by_name[item.name] = item

    def __iter__(self) -> Iterator[Collection]:
        return iter(self._by_name.values())

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Collection:
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFound(
                f"There is no collection {name!r}.",
                code="collection.unknown",
                hint="Collections: " + ", ".join(sorted(self._by_name)) + ".",
            ) from None


__all__ = [
    "BOTH", "CRITICAL", "DOWN", "IMPORTANT", "LOCAL", "NODE", "NORMAL", "SITE", "TENANT", "UP",
    "Blob", "Collection", "Fetch", "Field", "FieldType", "Flow", "Lane", "MergeOrder", "Personal",
    "Pseudonym", "Registry", "Scope", "Travel", "Withheld", "collection", "collection_of",
    "timestamp",
]  # fmt: skip

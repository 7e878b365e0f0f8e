"""How a kind of record lives: its flow, lane, merging, partition, privacy, rights and retention.

    @collection("punches", flow=UP, lane=IMPORTANT, partition=SITE)
    class Punch(Fact):
        employee: Annotated[str, Personal]

The declaration is all that sync, stores, API and portal need; nothing else of an app knows of them.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from typing import Any, Literal, TypeVar

import msgspec

from beira.kernel import limits
from beira.kernel.errors import Invalid, NotFound, TooLarge
from beira.kernel.record import DELETED, Fact, Record, State, Value
from beira.kernel.rollup import Rollup


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


class Personal:
    """Marks a field as personal data: `employee: Annotated[str, Personal]`."""


class Pseudonym(Personal):
    """Marks a personal text that leaves the node only as a keyed pseudonym (see `kernel.disguise`)."""


class Withheld(Personal):
    """Marks a personal field that never leaves the node; it needs a default."""


class Travel(Enum):
    """How a field leaves the node."""

    AS_IT_IS = "as it is"
    PSEUDONYM = "pseudonym"
    WITHHELD = "withheld"


class Fetch(Enum):
    """When a node gets the blobs its records name."""

    EAGER = "eager"
    LAZY = "lazy"


@dataclass(frozen=True, slots=True)
class Blob:
    """Marks a text, or a list of texts, as naming blobs by their SHA-256 in lower-case hex:
    `audio: Annotated[str, Blob()]`. An empty text names none. Sync carries the blobs themselves."""

    fetch: Fetch = Fetch.EAGER


class FieldType(Enum):
    """What a field is kept as. Timestamps and dates travel as ISO 8601 text, times in UTC with a Z."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    DATE = "date"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One typed field of a collection."""

    name: str
    type: FieldType
    python_type: Any
    nullable: bool
    required: bool
    default: Value
    personal: bool
    plain: FieldType | None
    """Its type, if any value of that type will do."""
    blob: Blob | None = None
    """How the blobs it names are fetched, if it names any."""
    travel: Travel = Travel.AS_IT_IS


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
                checked[name] = _canonical(self.name, field, fields[name])
            elif whole and field.required:
                raise _invalid(self.name, name, "is missing")
            elif whole:
                checked[name] = field.default
        for name in fields.keys() - self.fields.keys() - {"id"}:
            checked[name] = _unknown(self.name, name, fields[name])
        _check_size(self.name, checked)
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
            made = _canonical_column(self.name, field or _DELETED_FIELD, column)
            if made is None or (field is None and name != DELETED):
                return None
            checked.append(made)
            size_bytes += len(name) + 4 + _most_bytes(field or _DELETED_FIELD, made)
        unlike = len(set(names)) < len(names) or size_bytes > limits.RECORD_BYTES
        return None if unlike else checked

    def decode(self, id: str, fields: Mapping[str, Value]) -> Record:
        """The typed record of a stored row; fields the record does not know are left out."""
        known = {name: value for name, value in fields.items() if name in self.fields}
        return msgspec.convert({"id": id, **known}, self.record, strict=False)


R = TypeVar("R", bound=Record)
_DECLARED = "__beira_collection__"
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
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
            name=_checked_name(name),
            record=record,
            flow=flow,
            lane=lane,
            scope=partition,
            order=order,
            fields=_fields_of(name, record),
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


def timestamp(moment: datetime) -> str:
    """The canonical text of a moment: UTC, no trailing zeros. Raises Invalid without a time zone."""
    if moment.tzinfo is None:
        raise Invalid(
            "A time without its zone is ambiguous.", hint="Add an offset, such as -03:00."
        )
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def _checked_name(name: str) -> str:
    if not _NAME.match(name) or len(name) > limits.NAME_CHARS:
        raise Invalid(f"{name!r} cannot name a collection or field: use a-z, 0-9 and _.")
    return name


def _fields_of(name: str, record: type[Record]) -> dict[str, Field]:
    if not issubclass(record, Fact | State):
        raise Invalid(f"{record.__name__} must derive from Fact or State.")
    hints = typing.get_type_hints(record, include_extras=True)
    infos = [info for info in msgspec.structs.fields(record) if info.name != "id"]
    if len(infos) > limits.FIELDS_PER_COLLECTION:
        raise Invalid(f"{name} has more than {limits.FIELDS_PER_COLLECTION} fields.")
    return {_checked_name(info.name): _field(info, hints[info.name]) for info in infos}


def _field(info: msgspec.structs.FieldInfo, hint: Any) -> Field:
    marks = [m for m in getattr(hint, "__metadata__", ()) if _is_personal(m)]
    inner = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    args = typing.get_args(inner)
    is_union = typing.get_origin(inner) in (typing.Union, types.UnionType)
    nullable = is_union and type(None) in args
    plain = [a for a in args if a is not type(None)] if is_union else [inner]
    kind = _field_type(plain[0]) if len(plain) == 1 else FieldType.JSON
    return Field(
        name=info.name,
        type=kind,
        python_type=hint,
        nullable=nullable,
        required=info.required,
        default=None if info.required else msgspec.to_builtins(_default(info)),
        personal=bool(marks),
        plain=_plain(hint, plain),
        blob=_blob(hint),
        travel=next((_TRAVELS[m] for m in marks if m in _TRAVELS), Travel.AS_IT_IS),
    )


_TRAVELS = {Pseudonym: Travel.PSEUDONYM, Withheld: Travel.WITHHELD}


def _is_personal(mark: Any) -> bool:
    return isinstance(mark, type) and issubclass(mark, Personal)


def _blob(hint: Any) -> Blob | None:
    marks = getattr(hint, "__metadata__", ())
    given = [Blob() if mark is Blob else mark for mark in marks]
    return next((mark for mark in given if isinstance(mark, Blob)), None)


def _plain(hint: Any, options: list[Any]) -> FieldType | None:
    """The type for which any value will do: one annotated with more than `Personal` has rules."""
    marks = getattr(hint, "__metadata__", ())
    if len(options) != 1 or not all(map(_is_personal, marks)):
        return None
    return _PLAIN.get(options[0])


def _default(info: msgspec.structs.FieldInfo) -> object:
    if info.default is not msgspec.NODEFAULT:
        return info.default
    return info.default_factory()


def _field_type(hint: Any) -> FieldType:
    if hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if typing.get_origin(hint) is Literal:
        hint = type(typing.get_args(hint)[0])
    if isinstance(hint, type):
        if issubclass(hint, IntEnum):
            return FieldType.INTEGER
        if issubclass(hint, Enum):
            return FieldType.TEXT
        for python, kind in _TYPES:
            if issubclass(hint, python):
                return kind
    return FieldType.JSON


_TYPES: tuple[tuple[type, FieldType], ...] = (
    (bool, FieldType.BOOLEAN),
    (int, FieldType.INTEGER),
    (float, FieldType.REAL),
    (str, FieldType.TEXT),
    (datetime, FieldType.TIMESTAMP),
    (date, FieldType.DATE),
)


_PLAIN: dict[object, FieldType] = {
    str: FieldType.TEXT,
    int: FieldType.INTEGER,
    float: FieldType.REAL,
    bool: FieldType.BOOLEAN,
}


_MOMENT = re.compile(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}(\.\d{0,5}[1-9])?Z\Z")


def _is_canonical(field: Field, value: object) -> bool:
    """Whether `value` is plainly right as it is: most are, and batches are checked value by value."""
    if type(value) is str:
        return (
            field.plain is FieldType.TEXT
            and len(value) <= limits.TEXT_CHARS
            and "\x00" not in value
            and value.isprintable()
        )
    if type(value) is int:
        return field.plain is FieldType.INTEGER and -(2**63) <= value < 2**63
    if value is None:
        return field.nullable
    if type(value) is float:
        return field.plain is FieldType.REAL and math.isfinite(value) and value != 0
    return field.plain is not None and field.plain is _PLAIN.get(type(value))


def _canonical(collection: str, field: Field, value: object) -> Value:
    if _is_canonical(field, value):
        return value
    try:
        if field.type is FieldType.TIMESTAMP and isinstance(value, str | datetime):
            moment = msgspec.convert(value, datetime) if isinstance(value, str) else value
            if isinstance(value, str) and _MOMENT.match(value):
                return value
            return timestamp(moment)
        plain = msgspec.to_builtins(value)
        typed = msgspec.convert(plain, field.python_type)
    except Invalid as error:
        raise _invalid(collection, field.name, error.message) from None
    except (msgspec.ValidationError, TypeError, OverflowError) as error:
        raise _invalid(collection, field.name, str(error)) from None
    if isinstance(typed, str) and len(typed) > limits.TEXT_CHARS:
        raise TooLarge(f"{collection}.{field.name} is over {limits.TEXT_CHARS} characters.")
    if field.blob is not None and not _names_blobs(plain):
        raise _invalid(collection, field.name, "names a blob by its SHA-256 in lower-case hex")
    return _storable(collection, field.name, msgspec.to_builtins(typed))


_SHA256 = re.compile(r"(?:[0-9a-f]{64})?\Z")


def _names_blobs(value: Value) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(n is None or (isinstance(n, str) and _SHA256.match(n)) for n in names)


_DELETED_FIELD = Field(
    name=DELETED,
    type=FieldType.BOOLEAN,
    python_type=bool,
    nullable=False,
    required=False,
    default=False,
    personal=False,
    plain=FieldType.BOOLEAN,
)
_HELD_AS: dict[FieldType, type] = {
    FieldType.TEXT: str,
    FieldType.INTEGER: int,
    FieldType.REAL: float,
    FieldType.BOOLEAN: bool,
    FieldType.TIMESTAMP: str,
    FieldType.DATE: str,
}


def _canonical_column(
    collection: str, field: Field, column: Sequence[object]
) -> list[Value] | None:
    """A column's canonical values, or None if not all of them plainly have one."""
    values = list(column)
    kinds = set(map(type, values))
    present = values
    if type(None) in kinds:
        if not field.nullable:
            return None
        kinds.discard(type(None))
        present = [value for value in values if value is not None]
    if field.type in _HELD_AS and kinds - {_HELD_AS[field.type]}:
        return None
    made = _canonical_values(collection, field, present)
    if made is None or present is values:
        return made
    rest = iter(made)
    return [None if value is None else next(rest) for value in values]


def _canonical_values(collection: str, field: Field, values: list[Value]) -> list[Value] | None:
    """The same for values of the type a field is held as, none of them None."""
    try:
        if field.type is FieldType.TIMESTAMP:
            texts = msgspec.to_builtins(msgspec.convert(values, list[datetime]))
            return values if texts == values or all(map(_MOMENT.match, values)) else None
        if field.plain is None:
            typed = msgspec.convert(values, types.GenericAlias(list, (field.python_type,)))
            values = msgspec.to_builtins(typed)
        if field.type is FieldType.JSON:
            return [_storable(collection, field.name, value) for value in values]
    except (Invalid, msgspec.ValidationError, TypeError, OverflowError):
        return None
    if field.type is FieldType.REAL and 0.0 in values:
        values = [value + 0.0 for value in values]  # -0.0 becomes 0.0
    return values if _are_storable(field.type, values) else None


def _are_storable(kind: FieldType, values: list[Value]) -> bool:
    if kind is FieldType.TEXT:
        joined = "".join(values)
        longest = max(map(len, values), default=0)
        return longest <= limits.TEXT_CHARS and "\x00" not in joined and _is_unicode(joined)
    if kind is FieldType.INTEGER:
        return min(values, default=0) >= -(2**63) and max(values, default=0) < 2**63
    if kind is FieldType.REAL:
        return all(map(math.isfinite, values))
    return True


def _most_bytes(field: Field, values: list[Value]) -> int:
    """What no value of the column exceeds as JSON."""
    if field.type is FieldType.TEXT:
        return 2 + 6 * max((len(value) for value in values if value is not None), default=2)
    return len(msgspec.json.encode(values)) if field.type is FieldType.JSON else 34


def _unknown(collection: str, name: str, value: object) -> Value:
    if name == DELETED:
        if not isinstance(value, bool):
            raise _invalid(collection, name, "is true or false")
        return value
    if not _NAME.match(name) or len(name) > limits.NAME_CHARS:
        raise _invalid(collection, name[: limits.NAME_CHARS], "is not a field's name")
    return _storable(collection, name, msgspec.to_builtins(value))


def _storable(collection: str, field: str, value: Value, depth: int = 0) -> Value:
    """`value` if every store and JSON carry it exactly; -0.0 becomes 0.0. Raises Invalid."""
    if isinstance(value, str) and ("\x00" in value or not _is_unicode(value)):
        raise _invalid(collection, field, "holds a character that is none (NUL or half a pair)")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _invalid(collection, field, "is not a number")
        return value + 0.0
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _invalid(collection, field, "is beyond 64 bits")
    if depth > limits.JSON_DEPTH:
        raise _invalid(collection, field, f"is nested over {limits.JSON_DEPTH} deep")
    if isinstance(value, list):
        return [_storable(collection, field, item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            _storable(collection, field, key): _storable(collection, field, item, depth + 1)
            for key, item in value.items()
        }
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_size(collection: str, fields: dict[str, Value]) -> None:
    size = len(msgspec.json.encode(fields))
    if size > limits.RECORD_BYTES:
        raise TooLarge(f"A record of {collection} is {size} bytes; {limits.RECORD_BYTES} at most.")


def _invalid(collection: str, field: str, why: str) -> Invalid:
    return Invalid(
        f"{collection}.{field}: {why}.",
        code="field.invalid",
        hint=f"See the fields of {collection} in the API's description (/rest/v1/).",
        details={"collection": collection, "field": field},
    )

"""Values in the one form in which every store and JSON carry them exactly: one by one, or by column."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from beira.kernel import limits
from beira.kernel.errors import Invalid, TooLarge
from beira.kernel.field import NAME, PLAIN, Field, FieldType
from beira.kernel.record import DELETED, Value


def timestamp(moment: datetime) -> str:
    """The canonical text of a moment: UTC, no trailing zeros. Raises Invalid without a time zone."""
    if moment.tzinfo is None:
        raise Invalid(
            "A time without its zone is ambiguous.", hint="Add an offset, such as -03:00."
        )
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


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
    return field.plain is not None and field.plain is PLAIN.get(type(value))


def canonical(collection: str, field: Field, value: object) -> Value:
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
        raise invalid(collection, field.name, error.message) from None
    except (msgspec.ValidationError, TypeError, OverflowError) as error:
        raise invalid(collection, field.name, str(error)) from None
    if isinstance(typed, str) and len(typed) > limits.TEXT_CHARS:
        raise TooLarge(f"{collection}.{field.name} is over {limits.TEXT_CHARS} characters.")
    if field.blob is not None and not _names_blobs(plain):
        raise invalid(collection, field.name, "names a blob by its SHA-256 in lower-case hex")
    return _storable(collection, field.name, msgspec.to_builtins(typed))


_SHA256 = re.compile(r"(?:[0-9a-f]{64})?\Z")


def _names_blobs(value: Value) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(n is None or (isinstance(n, str) and _SHA256.match(n)) for n in names)


_HELD_AS: dict[FieldType, type] = {
    FieldType.TEXT: str,
    FieldType.INTEGER: int,
    FieldType.REAL: float,
    FieldType.BOOLEAN: bool,
    FieldType.TIMESTAMP: str,
    FieldType.DATE: str,
}


def canonical_column(collection: str, field: Field, column: Sequence[object]) -> list[Value] | None:
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
            msgspec.convert(values, list[datetime])
            return values if all(map(_MOMENT.match, values)) else None
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


def most_bytes(field: Field, values: list[Value]) -> int:
    """What no value of the column exceeds as JSON."""
    if field.type is FieldType.TEXT:
        present = values if None not in values else [value for value in values if value is not None]
        return 2 + 6 * max(map(len, present), default=2)
    return len(msgspec.json.encode(values)) if field.type is FieldType.JSON else 34


def unknown(collection: str, name: str, value: object) -> Value:
    if name == DELETED:
        if not isinstance(value, bool):
            raise invalid(collection, name, "is true or false")
        return value
    if not NAME.match(name) or len(name) > limits.NAME_CHARS:
        raise invalid(collection, name[: limits.NAME_CHARS], "is not a field's name")
    return _storable(collection, name, msgspec.to_builtins(value))


def _storable(collection: str, field: str, value: Value, depth: int = 0) -> Value:
    """`value` if every store and JSON carry it exactly; -0.0 becomes 0.0. Raises Invalid."""
    if isinstance(value, str) and ("\x00" in value or not _is_unicode(value)):
        raise invalid(collection, field, "holds a character that is none (NUL or half a pair)")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise invalid(collection, field, "is not a number")
        return value + 0.0
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise invalid(collection, field, "is beyond 64 bits")
    if depth > limits.JSON_DEPTH:
        raise invalid(collection, field, f"is nested over {limits.JSON_DEPTH} deep")
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


def check_size(collection: str, fields: dict[str, Value]) -> None:
    size = len(msgspec.json.encode(fields))
    if size > limits.RECORD_BYTES:
        raise TooLarge(f"A record of {collection} is {size} bytes; {limits.RECORD_BYTES} at most.")


def invalid(collection: str, field: str, why: str) -> Invalid:
    return Invalid(
        f"{collection}.{field}: {why}.",
        code="field.invalid",
        hint=f"See the fields of {collection} in the API's description (/rest/v1/).",
        details={"collection": collection, "field": field},
    )

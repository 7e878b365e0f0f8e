"""Which changes a channel wants to hear of, and what it is told of one: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from beira.api.changes import Change
from beira.api.dialect import column_name, filters, split
from beira.api.door import Caller
from beira.kernel import limits
from beira.kernel.access import hidden_fields, may_read, require
from beira.kernel.clock import ms_of
from beira.kernel.collection import Collection, FieldType, timestamp
from beira.kernel.errors import Invalid
from beira.kernel.query import Column, Filter, Query, checked
from beira.store.plan import plan

_EVENTS = ("*", "INSERT", "UPDATE", "DELETE")
_SCHEMAS = ("public", "*")
_PG_TYPES = {
    FieldType.TEXT: "text",
    FieldType.INTEGER: "int8",
    FieldType.REAL: "float8",
    FieldType.BOOLEAN: "bool",
    FieldType.TIMESTAMP: "timestamptz",
    FieldType.DATE: "date",
    FieldType.JSON: "jsonb",
}


@dataclass(frozen=True)
class Wish:
    """One `postgres_changes` of a join. `collection` "" means all that may be read; `given` is what
    the client sent, which it compares with the answer."""

    id: int
    event: str
    collection: str
    where: Filter | None
    columns: frozenset[str] | None
    given: dict[str, Any]


def wishes_of(caller: Caller, given: object) -> tuple[Wish, ...]:
    """Read a join's wishes. Raises Invalid, NotFound, Denied."""
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > limits.WISHES_PER_CHANNEL:
        raise Invalid(
            f"A channel asks for {limits.WISHES_PER_CHANNEL} kinds of change at most.",
            code="wish.invalid",
        )
    return tuple(_wish(caller, number, item) for number, item in enumerate(given, 1))


def describe(wish: Wish) -> dict[str, Any]:
    """A wish as it is confirmed to the client."""
    return {**wish.given, "id": wish.id}


def told(caller: Caller, wishes: Sequence[Wish], change: Change) -> dict[str, Any] | None:
    """What to tell of a change: None if no wish asks for it, or it may not be seen."""
    row, collection = change.row, change.collection
    readable = caller.readable
    if not may_read(caller.principal, collection):
        return None
    if readable is not None and row.partition not in readable:
        return None
    wanted = [wish for wish in wishes if _wants(wish, change)]
    if not wanted:
        return None
    hidden = hidden_fields(caller.principal, collection)
    fields = [field for field in collection.fields.values() if field.name not in hidden]
    if all(wish.columns for wish in wanted):
        named = frozenset[str]().union(*(wish.columns or () for wish in wanted))
        fields = [field for field in fields if field.name in named]
    data: dict[str, Any] = {
        "schema": "public",
        "table": collection.name,
        "commit_timestamp": timestamp(datetime.fromtimestamp(ms_of(row.stamp.hlc) / 1000, UTC)),
        "type": change.kind,
        "errors": None,
        "columns": [
            {"name": "id", "type": "text"},
            *({"name": field.name, "type": _PG_TYPES[field.type]} for field in fields),
            {"name": "_partition", "type": "text"},
        ],
    }
    if change.kind != "INSERT":
        data["old_record"] = {"id": row.id}
    if change.kind != "DELETE":
        values = {field.name: row.fields.get(field.name) for field in fields}
        data["record"] = {"id": row.id, **values, "_partition": row.partition}
    return {"data": data, "ids": [wish.id for wish in wanted]}


def _wants(wish: Wish, change: Change) -> bool:
    """Deletions have no values left to compare, so that filters do not hold them back."""
    if wish.event not in ("*", change.kind):
        return False
    if wish.collection not in ("", change.collection.name):
        return False
    return wish.where is None or change.kind == "DELETE" or wish.where in change.matched


def _wish(caller: Caller, number: int, item: object) -> Wish:
    given = item if isinstance(item, dict) else {}
    event, schema = given.get("event", "*"), given.get("schema", "public")
    if event not in _EVENTS or schema not in _SCHEMAS:
        raise Invalid(
            f"Changes of {str(schema)[:40]} by {str(event)[:40]} are not covered.",
            code="wish.invalid",
            hint="Ask for schema public and *, INSERT, UPDATE or DELETE.",
        )
    table, text = given.get("table") or "*", given.get("filter") or ""
    if not isinstance(table, str) or not isinstance(text, str):
        raise Invalid("table and filter are texts.", code="wish.invalid")
    if table == "*":
        if text:
            raise Invalid("A filter needs its table.", code="wish.invalid")
        return Wish(number, event, "", None, None, given)
    collection = caller.host.store.registry[table]
    require(may_read(caller.principal, collection), caller.principal, "read", collection.name)
    columns = _selected(given.get("select"))
    where = _filter(caller, collection, text, columns)
    return Wish(number, event, collection.name, where, columns, given)


def _selected(given: object) -> frozenset[str] | None:
    if not given:
        return None
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise Invalid("select is a list of columns.", code="wish.invalid")
    return frozenset(map(column_name, given))


def _filter(
    caller: Caller, collection: Collection, text: str, columns: frozenset[str] | None
) -> Filter | None:
    """Read and check `amount=gt.100,status=in.(open,paid)`: all of it must hold."""
    pairs = [part.partition("=") for part in split(text) if part]
    where = filters((key, value) for key, _, value in pairs)
    named = tuple(Column(name) for name in sorted(columns or ()))
    question = Query(collection=collection.name, where=where, columns=named)
    hidden = hidden_fields(caller.principal, collection)
    plan(checked(question, collection, hidden), collection)
    return where

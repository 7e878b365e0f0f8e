"""Writing records for a caller: checked, stamped by the host, committed together or not at all.

Facts are written once; states may be changed and deleted. Access is asked before anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from beira.api.door import Caller
from beira.kernel import limits
from beira.kernel.access import (
    check_partition,
    hidden_fields,
    home_partition,
    may_read,
    may_write,
    require,
)
from beira.kernel.collection import Collection, Flow
from beira.kernel.errors import BeiraError, Conflict, Denied, Invalid, TooLarge
from beira.kernel.query import Column, Filter, Query, checked
from beira.kernel.record import DELETED, Row, Value

_PARTITION = re.compile(r"tenant\Z|(?:site|node|group):[^\s:]{1,64}\Z")
_SURROGATE = re.compile("[\ud800-\udfff\x00]")


@dataclass
class Batch:
    """What a request will write. `ids` are of all the records it speaks of, in the body's order."""

    rows: list[Row] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    created: int = 0


def require_write(caller: Caller, collection: Collection) -> None:
    """Raise Denied unless the caller may write the collection here."""
    principal = caller.principal
    require(may_write(principal, collection), principal, "write", collection.name)
    if collection.flow is Flow.DOWN and not caller.host.place.in_cloud:
        raise Denied(
            f"{collection.name} are kept in the cloud and only read here.",
            code="collection.elsewhere",
            hint="Write to the cloud: the change comes down by itself.",
        )


async def inserted(
    caller: Caller,
    collection: Collection,
    given: Sequence[Mapping[str, Value]],
    resolution: str,
    columns: frozenset[str] | None,
) -> Batch:
    """The rows of an insert, or an upsert by `resolution`. Nothing is written yet.

    Raises: Invalid, TooLarge, Denied, Conflict `record.exists`.
    """
    require_write(caller, collection)
    if len(given) > limits.QUERY_ROWS:
        raise TooLarge(
            f"A request writes {limits.QUERY_ROWS} records at most.", hint="Send several."
        )
    batch = Batch()
    for record in given:
        fields = {k: v for k, v in record.items() if columns is None or k in columns}
        await _add(caller, collection, fields, resolution, batch)
    if len(set(batch.ids)) < len(batch.ids):
        raise Conflict("The body names one id twice.", code="record.repeated")
    return batch


async def changed(
    caller: Caller, collection: Collection, where: Filter | None, fields: Mapping[str, Value]
) -> Batch:
    """The rows that set `fields` in all records that match."""
    _require_state(collection, "change")
    found = await _matching(caller, collection, where, "change")
    ids = [id for id, _ in found]
    fields = dict(fields)
    for name, value in found_meta(fields).items():
        if any(value != (id if name == "id" else partition) for id, partition in found):
            raise Conflict(
                f"The {name.strip('_')} of a record never changes.",
                code="partition.fixed" if name == "_partition" else "id.fixed",
                hint="Write a new record and delete this one.",
            )
        del fields[name]
    plain = collection.check(_known(collection, fields), whole=False)
    if not plain:
        return Batch(ids=ids)
    return _stamped(caller, collection, found, plain)


async def deleted(caller: Caller, collection: Collection, where: Filter | None) -> Batch:
    """The tombstones of all records that match."""
    _require_state(collection, "delete")
    found = await _matching(caller, collection, where, "delete")
    return _stamped(caller, collection, found, {DELETED: True})


def found_meta(fields: Mapping[str, Value]) -> dict[str, Value]:
    """The parts of a body that say which record it is, rather than what it holds."""
    return {name: fields[name] for name in ("id", "_partition") if name in fields}


def _stamped(
    caller: Caller,
    collection: Collection,
    found: Sequence[tuple[str, str]],
    fields: Mapping[str, Value],
) -> Batch:
    batch = Batch()
    for id, partition in found:
        check_partition(partition, caller.writable)
        batch.rows.append(caller.host.stamped(collection, id, partition, fields))
        batch.ids.append(id)
    return batch


async def _matching(
    caller: Caller, collection: Collection, where: Filter | None, verb: str
) -> list[tuple[str, str]]:
    """(id, partition) of what a filter names, of what the caller may see."""
    require_write(caller, collection)
    require(may_read(caller.principal, collection), caller.principal, "read", collection.name)
    if where is None:
        raise Invalid(
            f"Which {collection.name} to {verb} is not said.",
            code="filter.missing",
            hint="Add a filter, such as ?id=eq.…; id=not.is.null means all.",
        )
    columns = (Column("id"), Column("_partition"))
    question = Query(
        collection=collection.name,
        columns=columns,
        where=where,
        limit=limits.QUERY_ROWS,
        count=True,
    )
    hidden = hidden_fields(caller.principal, collection)
    page = await caller.host.store.query(checked(question, collection, hidden), caller.readable)
    if (page.total or 0) > limits.QUERY_ROWS:
        raise TooLarge(
            f"{page.total} records match; a request writes {limits.QUERY_ROWS} at most.",
            hint="Narrow the filter, and repeat.",
        )
    return [(str(row["id"]), str(row["_partition"])) for row in page.rows]


async def _add(
    caller: Caller, collection: Collection, fields: dict[str, Value], resolution: str, batch: Batch
) -> None:
    given_id, given_partition = fields.pop("id", None), fields.pop("_partition", None)
    id = caller.host.wall.new_id() if given_id is None else _checked_id(given_id)
    partition = None if given_partition is None else _checked_partition(given_partition)
    fields = _known(collection, fields)
    row = None if given_id is None else await caller.host.store.get(collection.name, id)
    if row is None or row.deleted:
        home = partition or (row.partition if row else _home(caller, collection))
        check_partition(home, caller.writable)
        whole = collection.check(fields, whole=True)
        if not collection.is_fact:
            whole[DELETED] = False
        batch.rows.append(caller.host.stamped(collection, id, home, whole))
        batch.created += 1
    else:
        check_partition(row.partition, caller.writable)
        if not resolution:
            raise _exists(collection, id)
        if resolution == "ignore-duplicates":
            return
        if partition not in (None, row.partition):
            raise Conflict(
                f"{collection.name} {id} belongs to {row.partition}.", code="partition.fixed"
            )
        _merge(caller, collection, row, fields, batch)
    batch.ids.append(id)


def _merge(
    caller: Caller, collection: Collection, row: Row, fields: dict[str, Value], batch: Batch
) -> None:
    plain = collection.check(fields, whole=False)
    new = {name: value for name, value in plain.items() if row.fields.get(name) != value}
    if new and collection.is_fact:
        raise Conflict(
            f"{collection.name} are facts: {row.id} never changes.",
            code="fact.immutable",
            hint="Write a further fact that corrects it.",
        )
    if new:
        batch.rows.append(caller.host.stamped(collection, row.id, row.partition, new))


def _home(caller: Caller, collection: Collection) -> str:
    """Where a record goes that names no partition: the host's place, or the caller's only site."""
    place, sites = caller.host.place, caller.principal.sites or ()
    site = place.site or (sites[0] if len(sites) == 1 else None)
    try:
        return home_partition(collection, site=site, node=place.node if place.site else None)
    except Invalid as error:
        raise Invalid(
            error.message,
            code=error.code,
            hint='Name it in the record: "_partition": "site:<id>" (or node:<id>).',
        ) from None


def _known(collection: Collection, fields: dict[str, Value]) -> dict[str, Value]:
    for name in fields:
        if name not in collection.fields:
            raise Invalid(
                f"{collection.name} has no column {name[: limits.NAME_CHARS]!r}.",
                code="column.unknown",
                hint="Columns: id, _partition, " + ", ".join(collection.fields) + ".",
            )
    return fields


def _checked_id(id: Value) -> str:
    if not isinstance(id, str) or not 0 < len(id) <= limits.ID_CHARS or _SURROGATE.search(id):
        raise Invalid(
            f"{str(id)[:80]!r} is no id.",
            code="id.invalid",
            hint=f"An id is a text of 1 to {limits.ID_CHARS} characters; leave it out to get one.",
        )
    return id


def _checked_partition(partition: Value) -> str:
    if not isinstance(partition, str) or not _PARTITION.match(partition):
        raise Invalid(
            f"{str(partition)[:80]!r} is no partition.",
            code="partition.invalid",
            hint="Write tenant, site:<id>, node:<id> or group:<name>.",
        )
    return partition


def _require_state(collection: Collection, verb: str) -> None:
    if collection.is_fact:
        raise Invalid(
            f"{collection.name} are facts: nobody can {verb} them.",
            code="fact.immutable",
            hint="Write a further fact that corrects it.",
        )


def _exists(collection: Collection, id: str) -> BeiraError:
    return Conflict(
        f"{collection.name} {id} is already there.",
        code="record.exists",
        hint="Change it with PATCH, or send Prefer: resolution=merge-duplicates.",
    )

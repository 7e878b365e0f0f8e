"""Records over HTTP, as PostgREST's clients ask for them: `/rest/v1/{collection}`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from beira.api.asked import Asked, Form, asked, body_of
from beira.api.dialect import Selection
from beira.api.door import Caller, Door
from beira.api.errors import JSON, NotAcceptable, NotCovered, OutOfRange
from beira.api.writes import Batch, changed, deleted, inserted
from beira.kernel import limits
from beira.kernel.access import hidden_fields, may_read, require
from beira.kernel.collection import Collection
from beira.kernel.errors import Conflict, Invalid
from beira.kernel.query import Column, Compare, Op, Page, Query, checked
from beira.kernel.record import Value

AnyRequest = Request[Any, Any, Any]


def records_routes(door: Door) -> list[HTTPRouteHandler]:
    """The handlers of `/{collection}`."""

    @route("/{collection:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
    async def read(request: AnyRequest) -> Response[bytes]:
        """Records that match, a page at a time."""
        caller = await door.caller(request.headers)
        return await _read(caller, _named(caller, request), request)

    @route("/{collection:str}", http_method=[HttpMethod.POST])
    async def insert(request: AnyRequest) -> Response[bytes]:
        """New records, one or many; with `Prefer: resolution=…` an upsert."""
        caller = await door.caller(request.headers)
        return await _insert(caller, _named(caller, request), request)

    @route("/{collection:str}", http_method=[HttpMethod.PATCH])
    async def patch(request: AnyRequest) -> Response[bytes]:
        """Set fields of the states that match."""
        caller = await door.caller(request.headers)
        return await _patch(caller, _named(caller, request), request)

    @route("/{collection:str}", http_method=[HttpMethod.DELETE], status_code=200)
    async def delete(request: AnyRequest) -> Response[bytes]:
        """Delete the states that match."""
        caller = await door.caller(request.headers)
        return await _delete(caller, _named(caller, request), request)

    return [read, insert, patch, delete]


def _named(caller: Caller, request: AnyRequest) -> Collection:
    """The collection in the address. Raises NotFound."""
    return caller.host.store.registry[request.path_params["collection"]]


async def _read(caller: Caller, collection: Collection, request: AnyRequest) -> Response[bytes]:
    wish = asked(request)
    require(may_read(caller.principal, collection), caller.principal, "read", collection.name)
    counted = bool(wish.prefer.count)
    question = Query(
        collection=collection.name,
        columns=_columns(caller, collection, wish.selection),
        where=wish.where,
        order=wish.order,
        limit=limits.QUERY_ROWS if wish.limit is None else wish.limit,
        offset=wish.offset,
        count=counted,
    )
    page = await _query(caller, collection, question)
    if counted and wish.offset > (page.total or 0):
        raise OutOfRange(
            f"There are only {page.total} records.",
            details={"text": f"An offset of {wish.offset} was requested."},
        )
    partial = counted and len(page.rows) < (page.total or 0)
    headers = {"Content-Range": _content_range(wish.offset, len(page.rows), page.total)}
    rows = _cast(page.rows, wish.selection)
    response = _answer(wish, rows, question.columns, 206 if partial else 200, headers)
    if request.method == "HEAD":
        response.content = b""
    return response


async def _insert(caller: Caller, collection: Collection, request: AnyRequest) -> Response[bytes]:
    wish = asked(request)
    _no_query(wish)
    body = await body_of(request)
    given = body if isinstance(body, list) else [body]
    if not all(isinstance(record, dict) for record in given):
        raise Invalid("The body is neither a record nor a list of records.", code="body.invalid")
    resolution = wish.prefer.resolution
    batch = await inserted(caller, collection, given, resolution, wish.columns)
    _check_affected(wish, batch)
    _prepare(caller, collection, wish)
    await _write(caller, batch)
    merged = resolution == "merge-duplicates" and batch.ids and not batch.created
    return await _written(caller, collection, wish, batch, 200 if merged else 201)


async def _patch(caller: Caller, collection: Collection, request: AnyRequest) -> Response[bytes]:
    wish = asked(request)
    _no_page(wish)
    fields = await body_of(request)
    if not isinstance(fields, dict):
        raise Invalid("The body is not an object of fields to set.", code="body.invalid")
    if wish.columns is not None:
        fields = {name: value for name, value in fields.items() if name in wish.columns}
    batch = await changed(caller, collection, wish.where, fields)
    _check_affected(wish, batch)
    _prepare(caller, collection, wish)
    await _write(caller, batch)
    return await _written(caller, collection, wish, batch, 204)


async def _delete(caller: Caller, collection: Collection, request: AnyRequest) -> Response[bytes]:
    wish = asked(request)
    _no_page(wish)
    batch = await deleted(caller, collection, wish.where)
    _check_affected(wish, batch)
    _prepare(caller, collection, wish)
    if wish.prefer.returns != "representation":
        await _write(caller, batch)
        return await _written(caller, collection, wish, batch, 204)
    rows = await _representation(caller, collection, wish.selection, batch.ids)
    await _write(caller, batch)
    columns = _columns(caller, collection, wish.selection)
    return _answer(wish, rows, columns, 200, _headers(wish, batch))


async def _write(caller: Caller, batch: Batch) -> None:
    """Commit. Raises Conflict if a fact of the same id got in between."""
    if not batch.rows:
        return
    done = await caller.host.write(batch.rows)
    written = {row.id for row in done.rows}
    lost = [row.id for row in batch.rows if row.id not in written]
    if lost:
        raise Conflict(
            f"{batch.rows[0].collection} {lost[0]} was written by somebody else meanwhile.",
            code="record.exists",
            hint="Look at what is there now.",
        )


async def _written(
    caller: Caller, collection: Collection, wish: Asked, batch: Batch, status: int
) -> Response[bytes]:
    headers = _headers(wish, batch)
    if status == 201 and len(batch.ids) == 1:
        headers["Location"] = f"/rest/v1/{collection.name}?id=eq.{_quoted(batch.ids[0])}"
    if wish.prefer.returns != "representation":
        return Response(content=b"", status_code=status, media_type=JSON, headers=headers)
    rows = await _representation(caller, collection, wish.selection, batch.ids)
    columns = _columns(caller, collection, wish.selection)
    return _answer(wish, rows, columns, 200 if status == 204 else status, headers)


async def _representation(
    caller: Caller, collection: Collection, selection: Selection, ids: Sequence[str]
) -> list[dict[str, Value]]:
    """The records of `ids` as they are now, in that order."""
    if not ids:
        return []
    columns = _columns(caller, collection, selection)
    key = Column("id", alias="__id")
    question = Query(
        collection=collection.name,
        columns=(*columns, key),
        where=Compare("id", Op.IN, tuple(ids)),
        limit=limits.QUERY_ROWS,
    )
    page = await _query(caller, collection, question)
    by_id = {row.pop("__id"): row for row in page.rows}
    return _cast([by_id[id] for id in ids if id in by_id], selection)


async def _query(caller: Caller, collection: Collection, question: Query) -> Page:
    hidden = hidden_fields(caller.principal, collection)
    return await caller.host.store.query(checked(question, collection, hidden), caller.readable)


def _columns(caller: Caller, collection: Collection, selection: Selection) -> tuple[Column, ...]:
    """The columns to answer; `*` leaves out what is hidden and the marks of the last write."""
    if not selection.star:
        return selection.columns
    hidden = hidden_fields(caller.principal, collection)
    names = ["id", *(name for name in collection.fields if name not in hidden), "_partition"]
    named = {column.label for column in selection.columns}
    stars = tuple(Column(name) for name in names if name not in named)
    return (*stars, *selection.columns)


def _no_query(wish: Asked) -> None:
    if wish.where is not None:
        raise Invalid(
            "An insert has no filter.", code="filter.unwanted", hint="Change records with PATCH."
        )
    _no_page(wish)


def _no_page(wish: Asked) -> None:
    if wish.limit is not None or wish.offset:
        raise NotCovered("Writes have no limit and no offset.", hint="Narrow the filter instead.")


def _prepare(caller: Caller, collection: Collection, wish: Asked) -> None:
    """Refuse what could not be answered before anything is written."""
    if wish.prefer.returns != "representation":
        return
    principal = caller.principal
    require(may_read(principal, collection), principal, "read", collection.name)
    if wish.selection.measured:
        raise NotCovered("What was written cannot be measured.", hint="Ask for it afterwards.")
    columns = _columns(caller, collection, wish.selection)
    question = Query(collection=collection.name, columns=columns)
    checked(question, collection, hidden_fields(principal, collection))


def _check_affected(wish: Asked, batch: Batch) -> None:
    most = wish.prefer.max_affected
    if most is not None and len(batch.ids) > most:
        raise Invalid(
            f"{len(batch.ids)} records would be written, and {most} at most are allowed.",
            code="prefer.max_affected",
            hint="Narrow the filter. Nothing was written.",
        )
    if wish.form.single and wish.prefer.returns == "representation" and len(batch.ids) != 1:
        raise _not_single(len(batch.ids))


def _not_single(count: int) -> NotAcceptable:
    return NotAcceptable(
        "One record was asked for.",
        code="PGRST116",
        details={"text": f"The result contains {count} rows"},
    )


def _answer(
    wish: Asked,
    rows: list[dict[str, Value]],
    columns: Sequence[Column],
    status: int,
    headers: dict[str, str],
) -> Response[bytes]:
    if wish.prefer.applied:
        headers["Preference-Applied"] = wish.prefer.applied
    content, media = _rendered(wish.form, rows, columns)
    return Response(content=content, status_code=status, media_type=media, headers=headers)


def _rendered(
    form: Form, rows: list[dict[str, Value]], columns: Sequence[Column]
) -> tuple[bytes, str]:
    if form.csv:
        return _csv(rows, [column.label for column in columns]), "text/csv; charset=utf-8"
    if form.strip_nulls:
        rows = [{k: v for k, v in row.items() if v is not None} for row in rows]
    if not form.single:
        return msgspec.json.encode(rows), JSON
    if len(rows) != 1:
        raise _not_single(len(rows))
    return msgspec.json.encode(rows[0]), "application/vnd.pgrst.object+json; charset=utf-8"


def _csv(rows: Sequence[dict[str, Value]], labels: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(labels)
    writer.writerows([_cell(row.get(label)) for label in labels] for row in rows)
    return text.getvalue().encode()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cast(rows: list[dict[str, Value]], selection: Selection) -> list[dict[str, Value]]:
    for label, kind in selection.casts.items():
        for row in rows:
            row[label] = _as(kind, row.get(label))
    return rows


def _as(kind: type, value: Value) -> Value:
    if value is None:
        return None
    if kind is str:
        return _cell(value)
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            f"{str(value)[:40]!r} cannot be cast to {kind.__name__}.", code="select.cast"
        ) from None


def _headers(wish: Asked, batch: Batch) -> dict[str, str]:
    total = str(len(batch.ids)) if wish.prefer.count else "*"
    headers = {"Content-Range": f"*/{total}"}
    if wish.prefer.applied:
        headers["Preference-Applied"] = wish.prefer.applied
    return headers


def _content_range(offset: int, count: int, total: int | None) -> str:
    pages = f"{offset}-{offset + count - 1}" if count else "*"
    return f"{pages}/{'*' if total is None else total}"


def _quoted(id: str) -> str:
    return quote(id, safe="")

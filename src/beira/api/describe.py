"""The API's own description: OpenAPI 3.1 made from the declarations, for whoever asks.

People see what their role may read, write and run; the texts are the declarations' docstrings.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

import beira
from beira.api.door import Caller, Door
from beira.api.errors import JSON
from beira.kernel.access import Kind, Principal, hidden_fields, may_read, may_write
from beira.kernel.collection import Collection, Field
from beira.kernel.command import Command, Runs

AnyRequest = Request[Any, Any, Any]
Schema = dict[str, Any]


def describe_routes(door: Door) -> list[HTTPRouteHandler]:
    """The handler of `/`."""

    @get("/", status_code=200)
    async def description(request: AnyRequest) -> Response[bytes]:
        """What this host offers whoever asks, as OpenAPI 3.1."""
        caller = await door.caller(request.headers)
        return Response(
            content=msgspec.json.encode(openapi(caller)),
            media_type="application/openapi+json; charset=utf-8"
            if "openapi+json" in request.headers.get("accept", "")
            else JSON,
        )

    return [description]


def openapi(caller: Caller) -> Schema:
    """The description of what a caller may do on this host."""
    principal, host = caller.principal, caller.host
    components: Schema = {"Error": _ERROR}
    paths: Schema = {}
    for collection in sorted(host.store.registry, key=lambda c: c.name):
        if may_read(principal, collection) or may_write(principal, collection):
            components[collection.name] = _record(principal, collection, components)
            paths[f"/{collection.name}"] = _collection_path(principal, collection)
    for command in sorted(host.catalogue.commands.values(), key=lambda c: c.name):
        if _may_run(caller, command):
            paths[f"/rpc/{command.name}"] = _command_path(command, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Beira: {host.place.name or host.place.tenant}",
            "version": beira.__version__,
            "description": "Records and commands of this host, in PostgREST's dialect.",
        },
        "servers": [{"url": "/rest/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": _PARAMETERS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _may_run(caller: Caller, command: Command) -> bool:
    elsewhere = Runs.NODE if caller.host.place.in_cloud else Runs.CLOUD
    person = caller.principal.kind is Kind.PERSON
    return command.runs is not elsewhere and (not person or caller.principal.role in command.roles)


def _record(principal: Principal, collection: Collection, components: Schema) -> Schema:
    hidden = hidden_fields(principal, collection)
    fields = [field for field in collection.fields.values() if field.name not in hidden]
    return {
        "type": "object",
        "description": collection.doc,
        "properties": {
            "id": {"type": "string", "description": "Made up by the host where it is left out."},
            "_partition": {"type": "string", "description": "tenant, site:…, node:… or group:…"},
            **{field.name: _field(field, components) for field in fields},
        },
        "required": [field.name for field in fields if field.required],
        "x-beira": {
            "kind": "fact" if collection.is_fact else "state",
            "flow": collection.flow.value,
            "lane": collection.lane.name.lower(),
            "personal": [field.name for field in fields if field.personal],
        },
    }


def _field(field: Field, components: Schema) -> Schema:
    schema = _schema(field.python_type, components)
    return schema if field.required else {**schema, "default": field.default}


def _schema(python_type: Any, components: Schema) -> Schema:
    """JSON Schema of a type; structs it refers to go into `components`."""
    (schema,), named = msgspec.json.schema_components(
        [python_type], ref_template="#/components/schemas/{name}"
    )
    for name, definition in named.items():
        components.setdefault(name, definition)
    return schema


def _collection_path(principal: Principal, collection: Collection) -> Schema:
    name, path = collection.name, {}
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    if may_read(principal, collection):
        path["get"] = _operation(
            f"read_{name}", collection.doc, name, rows, parameters=[*_PARAMETERS]
        )
    if not may_write(principal, collection):
        return path
    record = {"oneOf": [{"$ref": f"#/components/schemas/{name}"}, rows]}
    path["post"] = _operation(f"write_{name}", f"New {name}.", name, rows, body=record, status=201)
    if not collection.is_fact:
        some = {"type": "object", "description": "The fields to set."}
        path["patch"] = _operation(f"change_{name}", f"Change {name}.", name, rows, body=some)
        path["delete"] = _operation(f"delete_{name}", f"Delete {name}.", name, rows)
    return path


def _command_path(command: Command, components: Schema) -> Schema:
    params = {
        "type": "object",
        "properties": {p.name: _schema(p.python_type, components) for p in command.params.values()},
        "required": [p.name for p in command.params.values() if p.required],
        "additionalProperties": False,
    }
    return {"post": _operation(command.name, command.doc, "commands", {}, body=params)}


def _operation(
    name: str,
    text: str,
    tag: str,
    answer: Schema,
    *,
    body: Schema | None = None,
    parameters: list[str] | None = None,
    status: int = 200,
) -> Schema:
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    operation: Schema = {
        "operationId": name,
        "summary": text.split("\n")[0],
        "description": text,
        "tags": [tag],
        "responses": {
            str(status): {
                "description": "Done.",
                "content": {"application/json": {"schema": answer}},
            },
            "default": {"description": "Refused.", "content": {"application/json": error}},
        },
    }
    if body is not None:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
    if parameters:
        operation["parameters"] = [{"$ref": f"#/components/parameters/{p}"} for p in parameters]
    return operation


_ERROR: Schema = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "details": {"type": ["string", "null"]},
        "hint": {"type": ["string", "null"], "description": "What to do next."},
    },
    "required": ["code", "message"],
}


def _parameter(name: str, text: str, place: str = "query") -> Schema:
    return {"name": name, "in": place, "description": text, "schema": {"type": "string"}}


_PARAMETERS: Schema = {
    "select": _parameter("select", "Columns: id,alias:column,count(),amount.sum(),at.hour()"),
    "order": _parameter("order", "at.desc.nullslast,id"),
    "limit": _parameter("limit", "How many records at most."),
    "offset": _parameter("offset", "How many records to skip."),
    "and": _parameter("and", "(a.eq.1,or(b.gt.2,c.is.null)); a=eq.1 for a single column."),
    "or": _parameter("or", "(a.eq.1,b.gt.2)"),
    "prefer": _parameter("Prefer", "count=exact", "header"),
}

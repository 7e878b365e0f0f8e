"""Commands over HTTP: `POST /rest/v1/rpc/{command}`, the same door a voice or a button comes in by."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from structlog.contextvars import get_contextvars

from beira.api.asked import body_of, parameters
from beira.api.door import Caller, Door
from beira.api.errors import JSON, answer, status_of
from beira.kernel import limits
from beira.kernel.command import Receipt
from beira.kernel.errors import BeiraError, Conflict, Invalid

AnyRequest = Request[Any, Any, Any]


def rpc_routes(door: Door) -> list[HTTPRouteHandler]:
    """The handler of `/rpc/{command}`."""

    @post("/rpc/{command:str}", status_code=200)
    async def call(request: AnyRequest) -> Response[bytes]:
        """Run a command and answer with its result; the receipt is told in the headers."""
        caller = await door.caller(request.headers)
        command = caller.host.catalogue.command(request.path_params["command"]).name
        _no_parameters(request)
        params = await _params(request)
        key = request.headers.get("idempotency-key", "")
        if key:
            await _check_key(caller, command, key)
        receipt = await caller.host.run(
            command,
            params,
            principal=caller.principal,
            door="api",
            call_id=key,
            trace_id=str(get_contextvars().get("trace_id", "")),
        )
        return _told(receipt)

    return [call]


def _told(receipt: Receipt) -> Response[bytes]:
    headers = {"Beira-Receipt": receipt.id, "Beira-Took-Ms": str(receipt.took_ms)}
    if receipt.ok:
        content = msgspec.json.encode(receipt.result)
        return Response(content=content, status_code=200, media_type=JSON, headers=headers)
    details = receipt.result if isinstance(receipt.result, dict) else {}
    error = BeiraError(receipt.message, code=receipt.code, hint=receipt.hint, details=details)
    response = answer(error, status_of(receipt.code))
    response.headers.update(headers)
    return response


async def _params(request: AnyRequest) -> dict[str, object]:
    if not await request.body():
        return {}
    params = await body_of(request)
    if not isinstance(params, dict):
        raise Invalid(
            "The body is not an object of parameters.",
            code="body.invalid",
            hint='Send {"parameter": value}.',
        )
    return params


def _no_parameters(request: AnyRequest) -> None:
    given = [key for key, value in parameters(request) if (key, value) != ("select", "*")]
    if given:
        raise Invalid(
            f"A command's answer cannot be filtered by {given[0][:40]!r}.",
            code="dialect.unsupported",
            hint="Parameters of a command go into the body.",
        )


async def _check_key(caller: Caller, command: str, key: str) -> None:
    """A key names one call of one person: nobody reads another's receipt by naming it."""
    if len(key) > limits.ID_CHARS or not key.isascii() or not key.isprintable():
        raise Invalid(
            "That is no Idempotency-Key.",
            code="id.invalid",
            hint=f"A key is 1 to {limits.ID_CHARS} printable ASCII characters, such as a UUID.",
        )
    row = await caller.host.store.get("receipts", key)
    if row is None:
        return
    by = caller.principal.name or caller.principal.id
    if (row.fields.get("command"), row.fields.get("by")) != (command, by):
        raise Conflict(
            "That Idempotency-Key was used for another call.",
            code="idempotency.reused",
            hint="Make a new key for each call, and repeat it only to try the same call again.",
        )

"""Commands over HTTP: `POST /rest/v1/rpc/{command}`, the same door a voice or a button comes in by.

`Idempotency-Key` names a call, so that it is carried out once; in the cloud `Beira-Node` sends it
to a node, and `Prefer: wait=5` waits as many seconds for its receipt.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from structlog.contextvars import get_contextvars

from beira.api import calls
from beira.api.asked import body_of, parameters
from beira.api.door import Caller, Door
from beira.api.errors import JSON, answer, status_of
from beira.kernel import limits
from beira.kernel.command import Command, Receipt
from beira.kernel.errors import BeiraError, Invalid
from beira.kernel.record import Row

AnyRequest = Request[Any, Any, Any]
_WAIT = re.compile(r"(?:^|,)\s*wait=([0-9]{1,4})\s*(?:,|$)")


def rpc_routes(door: Door) -> list[HTTPRouteHandler]:
    """The handler of `/rpc/{command}`."""
    running = _Running()

    @post("/rpc/{command:str}", status_code=200)
    async def call(request: AnyRequest) -> Response[bytes]:
        """Run a command and answer with its result; the receipt is told in the headers."""
        caller = await door.caller(request.headers)
        command = caller.host.catalogue.command(request.path_params["command"])
        _no_parameters(request)
        asked = _Asked(
            command=command,
            params=await _params(request),
            key=_key(request.headers.get("idempotency-key", "")),
            node=request.headers.get("beira-node", ""),
            wait_s=_wait_s(request),
        )
        async with running.alone(caller, asked.key):
            return await _run(caller, asked)

    return [call]


@dataclass(frozen=True)
class _Asked:
    command: Command
    params: dict[str, object]
    key: str
    node: str
    wait_s: float


class _Running:
    """Calls under way by their key: one that is sent again meanwhile waits for the first."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def alone(self, caller: Caller, key: str) -> AbstractAsyncContextManager[Any]:
        if not key:
            return nullcontext()
        return self._locks.setdefault((caller.principal.tenant, key), asyncio.Lock())


async def _run(caller: Caller, asked: _Asked) -> Response[bytes]:
    if asked.key:
        await _check_key(caller, asked.command.name, asked.key)
    trace_id = str(get_contextvars().get("trace_id", ""))
    if asked.node and asked.node != caller.host.place.node:
        sent = await calls.send(
            caller,
            asked.node,
            asked.command,
            asked.params,
            call_id=asked.key,
            trace_id=trace_id,
            wait_s=asked.wait_s,
        )
        return _told(sent) if isinstance(sent, Receipt) else _sent(sent)
    return _told(
        await caller.host.run(
            asked.command.name,
            asked.params,
            principal=caller.principal,
            door="api",
            call_id=asked.key,
            trace_id=trace_id,
        )
    )


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


def _sent(call_id: str) -> Response[bytes]:
    """The call is on its way; its receipt will have the same id."""
    return Response(
        content=msgspec.json.encode({"call": call_id}),
        status_code=202,
        media_type=JSON,
        headers={"Beira-Receipt": call_id, "Location": f"/rest/v1/receipts?id=eq.{call_id}"},
    )


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


def _wait_s(request: AnyRequest) -> float:
    found = _WAIT.search(",".join(request.headers.getall("prefer", [])))
    return float(found[1]) if found else 0.0


def _key(text: str) -> str:
    if len(text) > limits.ID_CHARS or not re.fullmatch(r"[A-Za-z0-9._~:-]*", text):
        raise Invalid(
            "That is no Idempotency-Key.",
            code="id.invalid",
            hint=f"A key is 1 to {limits.ID_CHARS} of a-z, A-Z, 0-9 and . _ ~ : -, such as a UUID.",
        )
    return text


async def _check_key(caller: Caller, command: str, key: str) -> None:
    """A key names one call of one person: nobody reads another's receipt by naming it."""
    by = caller.principal.name or caller.principal.id
    store = caller.host.store
    for row in (await store.get("receipts", key), await store.get("calls", key)):
        if isinstance(row, Row) and _of(row) != (command, by):
            raise calls.reused()


def _of(row: Row) -> tuple[object, object]:
    return row.fields.get("command"), row.fields.get("by")

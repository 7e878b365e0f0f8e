"""Sync's two doors in the cloud: a WebSocket, and plain HTTP for where that is blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, Router, WebSocket, get, post, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import BeiraError, Denied, Invalid, NotFound
from beira.kernel.wire import Bye, Wire
from beira.sync.brief import BriefCodec
from beira.sync.codec import CODECS, Codec, codec_of
from beira.sync.dictionaries_cloud import CloudDictionaries
from beira.sync.gate import Conversation, Gate, Sender, Still

Admit = Callable[[str], Awaitable[tuple[Principal, Still]]]
"""Turns a bearer token into who it stands for, and a way to ask again later."""
CLOSE_REFUSED = 4403
CLOSE_PROTOCOL = 4400


def sync_routes(
    gate: Gate, admit: Admit, dictionaries: CloudDictionaries | None = None
) -> ControllerRouterHandler:
    """Handlers for `/sync/v1`."""

    @websocket("/ws")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        codec = _offered(socket.headers.get("sec-websocket-protocol", ""))
        try:
            async with gate.doorway.turn():
                node, still = await admitted_node(admit, socket.headers.get("authorization", ""))
                if isinstance(codec, BriefCodec) and dictionaries is not None:
                    codec = BriefCodec(is_node=False, shelf=await dictionaries.of(node))
                conversation = await gate.open(node, _sender(socket, codec), still)
        except BeiraError as error:
            await _refuse(socket, codec, error)
            return
        try:
            await socket.accept(subprotocols=codec.name)
            await _serve(socket, codec, conversation)
        finally:
            await gate.close(conversation)

    @post("/exchange", status_code=200, request_max_body_size=limits.MESSAGE_BYTES)
    async def exchange(request: Request[Any, Any, Any]) -> Response[bytes]:
        node, still = await admitted_node(admit, request.headers.get("authorization", ""))
        codec = codec_of(request.headers.get("content-type", "").split(";")[0])
        answers = await _exchange(gate, node, still, codec.decode(await request.body()))
        return Response(codec.encode(answers), media_type=codec.media_type)

    @post("/wait", status_code=200)
    async def wait(request: Request[Any, Any, Any]) -> Response[bytes]:
        node, _ = await admitted_node(admit, request.headers.get("authorization", ""))
        try:
            cursors = msgspec.json.decode(await request.body(), type=dict[str, int])
        except msgspec.MsgspecError as error:
            raise Invalid(f"Not a map of cursors: {error}.", code="sync.message") from None
        news = await gate.wait_for_news(node, cursors, limits.POLL_WAIT_S)
        return Response(msgspec.json.encode({"news": news}), media_type="application/json")

    @get("/dictionaries/{number:int}")
    async def dictionary(request: Request[Any, Any, Any], number: FromPath[int]) -> Response[bytes]:
        node, _ = await admitted_node(admit, request.headers.get("authorization", ""))
        if dictionaries is None:
            raise NotFound("This cloud makes no dictionaries.", code="dictionary.missing")
        data = await dictionaries.get(node, number)
        return Response(data, media_type="application/octet-stream")

    return Router(
        path="/sync/v1",
        route_handlers=[socket, exchange, wait, dictionary],
        exception_handlers={BeiraError: _told},
        include_in_schema=False,
    )


def _told(request: Request[Any, Any, Any], error: BeiraError) -> Response[bytes]:
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    return Response(
        msgspec.json.encode(body), status_code=error.status, media_type="application/json"
    )


async def _refuse(socket: WebSocket[Any, Any, Any], codec: Codec, error: BeiraError) -> None:
    """Turn a node away. Where the fault is ours it is told so in its own terms: to a refused handshake
    it would answer with plain HTTP, and that costs the cloud more."""
    if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        await socket.close(code=CLOSE_REFUSED, reason=error.code)
        return
    await socket.accept(subprotocols=codec.name)
    bye = Bye(code=error.code, message=error.message, hint=error.hint)
    await _sender(socket, codec)([bye])
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close()


def _sender(socket: WebSocket[Any, Any, Any], codec: Codec) -> Sender:
    async def send(messages: list[Wire]) -> None:
        data = codec.encode(messages)
        with suppress(WebSocketDisconnect, RuntimeError):
            await (socket.send_bytes(data) if codec.binary else socket.send_text(data.decode()))

    return send


async def _serve(
    socket: WebSocket[Any, Any, Any], codec: Codec, conversation: Conversation
) -> None:
    running = asyncio.ensure_future(conversation.run())
    reading = asyncio.ensure_future(_read(socket, codec, conversation))
    try:
        await asyncio.wait({running, reading}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (running, reading):
            task.cancel()
        await asyncio.gather(running, reading, return_exceptions=True)
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close()


async def _read(socket: WebSocket[Any, Any, Any], codec: Codec, conversation: Conversation) -> None:
    """Read messages as long as they can be dealt with: a crowded conversation reads no further,
    so that TCP slows the node down."""
    with suppress(WebSocketDisconnect):
        while not conversation.ended.is_set():
            await conversation.room()
            data = await (socket.receive_bytes() if codec.binary else socket.receive_text())
            try:
                conversation.hear(codec.decode(data if isinstance(data, bytes) else data.encode()))
            except BeiraError as error:
                await conversation.perform(conversation.session.refuse_with(error, retry=True))


async def _exchange(gate: Gate, node: Principal, still: Still, messages: list[Wire]) -> list[Wire]:
    """One request: all that it says is dealt with and answered, feeds included."""
    answers: list[Wire] = []

    async def send(sent: list[Wire]) -> None:
        answers.extend(sent)

    conversation = await gate.open(node, send, still)
    try:
        conversation.hear(messages)
        await conversation.step()
        await conversation.settled()
        return answers
    finally:
        gate.forget(conversation)


async def admitted_node(admit: Admit, authorization: str) -> tuple[Principal, Still]:
    """The node that a request's `Authorization` stands for. Raises Unauthenticated, Denied."""
    scheme, _, token = authorization.partition(" ")
    principal, still = await admit(token if scheme.lower() == "bearer" else "")
    if principal.kind is not Kind.NODE:
        raise Denied("Only nodes sync.", hint="People use the API under /rest/v1.")
    return principal, still


def _offered(subprotocols: str) -> Codec:
    names = [name.strip() for name in subprotocols.split(",")]
    if BriefCodec.name in names:
        return BriefCodec(is_node=False)
    return next((codec for codec in CODECS if codec.name in names), CODECS[-1])

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

from beira.host.sockets import Line, take_over
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import BeiraError, Denied, Invalid, NotFound
from beira.kernel.wire import Bye, Wire
from beira.sync.brief import BriefCodec
from beira.sync.cloud.conversation import Conversation, Still
from beira.sync.cloud.gate import Gate
from beira.sync.codec import CODECS, Codec, codec_of
from beira.sync.dictionaries.cloud import CloudDictionaries

Admit = Callable[[str], Awaitable[tuple[Principal, Still]]]
"""Turns a bearer token into who it stands for, and a way to ask again later."""
CLOSE_REFUSED = 4403
CLOSE_PROTOCOL = 4400
GONE = (WebSocketDisconnect, RuntimeError, OSError)


def sync_routes(
    gate: Gate, admit: Admit, dictionaries: CloudDictionaries | None = None
) -> ControllerRouterHandler:
    """Handlers for `/sync/v1`."""

    @websocket("/ws")
    async def socket(socket: WebSocket[Any, Any, Any]) -> None:
        sender = _Sender(_offered(socket.headers.get("sec-websocket-protocol", "")))
        try:
            async with gate.doorway.turn():
                conversation = await _met(gate, admit, dictionaries, socket, sender)
        except BeiraError as error:
            await _refuse(socket, sender.codec, error)
            return
        await _begin(gate, socket, sender, conversation)

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


async def _met(
    gate: Gate,
    admit: Admit,
    dictionaries: CloudDictionaries | None,
    socket: WebSocket[Any, Any, Any],
    sender: _Sender,
) -> Conversation:
    node, still = await admitted_node(admit, socket.headers.get("authorization", ""))
    if isinstance(sender.codec, BriefCodec) and dictionaries is not None:
        sender.codec = BriefCodec(is_node=False, shelf=await dictionaries.of(node))
    return await gate.open(node, sender, still)


async def _begin(
    gate: Gate, socket: WebSocket[Any, Any, Any], sender: _Sender, conversation: Conversation
) -> None:
    try:
        await socket.accept(subprotocols=sender.codec.name)
    except BaseException:
        await gate.close(conversation)
        raise
    if not _Caller(gate, conversation, sender).takes_over(socket):
        sender.send = socket.send
        await _serve(gate, socket, sender, conversation)


async def _refuse(socket: WebSocket[Any, Any, Any], codec: Codec, error: BeiraError) -> None:
    """Turn a node away. Where the fault is ours it is told so in its own terms: to a refused handshake
    it would answer with plain HTTP, and that costs the cloud more."""
    if error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        await socket.close(code=CLOSE_REFUSED, reason=error.code)
        return
    await socket.accept(subprotocols=codec.name)
    bye = Bye(code=error.code, message=error.message, hint=error.hint)
    sender = _Sender(codec)
    sender.send = socket.send
    await sender([bye])
    with suppress(*GONE):
        await socket.close()


async def _nowhere(message: Any) -> None:
    raise OSError


class _Sender:
    """What a conversation says, as messages of the connection it has by now."""

    __slots__ = ("codec", "send")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.send: Callable[[Any], Awaitable[None]] = _nowhere

    async def __call__(self, messages: list[Wire]) -> None:
        data = self.codec.encode(messages)
        form = {"bytes": data} if self.codec.binary else {"text": data.decode()}
        with suppress(*GONE):
            await self.send({"type": "websocket.send", **form})

    def decode(self, data: bytes | str) -> list[Wire]:
        return self.codec.decode(data if isinstance(data, bytes) else data.encode())


class _Caller:
    """A node on a connection that has no task of its own: what it says is heard as it comes."""

    __slots__ = ("_conversation", "_gate", "_line", "_paused", "_sender")

    def __init__(self, gate: Gate, conversation: Conversation, sender: _Sender) -> None:
        self._gate, self._conversation, self._sender = gate, conversation, sender
        self._line: Line | None = None
        self._paused = False

    def takes_over(self, socket: WebSocket[Any, Any, Any]) -> bool:
        """Whether the server lets it; then the handler is done."""
        self._line = line = take_over(socket.scope, self)
        if line is None:
            return False
        self._sender.send = line.send
        self._conversation.begin(lambda: line.start(_hang_up(line.send)))
        return True

    def heard(self, data: bytes | str) -> None:
        conversation, line = self._conversation, self._line
        if conversation.ended or line is None:
            return
        try:
            conversation.hear(self._sender.decode(data))
        except BeiraError as error:
            refusal = conversation.session.refuse_with(error, retry=True)
            line.start(conversation.perform(refusal))
        if conversation.is_crowded and not self._paused:
            self._paused = True
            line.pause()
            line.start(self._room(line))

    def gone(self) -> None:
        if self._line is not None:
            self._line.start(self._finish())

    async def _room(self, line: Line) -> None:
        """A crowded conversation reads no further, so that TCP slows the node down."""
        await self._conversation.room()
        self._paused = False
        line.resume()

    async def _finish(self) -> None:
        await self._conversation.finish()
        await self._gate.close(self._conversation)


async def _serve(
    gate: Gate, socket: WebSocket[Any, Any, Any], sender: _Sender, conversation: Conversation
) -> None:
    """The same on a server that keeps a task for each connection."""
    closing: list[asyncio.Task[None]] = []
    conversation.begin(lambda: closing.append(asyncio.ensure_future(_hang_up(socket.send))))
    try:
        while not conversation.ended:
            await conversation.room()
            text = not sender.codec.binary
            data = await (socket.receive_text() if text else socket.receive_bytes())
            try:
                conversation.hear(sender.decode(data))
            except BeiraError as error:
                await conversation.perform(conversation.session.refuse_with(error, retry=True))
    except WebSocketDisconnect:
        pass
    finally:
        await conversation.finish()
        await _hang_up(socket.send)
        await gate.close(conversation)


async def _hang_up(send: Callable[[Any], Awaitable[None]]) -> None:
    with suppress(*GONE):
        await send({"type": "websocket.close", "code": 1000, "reason": ""})


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

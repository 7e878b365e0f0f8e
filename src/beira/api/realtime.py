"""Realtime over a WebSocket, as Supabase's clients speak it: changes of records, broadcast, presence.

A connection has channels, each with a token of its own. Every channel's token is asked about again
and again, and at once when something was revoked; one that no longer holds ends the channel. What
a slow reader cannot be told in time is dropped, and it is told to fetch again: never silently.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from litestar import Request, Response, WebSocket, post, websocket
from litestar.handlers import BaseRouteHandler

from beira.api.asked import body_of
from beira.api.changes import Change, Feeds
from beira.api.door import Caller, Door
from beira.api.phoenix import V1, V2, Message, decode, encode
from beira.api.ports import Revocations
from beira.api.rooms import Rooms
from beira.api.wishes import Wish, describe, told, wishes_of
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Full, Invalid, Unauthenticated, Unavailable

log = structlog.get_logger(__name__)
RECHECK_S = limits.RECHECK_EVERY_S
CHANNELS = limits.CHANNELS_PER_SOCKET
TOO_SLOW = "Changes came faster than they were read, and some were left out: fetch again."


class Channel:
    """One topic that a connection joined."""

    def __init__(
        self, connection: Connection, topic: str, join_ref: str | None, config: dict[str, Any]
    ) -> None:
        broadcast, presence = _part(config, "broadcast"), _part(config, "presence")
        self.connection = connection
        self.topic = topic
        self.join_ref = join_ref
        self.hears_itself = broadcast.get("self") is True
        self.acknowledges = broadcast.get("ack") is True
        self.wants_presence = presence.get("enabled") is True
        key = presence.get("key")
        self.presence_key = key[:64] if isinstance(key, str) and key else secrets.token_hex(8)
        self.token = ""
        self.tenant = ""
        self.caller: Caller | None = None
        self.wishes: tuple[Wish, ...] = ()
        self.end_feed: Callable[[], None] | None = None

    def push(self, message: Message) -> None:
        self.connection.push(self, message)

    def changed(self, change: Change | None) -> None:
        """Tell of a change, if it is wanted and may be seen."""
        if change is None:
            self.connection.lose(self)
        elif self.caller is not None:
            payload = told(self.caller, self.wishes, change)
            if payload is not None:
                self.push(Message(self.topic, "postgres_changes", payload))


class Connection:
    """One WebSocket. `run` returns when it has ended."""

    def __init__(self, socket: WebSocket[Any, Any, Any], realtime: Realtime, version: str) -> None:
        self._socket = socket
        self._realtime = realtime
        self._version = version
        self._channels: dict[str, Channel] = {}
        self._outbox: asyncio.Queue[Message] = asyncio.Queue(limits.SUBSCRIBER_QUEUE)
        self._lost: dict[str, Channel] = {}
        self.recheck = asyncio.Event()

    async def run(self) -> None:
        """Read, send and keep checking until the first of these ends."""
        tasks = [
            asyncio.create_task(work()) for work in (self._receive, self._send, self._keep_checking)
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    log.debug("realtime.ended", why=repr(result))
            for channel in list(self._channels.values()):
                self._drop(channel)

    def push(self, channel: Channel, message: Message) -> None:
        """Queue a message of a channel; if there is no room, the channel starts over."""
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.lose(channel)

    def lose(self, channel: Channel) -> None:
        """The channel missed something: it is told so once the queue is sent, and joins again."""
        if self._channels.get(channel.topic) is channel:
            self._drop(channel)
            self._lost[channel.topic] = channel
            with suppress(asyncio.QueueFull):
                self._outbox.put_nowait(Message("phoenix", "", None))

    async def close(self, code: int, reason: str) -> None:
        with suppress(Exception):
            await self._socket.close(code=code, reason=reason)

    async def _receive(self) -> None:
        while True:
            async with asyncio.timeout(limits.SILENCE_TIMEOUT_S):
                event: Any = await self._socket.receive()
            if event["type"] != "websocket.receive":
                return
            raw = event.get("text") if event.get("text") is not None else event.get("bytes")
            try:
                if len(raw) > limits.BODY_BYTES:
                    raise Invalid(f"A message has {limits.BODY_BYTES} bytes at most.")
                message = decode(raw)
            except BeiraError as error:
                await self._outbox.put(_system("phoenix", "error", error.message))
                continue
            await self._handle(message)

    async def _send(self) -> None:
        while True:
            message = await self._outbox.get()
            if message.event:
                await self._transmit(message)
            while self._lost and self._outbox.empty():
                topic, channel = self._lost.popitem()
                await self._transmit(_system(topic, "error", TOO_SLOW))
                await self._transmit(
                    Message(topic, "phx_error", {"reason": TOO_SLOW}, channel.join_ref)
                )

    async def _transmit(self, message: Message) -> None:
        encoded = encode(message, self._version)
        if isinstance(encoded, bytes):
            await self._socket.send_bytes(encoded)
        else:
            await self._socket.send_text(encoded)

    async def _keep_checking(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.recheck.wait(), RECHECK_S)
            self.recheck.clear()
            for channel in list(self._channels.values()):
                await self._check(channel, channel.token)

    async def _check(self, channel: Channel, token: str) -> None:
        """Ask again who a channel's token speaks for; end the channel if for nobody, or another."""
        try:
            caller = await self._realtime.door.caller_of(token)
            known = channel.caller and channel.caller.principal
            if known and caller.principal.id != known.id:
                raise Unauthenticated("The token is somebody else's.")
            channel.token, channel.caller = token, caller
            if known and caller.principal != known:
                await self._end(channel, "phx_error", "Your rights have changed: join again.")
        except Unavailable:
            return
        except BeiraError as error:
            await self._end(channel, "phx_close", f"{error.message} {error.hint}".strip())

    async def _end(self, channel: Channel, event: str, reason: str) -> None:
        """End a channel and say why; after `phx_error` clients join again by themselves."""
        if self._channels.get(channel.topic) is channel:
            self._drop(channel)
            await self._outbox.put(_system(channel.topic, "error", reason))
            await self._outbox.put(
                Message(channel.topic, event, {"reason": reason}, channel.join_ref)
            )

    async def _handle(self, message: Message) -> None:
        channel = self._channels.get(message.topic)
        try:
            if message.event == "heartbeat":
                response: dict[str, Any] = {}
            elif message.event == "phx_join":
                response = await self._join(message)
            elif channel is None:
                raise Invalid("The channel was not joined.", code="channel.unmatched")
            elif message.event == "access_token":
                await self._check(channel, str(_part_of(message.payload).get("access_token", "")))
                return
            else:
                response = self._act(channel, message)
        except BeiraError as error:
            await self._reply(message, "error", {"reason": _reason(error), "code": error.code})
            return
        silent = message.event == "broadcast" and channel and not channel.acknowledges
        if not silent:
            await self._reply(message, "ok", response)
        if message.event == "phx_join":
            await self._joined(self._channels[message.topic])

    async def _reply(self, message: Message, status: str, response: dict[str, Any]) -> None:
        payload = {"status": status, "response": response}
        await self._outbox.put(
            Message(message.topic, "phx_reply", payload, message.ref, message.join_ref)
        )

    def _act(self, channel: Channel, message: Message) -> dict[str, Any]:
        payload = _part_of(message.payload)
        rooms = self._realtime.rooms
        if message.event == "phx_leave":
            self._drop(channel)
        elif message.event == "broadcast":
            if not isinstance(payload.get("event"), str):
                raise Invalid("A broadcast needs the name of an event.", code="message.invalid")
            rooms.broadcast(channel, {"type": "broadcast", **payload})
        elif message.event == "presence" and payload.get("event") == "track":
            rooms.track(channel, _part(payload, "payload"))
        elif message.event == "presence" and payload.get("event") == "untrack":
            rooms.untrack(channel)
        else:
            raise Invalid(f"{message.event[:40]} is not covered.", code="message.unsupported")
        return {}

    async def _join(self, message: Message) -> dict[str, Any]:
        if len(message.topic) > limits.TOPIC_CHARS or len(self._channels) >= CHANNELS:
            raise Full(
                f"A connection has {CHANNELS} channels at most, "
                f"with names of up to {limits.TOPIC_CHARS}.",
                code="channels.full",
                hint="Leave some channels first.",
            )
        payload = _part_of(message.payload)
        config = _part(payload, "config")
        channel = Channel(self, message.topic, message.join_ref or message.ref, config)
        channel.token = str(payload.get("access_token") or payload.get("user_token") or "")
        if not channel.token:
            raise Unauthenticated("Nobody is signed in.", hint="Join with an access token.")
        channel.caller = await self._realtime.door.caller_of(channel.token)
        channel.tenant = channel.caller.principal.tenant
        channel.wishes = wishes_of(channel.caller, config.get("postgres_changes"))
        before = self._channels.get(message.topic)
        if before is not None:
            self._drop(before)
        if channel.wishes:
            wanted = [(wish.collection, wish.where) for wish in channel.wishes]
            feed = self._realtime.feeds.of(channel.caller.host)
            channel.end_feed = feed.listen(channel.changed, wanted)
        self._channels[message.topic] = channel
        self._realtime.rooms.enter(channel)
        return {"postgres_changes": [describe(wish) for wish in channel.wishes]}

    async def _joined(self, channel: Channel) -> None:
        if channel.wishes:
            await self._outbox.put(_system(channel.topic, "ok", "Subscribed to PostgreSQL"))
        if channel.wants_presence:
            state = self._realtime.rooms.state(channel)
            await self._outbox.put(Message(channel.topic, "presence_state", state))

    def _drop(self, channel: Channel) -> None:
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]
        if channel.end_feed is not None:
            channel.end_feed()
            channel.end_feed = None
        self._realtime.rooms.leave(channel)


class Realtime:
    """All connections of this process."""

    def __init__(self, door: Door, revocations: Revocations | None) -> None:
        self.door = door
        self.rooms = Rooms()
        self.feeds = Feeds()
        self._revocations = revocations
        self._connections: set[Connection] = set()
        self._end: Callable[[], None] | None = None

    async def serve(self, socket: WebSocket[Any, Any, Any]) -> None:
        """Serve one WebSocket to its end."""
        version = socket.query_params.get("vsn", V1)
        await socket.accept()
        connection = Connection(socket, self, V2 if version == V2 else V1)
        if len(self._connections) >= limits.SUBSCRIBERS:
            await connection.close(1013, "Too many connections: try again later.")
            return
        if self._end is None and self._revocations is not None:
            self._end = self._revocations.subscribe(self._revoked)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            await connection.close(1000, "")

    async def close(self) -> None:
        """End all connections: the program stops."""
        for connection in list(self._connections):
            await connection.close(1001, "The server stops.")
        if self._end is not None:
            self._end()
        self._end = None
        await self.feeds.close()

    def _revoked(self, _: object) -> None:
        for connection in self._connections:
            connection.recheck.set()


def realtime_routes(door: Door, realtime: Realtime) -> list[BaseRouteHandler]:
    """The handlers under `/realtime/v1`."""

    @websocket("/websocket")
    async def serve(socket: WebSocket[Any, Any, Any]) -> None:
        """Phoenix channels."""
        await realtime.serve(socket)

    @post("/api/broadcast", status_code=202)
    async def broadcast(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Broadcast without a WebSocket."""
        caller = await door.caller(request.headers)
        messages = _part_of(await body_of(request)).get("messages")
        if not isinstance(messages, list) or len(messages) > limits.SUBSCRIBER_QUEUE:
            raise Invalid('Send {"messages": [{"topic", "event", "payload"}]}.')
        for message in map(_part_of, messages):
            _send_by_http(realtime, caller, message)
        return Response(content=b"", status_code=202)

    @post("/api/broadcast/{topic:str}/events/{event:str}", status_code=202)
    async def broadcast_event(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Broadcast one event; its payload is the body."""
        caller = await door.caller(request.headers)
        payload = await body_of(request)
        _send_by_http(realtime, caller, {**request.path_params, "payload": payload})
        return Response(content=b"", status_code=202)

    return [serve, broadcast, broadcast_event]


def _send_by_http(realtime: Realtime, caller: Caller, message: dict[str, Any]) -> None:
    topic, event = message.get("topic"), message.get("event")
    if not isinstance(topic, str) or not isinstance(event, str):
        raise Invalid("A broadcast needs a topic and an event.", code="message.invalid")
    payload = {"type": "broadcast", "event": event, "payload": message.get("payload")}
    realtime.rooms.send(caller.principal.tenant, f"realtime:{topic}", payload)


def _system(topic: str, status: str, text: str) -> Message:
    channel = topic.removeprefix("realtime:")
    payload = {"channel": channel, "extension": "postgres_changes"}
    return Message(topic, "system", {**payload, "status": status, "message": text})


def _reason(error: BeiraError) -> str:
    """Clients wait longer before they join again when the reason begins with this word."""
    text = f"{error.message} {error.hint}".strip()
    return f"ChannelRateLimitReached: {text}" if isinstance(error, Full) else text


def _part_of(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    return _part_of(value.get(name))

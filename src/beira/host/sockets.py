"""WebSockets that cost little while nobody says anything.

An ASGI program holds a task and its stack of calls for each connection, only to wait. Where thousands of
connections wait, a handler may take over: it has accepted the connection, says who hears what comes,
and returns; from then on the server tells that listener, and nothing of the request is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

TAKE_OVER = "beira.take_over"
"""In a scope's extensions: `Callable[[Listener], Line]`."""


class Listener(Protocol):
    """Who hears what comes. Neither call may wait; what must be done goes by `Line.start`."""

    def heard(self, data: bytes | str) -> None: ...

    def gone(self) -> None:
        """The connection is over, whoever ended it. Called once."""
        ...


class Line(Protocol):
    """The connection, for its listener."""

    async def send(self, message: Any) -> None:
        """As ASGI's. Raises OSError when the connection is gone."""
        ...

    def pause(self) -> None:
        """Read no further, so that the other side waits."""
        ...

    def resume(self) -> None: ...

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that the server waits for when it stops."""
        ...


def take_over(scope: Mapping[str, Any], listener: Listener) -> Line | None:
    """Let `listener` have an accepted connection, if the server can do so; the handler then returns."""
    take: Callable[[Listener], Line] | None = (scope.get("extensions") or {}).get(TAKE_OVER)
    return None if take is None else take(listener)


class _Events:
    """In the place of the queue from which an ASGI program would be told."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        self._listener: Listener | None = listener

    def put_nowait(self, event: Mapping[str, Any]) -> None:
        listener = self._listener
        if listener is None:
            return
        if event["type"] == "websocket.receive":
            data = event.get("bytes")
            listener.heard(event["text"] if data is None else data)
        else:
            self._listener = None
            listener.gone()


class Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which can be taken over."""

    _taken = False

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            offered: dict[str, Any] = {
                **(self.scope["extensions"] or {}),
                TAKE_OVER: self._take_over,
            }
            self.scope["extensions"] = offered

    def _take_over(self, listener: Listener) -> Line:
        waiting, self.queue = self.queue, _Events(listener)  # type: ignore[assignment]
        self._taken = True
        # A timer that does nothing: without one the server closes what its program returns from.
        self.close_timer = self.loop.call_soon(_nothing)  # type: ignore[assignment]
        self.loop.call_soon(self._begin, waiting)
        return self

    def _begin(self, waiting: asyncio.Queue[Any]) -> None:
        """What came meanwhile comes first. Reading stays as it is from now on but for `pause`."""
        while not waiting.empty():
            self.queue.put_nowait(waiting.get_nowait())
        self.read_paused = True
        self.transport.resume_reading()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if self._taken:
            del self.scope, self.request, self.response

    def pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _nothing() -> None:
    pass

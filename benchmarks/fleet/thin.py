"""The thinnest client that still speaks the real protocol: one object a connection, no tasks.

It frames WebSocket messages itself (masked with zeros, which the standard allows) and keeps
no buffers, so that ten thousand of them are not what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import zstandard

from beira.kernel.wire import Welcome, Wire
from beira.sync.brief import _MAGIC, Known, _decompressed, dictionary
from beira.sync.codec import CODECS
from beira.sync.node.link import SOCKET_PATH

_packed = CODECS[0]
_addresses = itertools.cycle([f"127.0.{a}.{b}" for a in range(1, 5) for b in range(1, 51)])
"""Each source address has some 28,000 ports of its own, some of which still wait out their end."""
_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: {protocols}\r\nAuthorization: Bearer {token}\r\n\r\n"
)


class ThinSocket(asyncio.Protocol):
    """A WebSocket. `heard` is called with each binary frame, `ended` once, with why."""

    __slots__ = ("_buffer", "_open", "_request", "ended", "heard", "opened", "transport")

    def __init__(
        self,
        request: bytes,
        opened: Callable[[], None],
        heard: Callable[[bytes], None],
        ended: Callable[[str], None],
    ) -> None:
        self._request = request
        self._buffer = b""
        self._open = False
        self.opened, self.heard, self.ended = opened, heard, ended
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head[:16]:
                self.leave(head[:40].decode("latin-1"))
                return
            self._open = True
            self.opened()
        self._buffer = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        while len(data) >= 2 and self.transport is not None:
            kind, size, at = data[0] & 15, data[1], 2
            if size == 126:
                size, at = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(data[2:10], "big"), 10
            if len(data) < at + size:
                break
            body, data = data[at : at + size], data[at + size :]
            if kind == 2:
                self.heard(body)
            elif kind == 9:
                self._frame(10, body)
            elif kind == 8:
                self.leave(f"closed {int.from_bytes(body[:2], 'big')}")
        return data

    def send(self, body: bytes) -> None:
        self._frame(2, body)

    def _frame(self, kind: int, body: bytes) -> None:
        if self.transport is None:
            return
        size = len(body)
        told = bytes((128 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.transport.write(bytes((128 | kind,)) + told + b"\0\0\0\0" + body)

    def leave(self, why: str = "") -> None:
        """Say goodbye, if there is anybody to hear it."""
        if self.transport is not None:
            self._frame(8, b"\x03\xe8")
            self.transport.close()
            self._over(why)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over(f"lost: {exc}")

    def _over(self, why: str) -> None:
        if self.transport is not None:
            self.transport = None
            self.ended(why)


async def dial(
    port: int,
    token: str,
    opened: Callable[[], None],
    heard: Callable[[bytes], None],
    ended: Callable[[str], None],
    *,
    path: str = SOCKET_PATH,
    protocols: str = "beira.brief.1, beira.packed",
) -> ThinSocket:
    """A socket that is opening. Raises OSError."""
    request = _REQUEST.format(path=path, port=port, protocols=protocols, token=token).encode()
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(
        lambda: ThinSocket(request, opened, heard, ended),
        "127.0.0.1",
        port,
        local_addr=(next(_addresses), 0),
    )
    return socket


def packed(messages: Sequence[Wire]) -> bytes:
    """What is said before the welcome."""
    return _packed.encode(messages)


def brief(known: Known, messages: Sequence[Wire]) -> bytes:
    """What is said after it; compressed less hard than a node does, for the load's own sake."""
    data = zstandard.ZstdCompressionDict(dictionary() + known.tail)
    return zstandard.ZstdCompressor(level=1, dict_data=data).compress(known.plain(messages))[4:]


def read(known: Known | None, data: bytes) -> list[Wire]:
    if known is None or data.startswith(_MAGIC):
        return _packed.decode(data)
    return known.read(_decompressed(_MAGIC + data, b""))


def known_of(messages: Sequence[Wire]) -> Known | None:
    return next((Known.of(m) for m in messages if isinstance(m, Welcome)), None)

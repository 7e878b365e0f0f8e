"""A thin link: a TCP proxy of 100 ms round trip and 1 Mbit/s each way, all its connections together."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

ONE_WAY_S = 0.05
BYTES_PER_S = 125_000
BUFFER_BYTES = 65_536
"""What a cheap router holds before it makes the sender wait."""
CHUNK_BYTES = 1_500


class _Wire:
    """One direction: bytes leave at the link's pace, and arrive half a round trip later."""

    def __init__(self, one_way_s: float, bytes_per_s: float) -> None:
        self.carried_bytes = 0
        self._one_way_s, self._bytes_per_s = one_way_s, bytes_per_s
        self._free_s = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BUFFER_BYTES // CHUNK_BYTES)
        landing = asyncio.ensure_future(self._land(flying, writer))
        try:
            while data := await reader.read(CHUNK_BYTES):
                self._free_s = max(self._free_s, loop.time()) + len(data) / self._bytes_per_s
                self.carried_bytes += len(data)
                await flying.put((self._free_s + self._one_way_s, data))
                await asyncio.sleep(max(0.0, self._free_s - loop.time()))
            await flying.put((0.0, b""))
            await landing
        finally:
            landing.cancel()
            writer.close()

    @staticmethod
    async def _land(
        flying: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at_s, data = await flying.get()
            if not data:
                return
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            writer.write(data)
            await writer.drain()


class Thin:
    """The proxy. `up_bytes` and `down_bytes` are what it carried."""

    def __init__(self, port: int, up: _Wire, down: _Wire) -> None:
        self.port, self._up, self._down = port, up, down
        self.address = f"http://127.0.0.1:{port}"

    @property
    def up_bytes(self) -> int:
        return self._up.carried_bytes

    @property
    def down_bytes(self) -> int:
        return self._down.carried_bytes


def thin_link(address: str) -> contextlib.AbstractAsyncContextManager[Thin]:
    """A thin link to `address` (http://host:port)."""
    return _link(address, ONE_WAY_S, BYTES_PER_S)


def counted(address: str) -> contextlib.AbstractAsyncContextManager[Thin]:
    """A link that only counts what it carries."""
    return _link(address, 0.0, math.inf)


@contextlib.asynccontextmanager
async def _link(address: str, one_way_s: float, bytes_per_s: float) -> AsyncIterator[Thin]:
    to = urlsplit(address)
    up, down = _Wire(one_way_s, bytes_per_s), _Wire(one_way_s, bytes_per_s)
    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(to.hostname, to.port)
            await asyncio.gather(up.carry(reader, far_writer), down.carry(far_reader, writer))
        open_.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=CHUNK_BYTES)
    try:
        yield Thin(server.sockets[0].getsockname()[1], up, down)
    finally:
        server.close()
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)

"""A network plug: a TCP proxy between a node and the cloud. Pulled, it cuts what is open and refuses
what comes, as a dead line does; the node's program knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK_BYTES = 65_536


class Plug:
    """One line to `target_port` on this machine. `port` is where the node connects."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._open: set[asyncio.StreamWriter] = set()
        self.plugged = True
        self.port = 0

    def pull(self) -> None:
        """Cut every connection and refuse new ones."""
        self.plugged = False
        for writer in list(self._open):
            writer.transport.abort()

    def put_back(self) -> None:
        self.plugged = True

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[Plug]:
        """Pass connections on while the context lasts."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.pull()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.plugged:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._open -= {writer, back}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()

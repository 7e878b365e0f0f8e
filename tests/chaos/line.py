"""A node's line to the cloud, as bad as one likes: a TCP proxy that delays, throttles, stalls, holds,
resets and leaves connections hanging. A kernel with netem would shape packets; this shapes what
TCP makes of them, and runs anywhere, without rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

PIECE_BYTES = 16_384
PIECES_ON_THE_WAY = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Weather:
    """How a line is, both ways alike; 0 is never, or no bound.

    A lost packet is, to who uses TCP, a stall until it is sent again: `lost` is the share of pieces
    before which there is one, of `again_s`. A connection is reset at a random byte before
    `resets_within_bytes`.
    """

    delay_s: float = 0.0
    bytes_per_s: int = 0
    lost: float = 0.0
    again_s: float = 0.3
    resets_within_bytes: int = 0


FAIR = Weather()


class Line:
    """Passes connections to `127.0.0.1:port` on, through its weather. `port` is where one connects."""

    def __init__(self, target_port: int, chance: random.Random) -> None:
        self.weather = FAIR
        self.hanging = False
        """Whether an end that vanishes leaves the other in the belief that it is there."""
        self.port = 0
        self._target_port = target_port
        self._chance = chance
        self._plugged = True
        self._open: set[_Passage] = set()
        self._held: set[str] = set()
        self._changed = asyncio.Condition()

    def lead_to(self, port: int) -> None:
        """From now on new connections go there."""
        self._target_port = port

    def pull(self) -> None:
        """Cut every connection and refuse new ones."""
        self._plugged = False
        self.reset()

    def put_back(self) -> None:
        self._plugged = True

    def reset(self) -> None:
        """Cut every connection; new ones are let in."""
        for passage in list(self._open):
            passage.reset()

    async def hold(self, *ways: str) -> None:
        """Take what is sent, `up` or `down`, and pass nothing on."""
        await self._hold(set(ways))

    async def let_go(self) -> None:
        await self._hold(set())

    async def _hold(self, ways: set[str]) -> None:
        async with self._changed:
            self._held = ways
            self._changed.notify_all()

    async def free(self, way: str) -> None:
        if way in self._held:
            async with self._changed:
                await self._changed.wait_for(lambda: way not in self._held)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Line]:
        server = await asyncio.start_server(self._came, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.let_go()
            self.pull()

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._plugged:
            _reset(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        passage = _Passage(self, writer, back, self._chance)
        self._open.add(passage)
        try:
            await asyncio.gather(
                passage.pump("up", reader, back), passage.pump("down", there, writer)
            )
        finally:
            passage.reset()
            self._open.discard(passage)


class _Passage:
    """One connection on its way through a line."""

    def __init__(
        self,
        line: Line,
        near: asyncio.StreamWriter,
        far: asyncio.StreamWriter,
        chance: random.Random,
    ) -> None:
        self._line, self._near, self._far = line, near, far
        self._chance = chance
        most = line.weather.resets_within_bytes
        self._left_bytes = chance.randint(1, most) if most else 0
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    def reset(self) -> None:
        self._over.set()
        for writer in (self._near, self._far):
            _reset(writer)
        for task in self._tasks:
            task.cancel()

    async def pump(
        self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one way until it ends or is cut."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_ON_THE_WAY)
        taking = asyncio.create_task(self._take(reader, waiting))
        giving = asyncio.create_task(self._give(way, waiting, writer))
        self._tasks += [taking, giving]
        await asyncio.gather(taking, giving, return_exceptions=True)

    async def _take(
        self, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        now_s = asyncio.get_running_loop().time
        piece = b" "
        while piece:
            try:
                piece = await reader.read(PIECE_BYTES)
            except OSError:
                piece = b""
            await waiting.put((now_s() + self._line.weather.delay_s, piece))

    async def _give(
        self,
        way: str,
        waiting: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
    ) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            due_s, piece = await waiting.get()
            weather = self._line.weather
            if self._chance.random() < weather.lost:
                await asyncio.sleep(weather.again_s)
            if weather.bytes_per_s:
                await asyncio.sleep(len(piece) / weather.bytes_per_s)
            await asyncio.sleep(max(0.0, due_s - now_s()))
            await self._line.free(way)
            if not piece:
                break
            if not await self._write(writer, piece):
                return
        await self._ended(writer)

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes) -> bool:
        """False once the connection is cut, maybe in the middle of the piece."""
        if self._left_bytes:
            cut = len(piece) >= self._left_bytes
            piece, self._left_bytes = piece[: self._left_bytes], self._left_bytes - len(piece)
        else:
            cut = False
        try:
            writer.write(piece)
            await writer.drain()
        except OSError:
            await self._ended(None)
            return False
        if cut:
            await asyncio.sleep(0.01)  # so that what came before the reset arrives
            self.reset()
        return not cut

    async def _ended(self, writer: asyncio.StreamWriter | None) -> None:
        """One end has gone. The other hears of it, or, if the line hangs, does not."""
        if self._line.hanging:
            await self._over.wait()
        elif writer is None:
            self.reset()
        else:
            with contextlib.suppress(OSError):
                writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Not a polite end: what was in the buffers is gone, and the peer gets an error."""
    held = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if held is not None and held.fileno() >= 0:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()

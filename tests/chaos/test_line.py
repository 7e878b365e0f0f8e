"""A bad line is bad in the ways it says, and in no other: what comes out is what went in, from its
beginning, and all of it unless the line was cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from tests.acceptance.support import until
from tests.chaos.line import FAIR, Line, Weather

SENT = random.Random(5).randbytes(300_000)


@contextlib.asynccontextmanager
async def heard(weather: Weather) -> AsyncIterator[tuple[Line, bytearray, asyncio.StreamWriter]]:
    """What arrives at the far end of a line, and where to send."""
    got, ends = bytearray(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(4_096):
                got.extend(piece)
        ends.set()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server, Line(server.sockets[0].getsockname()[1], random.Random(1)).serving() as line:
        line.weather = weather
        _, writer = await asyncio.open_connection("127.0.0.1", line.port)
        yield line, got, writer
        writer.transport.abort()


@pytest.mark.parametrize(
    "weather",
    [
        FAIR,
        Weather(delay_s=0.05),
        Weather(bytes_per_s=3_000_000),
        Weather(delay_s=0.02, lost=0.3, again_s=0.01),
    ],
)
async def test_all_of_it_arrives_in_order(weather: Weather) -> None:
    async with heard(weather) as (_, got, writer):
        writer.write(SENT)
        await until(lambda: bytes(got) == SENT, "all of it is there")


async def test_a_reset_comes_at_a_byte_and_the_sender_hears_of_it() -> None:
    async with heard(Weather(resets_within_bytes=100_000)) as (_, got, writer):
        with pytest.raises(OSError):
            while True:
                writer.write(SENT)
                await writer.drain()
                await asyncio.sleep(0)
        assert len(got) <= 100_000 and SENT.startswith(bytes(got))


async def test_a_held_line_takes_all_and_passes_nothing_until_it_is_let_go() -> None:
    async with heard(FAIR) as (line, got, writer):
        await line.hold("up")
        writer.write(SENT)
        await writer.drain()
        assert not got
        await line.let_go()
        await until(lambda: bytes(got) == SENT, "all of it is there")


async def test_on_a_hanging_line_nobody_hears_of_an_end_until_it_is_reset() -> None:
    async with heard(FAIR) as (line, got, writer):
        line.hanging = True
        writer.write(SENT)
        await until(lambda: bytes(got) == SENT, "all of it is there")
        writer.transport.abort()
        await until(lambda: all(one._tasks[0].done() for one in line._open), "its end is known")
        assert line._open
        line.reset()
        await until(lambda: not line._open, "it is over")

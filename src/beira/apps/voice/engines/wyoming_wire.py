"""Wyoming's wire: a line of JSON, then data, then payload; with limits on each.

The protocol has no authentication and no sizes of its own, so whoever reads it must bound it: a peer
may not make us hold more than these limits, nor wait longer than our timeouts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

from beira.apps.voice.engines.ports import Sound
from beira.sdk import Corrupt, Invalid, Unavailable

LINE_BYTES = 65_536
DATA_BYTES = 262_144
PAYLOAD_BYTES = 1_048_576
CONNECT_TIMEOUT_S = 5.0
EVENT_TIMEOUT_S = 15.0


class Event(msgspec.Struct):
    """One message: its type, its data, and sound where there is some."""

    type: str
    data: dict[str, Any] = {}
    payload: bytes = b""


class _Head(msgspec.Struct):
    type: str
    data: dict[str, Any] | None = None
    data_length: int | None = None
    payload_length: int | None = None


class Peer:
    """One connection, either end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, timeout_s: float = EVENT_TIMEOUT_S) -> Event | None:
        """The next message, or None at the end. Raises Corrupt, Unavailable after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._read()
        except TimeoutError:
            raise Unavailable(
                "The Wyoming service does not answer.",
                code="wyoming.timeout",
                hint="Look at its log; `beira node doctor` tries it.",
            ) from None
        except (ValueError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            raise Corrupt(f"That is not Wyoming: {error}", code="wyoming.corrupt") from None
        except OSError as error:
            raise _away(str(error)) from error

    async def _read(self) -> Event | None:
        line = await self._reader.readline()
        if not line:
            return None
        head = msgspec.json.decode(line, type=_Head)
        data = dict(head.data or {})
        if head.data_length:
            data |= msgspec.json.decode(
                await self._exactly(head.data_length, DATA_BYTES), type=dict[str, Any]
            )
        payload = await self._exactly(head.payload_length or 0, PAYLOAD_BYTES)
        return Event(head.type, data, payload)

    async def _exactly(self, size: int, most: int) -> bytes:
        if not 0 <= size <= most:
            raise ValueError(f"a part of {size} bytes (at most {most})")
        return await self._reader.readexactly(size)

    async def write(
        self, kind: str, data: dict[str, Any] | None = None, payload: bytes = b""
    ) -> None:
        """Send one message. Raises Unavailable when the peer is gone or does not read."""
        head: dict[str, Any] = {"type": kind, "version": "1.5.4"}
        body = msgspec.json.encode(data) if data else b""
        if body:
            head["data_length"] = len(body)
        if payload:
            head["payload_length"] = len(payload)
        try:
            self._writer.write(msgspec.json.encode(head) + b"\n" + body + payload)
            async with asyncio.timeout(EVENT_TIMEOUT_S):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise _away(str(error) or "it does not read") from error

    async def write_sound(self, sound: Sound) -> None:
        await self.write("audio-chunk", audio_format(sound.rate_hz), sound.pcm)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()


def audio_format(rate_hz: int) -> dict[str, int]:
    return {"rate": rate_hz, "width": 2, "channels": 1}


def sound_in(event: Event) -> Sound:
    """The sound of an `audio-chunk`. Raises Invalid for anything but int16 mono."""
    rate_hz, width, channels = (event.data.get(k) for k in ("rate", "width", "channels"))
    if (
        width != 2
        or channels != 1
        or not isinstance(rate_hz, int)
        or not 4_000 <= rate_hz <= 192_000
    ):
        raise Invalid(
            f"Sound of {rate_hz} Hz, {width} bytes, {channels} channels cannot be used.",
            code="audio.rate",
            hint="Send int16 mono, 16000 Hz.",
        )
    return Sound(rate_hz, event.payload[: len(event.payload) // 2 * 2])


def checked_address(address: str) -> tuple[str, str, int]:
    """(scheme, host or path, port) of `tcp://host:port` or `unix:///path`. Raises Invalid."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return "unix", parts.path, 0
    if parts.scheme == "tcp" and host and port is not None:
        return "tcp", host, port
    raise Invalid(
        f"{address!r} is not the address of a Wyoming service.",
        code="wyoming.address",
        hint="Write tcp://127.0.0.1:10300 or unix:///run/service.sock.",
    )


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Peer]:
    """A connection to a service. Raises Invalid for the address, Unavailable."""
    peer = await connect(address)
    try:
        yield peer
    finally:
        await peer.close()


async def connect(address: str) -> Peer:
    """A connection to a service, for the caller to close."""
    scheme, place, port = checked_address(address)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if scheme == "unix":
                return Peer(*await asyncio.open_unix_connection(place, limit=LINE_BYTES))
            return Peer(*await asyncio.open_connection(place, port, limit=LINE_BYTES))
    except (OSError, TimeoutError) as error:
        raise _away(f"{address}: {error or 'no answer'}") from error


def _away(why: str) -> Unavailable:
    return Unavailable(
        f"The Wyoming service is away: {why}",
        code="wyoming.away",
        hint="Start it, or correct its address in the settings of `voice`.",
    )

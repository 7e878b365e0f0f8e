"""Being a Wyoming service, so that Home Assistant can hear and speak through this node.

The protocol knows no passwords: it is served on a Unix socket or on loopback, and elsewhere only if
the settings say that the network is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from beira.apps.voice.engines.ports import (
    HEARD_HZ,
    Listening,
    Pcm,
    SpeechToText,
    TextToSpeech,
    Wake,
)
from beira.apps.voice.engines.sound import UTTERANCE_S, Resampler
from beira.apps.voice.engines.wyoming_wire import (
    LINE_BYTES,
    Event,
    Peer,
    audio_format,
    checked_address,
    sound_in,
)
from beira.sdk import BeiraError, Misconfigured, TooLarge

log = structlog.get_logger(__name__)
CONNECTIONS = 16
IDLE_TIMEOUT_S = 600.0


class WyomingService:
    """What a connection may ask for: describe, transcribe, synthesize, detect."""

    def __init__(
        self,
        hearing: SpeechToText,
        speaking: TextToSpeech,
        *,
        wake: Callable[[], Wake] | None,
        languages: tuple[str, ...],
        release: str,
    ) -> None:
        self.hearing, self.speaking, self.wake = hearing, speaking, wake
        self.languages, self.release = languages, release
        self._open = 0

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it ends; its errors are told to it and end nothing else."""
        peer = Peer(reader, writer)
        if self._open >= CONNECTIONS:
            with contextlib.suppress(BeiraError):
                await peer.write("error", {"text": "too many connections", "code": "too_many"})
            await peer.close()
            return
        self._open += 1
        visit = _Visit(self, peer)
        try:
            while event := await peer.read(IDLE_TIMEOUT_S):
                await visit.answer(event)
        except BeiraError as error:
            log.info("wyoming.visit_ended", code=error.code, why=error.message)
            with contextlib.suppress(BeiraError):
                await peer.write("error", {"text": error.message, "code": error.code})
        finally:
            self._open -= 1
            await visit.close()
            await peer.close()

    def info(self) -> dict[str, Any]:
        """The answer to `describe`."""
        languages = list(self.languages)
        about = {
            "attribution": {"name": "Beira", "url": "https://pypi.org/project/beira/"},
            "installed": True,
            "version": self.release,
        }
        model = about | {"name": "aurora", "description": self.hearing.name, "languages": languages}
        voice = about | {"name": "aurora", "description": "Aurora", "languages": languages}
        program = about | {"name": "beira", "description": "Aurora, of a Beira node"}
        waking = [program | {"models": [model | {"phrase": "Aurora"}]}] if self.wake else []
        return {
            "asr": [program | {"models": [model]}],
            "tts": [program | {"voices": [voice]}],
            "wake": waking, "handle": [], "intent": [], "mic": [], "snd": [],
        }  # fmt: skip


class _Visit:
    """What one connection is in the midst of."""

    def __init__(self, service: WyomingService, peer: Peer) -> None:
        self._service, self._peer = service, peer
        self._language = service.languages[0]
        self._listening: Listening | None = None
        self._wake: Wake | None = None
        self._detecting = False
        self._resampler: Resampler | None = None
        self._heard = 0

    async def answer(self, event: Event) -> None:
        handler = getattr(self, "_on_" + event.type.replace("-", "_"), None)
        if handler is not None:
            await handler(event)

    async def close(self) -> None:
        if self._listening is not None:
            await self._listening.close()
        if self._wake is not None:
            await self._wake.close()

    async def _on_describe(self, _event: Event) -> None:
        await self._peer.write("info", self._service.info())

    async def _on_ping(self, event: Event) -> None:
        await self._peer.write("pong", event.data)

    async def _on_transcribe(self, event: Event) -> None:
        self._language = self._wanted(event.data.get("language"))
        self._detecting = False

    async def _on_detect(self, _event: Event) -> None:
        self._detecting = self._service.wake is not None

    async def _on_audio_start(self, _event: Event) -> None:
        self._heard, self._resampler = 0, None
        await self.close()
        self._listening = self._wake = None
        if self._detecting and self._service.wake is not None:
            self._wake = self._service.wake()
        else:
            self._listening = await self._service.hearing.listen(self._language)

    async def _on_audio_chunk(self, event: Event) -> None:
        pcm = self._at_our_rate(event)
        if self._wake is not None:
            if await self._wake.feed(pcm):
                await self._peer.write("detection", {"name": "aurora", "timestamp": None})
        elif self._listening is not None:
            self._heard += len(pcm)
            if self._heard > UTTERANCE_S * HEARD_HZ:
                raise TooLarge(
                    f"An utterance lasts {UTTERANCE_S} s at most.", code="audio.too_long"
                )
            await self._listening.feed(pcm)

    async def _on_audio_stop(self, _event: Event) -> None:
        if self._wake is not None:
            await self._wake.close()
            self._wake = None
            await self._peer.write("not-detected")
        if self._listening is not None:
            listening, self._listening = self._listening, None
            heard = await listening.finish()
            await self._peer.write("transcript", {"text": heard.text, "language": self._language})

    async def _on_synthesize(self, event: Event) -> None:
        voice = event.data.get("voice")
        language = self._wanted(voice.get("language") if isinstance(voice, dict) else None)
        begun = False
        async for sound in self._service.speaking.speak(str(event.data.get("text", "")), language):
            if not begun:
                await self._peer.write("audio-start", audio_format(sound.rate_hz))
            begun = True
            await self._peer.write_sound(sound)
        await self._peer.write("audio-stop")

    def _at_our_rate(self, event: Event) -> Pcm:
        sound = sound_in(event)
        if self._resampler is None:
            self._resampler = Resampler(sound.rate_hz, HEARD_HZ)
        return self._resampler.feed(np.frombuffer(sound.pcm, "<i2"))

    def _wanted(self, language: object) -> str:
        start = str(language or "").lower()[:2]
        fitting = [known for known in self._service.languages if known.lower()[:2] == start]
        return fitting[0] if fitting else self._service.languages[0]


@asynccontextmanager
async def serving(
    service: WyomingService, address: str, *, trusted_network: bool = False
) -> AsyncIterator[str]:
    """Serve at `tcp://host:port` (port 0: any) or `unix:///path`; gives the address in use.

    Raises: Misconfigured for an address that is open to others without `trusted_network`, a port in
    use, or a path that cannot be written.
    """
    scheme, place, port = checked_address(address)
    if scheme == "tcp" and not trusted_network and not _loopback(place):
        raise Misconfigured(
            f"{address} would let anyone on the network speak to this node.",
            code="wyoming.open",
            hint="Use 127.0.0.1 or a Unix socket, or set wyoming_trusted_network.",
        )
    try:
        sock = _unix_socket(place) if scheme == "unix" else _tcp_socket(place, port)
    except OSError as error:
        raise Misconfigured(
            f"Cannot serve Wyoming at {address}: {error.strerror or error}.",
            code="wyoming.bind",
            hint="Another program may have it: choose another port or path.",
        ) from error
    server = await asyncio.start_server(service.serve_one, sock=sock, limit=LINE_BYTES)
    try:
        yield f"unix://{place}" if scheme == "unix" else f"tcp://{place}:{sock.getsockname()[1]}"
    finally:
        server.close()
        if scheme == "unix":
            with contextlib.suppress(OSError):
                os.unlink(place)  # noqa: PTH108 (a socket's name goes at once)


def _tcp_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it, an event written in
    # two parts waits some 40 ms for the other side's acknowledgement of the first.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: str) -> socket.socket:
    """A socket only we may use, from its first moment on."""
    if Path(path).is_socket():
        Path(path).unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"

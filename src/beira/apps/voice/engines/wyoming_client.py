"""Engines that live in a Wyoming service: speech to text, text to speech, wake word, satellite."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np

from beira.apps.voice.engines.espeak import speakable
from beira.apps.voice.engines.ports import (
    HEARD_HZ,
    NOTHING_YET,
    Pcm,
    Progress,
    Recognised,
    Sound,
    Wake,
)
from beira.apps.voice.engines.sound import Resampler, sound_of
from beira.apps.voice.engines.wyoming_wire import (
    Event,
    Peer,
    audio_format,
    connect,
    connected,
    sound_in,
)
from beira.sdk import Unavailable

TRANSCRIPT_CHARS = 1_000
TRANSCRIPT_TIMEOUT_S = 20.0
SPEECH_EVENTS = 5_000
SATELLITE_WAIT_S = 3_600.0


class WyomingSpeechToText:
    """Speech to text by any Wyoming service. It knows no confidence, so books are asked about."""

    def __init__(self, address: str, model: str = "") -> None:
        self._address, self._model = address, model

    @property
    def name(self) -> str:
        return f"wyoming {self._address}"

    async def listen(self, language: str, *, asked: bool = True) -> WyomingListening:
        peer = await connect(self._address)
        wanted = {"language": language.split("-")[0]}
        if self._model:
            wanted["name"] = self._model
        await peer.write("transcribe", wanted)
        await peer.write("audio-start", audio_format(HEARD_HZ))
        return WyomingListening(peer)


class WyomingListening:
    """One utterance sent to a Wyoming service as it is spoken."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def feed(self, pcm: Pcm) -> Progress:
        await self._peer.write_sound(sound_of(pcm))
        return NOTHING_YET

    async def finish(self) -> Recognised:
        try:
            await self._peer.write("audio-stop")
            event = await _until(self._peer, "transcript", TRANSCRIPT_TIMEOUT_S)
        finally:
            await self._peer.close()
        text = event.data.get("text", "")
        return Recognised(text[:TRANSCRIPT_CHARS].strip() if isinstance(text, str) else "")

    async def close(self) -> None:
        await self._peer.close()


class WyomingTextToSpeech:
    """Text to speech by any Wyoming service."""

    def __init__(self, address: str, voice: str = "") -> None:
        self._address, self._voice = address, voice

    @property
    def identity(self) -> str:
        return f"wyoming {self._address} {self._voice}"

    async def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        """See `ports.TextToSpeech`."""
        voice = {"name": self._voice} if self._voice else {"language": language.split("-")[0]}
        async with connected(self._address) as peer:
            await peer.write("synthesize", {"text": speakable(text), "voice": voice})
            for _ in range(SPEECH_EVENTS):
                event = await _next(peer)
                if event.type == "audio-chunk":
                    yield sound_in(event)
                elif event.type == "audio-stop":
                    return


class WyomingWake:
    """A wake word service listening all the time; it is reached again when it goes away."""

    believed = True

    def __init__(self, address: str, names: tuple[str, ...] = ()) -> None:
        self._address, self._names = address, names
        self._peer: Peer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._detected = asyncio.Event()

    async def feed(self, pcm: Pcm) -> bool:
        """See `ports.Wake`. Raises Unavailable while the service is away."""
        peer = await self._connected()
        await peer.write_sound(sound_of(pcm))
        if self._detected.is_set():
            await self.close()
            return True
        return False

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._reading
        if self._peer is not None:
            await self._peer.close()
        self._peer, self._reading = None, None
        self._detected.clear()

    async def _connected(self) -> Peer:
        ended = self._reading is None or self._reading.done()
        if self._peer is None or (ended and not self._detected.is_set()):
            await self.close()
            self._peer = await connect(self._address)
            await self._peer.write("detect", {"names": list(self._names)} if self._names else {})
            await self._peer.write("audio-start", audio_format(HEARD_HZ))
            self._reading = asyncio.create_task(self._read(self._peer))
        assert self._peer is not None
        return self._peer

    async def _read(self, peer: Peer) -> None:
        while event := await peer.read(SATELLITE_WAIT_S):
            if event.type == "detection":
                self._detected.set()
                return


class SatelliteWake:
    """A satellite's own wake word, or, for one that has none, `spare` on what it streams."""

    def __init__(self, satellite: WyomingSatellite, spare: Wake) -> None:
        self._satellite, self._spare = satellite, spare
        self.believed = False

    async def feed(self, pcm: Pcm) -> bool:
        """See `ports.Wake`."""
        if self._satellite.taken_call():
            self.believed = True
            return True
        self.believed = self._spare.believed
        return await self._spare.feed(pcm)

    async def close(self) -> None:
        await self._spare.close()


class WyomingSatellite:
    """A satellite: a microphone and a speaker elsewhere in the shop. Both AudioIn and AudioOut."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._peer: Peer | None = None
        self._rate_hz = 0
        self._called = False
        self.first_sound_at: float | None = None

    async def frames(self) -> AsyncGenerator[Pcm, None]:
        """What the satellite hears once its wake word was said, until its connection ends."""
        async with connected(self._address) as peer:
            self._peer = peer
            await peer.write("run-satellite")
            resampler: Resampler | None = None
            while event := await peer.read(SATELLITE_WAIT_S):
                if event.type == "ping":
                    await peer.write("pong", event.data)
                if event.type == "run-pipeline":
                    self._called = event.data.get("start_stage") == "asr"
                if event.type != "audio-chunk":
                    continue
                sound = sound_in(event)
                if resampler is None:
                    resampler = Resampler(sound.rate_hz, HEARD_HZ)
                yield resampler.feed(np.frombuffer(sound.pcm, "<i2"))

    def taken_call(self) -> bool:
        """Whether the satellite heard its wake word itself since this was last asked."""
        called, self._called = self._called, False
        return called

    async def tell(self, event: dict[str, Any]) -> None:
        """The turn's events: what was heard, or could not be, ends the satellite's streaming."""
        if self._peer is not None and event["type"] in ("heard", "trouble"):
            await self._peer.write("transcript", {"text": event["text"]})

    async def play(self, sound: Sound) -> None:
        if self._peer is None:
            raise Unavailable("The satellite is away.", code="wyoming.away")
        if not self._rate_hz:
            self._rate_hz = sound.rate_hz
            await self._peer.write("audio-start", audio_format(sound.rate_hz))
        await self._peer.write_sound(sound)

    async def finish(self) -> None:
        if self._peer is not None and self._rate_hz:
            await self._peer.write("audio-stop")
        self._rate_hz = 0

    async def stop(self) -> None:
        await self.finish()


async def _next(peer: Peer) -> Event:
    event = await peer.read()
    if event is None:
        raise Unavailable("The Wyoming service hung up.", code="wyoming.away")
    if event.type == "error":
        why = str(event.data.get("text", ""))[:200]
        raise Unavailable(f"The Wyoming service says: {why}", code="wyoming.error")
    return event


async def _until(peer: Peer, kind: str, timeout_s: float) -> Event:
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                event = await _next(peer)
                if event.type == kind:
                    return event
    except TimeoutError:
        raise Unavailable(
            f"The Wyoming service gave no {kind} in {timeout_s:.0f} s.", code="wyoming.timeout"
        ) from None

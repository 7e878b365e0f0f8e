"""The node's own microphone and speaker, through PortAudio when it is there."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np

from beira.apps.voice.engines.ports import HEARD_HZ, Pcm, Sound
from beira.apps.voice.engines.sound import BLOCK, Resampler
from beira.sdk import Misconfigured, TooLarge, Unavailable

FRAMES_QUEUED = 250
PLAY_QUEUE_BYTES = 8_388_608
SILENCE_TIMEOUT_S = 10.0


def portaudio() -> Any:
    """The sounddevice module. Raises Misconfigured saying what to install."""
    try:
        import sounddevice  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise Misconfigured(
            "Sound devices need sounddevice.",
            code="extra.missing",
            hint="Install it: pip install 'beira[voice]'.",
        ) from error
    except OSError as error:
        raise Misconfigured(
            "The PortAudio library is missing.",
            code="audio.portaudio",
            hint="Install it: apt install libportaudio2.",
        ) from error
    return sounddevice


def chosen(kind: str, name: str = "") -> dict[str, Any]:
    """The device to use: `kind` is input or output, `name` part of its name, or the default.

    Raises: Misconfigured naming what there is.
    """
    library = portaudio()
    channels = f"max_{kind}_channels"
    try:
        able = [d for d in library.query_devices() if d[channels] > 0]
        fitting = [d for d in able if name.lower() in str(d["name"]).lower()]
        if not name and fitting:
            return dict(library.query_devices(kind=kind))
    except (library.PortAudioError, ValueError) as error:
        raise _no_device(kind, name, [], str(error)) from error
    if not fitting:
        raise _no_device(kind, name, [str(d["name"]) for d in able], "")
    return dict(fitting[0])


class Microphone:
    """Frames from a sound card. When nobody takes them, the oldest of five seconds are dropped."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    async def frames(self) -> AsyncGenerator[Pcm, None]:
        """See `ports.AudioIn`. Raises Unavailable when the device falls silent for ten seconds."""
        device, library = chosen("input", self._name), portaudio()
        loop, queue = asyncio.get_running_loop(), _Latest(FRAMES_QUEUED)

        def heard(data: Any, _count: int, _time: Any, _status: Any) -> None:
            block = np.frombuffer(bytes(data), np.int16)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(queue.put, block)

        rate_hz = _rate(library, device)
        resampler = Resampler(rate_hz, HEARD_HZ)
        try:
            stream = library.RawInputStream(
                samplerate=rate_hz,
                blocksize=rate_hz // 50,
                device=device["index"],
                channels=1,
                dtype="int16",
                callback=heard,
            )
        except library.PortAudioError as error:
            raise _no_device("input", self._name, [], str(error)) from error
        with stream:
            while True:
                yield resampler.feed(await queue.get(SILENCE_TIMEOUT_S))


class Speaker:
    """A sound card that plays what is queued; an underrun is silence, not a click."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queued: deque[bytes] = deque()
        self._size = 0
        self._stream: Any = None
        self._rate_hz = 0
        self.first_sound_at: float | None = None

    async def play(self, sound: Sound) -> None:
        if not self._size:
            self.first_sound_at = None
        if self._stream is None or self._rate_hz != sound.rate_hz:
            await self.stop()
            self._open(sound.rate_hz)
        if self._size + len(sound.pcm) > PLAY_QUEUE_BYTES:
            raise TooLarge("The answer is too long to be played.", code="tts.too_long")
        with self._lock:
            self._queued.append(sound.pcm)
            self._size += len(sound.pcm)

    async def finish(self) -> None:
        while remaining_s := self._size / 2 / max(1, self._rate_hz):
            await asyncio.sleep(min(remaining_s, 0.05))
        if self._stream is not None:
            await asyncio.sleep(float(self._stream.latency))

    async def stop(self) -> None:
        with self._lock:
            self._queued.clear()
            self._size = 0
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await asyncio.to_thread(stream.close)

    def _open(self, rate_hz: int) -> None:
        device, library = chosen("output", self._name), portaudio()
        try:
            self._stream = library.RawOutputStream(
                samplerate=rate_hz,
                device=device["index"],
                channels=1,
                dtype="int16",
                latency="low",
                callback=self._fill,
            )
            self._stream.start()
        except library.PortAudioError as error:
            raise _no_device("output", self._name, [], str(error)) from error
        self._rate_hz = rate_hz

    def _fill(self, out: Any, _count: int, _time: Any, _status: Any) -> None:
        with self._lock:
            if self._queued and self.first_sound_at is None:
                self.first_sound_at = time.monotonic() + float(self._stream.latency)
            piece = b""
            while self._queued and len(piece) < len(out):
                piece += self._queued.popleft()
            if len(piece) > len(out):
                self._queued.appendleft(piece[len(out) :])
            given = piece[: len(out)]
            self._size -= len(given)
        out[: len(given)] = given
        out[len(given) :] = b"\0" * (len(out) - len(given))


class _Latest:
    """A bounded queue of blocks that drops the oldest."""

    def __init__(self, most: int) -> None:
        self._blocks: deque[Pcm] = deque(maxlen=most)
        self._some = asyncio.Event()

    def put(self, block: Pcm) -> None:
        self._blocks.append(block)
        self._some.set()

    async def get(self, timeout_s: float) -> Pcm:
        try:
            async with asyncio.timeout(timeout_s):
                while not self._blocks:
                    self._some.clear()
                    await self._some.wait()
        except TimeoutError:
            raise Unavailable(
                "The microphone gives no sound.",
                code="audio.device_silent",
                hint="Is it still plugged in? It is tried again.",
            ) from None
        return self._blocks.popleft()


def _rate(library: Any, device: dict[str, Any]) -> int:
    try:
        library.check_input_settings(
            device=device["index"], channels=1, dtype="int16", samplerate=HEARD_HZ
        )
    except library.PortAudioError:
        return int(device["default_samplerate"])
    return HEARD_HZ


def _no_device(kind: str, name: str, there: list[str], why: str) -> Misconfigured:
    what = "microphone" if kind == "input" else "speaker"
    return Misconfigured(
        f"There is no {what}{f' called {name!r}' if name else ''}. {why}".strip(),
        code=f"audio.no_{what}",
        hint="There are: " + ", ".join(there) + "." if there else f"Plug in a {what}.",
    )


__all__ = ["BLOCK", "Microphone", "Speaker", "chosen", "portaudio"]

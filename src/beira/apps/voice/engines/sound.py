"""Sound as numbers: WAV files in and out, changing rates, and telling what is wrong with a recording."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np

from beira.apps.voice.engines.ports import HEARD_HZ, Pcm, Sound
from beira.sdk import Invalid, TooLarge

WAV_BYTES = 8_388_608
UTTERANCE_S = 20
RATES_HZ = (8_000, 192_000)
BLOCK = HEARD_HZ // 50
CLIPPED_AT = 32_700
CLIPPED_SHARE = 0.02
SILENT_PEAK = 60
_TAPS = 32


def read_wav(data: bytes) -> Pcm:
    """The samples of a WAV file, mono at HEARD_HZ.

    Raises: Invalid `audio.not_wav`, `audio.empty`, `audio.rate`; TooLarge `audio.too_long`.
    """
    if len(data) > WAV_BYTES:
        raise _too_long()
    if not data:
        raise _empty()
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate_hz, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError, ValueError) as error:
        raise Invalid(
            f"This is not a WAV file of plain PCM: {error or 'it ends too early'}.",
            code="audio.not_wav",
            hint="Send WAV, 16-bit PCM, mono, 16000 Hz.",
        ) from error
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1] or not 1 <= channels <= 8:
        raise Invalid(
            f"{rate_hz} Hz in {channels} channels is not a rate that can be heard.",
            code="audio.rate",
            hint=f"Send {RATES_HZ[0]} to {RATES_HZ[1]} Hz; 16000 Hz mono is best.",
        )
    samples = _mono(_widened(raw, width), channels)
    if not len(samples):
        raise _empty()
    if len(samples) > rate_hz * UTTERANCE_S:
        raise _too_long()
    return resampled(samples, rate_hz, HEARD_HZ)


def write_wav(pcm: bytes, rate_hz: int) -> bytes:
    """A WAV file of int16 mono PCM."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return out.getvalue()


def complaint(pcm: Pcm) -> str:
    """What is wrong with a recording: `audio.empty`, `audio.silent`, `audio.clipped`, or "" """
    if not len(pcm):
        return "audio.empty"
    level = np.abs(pcm.astype(np.int32))
    if int(level.max()) < SILENT_PEAK:
        return "audio.silent"
    if float((level >= CLIPPED_AT).mean()) > CLIPPED_SHARE:
        return "audio.clipped"
    return ""


def trailing_ms(pcm: Pcm) -> float:
    """How long before the end of a recording its last clear sound was, to 10 ms.

    Clear is what is within 26 dB of the loudest and twice the level of the quiet parts.
    """
    frame = HEARD_HZ // 100
    whole = len(pcm) // frame * frame
    if not whole:
        return 0.0
    level = np.sqrt((pcm[:whole].astype(np.float64).reshape(-1, frame) ** 2).mean(axis=1))
    clear = level > max(level.max() * 0.05, 2 * float(np.percentile(level, 10)), 1.0)
    return float((len(clear) - 1 - np.flatnonzero(clear)[-1]) * 10) if clear.any() else 0.0


class WavIn:
    """A WAV file as a source; it is given as fast as it is taken, as a file is."""

    def __init__(self, data: bytes | Path) -> None:
        self._pcm = read_wav(data.read_bytes() if isinstance(data, Path) else data)

    async def frames(self) -> AsyncGenerator[Pcm, None]:
        for at in range(0, len(self._pcm), BLOCK):
            yield self._pcm[at : at + BLOCK]


class Resampler:
    """Changes the rate of a stream by a windowed sinc, exactly `to_hz / from_hz`."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._table = _phases(self._up, self._down)
        self._taps = self._table.shape[1]
        self._held = np.zeros(self._taps // 2, np.float32)
        self._start = -(self._taps // 2)
        self._made = 0

    def feed(self, pcm: Pcm) -> Pcm:
        """What can be said of the new rate so far; half a millisecond or two stay behind."""
        if self._up == self._down:
            return pcm
        self._held = np.concatenate([self._held, pcm.astype(np.float32)])
        last = self._start + len(self._held) - self._taps // 2
        count = max(0, -(-last * self._up // self._down) - self._made)
        places = (self._made + np.arange(count)) * self._down
        begin = places // self._up - self._taps // 2 + 1 - self._start
        begin = np.maximum(begin, 0)
        windows = self._held[begin[:, None] + np.arange(self._taps)]
        made = np.einsum("ij,ij->i", windows, self._table[places % self._up])
        self._made += count
        self._forget()
        return np.asarray(np.clip(np.rint(made), -32_768, 32_767), np.int16)

    def _forget(self) -> None:
        needed = self._made * self._down // self._up - self._taps // 2 + 1
        drop = max(0, min(needed - self._start, len(self._held)))
        self._held, self._start = self._held[drop:], self._start + drop


def resampled(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """A whole recording at another rate."""
    if from_hz == to_hz:
        return pcm
    tail = np.zeros(_TAPS * max(1, from_hz // to_hz) * 2, np.int16)
    made = Resampler(from_hz, to_hz).feed(np.concatenate([pcm, tail]))
    return made[: len(pcm) * to_hz // from_hz]


def sound_of(pcm: Pcm, rate_hz: int = HEARD_HZ) -> Sound:
    return Sound(rate_hz, pcm.astype("<i2").tobytes())


def _phases(up: int, down: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    stretch = max(1.0, down / up)
    taps = 2 * math.ceil(_TAPS * stretch / 2)
    offset = np.arange(taps)[None, :] - (taps // 2 - 1) - np.arange(up)[:, None] / up
    window = np.cos(np.clip(offset / (taps / 2), -1, 1) * np.pi / 2) ** 2
    table = np.sinc(offset / stretch * 0.95) * window
    return np.asarray(table / table.sum(axis=1, keepdims=True), np.float32)


def _widened(raw: bytes, width: int) -> Pcm:
    if width == 2:
        return np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.int16)
    if width == 1:
        return ((np.frombuffer(raw, np.uint8).astype(np.int16) - 128) << 8).astype(np.int16)
    whole = np.frombuffer(raw[: len(raw) // width * width], np.uint8).reshape(-1, width)
    return np.ascontiguousarray(whole[:, -2:]).view("<i2").reshape(-1).astype(np.int16)


def _mono(samples: Pcm, channels: int) -> Pcm:
    whole = samples[: len(samples) // channels * channels].reshape(-1, channels)
    return samples if channels == 1 else whole.mean(axis=1).astype(np.int16)


def _empty() -> Invalid:
    return Invalid(
        "There is no sound in it.", code="audio.empty", hint="Hold the button while you speak."
    )


def _too_long() -> TooLarge:
    return TooLarge(
        f"A sentence lasts {UTTERANCE_S} s at most.",
        code="audio.too_long",
        hint="Say one command at a time.",
    )

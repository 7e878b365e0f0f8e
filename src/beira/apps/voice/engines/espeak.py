"""The voice that is always there: espeak-ng in a child process of its own."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from beira.apps.voice.engines.child import FramesChild
from beira.apps.voice.engines.ports import Pcm, Sound
from beira.sdk import Invalid, Misconfigured, TooLarge

SPEAK_CHARS = 2_000
FRAME_TIMEOUT_S = 3.0
WORKER = Path(__file__).with_name("espeak_worker.py")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufeff]+")


@dataclass(frozen=True)
class Tuning:
    """How it speaks. Slower and livelier than espeak-ng's own default; a woman's voice, softened."""

    voice: str
    rate: int = 158
    pitch: int = 46
    range: int = 62
    gap: int = 1


VOICES = {"pt-BR": Tuning("pt-br+f2"), "en": Tuning("en-us+f2", rate=162)}


class Espeak:
    """Text to speech that needs nothing but its wheel."""

    def __init__(self, voices: dict[str, Tuning] | None = None) -> None:
        self._voices = voices or VOICES
        self._child = FramesChild(
            [str(WORKER), *espeak_paths()], what="espeak-ng", frame_timeout_s=FRAME_TIMEOUT_S
        )

    @property
    def identity(self) -> str:
        return "espeak-ng 2 " + json.dumps({k: astuple(v) for k, v in self._voices.items()})

    @property
    def child(self) -> FramesChild:
        return self._child

    async def start(self) -> None:
        await self._child.start()

    async def close(self) -> None:
        await self._child.close()

    async def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        """See `ports.TextToSpeech`."""
        tuning = self._voices.get(language) or self._voices["pt-BR"]
        ask = {"text": speakable(text), "voice": tuning.voice, "rate": tuning.rate,
               "pitch": tuning.pitch, "range": tuning.range, "gap": tuning.gap}  # fmt: skip
        softener = Softener()
        async with aclosing(self._child.ask(json.dumps(ask).encode())) as pieces:
            async for piece in pieces:
                soft = softener.feed(np.frombuffer(piece[: len(piece) // 2 * 2], "<i2"))
                yield Sound(self._child.rate_hz, soft.astype("<i2").tobytes())


class Softener:
    """Takes the edge off formant synthesis: a gentle low-pass above 5 kHz, streamed."""

    def __init__(self) -> None:
        self._tail = np.zeros(len(_SOFT) - 1, np.float32)

    def feed(self, pcm: Pcm) -> Pcm:
        whole = np.concatenate([self._tail, pcm.astype(np.float32)])
        self._tail = whole[-(len(_SOFT) - 1) :]
        made = np.convolve(whole, _SOFT, mode="valid")
        return np.clip(np.rint(made), -32_768, 32_767).astype(np.int16)


def espeak_paths() -> tuple[str, str]:
    """Library and data folder of the wheel. Raises Misconfigured saying how to get it."""
    if find_spec("espeakng_loader") is None:
        raise Misconfigured(
            "espeak-ng is not installed.",
            code="extra.missing",
            hint="Install it: pip install 'beira[voice]'.",
        )
    import espeakng_loader  # type: ignore[import-untyped, unused-ignore]

    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def speakable(text: str) -> str:
    """Text without control characters. Raises Invalid if nothing is left, TooLarge."""
    clean = _CONTROL.sub(" ", text).strip()
    if not clean:
        raise Invalid("There is nothing to say.", code="tts.empty", hint="Give some text.")
    if len(clean) > SPEAK_CHARS:
        raise TooLarge(
            f"An answer has {SPEAK_CHARS} characters at most.",
            code="tts.too_long",
            hint="Say it in parts.",
        )
    return clean


def _low_pass(taps: int, cut: float, keep: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    offset = np.arange(taps) - taps // 2
    low = np.sinc(offset * 2 * cut) * np.hamming(taps)
    low /= low.sum()
    through = np.zeros(taps)
    through[taps // 2] = 1.0
    return np.asarray(low * (1 - keep) + through * keep, np.float32)


_SOFT = _low_pass(31, 5_000 / 22_050, 0.3)

"""Speech to text by faster-whisper: open speech in many languages, for machines that can bear it.

Its log-probabilities are not calibrated for our sentences, so it claims no confidence.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from beira.apps.voice.engines.ports import HEARD_HZ, NOTHING_YET, Pcm, Progress, Recognised
from beira.apps.voice.engines.sound import UTTERANCE_S
from beira.sdk import Misconfigured, TooLarge, Unavailable

DECODE_TIMEOUT_S = 60.0
NO_SPEECH = 0.6


class Whisper:
    """A CTranslate2 model folder, loaded at the first utterance and kept."""

    def __init__(self, folder: str, *, threads: int = 2, hints: str = "") -> None:
        self._folder = checked_model(folder)
        self._threads, self._hints = threads, hints
        self._model: Any = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="whisper")

    @property
    def name(self) -> str:
        return f"faster-whisper {self._folder.name}"

    async def listen(self, language: str, *, asked: bool = True) -> WhisperListening:
        return WhisperListening(self, language)

    async def transcribe(self, pcm: Pcm, language: str) -> Recognised:
        """Words of a recording. Raises Unavailable after DECODE_TIMEOUT_S, or as the model fails."""
        job = asyncio.get_running_loop().run_in_executor(
            self._worker, self._transcribe, pcm, language
        )
        try:
            return await asyncio.wait_for(job, DECODE_TIMEOUT_S)
        except TimeoutError:
            raise Unavailable(
                f"faster-whisper took over {DECODE_TIMEOUT_S:.0f} s.",
                code="stt.late",
                hint="Choose a smaller model, or the built-in recogniser.",
            ) from None
        except Exception as error:  # a model that is damaged may raise anything
            raise Unavailable(
                f"faster-whisper failed: {error}",
                code="stt.failed",
                hint="Is the model folder whole? `beira node doctor` tries it.",
            ) from error

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _transcribe(self, pcm: Pcm, language: str) -> Recognised:
        if self._model is None:
            from faster_whisper import WhisperModel  # type: ignore[import, unused-ignore]

            self._model = WhisperModel(
                str(self._folder),
                device="cpu",
                compute_type="default",
                cpu_threads=self._threads,
                local_files_only=True,
            )
        segments, _info = self._model.transcribe(
            pcm.astype(np.float32) / 32_768,
            language=language.split("-")[0],
            beam_size=1,
            without_timestamps=True,
            condition_on_previous_text=False,
            initial_prompt=self._hints or None,
        )
        kept = [s for s in segments if s.no_speech_prob < NO_SPEECH]
        text = " ".join(segment.text.strip() for segment in kept).strip()
        return Recognised(text)


class WhisperListening:
    """One utterance, kept until it ends: whisper hears whole sentences."""

    def __init__(self, whisper: Whisper, language: str) -> None:
        self._whisper, self._language = whisper, language
        self._blocks: list[Pcm] = []
        self._count = 0

    async def feed(self, pcm: Pcm) -> Progress:
        self._count += len(pcm)
        if self._count > UTTERANCE_S * HEARD_HZ:
            raise TooLarge(f"A sentence lasts {UTTERANCE_S} s at most.", code="audio.too_long")
        self._blocks.append(pcm)
        return NOTHING_YET

    async def finish(self) -> Recognised:
        blocks, self._blocks = self._blocks, []
        if not blocks:
            return Recognised("")
        return await self._whisper.transcribe(np.concatenate(blocks), self._language)

    async def close(self) -> None:
        self._blocks = []


def checked_model(folder: str) -> Path:
    """The folder, if faster-whisper is installed and a model lies there. Raises Misconfigured."""
    if find_spec("faster_whisper") is None:
        raise Misconfigured(
            "faster-whisper is not installed.",
            code="extra.missing",
            hint="Install it: pip install 'beira[whisper]'.",
        )
    path = Path(folder).expanduser()
    missing = [
        n for n in ("model.bin", "config.json", "tokenizer.json") if not (path / n).is_file()
    ]
    if missing:
        raise Misconfigured(
            f"There is no faster-whisper model in {path}: {missing[0]} is missing.",
            code="stt.model_missing",
            hint="Put a CTranslate2 whisper model there (model.bin, config.json, tokenizer.json).",
        )
    return path

"""Text to speech by Piper's neural voices, in a child process of its own (Piper is GPL-3)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path

from beira.apps.voice.engines.child import FramesChild
from beira.apps.voice.engines.espeak import speakable
from beira.apps.voice.engines.ports import Sound
from beira.sdk import Misconfigured

FRAME_TIMEOUT_S = 15.0
WORKER = Path(__file__).with_name("piper_worker.py")


class Piper:
    """A voice file `NAME.onnx` with its `NAME.onnx.json` beside it."""

    def __init__(self, model: str) -> None:
        self._model = checked_voice(model)
        self._child = FramesChild(
            [str(WORKER), str(self._model)], what="piper", frame_timeout_s=FRAME_TIMEOUT_S
        )

    @property
    def identity(self) -> str:
        stat = self._model.stat()
        return f"piper {self._model} {stat.st_size} {stat.st_mtime_ns}"

    async def start(self) -> None:
        await self._child.start()

    async def close(self) -> None:
        await self._child.close()

    async def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        """See `ports.TextToSpeech`; the voice's own language is spoken, whatever `language` says."""
        ask = json.dumps({"text": speakable(text)}).encode()
        async with aclosing(self._child.ask(ask)) as pieces:
            async for piece in pieces:
                yield Sound(self._child.rate_hz, piece)


def checked_voice(model: str) -> Path:
    """The voice's path, if Piper is installed and the files are there. Raises Misconfigured."""
    if find_spec("piper") is None:
        raise Misconfigured(
            "Piper is not installed.",
            code="extra.missing",
            hint="Install it: pip install 'beira[piper]'.",
        )
    path = Path(model).expanduser()
    missing = [p for p in (path, Path(f"{path}.json")) if not p.is_file()]
    if missing:
        raise Misconfigured(
            f"There is no Piper voice at {missing[0]}.",
            code="tts.model_missing",
            hint="Put the voice's .onnx and .onnx.json there.",
        )
    return path

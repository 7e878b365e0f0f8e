"""A client of the child process that holds espeak-ng; restarts it when it crashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.augment import resample

CHILD = Path(__file__).parent.parent / "src/beira/apps/voice/recogniser/espeak_child.py"


class Synth:
    """Speaks by espeak-ng; not thread-safe."""

    def __init__(self, data: Path | None = None) -> None:
        self._data = data
        self._child: subprocess.Popen[bytes] | None = None

    def say(
        self,
        text: str,
        voice: str = "pt-br",
        rate: int = 165,
        pitch: int = 50,
        pitch_range: int = 50,
    ) -> tuple[npt.NDArray[np.float32], str] | None:
        """16 kHz floats and the IPA that was spoken, or None where espeak-ng failed."""
        ask = {"text": text, "voice": voice, "rate": rate, "pitch": pitch, "range": pitch_range}
        try:
            reply, pcm = self._ask({**ask, "audio": True})
        except (OSError, ValueError):
            self.close()
            return None
        if "error" in reply or not pcm:
            return None
        return resample(np.frombuffer(pcm, np.int16), reply["rate_hz"]), reply["ipa"]

    def _ask(self, ask: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        if self._child is None:
            command = [sys.executable, str(CHILD), *([str(self._data)] if self._data else [])]
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(json.dumps(ask).encode() + b"\n")
        self._child.stdin.flush()
        reply = json.loads(self._child.stdout.readline())
        return reply, self._child.stdout.read(reply["bytes"])

    def close(self) -> None:
        """Stop the child."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

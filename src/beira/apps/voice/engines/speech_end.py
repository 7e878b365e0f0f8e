"""The end of speech by silence, for engines that do not tell it themselves."""

from __future__ import annotations

import numpy as np
import webrtcvad  # type: ignore[import-untyped, unused-ignore]

from beira.apps.voice.engines.ports import HEARD_HZ, Pcm

FRAME = HEARD_HZ // 50
FRAME_MS = 20.0
SPEECH_LEAST_MS = 200.0
SILENCE_MS = 550.0
NO_SPEECH_MS = 5_000.0
CAP_MS = 12_000.0


class SilenceEnd:
    """Speech is over after SILENCE_MS without voice, or at CAP_MS; see `ports.SpeechEnd`."""

    def __init__(self, *, aggressiveness: int = 2, silence_ms: float = SILENCE_MS) -> None:
        self._vad = webrtcvad.Vad(aggressiveness)
        self._silence_ms = silence_ms
        self._rest = np.zeros(0, np.int16)
        self._heard_ms = self._speech_ms = self._quiet_ms = 0.0

    @property
    def heard_speech(self) -> bool:
        return self._speech_ms > SPEECH_LEAST_MS

    @property
    def speaking(self) -> bool:
        """Whether the last frame was voiced."""
        return self._speech_ms > 0 and self._quiet_ms == 0

    def feed(self, pcm: Pcm) -> str:
        joined = np.concatenate([self._rest, pcm])
        whole = len(joined) // FRAME * FRAME
        self._rest = joined[whole:]
        for frame in joined[:whole].reshape(-1, FRAME):
            voiced = self._vad.is_speech(frame.tobytes(), HEARD_HZ)
            self._heard_ms += FRAME_MS
            self._speech_ms += FRAME_MS if voiced else 0.0
            self._quiet_ms = 0.0 if voiced else self._quiet_ms + FRAME_MS
        return self._verdict()

    def _verdict(self) -> str:
        if self.heard_speech and self._quiet_ms >= self._silence_ms:
            return "silence"
        if self._heard_ms >= CAP_MS:
            return "cap"
        return "no_speech" if not self.heard_speech and self._heard_ms >= NO_SPEECH_MS else ""

"""When has the person finished speaking? Two judges side by side, and a cap.

One hears silence (WebRTC's voice activity detector), which never comes where others talk. The other
watches the hypothesis: complete, best, and unchanged for a while; sooner where the grammar allows
nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import webrtcvad  # type: ignore[import-untyped, unused-ignore]

from beira.apps.voice.recogniser.features import SAMPLE_RATE_HZ

FRAME_S = 0.02
_FRAME = int(SAMPLE_RATE_HZ * FRAME_S)


@dataclass(frozen=True)
class EndpointSettings:
    """Waits in seconds."""

    silence_s: float = 0.55
    nothing_more_s: float = 0.30
    may_go_on_s: float = 0.60
    no_speech_s: float = 5.0
    cap_s: float = 12.0
    aggressiveness: int = 2


class Endpointer:
    """Fed with audio and with hypotheses; `reason` says why speech is over, or is empty."""

    def __init__(self, settings: EndpointSettings | None = None) -> None:
        self.settings = settings or EndpointSettings()
        self._vad = webrtcvad.Vad(self.settings.aggressiveness)
        self._rest = np.zeros(0, np.int16)
        self.heard_s = 0.0
        self.speech_s = 0.0
        self._silence_s = 0.0
        self._words: tuple[int, ...] = ()
        self._since_s = 0.0
        self.reason = ""

    def audio(self, pcm: npt.NDArray[np.int16]) -> str:
        """Take audio at 16 kHz; give the reason why speech is over, or ''."""
        joined = np.concatenate([self._rest, pcm])
        whole = len(joined) // _FRAME * _FRAME
        for frame in joined[:whole].reshape(-1, _FRAME):
            self._frame(self._vad.is_speech(frame.tobytes(), SAMPLE_RATE_HZ))
        self._rest = joined[whole:]
        return self.reason

    def _frame(self, speech: bool) -> None:
        self.heard_s += FRAME_S
        if speech:
            self.speech_s += FRAME_S
            self._silence_s = 0.0
        else:
            self._silence_s += FRAME_S
        if self.speech_s > 0.2 and self._silence_s >= self.settings.silence_s:
            self._over("silence")
        elif self.heard_s >= self.settings.cap_s:
            self._over("cap")
        elif self.speech_s <= 0.2 and self.heard_s >= self.settings.no_speech_s:
            self._over("no_speech")

    def hypothesis(self, words: tuple[int, ...], *, complete: bool, can_go_on: bool) -> str:
        """Take the best complete sentence so far; give the reason why speech is over, or ''."""
        if not complete or words != self._words:
            self._words, self._since_s = (words if complete else ()), self.heard_s
        elif words:
            wait = self.settings.may_go_on_s if can_go_on else self.settings.nothing_more_s
            if self.heard_s - self._since_s >= wait:
                self._over("sentence")
        return self.reason

    def _over(self, reason: str) -> None:
        self.reason = self.reason or reason

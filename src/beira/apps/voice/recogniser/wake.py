"""Hearing "Aurora" in what a microphone hears all day. Opt-in: push to talk is the default.

First stage: how well the last second is explained by the word, against the best phones whatsoever.
Second stage: the sentence that follows must begin with the word and be clearly recognised
(`confirmed`); alone, the first stage would wake for too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.acoustic import STEP_S, AcousticModel, AcousticStream
from beira.apps.voice.recogniser.decoder import BLANK_PENALTY
from beira.apps.voice.recogniser.features import SAMPLE_RATE_HZ, Floats, to_float
from beira.apps.voice.recogniser.phones import BLANK, PHONES
from beira.apps.voice.recogniser.recogniser import Recognition

WORD = "aurora"
PREROLL_S = 1.5
_POLL = int(0.12 * SAMPLE_RATE_HZ)
_REFRACTORY_STEPS = 30
_LONGEST_STEPS = 40


@dataclass(frozen=True)
class Wake:
    """The word was heard: when its end was, and its score (0 at best)."""

    at_s: float
    score: float


class WakeWord:
    """Fed with audio without end; says when the word was heard. One thread at a time."""

    def __init__(self, model: AcousticModel, threshold: float = -4.0) -> None:
        """`threshold`: the least log likelihood ratio; nearer to 0 wakes less often."""
        self._phones = np.array([PHONES.index(p) for p in model.meta["lexicon"][WORD].split()])
        self._stream = AcousticStream(model)
        self._threshold = threshold
        self._scores = np.full(len(self._phones), -1e30)
        self._began = np.zeros(len(self._phones), np.int64)
        self._step = 0
        self._quiet_until = 0
        self._waiting: list[npt.NDArray[np.int16]] = []
        self._held = 0

    def feed(self, pcm: npt.NDArray[np.int16]) -> Wake | None:
        """Take samples at 16 kHz; give the best wake found in them, if any."""
        self._waiting.append(pcm)
        self._held += len(pcm)
        if self._held < _POLL:
            return None
        final, _ = self._stream.push(to_float(np.concatenate(self._waiting)))
        self._waiting, self._held = [], 0
        found: Wake | None = None
        for frame in final:
            wake = self._push(frame)
            if wake is not None and (found is None or wake.score > found.score):
                found = wake
        return found

    def _push(self, logp: Floats) -> Wake | None:
        logp = logp.copy()
        logp[BLANK] -= BLANK_PENALTY
        free = float(logp.max())
        emitted = logp[self._phones] - free
        stay = self._scores + np.maximum(emitted, logp[BLANK] - free)
        enter = np.append(0.0, self._scores[:-1]) + emitted
        began = np.append(self._step, self._began[:-1])
        entered = enter > stay
        self._scores = np.where(entered, enter, stay)
        self._began = np.where(entered, began, self._began)
        self._step += 1
        score, length = float(self._scores[-1]), self._step - int(self._began[-1])
        if score < self._threshold or length > _LONGEST_STEPS or self._step < self._quiet_until:
            return None
        self._quiet_until = self._step + _REFRACTORY_STEPS
        return Wake(self._step * STEP_S, score)


def confirmed(heard: Recognition, least: float) -> bool:
    """Second stage: a command that begins by calling Aurora, at least this confident."""
    return WORD in heard.words[:2] and len(heard.words) > 1 and heard.confidence >= least

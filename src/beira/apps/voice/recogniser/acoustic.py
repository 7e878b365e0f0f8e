"""The acoustic model, run in stretches as audio arrives.

The model sees REACH steps to either side. A stretch is computed with that much before it, so what is
final equals what the whole recording would give; what is near the end is computed as if speech ended
there, and again when more has come.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beira.apps.voice.recogniser.features import (
    BANDS,
    HOP,
    SILENCE_VALUE,
    Floats,
    Normaliser,
    features_of,
    mel_energy,
    mel_matrix,
)
from beira.apps.voice.recogniser.network import Network
from beira.apps.voice.recogniser.phones import PHONES
from beira.sdk import Corrupt, Misconfigured

STRIDE = 3
STEP_S = 0.03
REACH = 15
_PAD = 15


@dataclass(frozen=True)
class Adaptation:
    """What a speaker's ten phrases taught: a warp of the bands, and the last layer anew.

    weight (hidden, phones), bias (phones); None where the model's own is best.
    """

    warp: float = 1.0
    weight: Floats | None = None
    bias: Floats | None = None


class AcousticModel:
    """The network and what came with it (`meta`: lexicon, calibration, figures)."""

    def __init__(self, folder: Path) -> None:
        self.meta, content = _read(folder)
        self._network = Network(content)

    @property
    def head(self) -> tuple[Floats, Floats]:
        """The last layer: weight (hidden, phones) and bias (phones)."""
        stored = self.meta["head"]
        return np.asarray(stored["weight"], np.float32), np.asarray(stored["bias"], np.float32)

    def run(self, features: Floats) -> tuple[Floats, Floats]:
        """Features (frames, BANDS) to hidden (steps, width) and logits (steps, phones)."""
        found = self._network.run(features)
        return found["hidden"], found["logits"]


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What is said of the model, and the model, once both are known to belong together."""
    try:
        meta: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        content = (folder / "acoustic.onnx").read_bytes()
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"No speech model can be read in {folder}", code="voice.no_model",
            hint="Install the voice app again; its wheel carries the model.",
        ) from error  # fmt: skip
    digest = hashlib.sha256(content).hexdigest()
    if digest != meta.get("sha256") or tuple(meta.get("phones", ())) != PHONES:
        raise Corrupt(f"The speech model in {folder} is not the one described beside it",
                      code="voice.bad_model", hint="Install the voice app again.")  # fmt: skip
    return meta, content


def log_softmax(logits: Floats) -> Floats:
    """Log probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)


class AcousticStream:
    """Audio in, log phone probabilities out, each 30 ms step given once as final."""

    def __init__(self, model: AcousticModel, adaptation: Adaptation | None = None) -> None:
        self._model = model
        self._adaptation = adaptation or Adaptation()
        self._mel = None if self._adaptation.warp == 1.0 else mel_matrix(self._adaptation.warp)
        self._normaliser = Normaliser()
        self._samples: Floats = np.zeros(0, np.float32)
        self._features: Floats = np.zeros((0, BANDS), np.float32)
        self._from = 0  # step at which self._features starts
        self._given = 0  # steps given as final

    def push(self, samples: Floats) -> tuple[Floats, Floats]:
        """Take samples; give (steps now final, steps as they would be if speech ended here)."""
        self._samples = np.concatenate([self._samples, samples])
        energy = mel_energy(self._samples, self._mel)
        self._samples = self._samples[len(energy) * HOP :]
        self._features = np.concatenate([self._features, self._normaliser.push(energy)])
        pad = np.full((_PAD, BANDS), SILENCE_VALUE, np.float32)
        tail = self._normaliser.tail()
        steps = self._logp(np.concatenate([self._features, tail, pad]))
        known = self._from + len(self._features) // STRIDE  # features are final up to here
        final = max(self._given, known - REACH - 1)
        total = self._from + (len(self._features) + len(tail)) // STRIDE
        new = steps[self._given - self._from : final - self._from]
        rest = steps[final - self._from : total - self._from]
        self._given = final
        self._forget()
        return new, rest

    def _logp(self, features: Floats) -> Floats:
        hidden, logits = self._model.run(features)
        if self._adaptation.weight is not None and self._adaptation.bias is not None:
            logits = hidden @ self._adaptation.weight + self._adaptation.bias
        return log_softmax(logits)

    def _forget(self) -> None:
        """Drop features too old for any step still to come."""
        first = max(0, self._given - REACH - 1)
        self._features = self._features[(first - self._from) * STRIDE :]
        self._from = first


def hidden(model: AcousticModel, samples: Floats, warp: float) -> Floats:
    """What the last layer sees (steps, hidden) of a whole recording."""
    features = features_of(samples, None if warp == 1.0 else mel_matrix(warp))
    pad = np.full((_PAD, BANDS), SILENCE_VALUE, np.float32)
    return model.run(np.concatenate([features, pad]))[0][: len(features) // STRIDE]


def whole(model: AcousticModel, samples: Floats, adaptation: Adaptation | None = None) -> Floats:
    """Log probabilities (steps, phones) of a whole recording."""
    new, rest = AcousticStream(model, adaptation).push(samples)
    return np.concatenate([new, rest])

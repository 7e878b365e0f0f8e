"""Learn a person's voice from ten phrases they read, on the node, in seconds and without torch.

Two things are fitted: the length of the throat, as a warp of the mel bands (the one under which the
model best explains what was read), and the model's last layer, by gradient descent on the CTC loss,
held close to where it was so that ten phrases cannot undo what hours taught.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.acoustic import AcousticModel, Adaptation, log_softmax, whole
from beira.apps.voice.recogniser.acoustic import hidden as hidden_of
from beira.apps.voice.recogniser.features import Floats, to_float
from beira.apps.voice.recogniser.phones import BLANK
from beira.sdk import Corrupt, Invalid, PrivateFiles

WARPS = (0.86, 0.9, 0.94, 0.97, 1.0, 1.03, 1.06, 1.1, 1.15)
LEAST_PHRASES = 3
MOST_PHRASES = 40
STEPS = 40
RATE = 2e-3
HOLD = 2e-3

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Phrase:
    """One phrase as read: samples (int16 at 16 kHz) and the phones of its text."""

    pcm: npt.NDArray[np.int16]
    phones: tuple[int, ...]


def adapt(model: AcousticModel, phrases: Sequence[Phrase]) -> Adaptation:
    """What these phrases teach about their reader. Raises `Invalid` for too few, or too unlike."""
    if not LEAST_PHRASES <= len(phrases) <= MOST_PHRASES:
        raise Invalid(
            f"{len(phrases)} phrases cannot teach a voice", code="voice.enrol_phrases",
            hint=f"Read {LEAST_PHRASES} to {MOST_PHRASES} of them; ten are best.",
        )  # fmt: skip
    floats = [to_float(phrase.pcm) for phrase in phrases]
    warp = min(WARPS, key=lambda w: _loss(model, floats, phrases, w) + abs(w - 1.0))
    taught = [hidden_of(model, one, warp) for one in floats]
    weight, bias = (np.asarray(part, np.float64) for part in model.head)
    kept = [i for i, p in enumerate(phrases) if len(taught[i]) > len(p.phones)]
    if len(kept) < LEAST_PHRASES:
        raise Invalid("The phrases are too short for what they should say",
                      code="voice.enrol_phrases", hint="Read each phrase whole.")  # fmt: skip
    pairs = [(taught[i].astype(np.float64), phrases[i].phones) for i in kept]
    weight, bias = _descend(pairs, weight, bias)
    return Adaptation(warp, weight.astype(np.float32), bias.astype(np.float32))


def _loss(
    model: AcousticModel, floats: list[Floats], phrases: Sequence[Phrase], warp: float
) -> float:
    """Mean CTC loss a phone under this warp."""
    total = count = 0.0
    for samples, phrase in zip(floats, phrases, strict=True):
        logp = whole(model, samples, Adaptation(warp)).astype(np.float64)
        total -= ctc(logp, phrase.phones)[0]
        count += len(phrase.phones)
    return total / max(1.0, count)


def _descend(
    pairs: list[tuple[Doubles, tuple[int, ...]]], weight: Doubles, bias: Doubles
) -> tuple[Doubles, Doubles]:
    """Adam on the last layer, pulled back towards where it began."""
    first = np.vstack([weight, bias])
    now, mean, square = first.copy(), np.zeros_like(first), np.zeros_like(first)
    for step in range(1, STEPS + 1):
        slope = HOLD * (now - first)
        for hidden, phones in pairs:
            with_one = np.column_stack([hidden, np.ones(len(hidden))])
            logp = log_softmax((with_one @ now).astype(np.float32)).astype(np.float64)
            _, wanted = ctc(logp, phones)
            slope += with_one.T @ (np.exp(logp) - wanted) / (len(phones) * len(pairs))
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope**2
        now -= RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-6)
    return now[:-1], now[-1]


def ctc(logp: Doubles, phones: Sequence[int]) -> tuple[float, Doubles]:
    """Log likelihood of `phones` under logp (steps, phones), and the wanted share of each per step."""
    labels = np.full(2 * len(phones) + 1, BLANK)
    labels[1::2] = phones
    skip = np.zeros(len(labels), bool)
    skip[2:] = (labels[2:] != BLANK) & (labels[2:] != labels[:-2])
    emitted = logp[:, labels]
    forward = _sweep(emitted, skip)
    backward = _sweep(emitted[::-1, ::-1], _mirrored(skip, labels))[::-1, ::-1]
    total = float(np.logaddexp(forward[-1, -1], forward[-1, -2]))
    gamma = np.exp(forward + backward - emitted - total)
    wanted = np.zeros_like(logp)
    np.add.at(wanted.T, labels, gamma.T)
    return total, wanted


def _mirrored(skip: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    mirrored = labels[::-1]
    found = np.zeros_like(skip)
    found[2:] = (mirrored[2:] != BLANK) & (mirrored[2:] != mirrored[:-2])
    return found


def _sweep(emitted: Doubles, skip: npt.NDArray[np.bool_]) -> Doubles:
    """Forward log scores of a CTC lattice."""
    scores = np.full(emitted.shape, -np.inf)
    scores[0, :2] = emitted[0, :2]
    for t in range(1, len(emitted)):
        before = scores[t - 1]
        step = np.logaddexp(before[1:], before[:-1])
        scores[t, 0] = before[0]
        scores[t, 1:] = step
        jump = np.where(skip[2:], before[:-2], -np.inf)
        scores[t, 2:] = np.logaddexp(scores[t, 2:], jump)
        scores[t] += emitted[t]
    return scores


def save(adaptation: Adaptation, path: Path, files: PrivateFiles | None = None) -> None:
    """Write to a small .npz file, whole or not at all."""
    made = io.BytesIO()
    np.savez(made, warp=adaptation.warp, weight=adaptation.weight, bias=adaptation.bias)  # type: ignore[arg-type]
    (files or PrivateFiles()).write(path, made.getvalue())


def load(path: Path, model: AcousticModel, files: PrivateFiles | None = None) -> Adaptation:
    """Read what `save` wrote. Raises `Corrupt` where it is not for this model."""
    try:
        content = io.BytesIO((files or PrivateFiles()).read(path))
        with np.load(content, allow_pickle=False) as stored:
            found = Adaptation(float(stored["warp"]), stored["weight"], stored["bias"])
    except (OSError, ValueError, KeyError) as error:
        raise Corrupt(f"{path} is no voice enrolment", code="voice.bad_enrolment",
                      hint="Delete it and read the ten phrases again.") from error  # fmt: skip
    if found.weight is None or found.weight.shape != model.head[0].shape:
        raise Corrupt(f"{path} belongs to another model", code="voice.bad_enrolment",
                      hint="Delete it and read the ten phrases again.")  # fmt: skip
    return found

"""How likely is it that intent and slots are right? Evidence, weighed as held-out data taught.

A logistic regression fitted on speech kept apart from training (`training/calibrate.py`); its
weights travel with the model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the decision rests on; see `of`."""

    margin: float
    mean_ratio: float
    worst_ratio: float
    short: float
    agreement: float
    disagreement: float
    trailing: float
    pace: float
    worst_spot: float
    worst_word: float

    @classmethod
    def of(
        cls, *, margin: float, ratios: list[float], words: list[str], spoken_s: float, second: str,
        trailing: float, phones: int, misfits: tuple[float, float],
    ) -> Evidence:  # fmt: skip
        """Margin over the best sentence that means something else; log likelihood ratios a frame by
        word; the other recogniser's words; how complete the sentence is; phones said in how long;
        and how badly the worst stretch and the worst word fit."""
        shared = overlap(sense(words), sense(second.split()))
        return cls(
            margin=float(np.log1p(max(0.0, min(margin, 60.0)))),
            mean_ratio=float(np.mean(ratios)),
            worst_ratio=float(min(ratios)),
            short=1.0 / max(1.0, phones / 4.0),
            agreement=1.0 if second and shared == 1.0 else 0.0,
            disagreement=1.0 - shared if second else 1.0,
            trailing=max(-20.0, trailing) / 10.0,
            pace=abs(phones / max(0.1, spoken_s) - 13.0) / 10.0,
            worst_spot=misfits[0],
            worst_word=max(-100.0, misfits[1]) / 10.0,
        )


def sense(words: Iterable[str]) -> list[str]:
    """What is left of words that sound or mean the same: "às oito horas" and "as oito" are equal.

    Ways that differ in nothing else are one meaning, not rivals: they say nothing about doubt.
    """
    plain = (unicodedata.normalize("NFD", word) for word in words)
    bare = ["".join(c for c in word if not unicodedata.combining(c)) for word in plain]
    return [word.rstrip("s") for word in bare if word not in _FILLERS]


_FILLERS = frozenset((
    "a", "as", "o", "os", "ao", "aos", "e", "de", "da", "do", "das", "dos", "em", "na", "no",
    "hora", "horas", "minuto", "minutos",
))  # fmt: skip


def overlap(one: list[str], other: list[str]) -> float:
    """Share of words in common, in order: 1 for the same words, 0 for none."""
    if not one or not other:
        return 0.0
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, rival in enumerate(other, 1):
            before, row[at] = row[at], max(row[at], row[at - 1], before + (word == rival))
    return 2 * row[-1] / (len(one) + len(other))


@dataclass(frozen=True)
class Calibration:
    """Weights of the evidence, and how fast a rival's probability falls with its score.

    From `act` on, at most one in 400 was wrong on held-out data; below `ask` lies outside speech.
    """

    weights: tuple[float, ...] = (1.2, 2.0, 1.0, -1.0, 1.5, -1.0, 0.5, -0.5, 1.0, 0.1)
    bias: float = 1.0
    sharpness: float = 0.5
    act: float = 0.95
    ask: float = 0.5

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> Calibration:
        """From the model's description; the defaults where it has none for this evidence."""
        if not stored or len(stored["weights"]) != len(fields(Evidence)):
            return cls()
        return cls(**{**stored, "weights": tuple(stored["weights"])})

    def confidence(self, evidence: Evidence) -> float:
        """Probability in (0, 1)."""
        total = self.bias + float(np.dot(self.weights, astuple(evidence)))
        return float(1.0 / (1.0 + np.exp(-np.clip(total, -30, 30))))

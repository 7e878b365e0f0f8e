"""How likely is it that intent and slots are right? Evidence, weighed as held-out data taught.

A logistic regression fitted on speech kept apart from training (`training/calibrate.py`), and, where a
second recogniser was asked, what its opinion was worth there. The weights travel with the model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

AGREES, DIFFERS = "agrees", "differs"
LESS = 0.01  # how far below `act` at least what a second opinion disputes


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the decision rests on; see `of`."""

    margin: float
    mean_ratio: float
    worst_ratio: float
    short: float
    trailing: float
    pace: float
    worst_spot: float
    worst_word: float

    @classmethod
    def of(
        cls, *, margin: float, ratios: list[float], spoken_s: float, trailing: float, phones: int,
        misfits: tuple[float, float],
    ) -> Evidence:  # fmt: skip
        """Margin over the best sentence that means something else; log likelihood ratios a frame by
        word; how complete the sentence is; phones said in how long; and how badly the worst stretch
        and the worst word fit."""
        return cls(
            margin=float(np.log1p(max(0.0, min(margin, 60.0)))),
            mean_ratio=float(np.mean(ratios)),
            worst_ratio=float(min(ratios)),
            short=1.0 / max(1.0, phones / 4.0),
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
class SecondWeights:
    """What a second opinion is worth, in log odds, and up to which confidence it is asked for.

    It is the calibration with an opinion: the first one's odds, times how much likelier agreement
    (or disagreement) was of what was right than of what was wrong.
    """

    agrees: float = 0.0
    differs: float = 0.0
    most: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Weights of the evidence, and how fast a rival's probability falls with its score.

    From `act` on, at most one in 400 was wrong on held-out data; below `ask` lies outside speech.
    """

    weights: tuple[float, ...] = (1.2, 2.0, 1.0, -1.0, 0.5, -0.5, 1.0, 0.1)
    bias: float = 1.0
    sharpness: float = 0.5
    act: float = 0.95
    ask: float = 0.5
    second: SecondWeights = SecondWeights()

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> Calibration:
        """From the model's description; the defaults where it has none for this evidence."""
        if not stored or len(stored["weights"]) != len(fields(Evidence)):
            return cls()
        second = SecondWeights(**stored.get("second", {}))
        return cls(**{**stored, "weights": tuple(stored["weights"]), "second": second})

    def confidence(self, evidence: Evidence) -> float:
        """Probability in (0, 1)."""
        return _probability(self.bias + float(np.dot(self.weights, astuple(evidence))))

    def uncertain(self, confidence: float) -> bool:
        """Whether a second opinion could matter: neither unheard nor as good as certain."""
        return self.ask <= confidence < self.second.most

    def judged(self, confidence: float, opinion: str) -> float:
        """The confidence once a second recogniser AGREES, DIFFERS, or has no opinion.

        Agreement never lowers it. Disagreement never raises it and never lets money or hours be
        written unasked, nor makes unheard what was heard: it asks back.
        """
        odds = float(np.log(confidence / (1.0 - confidence)))
        if opinion == AGREES:
            return max(confidence, _probability(odds + self.second.agrees))
        if opinion == DIFFERS:
            lower = _probability(odds + self.second.differs)
            return min(confidence, max(self.ask, min(lower, self.act - LESS)))
        return confidence


def _probability(odds: float) -> float:
    """Of log odds."""
    return float(1.0 / (1.0 + np.exp(-np.clip(odds, -30, 30))))

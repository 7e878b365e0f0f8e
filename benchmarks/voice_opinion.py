"""What the second opinion changes, counted on the same recordings with it and without."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from beira.apps.voice.recogniser import Recognition
from beira.apps.voice.recogniser.confidence import Calibration


def fate(confidence: float, by: Calibration) -> str:
    """What would be done with money or hours heard so surely."""
    if confidence >= by.act:
        return "acted"
    return "asked_back" if confidence >= by.ask else "refused"


@dataclass
class Opinions:
    """Tallies: `asked` whether it could be had or not; `without` and `with_it` by what is done."""

    total: int = 0
    asked: int = 0
    had: int = 0
    changed: int = 0
    without: Counter[str] = field(default_factory=Counter)
    with_it: Counter[str] = field(default_factory=Counter)

    def add(self, heard: Recognition, by: Calibration, *, right: bool) -> None:
        """Count one recording."""
        self.total += 1
        alone = 0.0 if heard.evidence is None else by.confidence(heard.evidence)
        for tally, confidence in ((self.without, alone), (self.with_it, heard.confidence)):
            what = fate(confidence, by)
            tally.update({"acted": what == "acted", "asked_back": what == "asked_back",
                          "acted_wrong": what == "acted" and not right})  # fmt: skip
        self.asked += heard.evidence is not None and by.uncertain(alone)
        self.had += bool(heard.second)
        self.changed += fate(alone, by) != fate(heard.confidence, by)

"""Waiting before one tries again what failed, each for itself and longer each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from beira.kernel import limits

AGAIN_S = 60.0
TRIES_AT_ONCE = limits.BLOB_TRIES_AT_ONCE


class PutOff:
    """Names that failed for reasons of their own, each until its time comes."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._until: dict[str, tuple[int, float]] = {}
        self._lasting: set[str] = set()

    def add(self, name: str, *, at_once: int = TRIES_AT_ONCE, lasting: bool = False) -> None:
        """It failed: a few times it may try again at once, then after twice as long each time. A
        `lasting` failure is of the whole, and costs as much to try again: it is done once at once,
        then ever more seldom, and that chunks of it come through does not end it."""
        if lasting:
            self._lasting.add(name)
            at_once = min(at_once, 1)
        failures = self._until.get(name, (0, 0.0))[0]
        most_s = limits.BLOB_LASTING_MOST_S if name in self._lasting else limits.BLOB_AGAIN_MOST_S
        doubled = AGAIN_S * 2.0 ** min(max(0, failures - at_once), 16)
        wait_s = 0.0 if failures < at_once else min(most_s, doubled)
        self._until[name] = failures + 1, self._steady_s() + wait_s

    def progressed(self, name: str) -> None:
        """A chunk came through."""
        if name not in self._lasting:
            self._until.pop(name, None)

    def drop(self, name: str) -> None:
        """All is well, or it is to be tried at once whatever happened."""
        self._until.pop(name, None)
        self._lasting.discard(name)

    def is_free(self, name: str) -> bool:
        """Whether its time has come."""
        return self._until.get(name, (0, 0.0))[1] <= self._steady_s()

    def free(self, names: Iterable[str], most: int) -> list[str]:
        """The first of `names` whose time has come."""
        return list(islice((name for name in names if self.is_free(name)), most))

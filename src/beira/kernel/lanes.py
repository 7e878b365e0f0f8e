"""What a node's session knows of each lane of its log, while the session lasts."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from beira.kernel.policy import Backlog, Flight


@dataclass(slots=True)
class Sent:
    """A batch on its way."""

    upto: int
    sent_ms: int
    size_bytes: int
    due_from_ms: int


@dataclass(slots=True)
class LaneState:
    """Numbers of one lane's log: written, read for sending, and acknowledged."""

    written: int = 0
    sent: int = 0
    acked: int = 0
    reading: bool = False
    flying: list[Sent] = field(default_factory=list)
    waiting_since_ms: float = -math.inf

    def grown(self, number: int, steady_ms: int) -> None:
        """The log holds changes up to `number`; those beyond what was sent wait from now on."""
        if self.written <= self.sent < number:
            self.waiting_since_ms = steady_ms
        self.written = max(self.written, number)

    def backlog(self, steady_ms: int) -> Backlog:
        return Backlog(self.written, self.sent, steady_ms - self.waiting_since_ms)


@dataclass(slots=True)
class Delivery:
    """How many batches' oldest changes met their lane's deadline, for the published figure."""

    met: int = 0
    late: int = 0


def flight_of(lanes: Collection[LaneState], *, rested: bool) -> Flight:
    """What of all lanes is on its way, a batch being read included."""
    flying = [sent for state in lanes for sent in state.flying]
    reading = sum(state.reading for state in lanes)
    return Flight(len(flying) + reading, sum(sent.size_bytes for sent in flying), rested)

"""The likeliest sentence of the grammar, found frame by frame and exactly: no beam, nothing pruned.

A state is entered by its phone and held by its phone or by blank, which is CTC with one state a
phone. Runners-up come from the same pass: wherever words join on the best path, the words that
joined there second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.graph import Graph
from beira.apps.voice.recogniser.phones import BLANK

Floats = npt.NDArray[np.float32]
NOTHING = np.float32(-1e30)
BLANK_PENALTY = 1.5
MOST_ALTERNATIVES = 12


@dataclass(frozen=True, slots=True)
class Heard:
    """One word on a path: its arc, and the frames [start, end) it took."""

    arc: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Path:
    """A whole sentence: words, intent and log score (of the path, blanks penalised)."""

    words: tuple[Heard, ...]
    intent: str
    score: float


class Decoder:
    """Pushes frames of log phone probabilities through a graph.

    `push` frames as they become final; `fork` to look at a possible end without disturbing.
    """

    def __init__(self, graph: Graph, blank_penalty: float = BLANK_PENALTY) -> None:
        self._graph = graph
        self._penalty = np.float32(blank_penalty)
        self._scores = np.full(len(graph.emit), NOTHING, np.float32)
        self._nodes = np.full(graph.nodes, NOTHING, np.float32)
        self._nodes[0] = 0.0
        self._entered: list[npt.NDArray[np.uint8]] = []
        self._ends: list[Floats] = []
        self.free: list[float] = []
        self.leading: list[float] = []
        self.frames = 0

    def fork(self) -> Decoder:
        """A copy that can be pushed further by itself."""
        other = object.__new__(Decoder)
        other.__dict__.update(self.__dict__)
        other._entered, other._ends = list(self._entered), list(self._ends)
        other.free, other.leading = list(self.free), list(self.leading)
        return other

    def push(self, logp: Floats) -> None:
        """Take frames (n, phones) of log probabilities."""
        graph = self._graph
        logp = logp.copy()
        logp[:, BLANK] -= self._penalty
        classes = logp[:, graph.members].max(axis=2)
        for frame, values in zip(logp, classes, strict=True):
            self._step(values[graph.emit], frame[BLANK])
            self.free.append(float(frame.max()))
            self.leading.append(float(frame[BLANK]))
        self.frames += len(logp)

    def _step(self, emitted: Floats, blank: np.float32) -> None:
        graph = self._graph
        enter = np.empty_like(self._scores)
        enter[1:] = self._scores[:-1]
        enter[graph.first] = self._nodes[graph.source]
        enter += emitted
        stay = self._scores + np.maximum(emitted, blank)
        entered = enter > stay
        self._scores = np.where(entered, enter, stay)
        ends = self._scores[graph.last[graph.by_target]]
        nodes = np.full(graph.nodes, NOTHING, np.float32)
        nodes[0] = self._nodes[0] + blank
        if len(graph.segments):
            nodes[graph.reached] = np.maximum.reduceat(ends, graph.segments)
        self._nodes = nodes
        self._entered.append(np.packbits(entered))
        self._ends.append(ends)

    def completeness(self) -> float:
        """Best complete sentence's score less the best of any state: 0 when complete is best."""
        ends = [float(self._nodes[node]) for node in self._graph.ends]
        return max(ends, default=float(NOTHING)) - float(self._scores.max(initial=NOTHING))

    def best(self) -> Path | None:
        """The likeliest complete sentence if speech ended here, or None if none could be."""
        ranked = self._finals()
        return self._path(*ranked[0]) if ranked else None

    def _finals(self) -> list[tuple[float, int, str]]:
        found = [
            (float(self._nodes[node]), node, intent)
            for node, intents in self._graph.ends.items()
            for intent in intents
            if self._nodes[node] > NOTHING / 2
        ]
        return sorted(found, key=lambda one: -one[0])

    def _path(self, score: float, node: int, intent: str) -> Path:
        words = self._trace(node, self.frames - 1)
        return Path(tuple(words), intent, score)

    def _trace(self, node: int, frame: int) -> list[Heard]:
        """Words of the best way to be in `node` after `frame`, in order."""
        words: list[Heard] = []
        while node != 0 and frame >= 0:
            arc = self._into(node, frame)[0][1]
            start = self._start(arc, frame)
            words.append(Heard(arc, start, frame + 1))
            node, frame = int(self._graph.source[arc]), start - 1
        return words[::-1]

    def _into(self, node: int, frame: int, most: int = 1) -> list[tuple[float, int]]:
        """The best (score, arc) that end in `node` at `frame`."""
        graph = self._graph
        run = int(np.searchsorted(graph.reached, node))
        if run >= len(graph.reached) or graph.reached[run] != node:
            return []
        low = graph.segments[run]
        high = graph.segments[run + 1] if run + 1 < len(graph.segments) else len(graph.by_target)
        scores = self._ends[frame][low:high]
        order = [int(np.argmax(scores))] if most == 1 else np.argsort(-scores)[:most]
        return [(float(scores[i]), int(graph.by_target[low + i])) for i in order]

    def _start(self, arc: int, frame: int) -> int:
        """The frame at which the arc that ends at `frame` was entered."""
        state, first = int(self._graph.last[arc]), int(self._graph.first[arc])
        while True:
            entered = self._entered[frame][state >> 3] >> (7 - (state & 7)) & 1
            if entered:
                if state == first:
                    return frame
                state -= 1
            frame -= 1

    def alternatives(self) -> list[Path]:
        """The best sentence and its runners-up, best first; empty if none is complete."""
        finals = self._finals()
        if not finals:
            return []
        best = self._path(*finals[0])
        found = [best, *(self._path(*one) for one in finals[1:4])]
        reach = [0, *(int(self._graph.target[w.arc]) for w in best.words)]
        for at, (node, word) in enumerate(zip(reach[1:], best.words, strict=True)):
            ways = self._into(node, word.end - 1, most=4)
            for score, arc in ways[1:]:
                if score < NOTHING / 2:
                    continue
                start = self._start(arc, word.end - 1)
                before = self._trace(int(self._graph.source[arc]), start - 1)
                words = (*before, Heard(arc, start, word.end), *best.words[at + 1 :])
                found.append(Path(words, best.intent, best.score - (ways[0][0] - score)))
        found.sort(key=lambda path: -path.score)
        return found[:MOST_ALTERNATIVES]

    def ratios(self, path: Path) -> list[float]:
        """Per word of the best path: log likelihood a frame against the best phones whatsoever.

        0 says that nothing explains the sound better than the word; far below it, that much does.
        """
        found: list[float] = []
        before = 0.0
        for word in path.words:
            node = int(self._graph.target[word.arc])
            score = self._into(node, word.end - 1)[0][0]
            free = sum(self.free[word.start : word.end])
            if not found:
                before = sum(self.leading[: word.start])
            found.append((score - before - free) / (word.end - word.start))
            before = score
        return found

    def can_go_on(self, path: Path) -> bool:
        """Whether the grammar lets more words follow this sentence."""
        last = int(self._graph.target[path.words[-1].arc])
        return bool(np.any(self._graph.source == last))

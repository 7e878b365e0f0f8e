"""The likeliest sentence of the grammar, found frame by frame.

A state is entered by its phone and held by its phone or by blank, which is CTC with one state a
phone. Only the words near the best are computed; the beam is so wide that it changes no answer that
could be right. Runners-up come from the same pass: wherever words join on the best path, the words
that joined there second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.graph import Graph
from beira.apps.voice.recogniser.phones import BLANK

Floats = npt.NDArray[np.float32]
NOTHING = np.float32(-1e30)
# Without it the model's confident blanks swallow phones it is less sure of, as of unseen speakers.
BLANK_PENALTY = 3.0
GRAMMAR_WEIGHT = 0.6  # a word among hundreds that may follow must fit better than one among few
BEAM = 50.0
_TIDY_FRAMES = 8
MOST_ALTERNATIVES = 12
SPOT_FRAMES = 5


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


class _Active:
    """The arcs and states that leave some nodes, packed together."""

    def __init__(self, graph: Graph, nodes: npt.NDArray[np.intp]) -> None:
        self.nodes = nodes
        self.arcs = _stretches(graph.arc_from, nodes)
        self.states = _stretches(graph.state_from, nodes)
        sizes = graph.state_from[nodes + 1] - graph.state_from[nodes]
        self.starts = (np.cumsum(sizes) - sizes).astype(np.int32)
        shift = np.repeat(self.starts - graph.state_from[nodes],
                          graph.arc_from[nodes + 1] - graph.arc_from[nodes])  # fmt: skip
        self.emit = graph.emit[self.states]
        self.first = graph.first[self.arcs] + shift
        self.last = graph.last[self.arcs] + shift
        self.source, self.target = graph.source[self.arcs], graph.target[self.arcs]
        self.weight = graph.weight[self.arcs] * np.float32(GRAMMAR_WEIGHT)


def _stretches(bounds: npt.NDArray[np.int32], nodes: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """All indices of the stretches that belong to `nodes`."""
    sizes = bounds[nodes + 1] - bounds[nodes]
    begins = np.repeat(bounds[nodes] - (np.cumsum(sizes) - sizes), sizes)
    return np.asarray(begins + np.arange(int(sizes.sum())), np.int32)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What tracing back needs of a frame, in little room: the nodes whose arcs were computed and
    where their states were packed, which states were entered, and how arcs ended."""

    nodes: npt.NDArray[np.intp]
    starts: npt.NDArray[np.int32]
    entered: npt.NDArray[np.uint8]
    ends: Floats
    values: Floats

    def was_entered(self, graph: Graph, state: int) -> bool:
        """Whether the best way to be in `state` came into it at this frame."""
        node = int(np.searchsorted(graph.state_from, state, "right")) - 1
        start = self.starts[np.searchsorted(self.nodes, node)]
        place = int(start) + state - int(graph.state_from[node])
        return bool(self.entered[place >> 3] >> (7 - (place & 7)) & 1)


class Decoder:
    """Pushes frames of log phone probabilities through a graph.

    `push` frames as they become final; `fork` to look at a possible end without disturbing.
    """

    def __init__(
        self, graph: Graph, blank_penalty: float = BLANK_PENALTY, beam: float = BEAM
    ) -> None:
        self._graph = graph
        self._penalty = np.float32(blank_penalty)
        self._beam = np.float32(beam)
        self._leaving = np.diff(graph.arc_from) > 0
        self._scores = np.full(len(graph.emit), NOTHING, np.float32)
        self._nodes = np.full(graph.nodes, NOTHING, np.float32)
        self._nodes[0] = 0.0
        self._active = _Active(graph, np.flatnonzero(self._leaving[:1]))
        self._frames: list[_Frame] = []
        self._most = NOTHING
        self.free: list[float] = []
        self.leading: list[float] = []

    @property
    def frames(self) -> int:
        """Frames pushed so far."""
        return len(self._frames)

    def fork(self) -> Decoder:
        """A copy that can be pushed further by itself."""
        other = object.__new__(Decoder)
        other.__dict__.update(self.__dict__)
        other._scores, other._frames = self._scores.copy(), list(self._frames)
        other.free, other.leading = list(self.free), list(self.leading)
        return other

    def push(self, logp: Floats) -> None:
        """Take frames (n, phones) of log probabilities."""
        logp = logp.copy()
        logp[:, BLANK] -= self._penalty
        classes = logp[:, self._graph.members].max(axis=2)
        for frame, values in zip(logp, classes, strict=True):
            self._step(values, frame[BLANK])
            self.free.append(float(frame.max()))
            self.leading.append(float(frame[BLANK]))

    def _step(self, values: Floats, blank: np.float32) -> None:
        active = self._active
        now = self._scores[active.states]
        emitted = values[active.emit]
        enter = np.empty_like(now)
        enter[1:] = now[:-1]
        enter[active.first] = self._nodes[active.source] + active.weight
        enter += emitted
        stay = now + np.maximum(emitted, blank)
        entered = enter > stay
        now = np.where(entered, enter, stay)
        self._scores[active.states] = now
        ends = now[active.last]
        nodes = np.full(self._graph.nodes, NOTHING, np.float32)
        nodes[0] = self._nodes[0] + blank
        np.maximum.at(nodes, active.target, ends)
        self._nodes = nodes
        packed = np.packbits(entered)
        self._frames.append(_Frame(active.nodes, active.starts, packed, ends, values))
        self._most = now.max(initial=nodes[0])
        self._narrow(now)

    def _narrow(self, now: Floats) -> None:
        """Choose the nodes whose arcs the next frame computes."""
        active, least = self._active, self._most - self._beam
        wanted = (self._nodes > least) & self._leaving
        tidy = len(self._frames) % _TIDY_FRAMES == 0
        held = np.maximum.reduceat(now, active.starts) > least if tidy and len(now) else None
        wanted[active.nodes if held is None else active.nodes[held]] = True
        if held is None and np.count_nonzero(wanted) == len(active.nodes):
            return
        if held is not None:
            for node in active.nodes[~wanted[active.nodes]]:
                low, high = self._graph.state_from[node : node + 2]
                self._scores[low:high] = NOTHING
        self._active = _Active(self._graph, np.flatnonzero(wanted))

    def completeness(self) -> float:
        """Best complete sentence's score less the best of any state: 0 when complete is best."""
        ends = [float(self._nodes[node]) for node in self._graph.ends]
        return max(ends, default=float(NOTHING)) - float(self._most)

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
        there = self._frames[frame]
        arcs = _stretches(self._graph.arc_from, there.nodes)
        found = np.flatnonzero(self._graph.target[arcs] == node)
        scores = there.ends[found]
        order = [int(np.argmax(scores))] if most == 1 else np.argsort(-scores)[:most]
        return [(float(scores[i]), int(arcs[found[i]])) for i in order]

    def _start(self, arc: int, frame: int) -> int:
        """The frame at which the arc that ends at `frame` was entered."""
        state, first = int(self._graph.last[arc]), int(self._graph.first[arc])
        while True:
            if self._frames[frame].was_entered(self._graph, state):
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

    def misfits(self, path: Path) -> tuple[float, float]:
        """Where the path fits worst, as log ratios to the best phones: the mean over the worst
        SPOT_FRAMES frames, and the sum over the worst word.

        One wrong sound in a long word hardly moves the word's mean, and shows in the first; a long
        name that is somewhat wrong all along shows in the second.
        """
        by_word = [self._gaps(word) for word in path.words]
        worst_word = min((sum(gaps) for gaps in by_word), default=0.0)
        gaps = [gap for one in by_word for gap in one]
        if len(gaps) < SPOT_FRAMES:
            return min(gaps, default=0.0), worst_word
        spots = np.convolve(gaps, np.full(SPOT_FRAMES, 1 / SPOT_FRAMES), "valid")
        return float(spots.min()), worst_word

    def _gaps(self, word: Heard) -> list[float]:
        """Per frame of a word, what its phones score less than the best phones."""
        state, gaps = int(self._graph.last[word.arc]), []
        for frame in range(word.end - 1, word.start - 1, -1):
            there = self._frames[frame]
            entered = there.was_entered(self._graph, state)
            score = float(there.values[self._graph.emit[state]])
            best = score if entered else max(score, self.leading[frame])
            gaps.append(best - self.free[frame])
            state -= entered
        return gaps[::-1]

    def can_go_on(self, path: Path) -> bool:
        """Whether the grammar lets more words follow this sentence."""
        last = int(self._graph.target[path.words[-1].arc])
        return bool(self._leaving[last])

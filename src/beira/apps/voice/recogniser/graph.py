"""The graph of words made into flat arrays of phones that a frame can be pushed through at once.

One state per phone of each word on each arc, laid out end to end, so that moving on is a shift of
the array. Where regions of Brazil say a sound in more than one way, the state takes any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.grammar import End, Grammar, Listed, State, Word
from beira.apps.voice.recogniser.phones import BLANK, INDEX
from beira.sdk import Invalid

MOST_STATES = 400_000
Ints = npt.NDArray[np.int32]
_ANY = {
    "t": ("t", "tS"), "d": ("d", "dZ"), "tS": ("tS", "t"), "dZ": ("dZ", "d"),
    "N": ("N", "n", "m"), "h": ("h", "r"),
}  # fmt: skip
_LAST = {"i": ("i", "e"), "u": ("u", "o"), "s": ("s", "z"), "r": ("r", "h", "_"), "e": ("e", "i"),
         "o": ("o", "u"), "z": ("z", "s")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arc:
    """One word at one place of the grammar."""

    word: str
    slot: str | None
    starts_slot: bool


@dataclass(frozen=True)
class Graph:
    """Phones as arrays: S states, A arcs, N nodes that join them; node 0 is the start.

    emit (S): class of each state. first, last (A): states where an arc starts and ends. source,
    target (A): its nodes; arcs and states are in the order of their sources, so those that leave a
    node are one stretch: arc_from, state_from (N + 1) say where. weight (A): log of the share of
    ways on from its source. `members` (C, most): phones of each class, padded by repeating.
    """

    emit: Ints
    members: Ints
    arcs: tuple[Arc, ...]
    first: Ints
    last: Ints
    source: Ints
    target: Ints
    weight: npt.NDArray[np.float32]
    arc_from: Ints
    state_from: Ints
    ends: Mapping[int, tuple[str, ...]]
    nodes: int
    skipped: tuple[str, ...]


def build_graph(grammar: Grammar, sounds: Mapping[str, tuple[int, ...]]) -> Graph:
    """Phones for the grammar; arcs of words without `sounds` are left out and named in `skipped`."""
    layout = _Layout(grammar, sounds)
    layout.run()
    return layout.graph()


def without(graph: Graph, intent: str) -> Graph:
    """The same graph where sentences that mean only `intent` cannot be heard."""
    ends = {node: left for node, intents in graph.ends.items()
            if (left := tuple(one for one in intents if one != intent))}  # fmt: skip
    alive = np.zeros(graph.nodes, bool)
    alive[list(ends)] = True
    while True:  # as often as the longest sentence has words
        reached = alive.copy()
        reached[graph.source[alive[graph.target]]] = True
        if (reached == alive).all():
            break
        alive = reached
    kept = np.flatnonzero(alive[graph.target])
    sizes = (graph.last - graph.first + 1)[kept]
    last = (np.cumsum(sizes) - 1).astype(np.int32)
    source = graph.source[kept]
    arc_from = np.searchsorted(source, np.arange(graph.nodes + 1)).astype(np.int32)
    shift = np.repeat(graph.first[kept] - (last - sizes + 1), sizes)
    return replace(
        graph, emit=graph.emit[np.arange(int(sizes.sum())) + shift], ends=ends,
        arcs=tuple(graph.arcs[at] for at in kept), first=(last - sizes + 1).astype(np.int32),
        last=last, source=source, target=graph.target[kept], arc_from=arc_from,
        weight=-np.log(np.maximum(1, np.diff(arc_from)[source])).astype(np.float32),
        state_from=np.append(0, np.cumsum(sizes))[arc_from].astype(np.int32),
    )  # fmt: skip


def variants(sounds: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """For each phone of a word, the phones that may be heard for it."""
    names = _names()
    found = []
    for at, phone in enumerate(sounds):
        name = names[phone]
        last = at == len(sounds) - 1 or (at == len(sounds) - 2 and names[sounds[-1]] in "sz")
        choice = _LAST.get(name) if last and len(sounds) > 1 else None
        choice = choice or _ANY.get(name, (name,))
        if name in ("t", "d") and (at + 1 >= len(sounds) or names[sounds[at + 1]] != "i"):
            choice = (name,)
        found.append(tuple(INDEX[one] for one in choice))
    return tuple(found)


def _names() -> list[str]:
    return list(INDEX)


class _Layout:
    """Walks the grammar, copying a list's graph at every place it is used."""

    def __init__(self, grammar: Grammar, sounds: Mapping[str, tuple[int, ...]]) -> None:
        self._grammar = grammar
        self._chains: dict[str, list[int]] = {}
        self._classes: dict[tuple[int, ...], int] = {}
        self._sounds = sounds
        self._nodes: dict[tuple[State, int, State], int] = {}
        self._copies: dict[tuple[str, str, int], int] = {}
        self._todo: list[tuple[State, int, State, str | None]] = []
        self._emit: list[int] = []
        self._arcs: list[Arc] = []
        self._ends: dict[int, tuple[str, ...]] = {}
        self._rows: list[tuple[int, int, int, int]] = []
        self._skipped: set[str] = set()
        self._turns: dict[State, tuple[bool, bool]] = {}  # a value may end here; it may go on

    def run(self) -> None:
        """Lay out everything that can be reached."""
        self._node(self._grammar.start, 0, 0, None)
        while self._todo:
            state, copy, back, slot = self._todo.pop()
            here = self._nodes[state, copy, back]
            self._walk(state, here, copy, back, slot, slot_open=copy == 0)

    def _node(self, state: State, copy: int, back: State, slot: str | None) -> int:
        key = (state, copy, back)
        if key not in self._nodes:
            self._nodes[key] = len(self._nodes)
            self._todo.append((state, copy, back, slot))
        return self._nodes[key]

    def _walk(
        self, state: State, here: int, copy: int, back: State, slot: str | None, *, slot_open: bool
    ) -> None:
        """Lay the arcs leaving `state` out of node `here`.

        Inside copy number `copy` of a list, `back` is where the grammar goes on after the value.
        """
        for label, target in self._grammar.arcs[state]:
            if isinstance(label, Listed):
                inside = self._copies.setdefault(
                    (label.slot, label.name, target), len(self._copies) + 1
                )
                start = self._grammar.lists[label.name]
                self._walk(start, here, inside, target, label.slot, slot_open=True)
            elif isinstance(label, Word):
                starts = slot is not None and slot_open
                self._lay(label.text, slot, starts, here, self._after(target, copy, back, slot))
            elif not copy:
                self._ends[here] = (*self._ends.get(here, ()), label.intent)

    def _after(self, target: State, copy: int, back: State, slot: str | None) -> list[int]:
        """Nodes reached by a word: inside a list, also the one after the list where it may end."""
        if not copy:
            return [self._node(target, 0, back, slot)]
        if target not in self._turns:
            ending = [isinstance(label, End) for label, _ in self._grammar.arcs[target]]
            self._turns[target] = any(ending), not all(ending)
        may_end, goes_on = self._turns[target]
        found = [self._node(back, 0, 0, None)] if may_end else []
        return [*found, self._node(target, copy, back, slot)] if goes_on else found

    def _lay(self, word: str, slot: str | None, starts: bool, here: int, after: list[int]) -> None:
        if word not in self._chains:
            self._chains[word] = [
                self._classes.setdefault(one, len(self._classes))
                for one in variants(self._sounds.get(word, ()))
            ]
        chain = self._chains[word]
        if not chain:
            self._skipped.add(word)
            return
        for node in after:
            if len(self._emit) + len(chain) > MOST_STATES:
                raise Invalid("The vocabulary is too large", code="voice.grammar_too_large",
                              hint="Leave out products that nobody asks for by voice.")  # fmt: skip
            self._rows.append((len(self._emit), len(self._emit) + len(chain) - 1, here, node))
            self._arcs.append(Arc(word, slot, starts))
            self._emit += chain

    def graph(self) -> Graph:
        """The arrays of what was laid out."""
        rows = np.array(self._rows, np.int32).reshape(-1, 4)
        order = np.argsort(rows[:, 2], kind="stable")
        rows, arcs = rows[order], tuple(self._arcs[i] for i in order)
        sizes = rows[:, 1] - rows[:, 0] + 1
        last = (np.cumsum(sizes) - 1).astype(np.int32)
        states = np.repeat(rows[:, 1] - last, sizes) + np.arange(int(sizes.sum()))
        nodes = len(self._nodes)
        arc_from = np.searchsorted(rows[:, 2], np.arange(nodes + 1)).astype(np.int32)
        ways = np.diff(arc_from)
        most = max((len(one) for one in self._classes), default=1)
        members = [(*one, *[one[0]] * (most - len(one))) for one in self._classes] or [(BLANK,)]
        return Graph(
            emit=np.array(self._emit, np.int32)[states], members=np.array(members, np.int32),
            arcs=arcs, first=last - sizes + 1, last=last, source=rows[:, 2], target=rows[:, 3],
            weight=-np.log(np.maximum(1, ways[rows[:, 2]])).astype(np.float32), arc_from=arc_from,
            state_from=np.append(0, np.cumsum(sizes))[arc_from].astype(np.int32),
            ends=self._ends, nodes=nodes, skipped=tuple(sorted(self._skipped)),
        )  # fmt: skip

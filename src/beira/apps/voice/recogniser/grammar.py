"""Sentence templates made into the smallest graph of words that accepts exactly them.

Templates are hassil's: `(a|b)`, `[maybe]`, `<rule>`, `{list}` or `{list:slot}`, `(a;b)` in any order.
States are interned by what can follow, and alternatives are merged as they are joined, so the graph
is deterministic, acyclic and minimal as it is built, from the last word to the first. A list is a
graph of its own: a thousand products are compiled once, wherever they may be said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    TextChunk,
)
from hassil.parse_expression import parse_sentence
from hassil.parser import ParseError

from beira.sdk import Invalid

MOST_STATES = 200_000
MOST_DEPTH = 40
MOST_PERMUTED = 5
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_SPACE = " "


@dataclass(frozen=True, slots=True)
class Word:
    """One word to be said."""

    text: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A value of a list, put into a slot."""

    name: str
    slot: str


@dataclass(frozen=True, slots=True)
class End:
    """The sentence is complete and means this intent."""

    intent: str


Label = Word | Listed | End
State = int


@dataclass(frozen=True)
class Grammar:
    """A graph of words. `arcs[state]` are (label, next state); `lists` are graphs of the same states.

    `start` is where a sentence starts, `lists[name]` where a value of that list does.
    """

    arcs: tuple[tuple[tuple[Label, State], ...], ...]
    start: State
    lists: Mapping[str, State]

    @property
    def words(self) -> frozenset[str]:
        """Every word that can be said."""
        found = (label for arcs in self.arcs for label, _ in arcs)
        return frozenset(label.text for label in found if isinstance(label, Word))


def normal_words(text: str) -> list[str]:
    """The words of a text as the grammar spells them: small letters, no punctuation."""
    return _WORD.findall(text.lower())


def compile_grammar(
    sentences: Mapping[str, Sequence[str]],
    lists: Mapping[str, Sequence[str]],
    rules: Mapping[str, str],
) -> Grammar:
    """The graph of all `sentences` (intent to templates) with these list values and rules.

    List values are templates too. A list without values makes the sentences that need it impossible.
    Raises `Invalid` for a template that cannot be read, an unknown rule or list, or too many states.
    """
    builder = _Builder(lists, rules)
    tops = [
        builder.template(template, builder.intern({End(intent): builder.nothing}))
        for intent, templates in sentences.items()
        for template in templates
    ]
    start = builder.spelled(builder.union(tops))
    starts: dict[str, State] = {}
    while missing := builder.used - starts.keys():
        name = min(missing)
        values = [builder.template(value, builder.value_end) for value in lists[name]]
        starts[name] = builder.spelled(builder.union(values))
    return Grammar(tuple(tuple(arcs) for arcs in builder.table), start, starts)


class _Builder:
    """Interns states: a state is the set of (label, next state) that can follow.

    Templates are first read as pieces of text and spaces, since `d(o|a)` is one word in two pieces;
    `spelled` then joins pieces into words.
    """

    def __init__(self, lists: Mapping[str, Sequence[str]], rules: Mapping[str, str]) -> None:
        self.table: list[tuple[tuple[Label, State], ...]] = []
        self.used: set[str] = set()
        self._ids: dict[frozenset[tuple[Label, State]], State] = {}
        self._unions: dict[frozenset[State], State] = {}
        self._spelled: dict[State, State] = {}
        self._rules: dict[tuple[str, State], State] = {}
        self._parsed: dict[str, Expression] = {}
        self._lists, self._texts = lists, rules
        self._depth = 0
        self.nothing = self.intern({})
        self.value_end = self.intern({End(""): self.nothing})

    def intern(self, arcs: Mapping[Label, State]) -> State:
        """The one state with these arcs."""
        key = frozenset(arcs.items())
        known = self._ids.get(key)
        if known is None:
            if len(self.table) >= MOST_STATES:
                raise Invalid(
                    "The sentences make too large a grammar", code="voice.grammar_too_large",
                    hint="Use fewer alternatives, or put long lists of values into a {list}.",
                )  # fmt: skip
            known = self._ids[key] = len(self.table)
            self.table.append(tuple(arcs.items()))
        return known

    def union(self, states: Iterable[State]) -> State:
        """The state from which all that follows any of these can follow."""
        key = frozenset(states) - {self.nothing}
        if len(key) < 2:
            return next(iter(key), self.nothing)
        if key not in self._unions:
            merged: dict[Label, set[State]] = {}
            for state in sorted(key):
                for label, target in self.table[state]:
                    merged.setdefault(label, set()).add(target)
            arcs = {label: self.union(targets) for label, targets in merged.items()}
            self._unions[key] = self.intern(arcs)
        return self._unions[key]

    def template(self, text: str, after: State) -> State:
        """The state at the start of a template that goes on to `after`."""
        space = self.intern({Word(_SPACE): after})
        return self._build(self._parse(text), self.union([space]))

    def _parse(self, text: str) -> Expression:
        if text not in self._parsed:
            try:
                self._parsed[text] = parse_sentence(text).expression
            except (ParseError, ValueError) as error:
                raise Invalid(
                    f"The template {text!r} cannot be read: {error}", code="voice.bad_template",
                    hint="Check that every (, [, < and { is closed.",
                ) from error  # fmt: skip
        return self._parsed[text]

    def _build(self, part: Expression, after: State) -> State:
        if isinstance(part, TextChunk):
            return self._text(part.text, after)
        if isinstance(part, ListReference):
            return self._listed(part, after)
        if isinstance(part, RuleReference):
            return self._rule(part.rule_name, after)
        if isinstance(part, Alternative):
            return self.union([self._build(item, after) for item in part.items])
        if isinstance(part, Permutation):
            return self._permuted(part, after)
        assert isinstance(part, Group)
        for item in reversed(part.items):
            after = self._build(item, after)
        return after

    def _text(self, text: str, after: State) -> State:
        for piece in reversed(re.split(r"([^\w'’-]+|_)", text.lower())):
            if piece:
                spoken = piece if _WORD.fullmatch(piece.strip("-'’")) else _SPACE
                after = self.intern({Word(spoken): after})
        return after

    def _listed(self, part: ListReference, after: State) -> State:
        if part.list_name not in self._lists:
            raise Invalid(
                f"No list is named {part.list_name!r}", code="voice.unknown_list",
                hint="Give the list its values, or correct its name in the sentence.",
            )  # fmt: skip
        self.used.add(part.list_name)
        return self.intern({Listed(part.list_name, part.slot_name): after})

    def _rule(self, name: str, after: State) -> State:
        if name not in self._texts:
            raise Invalid(
                f"No rule is named {name!r}", code="voice.unknown_rule",
                hint="Add it to the expansion rules, or correct its name in the sentence.",
            )  # fmt: skip
        if (name, after) not in self._rules:
            self._depth += 1
            if self._depth > MOST_DEPTH:
                raise Invalid(f"The rule {name!r} leads back to itself", code="voice.endless_rule",
                              hint="A rule may not use itself.")  # fmt: skip
            self._rules[name, after] = self._build(self._parse(self._texts[name]), after)
            self._depth -= 1
        return self._rules[name, after]

    def _permuted(self, part: Permutation, after: State) -> State:
        if len(part.items) > MOST_PERMUTED:
            raise Invalid("Too many parts in any order", code="voice.bad_template",
                          hint=f"Keep to {MOST_PERMUTED} between semicolons.")  # fmt: skip
        ends = []
        for order in permutations(part.items):
            here = after
            for item in reversed(order):
                here = self._build(item, here)
            ends.append(here)
        return self.union(ends)

    def spelled(self, state: State) -> State:
        """The same sentences from `state`, with whole words on the arcs instead of pieces."""
        if state not in self._spelled:
            merged: dict[Label, set[State]] = {}
            self._spell(state, "", merged)
            arcs = {label: self.union(targets) for label, targets in merged.items()}
            self._spelled[state] = self.intern(arcs)
        return self._spelled[state]

    def _spell(self, state: State, prefix: str, merged: dict[Label, set[State]]) -> None:
        for label, target in self.table[state]:
            if isinstance(label, Word) and label.text != _SPACE:
                self._spell(target, prefix + label.text, merged)
            elif prefix and isinstance(label, Word):
                merged.setdefault(Word(prefix), set()).add(self.spelled(target))
            elif prefix:
                raise Invalid(
                    f"{prefix!r} touches {label} without a space", code="voice.bad_template",
                    hint="Put a space between a word and a {list}.",
                )  # fmt: skip
            elif isinstance(label, Word):
                self._spell(target, "", merged)
            elif isinstance(label, Listed):
                merged.setdefault(label, set()).add(self.spelled(target))
            else:
                merged.setdefault(label, set()).add(self.nothing)

"""Names of people and products as they are said: in full, in short, misspelt, shared by several.

Nothing here picks one of two: `find` gives all that a form can mean, `closest` only offers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import nlargest
from typing import NamedTuple

from beira.apps.voice.language.values import Tongue, fold

_LINKS = frozenset(
    ("de", "da", "do", "das", "dos", "e", "em", "com", "sem", "para", "ao", "of", "the", "with")
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SOUNDS = (
    ("ph", "f"), ("lh", "l"), ("nh", "n"), ("ch", "x"), ("sh", "x"), ("qu", "k"), ("gu", "g"),
    ("ge", "je"), ("gi", "ji"), ("ce", "se"), ("ci", "si"), ("c", "k"), ("q", "k"), ("y", "i"),
    ("w", "v"), ("z", "s"), ("h", ""), ("ss", "s"),
)  # fmt: skip
_SIZES = frozenset(
    f"{word}{many}"
    for word in ("quilo", "grama", "litro", "mililitro", "unidade", "kilo", "gram", "litre")
    for many in ("", "s")
)
"""A name is not cut between a number and what it counts."""
FAR = 0.45
SHORTEST_FORM = 3
SHORTEST_KEY = 2
FORMS_KEPT = 50_000
MEASURED = 100


class Form(NamedTuple):
    """One way of saying a name: folded, and as it is said."""

    key: str
    said: str


class Names:
    """Who or what can be named, by id. `said` are all forms with their accents, for the recogniser."""

    def __init__(self, shown: dict[str, str], exact: Iterable[tuple[Form, str]],
                 short: Iterable[tuple[Form, str]], *, exact_wins: bool) -> None:  # fmt: skip
        """`exact` and `short` are (form, id); with `exact_wins` a short form that is some other's
        whole name means only that other."""
        self.shown = shown
        whole = _index(exact)
        brief = _index(short)
        if exact_wins:
            taken = {form.key for form in whole}
            brief = {form: ids for form, ids in brief.items() if form.key not in taken}
        told = {form.key: form.said for form in (*brief, *whole)}
        self.said = list(told.values())
        forms: dict[str, list[str]] = {}
        for form, ids in (*whole.items(), *brief.items()):
            forms.setdefault(form.key, []).extend(ids)
        self.forms: dict[str, tuple[str, ...]] = {
            k: tuple(dict.fromkeys(v)) for k, v in forms.items()
        }

    def find(self, said: str) -> tuple[str, ...]:
        """The ids that a folded form can mean, none if it is not known."""
        return self.forms.get(said, ())

    def closest(self, said: str, most: int = 3) -> tuple[str, ...]:
        """Ids of what sounds or is spelled most like it, nearest first; none if all are far."""
        scored: dict[str, float] = {}
        for form in self._likely(said):
            score = _apart(said, form)
            for id in self.forms[form] if score <= FAR else ():
                scored[id] = min(score, scored.get(id, 1.0))
        return tuple(sorted(scored, key=lambda id: (scored[id], self.shown[id]))[:most])

    def _likely(self, said: str) -> list[str]:
        """The forms worth measuring: those that share most pairs of sounds with it."""
        if len(self.forms) <= MEASURED:
            return list(self.forms)
        pairs = _pairs(said)
        shared = (
            (len(pairs & (own := _pairs(form))) / (len(own) + 1), form) for form in self.forms
        )
        return [form for _, form in nlargest(MEASURED, shared)]


def people(entries: Sequence[tuple[str, str, Sequence[str]]], tongue: Tongue) -> Names:
    """Names of (id, name, also said) people. First or last names stand for all
    who have them."""
    exact: list[tuple[Form, str]] = []
    short: list[tuple[Form, str]] = []
    for id, name, also in entries:
        exact += [(_form(form, tongue), id) for form in (name, *also)]
        words = spoken(name, tongue).split()
        own = [w for w in words if w not in _LINKS]
        if len(own) > 1:
            said = (own[0], own[-1], f"{own[0]} {own[-1]}", f"{own[0]} {own[1]}")
            short += [(Form(fold(form), form), id) for form in said]
    shown = {id: name for id, name, _ in entries}
    return Names(shown, exact, short, exact_wins=False)


def products(entries: Sequence[tuple[str, str, Sequence[str]]], tongue: Tongue) -> Names:
    """Names of (id, name, also said) products; the first words of a name are a short form of it."""
    exact: list[tuple[Form, str]] = []
    short: list[tuple[Form, str]] = []
    for id, name, also in entries:
        for form in (name, *also):
            exact.append((_form(form, tongue), id))
            if plural := _plural(spoken(form, tongue).split()):
                exact.append((Form(fold(plural), plural), id))
            short += [(brief, id) for brief in _short_forms(form, tongue)]
    shown = {id: name for id, name, _ in entries}
    return Names(shown, exact, short, exact_wins=True)


@lru_cache(maxsize=FORMS_KEPT)
def _form(name: str, tongue: Tongue) -> Form:
    said = spoken(name, tongue)
    return Form(fold(said), said)


@lru_cache(maxsize=FORMS_KEPT)
def _short_forms(name: str, tongue: Tongue) -> tuple[Form, ...]:
    """Kept, because of a thousand products one changes at a time."""
    words = spoken(name, tongue).split()
    plural = _plural(words)
    said = [*_beginnings(words), *([plural, *_beginnings(plural.split())] if plural else [])]
    return tuple(Form(fold(form), form) for form in said)


@lru_cache(maxsize=FORMS_KEPT)
def _pairs(text: str) -> frozenset[str]:
    heard = f" {phonetic(text)} "
    return frozenset(heard[at : at + 2] for at in range(len(heard) - 1))


def _index(forms: Iterable[tuple[Form, str]]) -> dict[Form, list[str]]:
    found: dict[Form, list[str]] = {}
    for form, id in forms:
        if len(form.key) >= SHORTEST_KEY:
            found.setdefault(form, []).append(id)
    return found


def spoken(name: str, tongue: Tongue) -> str:
    """A written name as words: "Coca-Cola 2 L" is "coca cola dois litros"."""
    return " ".join(_WORD.findall(tongue.spell(name.replace("-", " "))))


def phonetic(text: str) -> str:
    """A rough key of how a folded text sounds in Portuguese: Wesley and Uéslei are near."""
    for written, sounded in _SOUNDS:
        text = text.replace(written, sounded)
    return re.sub(r"(.)\1+", r"\1", text)


def _beginnings(words: list[str]) -> Iterable[str]:
    for count in range(1, len(words)):
        begun = " ".join(words[:count])
        ended = words[count - 1] not in _LINKS and words[count] not in _SIZES
        if ended and len(begun) >= SHORTEST_FORM:
            yield begun


def several(form: str, tongue: Tongue) -> str:
    """A name as it is counted, where it is one word whose plural is known: "leites"."""
    words = spoken(form, tongue).split()
    return (_plural(words) if len(words) == 1 else "") or form


def _plural(words: list[str]) -> str:
    """The noun and what describes it up to a preposition or size in the plural, or ""."""
    changed = 0
    for at, word in enumerate(words):
        many = _plural_word(word)
        if word in _LINKS or not many or (at and not word.endswith(("o", "a", "e"))):
            break
        words = [*words[:at], many, *words[at + 1 :]]
        changed += 1
        if changed == 2:
            break
    return " ".join(words) if changed else ""


def _plural_word(word: str) -> str:
    if word.endswith("ão"):
        return word[:-2] + ("ães" if word == "pão" else "ões")
    if word.endswith(("a", "e", "o", "é", "á")):
        return word + "s"
    return ""


def _apart(one: str, other: str) -> float:
    """0 for the same, 1 for nothing in common, by spelling or by sound, whichever is nearer."""
    if abs(len(one) - len(other)) > max(len(one), len(other)) * FAR + 1:
        return 1.0
    by_letter = _distance(one, other) / max(len(one), len(other), 1)
    if by_letter > FAR + 0.2:
        return 1.0
    heard, known = phonetic(one), phonetic(other)
    return min(by_letter, _distance(heard, known) / max(len(heard), len(known), 1) + 0.05)


def _distance(one: str, other: str) -> int:
    """Edits from one to the other, a swap of neighbours being one."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]

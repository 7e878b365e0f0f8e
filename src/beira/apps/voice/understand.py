"""From words to meaning: hassil over the sentences, with the tenant's own people and products.

The sentences are compiled once a language; names are lists beside them, so that a new product costs
milliseconds. Everything is compared folded (small letters, no accents), so "joao" typed in a hurry
is João. A text that can mean several things gives several meanings, best first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from hassil import Intents, recognize_all
from hassil.expression import TextChunk
from hassil.intents import SlotList, TextSlotList, TextSlotValue, WildcardSlotList
from hassil.recognize import RecognizeResult

from beira.apps.voice.language import Tongue, colloquial, fold, tongue
from beira.apps.voice.language.names import Names
from beira.apps.voice.language.names import people as people_names
from beira.apps.voice.language.names import products as product_names
from beira.apps.voice.records import Person, Product
from beira.apps.voice.sentences import RECORD_LISTS, Sentences, Spoken, load

MOST_CHARS = 400
MOST_MATCHES = 64
MOST_OFFERED = 4
MOST_NAME_CHARS = 60
MOST_NAME_WORDS = 6
MOST_ANSWER_WORDS = 3
MOST_STRANGE_WORDS = 3
_DAYS = frozenset(
    ("hoje", "ontem", "anteontem", "amanha", "segunda", "terca", "quarta", "quinta", "sexta",
     "sabado", "domingo", "dia", "semana", "mes", "today", "yesterday", "tomorrow", "monday",
     "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
)  # fmt: skip
_REFERENCE = re.compile(r"\{(\w+)(?::(\w+))?\}")
_POLITE = {"pt": ("por favor", "por gentileza"), "en": ("please",)}
_CALLS = "ei|oi|ola|ok|hey|hi|okay|o"


TELLING = frozenset(
    ("product_price", "product_stock", "product_place", "hours_worked", "who_is_in",
     "open_requests", "daily_summary", "help", "time")
)  # fmt: skip
"""Intents that write nothing."""


class Named(msgspec.Struct, frozen=True):
    """Somebody or something named, `said` as it was written: all it can be. With no `ids` it is not
    known, and `closest` are offered."""

    said: str
    ids: tuple[str, ...] = ()
    closest: tuple[str, ...] = ()


class Meaning(msgspec.Struct, frozen=True):
    """What a text can mean: an intent with the values of its slots.

    employee and product are `Named`; time a `SaidTime`; period minutes of the day; quantity a
    `Quantity`; money cents; the rest texts, or what the sentences' file says they stand for.
    """

    intent: str
    slots: Mapping[str, Any] = {}

    @property
    def known(self) -> bool:
        return all(v.ids for v in self.slots.values() if isinstance(v, Named))


class Directory:
    """The names of a tenant's people and products in a language."""

    def __init__(self, people: Names, products: Names) -> None:
        self.people, self.products = people, products

    @classmethod
    def of(
        cls, language: str, people: Sequence[Person], products: Sequence[Product],
        site: str | None = None,
    ) -> Directory:  # fmt: skip
        """Of the active ones; people of another site than `site` are not known here."""
        way = tongue(language)
        here = [p for p in people if p.active and (not p.site or site is None or p.site == site)]
        sold = [p for p in products if p.active]
        named = people_names([(p.id, p.name, p.also_said) for p in here], way)
        named.shown.update(_namesakes(here))
        return cls(
            named,
            product_names([(p.id, p.name, p.also_said) for p in sold], way),
        )

    @property
    def said_people(self) -> list[str]:
        """Every way of saying somebody, for `sentences.grammar_source`."""
        return self.people.said

    @property
    def said_products(self) -> list[str]:
        return self.products.said


def _namesakes(people: Sequence[Person]) -> dict[str, str]:
    """Those who share their whole name, with what they do."""
    shared = Counter(fold(p.name) for p in people)
    return {p.id: f"{p.name} ({p.role})" for p in people if shared[fold(p.name)] > 1 and p.role}


class Understanding:
    """Understands one language for one tenant. `directory` may be replaced at any time."""

    def __init__(
        self, language: str, directory: Directory, *, extra: str = "", wake_word: str = "aurora",
        others: tuple[Spoken, ...] = (),
    ) -> None:  # fmt: skip
        """Raises: Misconfigured for an unknown language or an unusable file of sentences."""
        self.sentences = load(language, extra, others)
        self.tongue: Tongue = tongue(language)
        self._intents, self._lists_of, self._order = _compiled(self.sentences)
        calls = "|".join(dict.fromkeys((fold(wake_word) or "aurora", "aurora")))
        self._wake = re.compile(rf"(?:(?:{_CALLS}) )?(?:{calls})(?: |\Z)")
        self._polite = _POLITE["en" if language.startswith("en") else "pt"]
        self.set_directory(directory)

    def set_directory(self, directory: Directory) -> None:
        """Know these people and products from now on."""
        self.directory = directory
        self._named: dict[str, SlotList] = {
            "employee": _NameList("employee", directory.people),
            "product": _NameList("product", directory.products),
        }

    def understand(self, text: str) -> list[Meaning]:
        """All that a text can mean, best first; none if it is no command. Names that are not known
        are looked for only where nothing else fits."""
        text = text[:MOST_CHARS]
        said = self._bare(fold(self.tongue.spell(text)))
        if not said:
            return []
        written = _Written(text, self.tongue)
        found = self._match(said, written, self._named)
        if found:
            return found
        plain, only_asks = colloquial.plain(said, self.sentences.language)
        if plain != said:
            found = self._match(plain, written, self._named)
            if found := [m for m in found if not only_asks or m.intent in TELLING]:
                return found
        if only_asks:
            return []
        said = plain
        anything: dict[str, SlotList] = {n: WildcardSlotList(name=n) for n in self._named}
        unknown = [m for m in self._match(said, written, anything) if _plausible(m)]
        return [m for m in map(self._offering, unknown[:MOST_OFFERED]) if _nameable(m)]

    def _bare(self, said: str) -> str:
        """Without the wake word before and the courtesies around."""
        said = self._wake.sub("", said, count=1) if self._wake.match(said) else said
        for words in self._polite:
            said = said.removeprefix(words + " ").removesuffix(" " + words)
        return said.strip()

    def _match(self, said: str, written: _Written, named: dict[str, SlotList]) -> list[Meaning]:
        ranked: list[tuple[tuple[int, ...], Meaning]] = []
        for count, result in enumerate(recognize_all(said, self._intents, slot_lists=named)):
            if count >= MOST_MATCHES:
                break
            meaning = self._meaning(result, written)
            if meaning is not None and meaning not in (m for _, m in ranked):
                ranked.append((self._rank(result, meaning), meaning))
        ranked.sort(key=lambda pair: pair[0])
        return [meaning for _, meaning in ranked]

    def _offering(self, meaning: Meaning) -> Meaning:
        """With the names closest to those that are not known."""
        slots = dict(meaning.slots)
        for slot, named in meaning.slots.items():
            if isinstance(named, Named) and not named.ids:
                names = self._names(self._lists_of[slot])
                closest = names.closest(fold(self.tongue.spell(named.said)))
                slots[slot] = msgspec.structs.replace(named, closest=closest)
        return Meaning(meaning.intent, slots)

    def _names(self, list_name: str) -> Names:
        return self.directory.people if list_name == "employee" else self.directory.products

    def _meaning(self, result: RecognizeResult, written: _Written) -> Meaning | None:
        slots: dict[str, Any] = {}
        for entity in result.entities_list:
            list_name = self._lists_of.get(entity.name, "")
            said = fold(entity.text)
            if not list_name or (not said and entity.name not in self._lists_of):
                slots[entity.name] = entity.value
                continue
            if entity.is_wildcard and list_name not in RECORD_LISTS:
                value: Any = written.of(said)
            else:
                value = (
                    self._value(list_name, said, entity.value, written) if said else entity.value
                )
            if value is None:
                return None
            slots[entity.name] = value
        return Meaning(result.intent.name, slots)

    def _value(self, list_name: str, said: str, value: Any, written: _Written) -> Any:
        if list_name in RECORD_LISTS:
            text = written.of(said)
            shown = text.title() if list_name == "employee" else text
            return Named(shown, self._names(list_name).find(said))
        parsers: dict[str, Callable[[str], Any]] = {
            "time": self.tongue.parse_time, "period": self.tongue.period,
            "money": self.tongue.parse_money, "quantity": self.tongue.parse_quantity,
        }  # fmt: skip
        if list_name in parsers:
            return parsers[list_name](said)
        return value

    def _rank(self, result: RecognizeResult, meaning: Meaning) -> tuple[int, ...]:
        """Least open text first, then fewest unknown names, then the order of the file."""
        loose = sum(len(e.text) for e in result.entities_list if e.is_wildcard)
        unknown = sum(isinstance(v, Named) and not v.ids for v in meaning.slots.values())
        return loose, unknown, self._order.get(meaning.intent, len(self._order))


def _plausible(meaning: Meaning) -> bool:
    """Whether an unknown name can be one: a bare answer of many words is something else."""
    most = MOST_ANSWER_WORDS if meaning.intent == "answer" else MOST_NAME_WORDS
    named = (v for v in meaning.slots.values() if isinstance(v, Named))
    return all(
        v.ids or (len(v.said.split()) <= most and len(v.said) <= MOST_NAME_CHARS) for v in named
    )


def _nameable(meaning: Meaning) -> bool:
    """Whether what is not known is near a name, or short enough to be one: else it is chatter."""
    named = (v for v in meaning.slots.values() if isinstance(v, Named))
    return all(v.ids or _may_be_a_name(v) for v in named)


def _may_be_a_name(named: Named) -> bool:
    """A day swallowed by a name ("Maria segunda") must not become a punch of today."""
    words = fold(named.said).split()
    return bool(named.closest or len(words) <= MOST_STRANGE_WORDS) and _DAYS.isdisjoint(words)


@lru_cache(maxsize=8)
def _compiled_key(packed: bytes) -> tuple[Intents, dict[str, str], dict[str, int]]:
    sentences = msgspec.msgpack.decode(packed, type=Sentences)
    intents: dict[str, dict[str, list[dict[str, Any]]]] = {}
    lists_of: dict[str, str] = {}
    for block in sentences.blocks:
        told = intents.setdefault(block.intent, {"data": []})
        texts = [_fold_template(t) for t in block.templates]
        told["data"].append({"sentences": texts, "slots": dict(block.slots)})
    rules = {name: _fold_template(text) for name, text in sentences.rules.items()}
    for text in (*rules.values(), *(t for b in sentences.blocks for t in b.templates)):
        for list_name, slot in _REFERENCE.findall(text):
            lists_of[slot or list_name] = list_name
    lists: dict[str, Any] = {
        name: {"values": [{"in": _fold_template(t), "out": t if out is None else out}
                          for t, out in values]}
        for name, values in sentences.lists.items()
        if values
    }  # fmt: skip
    lists["text"] = {"wildcard": True}
    compiled = Intents.from_dict(
        {"language": sentences.language[:2] or "pt", "intents": intents,
         "expansion_rules": rules, "lists": lists}
    )  # fmt: skip
    return compiled, lists_of, {name: at for at, name in enumerate(intents)}


def _compiled(sentences: Sentences) -> tuple[Intents, dict[str, str], dict[str, int]]:
    """What hassil makes of the sentences, the list behind each slot, and the intents' order."""
    return _compiled_key(msgspec.msgpack.encode(sentences))


def _fold_template(template: str) -> str:
    """A template folded word by word; brackets, bars and references stay."""
    parts = re.split(r"([<{][^>}]*[>}]|[()\[\]|;])", template)
    return "".join(p if i % 2 else _fold_spaced(p) for i, p in enumerate(parts))


def _fold_spaced(text: str) -> str:
    if not text.strip():
        return text
    lead = " " if text[0].isspace() else ""
    tail = " " if text[-1].isspace() else ""
    return f"{lead}{fold(text)}{tail}"


class _Written:
    """Finds the part of a text as typed, accents and all, that was understood as some folded words."""

    def __init__(self, text: str, tongue: Tongue) -> None:
        self._words = text.split()
        self._tongue = tongue
        self._folded = [fold(tongue.spell(word)) for word in self._words]
        self._found: dict[str, str] = {}

    def of(self, said: str) -> str:
        if said not in self._found:
            self._found[said] = self._look(said)
        return self._found[said]

    def _look(self, said: str) -> str:
        """Words are spelled alone first, which is quick; "2,5 kg" only makes sense together."""
        for start, first in enumerate(self._folded):
            if first and not said.startswith(first.split()[0]):
                continue
            for end in range(len(self._words), start, -1):
                part = " ".join(self._words[start:end])
                alone = " ".join(w for w in self._folded[start:end] if w)
                together = len(alone) <= 2 * len(said) and fold(self._tongue.spell(part)) == said
                if alone == said or together:
                    return part.strip(" .,;:!?\"'")
        return said


class _NameList(TextSlotList):
    """Values found by the words a text begins with: of thousands, a handful is ever tried."""

    def __init__(self, name: str, names: Names) -> None:
        values = [TextSlotValue(text_in=TextChunk(form), value_out=form) for form in names.forms]
        super().__init__(name=name, values=values)
        self._by_form = dict(zip(names.forms, values, strict=True))

    def get_candidates(self, text: str) -> list[TextSlotValue]:
        words = text.split()
        begun = (" ".join(words[: count + 1]) for count in range(len(words)))
        return [self._by_form[form] for form in begun if form in self._by_form]

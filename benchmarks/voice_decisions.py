"""What the app would do with what was heard: the dialogue decides, as it does in a shop.

Names that nobody here has are the trap: the grammar holds the known ones only, so an unknown one is
heard as something else. What counts is what becomes of it: refused, asked back, or done in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from beira.apps.voice.dialogue import SPECS, Ask, Bars, Run, Say, Talk, World, heard
from beira.apps.voice.recogniser import Recogniser, Recognition
from benchmarks import voice_extra
from benchmarks.voice_data import Domain, Maker, shop

STRANGERS = (
    "Ambrósio", "Benedita", "Cosme", "Dulcineia", "Epaminondas", "Filomena", "Genivaldo", "Iracema",
    "Jurandir", "Leocádia",
)  # fmt: skip
STRANGE_GOODS = (
    "martelo", "colchão", "violino", "gasolina", "cortina de renda", "mangueira", "aquário",
    "ventilador", "bola de futebol", "sapatilha",
)  # fmt: skip
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
_NAMED = frozenset({"employee", "product", "product_2"})
_ACTIONS = frozenset(name for name, spec in SPECS.items() if spec.risk in ("books", "alert"))


def decided(what: Domain, one: Recognition, bars: Bars) -> Run | Ask | Say:
    """The dialogue's first step on a sentence, nothing having been said before."""
    directory = what.understanding.directory
    world = World(now_s=0.0, local=NOON, people=directory.people.shown,
                  products=directory.products.shown, bars=bars)  # fmt: skip
    meanings = what.understanding.understand(one.text)
    meanings.sort(key=lambda meaning: meaning.intent != one.intent)
    return heard(Talk(), meanings, one.confidence, world)[1]


def acts(act: Run | Ask | Say) -> bool:
    """Whether something is written or raised without asking: hours, money, stock, alerts, requests."""
    return isinstance(act, Run) and (act.command in _ACTIONS or act.command == "log_request")


def strangers(
    recogniser: Recogniser, what: Domain, maker: Maker, count: int, bars: Bars
) -> dict[str, float]:
    """Commands that name somebody or something unknown here: shares of what becomes of them."""
    other = shop(STRANGERS, STRANGE_GOODS)
    named = {k: [t for t in v if "{employee}" in t or "{product" in t]
             for k, v in other.sentences.items() if k in SPECS}  # fmt: skip
    strange = replace(other, sentences={k: v for k, v in named.items() if v})
    made = [one for one in maker.commands(strange, count, 20.0)
            if any(slot in _NAMED for slot, _ in one.slots)]  # fmt: skip
    found = Counter(
        _fate(what, recogniser.recognise(one.pcm[: voice_extra.LONGEST], asked=False), bars)
        for one in made
    )
    names = ("refused", "asked_back", "answered_about_another", "written_silently")
    return {name: found[name] / max(1, len(made)) for name in names}


def _fate(what: Domain, one: Recognition, bars: Bars) -> str:
    act = decided(what, one, bars)
    if isinstance(act, Say):
        return "refused"
    if isinstance(act, Ask):
        return "asked_back"
    return "written_silently" if acts(act) else "answered_about_another"


def counts(
    what: Domain, pairs: Sequence[tuple[Recognition, bool]], bars: Bars
) -> tuple[int, int, int]:
    """Of (heard, rightly understood): written or raised unasked, how many of these wrongly, and
    asked back."""
    done = wrong = asked = 0
    for one, right in pairs:
        act = decided(what, one, bars)
        done += acts(act)
        wrong += acts(act) and not right
        asked += isinstance(act, Ask)
    return done, wrong, asked

"""The tenant's own words for the recogniser: who works here, what is sold, and what can be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from beira.apps.voice.engines.choice import EngineChoice
from beira.apps.voice.knowledge import everything
from beira.apps.voice.recogniser import Grammar, Recogniser, compile_grammar
from beira.apps.voice.recogniser.adapt import load
from beira.apps.voice.records import Person, Product
from beira.apps.voice.sentences import grammar_source
from beira.apps.voice.settings import VoiceSettings
from beira.apps.voice.understand import Directory
from beira.sdk import Corrupt, Host, PrivateFiles

log = structlog.get_logger(__name__)
MODEL = Path(__file__).parents[1] / "model"


@dataclass(frozen=True)
class Words:
    """What can be said here now. Equal words make equal grammars."""

    language: str
    people: tuple[str, ...]
    products: tuple[str, ...]
    extra: str

    def grammar(self) -> Grammar:
        """The recogniser's graph of it. Raises Misconfigured or Invalid for an unusable file."""
        source = grammar_source(self.language, self.people, self.products, self.extra)
        return compile_grammar(source.sentences, source.lists, source.rules)


async def known(host: Host) -> tuple[Words, EngineChoice]:
    """What the host's records and settings say now."""
    settings = await host.settings(VoiceSettings)
    choice = EngineChoice.of(settings)
    people = await everything(host, Person)
    products = await everything(host, Product)
    directory = Directory.of(choice.language, people, products, host.place.site)
    names = tuple(directory.said_people), tuple(directory.said_products)
    return Words(choice.language, *names, settings.sentences_file), choice


def recogniser_for(words: Words, folder: Path, files: PrivateFiles | None = None) -> Recogniser:
    """The built-in recogniser, listening for `words`. Pronunciations are kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    cache = folder / "pronunciations.json"
    made = Recogniser(MODEL, words.grammar(), cache=cache, files=files)
    try:
        if (voice := folder / "voice.npz").exists():
            made.adaptation = load(voice, made.model, files)
    except Corrupt as error:
        log.warning("voice.enrolment_unused", why=error.message, hint=error.hint)
    return made


@dataclass(frozen=True)
class Group:
    """Things that can be said, of one kind."""

    title: str
    sentences: tuple[str, ...]


async def examples(host: Host, language: str) -> list[Group]:
    """What can be said, with names of the shop's own people and products."""
    people = [p.name for p in await everything(host, Person) if p.active] or _STAND_INS[language][0]
    products = [p.name for p in await everything(host, Product) if p.active] or _STAND_INS[
        language
    ][1]
    return [
        Group(title, tuple(_filled(text, people, products) for text in texts))
        for title, texts in _EXAMPLES[language]
    ]


def _filled(text: str, people: Sequence[str], products: Sequence[str]) -> str:
    return text.format(
        one=people[0].split()[0], other=people[-1].split()[0],
        a=products[0].lower(), b=products[len(products) // 2].lower(), c=products[-1].lower(),
    )  # fmt: skip


_STAND_INS = {"pt-BR": (["João"], ["leite"]), "en": (["João"], ["milk"])}
_EXAMPLES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "pt-BR": (
        ("Ponto", ("registrar ponto de {one} às 14:30", "{other} chegou agora",
                   "saída de {one} às seis da tarde", "não, foi às duas e quarenta")),
        ("Preço e estoque", ("preço de {a}", "onde fica {b}?", "estoque de {c}")),
        ("Vendas", ("vendi 2 unidades de {a}", "venda de 3 {b} por 12 reais")),
        ("Movimento", ("chegaram 20 caixas de {c}", "perda de 2 {a}", "um cliente pediu {b}")),
        ("Alertas", ("cliente passando mal", "alerta de segurança", "a internet caiu")),
        ("Dia a dia", ("resumo do dia", "que horas são?", "o que posso dizer?")),
    ),
    "en": (
        ("Hours", ("clock in {one} at 2:30 pm", "clock out {other}")),
        ("Price and stock", ("how much is {a}", "where is {b}", "how many {c} do we have")),
        ("Sales", ("sold 2 {a}",)),
        ("Day", ("daily summary", "what time is it", "help")),
    ),
}  # fmt: skip

"""The tenant's own words for the recogniser: who works here, what is sold, and what can be said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from beira.apps.voice.answers import Wording
from beira.apps.voice.engines.choice import EngineChoice
from beira.apps.voice.knowledge import everything
from beira.apps.voice.language import fold, tongue
from beira.apps.voice.language.names import Names, several
from beira.apps.voice.recogniser import Grammar, Recogniser, compile_grammar
from beira.apps.voice.recogniser.adapt import load
from beira.apps.voice.records import Person, Product
from beira.apps.voice.sentences import Examples, Spoken, grammar_source, spoken, stamp
from beira.apps.voice.sentences import load as sentences
from beira.apps.voice.settings import VoiceSettings
from beira.apps.voice.understand import Directory
from beira.sdk import Corrupt, Host, Misconfigured, PrivateFiles

log = structlog.get_logger(__name__)
MODEL = Path(__file__).parents[1] / "model"


@dataclass(frozen=True)
class Words:
    """What can be said here now. Equal words make equal grammars."""

    language: str
    people: tuple[str, ...]
    products: tuple[str, ...]
    extra: str
    extra_stamp: tuple[int, int] = (0, 0)
    """Another one for another content of the shop's own file (`sentences.stamp`)."""
    others: tuple[Spoken, ...] = ()

    def grammar(self) -> Grammar:
        """The recogniser's graph of it. Raises Misconfigured or Invalid for an unusable file."""
        source = grammar_source(
            self.language, self.people, self.products, self.extra, others=self.others
        )
        return compile_grammar(source.sentences, source.lists, source.rules)


async def known(host: Host) -> tuple[Words, EngineChoice]:
    """What the host's records and settings say now."""
    settings = await host.settings(VoiceSettings)
    choice = EngineChoice.of(settings)
    people = await everything(host, Person)
    products = await everything(host, Product)
    directory = Directory.of(choice.language, people, products, host.place.site)
    names = tuple(directory.said_people), tuple(directory.said_products)
    extra, others = settings.sentences_file, spoken(host.catalogue.apps)
    return Words(choice.language, *names, extra, stamp(extra), others), choice


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


async def examples(host: Host, language: str) -> list[Examples]:
    """What can be said, with names of the shop's own people and products, each understood as it is;
    then what other apps and the shop's own file propose."""
    extra, others = (await host.settings(VoiceSettings)).sentences_file, spoken(host.catalogue.apps)
    try:
        more = sentences(language, extra, others).examples
    except Misconfigured:  # the page opens all the same; what is wrong is said where it is used
        more = sentences(language, "", others).examples
    people = [p for p in await everything(host, Person) if p.active] or [_SOMEBODY]
    products = [p for p in await everything(host, Product) if p.active] or [_SOMETHING[language]]
    directory = Directory.of(language, people, products, host.place.site)
    counted = [p for p in products if p.unit not in ("kg", "l")] or products
    of = Wording(language, {}, host.place.zone).named
    one, other = (_called(person, directory.people, language) for person in (people[0], people[-1]))
    sold = [_called(p, directory.products, language) for p in counted]
    way = tongue(language)
    sold.sort(key=lambda name: several(name, way) == name)  # those whose plural is known come first
    names = {
        "one": one, "other": other, "of_one": of(one), "of_other": of(other),
        "a": sold[0], "b": sold[min(1, len(sold) - 1)], "c": sold[min(2, len(sold) - 1)],
    }  # fmt: skip
    names |= {f"{n}s": several(names[n], way) for n in ("a", "b", "c")}
    own = [
        Examples(title, tuple(text.format(**names) for text in texts))
        for title, texts in _EXAMPLES[language]
    ]
    return [*own, *more]


def _called(record: Person | Product, names: Names, language: str) -> str:
    """The shortest way of naming somebody or something that means nobody else."""
    forms = [record.name, *record.also_said]
    if isinstance(record, Person):
        forms.append(record.name.split()[0])
    way = tongue(language)
    sole = [form for form in forms if names.find(fold(way.spell(form))) == (record.id,)]
    called = min(sole or forms, key=len)
    return called if isinstance(record, Person) else called[:1].lower() + called[1:]


_SOMEBODY = Person(id="somebody", name="Ana")
_SOMETHING = {
    "pt-BR": Product(id="something", name="leite"), "en": Product(id="something", name="milk"),
}  # fmt: skip
_EXAMPLES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "pt-BR": (
        ("Ponto", ("registrar ponto {of_one}", "{other} chegou às 8:00",
                   "não, foi às duas e quarenta", "cancelar o ponto {of_other}",
                   "quantas horas {other} fez hoje")),
        ("Preço e estoque", ("quanto custa {a}", "onde fica {b}", "tem {c} em estoque")),
        ("Vendas", ("vendi 2 {as}", "vendi 3 {bs} por 12 reais", "vendi 1 {a}, 2 {bs} e 3 {cs}")),
        ("Estoque", ("chegaram 20 {cs}", "perda de 2 {as}", "cliente devolveu 1 {b}")),
        ("Pedidos", ("um cliente pediu {b}", "anotar pedido da Ana de bolo",
                     "quais pedidos estão abertos", "o pedido da Ana foi atendido")),
        ("Alertas", ("cliente passando mal", "alerta de segurança", "a internet caiu")),
        ("Dia a dia", ("resumo do dia", "quem está na loja", "que horas são", "ajuda")),
    ),
    "en": (
        ("Hours", ("clock in {one} at 2:30 pm", "no it was {other}", "cancel the punch for {other}",
                   "how many hours did {other} work today")),
        ("Price and stock", ("how much is {a}", "where is {b}", "how many {c} do we have")),
        ("Sales", ("sold 2 {a}", "sold 1 {a}, 2 {b} and 3 {c}")),
        ("Stock", ("received 20 {c}", "lost 2 {a}", "customer returned 1 {b}")),
        ("Requests", ("customer wants {b}", "take an order for Ana of cake", "which orders are open")),
        ("Day", ("daily summary", "who is here", "what time is it", "help")),
    ),
}  # fmt: skip

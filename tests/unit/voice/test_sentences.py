"""What can be heard can be understood: sentences drawn from the grammar mean what they were drawn for."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import pytest
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
from tests.unit.voice.shop import PEOPLE, PRODUCTS

from beira.apps.voice.dialogue import SPECS
from beira.apps.voice.language import fold, tongue
from beira.apps.voice.recogniser.grammar import compile_grammar
from beira.apps.voice.sentences import (
    LANGUAGES,
    RECORD_LISTS,
    GrammarSource,
    grammar_source,
    load,
)
from beira.apps.voice.sentences.checked import checked
from beira.apps.voice.understand import Directory, Named, Understanding
from beira.sdk import Misconfigured

TURNS = {"yes", "no", "cancel", "repeat", "thanks", "correction", "answer"}


class Sampler:
    """Draws sentences of a grammar, with what was drawn for each slot."""

    def __init__(self, source: GrammarSource, seed: int) -> None:
        self.source, self.random = source, random.Random(seed)

    def draw(self, template: str) -> tuple[str, dict[str, str]]:
        slots: dict[str, str] = {}
        text = self._draw(parse_sentence(template).expression, slots)
        return " ".join(text.split()), slots

    def _draw(self, part: Expression, slots: dict[str, str]) -> str:
        if isinstance(part, TextChunk):
            return part.text
        if isinstance(part, RuleReference):
            return self._draw(parse_sentence(self.source.rules[part.rule_name]).expression, slots)
        if isinstance(part, ListReference):
            value = self.random.choice(list(self.source.lists[part.list_name]))
            said = self._draw(parse_sentence(value).expression, {})
            slots[part.slot_name] = " ".join(said.split())
            return said
        if isinstance(part, Alternative):
            return self._draw(self.random.choice(part.items), slots)
        assert isinstance(part, Group)
        items = list(part.items)
        if isinstance(part, Permutation):
            self.random.shuffle(items)
        return "".join(self._draw(item, slots) for item in items)


def directory(language: str) -> Directory:
    return Directory.of(language, PEOPLE, PRODUCTS, "s1")


def heard_as(language: str) -> tuple[Understanding, GrammarSource]:
    known = directory(language)
    source = grammar_source(language, known.said_people, known.said_products)
    return Understanding(language, known), source


def expected(understanding: Understanding, list_name: str, said: str) -> object:
    way = understanding.tongue
    parse = {"time": way.parse_time, "money": way.parse_money, "quantity": way.parse_quantity,
             "period": way.period}.get(list_name)  # fmt: skip
    return parse(fold(said)) if parse else None


def references(source: GrammarSource, template: str) -> dict[str, str]:
    texts: Sequence[str] = [template, *source.rules.values()]
    found: Mapping[str, str] = {
        slot or name: name
        for text in texts
        for name, slot in re.findall(r"\{(\w+)(?::(\w+))?\}", text)
    }
    return dict(found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_that_can_be_heard_is_understood(language: str) -> None:
    understanding, source = heard_as(language)
    sampler = Sampler(source, seed=2026)
    wrong = []
    for intent, templates in source.sentences.items():
        for template in templates:
            of_list = references(source, template)
            for _ in range(6):
                text, slots = sampler.draw(template)
                meanings = [m for m in understanding.understand(text) if m.intent == intent]
                fits = [m for m in meanings if slots.keys() <= m.slots.keys()]
                values = {s: expected(understanding, of_list[s], said) for s, said in slots.items()}
                if not any(
                    all(v is None or m.slots[s] == v for s, v in values.items()) for m in fits
                ):
                    wrong.append((intent, text, slots, meanings))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("language", LANGUAGES)
def test_outside_of_answers_the_first_meaning_is_the_one_meant(language: str) -> None:
    understanding, source = heard_as(language)
    sampler = Sampler(source, seed=7)
    wrong = []
    for intent, templates in source.sentences.items():
        if intent in TURNS:
            continue
        for template in templates:
            text, _ = sampler.draw(template)
            first = understanding.understand(text)[0]
            if first.intent != intent:
                wrong.append((intent, text, first))
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_recogniser_can_compile_what_is_given(language: str) -> None:
    _, source = heard_as(language)
    grammar = compile_grammar(source.sentences, source.lists, source.rules)
    assert len(grammar.arcs) < 20_000
    assert "joão" in grammar.words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_intent_is_known_and_every_question_has_words(language: str) -> None:
    sentences = load(language)
    intents = {block.intent for block in sentences.blocks}
    assert intents == SPECS.keys() | TURNS
    for intent, spec in SPECS.items():
        if spec.risk != "none":
            assert f"confirm.{intent}" in sentences.answers
        for need in spec.needs:
            assert f"ask.{need}" in sentences.answers or need in ("reason", "change")


def test_both_languages_answer_the_same_things() -> None:
    ours, theirs = (
        {k for k in load(language).answers if not k.startswith("word.")} for language in LANGUAGES
    )
    assert ours == theirs


SAID = [
    ("Aurora, registrar ponto do João Silva às 14:30", "register_punch"),
    ("AURORA REGISTRAR PONTO DO JOAO SILVA AS DUAS E MEIA DA TARDE", "register_punch"),
    ("ei aurora quanto custa o arroz integral, por favor", "product_price"),
    ("vendi 2,5kg de pao frances por R$ 39,75", "record_sale"),
    ("vendi meia dúzia de ovos", "record_sale"),
    ("venda de 3 coca a 9,90 cada", "record_sale"),
    ("não, foi às duas e quarenta", "correction"),
    ("chegaram 2 dúzias de ovos", "move_stock"),
    ("quebrou uma coca", "move_stock"),
    ("tem leite?", "product_stock"),
    ("o João Souza foi embora às 18h", "register_punch"),
    ("a internet caiu", "report_failure"),
    ("cliente passando mal", "raise_emergency"),
    ("assalto na loja", "raise_security_alert"),
    ("um cliente perguntou por ração para gato", "log_request"),
    ("como foi o dia hoje", "daily_summary"),
]


@pytest.mark.parametrize(("text", "intent"), SAID)
def test_as_people_type_it(text: str, intent: str) -> None:
    understanding, _ = heard_as("pt-BR")
    assert understanding.understand(text)[0].intent == intent


@pytest.mark.parametrize(
    "text",
    ["", "   ", "aurora", "qual é a capital da França", "vamos almoçar mais tarde", "!!!", "😀",
     "could you please open the window", "registrei meu carro no cartório", "a" * 5_000],
)  # fmt: skip
def test_what_is_no_command_means_nothing(text: str) -> None:
    understanding, _ = heard_as("pt-BR")
    assert understanding.understand(text) == []


def test_a_shared_name_means_both_and_a_full_one_means_one() -> None:
    understanding, _ = heard_as("pt-BR")
    both = understanding.understand("ponto do joao")[0].slots["employee"]
    one = understanding.understand("ponto do joao souza")[0].slots["employee"]
    assert set(both.ids) == {"p-silva", "p-souza"} and one.ids == ("p-souza",)


def test_an_unknown_name_is_never_guessed_only_offered() -> None:
    understanding, _ = heard_as("pt-BR")
    named = understanding.understand("registrar ponto do Uesley às 8:00")[0].slots["employee"]
    assert named == Named("Uesley", (), ("p-wesley",))
    stranger = understanding.understand("registrar ponto do Xerxes")[0].slots["employee"]
    assert stranger.ids == () and stranger.closest == ()


def test_who_left_or_works_elsewhere_is_not_known() -> None:
    understanding, _ = heard_as("pt-BR")
    for name in ("Renato Gone", "Otávio Longe"):
        assert understanding.understand(f"ponto do {name}")[0].slots["employee"].ids == ()


def test_a_shop_adds_its_own_sentences(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(
        'intents:\n  product_price:\n    data:\n      - sentences: ["{product} tá quanto"]\n'
        'answers:\n  cancelled: "Beleza."\n',
        encoding="utf-8",
    )
    understanding = Understanding("pt-BR", directory("pt-BR"), extra=str(file))
    assert understanding.understand("coca tá quanto")[0].intent == "product_price"
    assert understanding.sentences.answers["cancelled"] == "Beleza."
    assert understanding.understand("quanto custa a coca")[0].intent == "product_price"


HELP = "intents:\n  help:\n    data:\n"
WRONG = [
    ("a: [", 1, "no YAML", "quote and bracket"),
    ("intents:\n\tx: 1", 2, "no YAML", "indents are spaces"),
    ("- 1", 1, "no mapping", "name:"),
    ("intents: 3", 1, "no mapping", "indented"),
    ("intent: {}", 1, "no part of the file named 'intent'", "intents"),
    ("intents:\n  product_prise:\n    data: []", 2, "named 'product_prise'", "product_price"),
    ("intents:\n  help: {data: [{}]}", 2, "no list of sentences", "sentences:"),
    (HELP + "      - sentences: [socorro\n        (já, x]", 4, "cannot be read", "Close"),
    (HELP + '      - sentences:\n          - "oi"\n          - "<itens> aí"', 6,
     "no rule named 'itens'", "item"),
    (HELP + '      - sentences: ["{produto} aí"]', 4, "list named 'produto'", "product"),
    (HELP + "      - sentences: [{product} aí]", 4, "", ""),
    (HELP + "      - frases: [a]", 4, "named 'frases'", "sentences"),
    ('expansion_rules:\n  mim: "<voce>"\n  voce: "oi [<mim>]"', 2, "leads back to itself", "Write"),
    ("lists:\n  thing: [caixa]", 2, "no mapping", "indented"),
    ("lists:\n  thing: {valores: [caixa]}", 2, "named 'valores'", "values"),
    ("lists:\n  thing: {}", 2, "no values", "values:"),
    ("answers:\n  canceled: Beleza", 2, "named 'canceled'", "cancelled"),
    ("answers:\n  cancelled: a\n  cancelled: b", 3, "twice", "one"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "hint"), WRONG)
def test_a_broken_file_says_where_what_and_what_to_do(
    tmp_path: Path, text: str, line: int, what: str, hint: str
) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Misconfigured, match="cannot be used") as found:
        load("pt-BR", str(file))
    assert f"line {line}: " in found.value.message, found.value.message
    assert what in found.value.message and hint in found.value.hint, found.value


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file") as found:
        load("pt-BR", str(tmp_path / "none.yaml"))
    assert "sentences_file" in found.value.hint
    (tmp_path / "latin.yaml").write_bytes("answers: {cancelled: não}".encode("latin-1"))
    with pytest.raises(Misconfigured) as found:
        load("pt-BR", str(tmp_path / "latin.yaml"))
    assert "UTF-8" in found.value.hint


def test_an_empty_file_adds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text("# nothing yet\nintents:\n", encoding="utf-8")
    assert load("pt-BR", str(file)).blocks == load("pt-BR").blocks


def test_a_file_that_breaks_leaves_the_last_good_one(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text('answers: {cancelled: "Beleza."}', encoding="utf-8")
    assert load("pt-BR", str(file)).answers["cancelled"] == "Beleza."
    file.write_text("answers: [", encoding="utf-8")
    assert load("pt-BR", str(file)).answers["cancelled"] == "Beleza."
    file.write_text('answers: {cancelled: "Tá bom."}', encoding="utf-8")
    assert load("pt-BR", str(file)).answers["cancelled"] == "Tá bom."


def test_the_apps_own_files_pass_the_same_check() -> None:
    for language in LANGUAGES:
        own = load(language)
        text = files("beira.apps.voice.sentences").joinpath(f"{language}.yaml").read_text("utf-8")
        assert checked(text, intents={b.intent for b in own.blocks}, rules=own.rules,
                       lists=(*own.lists, *RECORD_LISTS), answers=own.answers)  # fmt: skip


def test_spelled_names_are_as_they_are_said() -> None:
    said = directory("pt-BR").said_products
    assert "coca cola dois litros" in said and "ovos" in said
    assert tongue("pt-BR").spell("2 kg").split() == ["dois", "quilos"]

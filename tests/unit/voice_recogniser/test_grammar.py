"""The graph accepts exactly what the templates say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.voice.recogniser.grammar import (
    End,
    Grammar,
    Listed,
    Word,
    compile_grammar,
    normal_words,
)
from beira.sdk import Invalid

RULES = {"of": "d(o|a)", "units": "(um|dois|três)", "polite": "[por favor]"}
LISTS = {"employee": ["Ana", "João Batista"], "product": ["arroz", "pão [francês]"], "none": []}
SENTENCES = {
    "punch": ["[registrar] ponto <of> {employee} <polite>"],
    "sale": ["vendi <units> {product}", "(venda;agora) <units> {product:goods}"],
    "help": ["ajuda", "me ajud(a|e)"],
    "never": ["procurar {none}"],
}


def spoken(grammar: Grammar, state: int | None = None) -> set[tuple[str, tuple[str, ...]]]:
    """Every (intent, words) of a small grammar, slots marked in the words."""
    found: set[tuple[str, tuple[str, ...]]] = set()
    for label, target in grammar.arcs[grammar.start if state is None else state]:
        if isinstance(label, End):
            found.add((label.intent, ()))
        elif isinstance(label, Word):
            found |= {(intent, (label.text, *rest)) for intent, rest in spoken(grammar, target)}
        elif isinstance(label, Listed):
            for _, value in spoken(grammar, grammar.lists[label.name]):
                marked = tuple(f"{label.slot}:{word}" for word in value)
                found |= {(intent, (*marked, *rest)) for intent, rest in spoken(grammar, target)}
    return found


def test_accepts_exactly_the_templates() -> None:
    said = spoken(compile_grammar(SENTENCES, LISTS, RULES))
    punches = {words for intent, words in said if intent == "punch"}
    assert len(punches) == 2 * 2 * 2 * 2
    assert ("ponto", "do", "employee:joão", "employee:batista", "por", "favor") in punches
    assert ("registrar", "ponto", "da", "employee:ana") in punches
    sales = {words for intent, words in said if intent == "sale"}
    assert ("agora", "venda", "três", "goods:pão", "goods:francês") in sales
    assert len(sales) == 3 * 3 * 3
    assert {w for i, w in said if i == "help"} == {("ajuda",), ("me", "ajuda"), ("me", "ajude")}
    assert not [words for intent, words in said if intent == "never"]


def test_the_same_sentence_for_two_intents_keeps_both() -> None:
    said = spoken(compile_grammar({"a": ["sim"], "b": ["sim"]}, {}, {}))
    assert said == {("a", ("sim",)), ("b", ("sim",))}


def test_shared_endings_are_one_state() -> None:
    many = {"a": [f"palavra{i} e depois o mesmo fim" for i in range(50)]}
    grammar = compile_grammar(many, {}, {})
    after = {target for _, target in grammar.arcs[grammar.start]}
    assert len(after) == 1


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("ponto do {ninguém}", "voice.unknown_list"),
        ("ponto <nada>", "voice.unknown_rule"),
        ("ponto (do", "voice.bad_template"),
        ("ponto<round>", "voice.endless_rule"),
        ("x{employee}", "voice.bad_template"),
    ],
)
def test_a_bad_template_is_named(template: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        compile_grammar({"a": [template]}, LISTS, {**RULES, "round": "de <round>"})
    assert caught.value.code == code
    assert caught.value.hint


words = st.sampled_from(["um", "dois", "três", "fica", "onde"])
parts = st.recursive(
    words,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda p: f"({'|'.join(p)})"),
        inner.map(lambda p: f"[{p}]"),
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
    ),
    max_leaves=6,
)


def expand(template: str) -> set[tuple[str, ...]]:
    """All sentences of a template, by hassil's own sampler."""
    from hassil import parse_sentence, sample_expression

    return {tuple(normal_words(s)) for s in sample_expression(parse_sentence(template).expression)}


@settings(max_examples=60, deadline=None)
@given(st.lists(parts, min_size=1, max_size=3))
def test_law_the_graph_and_hassil_agree(templates: list[str]) -> None:
    grammar = compile_grammar({"x": templates}, {}, {})
    ours = {said for _, said in spoken(grammar)}
    theirs = set().union(*(expand(t) for t in templates))
    assert ours - {()} == theirs - {()}

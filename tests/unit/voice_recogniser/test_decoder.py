"""Perfect phones are decoded to the sentence they spell; runners-up are worse and different."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.voice.recogniser.decoder import Decoder
from beira.apps.voice.recogniser.grammar import compile_grammar
from beira.apps.voice.recogniser.graph import Graph, build_graph, variants, without
from beira.apps.voice.recogniser.phones import BLANK, INDEX, PHONES, phones_of_ipa

SOUNDS = {
    word: tuple(INDEX[p] for p in phones.split())
    for word, phones in {
        "ponto": "p o N t u", "do": "d u", "da": "d a", "ana": "a n a", "bia": "b i a",
        "maria": "m a r i a", "às": "a s", "dez": "d e s", "três": "t r e s", "ajuda": "a Z u d a",
    }.items()
}  # fmt: skip
LISTS = {"who": ["ana", "bia", "maria", "maria bia"], "when": ["às dez", "às três"]}
SENTENCES = {"punch": ["ponto d(o|a) {who} [{when}]"], "help": ["ajuda"]}


def graph() -> Graph:
    return build_graph(compile_grammar(SENTENCES, LISTS, {}), SOUNDS)


def frames(words: list[str], rng: np.random.Generator, noise: float = 0.0) -> np.ndarray:
    """Log probabilities as a model would give them for these words."""
    peaks = [BLANK] * 3
    for word in words:
        for phone in SOUNDS[word]:
            peaks += [phone] * int(rng.integers(1, 3)) + [BLANK] * int(rng.integers(1, 3))
    logits = rng.normal(0, 0.1 + noise, (len(peaks), len(PHONES)))
    logits[np.arange(len(peaks)), peaks] += 8.0
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def words_of(made: Graph, decoder: Decoder) -> list[str]:
    path = decoder.best()
    return [made.arcs[w.arc].word for w in path.words] if path else []


sentences = st.one_of(
    st.just(["ajuda"]),
    st.tuples(
        st.sampled_from(["do", "da"]),
        st.sampled_from([["ana"], ["bia"], ["maria"], ["maria", "bia"]]),
        st.sampled_from([[], ["às", "dez"], ["às", "três"]]),
    ).map(lambda t: ["ponto", t[0], *t[1], *t[2]]),
)


@settings(max_examples=50, deadline=None)
@given(sentences, st.integers(0, 10_000))
def test_law_leaving_an_intent_out_is_as_if_it_had_never_been(said: list[str], seed: int) -> None:
    left = without(graph(), "help")
    never = build_graph(compile_grammar({"punch": SENTENCES["punch"]}, LISTS, {}), SOUNDS)
    logp = frames(said, np.random.default_rng(seed), noise=1.0)
    heard = []
    for made in (left, never):
        decoder = Decoder(made)
        decoder.push(logp)
        path = decoder.best()
        heard.append((words_of(made, decoder), path.score if path else None))
    assert heard[0][0] == heard[1][0]
    assert heard[0][1] == pytest.approx(heard[1][1], rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(sentences, st.integers(0, 10_000))
def test_law_perfect_phones_are_heard(said: list[str], seed: int) -> None:
    made = graph()
    decoder = Decoder(made)
    decoder.push(frames(said, np.random.default_rng(seed)))
    assert words_of(made, decoder) == said


@settings(max_examples=30, deadline=None)
@given(sentences, st.integers(0, 10_000), st.integers(1, 9))
def test_law_pushing_in_parts_and_the_beam_change_nothing(
    said: list[str], seed: int, part: int
) -> None:
    made, logp = graph(), frames(said, np.random.default_rng(seed), 1.0)
    whole, parts = Decoder(made, beam=1e9), Decoder(made)
    whole.push(logp)
    for at in range(0, len(logp), part):
        parts.push(logp[at : at + part])
        parts.fork().push(logp[:3])
    one, other = whole.best(), parts.best()
    assert one is not None and other is not None
    assert one.words == other.words
    assert one.score == pytest.approx(other.score, abs=1e-2)


def test_slots_and_intent_come_with_the_words() -> None:
    made = graph()
    decoder = Decoder(made)
    decoder.push(frames(["ponto", "da", "maria", "bia", "às", "dez"], np.random.default_rng(1)))
    path = decoder.best()
    assert path is not None and path.intent == "punch"
    arcs = [made.arcs[w.arc] for w in path.words]
    assert [(a.slot, a.starts_slot) for a in arcs[2:]] == [
        ("who", True), ("who", False), ("when", True), ("when", False),
    ]  # fmt: skip


def test_runners_up_are_sorted_and_end_where_the_best_does() -> None:
    made = graph()
    decoder = Decoder(made)
    decoder.push(frames(["ponto", "da", "ana"], np.random.default_rng(2), 1.0))
    ways = decoder.alternatives()
    scores = [way.score for way in ways]
    assert len(ways) > 2 and scores == sorted(scores, reverse=True)
    assert len({tuple(w.arc for w in way.words) for way in ways}) == len(ways)


def test_completeness_falls_while_a_word_is_unfinished() -> None:
    made, logp = graph(), frames(["ponto", "da", "maria"], np.random.default_rng(3))
    decoder = Decoder(made)
    decoder.push(logp[:-9])
    before = decoder.completeness()
    decoder.push(logp[-9:])
    assert decoder.completeness() == 0.0 and before < -3.0


def test_ratios_tell_a_word_that_does_not_fit() -> None:
    made = graph()
    decoder = Decoder(made)
    spelled = {**SOUNDS, "zulu": tuple(INDEX[p] for p in ["z", "u", "l", "u", "f", "i"])}
    said = np.concatenate(
        [frames(["ponto", "da"], np.random.default_rng(4)), _frames_of(spelled["zulu"])]
    )
    decoder.push(said)
    path = decoder.best()
    assert path is not None
    ratios = decoder.ratios(path)
    assert min(ratios[2:]) < min(ratios[:2]) - 1.0


def _frames_of(sounds: tuple[int, ...]) -> np.ndarray:
    logits = np.zeros((2 * len(sounds), len(PHONES)))
    logits[np.arange(0, 2 * len(sounds), 2), sounds] = 8.0
    logits[1::2, BLANK] = 8.0
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def test_a_word_nobody_can_pronounce_is_left_out_and_named() -> None:
    made = build_graph(compile_grammar({"a": ["ajuda", "xyz"]}, {}, {}), SOUNDS)
    assert made.skipped == ("xyz",)
    assert {arc.word for arc in made.arcs} == {"ajuda"}


def test_regional_variants() -> None:
    last_r = variants(tuple(INDEX[p] for p in ["f", "a", "l", "a", "r"]))[-1]
    assert {PHONES[p] for p in last_r} == {"r", "h", "_"}
    d, a = variants(tuple(INDEX[p] for p in ["d", "a"]))
    assert [PHONES[p] for p in d] == ["d"] and [PHONES[p] for p in a] == ["a"]


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ʒ.o.ˈɐ̃ʊ̃", "Z o ã u"), ("dʒ.y", "dZ i"), ("m.ɐ̃.ɲ.ˈɐ̃", "m ã ñ ã"),
        ("(en)tʃ.ˈaː(pt)", "tS a"), ("ʎ.a", "l i a"),
    ],
)  # fmt: skip
def test_ipa_to_phones(ipa: str, phones: str) -> None:
    found = phones_of_ipa(ipa)
    assert found is not None and " ".join(PHONES[p] for p in found) == phones


def test_unknown_sounds_are_refused() -> None:
    assert phones_of_ipa("ʘ.a") is None

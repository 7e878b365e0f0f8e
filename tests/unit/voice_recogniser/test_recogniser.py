"""Real audio through the real model: what is said is heard, and what cannot be heard is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.recogniser import Recogniser, compile_grammar
from beira.apps.voice.recogniser.acoustic import AcousticModel, AcousticStream, whole
from beira.apps.voice.recogniser.features import to_float
from beira.sdk import Corrupt, Invalid, Misconfigured, TooLarge

from .conftest import LISTS, MODEL, SENTENCES, Say


@pytest.mark.parametrize("voice", ["pt-br", "pt-br+f5", "pt-br+Diogo"])
@pytest.mark.parametrize(
    ("said", "intent", "slots"),
    [
        ("aurora registrar ponto do joão às duas e meia", "punch",
         [("employee", "joão"), ("hour", "duas e meia")]),
        ("quanto custa o feijão preto", "price", [("product", "feijão preto")]),
        ("alerta de segurança", "alert", []),
    ],
)  # fmt: skip
def test_what_is_said_is_heard(
    recogniser: Recogniser, say: Say, voice: str, said: str, intent: str, slots: list[object]
) -> None:
    heard = recogniser.recognise(say(said, voice))
    assert heard.text == said
    assert heard.intent == intent
    assert [(slot.name, slot.text) for slot in heard.slots] == slots
    assert 0 < heard.confidence < 1
    assert all(0 <= slot.confidence <= 1 for slot in heard.slots)
    assert {"acoustic", "decode"} <= heard.timings_ms.keys()


def test_a_new_name_needs_no_training(say: Say, tmp_path: Path) -> None:
    cache = tmp_path / "pronunciations.json"
    made = Recogniser(
        MODEL, compile_grammar(SENTENCES, LISTS, {}), second_opinion=False, cache=cache
    )
    lists = {**LISTS, "employee": [*LISTS["employee"], "Zuleica", "Wanderlei"]}
    made.set_grammar(compile_grammar(SENTENCES, lists, {}))
    heard = made.recognise(say("aurora registrar ponto da zuleica às dez horas"))
    assert [slot.text for slot in heard.slots] == ["zuleica", "dez horas"]
    assert "zuleica" in cache.read_text(encoding="utf-8")


def test_bare_answers_are_heard_only_while_a_question_waits(say: Say) -> None:
    sentences = {**SENTENCES, "answer": ["o {employee}", "[às] {hour}"]}
    made = Recogniser(MODEL, compile_grammar(sentences, LISTS, {}))
    name = say("o pedro")
    assert made.recognise(name, asked=True).text == "o pedro"
    assert made.recognise(name, asked=False).intent != "answer"
    command = say("aurora registrar ponto do joão às duas e meia")
    assert made.recognise(command, asked=False).text == made.recognise(command, asked=True).text


def test_what_is_no_command_is_much_less_sure(recogniser: Recogniser, say: Say) -> None:
    inside = recogniser.recognise(say("aurora registrar ponto da maria clara"))
    outside = recogniser.recognise(say("amanhã vai chover muito no litoral do estado"))
    assert outside.confidence < 0.5 * inside.confidence


def test_runners_up_mean_something_else(recogniser: Recogniser, say: Say) -> None:
    heard = recogniser.recognise(say("registrar ponto do joão", rate=230))
    meanings = {(o.intent, tuple((s.name, s.text) for s in o.slots)) for o in heard.alternatives}
    assert ("punch", (("employee", "joão"),)) not in meanings
    assert all(other.confidence <= heard.confidence for other in heard.alternatives)


def test_the_same_heard_however_it_comes(recogniser: Recogniser, say: Say) -> None:
    pcm = say("aurora quanto custa o café")
    texts = set()
    for size in (160, 777, 5_000, len(pcm)):
        stream = recogniser.stream()
        for at in range(0, len(pcm), size):
            stream.feed(pcm[at : at + size])
        texts.add(stream.finish().text)
    assert texts == {"aurora quanto custa o café"}


def test_streaming_gives_what_the_whole_gives(model: AcousticModel, say: Say) -> None:
    samples = to_float(say("aurora ajuda"))
    expected, stream, final = whole(model, samples), AcousticStream(model), []
    rest = np.zeros((0, 1))
    for at in range(0, len(samples), 1_920):
        new, rest = stream.push(samples[at : at + 1_920])
        final.append(new)
    got = np.concatenate([*final, rest])
    assert got.shape == expected.shape
    assert np.abs(np.exp(got) - np.exp(expected)).max() < 0.02


def test_the_end_is_noticed_and_not_too_early(recogniser: Recogniser, say: Say) -> None:
    pcm = say("aurora registrar ponto do pedro", after_s=2.0)
    stream, ended_s = recogniser.stream(), 0.0
    for at in range(0, len(pcm), 320):
        if stream.feed(pcm[at : at + 320]).ended:
            ended_s = at / 16_000
            break
    spoken_s = len(pcm) / 16_000 - 2.0
    assert spoken_s - 0.3 < ended_s < spoken_s + 1.0
    assert stream.finish().text == "aurora registrar ponto do pedro"


@pytest.mark.parametrize(
    ("pcm", "code"),
    [
        (np.zeros(0, np.int16), "voice.audio_too_short"),
        (np.zeros(16_000, np.int16), "voice.audio_silent"),
        (np.where(np.arange(16_000) % 80 < 40, 32_767, -32_768).astype(np.int16),
         "voice.audio_clipped"),
    ],
)  # fmt: skip
def test_audio_that_holds_nothing(recogniser: Recogniser, pcm: np.ndarray, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        recogniser.recognise(pcm)
    assert caught.value.code == code and caught.value.hint


def test_audio_without_end(recogniser: Recogniser) -> None:
    with pytest.raises(TooLarge):
        recogniser.recognise(np.zeros(16_000 * 16, np.int16))


@pytest.mark.parametrize("wrong", [np.zeros(10, np.float32), np.zeros((10, 2), np.int16), b"abc"])
def test_what_is_not_audio(recogniser: Recogniser, wrong: object) -> None:
    with pytest.raises(Invalid):
        recogniser.stream().feed(wrong)  # type: ignore[arg-type]


def test_noise_alone_is_no_command(recogniser: Recogniser) -> None:
    noise = np.random.default_rng(3).normal(0, 2_000, 32_000).astype(np.int16)
    assert recogniser.recognise(noise).confidence < 0.3


def test_a_missing_or_changed_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        AcousticModel(tmp_path)
    (tmp_path / "model.json").write_bytes((MODEL / "model.json").read_bytes())
    (tmp_path / "acoustic.onnx").write_bytes((MODEL / "acoustic.onnx").read_bytes()[:-1])
    with pytest.raises(Corrupt):
        AcousticModel(tmp_path)

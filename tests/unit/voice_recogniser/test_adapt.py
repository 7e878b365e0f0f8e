"""Ten phrases teach a voice: the loss on it falls, the gradient is right, the file is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.recogniser.acoustic import AcousticModel, whole
from beira.apps.voice.recogniser.adapt import Phrase, adapt, ctc, load, save
from beira.apps.voice.recogniser.features import to_float
from beira.apps.voice.recogniser.pronounce import Pronouncer
from beira.sdk import Corrupt, Invalid

from .conftest import Say

TEXTS = ("quanto custa o quilo de arroz", "registrar ponto da maria às oito e meia",
         "chegaram vinte caixas de leite", "onde fica o café", "resumo do dia")  # fmt: skip
VOICE = "pt-br+Alicia"


def phrase(model: AcousticModel, say: Say, text: str) -> Phrase:
    sounds = Pronouncer(model.meta["lexicon"]).sounds(text.split())
    return Phrase(say(text, VOICE), tuple(p for w in text.split() for p in sounds[w]))


def test_the_voice_is_explained_better(model: AcousticModel, say: Say, tmp_path: Path) -> None:
    phrases = [phrase(model, say, text) for text in TEXTS]
    new = phrase(model, say, "quanto custa o café da maria")
    learnt = adapt(model, phrases)
    save(learnt, tmp_path / "voice.npz")
    again = load(tmp_path / "voice.npz", model)
    before = ctc(whole(model, to_float(new.pcm)).astype(float), new.phones)[0]
    after = ctc(whole(model, to_float(new.pcm), again).astype(float), new.phones)[0]
    assert after > before


def test_the_gradient_is_the_slope() -> None:
    rng = np.random.default_rng(0)
    logits, phones = rng.normal(size=(9, 5)), (1, 2, 2, 3)

    def value(at: np.ndarray) -> float:
        return ctc(at - np.log(np.exp(at).sum(1, keepdims=True)), phones)[0]

    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    slope = ctc(logp, phones)[1] - np.exp(logp)
    for row, column in ((0, 0), (3, 2), (8, 3)):
        nudged = logits.copy()
        nudged[row, column] += 1e-5
        assert (value(nudged) - value(logits)) / 1e-5 == pytest.approx(slope[row, column], abs=1e-3)


def test_too_few_phrases(model: AcousticModel) -> None:
    with pytest.raises(Invalid):
        adapt(model, [])


def test_a_file_that_is_none(model: AcousticModel, tmp_path: Path) -> None:
    bad = tmp_path / "voice.npz"
    bad.write_bytes(b"not an archive")
    with pytest.raises(Corrupt):
        load(bad, model)
    np.savez(bad, warp=1.0, weight=np.zeros((3, 3)), bias=np.zeros(3))
    with pytest.raises(Corrupt):
        load(bad, model)

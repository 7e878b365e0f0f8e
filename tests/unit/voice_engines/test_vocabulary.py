"""What the page proposes to say must be understood, and what a voice reads to enrol must be heard."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from beira.apps.voice import edge as edge_module
from beira.apps.voice.engines.enrolment import learn, phrases_for, said_as
from beira.apps.voice.engines.vocabulary import examples
from beira.apps.voice.knowledge import knowledge_of

from .shop import said, shop


@pytest.mark.parametrize("language", ["pt-BR", "en"])
async def test_every_example_is_understood(tmp_path: Path, language: str) -> None:
    async with shop(tmp_path) as made:
        known = await knowledge_of(made.host, language).fresh()
        for group in await examples(made.host, language):
            for sentence in group.sentences:
                assert known.understanding.understand(sentence), sentence


def test_phrases_to_read_are_ten_and_shown_as_people_write() -> None:
    phrases = phrases_for(["joão silva"], ["leite integral"])
    assert len(set(phrases)) == 10
    assert phrases[0] == "Aurora, registrar ponto de João Silva às duas e meia da tarde."
    assert said_as(phrases[0]) == "aurora registrar ponto de joão silva às duas e meia da tarde"


async def test_learning_keeps_only_what_gains(tmp_path: Path) -> None:
    async with shop(tmp_path) as made:
        assert made.voice.built_in is not None and made.voice.words is not None
        recogniser = made.voice.built_in.recogniser
        texts = phrases_for(made.voice.words.people, made.voice.words.products)
        read = [(said_as(text), await said(text, quiet_s=0.3)) for text in texts]
        found, gain = learn(recogniser, read, None)
        assert gain.after >= gain.before
        assert (found is not None) == (gain.after > gain.before) or gain.after == gain.before
        before = recogniser.adaptation
        await made.voice.learn_voice(read)
        kept = (tmp_path / "voice" / "voice.npz").exists()
        assert kept == (recogniser.adaptation is not before)
        await made.voice.forget_voice()
        assert recogniser.adaptation is None
        assert not (tmp_path / "voice" / "voice.npz").exists()


async def test_the_recogniser_follows_the_shops_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_module, "LOOK_EVERY_S", 0.05)
    file = tmp_path / "loja.yaml"
    text = 'intents:\n  product_price:\n    data:\n      - sentences: ["{}"]\n'
    file.write_text(text.format("quanto sai (o | a) {product}"))
    async with shop(tmp_path, settings={"sentences_file": str(file)}) as made:
        first = made.voice.words
        assert first is not None and first.extra_stamp != (0, 0)
        file.write_text(text.format("por quanto fica (o | a) {product} hoje"))
        async with asyncio.timeout(60):
            while made.voice.words == first:
                await asyncio.sleep(0.02)

"""The second opinion comes in time or not at all, and never stops the first."""

from __future__ import annotations

import time

import numpy as np
import pytest

from beira.apps.voice.recogniser import Recogniser, compile_grammar
from beira.apps.voice.recogniser.second import MOST_STARTS

from .conftest import LISTS, MODEL, SENTENCES, Say


@pytest.fixture
def listening() -> Recogniser:
    made = Recogniser(MODEL, compile_grammar(SENTENCES, LISTS, {}), second_opinion=True)
    made.second_wait_s = 20.0
    yield made
    assert made.second is not None
    made.second.close()


def test_it_hears_something_of_the_grammar(listening: Recogniser, say: Say) -> None:
    heard = listening.recognise(say("alerta de segurança", after_s=1.0))
    known = {
        "aurora",
        "alerta",
        "de",
        "segurança",
        "registrar",
        "ponto",
        "quanto",
        "custa",
        "ajuda",
    }
    assert heard.text == "alerta de segurança"
    assert heard.second and set(heard.second.split()) & known


def test_a_dead_child_is_only_a_missing_opinion(listening: Recogniser, say: Say) -> None:
    pcm = say("alerta de segurança")
    listening.second_wait_s = 0.05
    for _ in range(MOST_STARTS + 1):
        assert listening.second is not None
        if listening.second._child is not None:
            listening.second._child.kill()
            listening.second._child.wait()
        assert listening.recognise(pcm).text == "alerta de segurança"
    assert listening.recognise(pcm).second == ""


def test_two_at_once_share_it(listening: Recogniser, say: Say) -> None:
    pcm = say("ajuda")
    one, other = listening.stream(), listening.stream()
    for stream in (one, other):
        stream.feed(pcm)
    began = time.monotonic()
    assert {one.finish().text, other.finish().text} == {"ajuda"}
    assert time.monotonic() - began < 60
    assert listening.recognise(np.concatenate([pcm, pcm[:1_600]])).text == "ajuda"

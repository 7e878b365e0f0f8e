"""Speech is over by silence, by a sentence that stands, or by the cap; not before."""

from __future__ import annotations

import numpy as np

from beira.apps.voice.recogniser.endpoint import Endpointer, EndpointSettings

from .conftest import Say


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(int(16_000 * seconds), np.int16)


def test_silence_after_speech(say: Say) -> None:
    end = Endpointer()
    assert end.audio(say("aurora registrar ponto do joão", after_s=0.0)) == ""
    assert end.audio(quiet(0.3)) == ""
    assert end.audio(quiet(0.5)) == "silence"


def test_nobody_speaks() -> None:
    end = Endpointer(EndpointSettings(no_speech_s=1.0))
    assert end.audio(quiet(0.9)) == ""
    assert end.audio(quiet(0.3)) == "no_speech"


def test_the_cap(say: Say) -> None:
    end = Endpointer(EndpointSettings(cap_s=1.0))
    assert end.audio(say("aurora registrar ponto do joão batista")) == "cap"


def test_a_sentence_that_stands_ends_sooner_where_nothing_can_follow() -> None:
    waits = {}
    for can_go_on in (False, True):
        end = Endpointer(EndpointSettings(no_speech_s=60))
        while not end.hypothesis((1, 2), complete=True, can_go_on=can_go_on):
            end.audio(quiet(0.1))
            assert end.heard_s < 3
        assert end.reason == "sentence"
        waits[can_go_on] = end.heard_s
    assert waits[False] < waits[True]


def test_a_sentence_that_changes_starts_again() -> None:
    end = Endpointer(EndpointSettings(no_speech_s=60))
    for word in range(20):
        end.audio(quiet(0.2))
        assert end.hypothesis((word,), complete=True, can_go_on=False) == ""
    for _ in range(20):
        end.audio(quiet(0.2))
        assert end.hypothesis((1,), complete=False, can_go_on=False) == ""

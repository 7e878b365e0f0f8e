"""Aurora is heard when called, and not in other talk."""

from __future__ import annotations

import numpy as np
import pytest

from beira.apps.voice.recogniser import Recogniser
from beira.apps.voice.recogniser.acoustic import AcousticModel
from beira.apps.voice.recogniser.wake import WakeWord, confirmed

from .conftest import Say


def wakes(model: AcousticModel, pcm: np.ndarray) -> list[float]:
    wake, found = WakeWord(model), []
    for at in range(0, len(pcm), 640):
        heard = wake.feed(pcm[at : at + 640])
        if heard is not None:
            found.append(heard.at_s)
    return found


@pytest.mark.parametrize("voice", ["pt-br", "pt-br+f5", "pt-br+Hugo"])
def test_called(model: AcousticModel, say: Say, voice: str) -> None:
    found = wakes(model, say("aurora quanto custa o café", voice, after_s=1.0))
    assert len(found) == 1 and 0.3 < found[0] < 1.6


def test_not_called(model: AcousticModel, say: Say) -> None:
    assert wakes(model, say("a gente se encontra amanhã na praça central", after_s=1.0)) == []


def test_the_second_stage_wants_a_command(recogniser: Recogniser, say: Say) -> None:
    called = recogniser.recognise(say("aurora quanto custa o café"))
    bare = recogniser.recognise(say("quanto custa o café"))
    assert confirmed(called, 0.0)
    assert not confirmed(bare, 0.0) and not confirmed(called, 1.0)

"""Real engines for the tests: a spoken sentence made by espeak-ng when it is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from beira.apps.voice.engines.espeak import Espeak
from beira.apps.voice.engines.ports import HEARD_HZ, Pcm, TextToSpeech
from beira.apps.voice.engines.sound import resampled


@pytest.fixture
async def espeak() -> AsyncIterator[Espeak]:
    engine = Espeak()
    await engine.start()
    yield engine
    await engine.close()


async def spoken(engine: TextToSpeech, text: str, language: str = "pt-BR") -> tuple[int, bytes]:
    """(rate, PCM) of a text."""
    sounds = [sound async for sound in engine.speak(text, language)]
    return sounds[0].rate_hz, b"".join(sound.pcm for sound in sounds)


async def utterance(engine: TextToSpeech, text: str) -> Pcm:
    """A text as a microphone would give it, silence around it."""
    rate_hz, pcm = await spoken(engine, text)
    quiet = np.zeros(HEARD_HZ // 2, np.int16)
    voice = resampled(np.frombuffer(pcm, "<i2"), rate_hz, HEARD_HZ)
    return np.concatenate([quiet, voice, quiet, quiet])

"""Real speech for the tests, spoken by espeak-ng while they run; the model that is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.recogniser import Recogniser, compile_grammar
from beira.apps.voice.recogniser import espeak_child as child_module
from beira.apps.voice.recogniser.acoustic import AcousticModel

MODEL = Path(child_module.__file__).parents[1] / "model"
LISTS = {
    "employee": ["joão", "maria clara", "pedro"],
    "product": ["arroz", "feijão preto", "café"],
    "hour": ["duas e meia", "dez horas", "meio dia"],
}
SENTENCES = {
    "punch": ["[aurora] registrar [o] ponto d(o|a) {employee} [às {hour}]"],
    "price": ["[aurora] quanto custa [o] {product}"],
    "help": ["[aurora] ajuda"],
    "alert": ["[aurora] alerta de segurança"],
}
Say = Callable[..., np.ndarray]


def until(true: Callable[[], bool], most_s: float = 60.0) -> bool:
    """Wait for a condition; whether it came."""
    end_s = time.monotonic() + most_s
    while not (found := true()) and time.monotonic() < end_s:
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def say() -> Iterator[Say]:
    """`say(text, voice=…)`: int16 at 16 kHz with silence around it."""
    command = [sys.executable, child_module.__file__]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin and child.stdout

    def spoken(
        text: str, voice: str = "pt-br", rate: int = 150, after_s: float = 0.6
    ) -> np.ndarray:
        ask = {"text": text, "voice": voice, "rate": rate, "audio": True}
        child.stdin.write(json.dumps(ask).encode() + b"\n")
        child.stdin.flush()
        reply = json.loads(child.stdout.readline())
        pcm = np.frombuffer(child.stdout.read(reply["bytes"]), np.int16)
        at = np.arange(int(len(pcm) * 16_000 / reply["rate_hz"])) * reply["rate_hz"] / 16_000
        smooth = np.convolve(pcm, [0.25, 0.5, 0.25], "same")
        sound = np.interp(at, np.arange(len(pcm)), smooth)
        noise = np.random.default_rng(1).normal(0, 20, len(sound) + int(16_000 * (0.3 + after_s)))
        noise[4_800 : 4_800 + len(sound)] += sound
        return noise.astype(np.int16)

    yield spoken
    child.kill()
    child.wait()


@pytest.fixture(scope="session")
def model() -> AcousticModel:
    return AcousticModel(MODEL)


@pytest.fixture(scope="session")
def recogniser() -> Recogniser:
    return Recogniser(MODEL, compile_grammar(SENTENCES, LISTS, {}), second_opinion=False)

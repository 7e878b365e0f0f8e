"""Figures of the voice app that need longer: wake word and enrolment."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser import Recogniser
from beira.apps.voice.recogniser.adapt import Phrase, adapt
from beira.apps.voice.recogniser.phones import phones_of_ipa
from beira.apps.voice.recogniser.recogniser import LONGEST_S
from beira.apps.voice.recogniser.wake import WakeWord, confirmed
from benchmarks import voice_festival
from benchmarks.voice_data import Domain, Maker, Utterance
from benchmarks.voice_festival import ITALIAN

LONGEST = int(LONGEST_S * 16_000)  # in a shop the recogniser says earlier that speech is over
PHRASES = (
    "aurora registrar o ponto da maria às oito e meia", "quanto custa o quilo de feijão preto",
    "o cliente perguntou por chocolate e guaraná", "chegaram vinte e cinco caixas de leite",
    "qual o estoque de farinha de trigo", "venda de dois sabonetes por nove reais",
    "a balança e a impressora pararam de funcionar", "onde fica o papel higiênico",
    "resumo do dia e relatório do movimento", "não foi às quinze horas e quarenta minutos",
)  # fmt: skip


def wake_figures(
    recogniser: Recogniser, what: Domain, maker: Maker, count: int
) -> dict[str, float]:
    """Missed calls (share), and false alarms an hour of other talk, after one stage and after two."""
    made = maker.commands(what, count, 20.0)
    calls = [one for one in made if "aurora" in one.words[:2] and len(one.words) > 2]
    talk = [one for one in made if "aurora" not in one.words] + maker.outside(count, 20.0)
    first = [_wakes(recogniser, one) for one in calls]
    both = [woke and confirmed(recogniser.recognise(one.pcm[:LONGEST]), recogniser.calibration.ask)
            for woke, one in zip(first, calls, strict=True)]  # fmt: skip
    alarms = [one for one in talk if _wakes(recogniser, one)]
    least = recogniser.calibration.ask
    real = [one for one in alarms if confirmed(recogniser.recognise(one.pcm[:LONGEST]), least)]
    hours = sum(len(one.pcm) for one in talk) / 16_000 / 3600
    return {
        "wake.missed.one_stage": 1 - sum(first) / len(calls),
        "wake.missed": 1 - sum(both) / len(calls),
        "wake.false_alarms_per_h.one_stage": len(alarms) / hours,
        "wake.false_alarms_per_h": len(real) / hours,
    }


def _wakes(recogniser: Recogniser, one: Utterance) -> bool:
    wake = WakeWord(recogniser.model)
    pcm = np.concatenate([one.pcm, np.zeros(8_000, np.int16)])
    heard = [wake.feed(pcm[at : at + 1_920]) for at in range(0, len(pcm), 1_920)]
    return any(heard)


def enrolment(
    recogniser: Recogniser, what: Domain, maker: Maker, count: int
) -> Iterator[tuple[str, float, float, float]]:
    """For voices that are hard: (voice, right before, right after ten phrases, seconds to learn)."""
    voices = ["Alicia", *(ITALIAN.names if ITALIAN.available() else ())]
    for voice in voices:
        made = _commands(what, maker, voice, count)
        before = _right(recogniser, what, made)
        phrases = _read(maker, voice)
        began = time.perf_counter()
        recogniser.adaptation = adapt(recogniser.model, phrases)
        took = time.perf_counter() - began
        after = _right(recogniser, what, made)
        recogniser.adaptation = None
        yield voice, before, after, took


def _commands(what: Domain, maker: Maker, voice: str, count: int) -> list[Utterance]:
    if voice not in ITALIAN.names:
        return Maker(maker.seed + 7, (voice,), maker.synth).commands(what, count, 20.0)
    made = maker.festival(what, 2 * count, None)
    return made[ITALIAN.names.index(voice) :: 2]


def _right(recogniser: Recogniser, what: Domain, made: list[Utterance]) -> float:
    right = 0
    for one in made:
        said, heard = what.meaning(one.words), recogniser.recognise(one.pcm[:LONGEST])
        right += list(heard.words) == one.words or (
            said is not None and what.meaning(heard.words) == said
        )
    return right / max(1, len(made))


def _read(maker: Maker, voice: str) -> list[Phrase]:
    """The ten phrases read by this voice, with what espeak-ng says they sound like."""
    rng = np.random.default_rng(5)
    phrases = []
    for number, said in enumerate(PHRASES):
        spoken = maker.synth.say(said, "pt-br" if voice in ITALIAN.names else f"pt-br+{voice}",
                                 150 + 3 * number)  # fmt: skip
        phones = phones_of_ipa(spoken[1]) if spoken else None
        if spoken is None or phones is None:
            continue
        speech: npt.NDArray[np.float32] | None = spoken[0]
        if voice in ITALIAN.names:
            at = ITALIAN.names.index(voice)
            speech = voice_festival.say([phones] * 2, 100 + number)[at]
        if speech is not None:
            one = maker.placed(rng, speech, "", [], [], None, voice)
            phrases.append(Phrase(one.pcm, phones))
    return phrases

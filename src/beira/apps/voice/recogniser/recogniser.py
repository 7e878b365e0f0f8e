"""The recogniser whole: audio in as it comes, sentence with intent, slots and confidence out.

Everything here is plain computation, safe to call from a worker thread; one `Stream` belongs to one
thread at a time, a `Recogniser` to all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.acoustic import (
    STEP_S,
    AcousticModel,
    AcousticStream,
    Adaptation,
)
from beira.apps.voice.recogniser.confidence import AGREES, DIFFERS, Calibration, Evidence, sense
from beira.apps.voice.recogniser.decoder import Decoder
from beira.apps.voice.recogniser.decoder import Path as Way
from beira.apps.voice.recogniser.endpoint import Endpointer, EndpointSettings
from beira.apps.voice.recogniser.features import SAMPLE_RATE_HZ, to_float
from beira.apps.voice.recogniser.grammar import Grammar
from beira.apps.voice.recogniser.graph import Graph, build_graph, without
from beira.apps.voice.recogniser.pronounce import Pronouncer
from beira.apps.voice.recogniser.second import DEADLINE_S, MOST_HYPOTHESES, SecondOpinion
from beira.sdk import Invalid, PrivateFiles, TooLarge

LONGEST_S = 15.0
POLL_S = 0.12
SHORTEST_S = 0.2
_POLL = int(POLL_S * SAMPLE_RATE_HZ)
_COMPLETE = -3.0
_AROUND_S = 0.2  # of sound before and after the words, for the second opinion
ANSWERS = "answer"  # sentences that mean something only while a question waits

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Slot:
    """What was said for a slot, and how sure that is (0 to 1)."""

    name: str
    text: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another sentence it may have been."""

    text: str
    intent: str
    slots: tuple[Slot, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class Partial:
    """How things stand while listening. `ended` is why speech is over, or ''."""

    text: str
    complete: bool
    ended: str
    heard_s: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was said. `confidence` estimates the probability that intent and slots are right.

    With `intent` None nothing of the grammar was heard. `second` is whether another recogniser
    "agrees" or "differs", '' where it had no opinion or was not asked. `timings_ms` has a figure for each
    stage after speech ended.
    """

    text: str
    intent: str | None
    words: tuple[str, ...]
    slots: tuple[Slot, ...]
    confidence: float
    alternatives: tuple[Alternative, ...] = ()
    second: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)
    evidence: Evidence | None = None


class Recogniser:
    """A model, a grammar, and streams that listen for it."""

    def __init__(
        self, model_dir: Path, grammar: Grammar, *, second_opinion: bool = True,
        cache: Path | None = None, adaptation: Adaptation | None = None,
        endpoint: EndpointSettings | None = None, files: PrivateFiles | None = None,
    ) -> None:  # fmt: skip
        """`second_opinion`: ask another recogniser, in a child process, about what is uncertain.
        `cache`: a file for pronunciations of new words, kept through `files`. Raises
        `Misconfigured` or `Corrupt`."""
        self.model = AcousticModel(model_dir)
        self.adaptation = adaptation
        self.calibration = Calibration.of(self.model.meta.get("calibration"))
        self._pronouncer = Pronouncer(self.model.meta["lexicon"], cache, files)
        self._endpoint = endpoint or EndpointSettings()
        self.second = SecondOpinion() if second_opinion else None
        self.second_wait_s = DEADLINE_S
        self.spoken: dict[str, tuple[int, ...]] = {}
        self.graph = self.set_grammar(grammar)

    def set_grammar(self, grammar: Grammar) -> Graph:
        """Listen for this grammar from the next stream on; gives the graph made of it."""
        sounds = self.sounds(grammar)
        self.graph = build_graph(grammar, sounds)
        self.unasked = without(self.graph, ANSWERS)
        self.spoken = sounds
        return self.graph

    def sounds(self, grammar: Grammar) -> dict[str, tuple[int, ...]]:
        """How the grammar's words are pronounced."""
        return self._pronouncer.sounds(grammar.words)

    def stream(self, *, asked: bool = True) -> Stream:
        """Listen to one utterance; `asked`: a question waits, so that bare answers are heard too."""
        return Stream(self, asked=asked)

    def recognise(self, pcm: Pcm, *, asked: bool = True) -> Recognition:
        """A whole recording at 16 kHz (int16, mono)."""
        stream = self.stream(asked=asked)
        stream.feed(pcm)
        return stream.finish()

    def close(self) -> None:
        """End the child process of the second opinion, if there is one."""
        if self.second is not None:
            self.second.close()


def check_pcm(pcm: Pcm) -> None:
    """Raise `Invalid` unless this is mono int16 audio."""
    if not isinstance(pcm, np.ndarray) or pcm.dtype != np.int16 or pcm.ndim != 1:
        raise Invalid(
            "This is not mono 16-bit audio", code="voice.bad_audio",
            hint="Send PCM of 16 bits, one channel, 16,000 samples a second.",
        )  # fmt: skip


class Stream:
    """One utterance. `feed` audio as it comes; `finish` when it is over."""

    def __init__(self, recogniser: Recogniser, *, asked: bool = True) -> None:
        self._all = recogniser
        self.graph = recogniser.graph if asked else recogniser.unasked
        self._acoustic = AcousticStream(recogniser.model, recogniser.adaptation)
        self._decoder = Decoder(self.graph)
        self._fork = self._decoder
        self.endpointer = Endpointer(recogniser._endpoint)
        self._spoken = recogniser.spoken
        self._heard: list[Pcm] = []
        self._waiting: list[Pcm] = []
        self._waiting_samples = 0
        self._samples = 0
        self._loudest = 0
        self._clipped = 0
        self._partial = Partial("", False, "", 0.0)
        self._work_s = 0.0

    def feed(self, pcm: Pcm) -> Partial:
        """Take samples; give how things stand. Raises `Invalid`, or `TooLarge` past LONGEST_S."""
        check_pcm(pcm)
        self._samples += len(pcm)
        if self._samples > LONGEST_S * SAMPLE_RATE_HZ:
            raise TooLarge(f"More than {LONGEST_S:.0f} s of audio", code="voice.audio_too_long",
                           hint="Say one short sentence at a time.")  # fmt: skip
        if len(pcm):
            level = np.abs(pcm.astype(np.int32))
            self._loudest = max(self._loudest, int(level.max()))
            self._clipped += int((level >= 32_700).sum())
        self._waiting.append(pcm)
        self._waiting_samples += len(pcm)
        if self._waiting_samples >= _POLL:
            self._poll()
        return self._partial

    def _poll(self) -> None:
        began = time.perf_counter()
        pcm = np.concatenate([*self._waiting, np.zeros(0, np.int16)])
        self._waiting, self._waiting_samples = [], 0
        self._listen(pcm)
        ended = self.endpointer.audio(pcm)
        path = self._fork.best() if self.endpointer.speech_s > 0.1 else None
        complete = path is not None and bool(path.words) and self._fork.completeness() > _COMPLETE
        arcs = tuple(word.arc for word in path.words) if path else ()
        if path is not None and path.words:
            ended = self.endpointer.hypothesis(
                arcs, complete=complete, can_go_on=self._fork.can_go_on(path)
            )
        text = " ".join(self.graph.arcs[arc].word for arc in arcs)
        self._partial = Partial(text, complete, ended, self.endpointer.heard_s)
        self._work_s += time.perf_counter() - began

    def _listen(self, pcm: Pcm) -> None:
        self._heard.append(pcm)
        final, rest = self._acoustic.push(to_float(pcm))
        if len(final):
            self._decoder.push(final)
        self._fork = self._decoder.fork()
        if len(rest):
            self._fork.push(rest)

    def finish(self) -> Recognition:
        """Speech is over: what was it? Raises `Invalid` for audio that holds nothing."""
        began = time.perf_counter()
        self._check_whole()
        pcm = np.concatenate([*self._waiting, np.zeros(0, np.int16)])
        if len(pcm):
            self._listen(pcm)
        heard = time.perf_counter()
        ways = self._fork.alternatives()
        decoded = time.perf_counter()
        timings = {
            "acoustic": (heard - began) * 1e3, "decode": (decoded - heard) * 1e3,
            "while_listening": self._work_s * 1e3,
        }  # fmt: skip
        if not ways or not ways[0].words:
            return Recognition("", None, (), (), 0.0, timings_ms=timings)
        return self._recognition(ways, timings)

    def _check_whole(self) -> None:
        if self._samples < SHORTEST_S * SAMPLE_RATE_HZ:
            raise Invalid("There is no audio, or too little", code="voice.audio_too_short",
                          hint="Hold the button while you speak.")  # fmt: skip
        if self._loudest < 8:
            raise Invalid("The audio is silent", code="voice.audio_silent",
                          hint="Check that the microphone is on and chosen.")  # fmt: skip
        if self._clipped > 0.2 * self._samples:
            raise Invalid("The audio is distorted beyond use", code="voice.audio_clipped",
                          hint="Turn the microphone's level down.")  # fmt: skip

    def _recognition(self, ways: list[Way], timings: dict[str, float]) -> Recognition:
        calibration = self._all.calibration
        evidence = self._evidence(ways)
        alone, began = calibration.confidence(evidence), time.perf_counter()
        second = self._second_opinion(ways) if calibration.uncertain(alone) else ""
        timings["second"] = (time.perf_counter() - began) * 1e3
        confidence = calibration.judged(alone, second)
        best = self._alternative(ways[0], confidence, ways)
        rivals: dict[tuple[str, ...], Alternative] = {}
        for way in ways[1:]:
            less = float(np.exp(max(-50.0, calibration.sharpness * (way.score - ways[0].score))))
            rival = self._alternative(way, confidence * less, ways)
            if meaning(rival) != meaning(best):
                rivals.setdefault(meaning(rival), rival)
        return Recognition(
            best.text, best.intent, tuple(best.text.split()), best.slots, confidence,
            tuple(rivals.values())[:5], second, timings, evidence,
        )  # fmt: skip

    def _second_opinion(self, ways: list[Way]) -> str:
        """What another recogniser says to the best sentence, heard among those that mean others."""
        unlike = {self._alternative_key(way): way for way in reversed(ways)}
        rivals = sorted(unlike.values(), key=lambda way: -way.score)[:MOST_HYPOTHESES]
        if self._all.second is None or len(rivals) < 2:
            return ""
        around = int(_AROUND_S * SAMPLE_RATE_HZ)
        frame = int(STEP_S * SAMPLE_RATE_HZ)
        first, last = ways[0].words[0].start * frame, ways[0].words[-1].end * frame
        pcm = np.concatenate(self._heard)[max(0, first - around) : last + around]
        said = [[self._spoken[self.graph.arcs[w.arc].word] for w in way.words] for way in rivals]
        best = self._all.second.ask(pcm, said, self._all.second_wait_s)
        if best is None:
            return ""
        return AGREES if best == 0 else DIFFERS

    def _alternative(self, way: Way, confidence: float, ways: list[Way]) -> Alternative:
        arcs = [self.graph.arcs[word.arc] for word in way.words]
        slots: list[tuple[str, list[str]]] = []
        for arc in arcs:
            if arc.slot and (arc.starts_slot or not slots):
                slots.append((arc.slot, [arc.word]))
            elif arc.slot:
                slots[-1][1].append(arc.word)
        sharpness = self._all.calibration.sharpness
        named = tuple(
            Slot(
                name,
                " ".join(words),
                self._slot_confidence(ways, name, words, confidence, sharpness),
            )
            for name, words in slots
        )
        return Alternative(" ".join(arc.word for arc in arcs), way.intent, named, confidence)

    def _slot_confidence(
        self, ways: list[Way], name: str, words: list[str], confidence: float, sharpness: float
    ) -> float:
        """The share, by score, of the ways that say this for the slot; no less than the whole's."""
        agree = total = 1e-9
        for way in ways:
            said = [a.word for a in (self.graph.arcs[w.arc] for w in way.words) if a.slot == name]
            weight = float(np.exp(max(-50.0, sharpness * (way.score - ways[0].score))))
            total += weight
            agree += weight if said == words else 0.0
        share = min(1.0, agree / total)
        return max(confidence, share * float(np.sqrt(confidence)))

    def _evidence(self, ways: list[Way]) -> Evidence:
        best = self._alternative_key(ways[0])
        margins = [ways[0].score - w.score for w in ways[1:] if self._alternative_key(w) != best]
        ratios = self._fork.ratios(ways[0])
        spoken_s = (ways[0].words[-1].end - ways[0].words[0].start) * STEP_S
        return Evidence.of(
            margin=min(margins, default=12.0), ratios=ratios, spoken_s=spoken_s,
            misfits=self._fork.misfits(ways[0]), trailing=self._fork.completeness(),
            phones=sum(int(self.graph.last[w.arc] - self.graph.first[w.arc]) + 1 for w in ways[0].words),
        )  # fmt: skip

    def _alternative_key(self, way: Way) -> tuple[str, ...]:
        arcs = (self.graph.arcs[word.arc] for word in way.words)
        said = [(arc.slot, part) for arc in arcs if arc.slot for part in sense([arc.word])]
        return (way.intent, *(f"{slot}={part}" for slot, part in said))


def meaning(one: Alternative | Recognition) -> tuple[str, ...]:
    """Intent and slots, to compare by."""
    said = ((slot.name, " ".join(sense(slot.text.split()))) for slot in one.slots)
    return (one.intent or "", *(f"{name}={text}" for name, text in said))


__all__ = ["Alternative", "Partial", "Recogniser", "Recognition", "Slot", "Stream"]

"""The pipeline's promises, with engines whose behaviour a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beira.apps.voice.engines.kept import KeptAudio
from beira.apps.voice.engines.listener import Listener, calls_us
from beira.apps.voice.engines.ports import HEARD_HZ, Pcm, Progress, Recognised, Sound
from beira.apps.voice.engines.sound import read_wav, trailing_ms
from beira.apps.voice.pipeline import Conversation, Hearing, Reply, Said
from beira.sdk import Full, TooLarge, Unavailable

RNG = np.random.default_rng(4)
BLOCK = HEARD_HZ // 25


def speech(seconds: float = 1.0, level: int = 6_000) -> Pcm:
    """Noise loud as speech, then quiet."""
    loud = RNG.normal(0, level, int(HEARD_HZ * seconds))
    quiet = RNG.normal(0, 10, HEARD_HZ // 2)
    return np.concatenate([loud, quiet]).clip(-32_000, 32_000).astype(np.int16)


async def frames(pcm: Pcm) -> AsyncGenerator[Pcm, None]:
    for at in range(0, len(pcm), BLOCK):
        yield pcm[at : at + BLOCK]


class Ear:
    """Hears what it is told to hear; may be away from the start, or at the end."""

    name = "ear"

    def __init__(self, text: str = "que horas são", *, away: str = "", ends_after: int = 0) -> None:
        self.text, self.away, self.ends_after = text, away, ends_after
        self.heard = 0
        self.closed = 0
        self.asked: list[bool] = []

    async def listen(self, language: str, *, asked: bool = True) -> Ear:
        self.asked.append(asked)
        if self.away == "start":
            raise Unavailable("away")
        return self

    async def feed(self, pcm: Pcm) -> Progress:
        self.heard += len(pcm)
        ended = "sentence" if self.ends_after and self.heard >= self.ends_after else ""
        if self.away == "middle":
            raise Unavailable("away")
        if self.away == "long":
            raise TooLarge("too long", code="voice.audio_too_long")
        return Progress("que horas", ended)

    async def finish(self) -> Recognised:
        if self.away == "end":
            raise Unavailable("away")
        return Recognised(self.text, 0.9)

    async def close(self) -> None:
        self.closed += 1


class Voice:
    identity = "voice"

    def __init__(self) -> None:
        self.said: list[str] = []

    async def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        self.said.append(text)
        for _ in range(3):
            yield Sound(16_000, bytes(640))


class Brain:
    asking = False

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.said: list[Said] = []
        self.timings: dict[str, float] = {}

    async def answer(self, said: Said) -> Reply:
        self.said.append(said)
        if self.error is not None:
            raise self.error
        return Reply("São dez horas.", "10:00", timings_ms={"understand": 1.0, "command": 2.0})

    async def timed(self, reply: Reply, timings_ms: dict[str, float]) -> None:
        self.timings = timings_ms


class Loudspeaker:
    def __init__(self, *, stuck: bool = False) -> None:
        self.played, self.stopped, self.stuck = 0, 0, stuck
        self.first_sound_at: float | None = None

    async def play(self, sound: Sound) -> None:
        self.played += 1

    async def finish(self) -> None:
        if self.stuck:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.stopped += 1


class Stage:
    """A conversation among these, with all it told."""

    def __init__(self, ear: Ear, spare: Ear | None = None, **parts: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.voice, self.out = Voice(), parts.get("out") or Loudspeaker()
        self.brain = parts.get("brain") or Brain()
        self.talk = Conversation(
            hearing=Hearing(ear, spare, parts.get("keep")),
            speaking=self.voice,
            mind=self.brain,
            out=self.out,
            tell=self._tell,
            new_id=lambda: "trace-1",
            door="test",
            language=parts.get("language", "pt-BR"),
        )

    async def _tell(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def states(self) -> list[str]:
        return [event["state"] for event in self.told("state")]


async def test_a_turn_goes_through_its_states_and_is_answered_aloud() -> None:
    stage = Stage(Ear())
    reply = await stage.talk.listen(frames(speech()))
    assert reply is not None and reply.say == "São dez horas."
    assert stage.states == ["listening", "thinking", "speaking", "idle"]
    assert [e["type"] for e in stage.events if e["type"] != "state"] == [
        "partial", "heard", "answer", "timings",
    ]  # fmt: skip
    assert stage.voice.said == ["São dez horas."]
    assert stage.out.played == 3


@pytest.mark.parametrize("asking", [True, False])
async def test_every_ear_knows_whether_a_question_waits(asking: bool) -> None:
    away, spare, brain = Ear(away="end"), Ear(), Brain()
    brain.asking = asking
    await Stage(away, spare, brain=brain).talk.listen(frames(speech()))
    assert away.asked == spare.asked == [asking]


async def test_every_stage_is_timed_under_one_trace() -> None:
    stage = Stage(Ear())
    await stage.talk.listen(frames(speech()))
    assert set(stage.brain.timings) == {
        "speech_end_detect", "stt", "understand", "command", "tts_first", "first_sound", "total",
    }  # fmt: skip
    said = stage.brain.said[0]
    assert said.trace_id == "trace-1" == stage.told("answer")[0]["trace"]
    assert stage.told("timings")[0]["ms"] == stage.brain.timings
    assert stage.brain.timings["total"] >= stage.brain.timings["speech_end_detect"] > 400


async def test_the_end_of_speech_is_believed_as_soon_as_it_is_decided() -> None:
    ear = Ear(ends_after=HEARD_HZ // 2)
    await Stage(ear).talk.listen(frames(speech(5.0)))
    assert ear.heard < HEARD_HZ
    held = Ear(ends_after=HEARD_HZ // 2)
    await Stage(held).talk.listen(frames(speech(2.0)), tapped=lambda: False)
    assert held.heard >= HEARD_HZ * 2


@pytest.mark.parametrize("when", ["start", "middle", "end"])
async def test_an_engine_that_is_away_is_replaced_without_a_word_lost(when: str) -> None:
    spare = Ear("quanto custa o leite")
    stage = Stage(Ear(away=when), spare)
    pcm = speech()
    await stage.talk.listen(frames(pcm))
    assert stage.brain.said[0].text == "quanto custa o leite"
    assert spare.heard == len(pcm)


@pytest.mark.parametrize(
    ("pcm", "code"),
    [
        (np.zeros(0, np.int16), "audio.empty"),
        (np.zeros(HEARD_HZ, np.int16), "audio.silent"),
        (np.tile(np.array([32_767, -32_768], np.int16), HEARD_HZ), "audio.clipped"),
    ],
)
async def test_what_cannot_be_heard_is_said_and_nothing_is_done(pcm: Pcm, code: str) -> None:
    stage = Stage(Ear())
    assert await stage.talk.listen(frames(pcm)) is None
    assert stage.told("trouble")[0]["code"] == code
    assert stage.voice.said == [stage.told("trouble")[0]["text"]]
    assert stage.brain.said == []
    assert stage.states[-1] == "idle"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"ear": Ear("")}, "audio.unclear"),
        ({"ear": Ear(away="long")}, "voice.audio_too_long"),
        ({"ear": Ear(), "brain": Brain(Full("disk"))}, "full"),
        ({"ear": Ear(), "brain": Brain(ZeroDivisionError())}, "internal"),
    ],
)
@pytest.mark.parametrize("language", ["pt-BR", "en"])
async def test_trouble_is_always_spoken_with_what_to_do(
    parts: dict[str, Any], code: str, language: str
) -> None:
    stage = Stage(**parts, language=language)
    assert await stage.talk.listen(frames(speech())) is None
    told = stage.told("trouble")[0]
    assert told["code"] == code
    assert stage.voice.said == [told["text"]]
    assert stage.told("answer") == []


async def test_a_turn_that_is_interrupted_falls_silent_and_still_keeps_its_timings() -> None:
    stage = Stage(Ear(), out=Loudspeaker(stuck=True))
    turn = asyncio.create_task(stage.talk.listen(frames(speech())))
    while "speaking" not in stage.states:
        await asyncio.sleep(0)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert stage.out.stopped == 1
    assert stage.brain.timings["first_sound"] >= 0
    assert stage.states[-1] == "idle"


async def test_sound_is_kept_only_where_keeping_is_on(tmp_path: Path) -> None:
    pcm = speech()
    await Stage(Ear()).talk.listen(frames(pcm))
    assert list(tmp_path.iterdir()) == []
    await Stage(Ear(), keep=KeptAudio(tmp_path).keep).talk.listen(frames(pcm))
    kept = tmp_path / "trace-1.wav"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert np.array_equal(read_wav(kept.read_bytes()), pcm)


def test_kept_sound_has_a_limit_and_the_oldest_goes_first(tmp_path: Path) -> None:
    keep = KeptAudio(tmp_path, most_bytes=3 * (HEARD_HZ * 2 + 44))
    for number in range(5):
        keep.keep(f"../../{number}", np.ones(HEARD_HZ, np.int16))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert len(names) == 3
    assert "4.wav" in names
    keep.clear()
    assert list(tmp_path.iterdir()) == []


async def test_what_is_typed_is_answered_too() -> None:
    stage = Stage(Ear())
    await stage.talk.typed("que horas são")
    assert stage.brain.said[0].recognised is None
    assert stage.voice.said == ["São dez horas."]


class Scripted:
    """A microphone that says one thing after the other."""

    def __init__(self, *utterances: Pcm) -> None:
        self.utterances = utterances

    async def frames(self) -> AsyncGenerator[Pcm, None]:
        for pcm in self.utterances:
            async for block in frames(pcm):
                yield block
                await asyncio.sleep(0)


class Says:
    """Hears these texts, one an utterance."""

    name = "says"

    def __init__(self, *heard: Recognised) -> None:
        self.waiting = list(heard)

    async def listen(self, language: str, *, asked: bool = True) -> Says:
        return self

    async def feed(self, pcm: Pcm) -> Progress:
        return Progress()

    async def finish(self) -> Recognised:
        return self.waiting.pop(0)

    async def close(self) -> None:
        return None


class Loud:
    """A first stage that wakes for anything loud."""

    believed = False

    async def feed(self, pcm: Pcm) -> bool:
        return bool(np.abs(pcm).max() > 3_000)

    async def close(self) -> None:
        return None


async def _listened(monkeypatch: pytest.MonkeyPatch, *heard: Recognised) -> Stage:
    monkeypatch.setattr("beira.apps.voice.engines.listener.ECHO_S", 0.0)
    stage = Stage(Says(*heard))  # type: ignore[arg-type]
    voices = [np.concatenate([tone_burst(), np.zeros(HEARD_HZ, np.int16)]) for _ in heard]
    await Listener(stage.talk, Scripted(*voices), Loud()).run()
    return stage


def tone_burst() -> Pcm:
    """A buzz the voice activity detector takes for a vowel."""
    time_s = np.arange(HEARD_HZ) / HEARD_HZ
    buzz = sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 20))
    return (buzz * 6_000).clip(-30_000, 30_000).astype(np.int16)


async def test_an_open_microphone_acts_only_on_what_begins_with_her_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = await _listened(
        monkeypatch,
        Recognised("que horas são", 0.99),
        Recognised("aurora que horas são", 0.5),
        Recognised("aurora que horas são", 0.95),
    )
    assert [said.text for said in stage.brain.said] == ["aurora que horas são"]
    assert stage.told("trouble") == []
    assert len(stage.told("heard")) == 1


@pytest.mark.parametrize(
    ("text", "confidence", "ours"),
    [
        ("aurora que horas são", 0.9, True),
        ("ei aurora que horas são", 0.9, True),
        ("que horas são", 0.99, False),
        ("que bonita é a aurora boreal", 0.99, False),
        ("aurora que horas são", None, False),
    ],
)
def test_who_calls_us(text: str, confidence: float | None, ours: bool) -> None:
    assert calls_us(Recognised(text, confidence)) is ours


@pytest.mark.parametrize("quiet_ms", [0, 200, 550, 1_000])
def test_how_long_ago_speech_ended_is_measured_in_noise(quiet_ms: int) -> None:
    voice = RNG.normal(0, 4_000, HEARD_HZ)
    quiet = RNG.normal(0, 25, HEARD_HZ * quiet_ms // 1_000)
    before = RNG.normal(0, 25, HEARD_HZ // 2)
    pcm = np.concatenate([before, voice, quiet]).astype(np.int16)
    assert abs(trailing_ms(pcm) - quiet_ms) <= 20


def test_silence_has_no_end() -> None:
    assert trailing_ms(np.zeros(HEARD_HZ, np.int16)) == 0.0
    assert trailing_ms(np.zeros(10, np.int16)) == 0.0

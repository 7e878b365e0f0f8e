"""What an owner can choose about Aurora, for the tenant, a site or a single node."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from beira.apps.voice.rules import Hours
from beira.apps.voice.sureness import calibrated

_Share = Annotated[float, Meta(ge=0, le=1)]
_ACT, _ASK = calibrated()
_Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


def _about(text: str) -> Meta:
    return Meta(description=text)


class VoiceSettings(msgspec.Struct, kw_only=True):
    """Settings of the voice app. Engines other than the built-in ones need their extra installed."""

    language: Annotated[
        Literal["pt-BR", "en"], _about("Language Aurora listens to and answers in")
    ] = "pt-BR"
    wake_word: Annotated[
        str, _about("The word that calls her; it may stand before any sentence")
    ] = "aurora"
    opens_at: Annotated[
        _Clock, _about("Working hours begin; helps to know which 'duas e meia' is meant")
    ] = "06:00"
    closes_at: Annotated[_Clock, _about("Working hours end")] = "22:00"
    sentences_file: Annotated[
        str, _about("A YAML file with the shop's own sentences and answers")
    ] = ""

    act_confidence: Annotated[
        _Share, _about("At least this sure, money and hours are written without asking")
    ] = _ACT
    alert_confidence: Annotated[
        _Share, _about("At least this sure, an alert is raised without asking")
    ] = 0.6
    answer_confidence: Annotated[
        _Share, _about("At least this sure, a question is answered without asking back")
    ] = 0.5
    heard_confidence: Annotated[
        _Share, _about("Less sure than this, nothing is taken as heard")
    ] = _ASK
    confirm_always: Annotated[bool, _about("Ask before writing money or hours however sure")] = (
        False
    )
    question_s: Annotated[
        float, Meta(ge=5, le=120), _about("How long a question of hers waits for its answer")
    ] = 20.0
    critical_money_cents: Annotated[
        int, Meta(ge=0), _about("A sale of this much is sent at once, as critical")
    ] = 500_000

    keep_audio: Annotated[
        bool, _about("Keep recordings on the node; off, they are dropped once understood")
    ] = False
    speech_to_text: Annotated[
        Literal["built-in", "whisper", "wyoming"], _about("Who turns speech into text")
    ] = "built-in"
    whisper_model: Annotated[str, _about("Folder of a faster-whisper model")] = ""
    wyoming_stt: Annotated[str, _about("Address of a Wyoming speech-to-text service")] = ""
    text_to_speech: Annotated[Literal["espeak", "piper", "wyoming"], _about("Who speaks")] = (
        "espeak"
    )
    piper_voice: Annotated[str, _about("File of a Piper voice (.onnx)")] = ""
    wyoming_tts: Annotated[str, _about("Address of a Wyoming text-to-speech service")] = ""
    wyoming_tts_voice: Annotated[str, _about("Voice of that service")] = ""
    wake: Annotated[
        Literal["off", "spoken", "wyoming"], _about("How she is called without a button")
    ] = "off"
    wyoming_wake: Annotated[str, _about("Address of a Wyoming wake word service")] = ""
    microphone: Annotated[bool, _about("Listen to the node's own microphone")] = False
    microphone_name: Annotated[str, _about("Which microphone; empty for the system's")] = ""
    speaker_name: Annotated[str, _about("Which speaker; empty for the system's")] = ""
    satellite: Annotated[str, _about("Address of a Wyoming satellite to listen to")] = ""
    wyoming_serve: Annotated[str, _about("Address to serve speech to others by Wyoming")] = ""
    wyoming_trusted_network: Annotated[
        bool, _about("Let Wyoming, which has no passwords, be reached from the network")
    ] = False
    questions: Annotated[
        Literal["off", "openai", "ollama"], _about("Who answers what is no command")
    ] = "off"
    questions_url: Annotated[str, _about("Address of that language model's server")] = (
        "http://127.0.0.1:8080"
    )
    questions_model: Annotated[str, _about("Model to ask there")] = ""
    questions_deadline_s: Annotated[
        float, Meta(ge=0.5, le=30), _about("How long to wait for it")
    ] = 3.0

    @property
    def hours(self) -> Hours:
        return Hours(_minute(self.opens_at), _minute(self.closes_at))


def _minute(clock: str) -> int:
    hour, _, minute = clock.partition(":")
    return int(hour) * 60 + int(minute)

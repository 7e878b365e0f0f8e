"""Which engines a node uses, as its settings say, and making them.

An engine that cannot be had (not installed, no model, wrong address) is said and replaced by the one
that comes with the app: a shop is never mute for a setting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import structlog

from beira.apps.voice.engines.cache import CachedSpeech, SpeechCache
from beira.apps.voice.engines.devices import portaudio
from beira.apps.voice.engines.espeak import Espeak
from beira.apps.voice.engines.language_model import LanguageModel
from beira.apps.voice.engines.piper import Piper
from beira.apps.voice.engines.ports import OpenQuestions, SpeechToText, TextToSpeech, Wake
from beira.apps.voice.engines.whisper import Whisper
from beira.apps.voice.engines.wyoming_client import (
    WyomingSpeechToText,
    WyomingTextToSpeech,
    WyomingWake,
)
from beira.apps.voice.engines.wyoming_wire import checked_address
from beira.sdk import BeiraError, Misconfigured, PrivateFiles

log = structlog.get_logger(__name__)
T = TypeVar("T")
QUESTIONS_KEY = "BEIRA_VOICE_QUESTIONS_KEY"


class EngineChoice(msgspec.Struct, kw_only=True, frozen=True):
    """The part of the app's settings that chooses engines. All optional; this is the default shop."""

    language: str = "pt-BR"
    speech_to_text: Literal["built-in", "whisper", "wyoming"] = "built-in"
    whisper_model: str = ""
    wyoming_stt: str = ""
    text_to_speech: Literal["espeak", "piper", "wyoming"] = "espeak"
    piper_voice: str = ""
    wyoming_tts: str = ""
    wyoming_tts_voice: str = ""
    wake: Literal["off", "spoken", "wyoming"] = "off"
    wyoming_wake: str = ""
    microphone: bool = False
    microphone_name: str = ""
    speaker_name: str = ""
    satellite: str = ""
    wyoming_serve: str = ""
    wyoming_trusted_network: bool = False
    questions: Literal["off", "openai", "ollama"] = "off"
    questions_url: str = "http://127.0.0.1:8080"
    questions_model: str = ""
    questions_deadline_s: float = 3.0
    keep_audio: bool = False

    @classmethod
    def of(cls, settings: msgspec.Struct) -> EngineChoice:
        """The choice within the app's settings; fields they lack have their defaults."""
        given: dict[str, Any] = {
            name: getattr(settings, name)
            for name in cls.__struct_fields__
            if hasattr(settings, name)
        }
        return msgspec.convert(given, cls)


class _Closes(Protocol):
    def close(self) -> Any: ...


@dataclass
class Engines:
    """The engines in use, and what was asked for but could not be had."""

    choice: EngineChoice
    speech_to_text: SpeechToText
    spare: SpeechToText | None
    speaking: CachedSpeech
    espeak: Espeak
    questions: OpenQuestions | None
    problems: list[BeiraError] = field(default_factory=list)
    closing: list[_Closes] = field(default_factory=list)

    def wake(self) -> Wake | None:
        """A wake service of its own for each listener, if one is chosen."""
        if self.choice.wake == "wyoming":
            return WyomingWake(self.choice.wyoming_wake)
        return None

    async def close(self) -> None:
        for engine in self.closing:
            ending = engine.close()
            if ending is not None:
                await ending


def make(
    choice: EngineChoice,
    *,
    built_in: SpeechToText,
    espeak: Espeak,
    cache: Path,
    files: PrivateFiles | None = None,
    hints: str = "",
) -> Engines:
    """The engines of a choice; speech is kept in the folder `cache`, through `files`. What cannot be
    had is listed in `problems`."""
    problems: list[BeiraError] = []
    closing: list[_Closes] = []
    hearing = _tried(problems, lambda: _speech_to_text(choice, hints))
    voice = _tried(problems, lambda: _text_to_speech(choice))
    questions = _tried(problems, lambda: _questions(choice))
    if choice.wake == "wyoming":
        _tried(problems, lambda: checked_address(choice.wyoming_wake))
    if choice.microphone:
        _tried(problems, portaudio)
    closing += [engine for engine in (hearing, voice) if isinstance(engine, Whisper | Piper)]
    for problem in problems:
        log.warning("engine.unavailable", code=problem.code, why=problem.message, hint=problem.hint)
    voices: tuple[TextToSpeech, ...] = (espeak,) if voice is None else (voice, espeak)
    return Engines(
        choice=choice,
        speech_to_text=hearing or built_in,
        spare=built_in if hearing is not None else None,
        speaking=CachedSpeech(voices, _cache(cache, files)),
        espeak=espeak,
        questions=questions,
        problems=problems,
        closing=closing,
    )


def _speech_to_text(choice: EngineChoice, hints: str) -> SpeechToText | None:
    if choice.speech_to_text == "whisper":
        return Whisper(choice.whisper_model, hints=hints)
    if choice.speech_to_text == "wyoming":
        checked_address(choice.wyoming_stt)
        return WyomingSpeechToText(choice.wyoming_stt)
    return None


def _text_to_speech(choice: EngineChoice) -> TextToSpeech | None:
    if choice.text_to_speech == "piper":
        return Piper(choice.piper_voice)
    if choice.text_to_speech == "wyoming":
        checked_address(choice.wyoming_tts)
        return WyomingTextToSpeech(choice.wyoming_tts, choice.wyoming_tts_voice)
    return None


def _questions(choice: EngineChoice) -> OpenQuestions | None:
    if choice.questions == "off":
        return None
    return LanguageModel(
        choice.questions_url,
        kind=choice.questions,
        model=choice.questions_model,
        deadline_s=min(20.0, max(0.2, choice.questions_deadline_s)),
        key=os.environ.get(QUESTIONS_KEY, ""),
    )


def _cache(folder: Path, files: PrivateFiles | None) -> SpeechCache | None:
    try:
        return SpeechCache(folder, files)
    except OSError as error:
        log.warning("speech_cache.off", why=str(error))
        return None


def _tried(problems: list[BeiraError], make_it: Callable[[], T]) -> T | None:
    with _noting(problems):
        return make_it()
    return None


@contextmanager
def _noting(problems: list[BeiraError]) -> Iterator[None]:
    try:
        yield
    except BeiraError as error:
        problems.append(error)
    except OSError as error:
        problems.append(Misconfigured(str(error), code="engine.failed"))

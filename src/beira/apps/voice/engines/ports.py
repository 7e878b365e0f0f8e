"""What the pipeline asks of an engine. Each port is small, streams, and says what it may raise.

Sound is int16 mono. What is heard is always at HEARD_HZ; what is spoken has the rate its engine
likes, named in each chunk. Every engine bounds its waits; none may hang the pipeline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

HEARD_HZ = 16_000
Pcm: TypeAlias = npt.NDArray[np.int16]
"""Samples (n,), int16 mono at HEARD_HZ."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of speech to be played: int16 little-endian mono."""

    rate_hz: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Recognised:
    """What an engine heard. `confidence` is a calibrated probability, or None where the engine
    has none (then nothing that changes the books is done without asking)."""

    text: str
    confidence: float | None = None
    intent: str = ""
    slots: dict[str, Any] = field(default_factory=dict)
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How an utterance stands: the words so far, and why the engine holds it to be over, or ""."""

    text: str = ""
    ended: str = ""


NOTHING_YET = Progress()


class AudioIn(Protocol):
    """A microphone, a file, a browser, a satellite."""

    def frames(self) -> AsyncGenerator[Pcm, None]:
        """Blocks of 10 to 100 ms as they come, until the source ends.

        Raises: Unavailable when the source is gone, Invalid for what is not audio.
        """
        ...


class AudioOut(Protocol):
    """A speaker, a browser, a satellite."""

    first_sound_at: float | None
    """When (monotonic, s) the answer's first sound was audible; None where nobody can tell."""

    async def play(self, sound: Sound) -> None:
        """Queue a piece for playing. Returns at once unless the queue is full."""
        ...

    async def finish(self) -> None:
        """Return once what was queued has been heard, or handed to whoever plays it."""
        ...

    async def stop(self) -> None:
        """Be silent at once, dropping what is queued."""
        ...


class Wake(Protocol):
    """Listens for the wake word in a stream. `believed`: its last call needs no second stage."""

    @property
    def believed(self) -> bool: ...

    async def feed(self, pcm: Pcm) -> bool:
        """True once the word has just been said."""
        ...

    async def close(self) -> None: ...


class SpeechEnd(Protocol):
    """Decides by sound alone that a person has finished speaking."""

    def feed(self, pcm: Pcm) -> str:
        """Why speech is over (`silence`, `cap`, `no_speech`), or ""."""
        ...

    @property
    def heard_speech(self) -> bool: ...


class Listening(Protocol):
    """One utterance on its way through speech to text."""

    async def feed(self, pcm: Pcm) -> Progress:
        """Take more sound and say how things stand."""
        ...

    async def finish(self) -> Recognised:
        """The words. Raises Unavailable if the engine is away or too slow, Invalid or TooLarge for
        sound that cannot be speech."""
        ...

    async def close(self) -> None:
        """Give the utterance up. Harmless after `finish`."""
        ...


class SpeechToText(Protocol):
    """Turns speech into words."""

    @property
    def name(self) -> str: ...

    async def listen(self, language: str, *, asked: bool = True) -> Listening:
        """Begin an utterance; `asked`: a question of ours waits for an answer. Raises Unavailable."""
        ...


class TextToSpeech(Protocol):
    """Turns words into speech."""

    @property
    def identity(self) -> str:
        """Names engine, voice and tuning: equal identities speak a text the same way."""
        ...

    def speak(self, text: str, language: str) -> AsyncGenerator[Sound, None]:
        """The text as speech, piece by piece. Raises Invalid for no or too much text,
        Unavailable when the engine cannot."""
        ...


class OpenQuestions(Protocol):
    """Answers what is no command."""

    async def ask(self, question: str, language: str) -> str:
        """A short answer. Raises Unavailable when there is none within its deadline."""
        ...

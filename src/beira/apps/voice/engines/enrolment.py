"""Teaching this node a voice: ten phrases are read, the model learns them, the recordings go.

The gain is measured honestly: with half of the phrases learnt the other half is recognised, both
ways, and compared with what was recognised before. Only a voice that gains is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from beira.apps.voice.engines.ports import Pcm
from beira.apps.voice.pipeline import Conversation, Tell
from beira.apps.voice.recogniser import Recogniser
from beira.apps.voice.recogniser.acoustic import Adaptation
from beira.apps.voice.recogniser.adapt import Phrase, adapt
from beira.apps.voice.recogniser.confidence import overlap
from beira.apps.voice.recogniser.pronounce import Pronouncer
from beira.sdk import BeiraError, Invalid, PrivateFiles

if TYPE_CHECKING:
    from beira.apps.voice.edge import VoiceEdge

log = structlog.get_logger(__name__)
LEAST_S_PER_PHONE = 0.03
MOST_S_PER_PHONE = 0.35
_PHRASES = (
    "Aurora, registrar ponto de {one} às duas e meia da tarde.",
    "{other} chegou às oito e quinze.",
    "Quanto custa {a}?",
    "Onde fica {b}?",
    "Vendi três {a} por doze reais.",
    "Chegaram vinte unidades de {c}.",
    "Um cliente pediu {b}.",
    "Saída de {one} às dezoito horas.",
    "Tem {c} em estoque?",
    "Aurora, como foi o dia hoje?",
)


@dataclass(frozen=True)
class Gain:
    """Words right in the phrases read, in per cent, before and after."""

    before: int
    after: int


class Enrolment:
    """One person reading, phrase by phrase."""

    def __init__(self, voice: VoiceEdge, people: Sequence[str], products: Sequence[str]) -> None:
        self._voice = voice
        self._texts = phrases_for(people, products)
        self._read: list[tuple[str, Pcm]] = []
        self.over = False

    async def ask(self, tell: Tell, step: str = "phrase") -> None:
        """Show the phrase to be read now."""
        at = len(self._read)
        await tell({"type": "enrol", "step": step, "n": at + 1, "of": len(self._texts),
                    "text": self._texts[at]})  # fmt: skip

    async def hear(
        self, talk: Conversation, frames: AsyncIterator[Pcm], tapped: Callable[[], bool], tell: Tell
    ) -> None:
        """Take one phrase as read, and learn after the last. What is not clear is asked again."""
        text = self._texts[len(self._read)]
        try:
            pcm = await talk.recording(frames, tapped)
            self._check(text, pcm)
        except BeiraError as error:
            log.info("voice.enrol_again", code=error.code)
            await self.ask(tell, "repeat")
            return
        finally:
            await tell({"type": "state", "state": "idle"})
        self._read.append((said_as(text), pcm))
        if len(self._read) < len(self._texts):
            await self.ask(tell)
            return
        self.over = True
        await tell({"type": "enrol", "step": "learning"})
        gain = await self._voice.learn_voice(self._read)
        self._read = []
        await tell({"type": "enrol", "step": "done", "before": gain.before, "after": gain.after})

    def _check(self, text: str, pcm: Pcm) -> None:
        """Refuse what cannot be this phrase by its length; anything may be misheard, so its words
        are no test of it."""
        seconds = len(pcm) / 16_000
        letters = len(text.replace(" ", ""))
        if not LEAST_S_PER_PHONE * letters <= seconds <= MOST_S_PER_PHONE * letters + 2:
            raise Invalid("That was not the phrase.", code="audio.unclear")


def phrases_for(people: Sequence[str], products: Sequence[str]) -> list[str]:
    """Ten phrases with names that are said here."""
    one, other = (people[0].title(), people[-1].title()) if people else ("João", "Maria")
    a, b, c = (
        (products[0], products[len(products) // 2], products[-1])
        if products
        else ("leite", "café", "arroz")
    )
    return [text.format(one=one, other=other, a=a, b=b, c=c) for text in _PHRASES]


def said_as(text: str) -> str:
    """The words of a phrase, without what only the eye sees."""
    return "".join(c for c in text.lower() if c.isalnum() or c in " -'").strip()


def learn(
    recogniser: Recogniser,
    read: Sequence[tuple[str, Pcm]],
    cache: Path | None,
    files: PrivateFiles | None = None,
) -> tuple[Adaptation | None, Gain]:
    """The adaptation these phrases teach, or None where it gains nothing. Takes seconds of a core."""
    pronouncer = Pronouncer(recogniser.model.meta["lexicon"], cache, files)
    sounds = pronouncer.sounds(word for text, _ in read for word in text.split())
    phrases = [
        Phrase(pcm, tuple(p for word in text.split() for p in sounds.get(word, ())))
        for text, pcm in read
    ]
    before = _right(recogniser, read, None)
    halves = (slice(0, None, 2), slice(1, None, 2))
    after = sum(
        _right(recogniser, read[other], adapt(recogniser.model, phrases[one])) * len(read[other])
        for one, other in (halves, halves[::-1])
    ) / len(read)
    gain = Gain(round(before * 100), round(max(before, after) * 100))
    if after <= before:
        return None, gain
    return adapt(recogniser.model, phrases), gain


def _right(
    recogniser: Recogniser, read: Sequence[tuple[str, Pcm]], adaptation: Adaptation | None
) -> float:
    """Share of the words that are heard as read."""
    standing = recogniser.adaptation
    recogniser.adaptation = adaptation
    try:
        shares = [
            overlap(text.split(), recogniser.recognise(pcm).text.split()) for text, pcm in read
        ]
    finally:
        recogniser.adaptation = standing
    return sum(shares) / max(1, len(shares))

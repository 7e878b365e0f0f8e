"""One turn of a conversation: sound in, end of speech, words, command, answer, sound out.

It is half-duplex: while the answer sounds nothing is listened to, unless the person presses again,
which ends the answer. Each stage streams into the next, recognition works while speech goes on, and
the answer is synthesised from the moment it is known. What a turn heard is dropped when the turn
ends. Every stage's time is measured on the monotonic clock and told under the turn's trace id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import structlog

from beira.apps.voice.engines.phrases import trouble
from beira.apps.voice.engines.ports import (
    AudioOut,
    Listening,
    Pcm,
    Progress,
    Recognised,
    SpeechToText,
    TextToSpeech,
)
from beira.apps.voice.engines.sound import complaint, trailing_ms
from beira.apps.voice.engines.speech_end import SilenceEnd
from beira.sdk import BeiraError, Invalid, Unavailable

log = structlog.get_logger(__name__)
Tell = Callable[[dict[str, Any]], Awaitable[None]]
"""Where a turn's events go: `state`, `partial`, `heard`, `answer`, `trouble`, `timings`."""

MS = 1_000.0
_TYPED = {"browser": "typed"}


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said, by voice or in writing, for the assistant to act on."""

    text: str
    trace_id: str
    door: str
    recognised: Recognised | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the assistant answers: to `say`, and to `show`. `choices`: it waits for a yes or a no;
    `awaits`: for any answer; `options` are those it offers. `record` names what was written down,
    for timings known only after the answer has sounded."""

    say: str
    show: str
    understood: bool = True
    ok: bool = True
    choices: bool = False
    awaits: bool = False
    options: tuple[str, ...] = ()
    intent: str = ""
    record: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)


class Mind(Protocol):
    """Understands and acts. Whatever is durable is durable before it answers."""

    @property
    def asking(self) -> bool:
        """Whether a question of ours waits for its answer."""
        ...

    async def answer(self, said: Said) -> Reply: ...

    async def timed(self, reply: Reply, timings_ms: dict[str, float]) -> None:
        """Keep the turn's whole timings with its interaction."""
        ...


@dataclass
class Hearing:
    """Who turns speech into words; `spare` takes over, on the same sound, when the first is away."""

    first: SpeechToText
    spare: SpeechToText | None = None
    keep: Callable[[str, Pcm], None] | None = None


class Conversation:
    """One person at one door. Turns come one after the other; a new one ends the answer before.

    `awaits`: the last answer was a question.
    """

    def __init__(
        self,
        *,
        hearing: Hearing,
        speaking: TextToSpeech,
        mind: Mind,
        out: AudioOut,
        tell: Tell,
        new_id: Callable[[], str],
        door: str,
        language: str,
    ) -> None:
        self.hearing, self.speaking, self.mind = hearing, speaking, mind
        self._out, self._tell, self._new_id = out, tell, new_id
        self._door, self.language = door, language
        self.awaits = False

    async def listen(
        self,
        frames: AsyncIterator[Pcm],
        *,
        tapped: Callable[[], bool] = lambda: True,
        wanted: Callable[[Recognised], bool] | None = None,
    ) -> Reply | None:
        """Hear one utterance and answer it. `tapped` says whether silence may end it now; without
        it the utterance ends where `frames` do. Trouble is told and spoken, and gives None. With
        `wanted`, what it refuses is dropped unseen, and so is trouble: nobody spoke to us."""
        turn = Turn(self._new_id())
        with structlog.contextvars.bound_contextvars(trace=turn.trace_id):
            try:
                await self._state("listening")
                said = await self._heard(frames, turn, tapped, wanted)
                return await self._answer(said, turn) if said else None
            except Exception as error:
                if wanted is None or turn.has("words"):
                    await self._trouble(error, turn)
                return None
            finally:
                await self._state("idle")

    async def typed(self, text: str) -> Reply | None:
        """Answer what was written."""
        turn = Turn(self._new_id())
        with structlog.contextvars.bound_contextvars(trace=turn.trace_id):
            try:
                turn.mark("decided")
                await self._state("thinking")
                await self._tell({"type": "heard", "text": text})
                return await self._answer(
                    Said(text, turn.trace_id, _TYPED.get(self._door, self._door)), turn
                )
            except Exception as error:
                await self._trouble(error, turn)
                return None
            finally:
                await self._state("idle")

    async def say(self, text: str, turn: Turn | None = None) -> None:
        """Speak a text and return once it has been heard."""
        turn = turn or Turn(self._new_id())
        try:
            async with aclosing(self.speaking.speak(text, self.language)) as sounds:
                async for sound in sounds:
                    if turn.mark("tts_first"):
                        await self._state("speaking")
                    await self._out.play(sound)
                    turn.mark("first_sound")
            await self._out.finish()
            turn.amend("first_sound", self._out.first_sound_at)
        except asyncio.CancelledError:
            await self._out.stop()
            raise
        except BeiraError as error:
            log.warning("speech.failed", code=error.code, why=error.message)

    async def recording(self, frames: AsyncIterator[Pcm], tapped: Callable[[], bool]) -> Pcm:
        """An utterance's sound, for a voice being enrolled. Raises Invalid for what is no speech."""
        await self._state("listening")
        blocks: list[Pcm] = []
        end = SilenceEnd()
        async for block in frames:
            blocks.append(block)
            if end.feed(block) and tapped():
                break
        whole = np.concatenate([*blocks, np.zeros(0, np.int16)])
        why = complaint(whole) or ("" if end.heard_speech else "audio.no_speech")
        if why:
            raise Invalid("This recording cannot be used.", code=why)
        return whole

    async def tell_trouble(self, error: BaseException) -> None:
        await self._trouble(error, Turn(self._new_id()))

    async def _heard(
        self,
        frames: AsyncIterator[Pcm],
        turn: Turn,
        tapped: Callable[[], bool],
        wanted: Callable[[Recognised], bool] | None,
    ) -> Said | None:
        blocks, found = await self._recognise(frames, turn, tapped)
        if wanted is not None and not wanted(found):
            return None
        turn.mark("words")
        if self.hearing.keep is not None:
            await asyncio.to_thread(self.hearing.keep, turn.trace_id, np.concatenate(blocks))
        if not found.text:
            raise Invalid("Nothing was understood.", code="audio.unclear", hint="Say it again.")
        shown = {"type": "heard", "text": found.text, "confidence": found.confidence}
        await self._tell(shown)
        timings = {"speech_end_detect": turn.trailing_ms, "stt": turn.between("decided", "words")}
        return Said(found.text, turn.trace_id, self._door, found, timings)

    async def _recognise(
        self, frames: AsyncIterator[Pcm], turn: Turn, tapped: Callable[[], bool]
    ) -> tuple[list[Pcm], Recognised]:
        blocks: list[Pcm] = []
        end = SilenceEnd()
        listening: Listening | None = None
        try:
            try:
                listening = await self.hearing.first.listen(self.language, asked=self.mind.asking)
                await self._take(frames, blocks, listening, end, tapped)
                await self._decided(turn, blocks)
                return blocks, await listening.finish()
            except Unavailable as error:
                if self.hearing.spare is None:
                    raise
                log.warning("hearing.spare_used", code=error.code, why=error.message)
                return await self._by_spare(frames, blocks, turn, end, tapped)
        finally:
            if listening is not None:
                await listening.close()

    async def _by_spare(
        self,
        frames: AsyncIterator[Pcm],
        blocks: list[Pcm],
        turn: Turn,
        end: SilenceEnd,
        tapped: Callable[[], bool],
    ) -> tuple[list[Pcm], Recognised]:
        """The utterance from its beginning, by the engine that is always there."""
        assert self.hearing.spare is not None
        listening = await self.hearing.spare.listen(self.language, asked=self.mind.asking)
        for block in blocks:
            await listening.feed(block)
        if not turn.has("decided"):
            await self._take(frames, blocks, listening, end, tapped)
            await self._decided(turn, blocks)
        return blocks, await listening.finish()

    async def _take(
        self,
        frames: AsyncIterator[Pcm],
        blocks: list[Pcm],
        listening: Listening,
        end: SilenceEnd,
        tapped: Callable[[], bool],
    ) -> None:
        shown = Progress()
        async for block in frames:
            blocks.append(block)
            silence = end.feed(block)
            progress = await listening.feed(block)
            if progress.text and progress.text != shown.text:
                await self._tell({"type": "partial", "text": progress.text})
            shown = progress
            if (progress.ended or silence) and tapped():
                return

    async def _decided(self, turn: Turn, blocks: list[Pcm]) -> None:
        turn.mark("decided")
        await self._state("thinking")
        whole = np.concatenate([*blocks, np.zeros(0, np.int16)])
        turn.trailing_ms = trailing_ms(whole)
        if why := complaint(whole):
            raise Invalid(f"The recording is {why.partition('.')[2]}.", code=why)

    async def _answer(self, said: Said, turn: Turn) -> Reply:
        reply = await self.mind.answer(said)
        self.awaits = reply.awaits
        turn.mark("answered")
        shown = {"type": "answer", "text": reply.show, "understood": reply.understood,
                 "ok": reply.ok, "choices": reply.choices, "awaits": reply.awaits,
                 "options": list(reply.options)}  # fmt: skip
        await self._tell(shown | {"intent": reply.intent, "trace": turn.trace_id})
        try:
            await self.say(reply.say, turn)
        finally:
            timings = said.timings_ms | reply.timings_ms | turn.figures()
            log.info("voice.turn", door=self._door, intent=reply.intent, **timings)
            await self.mind.timed(reply, timings)
            await self._tell({"type": "timings", "ms": timings})
        return reply

    async def _trouble(self, error: BaseException, turn: Turn) -> None:
        code, text = trouble(error, self.language)
        if isinstance(error, BeiraError):
            log.info("voice.trouble", code=code, why=error.message)
        else:
            log.exception("voice.failed", exc_info=error)
        await self._tell({"type": "trouble", "code": code, "text": text, "trace": turn.trace_id})
        await self.say(text, turn)

    async def _state(self, state: str) -> None:
        await self._tell({"type": "state", "state": state})


class Turn:
    """A turn's trace id and the moments of its stages."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.trailing_ms = 0.0
        self._marks: dict[str, float] = {}

    def mark(self, name: str) -> bool:
        """Note that a stage is reached; True the first time."""
        first = name not in self._marks
        self._marks.setdefault(name, time.monotonic())
        return first

    def amend(self, name: str, moment: float | None) -> None:
        """Take a better measurement of a mark, if there is one and it belongs to this turn."""
        if moment is not None and moment >= self._marks.get(name, moment + 1):
            self._marks[name] = moment

    def has(self, name: str) -> bool:
        return name in self._marks

    def between(self, start: str, end: str) -> float:
        """Milliseconds from one mark to another, 0 where either is missing."""
        if start not in self._marks or end not in self._marks:
            return 0.0
        return round((self._marks[end] - self._marks[start]) * MS, 1)

    def figures(self) -> dict[str, float]:
        """tts_first: answer known to first piece of speech; first_sound: end of speech decided to
        first sound; total: from the last voiced sound."""
        first_sound = self.between("decided", "first_sound")
        return {
            "tts_first": self.between("answered", "tts_first"),
            "first_sound": first_sound,
            "total": round(self.trailing_ms + first_sound, 1),
        }

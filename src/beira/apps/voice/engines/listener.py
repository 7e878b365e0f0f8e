"""A microphone that listens all the time, and answers only who calls.

Either a wake word service says when, or, with no such service, what is said is recognised and acted
on only if it begins with the wake word and is clear; all else is dropped unseen. While an answer
sounds nothing is listened to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing

from beira.apps.voice.engines.ports import AudioIn, Pcm, Recognised, Wake
from beira.apps.voice.engines.speech_end import SilenceEnd
from beira.apps.voice.pipeline import Conversation, Reply

WAKE_WORD = "aurora"
CLEAR = 0.8
ANSWER_WINDOW_S = 8.0
PREROLL_BLOCKS = 20
ECHO_S = 0.25


class Listener:
    """One microphone with its conversation."""

    def __init__(self, talk: Conversation, source: AudioIn, wake: Wake | None) -> None:
        self._talk, self._source, self._wake = talk, source, wake
        self._before: deque[Pcm] = deque(maxlen=PREROLL_BLOCKS)
        self._asked_until = 0.0

    async def run(self) -> None:
        """Listen until the source ends. Raises what the source or the wake service raises."""
        async with aclosing(self._source.frames()) as frames:
            gate = SilenceEnd()
            deaf_until = 0.0
            async for pcm in frames:
                if time.monotonic() < deaf_until:
                    continue
                self._before.append(pcm)
                if not await self._called(pcm, gate):
                    continue
                reply = await self._turn(frames)
                self._asked_until = time.monotonic() + ANSWER_WINDOW_S if _asks(reply) else 0.0
                deaf_until = time.monotonic() + ECHO_S
                gate = SilenceEnd()
                self._before.clear()

    async def _called(self, pcm: Pcm, gate: SilenceEnd) -> bool:
        """Whether an utterance for us may be starting."""
        gate.feed(pcm)
        if self._wake is None or time.monotonic() < self._asked_until:
            return gate.speaking
        return await self._wake.feed(pcm)

    async def _turn(self, frames: AsyncIterator[Pcm]) -> Reply | None:
        if self._wake is not None or time.monotonic() < self._asked_until:
            return await self._talk.listen(self._utterance(frames, with_before=self._wake is None))
        return await self._talk.listen(self._utterance(frames, with_before=True), wanted=calls_us)

    async def _utterance(
        self, frames: AsyncIterator[Pcm], *, with_before: bool
    ) -> AsyncIterator[Pcm]:
        if with_before:
            for block in list(self._before):
                yield block
        async for pcm in frames:
            yield pcm


def calls_us(heard: Recognised) -> bool:
    """Whether what was heard is clearly said to Aurora."""
    words = heard.text.lower().split()[:3]
    return WAKE_WORD in words and (heard.confidence or 0.0) >= CLEAR


def _asks(reply: Reply | None) -> bool:
    return reply is not None and reply.awaits

"""A microphone that listens all the time, and answers only who calls.

A wake word engine says when. The built-in one is only a first stage: what follows is acted on if it
begins with the wake word and is clear, and dropped unseen otherwise. A service of the operator's
choice is believed. While an answer sounds nothing is listened to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from beira.apps.voice.engines.built_in import WORK_TIMEOUT_S, BuiltIn
from beira.apps.voice.engines.ports import HEARD_HZ, AudioIn, Pcm, Recognised, Wake
from beira.apps.voice.engines.speech_end import SilenceEnd
from beira.apps.voice.pipeline import Conversation, Reply
from beira.apps.voice.recogniser.wake import PREROLL_S, WORD, WakeWord

CLEAR = 0.8
ANSWER_WINDOW_S = 8.0
SHORT_PREROLL_S = 0.4
ECHO_S = 0.25


class BuiltInWake:
    """The recogniser's own ear for its name; see `ports.Wake`."""

    believed = False

    def __init__(self, built_in: BuiltIn) -> None:
        self._built_in = built_in
        self._word = WakeWord(built_in.recogniser.model)

    async def feed(self, pcm: Pcm) -> bool:
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._built_in.worker, self._word.feed, pcm)
        return await asyncio.wait_for(job, WORK_TIMEOUT_S) is not None

    async def close(self) -> None:
        self._word = WakeWord(self._built_in.recogniser.model)


class Listener:
    """One microphone with its conversation."""

    def __init__(self, talk: Conversation, source: AudioIn, wake: Wake) -> None:
        self._talk, self._source, self._wake = talk, source, wake
        self._before: deque[Pcm] = deque()
        self._held = 0
        self._asked_until = 0.0

    async def run(self) -> None:
        """Listen until the source ends. Raises what the source or the wake engine raises."""
        async with aclosing(self._source.frames()) as frames:
            gate = SilenceEnd()
            deaf_until = 0.0
            async for pcm in frames:
                if time.monotonic() < deaf_until:
                    continue
                self._remember(pcm)
                if not await self._called(pcm, gate):
                    continue
                reply = await self._turn(frames)
                self._asked_until = time.monotonic() + ANSWER_WINDOW_S if _asks(reply) else 0.0
                deaf_until = time.monotonic() + ECHO_S
                gate = SilenceEnd()
                self._before.clear()
                self._held = 0

    async def _called(self, pcm: Pcm, gate: SilenceEnd) -> bool:
        """Whether an utterance for us may be starting; the answer to a question needs no name."""
        gate.feed(pcm)
        if self._answering:
            return gate.speaking
        return await self._wake.feed(pcm)

    async def _turn(self, frames: AsyncIterator[Pcm]) -> Reply | None:
        if self._answering:
            return await self._talk.listen(self._utterance(frames, SHORT_PREROLL_S))
        if self._wake.believed:
            return await self._talk.listen(self._utterance(frames, 0.0))
        return await self._talk.listen(self._utterance(frames, PREROLL_S), wanted=calls_us)

    async def _utterance(
        self, frames: AsyncIterator[Pcm], before_s: float
    ) -> AsyncGenerator[Pcm, None]:
        held = self._held
        for block in list(self._before):
            if held <= before_s * HEARD_HZ:
                yield block
            held -= len(block)
        async for pcm in frames:
            yield pcm

    def _remember(self, pcm: Pcm) -> None:
        self._before.append(pcm)
        self._held += len(pcm)
        while self._held > PREROLL_S * HEARD_HZ:
            self._held -= len(self._before.popleft())

    @property
    def _answering(self) -> bool:
        return time.monotonic() < self._asked_until


def calls_us(heard: Recognised) -> bool:
    """Whether what was heard is clearly a command said to Aurora."""
    words = heard.text.lower().split()
    return WORD in words[:2] and len(words) > 1 and (heard.confidence or 0.0) >= CLEAR


def _asks(reply: Reply | None) -> bool:
    return reply is not None and reply.awaits

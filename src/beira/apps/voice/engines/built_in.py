"""Speech to text by the recogniser that comes with the app, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from beira.apps.voice.engines.memory import give_back
from beira.apps.voice.engines.ports import Pcm, Progress, Recognised
from beira.apps.voice.recogniser.recogniser import Recogniser, Recognition, Stream
from beira.sdk import Unavailable

WORK_TIMEOUT_S = 10.0


class BuiltIn:
    """One recogniser and one worker thread, whoever is speaking."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="recogniser")

    @property
    def name(self) -> str:
        return "built in"

    async def listen(self, language: str, *, asked: bool = True) -> BuiltInListening:
        return BuiltInListening(self.recogniser.stream(asked=asked), self.worker)

    def close(self) -> None:
        self.worker.shutdown(wait=False, cancel_futures=True)
        self.recogniser.close()


class BuiltInListening:
    """One utterance; what is heard is worked on while more is being said."""

    def __init__(self, stream: Stream, worker: ThreadPoolExecutor) -> None:
        self._stream, self._worker = stream, worker
        self.last: Recognition | None = None

    async def feed(self, pcm: Pcm) -> Progress:
        loop = asyncio.get_running_loop()
        partial = await asyncio.wait_for(
            loop.run_in_executor(self._worker, self._stream.feed, pcm), WORK_TIMEOUT_S
        )
        return Progress(partial.text, partial.ended)

    async def finish(self) -> Recognised:
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._worker, self._stream.finish)
        try:
            self.last = found = await asyncio.wait_for(job, WORK_TIMEOUT_S)
        except TimeoutError:
            raise Unavailable(
                "The recogniser is overloaded.", code="stt.late", hint="Say it again in a moment."
            ) from None
        return Recognised(
            text=found.text,
            confidence=found.confidence,
            intent=found.intent or "",
            slots={slot.name: slot.text for slot in found.slots},
            alternatives=tuple(other.text for other in found.alternatives),
        )

    async def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the node is stopping
            self._worker.submit(give_back)

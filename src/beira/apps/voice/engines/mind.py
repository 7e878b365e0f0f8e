"""The assistant as the pipeline's mind, with a language model for what is no command."""

from __future__ import annotations

import time

import structlog

from beira.apps.voice.assistant import Assistant, Heard, Turn
from beira.apps.voice.engines.ports import OpenQuestions
from beira.apps.voice.pipeline import Reply, Said
from beira.sdk import BeiraError, Host

log = structlog.get_logger(__name__)
QUESTION_WORDS = 3


class AssistantMind:
    """One conversation. Commands never wait for the language model: it is asked only where there
    is nothing to do, and the assistant's own answer stands when it is late or away."""

    def __init__(self, host: Host, language: str, questions: OpenQuestions | None) -> None:
        self._assistant = Assistant(host, language)
        self._language, self._questions = language, questions

    @property
    def asking(self) -> bool:
        """See `pipeline.Mind`."""
        return self._assistant.talk.pending is not None

    async def answer(self, said: Said) -> Reply:
        """See `pipeline.Mind`. Raises what `Assistant.hear` raises."""
        began = time.monotonic()
        turn = await self._assistant.hear(_heard(said))
        timings = {"command": round((time.monotonic() - began) * 1_000, 1)}
        if turn.receipt is not None:
            timings = {"understand": round(timings["command"] - turn.receipt.took_ms, 1),
                       "command": turn.receipt.took_ms}  # fmt: skip
        opened = await self._opened(said, turn)
        return Reply(
            say=opened or turn.say,
            show=opened or turn.show,
            understood=turn.understood or bool(opened),
            ok=turn.ok or bool(opened),
            choices=turn.expects == "yes_no",
            awaits=turn.expects != "nothing",
            options=turn.options,
            intent=turn.intent,
            record=turn.interaction_id,
            timings_ms=timings,
        )

    async def timed(self, reply: Reply, timings_ms: dict[str, float]) -> None:
        """See `pipeline.Mind`. A turn is done whether or not its timings could be kept."""
        try:
            latency_ms = timings_ms.get("total")
            await self._assistant.timed(reply.record, timings_ms, latency_ms)
        except BeiraError as error:
            log.warning("voice.timings_not_kept", code=error.code, why=error.message)

    async def _opened(self, said: Said, turn: Turn) -> str:
        """The language model's answer to an open question, or "" where there is none."""
        if self._questions is None or turn.outcome != "not_understood":
            return ""
        if len(said.text.split()) < QUESTION_WORDS:
            return ""
        try:
            answer = await self._questions.ask(said.text, self._language)
            await self._assistant.answered(turn.interaction_id, answer)
        except BeiraError as error:
            log.info("voice.own_answer", code=error.code, why=error.message)
            return ""
        return answer


def _heard(said: Said) -> Heard:
    found = said.recognised
    if found is None:
        return Heard(text=said.text, door=said.door, trace=said.trace_id)
    return Heard(
        text=found.text,
        confidence=found.confidence,
        intent=found.intent,
        slots={name: str(value) for name, value in found.slots.items()},
        alternatives=found.alternatives,
        door=said.door,
        stages_ms=said.timings_ms,
        trace=said.trace_id,
    )

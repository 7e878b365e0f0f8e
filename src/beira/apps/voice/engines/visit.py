"""One open page at the counter: what it says, in order, and what is told back.

Messages from the page are JSON with a `type`: `start` {mode, rate}, `mode`, `stop`, `cancel`, `text`
{text}, `choice` {choice}, `sounding`, `silent`, `enrol` {action}; binary messages are sound. What
starts anew ends what was going on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from beira.apps.voice.engines.browser import BrowserIn, BrowserOut
from beira.apps.voice.engines.choice import Engines
from beira.apps.voice.engines.enrolment import Enrolment
from beira.apps.voice.engines.phrases import trouble
from beira.apps.voice.pipeline import Conversation
from beira.sdk import BeiraError, Invalid

if TYPE_CHECKING:
    from beira.apps.voice.edge import VoiceEdge

MESSAGE_BYTES = 4_096
TEXT_CHARS = 300
START_WAIT_S = 20.0
Send = Callable[[bytes], Awaitable[None]]
_CHOICES = {
    "pt-BR": {"yes": "sim", "no": "não", "cancel": "cancela"},
    "en": {"yes": "yes", "no": "no", "cancel": "cancel"},
}


class Message(msgspec.Struct):
    """What a page may say."""

    type: Literal[
        "start", "mode", "stop", "cancel", "text", "choice", "sounding", "silent", "enrol"
    ]
    mode: Literal["hold", "tap"] = "hold"
    rate: int = 16_000
    text: str = ""
    choice: Literal["yes", "no", "cancel"] = "yes"
    action: Literal["start", "stop", "forget"] = "start"


class Visit:
    """A page's conversation with this node."""

    def __init__(
        self,
        voice: VoiceEdge,
        language: str,
        tell: Callable[[dict[str, Any]], Awaitable[None]],
        send: Send,
    ) -> None:
        self._voice, self._language, self._tell = voice, language, tell
        self._out = BrowserOut(tell, send)
        self._talks: dict[str, Conversation] = {}
        self._last: Conversation | None = None
        self._made_for: Engines | None = None
        self._sound: BrowserIn | None = None
        self._tapped = False
        self._doing: asyncio.Task[Any] | None = None
        self._enrolment: Enrolment | None = None

    async def begin(self) -> None:
        """Greet the page once the voice can hear."""
        if not self._voice.ready.is_set():
            await self._tell({"type": "state", "state": "starting"})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._voice.ready.wait(), START_WAIT_S)
        await self._tell({"type": "state", "state": "idle" if self._voice.engines else "starting"})

    async def end(self) -> None:
        await self._interrupt()

    async def receive(self, text: str | None, sound: bytes | None) -> None:
        """Take one message; what is wrong with it is told to the page and ends nothing."""
        try:
            if sound is not None:
                if self._sound is not None:
                    self._sound.put(sound)
            elif text is not None:
                await self._act(_decoded(text))
        except BeiraError as error:
            await self._complain(error)

    async def _act(self, message: Message) -> None:
        match message.type:
            case "start":
                await self._start(message)
            case "mode":
                self._tapped = message.mode == "tap"
            case "stop" if self._sound is not None:
                self._sound.end()
                self._sound = None
            case "cancel":
                await self._interrupt()
                await self._tell({"type": "state", "state": "idle"})
            case "text":
                await self._type(message.text)
            case "choice":
                words = _CHOICES[self._last.language if self._last else self._language]
                await self._type(words[message.choice])
            case "sounding":
                self._out.sounding()
            case "silent":
                self._out.silent()
            case "enrol":
                await self._enrol(message.action)

    async def _start(self, message: Message) -> None:
        await self._interrupt()
        self._tapped = message.mode == "tap"
        self._sound = BrowserIn(message.rate)
        language = self._voice.heard_language(self._language)
        frames, talk = self._sound.frames(), self._conversation(language)
        if self._enrolment is not None:
            enrolment = self._enrolment
            self._do(lambda: enrolment.hear(talk, frames, lambda: self._tapped, self._tell))
        else:
            self._do(lambda: talk.listen(frames, tapped=lambda: self._tapped))

    async def _type(self, text: str) -> None:
        if not text.strip() or len(text) > TEXT_CHARS:
            raise Invalid(f"A sentence has 1 to {TEXT_CHARS} characters.", code="text.length")
        await self._interrupt()
        asked = self._last if self._last is not None and self._last.awaits else None
        talk = self._conversation(asked.language if asked else self._language)
        self._do(lambda: talk.typed(text.strip()))

    async def _enrol(self, action: str) -> None:
        await self._interrupt()
        if action == "start":
            self._enrolment = self._voice.enrolment()
            await self._enrolment.ask(self._tell)
        elif action == "stop":
            self._enrolment = None
        else:
            self._enrolment = None
            await self._voice.forget_voice()
            await self._tell({"type": "enrol", "step": "forgotten"})

    def _conversation(self, language: str) -> Conversation:
        """The page's conversation in a language; the one spoken to last is remembered, because an
        answer to its question belongs to it."""
        if self._made_for is not self._voice.engines:
            self._talks.clear()
            self._made_for = self._voice.engines
        if language not in self._talks:
            self._talks[language] = self._voice.conversation(
                out=self._out, tell=self._tell, door="browser", language=language
            )
        self._last = self._talks[language]
        return self._last

    def _do(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._doing = asyncio.create_task(self._done(work))

    async def _done(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            await work()
        except BeiraError as error:
            await self._complain(error)
        if self._enrolment is not None and self._enrolment.over:
            self._enrolment = None

    async def _interrupt(self) -> None:
        doing, self._doing, self._sound = self._doing, None, None
        if doing is not None:
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await doing

    async def _complain(self, error: BeiraError) -> None:
        code, text = trouble(error, self._language)
        await self._tell({"type": "trouble", "code": code, "text": text, "hint": error.hint})


def _decoded(text: str) -> Message:
    if len(text) > MESSAGE_BYTES:
        raise Invalid("The message is too long.", code="message.invalid")
    try:
        return msgspec.json.decode(text, type=Message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The message cannot be read: {error}", code="message.invalid") from None

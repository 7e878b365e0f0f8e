"""Aurora herself: what was heard goes through understanding and dialogue to commands and an answer.

The interaction is committed in the same transaction as what the command wrote, so that nobody ever
sees one without the other. The same turn runs by voice, by typing and by the command `say`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec

from beira.apps.voice.answers import Answer
from beira.apps.voice.calls import SAY_CHARS, lines_of, params, total_of
from beira.apps.voice.dialogue import (
    ANSWER,
    REPEAT,
    Act,
    Ask,
    Expects,
    Run,
    Say,
    Talk,
    World,
    asked_after,
    carried_out,
    read_back,
    read_back_after,
)
from beira.apps.voice.dialogue import heard as decide
from beira.apps.voice.knowledge import Known, knowledge_at, knowledge_of
from beira.apps.voice.language import fold
from beira.apps.voice.lookup import every
from beira.apps.voice.records import Interaction, Outcome, Person, Product
from beira.apps.voice.settings import VoiceSettings
from beira.apps.voice.understand import Meaning, Named
from beira.sdk import (
    BeiraError,
    Context,
    Denied,
    Host,
    Kind,
    Personal,
    Receipt,
    command,
)

TALKS = 256
LACKING = {"sale.no_price": "total", "request.which": "request"}
"""Refusals that only lack something: the answer asks for it."""
READ_BACK = frozenset({"punch.which"})
"""Refusals that say what is likeliest meant: it is read back for a yes."""
FREELY_ANSWERED = frozenset({"customer", "request"})
"""What is asked for in anybody's own words."""
ANSWER_CHARS = 60
VOICE_DOORS = frozenset({"voice", "wyoming", "microphone", "satellite", "browser"})


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said. `confidence` is 1 for what was typed, None where an engine does not say;
    `intent` is the recogniser's, which only orders what the text can mean."""

    text: str
    confidence: float | None = 1.0
    intent: str = ""
    slots: Mapping[str, str] = {}
    alternatives: tuple[str, ...] = ()
    door: str = "typed"
    stages_ms: Mapping[str, float] = {}
    trace: str = ""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: the answer to speak and to show, and whether something is awaited.
    `options` are answers that can be chosen, each a text that says it."""

    say: str
    show: str
    understood: bool
    expects: Expects
    outcome: Outcome
    intent: str
    interaction_id: str
    command: str = ""
    receipt: Receipt | None = None
    options: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.outcome in ("done", "asked", "cancelled")


class _Result(msgspec.Struct, frozen=True):
    """What a command came to, from its receipt or from running within another command."""

    ok: bool
    result: Any = None
    code: str = ""
    message: str = ""
    receipt: str = ""


class _Answered(msgspec.Struct, frozen=True):
    answer: Answer
    outcome: Outcome
    expects: Expects = "nothing"


class Assistant:
    """One conversation at a host: who talks to it goes on where they were. Turns are one at a time."""

    def __init__(self, host: Host, language: str = "") -> None:
        self._host = host
        self._knowledge = knowledge_of(host, language)
        self._turn = asyncio.Lock()
        self.talk = Talk()
        self._last: Answer | None = None

    async def hear(self, heard: Heard) -> Turn:
        """Act on what was said, and answer. Durable before it returns.

        Raises: Unavailable or Full when nothing could be written; then nothing was, and the
        conversation stands where it stood.
        """
        async with self._turn:
            began_s = self._host.wall.monotonic_s()
            known = await self._knowledge.fresh()
            now = self._host.now()
            talk, act, meaning = _decided(
                known, self.talk, heard, began_s, now, self._zone_now(now)
            )
            id = self._host.wall.new_id()
            note = _Note(known, heard, meaning, act, id, now, began_s, self._host.wall.monotonic_s)
            turn, talk = await (
                self._run(note, act, talk) if isinstance(act, Run) else self._tell(note, act, talk)
            )
            self.talk, self._last = talk, Answer(turn.say, turn.show)
            return turn

    async def timed(
        self, interaction_id: str, stages_ms: Mapping[str, float], latency_ms: float | None = None
    ) -> None:
        """Keep timings known only after the answer, such as its first sound's."""
        async with self._host.writing() as ctx:
            ctx.patch(Interaction, interaction_id, stages_ms=dict(stages_ms), latency_ms=latency_ms)

    async def answered(self, interaction_id: str, answer: str) -> None:
        """Note another answer than ours, such as a language model's to an open question."""
        async with self._host.writing() as ctx:
            ctx.patch(Interaction, interaction_id, answer=answer, outcome="done")

    async def _run(self, note: _Note, act: Run, talk: Talk) -> tuple[Turn, Talk]:
        told: list[_Answered] = []

        def beside(receipt: Receipt) -> list[Interaction]:
            told.append(note.ran(_of_receipt(receipt)))
            return [note.interaction(told[-1], act.command, receipt.id)]

        receipt = await self._host.run(
            act.command, params(act, note.heard.text), principal=self._host.place.principal,
            door=note.heard.door, trace_id=note.heard.trace, beside=beside,
        )  # fmt: skip
        result = _of_receipt(receipt)
        talk = _remembered(talk, act, result, note.began_s)
        turn = note.turn(told[-1] if told else note.ran(result), talk, act.command, receipt)
        return turn, talk

    async def _tell(self, note: _Note, act: Ask | Say, talk: Talk) -> tuple[Turn, Talk]:
        told = note.told(act, self._last)
        async with self._host.writing() as ctx:
            ctx.put(note.interaction(told))
        return note.turn(told, talk), talk

    def _zone_now(self, now: datetime) -> datetime:
        return now.astimezone(self._host.place.zone)


class _Note:
    """One turn's particulars, for its answer and its interaction."""

    def __init__(self, known: Known, heard: Heard, meaning: Meaning | None, act: Act, id: str,
                 now: datetime, began_s: float, clock: Callable[[], float]) -> None:  # fmt: skip
        self.known, self.heard, self.act, self.id, self.now = known, heard, act, id, now
        self.began_s, self._clock = began_s, clock
        self.intent = act.intent or (meaning.intent if meaning else "")

    def told(self, act: Ask | Say, last: Answer | None = None) -> _Answered:
        values = _values(act.values, self.known)
        if act.key in ("confirm.record_sale", "confirm.move_stock"):
            values["items"] = lines_of(act.values, self.known.products)
        if act.key == "confirm.record_sale" and values.get("total") is None:
            values["total"] = total_of(act.values, self.known.products)
        if act.key == REPEAT and last is not None:
            return _Answered(last, "done")
        answer = self.known.wording.answer(act.key, values, self.now)
        if isinstance(act, Ask):
            return _Answered(answer, "asked", act.expects)
        return _Answered(answer, act.outcome)

    def ran(self, result: _Result) -> _Answered:
        wording = self.known.wording
        values = result.result if isinstance(result.result, Mapping) else {}
        if result.ok:
            told = str(values.get("told", ""))
            key = told if wording.says(told) else "done"
            return _Answered(wording.answer(key, values, self.now), "done")
        if result.code in READ_BACK and isinstance(self.act, Run):
            return self.told(_likeliest(self.act, result))
        key = f"error.{result.code}"
        answer = wording.answer(key, {**values, "message": result.message}, self.now)
        if result.code in LACKING:
            return _Answered(answer, "asked", "slot")
        by_caller = wording.has(key)
        return _Answered(answer, "refused" if by_caller else "failed")

    def interaction(self, told: _Answered, command: str = "", receipt: str = "") -> Interaction:
        took_ms = round((self._clock() - self.began_s) * 1000, 1)
        stages = {**self.heard.stages_ms, "decide": took_ms}
        spoken = self.heard.door in VOICE_DOORS
        # What was typed is surely what was typed; of what it means, nothing is sure here.
        unsure = told.outcome == "not_understood" and not spoken
        more = (
            {"alternatives": list(self.heard.alternatives[:3])} if self.heard.alternatives else {}
        )
        return Interaction(
            id=self.id, text=self.heard.text[:SAY_CHARS], intent=self.intent, outcome=told.outcome,
            answer=told.answer.show, confidence=None if unsure else self.heard.confidence,
            door=self.heard.door, at=self.now, command=command, receipt=receipt,
            language=self.known.language, stages_ms=stages, trace=self.heard.trace,
            latency_ms=None if spoken else took_ms, heard=more,
        )  # fmt: skip

    def turn(
        self, told: _Answered, talk: Talk, command: str = "", receipt: Receipt | None = None
    ) -> Turn:
        options = talk.pending.labels if talk.pending and told.outcome == "asked" else ()
        return Turn(
            say=told.answer.say, show=told.answer.show, expects=told.expects, outcome=told.outcome,
            understood=told.outcome != "not_understood", intent=self.intent, command=command,
            receipt=receipt, interaction_id=self.id, options=options,
        )  # fmt: skip


def _decided(
    known: Known, talk: Talk, heard: Heard, now_s: float, now: datetime, local: datetime
) -> tuple[Talk, Act, Meaning | None]:
    meanings = known.understanding.understand(heard.text)
    if heard.intent:
        meanings.sort(key=lambda m: m.intent != heard.intent)
    meanings = _as_answers(talk, heard.text, meanings) + meanings
    directory = known.understanding.directory
    world = World(
        now_s=now_s,
        local=local,
        people=directory.people.shown,
        products=directory.products.shown,
        hours=known.settings.hours,
        bars=known.bars,
        weighed=known.weighed,
        others=known.understanding.sentences.others,
    )
    talk, act = decide(talk, meanings, heard.confidence, world)
    return talk, act, meanings[0] if meanings else None


def _as_answers(talk: Talk, text: str, meanings: list[Meaning]) -> list[Meaning]:
    """What a text is besides, as an answer to the question that waits: one of its choices word for
    word, or anybody's own words where nothing else is meant."""
    pending = talk.pending
    if pending is None:
        return []
    labels = [fold(label) for label in pending.labels]
    if (said := fold(text)) in labels:
        return [Meaning(ANSWER, {"choice": labels.index(said) + 1})]
    own = " ".join(text.split())
    if pending.wants in FREELY_ANSWERED and not meanings and 0 < len(own) <= ANSWER_CHARS:
        return [Meaning(ANSWER, {"text": own.strip(" .,;:!?")})]
    return []


def _remembered(talk: Talk, act: Run, result: _Result, now_s: float) -> Talk:
    if result.ok:
        told = result.result if isinstance(result.result, Mapping) else {}
        return carried_out(talk, act, told, now_s)
    if result.code in LACKING:
        return asked_after(talk, act, LACKING[result.code], now_s, _choices(result))
    if result.code in READ_BACK:
        return read_back_after(talk, act, _likeliest(act, result), now_s)
    return talk


def _choices(result: _Result) -> list[tuple[Any, str]]:
    """What a refusal offers to choose from: (id, label)."""
    found = result.result if isinstance(result.result, Mapping) else {}
    return list(zip(found.get("ids", ()), found.get("choices", ()), strict=True))


def _likeliest(act: Run, result: _Result) -> Ask:
    details = result.result if isinstance(result.result, Mapping) else {}
    return read_back(act, {"punch": details.get("punch"), "at": details.get("at")})


def _of_receipt(receipt: Receipt) -> _Result:
    return _Result(receipt.ok, receipt.result, receipt.code, receipt.message, receipt.id)


def _values(slots: Mapping[str, Any], known: Known) -> dict[str, Any]:
    """Slots for an answer: names in full instead of as they were said."""
    directory = known.understanding.directory
    shown = {**directory.people.shown, **directory.products.shown}
    return {
        name: shown.get(value.ids[0], value.said)
        if isinstance(value, Named) and len(value.ids) == 1
        else value
        for name, value in slots.items()
    }


class SaidBack(msgspec.Struct, kw_only=True):
    """The answer to a text: to speak, to show, and what is awaited."""

    say: str
    show: str
    expects: Expects
    understood: bool
    outcome: Outcome
    intent: str
    interaction: str
    result: Any = None


class Inner(Protocol):
    """A declared command, as `command_of` gives it."""

    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def handler(self) -> Callable[..., Awaitable[Any]]: ...
    def check(self, given: Mapping[str, object]) -> dict[str, Any]: ...


_TALKS: OrderedDict[tuple[str, str, str], Talk] = OrderedDict()


def say_command() -> Any:
    """The command `say` over the other commands, which it runs within its own transaction."""

    @command(name="say", roles=("owner", "member"))
    async def say(ctx: Context, text: Annotated[str, Personal]) -> SaidBack:
        """Says something to Aurora, as if at the counter, and gives her answer."""
        known = await _known_at(ctx)
        key = (ctx.principal.tenant, ctx.site or "", ctx.principal.id)
        heard = Heard(text=text[:SAY_CHARS], door="say", trace=ctx.trace_id)
        now = ctx.now()
        now_s = now.timestamp()
        before = _TALKS.pop(key, Talk())
        talk, act, meaning = _decided(known, before, heard, now_s, now, now.astimezone(ctx.zone))
        note = _Note(known, heard, meaning, act, f"{ctx.call_id}-i", now, now_s, lambda: now_s)
        result = None
        if isinstance(act, Run):
            result = await _within(ctx, ctx.commands[act.command], params(act, heard.text))
            told = note.ran(result)
            talk = _remembered(talk, act, result, now_s)
        else:
            told = note.told(act)
        ctx.put(note.interaction(told, act.command if isinstance(act, Run) else "", ctx.call_id))
        _TALKS[key] = talk
        if len(_TALKS) > TALKS:
            _TALKS.popitem(last=False)
        turn = note.turn(told, talk)
        return SaidBack(say=turn.say, show=turn.show, expects=turn.expects, outcome=turn.outcome,
                        understood=turn.understood, intent=turn.intent, interaction=note.id,
                        result=result.result if result else None)  # fmt: skip

    return say


async def _known_at(ctx: Context) -> Known:
    """What is known at the place of a command, which has no host to follow."""
    followed = knowledge_at(ctx.principal.tenant, ctx.site)
    if followed is not None:
        return await followed.fresh()
    settings = await ctx.settings(VoiceSettings)
    people, products = await every(ctx, Person), await every(ctx, Product)
    return Known.of(settings, people, products, site=ctx.site, zone=ctx.zone)


async def _within(ctx: Context, inner: Inner, given: dict[str, object]) -> _Result:
    """Run a command as part of the one at hand: the same rights, the same transaction."""
    try:
        if ctx.principal.kind is Kind.PERSON and ctx.principal.role not in inner.roles:
            raise Denied(f"{ctx.principal.role} may not {inner.name}.")
        result = await inner.handler(ctx, **inner.check(given))
    except BeiraError as error:
        return _Result(False, error.details, error.code, error.message)
    return _Result(True, msgspec.to_builtins(result))

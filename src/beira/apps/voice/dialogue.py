"""A conversation as a pure state machine: (state, what was heard) to (state, what to do).

Nothing reaches the books from here unless it is whole, unambiguous, and either certain or confirmed:
what lacks is asked for, what can mean two things is asked about, what is unsure is read back. A
question waits so long and no longer; silence never means yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from beira.apps.voice.language import Quantity, SaidTime
from beira.apps.voice.rules import Hours, moments
from beira.apps.voice.sentences import Risk
from beira.apps.voice.understand import Meaning, Named

Expects = Literal["nothing", "slot", "yes_no"]
MOST_CHOICES = 4
MOST_BUTTONS = 8
MOST_LINES = 5
LINES_UNASKED = 2
"""A sale of more lines is read back however sure."""
CORRECTABLE_S = 120.0
CONFIRM = "confirm"
ANSWER = "answer"
CHANGE = "change"
"""What a correction needs: another time, or in for out."""
THANKS = "thanks"
REPEAT = "repeat"
"""What was answered last is known to whoever puts it into words: say it again."""


class Bars(msgspec.Struct, frozen=True):
    """How sure is sure enough, and how long a question waits."""

    books: float = 0.92
    alert: float = 0.6
    words: float = 0.5
    heard: float = 0.3
    confirm_always: bool = False
    question_s: float = 20.0

    def of(self, risk: Risk) -> float:
        """The least confidence at which it is done without asking."""
        return {"books": self.books, "alert": self.alert, "words": self.words, "none": 0.0}[risk]


class World(msgspec.Struct, frozen=True):
    """What the conversation must know of the moment. `now_s` only ever rises; `local` is the shop's
    time; the names are by id."""

    now_s: float
    local: datetime
    people: Mapping[str, str]
    products: Mapping[str, str]
    hours: Hours = Hours()
    bars: Bars = Bars()
    weighed: frozenset[str] = frozenset()
    """Products sold by weight or volume: a bare number of them is read back."""
    others: Mapping[str, Risk] = {}
    """Commands of other apps that can be asked for, and what a mistake would touch."""


class Pending(msgspec.Struct, frozen=True):
    """A question that waits: for a slot, or (`wants` is `confirm`) for a yes. `labels` say the
    `choices`, in their order."""

    intent: str
    slots: Mapping[str, Any]
    wants: str
    question: Ask
    confidence: float
    asked_s: float
    choices: tuple[Any, ...] = ()
    labels: tuple[str, ...] = ()


class Recent(msgspec.Struct, frozen=True):
    """The punch just registered, which a "no, it was at…" corrects. `said_kind` is in or out where
    that was said; `latest`: nothing else has been written since."""

    punch: str
    person: str
    at_s: float
    at: datetime | None = None
    said_kind: str | None = None
    latest: bool = True


class Talk(msgspec.Struct, frozen=True):
    """Where a conversation stands."""

    pending: Pending | None = None
    recent: Recent | None = None


class Ask(msgspec.Struct, frozen=True):
    """Put a question. `key` names its wording in the sentences' answers."""

    key: str
    values: Mapping[str, Any] = {}
    expects: Expects = "slot"
    intent: str = ""


class Say(msgspec.Struct, frozen=True):
    """Say something; nothing is done. `outcome` is the interaction's."""

    key: str
    values: Mapping[str, Any] = {}
    outcome: Literal["refused", "cancelled", "expired", "not_understood", "done"] = "refused"
    intent: str = ""


class Run(msgspec.Struct, frozen=True):
    """Carry a command out. `confidence` is the least of all turns that led here; `confirmed` that
    a yes was heard."""

    command: str
    slots: Mapping[str, Any]
    confidence: float
    confirmed: bool = False

    @property
    def intent(self) -> str:
        return self.command


Act: TypeAlias = Ask | Say | Run


class Spec(msgspec.Struct, frozen=True):
    """What an intent needs before it is carried out, and what a mistake would touch."""

    risk: Risk
    needs: tuple[str, ...] = ()


SPECS: dict[str, Spec] = {
    "register_punch": Spec("books", ("employee",)),
    "correct_punch": Spec("books", ("employee", "change")),
    "cancel_punch": Spec("books", ("employee",)),
    "reassign_punch": Spec("books", ("employee", "belongs_to")),
    "hours_worked": Spec("words", ("employee",)),
    "who_is_in": Spec("words"),
    "register_product": Spec("books", ("name", "price")),
    "record_sale": Spec("books", ("quantity", "product")),
    "move_stock": Spec("books", ("quantity", "product", "reason")),
    "log_request": Spec("words"),
    "open_requests": Spec("words"),
    "close_request": Spec("words"),
    "raise_emergency": Spec("alert"),
    "raise_security_alert": Spec("alert"),
    "report_failure": Spec("alert", ("thing",)),
    "product_price": Spec("words", ("product",)),
    "product_stock": Spec("words", ("product",)),
    "product_place": Spec("words", ("product",)),
    "daily_summary": Spec("words"),
    "help": Spec("none"),
    "time": Spec("none"),
}
_TURNS = frozenset({"yes", "no", "cancel", REPEAT, THANKS, "correction", ANSWER})
PRODUCTS = ("product", *(f"product_{n}" for n in range(2, MOST_LINES + 1)))
QUANTITIES = ("quantity", *(f"quantity_{n}" for n in range(2, MOST_LINES + 1)))
_PEOPLE = ("employee", "belongs_to")
_NAMES = (*_PEOPLE, *PRODUCTS)
_PUNCHING = ("register_punch", "correct_punch", "cancel_punch", "reassign_punch")
_WRITING = frozenset(name for name, spec in SPECS.items() if spec.risk in ("books", "alert")) | {
    "log_request", "close_request",
}  # fmt: skip


def heard(
    talk: Talk, meanings: Sequence[Meaning], confidence: float | None, world: World
) -> tuple[Talk, Act]:
    """One turn: what was understood (best first) and how surely (None: its engine does not say).

    Meanings of intents this app does not know are passed over.
    """
    sure = _unmeasured(world.bars) if confidence is None else confidence
    known = [
        m for m in meanings if m.intent in SPECS or m.intent in _TURNS or m.intent in world.others
    ]
    pending = talk.pending
    expired = pending is not None and world.now_s - pending.asked_s > world.bars.question_s
    if expired:
        talk, pending = replace(talk, pending=None), None
    unheard = confidence is not None and sure < world.bars.heard
    act: Act
    if not known or unheard:
        talk, act = talk, Say("not_understood", outcome="not_understood")
    elif pending is not None:
        talk, act = _in_question(talk, pending, known, sure, world)
    else:
        talk, act = _afresh(talk, known, sure, world, expired)
    return talk, act


def _unmeasured(bars: Bars) -> float:
    """How sure to be of an engine that does not say: enough for all but the books."""
    return min(max(bars.words, bars.alert), bars.books * 0.999)


def asked_after(
    talk: Talk, run: Run, wants: str, now_s: float, choices: Sequence[tuple[Any, str]] = ()
) -> Talk:
    """Wait for what a command turned out to lack; nothing was written. `choices` are (value, label)."""
    question = Ask(f"ask.{wants}", run.slots, intent=run.command)
    values, labels = tuple(v for v, _ in choices), tuple(label for _, label in choices)
    pending = Pending(
        run.command, run.slots, wants, question, run.confidence, now_s, values, labels
    )
    return replace(talk, pending=pending)


def read_back(run: Run, more: Mapping[str, Any]) -> Ask:
    """The question whether a command means what it turned out to mean; `more` says it."""
    slots = {**run.slots, **more}
    return Ask(f"confirm.{run.command}", slots, expects="yes_no", intent=run.command)


def read_back_after(talk: Talk, run: Run, question: Ask, now_s: float) -> Talk:
    """Wait for a yes to it."""
    pending = Pending(run.command, question.values, CONFIRM, question, run.confidence, now_s)
    return replace(talk, pending=pending)


def carried_out(talk: Talk, run: Run, result: Mapping[str, Any], now_s: float) -> Talk:
    """Remember a punch that was just registered or put right; anything else written is later."""
    if run.command in ("register_punch", "correct_punch", "reassign_punch"):
        at = datetime.fromisoformat(result["at"]) if isinstance(result["at"], str) else result["at"]
        kind = run.slots.get("kind") or (talk.recent and talk.recent.said_kind)
        return replace(
            talk, recent=Recent(result["punch"], result["person"], now_s, at, kind or None)
        )
    if run.command == "cancel_punch":
        return replace(talk, recent=None)
    if run.command in _WRITING and talk.recent:
        return replace(talk, recent=replace(talk.recent, latest=False))
    return talk


def _in_question(
    talk: Talk, pending: Pending, known: Sequence[Meaning], sure: float, world: World
) -> tuple[Talk, Act]:
    clear = replace(talk, pending=None)
    first = known[0]
    filled = _filled(pending, known, world)
    if filled is not None:
        return _ready(clear, pending.intent, filled, min(pending.confidence, sure), world)
    if first.intent == "no" and pending.wants in _NAMES and len(pending.choices) == 1:
        ask = Ask(_asking(pending.wants, pending.intent), pending.slots, intent=pending.intent)
        again = replace(pending, question=ask, choices=(), labels=(), asked_s=world.now_s)
        return _asked(talk, again)
    if first.intent in ("no", "cancel") or _takes_back(first, pending):
        return clear, Say("cancelled", outcome="cancelled", intent=pending.intent)
    if first.intent == "yes" and pending.wants == CONFIRM:
        if sure < max(world.bars.words, world.bars.heard):
            return talk, pending.question
        return clear, Run(pending.intent, pending.slots, pending.confidence, confirmed=True)
    if first.intent in _TURNS:
        return talk, pending.question
    return _afresh(clear, known, sure, world, False)


def _takes_back(meaning: Meaning, pending: Pending) -> bool:
    """Whether "cancela o ponto" only means the one that is being asked about."""
    return (
        meaning.intent == "cancel_punch"
        and pending.intent == "register_punch"
        and "employee" not in meaning.slots
    )


def _afresh(
    talk: Talk, known: Sequence[Meaning], sure: float, world: World, expired: bool
) -> tuple[Talk, Act]:
    first = known[0]
    if first.intent == "correction":
        return _correction(talk, first, sure, world)
    if first.intent == REPEAT:
        return talk, Say(REPEAT, outcome="done", intent=REPEAT)
    if first.intent == THANKS:
        return talk, Say(THANKS, outcome="done", intent=THANKS)
    recent = _recent(talk, world)
    if first.intent == "cancel_punch" and recent and first.slots.get("employee") is None:
        return _ready(talk, "cancel_punch", _of_recent(recent, world), sure, world)
    if first.intent in _TURNS:
        if expired:
            return talk, Say("expired", outcome="expired")
        if first.intent == "cancel" and recent and recent.latest:
            unsure = min(sure, _below(world.bars.books))
            return _ready(talk, "cancel_punch", _of_recent(recent, world), unsure, world)
        key = {ANSWER: "not_understood", "cancel": "nothing_to_cancel"}.get(
            first.intent, "nothing_asked"
        )
        return talk, Say(key, outcome="not_understood")
    return _ready(talk, first.intent, dict(first.slots), sure, world)


def _recent(talk: Talk, world: World) -> Recent | None:
    """The punch that may still be put right in passing."""
    recent = talk.recent
    return recent if recent and world.now_s - recent.at_s <= CORRECTABLE_S else None


def _of_recent(recent: Recent, world: World) -> dict[str, Any]:
    name = world.people.get(recent.person, "")
    return {"punch": recent.punch, "employee": Named(name, (recent.person,)), "at": recent.at}


def _below(bar: float) -> float:
    return bar * 0.999


def _correction(talk: Talk, meaning: Meaning, sure: float, world: World) -> tuple[Talk, Act]:
    recent = _recent(talk, world)
    if recent is None:
        return talk, Say("nothing_to_correct", intent="correct_punch")
    slots = _of_recent(recent, world)
    whose = meaning.slots.get("employee")
    if not isinstance(whose, Named):
        return _ready(talk, "correct_punch", {**slots, **meaning.slots}, sure, world)
    others = tuple(id for id in whose.ids if id != recent.person)
    slots["kind"] = recent.said_kind
    if others or not whose.ids:  # else "it was not João" of João's: then whose is it?
        slots["belongs_to"] = replace(whose, ids=others)
    return _ready(talk, "reassign_punch", slots, sure, world)


def _ready(
    talk: Talk, intent: str, slots: Mapping[str, Any], sure: float, world: World
) -> tuple[Talk, Act]:
    """Ask for the first thing that lacks, is unknown or ambiguous; else confirm; else do it."""
    slots = dict(slots)
    question = _names_question(slots, world) or _time_question(slots, world)
    if isinstance(question, Say):
        return talk, replace(question, intent=intent)
    if question is None:
        for need in _needs(intent, slots):
            if need == CHANGE and (slots.get("time") or slots.get("kind")):
                continue
            if slots.get(need) is None:
                wanted = "time" if need == CHANGE else need
                question = wanted, Ask(_asking(wanted, intent), slots), (), ()
                break
    if question is not None:
        wants, ask, choices, labels = question
        ask = replace(ask, intent=intent)
        return _asked(talk, Pending(intent, slots, wants, ask, sure, world.now_s, choices, labels))
    risk = SPECS[intent].risk if intent in SPECS else world.others[intent]
    must_ask = sure < world.bars.of(risk) or (world.bars.confirm_always and risk == "books")
    if must_ask or _easily_wrong(intent, slots, world):
        ask = Ask(f"confirm.{intent}", slots, expects="yes_no", intent=intent)
        return _asked(talk, Pending(intent, slots, CONFIRM, ask, sure, world.now_s))
    return talk, Run(intent, slots, sure)


def _asked(talk: Talk, pending: Pending) -> tuple[Talk, Act]:
    return replace(talk, pending=pending), pending.question


_Question: TypeAlias = tuple[str, Ask, tuple[Any, ...], tuple[str, ...]]


def _asking(wanted: str, intent: str) -> str:
    """The wording of a question for a slot, which an intent may have of its own."""
    return f"ask.{wanted}.{intent}"


def _needs(intent: str, slots: Mapping[str, Any]) -> tuple[str, ...]:
    """What an intent needs; an order, unlike a wish in passing, is somebody's."""
    needs = SPECS[intent].needs if intent in SPECS else ()
    return (*needs, "customer") if intent == "log_request" and slots.get("order") else needs


def _easily_wrong(intent: str, slots: Mapping[str, Any], world: World) -> bool:
    """A long sale, or a bare number of what is sold by weight ("três pães")."""
    if intent not in ("record_sale", "move_stock"):
        return False
    lines = [(slots.get(q), slots.get(p)) for q, p in zip(QUANTITIES, PRODUCTS, strict=True)]
    bare = any(
        isinstance(count, Quantity)
        and not count.unit
        and isinstance(what, Named)
        and not world.weighed.isdisjoint(what.ids)
        for count, what in lines
    )
    return bare or sum(what is not None for _, what in lines) > LINES_UNASKED


def _names_question(slots: dict[str, Any], world: World) -> _Question | Say | None:
    for slot in _NAMES:
        named = slots.get(slot)
        if not isinstance(named, Named) or len(named.ids) == 1:
            continue
        kind = "employee" if slot in _PEOPLE else "product"
        shown = world.people if kind == "employee" else world.products
        choices = named.ids or named.closest
        ordered = tuple(sorted(choices, key=lambda id: shown.get(id, "")))
        names = [shown[id] for id in ordered if id in shown]
        values = {"said": named.said, "choices": names, "count": len(names)}
        if not choices:
            return Say(f"unknown.{kind}", values)
        if len(choices) > MOST_CHOICES:
            ask = Ask(f"which.{kind}.many", values)
        elif named.ids:
            ask = Ask(f"which.{kind}", values)
        else:
            ask = Ask(f"closest.{kind}", values, expects="yes_no" if len(choices) == 1 else "slot")
        apart = len(set(names)) == len(ordered) <= MOST_BUTTONS
        labels = tuple(names) if apart else ()
        return slot, ask, ordered, labels
    return None


def _time_question(slots: dict[str, Any], world: World) -> _Question | Say | None:
    said = slots.get("time")
    if not isinstance(said, SaidTime):
        return None
    found = moments(said, world.local, world.hours)
    if not found:
        return Say("time.to_come", {"now": world.local})
    if len(found) == 1:
        slots["time"] = found[0]
        return None
    ordered = tuple(sorted(found))
    labels = tuple(f"{moment:%H:%M}" for moment in ordered)
    labels = labels if len(set(labels)) == len(labels) else ()
    return "time", Ask("which.time", {"choices": list(ordered)}), ordered, labels


def _filled(pending: Pending, known: Sequence[Meaning], world: World) -> dict[str, Any] | None:
    """The pending slots with what this turn gives, or None if it answers something else."""
    for meaning in known:
        if meaning.intent == "yes" and len(pending.choices) == 1:
            return {**pending.slots, pending.wants: _chosen(pending, 0)}
        if meaning.intent == "correction" and pending.intent in _PUNCHING:
            return _otherwise(pending, meaning)
        if meaning.intent == "no" and pending.wants == "customer":
            return {**pending.slots, "customer": ""}
        if meaning.intent == ANSWER:
            value = _answer(pending, meaning.slots, world)
            stranger = isinstance(value, Named) and not value.ids
            if value is not None and (meaning is known[0] or not stranger):
                return {**pending.slots, pending.wants: value}
    return None


def _otherwise(pending: Pending, meaning: Meaning) -> dict[str, Any]:
    """The slots of a question about a punch, as a "no, it was…" makes them."""
    slots, given = dict(pending.slots), dict(meaning.slots)
    if "employee" in given and pending.intent == "reassign_punch":
        return {**slots, "belongs_to": given["employee"]}
    if "employee" in given:
        slots = {name: value for name, value in slots.items() if name not in ("punch", "at")}
    return {**slots, **given}


def _answer(pending: Pending, given: Mapping[str, Any], world: World) -> Any:
    """What an answer's slots say for the wanted one."""
    wants = pending.wants
    if "choice" in given and 0 < int(given["choice"]) <= len(pending.choices):
        return _chosen(pending, int(given["choice"]) - 1)
    if wants in _NAMES:
        return _named_answer(pending, given.get("employee" if wants in _PEOPLE else "product"))
    if wants == "customer":
        return _whom(given)
    if wants == "time":
        said = pending.slots.get("time")
        if "period" in given and isinstance(said, SaidTime):
            return said.within(given["period"])
        return given.get("time")
    if wants in ("price", "total"):
        return given.get("money")
    return given.get(wants)


def _whom(given: Mapping[str, Any]) -> str | None:
    """A customer's name: theirs may be an employee's too."""
    named = given.get("employee")
    return named.said if isinstance(named, Named) else given.get("customer") or given.get("text")


def _named_answer(pending: Pending, named: Any) -> Named | None:
    if not isinstance(named, Named):
        return None
    among = tuple(id for id in named.ids if id in pending.choices)
    return Named(named.said, among) if among else named


def _chosen(pending: Pending, at: int) -> Any:
    """The slot's value for one of the choices."""
    choice = pending.choices[at]
    return Named("", (choice,)) if pending.wants in _NAMES else choice

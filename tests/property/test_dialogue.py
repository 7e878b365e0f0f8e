"""What must hold of every conversation: nothing unsure or expired is ever carried out."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from beira.apps.voice.dialogue import (
    SPECS,
    Ask,
    Bars,
    Run,
    Say,
    Talk,
    World,
    carried_out,
    heard,
)
from beira.apps.voice.language import Quantity, SaidTime
from beira.apps.voice.understand import Meaning, Named

LOCAL = datetime(2026, 11, 20, 15, 0, tzinfo=ZoneInfo("America/Sao_Paulo"))
PEOPLE = {"a": "João Silva", "b": "João Souza", "c": "Ana Lima"}
PRODUCTS = {"x": "Arroz branco", "y": "Arroz integral"}
BARS = Bars()

people = st.sampled_from(
    [Named("João", ("a", "b")), Named("Ana", ("c",)), Named("Joca", (), ("a",)), Named("X", ())]
)
products = st.sampled_from([Named("arroz", ("x", "y")), Named("arroz branco", ("x",))])
times = st.sampled_from(
    [
        SaidTime((870,)),
        SaidTime((150, 870)),
        SaidTime((480, 600)),
        SaidTime((1_380,)),
        SaidTime(ago_min=0),
    ]
)
optional_slots = {
    "employee": people, "belongs_to": people, "product": products, "product_2": products,
    "quantity_2": st.builds(Quantity, st.integers(1, 9_000), st.just("")),
    "time": times, "kind": st.sampled_from(["in", "out"]),
    "quantity": st.builds(Quantity, st.integers(1, 9_000), st.sampled_from(["", "kg"])),
    "price": st.integers(0, 9_999), "name": st.just("Queijo"), "thing": st.just("caixa"),
    "reason": st.just("in"), "choice": st.integers(1, 4), "money": st.integers(0, 9_999),
    "period": st.just(frozenset(range(720, 1_200))),
}  # fmt: skip
slots = st.fixed_dictionaries({}, optional=optional_slots)
intents = st.sampled_from([*SPECS, "yes", "no", "cancel", "repeat", "answer"])
corrections = st.builds(lambda t: Meaning("correction", {"time": t}), times) | st.builds(
    lambda who: Meaning("correction", {"employee": who}), people
)
meanings = st.one_of(st.builds(Meaning, intents, slots), corrections)
turns = st.tuples(
    st.lists(meanings, max_size=3),
    st.one_of(st.none(), st.floats(0, 1)),
    st.floats(0, 40),
)


@given(st.lists(turns, max_size=12))
def test_the_books_take_only_what_is_sure_or_was_confirmed_in_time(
    conversation: list[tuple[list[Meaning], float | None, float]],
) -> None:
    talk, now_s = Talk(), 0.0
    for said, confidence, passed_s in conversation:
        now_s += passed_s
        before = talk.pending
        world = World(now_s=now_s, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
        talk, act = heard(talk, said, confidence, world)
        if not isinstance(act, Run):
            continue
        assert talk.pending is None
        spec = SPECS[act.command]
        for need in spec.needs:
            changed = act.slots.get("time") or act.slots.get("kind")
            assert changed if need == "change" else act.slots.get(need) is not None
        for value in act.slots.values():
            assert not isinstance(value, Named) or len(value.ids) == 1
            assert not isinstance(value, SaidTime)
        if spec.risk != "books":
            continue
        if not act.confirmed:
            assert confidence is not None and confidence >= BARS.books
            assert act.confidence >= BARS.books
            continue
        assert (said and said[0].intent == "yes") or any(m.intent == "yes" for m in said)
        assert before is not None and before.wants == "confirm" and before.intent == act.command
        assert before.slots == act.slots
        assert now_s - before.asked_s <= BARS.question_s
        assert confidence is None or confidence >= BARS.words


@given(meanings, st.floats(20.001, 10_000), st.sampled_from([1.0, None, 0.7]))
def test_a_question_that_expired_never_acts_on_a_yes(
    asked: Meaning, waited_s: float, confidence: float | None
) -> None:
    world = World(now_s=0, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
    talk, _ = heard(Talk(), [asked], 0.6, world)
    later = World(now_s=waited_s, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
    talk, act = heard(talk, [Meaning("yes")], confidence, later)
    assert not isinstance(act, Run) and talk.pending is None


@given(st.floats(0, 0.9199), people, times)
def test_an_unsure_punch_is_always_asked_about(
    confidence: float, employee: Named, time: SaidTime
) -> None:
    said = Meaning("register_punch", {"employee": employee, "time": time})
    world = World(now_s=0, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
    _, act = heard(Talk(), [said], confidence, world)
    assert not isinstance(act, Run)


@given(times, st.floats(0.92, 1))
def test_a_correction_touches_only_the_punch_just_made(time: SaidTime, confidence: float) -> None:
    made = {"punch": "punch-1", "person": "c", "at": "2026-11-20T17:00:00Z"}
    talk = carried_out(Talk(), Run("register_punch", {}, 1.0), made, 0.0)
    for now_s in (10.0, 1_000.0):
        world = World(now_s=now_s, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
        _, act = heard(talk, [Meaning("correction", {"time": time})], confidence, world)
        if isinstance(act, Run):
            assert now_s == 10.0
            assert act.command == "correct_punch" and act.slots["punch"] == "punch-1"


@given(st.sampled_from(["cancel", "cancel_punch"]), st.floats(0.92, 1), st.floats(0, 1_000))
def test_a_bare_cancel_never_takes_a_punch_out_unasked(
    intent: str, confidence: float, later_s: float
) -> None:
    made = {"punch": "punch-1", "person": "c", "at": "2026-11-20T17:00:00Z"}
    talk = carried_out(Talk(), Run("register_punch", {}, 1.0), made, 0.0)
    sold = carried_out(talk, Run("record_sale", {}, 1.0), {}, 1.0)
    world = World(now_s=later_s, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
    for before in (talk, sold):
        _, act = heard(before, [Meaning(intent)], confidence, world)
        if intent == "cancel" or later_s > 120:
            assert not isinstance(act, Run)
        if isinstance(act, Run):
            assert act.command == "cancel_punch" and act.slots["punch"] == "punch-1"
    _, act = heard(sold, [Meaning("cancel")], confidence, world)
    assert isinstance(act, Say)


@given(people, st.floats(0.92, 1), st.floats(0, 119))
def test_whose_it_was_is_never_the_one_it_is_taken_from(
    whose: Named, confidence: float, later_s: float
) -> None:
    made = {"punch": "punch-1", "person": "a", "at": "2026-11-20T17:00:00Z"}
    talk = carried_out(Talk(), Run("register_punch", {}, 1.0), made, 0.0)
    world = World(now_s=later_s, local=LOCAL, people=PEOPLE, products=PRODUCTS, bars=BARS)
    _, act = heard(talk, [Meaning("correction", {"employee": whose})], confidence, world)
    if isinstance(act, Run):
        assert act.command == "reassign_punch" and act.slots["belongs_to"].ids != ("a",)
    else:
        assert isinstance(act, Ask | Say)


def test_confirm_always_asks_however_sure() -> None:
    said = Meaning("register_punch", {"employee": Named("Ana", ("c",))})
    world = World(now_s=0, local=LOCAL, people=PEOPLE, products=PRODUCTS,
                  bars=Bars(confirm_always=True))  # fmt: skip
    talk, act = heard(Talk(), [said], 1.0, world)
    assert isinstance(act, Ask) and act.expects == "yes_no"
    _, act = heard(talk, [Meaning("yes")], 1.0, world)
    assert isinstance(act, Run) and act.confirmed

"""Conversations at the counter, whole: what is said, what is answered, what is in the books."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.voice.shop import MORNING, ZONE, Shop

from beira.apps.voice import app
from beira.apps.voice.records import Person, Product
from beira.apps.voice.settings import VoiceSettings
from beira.apps.voice.sureness import ACT, ASK, MODEL, calibrated
from beira.kernel.access import Kind, Principal
from beira.kernel.app import catalogue
from beira.kernel.collection import collection_of, timestamp
from beira.kernel.errors import Full
from beira.kernel.system import Setting
from beira.store.sqlite import SqliteStore

OWNER = Principal(kind=Kind.PERSON, id="u1", tenant="angeloni", name="Dona", role="owner")
MEMBER = Principal(
    kind=Kind.PERSON, id="u2", tenant="angeloni", name="Zé", role="member", sites=("s1",)
)


@pytest.fixture(params=["memory", "sqlite"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    """Over memory, and over what a node really has."""
    store = None
    if request.param == "sqlite":
        collections = catalogue([app]).collections
        store = await SqliteStore.open(tmp_path / "node.db", collections, tenant="angeloni")
    opened = await Shop(store=store).open()
    yield opened
    await opened.store.close()


def at(hour: int, minute: int) -> str:
    return timestamp(MORNING.replace(hour=hour, minute=minute).astimezone(ZONE))


async def test_a_punch_is_registered_with_its_interaction(shop: Shop) -> None:
    turn = await shop.say("Aurora, registrar ponto do João Silva às 14:30")
    assert turn.show == "Ponto do João Silva registrado às 14:30: entrada."
    assert turn.say == "Ponto do João Silva registrado às catorze e trinta: entrada."
    (punch,) = await shop.rows("punches")
    assert (punch["employee"], punch["kind"], punch["at"]) == ("João Silva", "in", at(14, 30))
    (note,) = await shop.rows("interactions")
    assert (note["id"], note["outcome"], note["command"]) == (
        turn.interaction_id, "done", "register_punch",
    )  # fmt: skip
    assert turn.receipt is not None and note["receipt"] == turn.receipt.id
    assert punch["trace"] == note["trace"] == "t"


async def test_two_joaos_are_told_apart(shop: Shop) -> None:
    turn = await shop.say("registrar ponto do João às 14:30")
    assert (turn.show, turn.expects) == ("Qual João: João Silva ou João Souza?", "slot")
    assert await shop.rows("punches") == []
    turn = await shop.say("o Souza" if False else "o segundo")
    assert turn.show == "Ponto do João Souza registrado às 14:30: entrada."


async def test_no_it_was_at_twenty_to_three(shop: Shop) -> None:
    await shop.say("registrar ponto da Clarinha às duas e meia")
    turn = await shop.say("não, foi às duas e quarenta")
    assert (
        turn.show == "Certo, ponto da Maria Clara Nunes corrigido das 14:30 para as 14:40: entrada."
    )
    (punch,) = await shop.rows("punches")
    (fixed,) = await shop.rows("punch_corrections")
    assert punch["at"] == at(14, 30)
    assert (fixed["punch"], fixed["at"]) == (punch["id"], at(14, 40))
    shop.wall.turn(300)
    assert (await shop.say("não, foi às duas e dez")).outcome == "refused"
    assert len(await shop.rows("punch_corrections")) == 1


async def test_out_follows_in_and_a_new_day_begins_with_in(shop: Shop) -> None:
    for said, kind in (
        ("às 8:00", "in"),
        ("às 12:00", "out"),
        ("às 13:00", "in"),
        ("agora", "out"),
    ):
        turn = await shop.say(f"ponto do Wesley {said}")
        assert turn.receipt is not None and turn.receipt.result["kind"] == kind
    shop.wall.turn(17 * 3_600)
    turn = await shop.say("ponto do Wesley agora")
    assert turn.receipt is not None and turn.receipt.result["kind"] == "in"


async def test_which_half_past_seven_is_asked_when_both_can_be(shop: Shop) -> None:
    shop.wall.turn(6 * 3_600)
    turn = await shop.say("ponto do Wesley às sete e meia")
    assert (turn.show, turn.expects) == ("07:30 ou 19:30?", "slot")
    turn = await shop.say("da noite")
    assert turn.receipt is not None and turn.receipt.result["at"] == at(19, 30)


async def test_yesterday_is_not_today(shop: Shop) -> None:
    turn = await shop.say("ponto da Maria ontem às 14:00")
    assert turn.show == "Ponto da Maria Clara Nunes registrado às 14:00 de ontem: entrada."
    for said in ("ponto da Maria segunda às 14:00", "ponto da Maria anteontem às 14:00"):
        assert (await shop.say(said)).outcome == "not_understood"
    assert len(await shop.rows("punches")) == 1


async def test_a_time_to_come_is_refused(shop: Shop) -> None:
    turn = await shop.say("ponto do Wesley às 23:00")
    assert turn.outcome == "refused" and await shop.rows("punches") == []


async def test_the_same_punch_twice_is_refused(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 14:00")
    turn = await shop.say("ponto do Wesley às 14:00")
    assert turn.show == "O ponto do Wesley Santos já está registrado às 14:00."
    assert len(await shop.rows("punches")) == 1


async def test_unsure_hours_are_read_back_and_a_no_leaves_nothing(shop: Shop) -> None:
    turn = await shop.say("ponto do Wesley às 14:00", 0.7, "voice")
    assert (turn.expects, turn.outcome) == ("yes_no", "asked")
    assert (await shop.say("não")).outcome == "cancelled"
    await shop.say("ponto do Wesley às 14:00", 0.7, "voice")
    assert (await shop.say("sim", 0.4, "voice")).outcome == "asked"
    assert await shop.rows("punches") == []
    assert (await shop.say("sim", 0.8, "voice")).outcome == "done"


async def test_a_correction_while_confirming_is_read_back_again(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 14:00", 0.7, "voice")
    turn = await shop.say("não, foi às 14:10", 1.0)
    assert "14:10" in turn.show and turn.expects == "yes_no"
    await shop.say("sim")
    assert [p["at"] for p in await shop.rows("punches")] == [at(14, 10)]


async def test_an_unknown_name_is_offered_the_closest(shop: Shop) -> None:
    turn = await shop.say("ponto do Uesley às 14:00")
    assert turn.show == "Não conheço Uesley. Você quis dizer Wesley Santos?"
    assert (await shop.say("sim")).outcome == "done"
    assert (await shop.say("ponto do Xerxes")).outcome == "refused"


async def test_a_question_expires_and_nothing_is_done(shop: Shop) -> None:
    await shop.say("vendi dois arroz integral", 0.6, "voice")
    shop.wall.turn(25)
    assert (await shop.say("sim")).outcome == "expired"
    assert (await shop.say("sim")).outcome == "not_understood"
    assert await shop.rows("sales") == []


async def test_a_sale_takes_from_the_stock(shop: Shop) -> None:
    await shop.say("chegaram duas dúzias de ovos")
    turn = await shop.say("vendi meia dúzia de ovos por dez reais")
    assert turn.show == "Venda registrada: 6 un de Ovo branco, R$ 10,00."
    assert (await shop.say("quantos ovos temos")).show == "Temos 18 un de Ovo branco."
    (sale,) = await shop.rows("sales")
    assert (sale["total_cents"], sale["_lane"]) == (1_000, 1)
    assert [m["quantity_milli"] for m in await shop.rows("stock_movements")] == [24_000, -6_000]


async def test_a_sale_by_weight_is_priced_to_the_cent(shop: Shop) -> None:
    turn = await shop.say("vendi 2,5 kg de pão francês")
    assert turn.receipt is not None and turn.receipt.result["total_cents"] == 3_975
    assert (await shop.say("vendi dois quilos de coca")).outcome == "refused"
    assert len(await shop.rows("sales")) == 1


async def test_a_sale_without_a_price_asks_for_it(shop: Shop) -> None:
    turn = await shop.say("vendi dois leites")
    assert (turn.show, turn.expects) == (
        "Leite integral está sem preço. Por quanto foi vendido?",
        "slot",
    )
    assert await shop.rows("sales") == []
    turn = await shop.say("onze reais")
    assert turn.show == "Venda registrada: 2 un de Leite integral, R$ 11,00."


async def test_no_it_was_a_clock_out(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 14:00")
    turn = await shop.say("não, foi saída")
    assert turn.show == "Certo, o ponto do Wesley Santos das 14:00 agora é saída."


async def test_an_unsure_sale_is_read_back_with_all_of_it(shop: Shop) -> None:
    turn = await shop.say("vendi duas cocas e três arroz integral", 0.6, "voice")
    assert turn.show == "Vender 2 Coca-Cola 2 L e 3 Arroz integral 1 kg por R$ 46,95. Confirma?"
    turn = await shop.say("vendi um leite", 0.6, "voice")
    assert turn.show == "Vender 1 Leite integral. Confirma?"


async def test_two_things_in_one_sale(shop: Shop) -> None:
    turn = await shop.say("vendi duas cocas e três arroz integral")
    assert (
        turn.show == "Venda registrada: 2 Coca-Cola 2 L e 3 Arroz integral 1 kg. Total: R$ 46,95."
    )


async def test_a_great_sale_goes_out_as_critical(shop: Shop) -> None:
    await shop.say("vendi mil coca")
    (sale,) = await shop.rows("sales")
    assert sale["_lane"] == 2


async def test_a_product_registered_is_known_at_once(shop: Shop) -> None:
    turn = await shop.say("cadastrar produto Queijo Azul")
    assert turn.show == "Por quanto?"
    assert (await shop.say("trinta e dois e cinquenta")).outcome == "done"
    assert (await shop.say("quanto custa o queijo azul")).show == "Queijo Azul: R$ 32,50."
    assert (await shop.say("cadastrar produto queijo azul por 10,00")).outcome == "refused"


async def test_prices_places_and_what_lacks(shop: Shop) -> None:
    said = {
        "quanto custa o pão": "Pão francês: R$ 15,90/kg.",
        "quanto custa o leite": "Leite integral está sem preço cadastrado.",
        "onde fica o pão francês": "Pão francês: padaria.",
        "onde fica a coca": "Não sei onde fica Coca-Cola 2 L. Ainda não cadastraram o lugar.",
        "quantos ovos temos": "Ovo branco está sem estoque.",
        "quanto custa o arroz": "Arroz: qual deles, Arroz Tio João 5 kg ou Arroz integral 1 kg?",
    }
    for text, answer in said.items():
        assert (await shop.say(text)).show == answer


@pytest.mark.parametrize(
    ("text", "kind"),
    [("cliente passando mal", "emergency.medical"), ("fogo na cozinha", "emergency.fire"),
     ("assalto", "security.robbery"), ("a balança parou", "failure")],
)  # fmt: skip
async def test_what_is_critical_goes_out_as_critical(shop: Shop, text: str, kind: str) -> None:
    await shop.say(text, 0.8, "voice")
    (alert,) = await shop.rows("alerts")
    assert (alert["kind"], alert["level"], alert["_lane"]) == (kind, "critical", 2)


async def test_requests_summary_time_and_help(shop: Shop) -> None:
    assert (await shop.say("resumo do dia")).show == "Ainda não há movimento hoje."
    await shop.say("um cliente pediu Ração para Papagaio")
    (request,) = await shop.rows("customer_requests")
    assert request["text"] == "Ração para Papagaio"
    assert "1 pedido" in (await shop.say("resumo do dia")).show
    assert (await shop.say("que horas são")).say == "São quinze horas."
    help_said = await shop.say("ajuda")
    assert (await shop.say("repete")).show == help_said.show


async def test_what_is_outside_is_refused_shortly_and_noted(shop: Shop) -> None:
    turn = await shop.say("qual é a capital da França")
    assert not turn.understood and len(turn.show) < 80
    (note,) = await shop.rows("interactions")
    assert (note["outcome"], note["text"]) == ("not_understood", "qual é a capital da França")
    assert note["confidence"] is None


def test_how_sure_she_must_be_comes_with_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = VoiceSettings()
    assert (settings.act_confidence, settings.heard_confidence) == calibrated()
    stored = json.loads(MODEL.read_text(encoding="utf-8"))["calibration"]
    assert 0 <= settings.act_confidence - stored["act"] < 0.01
    assert 0 <= settings.heard_confidence - stored["ask"] < 0.01
    monkeypatch.setattr("beira.apps.voice.sureness.MODEL", tmp_path / "none.json")
    assert calibrated.__wrapped__() == (ACT, ASK)


async def test_unheard_speech_does_nothing(shop: Shop) -> None:
    assert (await shop.say("assalto", 0.1, "voice")).outcome == "not_understood"
    assert await shop.rows("alerts") == []


async def test_changes_in_the_cloud_are_known_in_the_next_sentence(shop: Shop) -> None:
    await shop.write(Person(id="p-new", name="Zuleica Prado"))
    assert (await shop.say("ponto da Zuleica agora")).outcome == "done"
    await shop.write(
        Product(id="coca", name="Coca-Cola 2 L", price_cents=1_099, also_said=["coca"])
    )
    assert (await shop.say("quanto custa a coca")).show == "Coca-Cola 2 L: R$ 10,99."
    await shop.write(Person(id="p-new", name="Zuleica Prado", active=False))
    assert (await shop.say("ponto da Zuleica agora")).outcome == "refused"


async def test_settings_change_how_she_listens(shop: Shop) -> None:
    declared = collection_of(Setting)
    setting = Setting(id="voice@tenant", app="voice", values={"confirm_always": True})
    await shop.host.write(
        [shop.host.stamped(declared, setting.id, "tenant", declared.encode(setting))]
    )
    assert (await shop.say("ponto do Wesley agora")).expects == "yes_no"


async def test_english(shop: Shop) -> None:
    there = await Shop("en").open()
    turn = await there.say("Aurora, clock in Wesley at half past two in the afternoon please")
    assert turn.show == "Punch for Wesley Santos registered at 14:30: in."
    assert (await there.say("how much is the coca")).show == "Coca-Cola 2 L: R$ 9.99."


async def test_when_nothing_could_be_written_the_question_still_stands(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.say("ponto do Wesley às 14:00", 0.7, "voice")

    async def full(*args: object, **kwargs: object) -> None:
        raise Full("no room")

    with monkeypatch.context() as patched:
        patched.setattr(shop.store, "commit", full)
        with pytest.raises(Full):
            await shop.say("sim")
    assert (await shop.say("sim")).outcome == "done"
    assert len(await shop.rows("punches")) == 1


async def test_timings_known_later_are_kept(shop: Shop) -> None:
    turn = await shop.say("que horas são", door="voice")
    await shop.assistant.timed(turn.interaction_id, {"stt": 40.0, "first_sound": 90.0}, 130.0)
    (note,) = await shop.rows("interactions")
    assert note["stages_ms"]["first_sound"] == 90.0 and note["latency_ms"] == 130.0


async def test_the_command_say_is_the_same_assistant(shop: Shop) -> None:
    async def say(text: str, who: Principal = MEMBER) -> dict[str, object]:
        receipt = await shop.host.run("say", {"text": text}, principal=who, door="api")
        assert receipt.ok, receipt.message
        return dict(receipt.result)

    assert (await say("ponto do João às 14:30"))["expects"] == "slot"
    done = await say("João Silva")
    assert done["show"] == "Ponto do João Silva registrado às 14:30: entrada."
    assert len(await shop.rows("punches")) == 1
    assert (await say("ponto do Xerxes"))["outcome"] == "refused"
    notes = [n for n in await shop.rows("interactions") if n["door"] == "say"]
    assert len(notes) == 3


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE punches; --", "{employee}", "<b>x</b>", "((((", "\x00", "[a|b"]
)
async def test_hostile_text_is_only_text(shop: Shop, text: str) -> None:
    for said in (text, f"ponto do {text}", f"um cliente pediu {text}", f"cadastrar produto {text}"):
        assert (await shop.say(said.replace("\x00", " "))).show

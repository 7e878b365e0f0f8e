"""Putting right what was said: whose punch, when, or not at all; long sales; customers' requests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.voice.shop import PEOPLE, PRODUCTS, Shop

from beira.apps.voice.records import Person, Product
from beira.kernel.access import Kind, Principal

OWNER = Principal(kind=Kind.PERSON, id="u1", tenant="angeloni", name="Dona", role="owner")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    yield await Shop().open()


async def talk(shop: Shop, *said: str) -> list[str]:
    return [(await shop.say(text)).show for text in said]


async def test_no_it_was_maria(shop: Shop) -> None:
    await shop.say("o João Silva saiu às 14:30")
    turn = await shop.say("não, foi a Maria")
    assert turn.show == (
        "Certo, o ponto das 14:30 era da Maria Clara Nunes, não do João Silva: saída."
    )
    wrong, right = await shop.rows("punches")
    (fixed,) = await shop.rows("punch_corrections")
    assert (fixed["punch"], fixed["void"], fixed["instead"]) == (wrong["id"], True, right["id"])
    assert (right["person"], right["at"], right["kind"]) == ("p-maria", wrong["at"], "out")
    assert (await shop.say("pontos do João Silva")).show == "João Silva não tem ponto hoje."


async def test_the_person_is_taken_from_the_other_joao_and_asked_for_when_it_was_nobodys(
    shop: Shop,
) -> None:
    await shop.say("ponto do João Silva às 8:00")
    assert "era do João Souza" in (await shop.say("não foi o João")).show
    turn = await shop.say("não foi o João Souza")
    assert (turn.show, turn.expects) == ("Então de quem é o ponto?", "slot")
    assert "era da Maria Clara Nunes" in (await shop.say("da Maria")).show
    assert len(await shop.rows("punch_corrections")) == 2


async def test_an_unsure_change_of_person_is_read_back(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 8:00")
    turn = await shop.say("não, foi a Maria", 0.7, "voice")
    assert turn.show == (
        "Passar o ponto das 08:00 do Wesley Santos para Maria Clara Nunes. Confirma?"
    )
    await shop.say("não")
    assert await shop.rows("punch_corrections") == []


async def test_whose_it_was_is_only_heard_for_two_minutes(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 8:00")
    shop.wall.turn(121)
    assert (await shop.say("não, foi a Maria")).outcome == "refused"
    assert (await shop.say("cancela")).outcome == "not_understood"
    assert await shop.rows("punch_corrections") == []


async def test_the_time_can_be_put_right_two_minutes_after_a_confirmation(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 14:30", 0.7, "voice")
    shop.wall.turn(15)
    await shop.say("sim")
    shop.wall.turn(119)
    turn = await shop.say("não, foi às duas e quarenta")
    assert turn.show == "Certo, ponto do Wesley Santos corrigido das 14:30 para as 14:40: entrada."


async def test_a_bare_cancel_names_the_punch_and_waits_for_a_yes(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 8:00")
    turn = await shop.say("desfaz")
    assert (turn.show, turn.expects) == (
        "Cancelar o ponto do Wesley Santos das 08:00. Confirma?", "yes_no",
    )  # fmt: skip
    assert await shop.rows("punch_corrections") == []
    assert (
        await shop.say("sim")
    ).show == "Certo, cancelei o ponto do Wesley Santos das 08:00: entrada."
    (fixed,) = await shop.rows("punch_corrections")
    assert fixed["void"] and fixed["by"]
    assert (await shop.say("cancela")).outcome == "not_understood"


async def test_what_is_counted_is_spoken_in_its_gender(shop: Shop) -> None:
    turn = await shop.say("vendi duas cocas, dois arroz integral e um ovo")
    assert turn.say.startswith("Vender duas coca-cola") and " dois arroz" in turn.say


async def test_after_a_request_a_bare_cancel_touches_no_punch(shop: Shop) -> None:
    await talk(shop, "ponto do Wesley às 8:00", "um cliente pediu vela")
    assert (await shop.say("cancela")).outcome == "not_understood"


async def test_after_something_else_was_written_a_bare_cancel_touches_no_punch(shop: Shop) -> None:
    await talk(shop, "ponto do Wesley às 8:00", "vendi duas cocas")
    assert (await shop.say("desfaz")).outcome == "not_understood"
    assert (await shop.say("cancela o ponto")).outcome == "done"


async def test_cancelling_while_she_asks_about_it_writes_nothing(shop: Shop) -> None:
    await shop.say("ponto do Wesley às 8:00", 0.7, "voice")
    assert (await shop.say("cancela o ponto")).outcome == "cancelled"
    assert await shop.rows("punches") == [] and await shop.rows("punch_corrections") == []


async def test_which_of_several_punches_is_read_back_first(shop: Shop) -> None:
    await talk(
        shop, "ponto do Wesley às 8:20", "ponto do Wesley às 12:00", "ponto do Wesley às 13:00"
    )
    shop.wall.turn(600)
    turn = await shop.say("corrige a entrada do Wesley para as oito e dez")
    assert turn.show == "Corrigir o ponto do Wesley Santos das 08:20 para as 08:10. Confirma?"
    assert await shop.rows("punch_corrections") == []
    assert "das 08:20 para as 08:10: entrada" in (await shop.say("sim")).show
    turn = await shop.say("cancela o último ponto do Wesley")
    assert turn.show == "Cancelar o ponto do Wesley Santos das 13:00. Confirma?"
    assert (await shop.say("cancela")).outcome == "cancelled"
    turn = await shop.say("corrige a saída do Wesley para as 12:15")
    assert turn.show == "Certo, ponto do Wesley Santos corrigido das 12:00 para as 12:15: saída."
    assert len(await shop.rows("punch_corrections")) == 2


async def test_the_last_punch_of_a_joao(shop: Shop) -> None:
    await shop.say("ponto do João Silva às 8:00")
    turn = await shop.say("cancela o último ponto do João")
    assert turn.options == ("João Silva", "João Souza")
    assert (await shop.say("João Souza")).outcome == "refused"
    await shop.say("cancela o último ponto do João")
    assert (await shop.say("o primeiro")).outcome == "done"


async def test_by_the_api_it_names_the_likeliest_and_takes_an_id(shop: Shop) -> None:
    await talk(shop, "ponto do Wesley às 8:00", "ponto do Wesley às 12:00")
    receipt = await shop.host.run(
        "cancel_punch", {"employee": "p-wesley"}, principal=OWNER, door="api"
    )
    assert receipt.code == "punch.which" and receipt.result["punch"] in receipt.hint
    given = {"punch": receipt.result["punch"]}
    assert (await shop.host.run("cancel_punch", given, principal=OWNER, door="api")).ok
    again = await shop.host.run("cancel_punch", given, principal=OWNER, door="api")
    assert again.code == "punch.cancelled"


async def test_hours_of_a_day_with_a_shift_that_runs_and_one_that_lacks_an_end(shop: Shop) -> None:
    await talk(
        shop, "ponto do Wesley às 8:00", "ponto do Wesley às 12:00", "ponto do Wesley às 13:00"
    )
    said = await talk(
        shop, "quantas horas o Wesley fez hoje", "pontos do Wesley", "quem tá na loja"
    )
    assert said == [
        "Wesley Santos fez 6 h hoje, e está no turno desde as 13:00.",
        "Wesley Santos hoje: entrada 08:00, saída 12:00 e entrada 13:00. Total: 6 h.",
        "Agora na loja: Wesley Santos.",
    ]
    turn = await shop.say("quantas horas o Wesley fez hoje")
    assert turn.say == "Wesley Santos fez seis horas hoje, e está no turno desde as treze horas."
    shop.wall.turn(86_400)
    assert "falta um ponto" in (await shop.say("quantas horas o Wesley fez ontem")).show


async def test_three_lines_are_read_back_and_sold_in_one_transaction(shop: Shop) -> None:
    turn = await shop.say("vendi duas cocas, três arroz integral e meia dúzia de ovos")
    assert (turn.show, turn.expects) == (
        "Vender 2 Coca-Cola 2 L, 3 Arroz integral 1 kg e 6 Ovo branco por R$ 52,95. Confirma?",
        "yes_no",
    )
    assert await shop.rows("sales") == []
    turn = await shop.say("sim")
    assert turn.receipt is not None
    lines = [(item["name"], item["total_cents"]) for item in turn.receipt.result["items"]]
    assert lines == [("Coca-Cola 2 L", 1_998), ("Arroz integral 1 kg", 2_697), ("Ovo branco", 600)]
    (sale,) = await shop.rows("sales")
    moved = await shop.rows("stock_movements")
    assert sale["total_cents"] == 5_295 and {m["sale"] for m in moved} == {sale["id"]}
    assert [m["quantity_milli"] for m in moved] == [-2_000, -3_000, -6_000]


async def test_one_of_many_lines_is_asked_about(shop: Shop) -> None:
    turn = await shop.say("vendi duas cocas, um arroz e três ovos por 40 reais")
    assert turn.options == ("Arroz Tio João 5 kg", "Arroz integral 1 kg")
    assert "por R$ 40,00" in (await shop.say("Arroz integral 1 kg")).show
    await shop.say("sim")
    (sale,) = await shop.rows("sales")
    assert sale["total_cents"] == 4_000 and len(sale["items"]) == 3


async def test_a_bare_number_of_what_is_weighed_is_read_back(shop: Shop) -> None:
    turn = await shop.say("vendi três pães")
    assert turn.show == "Vender 3 kg de Pão francês por R$ 47,70. Confirma?"
    assert (await shop.say("não")).outcome == "cancelled"
    assert (await shop.say("vendi três quilos de pão")).outcome == "done"


async def test_a_customers_order_from_asking_to_delivery(shop: Shop) -> None:
    said = await talk(
        shop,
        "anota o pedido de pão de queijo",
        "Jurema",
        "anota o pedido da Ana: bolo de milho, telefone 48 99999-1234",
        "quais pedidos estão abertos",
        "o pedido da Ana foi atendido",
        "o pedido da Ana foi atendido",
        "quais pedidos estão abertos",
        "cancela o pedido da Jurema",
        "quais pedidos estão abertos",
    )
    assert said == [
        "Para quem é o pedido? Se não for de ninguém, diga não.",
        "Anotei o pedido da Jurema: pão de queijo.",
        "Anotei o pedido da Ana: bolo de milho.",
        "2 pedidos em aberto: Ana, bolo de milho; Jurema, pão de queijo.",
        "Certo, pedido da Ana atendido: bolo de milho.",
        "Não achei pedido em aberto da Ana.",
        "1 pedido em aberto: Jurema, pão de queijo.",
        "Certo, pedido da Jurema cancelado: pão de queijo.",
        "Nenhum pedido em aberto.",
    ]
    phones = {r["customer"]: r["phone"] for r in await shop.rows("customer_requests")}
    assert phones == {"Jurema": "", "Ana": "48999991234"}
    outcomes = [(c["outcome"], bool(c["by"])) for c in await shop.rows("request_closings")]
    assert outcomes == [("done", True), ("cancelled", True)]


async def test_one_of_two_requests_of_a_customer_is_chosen(shop: Shop) -> None:
    await talk(shop, "anota o pedido da Ana: bolo", "anota o pedido da Ana: três cocas")
    turn = await shop.say("pedido da Ana foi entregue")
    assert (turn.outcome, turn.options) == ("asked", ("3 Coca-Cola 2 L", "bolo"))
    assert (await shop.say("bolo")).show == "Certo, pedido da Ana atendido: bolo."


async def test_an_order_of_nobody_and_a_phone_that_lacks_digits(shop: Shop) -> None:
    await shop.say("anota o pedido de vela")
    assert (await shop.say("não")).show == "Anotei o pedido: vela."
    assert (await shop.say("anota o pedido da Ana: bolo, telefone 123")).outcome == "refused"
    assert len(await shop.rows("customer_requests")) == 1


@pytest.mark.parametrize(
    "asks",
    ["ponto do João", "bater o ponto", "vendi leite", "vendi três pães", "vendi um arroz",
     "cadastrar produto Queijo Azul", "corrige o ponto do Wesley", "cancela o ponto", "chegou arroz",
     "ponto do Uesley", "vendi dois leites", "ponto do Wesley ontem às 7:30"],
)  # fmt: skip
async def test_every_question_can_be_left_and_expires(shop: Shop, asks: str) -> None:
    for left in ("cancela", "deixa pra lá"):
        assert (await shop.say(asks)).outcome == "asked"
        assert (await shop.say(left)).outcome == "cancelled"
    await shop.say(asks)
    shop.wall.turn(21)
    assert (await shop.say("sim")).outcome == "expired"
    for collection in ("punches", "punch_corrections", "sales", "stock_movements"):
        assert await shop.rows(collection) == []


async def test_a_no_to_the_closest_name_asks_again(shop: Shop) -> None:
    await shop.say("ponto do Uesley às 14:00")
    turn = await shop.say("não")
    assert (turn.outcome, turn.show) == ("asked", "Ponto de quem?")
    assert (await shop.say("da Maria")).show == (
        "Ponto da Maria Clara Nunes registrado às 14:00: entrada."
    )


async def test_two_of_the_very_same_name_are_told_apart_by_what_they_do(shop: Shop) -> None:
    await shop.write(Person(id="p-silva-2", name="João Silva", role="padeiro"))
    turn = await shop.say("ponto do João Silva às 14:00")
    assert turn.options == ("João Silva (caixa)", "João Silva (padeiro)")
    assert (await shop.say("João Silva (padeiro)")).outcome == "done"
    assert [p["person"] for p in await shop.rows("punches")] == ["p-silva-2"]


async def test_choices_of_times_can_be_pressed(shop: Shop) -> None:
    shop.wall.turn(6 * 3_600)
    turn = await shop.say("ponto do Wesley às sete e meia")
    assert turn.options == ("07:30", "19:30")
    assert "19:30" in (await shop.say("19:30")).show


async def test_names_are_of_the_right_gender(shop: Shop) -> None:
    named = {"Raquel Prado": "da Raquel", "Lucas Reis": "do Lucas", "Nicole Sá": "de Nicole",
             "Isabel Cruz": "da Isabel", "Josué Dias": "de Josué"}  # fmt: skip
    for name, of in named.items():
        await shop.write(Person(id=name, name=name))
        turn = await shop.say(f"ponto {of.split()[0]} {name} agora")
        assert f"Ponto {of} " in turn.show


def test_the_shops_people_and_products_are_what_these_stories_need() -> None:
    assert {p.id for p in PEOPLE} >= {"p-silva", "p-souza", "p-maria", "p-wesley"}
    assert any(isinstance(p, Product) and p.unit == "kg" for p in PRODUCTS)

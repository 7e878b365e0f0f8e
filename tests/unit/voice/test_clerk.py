"""As shop clerks say it: slang, inversions, digits, shorthand; and what is no business of Aurora's."""

from __future__ import annotations

import pytest
from tests.unit.voice.shop import Shop

from beira.apps.voice.demo import records
from beira.apps.voice.dialogue import SPECS
from beira.apps.voice.language import colloquial

# what is said, the command or question it leads to, what becomes of it
SAID = [
    ("bate o ponto do João Silva", "register_punch", "done"),
    ("bater ponto da Maria Clara agora", "register_punch", "done"),
    ("ponto da Fernanda 8h", "register_punch", "done"),
    ("a Fernanda chegou às oito", "register_punch", "done"),
    ("Rafael chegou atrasado às 8 e 20", "register_punch", "done"),
    ("João Silva entrou 7:58", "register_punch", "done"),
    ("Wesley foi embora", "register_punch", "done"),
    ("Wesley saiu pro almoço meio dia", "register_punch", "done"),
    ("registra aí o ponto do Wesley por favor", "register_punch", "done"),
    ("entrada Beatriz 8:00", "register_punch", "done"),
    ("Beatriz bateu ponto às 8", "register_punch", "done"),
    ("o Rafa voltou do almoço", "register_punch", "asked"),
    ("ponto do João", "register_punch", "asked"),
    ("marca a saída do Wesley às onze da noite", "register_punch", "refused"),
    ("quantas horas o João Silva fez hoje", "hours_worked", "done"),
    ("quantas horas a Fernanda trabalhou essa semana", "hours_worked", "done"),
    ("que horas o Wesley chegou", "hours_worked", "done"),
    ("quem tá na loja?", "who_is_in", "done"),
    ("quanto tá o leite?", "product_price", "done"),
    ("quanto que é o leite desnatado", "product_price", "done"),
    ("preço do café", "product_price", "done"),
    ("o café tá quanto?", "product_price", "done"),
    ("qual o valor do arroz integral", "product_price", "done"),
    ("me vê o preço da coca", "product_price", "done"),
    ("quanto custa 1 kg de tomate", "product_price", "done"),
    ("vc sabe me dizer quanto custa o óleo?", "product_price", "done"),
    ("tem coca ainda?", "product_stock", "done"),
    ("ainda tem feijão preto", "product_stock", "done"),
    ("quantas cocas tem", "product_stock", "done"),
    ("acabou o leite?", "product_stock", "done"),
    ("quanto sobrou de banana", "product_stock", "done"),
    ("estoque arroz branco", "product_stock", "done"),
    ("cadê o detergente", "product_place", "done"),
    ("o papel higiênico tá em qual corredor", "product_place", "done"),
    ("em que corredor fica o café", "product_place", "done"),
    ("vendi 2 leites", "record_sale", "done"),
    ("vendi 3 coca e 2 guaraná por 40 reais", "record_sale", "done"),
    ("vende 1,5 kg de carne moída", "record_sale", "done"),
    ("vendi meia dúzia de ovos", "record_sale", "done"),
    ("cliente levou 3 leites e 2 cafés", "record_sale", "done"),
    ("registra venda de 2 detergentes a 2,50 cada", "record_sale", "done"),
    ("passa 2 leite e 1 café", "record_sale", "done"),
    ("vendi três pães", "record_sale", "asked"),
    ("vendi leite", "record_sale", "asked"),
    ("vende dois leites, um pão e três cafés", "record_sale", "asked"),
    ("chegaram 30 leites", "move_stock", "done"),
    ("chegou leite", "move_stock", "asked"),
    ("chegou 20 caixas de leite", "move_stock", "refused"),
    ("dá baixa em 2 cocas", "move_stock", "done"),
    ("quebrou 3 ovos", "move_stock", "done"),
    ("joguei fora 2 kg de tomate", "move_stock", "done"),
    ("cliente devolveu um café", "move_stock", "done"),
    ("o cliente quer bolo de cenoura", "log_request", "done"),
    ("tem um cliente procurando ração para gato", "log_request", "done"),
    ("anota um pedido da Ana: bolo de chocolate", "log_request", "done"),
    ("anota o pedido de pão de queijo", "log_request", "asked"),
    ("quais pedidos estão abertos?", "open_requests", "done"),
    ("como estão as vendas hoje", "daily_summary", "done"),
    ("quanto vendemos hj?", "daily_summary", "done"),
    ("a maquininha não tá funcionando", "report_failure", "done"),
    ("o caixa travou", "report_failure", "done"),
    ("tem um cara roubando", "raise_security_alert", "done"),
    ("tem gente brigando", "raise_security_alert", "done"),
    ("uma senhora desmaiou", "raise_emergency", "done"),
    ("bom dia", "help", "done"),
    ("obrigada", "thanks", "done"),
]  # fmt: skip


async def demo_shop() -> Shop:
    shop = Shop()
    await shop.write(*records("Angeloni"))
    return shop


@pytest.mark.parametrize(("text", "intent", "outcome"), SAID)
async def test_a_clerk_is_understood(text: str, intent: str, outcome: str) -> None:
    shop = await demo_shop()
    turn = await shop.say(text)
    assert (turn.intent, turn.outcome) == (intent, outcome), turn.show
    assert turn.show and turn.say and "{" not in turn.show


OUTSIDE = [
    "qual a capital da França", "conta uma piada", "toca uma música", "manda um zap pro João",
    "o João é gente boa", "me empresta dois reais", "vendi minha bicicleta por 200 reais",
    "vendi meu carro", "quanto é 2 mais 2", "não vendi dois leites", "o João não veio hoje",
    "apaga tudo", "demite o João", "João", "dez", "não foi a Maria", "registra um gol", "vou no banco",
    "quanto custa uma passagem para Recife", "cancela meu cartão", "onde está o João", "liga a luz",
    "quantos anos tem a Maria", "ponto de ônibus", "me diz o ponto do João Silva",
    "quero saber o ponto do João Silva", "se eu vender dois leites", "será que o Wesley chegou",
    "aumenta o preço do leite pra 6 reais", "sim", "o segundo", "desfaz", "cancela",
]  # fmt: skip


@pytest.mark.parametrize("text", OUTSIDE)
async def test_what_is_no_business_of_hers_writes_nothing_and_says_what_to_do(text: str) -> None:
    shop = await demo_shop()
    turn = await shop.say(text)
    assert turn.outcome in ("not_understood", "refused", "asked"), turn.show
    assert turn.show
    for collection in ("punches", "sales", "stock_movements", "customer_requests", "alerts"):
        assert await shop.rows(collection) == []


@pytest.mark.parametrize(
    ("said", "plain", "asks"),
    [
        ("me ve quanto ta o leite ai", "quanto esta o leite", True),
        ("bom dia registra o ponto do joao por favor", "registra o ponto do joao", False),
        ("vc pode me dizer quem ta na loja", "quem esta na loja", True),
        ("nao vendi dois leites", "nao vendi dois leites", False),
    ],
)
def test_shorthand_is_made_plain(said: str, plain: str, asks: bool) -> None:
    assert colloquial.plain(said, "pt-BR") == (plain, asks)
    assert colloquial.plain(said, "en") == (said, False)


def test_what_only_tells_is_never_of_the_books() -> None:
    from beira.apps.voice.understand import TELLING

    assert all(SPECS[intent].risk in ("words", "none") for intent in TELLING)
    assert not TELLING & {"log_request", "close_request"}

"""A stand-in for a shop's commands, for training and for measuring without the app's own file.

The model is trained on sentences like these among generic Portuguese, so the app's real sentences,
people and products may differ without training again.
"""

from __future__ import annotations

UNITS = "um|uma|dois|duas|três|quatro|cinco|seis|sete|oito|nove"
TEENS = "dez|onze|doze|treze|quatorze|catorze|quinze|dezesseis|dezessete|dezoito|dezenove"
TENS = "vinte|trinta|quarenta|cinquenta|sessenta|setenta|oitenta|noventa"
HUNDREDS = "cem|cento|duzentos|trezentos|quatrocentos|quinhentos|mil"

RULES: dict[str, str] = {
    "aurora": "[aurora|ei aurora|oi aurora]",
    "polite": "[por favor]",
    "um_a_99": f"({UNITS}|{TEENS}|({TENS}) [e ({UNITS})])",
    "numero": f"(<um_a_99>|({HUNDREDS}) [e <um_a_99>])",
    "minuto": f"(cinco|dez|quinze|vinte|vinte e cinco|meia|({TENS}) [e ({UNITS})]|{TEENS})",
    "periodo": "(da manhã|da tarde|da noite)",
    "horas": "(uma|duas|três|quatro|cinco|seis|sete|oito|nove|dez|onze)",
    "horas24": "(treze|quatorze|quinze|dezesseis|dezessete|dezoito|dezenove|vinte [e (uma|duas|três)])",
    "o_ponto": "(o ponto|ponto)",
}

SENTENCES: dict[str, list[str]] = {
    "clock_in": [
        "<aurora> (registrar|bater|marcar) [o] ponto d(o|a|e) {employee} [{time}]",
        "<aurora> (registra|bate|marca) [o] ponto d(o|a|e) {employee} [{time}]",
        "<aurora> (entrada|chegada) d(o|a|e) {employee} [{time}]",
        "<aurora> (o|a) {employee} (chegou|entrou) [{time}]",
    ],
    "clock_out": [
        "<aurora> (saída|registrar saída|marcar a saída) d(o|a|e) {employee} [{time}]",
        "<aurora> (o|a) {employee} (saiu|foi embora) [{time}]",
    ],
    "correct": ["não foi {time}", "<aurora> corrigir [o] ponto d(o|a|e) {employee} para {time}"],
    "price": [
        "<aurora> (quanto custa|qual é o preço d|qual o preço d) (o|a) {product}",
        "<aurora> [qual o] preço d(o|a|e) {product}",
        "<aurora> quanto (é|está) (o|a) {product}",
    ],
    "stock": [
        "<aurora> (quantos|quantas|quanto) {product} (tem|temos|tem em estoque)",
        "<aurora> [qual o] estoque d(o|a|e) {product}",
        "<aurora> tem {product} [em estoque]",
    ],
    "place": ["<aurora> onde (fica|está|tem|encontro) [o|a] {product}"],
    "register_product": [
        "<aurora> (cadastrar|registrar) [o] produto {product} [por|a] {money}",
    ],
    "sale": [
        "<aurora> (registrar venda|vender|vendi|venda) [de] {quantity} {product} [por {money}]",
    ],
    "stock_in": [
        "<aurora> (chegaram|entraram|recebi|recebemos) {quantity} [unidades de|caixas de] {product}",
    ],
    "stock_out": [
        "<aurora> (perda de|baixa de|quebra de|retirar) {quantity} [unidades de] {product}"
    ],
    "customer_request": ["<aurora> [um|o] cliente (pediu|procurou|perguntou por|quer) {product}"],
    "summary": [
        "<aurora> (resumo|relatório) (do dia|de hoje)",
        "<aurora> como (foi|está) o (dia|movimento) [hoje]",
    ],
    "emergency": [
        "<aurora> (emergência|socorro|chama a ambulância|chamar o samu)",
        "<aurora> (cliente|pessoa) passando mal",
        "<aurora> (incêndio|fogo) na loja",
    ],
    "security": [
        "<aurora> (assalto|furto|roubo) [na loja]",
        "<aurora> (alerta de segurança|chama a segurança|chamar a polícia)",
    ],
    "system_failure": [
        "<aurora> (o sistema|o caixa|a balança|a impressora|a internet) (caiu|travou|parou|não funciona)",
    ],
    "help": ["<aurora> (ajuda|o que você faz|o que posso dizer|como funciona)"],
    "time": ["<aurora> que horas são", "<aurora> (me diz|diga) as horas"],
    "confirm": ["(sim|confirma|isso mesmo|pode confirmar|correto)"],
    "deny": ["(não|errado|está errado|nada disso)"],
    "cancel": ["(cancela|cancelar|deixa pra lá|esquece|esquecer)"],
}

TIMES: list[str] = [
    "às <horas> [horas] [e <minuto>] [<periodo>]",
    "à uma [hora] [e <minuto>] [<periodo>]",
    "às <horas24> [horas] [e <minuto>]",
    "(ao meio dia|meio dia|à meia noite) [e <minuto>]",
]
MONEY: list[str] = ["<numero> (reais|real) [e <um_a_99> [centavos]]", "<um_a_99> e <um_a_99>",
                    "<um_a_99> centavos"]  # fmt: skip
QUANTITIES: list[str] = ["<numero>", "(meia|uma) dúzia de", "(um|dois|três) quilos de"]


def lists(employees: list[str], products: list[str]) -> dict[str, list[str]]:
    """The slot lists of a shop with these people and products; values are templates."""
    return {
        "employee": employees, "product": products, "time": TIMES, "money": MONEY,
        "quantity": QUANTITIES,
    }  # fmt: skip

"""What the synthetic people say: commands, Portuguese words, and words that do not exist.

Half of it is not the domain's: the model must know Portuguese sounds in any order, so that a name it
never met is recognised without training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from faker import Faker
from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    TextChunk,
)
from hassil.parse_expression import parse_sentence

from beira.apps.voice.recogniser.grammar import normal_words
from training import domain

_WORDS = """
a agora água ainda algum alguma alto aluno ano antes aqui assim até atrás azul baixo banco barato
beleza bom bonito braço branco cabeça cadeira café caixa calor caminho campo cansado capaz carne
caro carta casa cavalo cedo certo céu chão chave chefe cheio chuva cidade cinza claro coisa colher
começo comida como comprar computador conta copo cor coração corpo correr costas cozinha criança
cuidado dedo dentro depois descanso desconto devagar dever dia difícil dinheiro direito dizer doce
doente dono dor ele ela encontro entrega então era escola escuro espaço esquerda estrada eu fácil
faca falar família farinha fazer feio feliz festa ficar fila filho filha fim flor floresta fogão
folha fome força forte fraco frente frio fruta gato gelo gente gordo gostar grande guarda guerra
hoje homem hora hospital igreja ilha irmão janela jantar jardim jogo jovem julho junho lado ladrão
lápis largo leite lembrar lençol letra levar leve limão limpo língua linha livro lixo logo longe
lua lugar luz maçã mãe maior mala mandar manhã mão mar marido mau médico medo meio melhor menina
menino menos mês mesa mesmo metade meu milho minha moça moeda montanha morar morte moço muito
mulher mundo música nada nariz neve ninguém noite nome norte nosso nova nunca olho onda ontem
orelha osso ouro outono outro ouvir ovo padaria pai palavra pão papel parede parte passado pássaro
pé pedra peixe pele pensar pequeno perder perna perto pescoço pessoa pintura piso poder polícia
ponte porque porta pouco praia prato preço preto primeiro problema pronto próximo quadro qualquer
quando quase que quem querer quente rádio rápido raiva rato razão receita rede rei relógio
resposta rico rio rosa roupa rua sabão saber saia sal sangue sapato saudade secretária seguinte
segundo sempre senhor senhora ser sete silêncio sobre sol sombra sonho sono sorte subir suco sul
talvez tamanho também tarde teatro telefone tempo ter terra tesoura teto tia tio tomar trabalho
triste trem troco tudo último unha vaca vale vazio velho vento ver verão verdade verde vermelho
vez viagem vida vidro vinho visita viver vizinho voar você volta vontade xadrez zero zona chuveiro
xarope lixeira enxada bicho galinha ninho banho sonho vinha alho milho telha quilo guaraná quente
águia cinquenta linguiça queijo gengibre relógio jeito gelo carro barra terra honra enrolar prato
brisa trigo drama cravo grito fruto livro placa bloco clima glória flauta atleta pneu advogado
ritmo objeto ação emoções pães mães põe anões muito ruim cãibra
"""
WORDS = _WORDS.split()
PARTS = {
    "onset": "b c d f g j l m n p r s t v z ch lh nh br cr dr fr gr pr tr bl cl fl gl pl qu gu",
    "vowel": "a a a e e e i i o o o u ã ai ei oi au eu ou ão ia é ó á ê ô",
    "coda": "- - - - - r s l m n",
}

_FAKER = Faker("pt_BR")


def pseudo_word(rng: np.random.Generator) -> str:
    """A word that could be Portuguese, of one to four syllables."""
    word = ""
    for _ in range(int(rng.choice([1, 2, 2, 3, 3, 4]))):
        onset = "" if not word and rng.random() < 0.2 else str(rng.choice(PARTS["onset"].split()))
        vowel = str(rng.choice(PARTS["vowel"].split()))
        coda = "" if len(vowel) > 1 else str(rng.choice(PARTS["coda"].split())).strip("-")
        if not word and onset in ("lh", "nh"):
            onset = "m"
        word += onset + vowel + coda
    return word


def generic_sentence(rng: np.random.Generator) -> str:
    """Two to eight words: known, invented, names of people and places."""
    kinds = rng.random(int(rng.integers(2, 9)))
    return " ".join(_word(rng, float(kind)) for kind in kinds)


def _word(rng: np.random.Generator, kind: float) -> str:
    if kind < 0.45:
        return str(rng.choice(WORDS))
    if kind < 0.78:
        return pseudo_word(rng)
    _FAKER.seed_instance(int(rng.integers(1 << 30)))
    if kind < 0.9:
        return str(_FAKER.first_name()).lower()
    return str(_FAKER.city() if kind < 0.95 else _FAKER.last_name()).lower()


Spoken = list[tuple[str, str | None]]


def sample(
    expression: Expression, rng: np.random.Generator, lists: Mapping[str, Sequence[str]],
    rules: Mapping[str, str],
) -> str:  # fmt: skip
    """One random sentence of a hassil template; slots stand in marks, see `unmarked`."""
    if isinstance(expression, TextChunk):
        return expression.text
    if isinstance(expression, RuleReference):
        return sample(_parse(rules[expression.rule_name]), rng, lists, rules)
    if isinstance(expression, ListReference):
        value = str(rng.choice(list(lists[expression.list_name])))
        return f"\x01{expression.slot_name}\x02{sample(_parse(value), rng, lists, rules)}\x03"
    if isinstance(expression, Alternative):
        return sample(expression.items[int(rng.integers(len(expression.items)))], rng, lists, rules)
    assert isinstance(expression, Group)
    items = list(expression.items)
    if isinstance(expression, Permutation):
        items = [items[i] for i in rng.permutation(len(items))]
    return "".join(sample(item, rng, lists, rules) for item in items)


@lru_cache(maxsize=20_000)
def _parse(text: str) -> Expression:
    return parse_sentence(text).expression


def unmarked(marked: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Words of a sample, and its slots: (name, words)."""
    slots = [
        (name, " ".join(normal_words(said)))
        for name, said in re.findall("\x01([^\x02]*)\x02([^\x03]*)\x03", marked)
    ]
    return normal_words(re.sub("\x01[^\x02]*\x02|\x03", "", marked)), slots


def command(
    rng: np.random.Generator, sentences: Mapping[str, Sequence[str]],
    lists: Mapping[str, Sequence[str]], rules: Mapping[str, str], intent: str = "",
) -> tuple[str, list[str], list[tuple[str, str]]]:  # fmt: skip
    """A random command: intent, words, slots."""
    chosen = intent or str(rng.choice(list(sentences)))
    template = str(rng.choice(list(sentences[chosen])))
    return chosen, *unmarked(sample(_parse(template), rng, lists, rules))


def training_sentence(rng: np.random.Generator) -> str:
    """A sentence for training; the names and products in commands are mostly invented."""
    if rng.random() < 0.55:
        return generic_sentence(rng)
    names = [_word(rng, 0.8 if rng.random() < 0.6 else 0.5)]
    things = [" ".join(_word(rng, float(rng.random())) for _ in range(int(rng.integers(1, 4))))]
    lists = domain.lists(names, things)
    said = " ".join(command(rng, domain.SENTENCES, lists, domain.RULES)[1])
    return said.replace("aurora ", "aurora, ") if rng.random() < 0.6 else said

"""Typed and spoken shorthand made plain: "me vê quanto tá o leite aí" is "quanto está o leite".

Only what is not understood as it stands is read so. "Me diz o ponto do João" asks, whatever it would
mean without its beginning: `plain` says when only a question may be understood. Pure.
"""

from __future__ import annotations

import re

_WORDS = {
    "ta": "esta", "tao": "estao", "tava": "estava", "to": "estou", "pro": "para o", "pros": "para os",
    "pra": "para", "pras": "para as", "vc": "voce", "ce": "voce", "hj": "hoje", "qto": "quanto",
    "qnto": "quanto", "qt": "quanto", "qtos": "quantos", "qtas": "quantas", "q": "que", "n": "nao",
    "num": "em um", "numa": "em uma", "cade": "onde esta", "eh": "e", "zap": "whatsapp",
    "pfv": "por favor", "pf": "por favor", "obg": "obrigado",
}  # fmt: skip
_FILLERS = frozenset(("ai", "entao", "ne", "viu", "ok", "rapidinho", "oh", "tipo", "favor"))
_ASKING = re.compile(
    r"(?:(?:voce )?(?:pode|poderia|consegue|sabe) me (?:dizer|falar|informar|ver) |"
    r"(?:eu )?(?:quero|queria|gostaria de|preciso|precisava|quer) (?:saber|ver) |"
    r"me (?:ve|diz|diga|fala|fale|informa|informe|mostra|passa) |"
    r"(?:ve|veja|olha|olhe|verifica|confere|fala|diz|sabe) (?:ai )?(?:se |para mim )?)"
)
_BEFORE = re.compile(
    r"(?:(?:bom dia|boa tarde|boa noite|por favor|por gentileza|olha|escuta|amiga|moca|querida|gente) )"
)
_AFTER = re.compile(
    r" (?:ainda|por favor|por gentileza|por|obrigad[oa]|para mim|para nos|tambem|mesmo)\Z"
)
MOST_ROUNDS = 4


def plain(said: str, language: str) -> tuple[str, bool]:
    """A folded text in plain words, and whether it can only be a question."""
    if not language.startswith("pt"):
        return said, False
    words = (_WORDS.get(word, word) for word in said.split() if word not in _FILLERS)
    text, asks = " ".join(words), False
    for _ in range(MOST_ROUNDS):
        before = text
        text = _BEFORE.sub("", text, count=1) if _BEFORE.match(text) else text
        if asking := _ASKING.match(text):
            text, asks = text[asking.end() :], True
        text = _AFTER.sub("", text)
        if text == before:
            break
    return text.strip(), asks

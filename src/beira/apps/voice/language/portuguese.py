"""Brazilian Portuguese: "duas e meia da tarde", "dois e noventa e nove", "meia dúzia"."""

from __future__ import annotations

import re

from beira.apps.voice.language.values import (
    DAY_MIN,
    MOST_NUMBER,
    Quantity,
    SaidTime,
    below_thousand,
    fold,
)

_ONES = ["zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez",
         "onze", "doze", "treze", "catorze", "quinze", "dezesseis", "dezessete", "dezoito",
         "dezenove"]  # fmt: skip
_TENS = ["vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa"]
_HUNDREDS = ["cento", "duzentos", "trezentos", "quatrocentos", "quinhentos", "seiscentos",
             "setecentos", "oitocentos", "novecentos"]  # fmt: skip

_UNIT_VALUES = {fold(w): n for n, w in enumerate(_ONES) if n} | {
    "uma": 1,
    "duas": 2,
    "quatorze": 14,
}
_TEN_VALUES = {w: 10 * n for n, w in enumerate(_TENS, 2)}
_HUNDRED_VALUES = {w: 100 * n for n, w in enumerate(_HUNDREDS, 1)} | {
    w.replace("tos", "tas"): 100 * n for n, w in enumerate(_HUNDREDS, 1) if n > 1
}
_HOURS = {"zero": 0, "uma": 1, "duas": 2, "vinte": 20} | {
    fold(w): n for n, w in enumerate(_ONES) if n > 2
} | {"quatorze": 14}  # fmt: skip
_AFTER_TWENTY = {"uma": (1260,), "duas": (1320,), "tres": (1380,), "um": (1201, 1260),
                 "dois": (1202, 1320)}  # fmt: skip
"""What can follow "vinte e": an hour, or (said as masculine) a minute past eight in the evening."""

_PERIODS = {
    "manha": range(0, 12 * 60),
    "tarde": range(12 * 60, 20 * 60),
    "noite": (*range(18 * 60, DAY_MIN), *range(0, 5 * 60)),
    "madrugada": range(0, 7 * 60),
}
_PERIOD = re.compile(r"(?:d[ae]|na) (manha|tarde|noite|madrugada)")
_NOW = {"agora", "agora mesmo", "neste momento"}
_TO = re.compile(r"(?P<min>.+) (?:para|pra|pras) (?:(?:as|a|o) )?(?P<hour>.+)\Z")

_UNITS = {"quilo": ("kg", 1000), "grama": ("kg", 1), "litro": ("l", 1000), "mililitro": ("l", 1),
          "caixa": ("cx", 1000)} | dict.fromkeys(
    ("unidade", "peca", "pacote", "garrafa", "lata", "saco"), ("un", 1000))  # fmt: skip
_UNIT_NAMES = {"kg": ("quilo", "grama"), "l": ("litro", "mililitro")}
_SHORT = {"kg": "quilos", "quilo": "quilos", "g": "gramas", "gr": "gramas", "l": "litros",
          "lt": "litros", "ml": "mililitros", "un": "unidades", "und": "unidades", "cx": "caixas",
          "pct": "pacotes"}  # fmt: skip


class Portuguese:
    """Implements `Tongue`."""

    def parse_number(self, text: str) -> int | None:
        words = text.split()
        if words == ["zero"]:
            return 0
        if "mil" not in words:
            return _below(words)
        at = words.index("mil")
        left = _below(words[:at]) if at else 1
        rest = words[at + 1 :]
        right = 0 if not rest else _below(rest[1:] if rest[0] == "e" else rest)
        return None if left is None or right is None else left * 1000 + right

    def say_number(self, number: int, *, feminine: bool = False) -> str:
        if not 0 <= number <= MOST_NUMBER:
            return str(number)
        thousands, rest = divmod(number, 1000)
        if not thousands:
            return _said_below(rest, feminine)
        head = "mil" if thousands == 1 else f"{_said_below(thousands, feminine)} mil"
        if not rest:
            return head
        joined = " e " if rest < 100 or rest % 100 == 0 else " "
        return head + joined + _said_below(rest, feminine)

    def parse_time(self, text: str) -> SaidTime | None:
        if text in _NOW:
            return SaidTime(ago_min=0)
        words, days_ago = _dated(text.split())
        if words and words[0] in ("ha", "faz"):
            return self._ago(words[1:]) if days_ago is None else None
        if len(words) > 1 and words[0] in ("as", "a", "ao"):
            words = words[1:]
        period = None
        if len(words) > 2 and (named := _PERIOD.fullmatch(" ".join(words[-2:]))):
            period = _PERIODS[named[1]]
            words = words[:-2]
        minutes = self._clock(" ".join(words))
        if minutes is None:
            return None
        said = SaidTime(tuple(sorted(set(minutes))), days_ago=days_ago)
        return said.within(period) if period is not None else said

    def _ago(self, words: list[str]) -> SaidTime | None:
        text = " ".join(words)
        if text in ("meia hora", "uma hora"):
            return SaidTime(ago_min=30 if text[0] == "m" else 60)
        if words and words[-1] in ("minuto", "minutos"):
            number = self.parse_number(" ".join(words[:-1]))
            return SaidTime(ago_min=number) if number is not None and number < 60 else None
        return None

    def _clock(self, text: str) -> list[int] | None:
        if to := _TO.match(text):
            before = self.parse_number(to["min"])
            hours = self._clock(to["hour"])
            if before is None or hours is None or not 0 < before < 60:
                return None
            return [(h - before) % DAY_MIN for h in hours]
        for words, hour in (("meio dia", 12), ("meia noite", 0)):
            if text == words or text.startswith(words + " "):
                past = self._past(text[len(words) :].split())
                return None if past is None else [hour * 60 + past]
        return self._hour_and_minute(text.split())

    def _hour_and_minute(self, words: list[str]) -> list[int] | None:
        if not words or words[0] not in _HOURS:
            return None
        hours, rest = [_HOURS[words[0]] * 60], words[1:]
        if words[0] == "vinte" and rest[:1] == ["e"] and rest[1:2] and rest[1] in _AFTER_TWENTY:
            hours, rest = list(_AFTER_TWENTY[rest[1]]), rest[2:]
            if rest:
                hours = [h for h in hours if h % 60 == 0]
        elif 1 <= _HOURS[words[0]] <= 12:
            hours = [hours[0] % 720, hours[0] % 720 + 720]
        if rest[:1] in (["hora"], ["horas"]):
            rest = rest[1:]
        past = self._past(rest)
        return None if past is None else [h + past for h in hours]

    def _past(self, words: list[str]) -> int | None:
        if not words:
            return 0
        if words[0] == "e":
            words = words[1:]
        if words == ["meia"]:
            return 30
        if words and words[-1] in ("minuto", "minutos"):
            words = words[:-1]
        number = self.parse_number(" ".join(words))
        return number if number is not None and number < 60 else None

    def say_time(self, minute: int) -> str:
        hour, past = divmod(minute % DAY_MIN, 60)
        if hour in (0, 12):
            name = "meio-dia" if hour else "meia-noite"
            return name + ("" if not past else " e meia" if past == 30 else f" e {_said(past)}")
        said = _said(hour, feminine=True)
        if hour > 12:
            if not past:
                return f"{said} horas"
            if hour == 20 and past <= 3:
                return f"{said} horas e {_said(past)} minuto" + ("s" if past > 1 else "")
            return f"{said} e {_said(past)}"
        part = "da madrugada" if hour < 6 else "da manhã"
        return (
            f"{said}{'' if not past else ' e meia' if past == 30 else f' e {_said(past)}'} {part}"
        )

    def period(self, text: str) -> frozenset[int] | None:
        named = _PERIOD.fullmatch(text if " " in text else f"da {text}")
        return frozenset(_PERIODS[named[1]]) if named else None

    def parse_money(self, text: str) -> int | None:
        words = text.split()
        for unit in ("reais", "real"):
            if unit in words:
                at = words.index(unit)
                reais = self.parse_number(" ".join(words[:at]))
                cents = self._cents(words[at + 1 :])
                return None if reais is None or cents is None else reais * 100 + cents
        if words and words[-1] in ("centavo", "centavos"):
            number = self.parse_number(" ".join(words[:-1]))
            return number if number is not None and number < 100 else None
        whole = self.parse_number(text)
        return whole * 100 if whole is not None else self._bare_money(words)

    def _bare_money(self, words: list[str]) -> int | None:
        """ "dois e noventa e nove": cut at an `e` so that both sides are numbers."""
        for at, word in enumerate(words):
            if word == "e" and at:
                reais = self.parse_number(" ".join(words[:at]))
                cents = self._cents(words[at:])
                if reais is not None and reais < 1000 and cents is not None:
                    return reais * 100 + cents
        return None

    def _cents(self, words: list[str]) -> int | None:
        if not words:
            return 0
        if words[0] != "e":
            return None
        if words[1:] == ["meio"]:
            return 50
        rest = words[1:-1] if words[-1] in ("centavo", "centavos") else words[1:]
        number = self.parse_number(" ".join(rest))
        return number if number is not None and number < 100 else None

    def say_money(self, cents: int) -> str:
        if cents < 0:
            return f"menos {self.say_money(-cents)}"
        reais, rest = divmod(cents, 100)
        parts = []
        if reais or not rest:
            parts.append(f"{self.say_number(reais)} {'real' if reais < 2 else 'reais'}")
        if rest:
            parts.append(f"{_said(rest)} {'centavo' if rest == 1 else 'centavos'}")
        return " e ".join(parts)

    def show_money(self, cents: int) -> str:
        sign, whole = ("-" if cents < 0 else ""), abs(cents)
        return f"{sign}R$ {whole // 100:,}".replace(",", ".") + f",{whole % 100:02d}"

    def parse_quantity(self, text: str) -> Quantity | None:
        words = text.split()
        if words and words[-1] in ("duzia", "duzias"):
            count = " ".join(words[:-1])
            number = self.parse_number(count)
            milli = 6_000 if count == "meia" else None if number is None else number * 12_000
            return None if milli is None else Quantity(milli)
        if "virgula" in words:
            return self._decimal(words)
        if len(words) == 2 and words[0] in ("meio", "meia"):
            unit = _unit(words[1])
            return Quantity(unit[1] // 2, unit[0]) if unit and unit[1] > 1 else None
        for at, word in enumerate(words):
            if at and (unit := _unit(word)):
                return self._measured(words[:at], unit, words[at + 1 :])
        number = self.parse_number(text)
        return None if number is None else Quantity(number * 1000)

    def _measured(
        self, count: list[str], unit: tuple[str, int], rest: list[str]
    ) -> Quantity | None:
        number = self.parse_number(" ".join(count))
        if number is None:
            return None
        milli = number * unit[1]
        if rest in (["e", "meio"], ["e", "meia"]) and unit[1] > 1:
            return Quantity(milli + 500, unit[0])
        if rest[:1] == ["e"] and (small := _unit(rest[-1])) and small == (unit[0], 1):
            more = self.parse_number(" ".join(rest[1:-1]))
            return None if more is None or more > 999 else Quantity(milli + more, unit[0])
        return None if rest else Quantity(milli, unit[0])

    def _decimal(self, words: list[str]) -> Quantity | None:
        at = words.index("virgula")
        unit = _unit(words[-1]) or ("", 1000)
        digits = words[at + 1 : -1] if _unit(words[-1]) else words[at + 1 :]
        zeros = 0
        while digits[:1] == ["zero"] and len(digits) > 1:
            zeros, digits = zeros + 1, digits[1:]
        whole = self.parse_number(" ".join(words[:at]))
        part = self.parse_number(" ".join(digits))
        if whole is None or part is None or len("0" * zeros + str(part)) > 3:
            return None
        thousandths = int(("0" * zeros + str(part)).ljust(3, "0"))
        return Quantity((whole * 1000 + thousandths) * unit[1] // 1000, unit[0])

    def say_quantity(self, quantity: Quantity) -> str:
        whole, part = divmod(quantity.milli, 1000)
        if quantity.unit not in _UNIT_NAMES:
            return self._counted(whole, part, quantity.unit)
        big, small = _UNIT_NAMES[quantity.unit]
        if not whole and part:
            return f"meio {big}" if part == 500 else f"{_said(part)} {_many(small, part)}"
        said = f"{self.say_number(whole)} {_many(big, whole)}"
        if part == 500:
            return f"{said} e meio"
        return f"{said} e {_said(part)} {_many(small, part)}" if part else said

    def _counted(self, whole: int, part: int, unit: str) -> str:
        said = self.say_number(whole, feminine=bool(unit))
        if part:
            digits = f"{part:03d}".rstrip("0")
            zeros = len(digits) - len(digits.lstrip("0"))
            said += " vírgula " + "zero " * zeros + _said(int(digits))
        name = {"un": "unidade", "cx": "caixa"}.get(unit, "")
        return f"{said} {_many(name, 2 if part else whole)}" if name else said

    def show_quantity(self, quantity: Quantity) -> str:
        whole, part = divmod(abs(quantity.milli), 1000)
        text = f"{whole:,}".replace(",", ".")
        text += f",{part:03d}".rstrip("0") if part else ""
        sign = "-" if quantity.milli < 0 else ""
        return f"{sign}{text} {quantity.unit}".strip()

    def spell(self, text: str) -> str:
        text = text.lower()
        if not _DIGIT.search(text):
            return text
        for pattern, spoken in _TYPED:
            text = pattern.sub(spoken, text)
        return text


def _dated(words: list[str]) -> tuple[list[str], int | None]:
    """The words without the day they name, and how many days ago that is."""
    for day, ago in (("hoje", 0), ("ontem", 1)):
        if words[:1] == [day]:
            return words[1:], ago
        if words[-1:] == [day]:
            return (words[:-2] if words[-2:-1] == ["de"] else words[:-1]), ago
    return words, None


def _below(words: list[str]) -> int | None:
    if words == ["cem"]:
        return 100
    return below_thousand(words, _HUNDRED_VALUES, _TEN_VALUES, _UNIT_VALUES, "e")


def _said_below(number: int, feminine: bool) -> str:
    if number == 100:
        return "cem"
    parts = []
    if number >= 100:
        hundred = _HUNDREDS[number // 100 - 1]
        parts.append(hundred.replace("tos", "tas") if feminine else hundred)
        number %= 100
        if not number:
            return parts[0]
    if number >= 20:
        parts.append(_TENS[number // 10 - 2])
        number %= 10
    if number or not parts:
        parts.append(
            {1: "uma", 2: "duas"}.get(number, _ONES[number]) if feminine else _ONES[number]
        )
    return " e ".join(parts)


def _said(number: int, feminine: bool = False) -> str:
    return _said_below(number, feminine)


def _many(noun: str, count: int) -> str:
    return noun if count == 1 else noun + "s"


def _unit(word: str) -> tuple[str, int] | None:
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))


def _spelled_time(found: re.Match[str]) -> str:
    hour, minute = int(found["h"]), int(found["m"] or 0)
    if hour > 23 or minute > 59:
        return found[0]
    exact = hour > 12 or hour == 0 or len(found["h"]) == 2
    if exact and not found["part"]:
        return f" {Portuguese().say_time(hour * 60 + minute)} "
    said = _said(hour, feminine=True)
    return f" {said} e {_said(minute)} " if minute else f" {said} horas "


def _spelled_money(found: re.Match[str]) -> str:
    reais, cents = int(found["r"].replace(".", "")), int(found["c"] or 0)
    return f" {Portuguese().say_money(reais * 100 + cents)} " if reais <= MOST_NUMBER else found[0]


def _spelled_decimal(found: re.Match[str]) -> str:
    part = found["part"].rstrip("0")
    whole = Portuguese().say_number(int(found["whole"]))
    unit = _SHORT.get(found["unit"], found["unit"])
    if not part:
        return f" {whole} {unit} "
    zeros = len(part) - len(part.lstrip("0"))
    return f" {whole} vírgula {'zero ' * zeros}{_said(int(part))} {unit} "


def _spelled_number(found: re.Match[str]) -> str:
    number = int(found["n"].replace(".", ""))
    unit = found["unit"] or ""
    said = Portuguese().say_number(number) if number <= MOST_NUMBER else found["n"]
    name = _SHORT.get(unit, unit)
    return f" {said} {name.removesuffix('s') if number == 1 and unit else name} "


_UNIT_WORDS = r"kg|quilos?|gramas?|gr|g|litros?|lt|l|mililitros?|ml|unidades?|und|un|caixas?|cx|pct"
_DIGITS = r"\d{1,3}(?:\.\d{3})+|\d+"
_DIGIT = re.compile(r"\d")
_TYPED = (
    (re.compile(r"(?<![\d,.])(?P<h>\d{1,2})(?::|h)(?P<m>\d{2})?(?: ?(?:hs?|horas?|min)\b)?"
                r"(?P<part>(?= d[ae] (?:manh|tard|noit|madr)))?(?![\d\w])"), _spelled_time),
    (re.compile(r"r\$ ?(?P<r>\d{1,3}(?:\.\d{3})+|\d+)(?:,(?P<c>\d{2}))?(?!\d)"), _spelled_money),
    (re.compile(rf"(?<![\d,.])(?P<whole>\d+),(?P<part>\d{{1,3}}) ?(?P<unit>{_UNIT_WORDS})\b"),
     _spelled_decimal),
    (re.compile(rf"(?<![\d,.])(?P<r>{_DIGITS})[,.](?P<c>\d{{2}})(?![\d,.])(?: (?:reais|real)\b)?"),
     _spelled_money),
    (re.compile(rf"(?<![\d,.])(?P<n>{_DIGITS})(?: ?(?P<unit>{_UNIT_WORDS})\b)?(?![\d])"),
     _spelled_number),
)  # fmt: skip

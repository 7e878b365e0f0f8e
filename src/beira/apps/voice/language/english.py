"""English: "half past two in the afternoon", "two ninety nine", "half a dozen"."""

from __future__ import annotations

import re

from beira.apps.voice.language.values import (
    DAY_MIN,
    MOST_NUMBER,
    Quantity,
    SaidTime,
    below_thousand,
)

_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen"]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ONE_VALUES = {w: n for n, w in enumerate(_ONES) if n}
_TEN_VALUES = {w: 10 * n for n, w in enumerate(_TENS, 2)}

_PERIODS = {
    "morning": range(0, 12 * 60), "am": range(0, 12 * 60), "afternoon": range(12 * 60, 20 * 60),
    "evening": range(16 * 60, DAY_MIN), "pm": range(12 * 60, DAY_MIN),
    "night": (*range(18 * 60, DAY_MIN), *range(0, 5 * 60)),
}  # fmt: skip
_PERIOD = re.compile(r"(?:(?:^| )(?:in the|at))?(?:^| )(morning|afternoon|evening|night|am|pm)\Z")
_NOW = {"now", "right now", "just now"}
_UNITS = {"kilo": ("kg", 1000), "kilogram": ("kg", 1000), "gram": ("kg", 1), "litre": ("l", 1000),
          "liter": ("l", 1000), "millilitre": ("l", 1), "milliliter": ("l", 1),
          "box": ("cx", 1000), "boxe": ("cx", 1000)} | dict.fromkeys(
    ("unit", "piece", "packet", "pack", "bottle", "can", "bag"), ("un", 1000))  # fmt: skip
_UNIT_NAMES = {"kg": ("kilo", "gram"), "l": ("litre", "millilitre")}
_SHORT = {"kg": "kilos", "g": "grams", "l": "litres", "ml": "millilitres", "un": "units"}


class English:
    """Implements `Tongue`. Money is in reais, as the shops' is."""

    def parse_number(self, text: str) -> int | None:
        words = text.split()
        if words == ["zero"]:
            return 0
        if "thousand" not in words:
            return _below(words)
        at = words.index("thousand")
        left, rest = _below(words[:at]), words[at + 1 :]
        right = 0 if not rest else _below(rest[1:] if rest[0] == "and" else rest)
        return None if left is None or right is None else left * 1000 + right

    def say_number(self, number: int, *, feminine: bool = False) -> str:
        if not 0 <= number <= MOST_NUMBER:
            return str(number)
        thousands, rest = divmod(number, 1000)
        if not thousands:
            return _said(rest)
        head = f"{_said(thousands)} thousand"
        if not rest:
            return head
        return f"{head} {'and ' if rest < 100 else ''}{_said(rest)}"

    def parse_time(self, text: str) -> SaidTime | None:
        if text in _NOW:
            return SaidTime(ago_min=0)
        if text.endswith(" ago"):
            return self._ago(text.removesuffix(" ago"))
        text, days_ago = _dated(text)
        text = text.removeprefix("at ")
        period = None
        if named := _PERIOD.search(text):
            period, text = _PERIODS[named[1]], text[: named.start()].strip()
        minutes = self._clock(text.split())
        if minutes is None:
            return None
        said = SaidTime(tuple(sorted(set(minutes))), days_ago=days_ago)
        return said.within(period) if period is not None else said

    def _ago(self, text: str) -> SaidTime | None:
        if text in ("half an hour", "an hour", "one hour"):
            return SaidTime(ago_min=30 if text.startswith("half") else 60)
        count = text.removesuffix("s").removesuffix(" minute")
        number = self.parse_number(count) if count != text else None
        return SaidTime(ago_min=number) if number is not None and number < 60 else None

    def _clock(self, words: list[str]) -> list[int] | None:
        if not words:
            return None
        if words in (["noon"], ["midday"], ["midnight"]):
            return [0 if words == ["midnight"] else 720]
        for joint in ("past", "to"):
            if joint in words:
                return self._beside(words[: words.index(joint)], joint, words)
        hour = self._hour(words[0])
        if words[0] == "twenty" and words[1:2] and words[1] in ("one", "two", "three"):
            if len(words) > 2:
                hour, words = [(20 + _ONE_VALUES[words[1]]) * 60], words[1:]
            elif words[-1:] != ["o"]:
                return [(20 + _ONE_VALUES[words[1]]) * 60]
        minute = self._minute([w for w in words[1:] if w not in ("o", "clock", "hundred", "hours")])
        return None if hour is None or minute is None else [h + minute for h in hour]

    def _beside(self, left: list[str], joint: str, words: list[str]) -> list[int] | None:
        text = " ".join(w for w in left if w not in ("a", "minute", "minutes"))
        amount = {"half": 30, "quarter": 15}.get(text) or self.parse_number(text)
        hours = self._clock(words[words.index(joint) + 1 :])
        if amount is None or hours is None or not 0 < amount < 60:
            return None
        return [(h + (amount if joint == "past" else -amount)) % DAY_MIN for h in hours]

    def _hour(self, word: str) -> list[int] | None:
        number = {"zero": 0, "twenty": 20}.get(word, _ONE_VALUES.get(word))
        if number is None:
            return None
        if 1 <= number <= 12:
            return [number % 12 * 60, number % 12 * 60 + 720]
        return [number * 60]

    def _minute(self, words: list[str]) -> int | None:
        if words and words[0] in ("oh", "zero"):
            words = words[1:]
            return _ONE_VALUES.get(" ".join(words))
        if not words:
            return 0
        number = self.parse_number(" ".join(words))
        return number if number is not None and number < 60 else None

    def say_time(self, minute: int) -> str:
        hour, past = divmod(minute % DAY_MIN, 60)
        if not past and hour in (0, 12):
            return "noon" if hour else "midnight"
        part = (
            "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
        )
        said = _said((hour - 1) % 12 + 1)
        if past:
            said += f" {'oh ' if past < 10 else ''}{_said(past)}"
        return f"{said} {part}"

    def period(self, text: str) -> frozenset[int] | None:
        named = _PERIOD.fullmatch(text)
        return frozenset(_PERIODS[named[1]]) if named else None

    def parse_money(self, text: str) -> int | None:
        words = text.split()
        for unit in ("reais", "real"):
            if unit in words:
                at = words.index(unit)
                reais = self.parse_number(" ".join(words[:at]))
                cents = self._cents(words[at + 1 :])
                return None if reais is None or cents is None else reais * 100 + cents
        if words and words[-1] in ("cent", "cents", "centavo", "centavos"):
            number = self.parse_number(" ".join(words[:-1]))
            return number if number is not None and number < 100 else None
        whole = self.parse_number(text)
        return whole * 100 if whole is not None else self._bare_money(words)

    def _bare_money(self, words: list[str]) -> int | None:
        for at in range(1, len(words)):
            reais = self.parse_number(" ".join(words[:at]))
            tail = words[at + 1 :] if words[at] == "and" else words[at:]
            cents = self.parse_number(" ".join(tail))
            if reais is not None and cents is not None and 10 <= cents < 100:
                return reais * 100 + cents
        return None

    def _cents(self, words: list[str]) -> int | None:
        kept = [w for w in words if w not in ("and", "cent", "cents", "centavo", "centavos")]
        if not kept:
            return None if words else 0
        number = self.parse_number(" ".join(kept))
        return number if number is not None and number < 100 else None

    def say_money(self, cents: int) -> str:
        if cents < 0:
            return f"minus {self.say_money(-cents)}"
        reais, rest = divmod(cents, 100)
        parts = []
        if reais or not rest:
            parts.append(f"{self.say_number(reais)} {'real' if reais == 1 else 'reais'}")
        if rest:
            parts.append(f"{_said(rest)} {'centavo' if rest == 1 else 'centavos'}")
        return " and ".join(parts)

    def show_money(self, cents: int) -> str:
        sign, whole = ("-" if cents < 0 else ""), abs(cents)
        return f"{sign}R$ {whole // 100:,}.{whole % 100:02d}"

    def parse_quantity(self, text: str) -> Quantity | None:
        words = text.split()
        if words and words[-1] == "dozen":
            count = " ".join(words[:-1])
            number = 1 if count == "a" else self.parse_number(count)
            milli = 6_000 if count == "half a" else None if number is None else number * 12_000
            return None if milli is None else Quantity(milli)
        if "point" in words:
            return self._decimal(words)
        if words[:2] == ["half", "a"] and len(words) == 3 and (unit := _unit(words[2])):
            return Quantity(unit[1] // 2, unit[0]) if unit[1] > 1 else None
        half = words[-3:] == ["and", "a", "half"]
        words = words[:-3] if half else words
        unit = _unit(words[-1]) if words else None
        number = self.parse_number(" ".join(words[:-1] if unit else words))
        if number is None or (half and unit is None):
            return None
        return Quantity(number * (unit[1] if unit else 1000) + 500 * half, unit[0] if unit else "")

    def _decimal(self, words: list[str]) -> Quantity | None:
        at, unit = words.index("point"), _unit(words[-1])
        digits = [_ONES.index(w) if w in _ONES[:10] else -1 for w in words[at + 1 :]]
        digits = digits[:-1] if unit else digits
        whole = self.parse_number(" ".join(words[:at]))
        if whole is None or not 0 < len(digits) <= 3 or min(digits) < 0:
            return None
        milli = whole * 1000 + int("".join(map(str, digits)).ljust(3, "0"))
        scale, name = (unit[1], unit[0]) if unit else (1000, "")
        return Quantity(milli * scale // 1000, name)

    def say_quantity(self, quantity: Quantity) -> str:
        whole, part = divmod(quantity.milli, 1000)
        name = {"un": "unit", "cx": "box"}.get(quantity.unit) or _UNIT_NAMES.get(
            quantity.unit, ("",)
        )[0]
        said = self.say_number(whole)
        if not whole and part and quantity.unit in _UNIT_NAMES:
            return (
                f"half a {name}"
                if part == 500
                else _many(_said(part), _UNIT_NAMES[quantity.unit][1], part)
            )
        if part:
            said += " point " + " ".join(_ONES[int(d)] for d in f"{part:03d}".rstrip("0"))
        return _many(said, name, 2 if part else whole) if name else said

    def show_quantity(self, quantity: Quantity) -> str:
        whole, part = divmod(abs(quantity.milli), 1000)
        text = f"{whole:,}" + (f".{part:03d}".rstrip("0") if part else "")
        return f"{'-' if quantity.milli < 0 else ''}{text} {quantity.unit}".strip()

    def spell(self, text: str) -> str:
        text = text.lower()
        if not _DIGIT.search(text):
            return text
        for pattern, spoken in _TYPED:
            text = pattern.sub(spoken, text)
        return text


def _dated(text: str) -> tuple[str, int | None]:
    """The text without the day it names, and how many days ago that is."""
    for day, ago in (("today", 0), ("yesterday", 1)):
        for bare in (text.removeprefix(f"{day} "), text.removesuffix(f" {day}")):
            if bare != text:
                return bare, ago
    return text, None


def _below(words: list[str]) -> int | None:
    if "hundred" in words:
        at = words.index("hundred")
        left, rest = words[:at], words[at + 1 :]
        hundreds = _ONE_VALUES.get(left[0]) if len(left) == 1 else None
        if rest[:1] == ["and"]:
            rest = rest[1:] or ["and"]
        right = 0 if not rest else below_thousand(rest, {}, _TEN_VALUES, _ONE_VALUES, "")
        valid = hundreds is not None and hundreds < 10 and right is not None
        return hundreds * 100 + right if valid and hundreds and right is not None else None
    return below_thousand(words, {}, _TEN_VALUES, _ONE_VALUES, "")


def _said(number: int) -> str:
    if number >= 100:
        head = f"{_ONES[number // 100]} hundred"
        return head if not number % 100 else f"{head} {_said(number % 100)}"
    if number >= 20:
        return _TENS[number // 10 - 2] + (f" {_ONES[number % 10]}" if number % 10 else "")
    return _ONES[number]


def _many(count: str, noun: str, number: int) -> str:
    return f"{count} {noun if number == 1 else 'boxes' if noun == 'box' else noun + 's'}"


def _unit(word: str) -> tuple[str, int] | None:
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))


def _spelled_time(found: re.Match[str]) -> str:
    hour, minute = int(found["h"]), int(found["m"])
    if hour > 23 or minute > 59:
        return found[0]
    if hour > 12 or hour == 0 or (len(found["h"]) == 2 and not found["part"]):
        return f" {English().say_time(hour * 60 + minute)} "
    return (
        f" {_said(hour)} {('oh ' if minute < 10 else '') + _said(minute) if minute else 'o clock'} "
    )


def _spelled_money(found: re.Match[str]) -> str:
    reais, cents = int(found["r"].replace(",", "")), int(found["c"] or 0)
    return f" {English().say_money(reais * 100 + cents)} " if reais <= MOST_NUMBER else found[0]


def _spelled_decimal(found: re.Match[str]) -> str:
    part, unit = found["part"].rstrip("0"), _SHORT.get(found["unit"], found["unit"])
    whole = English().say_number(int(found["whole"]))
    said = f"{whole} point {' '.join(_ONES[int(d)] for d in part)}" if part else whole
    return f" {said} {unit} "


def _spelled_number(found: re.Match[str]) -> str:
    number, unit = int(found["n"].replace(",", "")), found["unit"] or ""
    said = English().say_number(number) if number <= MOST_NUMBER else found["n"]
    name = _SHORT.get(unit, unit)
    return f" {said} {name.removesuffix('s') if number == 1 else name} "


_UNIT_WORDS = r"kg|kilos?|grams?|g|litres?|liters?|l|ml|units?|un"
_DIGIT = re.compile(r"\d")
_TYPED = (
    (re.compile(r"(?<![\d,.])(?P<h>\d{1,2}):(?P<m>\d{2})(?P<part>(?= ?(?:am|pm|in the)\b))?(?!\d)"),
     _spelled_time),
    (re.compile(r"r\$ ?(?P<r>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<c>\d{2}))?(?!\d)"), _spelled_money),
    (re.compile(rf"(?<![\d,.])(?P<whole>\d+)\.(?P<part>\d{{1,3}}) ?(?P<unit>{_UNIT_WORDS})\b"),
     _spelled_decimal),
    (re.compile(r"(?<![\d,.])(?P<r>\d+)\.(?P<c>\d{2})(?![\d,.])(?: (?:reais|real)\b)?"), _spelled_money),
    (re.compile(rf"(?<![\d,.])(?P<n>\d{{1,3}}(?:,\d{{3}})+|\d+)(?: ?(?P<unit>{_UNIT_WORDS})\b)?(?!\d)"),
     _spelled_number),
)  # fmt: skip

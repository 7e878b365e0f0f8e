"""Answers from templates: once as shown on a screen, once as spoken. Pure.

A template's `{name}` takes the value of that name, `{name:style}` in a style. What a value is
decides how it sounds: a moment is a time of day, `*_cents` is money, `*_milli` a quantity in the
`unit` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

import msgspec

from beira.apps.voice.language import Quantity, Tongue, tongue
from beira.apps.voice.understand import Named

_LOOSE = re.compile(r" ([.,:;?!])")
_DIGIT = re.compile(r"\d")
_PLACE = re.compile(r"\{(\w+)(?::(\w+))?\}")
_MEN = ("o", "os", "or", "el", "on", "ão", "aldo", "ique", "uel", "ael", "ás", "us", "ey")
_WOMEN = ("a", "ane", "ine", "one", "ele", "elle", "ice", "iz", "ete")
_NEITHER = {"luca", "josua", "andrea"}
MOST_SPOKEN = 300
_JOINTS = {"at": (" ", " "), "for": (" por ", " for "), "to": (" para ", " to "),
           "and": (" e ", " and ")}  # fmt: skip
_AFTER = {"and": "amount", "to": "time"}


class Answer(msgspec.Struct, frozen=True):
    """The same words to hear and to read."""

    say: str
    show: str


class Wording:
    """Puts values into the templates of a language, for people in one time zone."""

    def __init__(self, language: str, templates: Mapping[str, str], zone: tzinfo) -> None:
        self._tongue: Tongue = tongue(language)
        self._english = language.startswith("en")
        self._templates, self._zone = templates, zone

    def answer(self, key: str, values: Mapping[str, Any], now: datetime) -> Answer:
        """The wording of `key` or, without one, of what stands before its last dot."""
        template = self._template(key)
        said: list[str] = []
        shown: list[str] = []
        for spoken, out in ((True, said), (False, shown)):

            def put(found: re.Match[str], spoken: bool = spoken) -> str:
                return self._put(found[1], found[2] or "", values, now, spoken)

            out.append(_PLACE.sub(put, template))
        return Answer(say=_tidy(said[0])[:MOST_SPOKEN], show=_tidy(shown[0]))

    def has(self, key: str) -> bool:
        return key in self._templates

    def _template(self, key: str) -> str:
        while key not in self._templates and "." in key:
            key = key.rpartition(".")[0]
        return self._templates.get(key, "")

    def _put(
        self, name: str, style: str, values: Mapping[str, Any], now: datetime, spoken: bool
    ) -> str:
        value = self._typed(name, values.get(name), values)
        if style.endswith("_if"):
            if value is None:
                return ""
            style = style.removesuffix("_if")
            joint = _JOINTS[style][self._english]
            return joint + self._styled(value, _AFTER.get(style, style), now, spoken)
        return self._styled(value, style, now, spoken)

    def _typed(self, name: str, value: Any, values: Mapping[str, Any]) -> Any:
        """What a plain value stands for, by its field's name."""
        if value is None:
            return None
        if name.endswith("_cents") or name in ("price", "total"):
            return _Money(int(value))
        if name.endswith("_milli"):
            return Quantity(int(value), str(values.get("unit", "")))
        if name in ("at", "now") and isinstance(value, str):
            return datetime.fromisoformat(value)
        return value

    def _styled(self, value: Any, style: str, now: datetime, spoken: bool) -> str:
        if style == "or" and isinstance(value, Sequence) and not isinstance(value, str):
            return self._listed([self._styled(v, "time" if isinstance(v, datetime) else "", now, spoken)
                                 for v in value])  # fmt: skip
        if isinstance(value, datetime):
            return self._time(value.astimezone(self._zone), style, now, spoken)
        if style == "each":
            return self._each(str(value), spoken)
        if style == "units":
            return self._templates.get(f"word.unit.{value}", str(value)) + "s"
        if style.startswith("many_") and isinstance(value, int):
            return self._many(value, style.removeprefix("many_"), spoken)
        plain = str(self._plain(value, spoken))
        if style == "amount":
            counted = not isinstance(value, Quantity) or not value.unit
            return plain if counted else f"{plain} {'of' if self._english else 'de'}"
        return self._of(plain) if style == "of" else plain

    def _plain(self, value: Any, spoken: bool) -> Any:
        way = self._tongue
        if value is None:
            return ""
        if isinstance(value, _Money):
            return way.say_money(value.cents) if spoken else way.show_money(value.cents)
        if isinstance(value, Quantity):
            if spoken and value.milli < 0:
                less = "minus" if self._english else "menos"
                return f"{less} {way.say_quantity(Quantity(-value.milli, value.unit))}"
            return way.say_quantity(value) if spoken else way.show_quantity(value)
        if isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return way.say_number(value) if spoken else value
        if isinstance(value, Named):
            return value.said
        word = self._templates.get(f"word.{value}", value)
        return self._tongue.spell(word).strip() if spoken and _DIGIT.search(str(word)) else word

    def _many(self, count: int, noun: str, spoken: bool) -> str:
        """A count of things: "uma venda", "12 pontos"."""
        plural = noun if count == 1 else noun + "s"
        said = self._tongue.say_number(count, feminine=noun.endswith("a")) if spoken else count
        return f"{said} {plural}"

    def _time(self, local: datetime, style: str, now: datetime, spoken: bool) -> str:
        minute = local.hour * 60 + local.minute
        clock = self._tongue.say_time(minute) if spoken else f"{local:%H:%M}"
        days = (now.astimezone(self._zone).date() - local.date()).days
        when = "" if days < 1 else self._day(days, local)
        if style == "is":
            one = local.hour in (0, 1, 12)
            return clock if self._english else f"{'é' if one else 'são'} {clock}"
        if style != "at":
            return clock + when
        if self._english:
            return f"at {clock}{when}"
        return f"{_preposition(local.hour)} {clock}{when}"

    def _day(self, days: int, local: datetime) -> str:
        if days == 1:
            return " yesterday" if self._english else " de ontem"
        return f" on {local:%Y-%m-%d}" if self._english else f" do dia {local:%d/%m}"

    def _of(self, name: str) -> str:
        if self._english:
            return name
        first = name.split()[0].lower() if name.split() else ""
        if first not in _NEITHER and first.endswith(_WOMEN):
            return f"da {name}"
        return f"do {name}" if first.endswith(_MEN) else f"de {name}"

    def _each(self, unit: str, spoken: bool) -> str:
        if unit in ("un", ""):
            return ""
        word = self._templates.get(f"word.unit.{unit}", unit)
        if not spoken:
            return f"/{unit}"
        return (
            f" per {word}" if self._english else f" o {word}" if word[-1] != "a" else f" a {word}"
        )

    def _listed(self, items: list[str]) -> str:
        if len(items) < 2:
            return "".join(items)
        return ", ".join(items[:-1]) + (" or " if self._english else " ou ") + items[-1]


class _Money(msgspec.Struct, frozen=True):
    cents: int


def _preposition(hour: int) -> str:
    if hour == 12:
        return "ao"
    return "à" if hour in (0, 1) else "às"


def _tidy(text: str) -> str:
    text = _LOOSE.sub(r"\1", " ".join(text.split()))
    return text[:1].upper() + text[1:]

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
_MEN = ("o", "os", "or", "el", "on", "ão", "aldo", "ique", "uel", "ael", "ás", "as", "us", "ey")
_WOMEN = ("a", "ane", "ine", "one", "ele", "elle", "ice", "iz", "ete")
_HERS = {
    "raquel",
    "isabel",
    "izabel",
    "mabel",
    "maribel",
    "anabel",
    "socorro",
    "rosário",
    "consuelo",
}
_NEITHER = {"luca", "josua", "andrea", "noa", "nicola", "mercedes", "graças", "das", "dos"}
MOST_SPOKEN = 300
_JOINTS = {"at": (" ", " "), "for": (" por ", " for "), "to": (" para ", " to "),
           "was": (" ", " "), "of": (" ", " of "), "as": (": ", ": ")}  # fmt: skip


_AND, _OR = (" e ", " and "), (" ou ", " or ")
_MOMENTS = ("at", "now", "was", "since")


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

    def named(self, name: str) -> str:
        """A name with what says whose something is: "da Ana"."""
        return self._of(name)

    def says(self, key: str) -> bool:
        """Whether it has a wording, its own or that of what stands before a dot."""
        return bool(self._template(key))

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
            return joint + self._styled(value, style, now, spoken) if value != "" else ""
        return self._styled(value, style, now, spoken)

    def _typed(self, name: str, value: Any, values: Mapping[str, Any]) -> Any:
        """What a plain value stands for, by its field's name."""
        if value is None:
            return None
        if name.endswith("_cents") or name in ("price", "total"):
            return _Money(int(value))
        if name.endswith("_milli"):
            return Quantity(int(value), str(values.get("unit", "")))
        if name in _MOMENTS and isinstance(value, str):
            return datetime.fromisoformat(value)
        return value

    def _styled(self, value: Any, style: str, now: datetime, spoken: bool) -> str:
        if isinstance(value, Sequence) and not isinstance(value, str):
            return self._several(value, style, now, spoken)
        if isinstance(value, datetime):
            return self._time(value.astimezone(self._zone), style, now, spoken)
        if style == "each":
            return self._each(str(value), spoken)
        if style == "units":
            return self._templates.get(f"word.unit.{value}", str(value)) + "s"
        if style == "duration":
            return self._duration(int(value or 0), spoken)
        if style.startswith("many_") and isinstance(value, int):
            return self._many(value, style.removeprefix("many_"), spoken)
        plain = str(self._plain(value, spoken))
        if style == "amount":
            counted = not isinstance(value, Quantity) or not value.unit
            return plain if counted else f"{plain} {'of' if self._english else 'de'}"
        return self._of(plain) if style == "of" else plain

    def _several(self, values: Sequence[Any], style: str, now: datetime, spoken: bool) -> str:
        """Things one after the other: as choices, or all of them."""
        if style in ("lines", "punches", "requests"):
            told = [getattr(self, f"_{style[:-1]}")(value, now, spoken) for value in values]
            return self._listed(told, _AND) if style != "requests" else "; ".join(told)
        plain = [self._styled(v, "time" if isinstance(v, datetime) else "", now, spoken)
                 for v in values]  # fmt: skip
        return self._listed(plain, _AND if style == "all" else _OR)

    def _line(self, line: Mapping[str, Any], now: datetime, spoken: bool) -> str:
        """Something counted: "2 kg de pão"."""
        return self._counted(
            Quantity(int(line["quantity_milli"]), str(line["unit"])), str(line["name"]), now, spoken
        )

    def _counted(self, quantity: Quantity, name: str, now: datetime, spoken: bool) -> str:
        if quantity.unit == "un":  # "two pieces of" adds nothing to a list
            quantity = Quantity(quantity.milli)
        shown = self._plain(name, spoken)
        if spoken and not quantity.unit and quantity.milli % 1000 == 0:
            hers = name.split()[0].lower().endswith("a") if name.split() else False
            return f"{self._tongue.say_number(quantity.milli // 1000, feminine=hers)} {shown}"
        return f"{self._styled(quantity, 'amount', now, spoken)} {shown}"

    def _punche(self, punch: Mapping[str, Any], now: datetime, spoken: bool) -> str:
        """A punch: "entrada 08:10"."""
        at = punch["at"]
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
        return f"{self._plain(punch['kind'], spoken)} {self._styled(moment, 'bare', now, spoken)}"

    def _request(self, request: Mapping[str, Any], now: datetime, spoken: bool) -> str:
        """A customer's request: "Ana, bolo"."""
        whom = f"{request['customer']}, " if request["customer"] else ""
        return whom + str(request["text"])

    def _duration(self, minutes: int, spoken: bool) -> str:
        """A span of time: "5 h 20 min", "cinco horas e vinte minutos"."""
        hours, rest = divmod(minutes, 60)
        if not spoken:
            return " ".join(p for p in (f"{hours} h" if hours else "",
                                        f"{rest} min" if rest or not hours else "") if p)  # fmt: skip
        hour, minute = ("hour", "minute") if self._english else ("hora", "minuto")
        parts = []
        if hours:
            said = self._tongue.say_number(hours, feminine=True)
            parts.append(f"{said} {hour}{'s' * (hours != 1)}")
        if rest or not hours:
            parts.append(f"{self._tongue.say_number(rest)} {minute}{'s' * (rest != 1)}")
        return (" and " if self._english else " e ").join(parts)

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
        if style == "bare":
            return clock
        if style not in ("at", "was", "to", "since"):
            return clock + when
        if self._english:
            return {"at": f"at {clock}{when}", "was": f"of {clock}{when}"}.get(style, clock + when)
        return f"{_before(style, local.hour if spoken or local.hour != 12 else 13)}{clock}{when}"

    def _day(self, days: int, local: datetime) -> str:
        if days == 1:
            return " yesterday" if self._english else " de ontem"
        return f" on {local:%Y-%m-%d}" if self._english else f" do dia {local:%d/%m}"

    def _of(self, name: str) -> str:
        if self._english:
            return name
        first = name.split()[0].lower() if name.split() else ""
        if not name:
            return ""
        if first in _HERS or (first not in _NEITHER and first.endswith(_WOMEN)):
            return f"da {name}"
        if first in _NEITHER:
            return f"de {name}"
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

    def _listed(self, items: list[str], joint: tuple[str, str]) -> str:
        if len(items) < 2:
            return "".join(items)
        return ", ".join(items[:-1]) + joint[self._english] + items[-1]


class _Money(msgspec.Struct, frozen=True):
    cents: int


def _before(style: str, hour: int) -> str:
    """What stands before an hour: noon is a he, midnight and one o'clock are a she, others many."""
    sort = 0 if hour == 12 else 1 if hour in (0, 1) else 2
    return {
        "at": ("ao ", "à ", "às "),
        "was": ("do ", "da ", "das "),
        "to": ("o ", "a ", "as "),
        "since": ("o ", "a ", "as "),
    }[style][sort]


def _tidy(text: str) -> str:
    text = _LOOSE.sub(r"\1", " ".join(text.split()))
    return text[:1].upper() + text[1:]

"""What devices can do, whoever made them: capabilities, their traits with units, and what may be asked.

Each bridge says what its devices have in these words, so that scenarios, pages, voice and other bridges
know one kind of lamp. A trait is a value a device tells; those that are `settable` are asked for by the
one command `set`; what is no value (to open, to dock) is a command of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from beira.apps.home.scenarios.spec import Value
from beira.sdk import Invalid

Kind: TypeAlias = Literal["bool", "number", "text", "choice", "colour"]
TEXT_CHARS = 500
_COLOUR = re.compile(r"^#[0-9a-f]{6}$")


class Trait(Struct, frozen=True):
    """One value of a device. Numbers have a unit and bounds, choices their options; `personal` ones are
    about a body or what somebody does, and stay at the house unless its people agree."""

    kind: Kind
    unit: str = ""
    least: float = -math.inf
    most: float = math.inf
    options: tuple[str, ...] = ()
    settable: bool = False
    personal: bool = False


class Capability(Struct, frozen=True):
    """What devices of a kind have: all of `needs`, and any of `may`. `commands` are asked for besides
    `set`, and take nothing."""

    needs: Mapping[str, Trait] = {}
    may: Mapping[str, Trait] = {}
    commands: tuple[str, ...] = ()

    @property
    def traits(self) -> dict[str, Trait]:
        return {**self.needs, **self.may}


def _percent(*, settable: bool = False) -> Trait:
    return Trait("number", "%", 0, 100, settable=settable)


def _choice(*options: str, settable: bool = False) -> Trait:
    return Trait("choice", options=options, settable=settable)


def _set(kind: Kind) -> Trait:
    return Trait(kind, settable=True)


_TOLD = Trait("bool")
_CELSIUS = Trait("number", "°C", -90, 1_000)
CAPABILITIES: dict[str, Capability] = {
    "light": Capability(
        {"on": _set("bool")},
        {"brightness": _percent(settable=True), "colour": _set("colour"), "effect": _set("text"),
         "temperature_k": Trait("number", "K", 1_000, 20_000, settable=True)},
        ("toggle",),
    ),
    "switch": Capability({"on": _set("bool")}, commands=("toggle",)),
    "fan": Capability({"on": _set("bool")}, {"speed": _percent(settable=True)}, ("toggle",)),
    "climate": Capability(
        {"mode": _choice("off", "heat", "cool", "auto", "dry", "fan", settable=True)},
        {"target": Trait("number", "°C", 5, 40, settable=True), "celsius": _CELSIUS,
         "humidity": _percent(), "fan_mode": _set("text"), "doing": Trait("text")},
    ),
    "cover": Capability(
        {"position": _percent(settable=True)},
        {"tilt": _percent(settable=True), "moving": _choice("no", "opening", "closing")},
        ("open", "close", "stop"),
    ),
    "lock": Capability({"locked": _TOLD}, {"jammed": _TOLD}, ("lock", "unlock")),
    "sensor": Capability(
        may={"celsius": _CELSIUS, "humidity": _percent(), "battery": _percent(),
             "pressure": Trait("number", "hPa", 300, 1_200), "light": Trait("number", "lx", 0),
             "co2": Trait("number", "ppm", 0), "pm25": Trait("number", "µg/m³", 0),
             "motion": _TOLD, "open": _TOLD, "presence": _TOLD, "smoke": _TOLD, "gas": _TOLD,
             "wet": _TOLD, "vibration": _TOLD, "tamper": _TOLD, "pressed": Trait("text")},
    ),
    "meter": Capability(
        may={"power": Trait("number", "W"), "energy": Trait("number", "kWh", 0),
             "voltage": Trait("number", "V", 0), "current": Trait("number", "A")},
    ),
    "camera": Capability({"live": _TOLD}, {"motion": _TOLD}, ("snapshot",)),
    "media": Capability(
        {"state": _choice("off", "idle", "playing", "paused")},
        {"volume": _percent(settable=True), "muted": _set("bool"), "title": Trait("text"),
         "source": _set("text")},
        ("play", "pause", "stop", "next", "previous", "on", "off"),
    ),
    "vacuum": Capability(
        {"state": _choice("docked", "cleaning", "returning", "paused", "error")},
        {"battery": _percent(), "fan_mode": _set("text")},
        ("start", "pause", "stop", "dock", "locate"),
    ),
    "alarm": Capability(
        {"state": _choice("disarmed", "home", "away", "night", "pending", "triggered")},
        commands=("disarm", "arm_home", "arm_away", "arm_night"),
    ),
    "wearable": Capability(
        may={"heart_rate": Trait("number", "bpm", 0, 300, personal=True),
             "fell": Trait("bool", personal=True), "steps": Trait("number", "", 0, personal=True)},
    ),
}  # fmt: skip


def canonical(capability: str, trait: str, value: object) -> Value:
    """A value as it is kept: whole percents and such stay numbers, colours are `#rrggbb`. None, which a
    device tells of what it does not know, stays None.

    Raises: Invalid `home.trait` for a trait there is none of, `home.value` for what it cannot be.
    """
    known = CAPABILITIES[capability].traits.get(trait) if capability in CAPABILITIES else None
    if known is None:
        raise Invalid(f"A {capability[:40]} has no {trait[:40]!r}.", code="home.trait")
    if value is None:
        return None
    made = _made(known, value)
    if made is None:
        raise Invalid(
            f"{capability}.{trait} cannot be {str(value)[:40]!r}.",
            code="home.value",
            hint=_hint(known),
        )
    return made


def checked(capability: str, command: str, params: Mapping[str, object]) -> dict[str, Value]:
    """What a command asks of a device, canonical.

    Raises: Invalid `home.command` for what devices of the kind do not do, and as `canonical`.
    """
    known = CAPABILITIES.get(capability, Capability())
    if command == "set" and params:
        asked = {trait: canonical(capability, trait, value) for trait, value in params.items()}
        fixed = [trait for trait in asked if not known.traits[trait].settable]
        if fixed or None in asked.values():
            wrong = fixed[0] if fixed else next(t for t, v in asked.items() if v is None)
            raise Invalid(f"{capability}.{wrong} cannot be set so.", code="home.command")
        return asked
    if command not in known.commands or params:
        able = ", ".join(("set", *known.commands))
        raise Invalid(
            f"A {capability[:40]} cannot {command[:40]!r}.",
            code="home.command",
            hint=f"It can: {able}.",
        )
    return {}


def _made(trait: Trait, value: object) -> Value:
    match trait.kind, value:
        case "bool", bool():
            return value
        case "number", int() | float() if not isinstance(value, bool):
            return value if trait.least <= value <= trait.most and math.isfinite(value) else None
        case "text", str():
            return value[:TEXT_CHARS]
        case "choice", str():
            return value if value in trait.options else None
        case "colour", str():
            return value.lower() if _COLOUR.match(value.lower()) else None
    return None


def _hint(trait: Trait) -> str:
    match trait.kind:
        case "number":
            if math.isfinite(trait.most):
                return (
                    f"A number from {trait.least:g} to {trait.most:g} {trait.unit}".rstrip() + "."
                )
            if math.isfinite(trait.least):
                return f"A number of at least {trait.least:g} {trait.unit}".rstrip() + "."
            return f"A number, in {trait.unit}."
        case "choice":
            return "One of: " + ", ".join(trait.options) + "."
        case "colour":
            return "A colour such as #ffd9a0."
    return "True or false." if trait.kind == "bool" else "A text."

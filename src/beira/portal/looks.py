"""How pages are made: the template environment, its filters and icons."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import BaseLoader, Environment, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from beira.portal import formats
from beira.portal.words import AUDIT, DONE

STATIC = Path(__file__).parent / "static"
ICONS = {
    "home": "M3 11.5 12 4l9 7.5M5.5 10v9.5h13V10",
    "talk": "M4 5h16v11H9l-5 4z",
    "clock": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7.5V12l3 2",
    "tag": "M4 4h8l8 8-8 8-8-8zM8 8h.01",
    "people": "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20c.6-3.6 3-5.5 6.5-5.5s5.9 1.9 6.5 5.5"
    "M16 4.3a3.5 3.5 0 0 1 0 6.4M18 14.8c2 .7 3.200 2.400 3.500 5.200",
    "node": "M4 5h16v6H4zM4 13h16v6H4zM7.500 8h.01M7.500 16h.01",
    "bell": "M6 16V11a6 6 0 1 1 12 0v5l1.500 2h-15zM10 20.500h4",
    "store": "M4 10v10h16V10M3 10l2-6h14l2 6zM10 20v-5h4v5",
    "gear": "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6M12 3v3M12 18v3M3 12h3M18 12h3M5.600 5.600l2.200 2.200"
    "M16.200 16.200l2.200 2.200M18.400 5.600l-2.200 2.200M7.800 16.200l-2.200 2.200",
    "key": "M4 5h16v14H4zM9 12.500a2 2 0 1 0 0-4 2 2 0 0 0 0 4"
    "M6 16c.500-1.400 1.500-2 3-2s2.500.600 3 2M14.500 10h3M14.500 13.500h3",
    "box": "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
    "note": "M6 3h9l4 4v14H6zM14 3v5h5M9 12h7M9 16h7",
    "cart": "M3 4h2.500l2 11h10l2.500-8H6.200M9 19.500h.01M17 19.500h.01",
    "shield": "M12 3l8 3v6c0 4.500-3.200 7.600-8 9-4.800-1.400-8-4.500-8-9V6z",
    "mic": "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3M6 11a6 6 0 0 0 12 0M12 17v4",
    "more": "M5 12h.01M12 12h.01M19 12h.01",
    "plus": "M12 5v14M5 12h14",
    "search": "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M16 16l4.500 4.500",
    "left": "M15 5l-7 7 7 7",
    "right": "M9 5l7 7-7 7",
    "check": "M4.500 12.500l5 5 10-11",
    "warn": "M12 4 2.500 20h19zM12 10v4.500M12 17.500h.01",
    "out": "M14 4h5v16h-5M4 12h10M10 8l4 4-4 4",
    "down": "M12 4v11M7 10.500l5 5 5-5M4 20h16",
    "print": "M7 9V4h10v5M7 17H4V9h16v8h-3M7 14h10v6H7z",
    "send": "M4 12 20 4l-5 16-4-6zM11 14l9-10",
    "cloud": "M7 18a4 4 0 1 1 .6-7.960A5.500 5.500 0 0 1 18 11.500 3.300 3.300 0 0 1 17.500 18z",
    "merge": "M6 4v4c0 4 6 4 6 8v4M18 4v4c0 4-6 4-6 8",
    "music": "M9 18V6l11-2v12M9 18a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0"
    "M20 16a2.500 2.500 0 1 1-5 0 2.500 2.500 0 0 1 5 0",
    "play": "M7 4.500v15l12-7.500z",
    "pause": "M7.500 5v14M16.500 5v14",
    "skip": "M5 5v14l10-7zM18.500 5v14",
    "volume": "M4 9.500v5h3.500l5 4v-13l-5 4zM16 9a4.200 4.200 0 0 1 0 6M18.500 6.500a8 8 0 0 1 0 11",
    "list": "M4 6h11M4 12h11M4 18h7M18.500 9.500v7.500"
    "M18.500 17a1.800 1.800 0 1 1-3.600 0 1.800 1.800 0 0 1 3.600 0",
    "grid": "M4 5h16v15H4zM4 10h16M9.300 10v10M14.700 10v10",
    "upload": "M12 20V9M7 13.500l5-5 5 5M4 4h16",
    "horn": "M4 10v4h3l9 4.500v-13L7 10zM7.500 14.500V20h3v-4M19 9.500a4 4 0 0 1 0 5",
    "chart": "M4 4v16h16M8.500 16v-4M13 16V8M17.500 16v-6",
    "eye": "M2.500 12c2.300-4.300 5.500-6.500 9.500-6.500s7.200 2.200 9.500 6.500"
    "c-2.300 4.300-5.500 6.500-9.500 6.500S4.800 16.300 2.500 12"
    "M12 9.300a2.700 2.700 0 1 0 0 5.400 2.700 2.700 0 0 0 0-5.400",
    "up": "M12 20V5M6 11l6-6 6 6",
    "below": "M12 4v15M6 13l6 6 6-6",
    "bin": "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
    "again": "M19 12a7 7 0 1 1-2-5M19 3.500V8h-4.500",
    "dot": "M12 10.500a1.500 1.500 0 1 0 0 3 1.500 1.500 0 0 0 0-3",
}


def icon(name: str) -> Markup:
    """An icon for the eye only: a word always stands beside it."""
    path = ICONS.get(name, ICONS["dot"])
    return Markup(  # noqa: S704 - the paths above are ours
        f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
        f'<path d="{path}"/></svg>'
    )


def drawing(svg: str) -> Markup:
    """A QR code drawn by us, made to fill the room it is given."""
    scaled = re.sub(
        r'width="(\d+)" height="(\d+)"', r'viewBox="0 0 \1 \2" aria-hidden="true"', svg, count=1
    )
    return Markup(scaled)  # noqa: S704


def assets(statics: Mapping[str, Path]) -> Callable[[str], str]:
    """What gives a file's address, with a mark of its content so that browsers may keep it: the
    portal's own files by name, an app's as `<app>/<name>`."""

    @cache
    def asset(name: str) -> str:
        app, _, rest = name.partition("/")
        path = statics[app] / rest if app in statics else STATIC / name
        return f"/static/{name}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:10]}"

    return asset


@pass_context
def _ago(context: Context, value: object) -> Markup | str:
    view = context["view"]
    moment = formats.parsed(value)
    if moment is None:
        return "–"
    return formats.ago_tag(moment, view.now, view.language, view.zone)


@pass_context
def _clock(context: Context, value: object) -> str:
    moment = formats.parsed(value)
    return f"{moment.astimezone(context['view'].zone):%H:%M}" if moment else "–"


@pass_context
def _moment(context: Context, value: object) -> str:
    view, moment = context["view"], formats.parsed(value)
    if moment is None:
        return "–"
    local = moment.astimezone(view.zone)
    return f"{formats.day(local.date(), view.language)} {local:%H:%M}"


@pass_context
def _day(context: Context, value: date) -> str:
    return formats.day(value, context["view"].language)


@pass_context
def _weekday(context: Context, value: date) -> str:
    return formats.weekday(value, context["view"].language)


@pass_context
def _number(context: Context, value: float | None, digits: int = 0) -> str:
    return "–" if value is None else formats.number(value, context["view"].language, digits)


@pass_context
def _money(context: Context, cents: int | None) -> str:
    return formats.money(cents, context["view"].language)


@pass_context
def _quantity(context: Context, milli: int, unit: str = "") -> str:
    return formats.quantity(milli, unit, context["view"].language)


@pass_context
def _hours(context: Context, seconds: float) -> str:
    return formats.hours(seconds, context["view"].language)


@pass_context
def _bytes(context: Context, value: float) -> str:
    return formats.size(value, context["view"].language)


@pass_context
def _duration(context: Context, seconds: float) -> str:
    return formats.duration(seconds, context["view"].language)


def _done_of(more: Mapping[str, tuple[str, str]]) -> Callable[[Context, str], str]:
    known = {**more, **DONE}

    @pass_context
    def done(context: Context, code: str) -> str:
        both = known.get(code)
        return str(context["view"].t(*both)) if both else ""

    return done


def _beside(text: str | None, title: str) -> bool:
    """Whether a text says more than the title it stands beside: more than that and a word to call by
    ("aurora, incêndio" beside "Incêndio")."""
    said, head = (re.findall(r"\w+", (part or "").casefold()) for part in (text, title))
    more = [word for word in said if word not in head]
    return len(more) > 1 or (len(more) == 1 and len(said) == 1)


@pass_context
def _audited(context: Context, what: str) -> str:
    both = AUDIT.get(what)
    return context["view"].t(*both) if both else what


@pass_context
def _plain(context: Context, value: float) -> str:
    """A number with no more digits than it needs, and no marks between thousands."""
    text = f"{value:.10g}"
    return text.replace(".", ",") if context["view"].language == "pt-BR" else text


def _said(name: str) -> str:
    """A name of ours as people would write it: register_punch, Register punch."""
    return name.replace("_", " ").capitalize()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def environment(
    loader: BaseLoader,
    *,
    statics: Mapping[str, Path] | None = None,
    done: Mapping[str, tuple[str, str]] | None = None,
) -> Environment:
    """Everything shown is escaped; a name that is not there is an error, not a blank. `statics` are the
    folders of the apps' files, `done` their words for what was done."""
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=400,
    )
    made.filters |= {
        "ago": _ago,
        "clock": _clock,
        "moment": _moment,
        "day": _day,
        "weekday": _weekday,
        "number": _number,
        "money": _money,
        "quantity": _quantity,
        "hours": _hours,
        "duration": _duration,
        "bytes": _bytes,
        "done": _done_of(done or {}),
        "beside": _beside,
        "audited": _audited,
        "said": _said,
        "plain": _plain,
        "as_json": _json,
        "pretty": _pretty,
    }
    made.globals |= {"icon": icon, "asset": assets(statics or {})}
    return made

"""The sentences people can say, from YAML files a shop owner can extend, and the recogniser's view.

The files are hassil's format with two more keys, `answers` and `examples`. What the app brings is
`<language>.yaml` here; other apps of the node bring theirs (`App.sentences`), and a tenant's own file
adds to all.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
import yaml  # type: ignore[import-untyped]

from beira.apps.voice.sentences.checked import Slip, checked
from beira.sdk import App, Misconfigured

log = structlog.get_logger(__name__)

LANGUAGES = ("pt-BR", "en")
FILE_BYTES = 1_048_576
FILES_KEPT = 8
RECORD_LISTS = ("employee", "product")
WAKE_WORD = "aurora"
_SAID = re.compile(r"[^\W_]+")
_WILDCARD = re.compile(r"\{text\b")
_NAMED = re.compile(r"<(?P<rule>\w+)>|\{(?P<list>\w+)(?P<slot>:\w+)?\}")
Risk = Literal["books", "alert", "words", "none"]
"""What a mistake would touch: the less of it, the less sure one need be."""


class Block(msgspec.Struct, frozen=True):
    """Templates that mean an intent, with the slots they imply. Those not `spoken` are understood
    as text, and are nothing the built-in recogniser listens for."""

    intent: str
    templates: tuple[str, ...]
    slots: Mapping[str, Any] = {}
    spoken: bool = True
    risk: Risk = "words"


class Examples(msgspec.Struct, frozen=True):
    """Things that can be said, of one kind, as they are shown to people."""

    title: str
    sentences: tuple[str, ...]


class Sentences(msgspec.Struct, frozen=True):
    """All that a language can say and be answered. `lists` are templates with what they stand for,
    `others` the commands of other apps that can be asked for, `examples` what to propose."""

    language: str
    blocks: tuple[Block, ...]
    rules: Mapping[str, str]
    lists: Mapping[str, tuple[tuple[str, Any], ...]]
    answers: Mapping[str, str]
    others: Mapping[str, Risk] = {}
    examples: tuple[Examples, ...] = ()


class Spoken(msgspec.Struct, frozen=True):
    """An app that brings sentences: where they are, and the commands they may mean."""

    app: str
    where: str
    commands: tuple[str, ...]


def spoken(apps: Iterable[App]) -> tuple[Spoken, ...]:
    """The apps that bring sentences."""
    return tuple(
        Spoken(app.name, app.sentences, tuple(command.name for command in app.commands))
        for app in apps
        if app.sentences
    )


class GrammarSource(msgspec.Struct, frozen=True):
    """What can be heard, as plain data: intent to hassil templates, values of lists, named rules.

    List values are templates too. There are no open wildcards: what can be anything can only be typed.
    """

    sentences: Mapping[str, Sequence[str]]
    lists: Mapping[str, Sequence[str]]
    rules: Mapping[str, str]


_GOOD: OrderedDict[tuple[str, str], Sentences] = OrderedDict()
"""What a shop's file said when it was last right, while this program runs."""


def load(language: str, extra: str = "", others: tuple[Spoken, ...] = ()) -> Sentences:
    """The sentences of a language, with those of other apps and of the file `extra` added. Where that
    has become unusable, as it was when it was last right.

    Raises: Misconfigured for a language there is none of, or a file that was never right.
    """
    own = _with_others(language, others)
    if not extra:
        return own
    try:
        found = _added(own, _read(Path(extra), own))
    except Misconfigured as error:
        if (language, extra) not in _GOOD:
            raise
        log.warning("voice.sentences_kept", why=error.message, hint=error.hint)
        return _GOOD[language, extra]
    _GOOD[language, extra] = found
    if len(_GOOD) > FILES_KEPT:
        _GOOD.popitem(last=False)
    return found


def stamp(extra: str) -> tuple[int, int]:
    """Changes when the file does; zeros where there is none."""
    try:
        there = Path(extra).stat() if extra else None
    except OSError:
        there = None
    return (there.st_mtime_ns, there.st_size) if there else (0, 0)


@lru_cache(maxsize=8)
def _own(language: str) -> Sentences:
    if language not in LANGUAGES:
        raise Misconfigured(
            f"Aurora does not speak {language!r}.",
            code="voice.language_unknown",
            hint="Languages: " + ", ".join(LANGUAGES) + ".",
        )
    text = files(__package__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    return _sentences(yaml.safe_load(text), f"{language}.yaml")


@lru_cache(maxsize=8)
def _with_others(language: str, others: tuple[Spoken, ...]) -> Sentences:
    """An app whose file cannot be used is left out: no app makes Aurora deaf."""
    made = _own(language)
    for other in others:
        try:
            more = _brought(other, language)
        except Misconfigured as error:
            log.warning("voice.app_sentences_left_out", app=other.app, why=error.message)
            continue
        made = msgspec.structs.replace(
            _added(made, more),
            answers={**more.answers, **made.answers},
            others={**made.others, **{block.intent: block.risk for block in more.blocks}},
        )
    return made


def _brought(spoken: Spoken, language: str) -> Sentences:
    """An app's own file, its rules and lists under names that are no other's."""
    package, _, folder = spoken.where.partition(":")
    try:
        file = files(package).joinpath(folder, f"{language}.yaml")
        data = checked(
            file.read_text(encoding="utf-8"), intents=spoken.commands, rules={}, lists=(),
            answers=None,
        )  # fmt: skip
        return _apart(_sentences(data, str(file)), spoken.app)
    except Slip as slip:
        raise _unusable(Path(spoken.where), str(slip), slip.hint) from slip
    except (OSError, ImportError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(Path(spoken.where), str(error)) from error


def _apart(found: Sentences, app: str) -> Sentences:
    def renamed(template: str) -> str:
        return _NAMED.sub(name, template)

    def name(match: re.Match[str]) -> str:
        if match["rule"]:
            return f"<{app}_{match['rule']}>"
        if match["list"] not in found.lists:
            return match[0]
        return f"{{{app}_{match['list']}{match['slot'] or ':' + match['list']}}}"

    blocks = (
        msgspec.structs.replace(block, templates=tuple(map(renamed, block.templates)))
        for block in found.blocks
    )
    lists = {
        f"{app}_{key}": tuple((renamed(said), out) for said, out in values)
        for key, values in found.lists.items()
    }
    rules = {f"{app}_{key}": renamed(rule) for key, rule in found.rules.items()}
    return msgspec.structs.replace(found, blocks=tuple(blocks), rules=rules, lists=lists)


def _read(path: Path, own: Sentences) -> Sentences:
    """A shop's file. Raises Misconfigured with the line and what to do."""
    try:
        if path.stat().st_size > FILE_BYTES:
            raise _unusable(path, f"it is over {FILE_BYTES} bytes")
        data = checked(
            path.read_text(encoding="utf-8"), intents={b.intent for b in own.blocks},
            rules=own.rules, lists=(*own.lists, *RECORD_LISTS), answers=own.answers,
        )  # fmt: skip
        return _sentences(data, str(path))
    except Slip as slip:
        raise _unusable(path, str(slip), slip.hint) from slip
    except OSError as error:
        hint = "Put the file there, readable by the node, or correct the setting sentences_file."
        raise _unusable(path, error.strerror or str(error), hint) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unusable(path, str(error), "Save it as UTF-8 text.") from error


def _sentences(data: Any, name: str) -> Sentences:
    try:
        blocks = tuple(
            _block(str(intent), block)
            for intent, told in (data.get("intents") or {}).items()
            for block in told["data"]
        )
        return Sentences(
            language=str(data.get("language", "")),
            blocks=blocks,
            rules={str(k): str(v) for k, v in (data.get("expansion_rules") or {}).items()},
            lists={
                str(k): tuple(_value(v) for v in told.get("values", ()))
                for k, told in (data.get("lists") or {}).items()
            },
            answers={str(k): str(v) for k, v in (data.get("answers") or {}).items()},
            examples=tuple(
                Examples(str(title), _texts(texts))
                for title, texts in (data.get("examples") or {}).items()
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unusable(Path(name), f"its shape is not hassil's ({error!r})") from error


def _block(intent: str, block: Mapping[str, Any]) -> Block:
    risk = (block.get("metadata") or {}).get("risk", "words")
    if risk not in ("books", "alert", "words", "none"):
        raise TypeError(f"no risk is called {risk!r}")
    return Block(
        intent, _texts(block["sentences"]), block.get("slots", {}), block.get("spoken", True), risk
    )


def _texts(texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise TypeError("sentences must be a list of texts")
    return tuple(texts)


def _value(value: Any) -> tuple[str, Any]:
    if isinstance(value, Mapping):
        return str(value["in"]), value.get("out")
    return str(value), None


def _added(own: Sentences, more: Sentences) -> Sentences:
    return Sentences(
        language=own.language,
        blocks=own.blocks + more.blocks,
        rules={**own.rules, **more.rules},
        lists={**own.lists, **more.lists},
        answers={**own.answers, **more.answers},
        others=own.others,
        examples=own.examples + more.examples,
    )


def _unusable(path: Path, why: str, hint: str = "") -> Misconfigured:
    return Misconfigured(
        f"The sentences in {path} cannot be used: {why}.",
        code="voice.sentences_unusable",
        hint=hint or "Compare it with the examples in docs/howto/voice-sentences.md.",
    )


def framed(template: str) -> str:
    """A template with what may stand around every sentence."""
    return f"[<wake>] {template} [<polite>]"


def grammar_source(
    language: str,
    people: Sequence[str],
    products: Sequence[str],
    extra: str = "",
    wake_word: str = WAKE_WORD,
    others: tuple[Spoken, ...] = (),
) -> GrammarSource:
    """What the recogniser listens for. `people` and `products` are names as they are said
    (`understand.Directory.said_people` and `said_products`).

    Raises: Misconfigured.
    """
    known = load(language, extra, others)
    sentences: dict[str, list[str]] = {}
    for block in known.blocks:
        said = [framed(t) for t in block.templates if not _WILDCARD.search(t)]
        if said and block.spoken:
            sentences.setdefault(block.intent, []).extend(said)
    lists: dict[str, Sequence[str]] = {
        name: [template for template, _ in values] for name, values in known.lists.items() if values
    }
    lists["employee"], lists["product"] = list(people), list(products)
    wake = " ".join(_SAID.findall(wake_word.lower())) or WAKE_WORD
    rules = {**known.rules, "wake": known.rules["wake"].replace(WAKE_WORD, wake)}
    return GrammarSource(sentences, lists, rules)

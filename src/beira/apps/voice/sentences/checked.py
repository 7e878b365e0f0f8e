"""A shop's own file of sentences, read with care: what is wrong is said with its line and what to do.

A file is written by hand in a shop, so a slip in it must be found when it is read, not when somebody
says the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import yaml  # type: ignore[import-untyped]
from hassil.parse_expression import parse_sentence
from hassil.parser import ParseError

PARTS = ("language", "intents", "expansion_rules", "lists", "answers", "examples")
BLOCK_KEYS = ("sentences", "slots", "spoken", "metadata")
OPEN_LIST = "text"
_RULE = re.compile(r"<(\w+)>")
_LIST = re.compile(r"\{(\w+)(?::\w+)?\}")
_TWO_OF = "it is there twice"
Entry = tuple[str, Any, Any]


class Slip(ValueError):
    """What is wrong, at which line (from 1), and what to do."""

    def __init__(self, line: int, what: str, hint: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.hint = hint


def checked(
    text: str, *, intents: Collection[str], rules: Mapping[str, str], lists: Collection[str],
    answers: Collection[str] | None,
) -> Any:  # fmt: skip
    """The file's data, once nothing is wrong with it; the names are those that there are already.
    With no `answers` given, the file's may have any names.

    Raises: Slip, yaml.YAMLError.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Slip(
            mark.line + 1 if mark else 1,
            f"it is no YAML ({error.problem or error.context})",
            "Look at that line and the one before: indents are spaces, texts with : or # or { at "
            "their beginning stand in quotes, and every quote and bracket is closed.",
        ) from error
    if root is None:
        return {}
    top = {key: node for key, node, _ in _entries(root, "the file", PARTS)}
    for part in PARTS[1:]:
        if part in top:
            _mapping(top[part], part)
    known_rules = {**rules, **_texts_of(top.get("expansion_rules"))}
    own_lists = [key for key, _, _ in _entries(top.get("lists"), "lists")]
    names = Names(known_rules, (*lists, *own_lists, OPEN_LIST))
    for key, node, at in _entries(top.get("intents"), "intents", intents):
        _intent(key, node, at, names)
    for _, node, _ in _entries(top.get("expansion_rules"), "expansion_rules"):
        names.template(node)
    names.endless(top.get("expansion_rules"))
    for _, node, _ in _entries(top.get("lists"), "lists"):
        _list(node, names)
    for _, node, _ in _entries(top.get("answers"), "answers", answers):
        _scalar(node)
    return yaml.safe_load(text)


class Names:
    """The rules and lists that templates may name."""

    def __init__(self, rules: Mapping[str, str], lists: Collection[str]) -> None:
        self.rules, self.lists = rules, lists

    def template(self, node: Any) -> None:
        """Check that a template can be read and names only what there is."""
        text = _scalar(node)
        try:
            parse_sentence(text)
        except (ParseError, ValueError, AssertionError) as error:
            raise Slip(_line(node), f"the sentence {text!r} cannot be read",
                       "Close every (, [, < and {, and put | between choices.") from error  # fmt: skip
        for pattern, known, sort in ((_RULE, self.rules, "rule"), (_LIST, self.lists, "list")):
            for name in pattern.findall(text):
                if name not in known:
                    raise _unknown(node, sort, name, known)

    def endless(self, node: Any) -> None:
        """Refuse rules that lead back to themselves."""
        for key, value, _ in _entries(node, "expansion_rules"):
            reached, new = set(), {key}
            while new:
                used = {u for name in new for u in _RULE.findall(self.rules.get(name, ""))}
                if key in used:
                    raise Slip(_line(value), f"the rule {key!r} leads back to itself",
                               "Write out what it stands for.")  # fmt: skip
                reached |= new
                new = used - reached


def _intent(name: str, node: Any, at: Any, names: Names) -> None:
    data = next((n for k, n, _ in _entries(node, f"the intent {name}", ("data",))), None)
    if not isinstance(data, yaml.SequenceNode):
        raise Slip(_line(at), f"the intent {name!r} has no list under data:",
                   "Write data: and below it a list of blocks, each with sentences:")  # fmt: skip
    for block in data.value:
        parts = {key: part for key, part, _ in _entries(block, "a block", BLOCK_KEYS)}
        sentences = parts.get("sentences")
        if not isinstance(sentences, yaml.SequenceNode):
            raise Slip(_line(block), "a block has no list of sentences",
                       'Write sentences: and below it one - "…" a line.')  # fmt: skip
        for sentence in sentences.value:
            names.template(sentence)
        if "slots" in parts:
            _mapping(parts["slots"], "slots")


def _list(node: Any, names: Names) -> None:
    parts = {key: part for key, part, _ in _entries(node, "a list", ("values", "wildcard"))}
    values = parts.get("values")
    if values is None and "wildcard" in parts:
        return
    if not isinstance(values, yaml.SequenceNode):
        raise Slip(_line(node), "a list has no values", "Write values: [one, another].")
    for value in values.value:
        if isinstance(value, yaml.MappingNode):
            told = {key: part for key, part, _ in _entries(value, "a value", ("in", "out"))}
            if "in" not in told:
                raise Slip(_line(value), "a value has no in:", 'Write {in: "said", out: meant}.')
            names.template(told["in"])
        else:
            names.template(value)


def _entries(node: Any, of: str, known: Collection[str] | None = None) -> Iterator[Entry]:
    """(key, value, where) of a mapping; none of what is not there."""
    if node is None:
        return
    seen: set[str] = set()
    for key, value in _mapping(node, of).value:
        name = _scalar(key)
        if name in seen:
            raise Slip(_line(key), f"{name!r}: {_TWO_OF}", "Put both under one.")
        seen.add(name)
        if known is not None and name not in known:
            raise _unknown(key, f"part of {of}", name, known)
        yield name, value, key


def _texts_of(node: Any) -> dict[str, str]:
    return {key: _scalar(value) for key, value, _ in _entries(node, "expansion_rules")}


def _mapping(node: Any, of: str) -> Any:
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return yaml.MappingNode("", [])
    if not isinstance(node, yaml.MappingNode):
        raise Slip(
            _line(node), f"{of} is no mapping", "Write name: and what it is below, indented."
        )
    return node


def _scalar(node: Any) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise Slip(_line(node), "a text is wanted here",
                   'Put it in quotes: "…". A { or [ at its beginning needs them.')  # fmt: skip
    return str(node.value)


def _unknown(node: Any, sort: str, name: str, known: Collection[str]) -> Slip:
    near = get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else "There are: " + _some(known) + "."
    return Slip(_line(node), f"there is no {sort} named {name!r}", hint)


def _some(known: Collection[str], most: int = 12) -> str:
    names = sorted(known)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1

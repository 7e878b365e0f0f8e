"""Writes docs/reference from the code: limits, errors, collections, commands, command line.

    python tools/reference.py [--check]

With --check it only compares, and says which page is out of date; the tests call it so.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import typer.main

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "beira"
PAGES = ROOT / "docs" / "reference"
MADE = "<!-- Made by tools/reference.py: change the code, then run `make reference`. -->\n\n"


def limits() -> str:
    """Every constant of kernel/limits.py with its section, and what happens at it."""
    behaviour = _behaviour()
    lines = ["# Limits", "", "Everything is bounded (law 9); one file holds the bounds.", ""]
    path = SOURCE / "kernel" / "limits.py"
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    comments = {t.start[0]: t.string[2:] for t in tokens if t.type == tokenize.COMMENT}
    tree = ast.parse(path.read_text())
    section = ""
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        above = comments.get(node.lineno - 1)
        if above and above != section:
            section = above
            lines += ["", f"## {section}", "", "| limit | value | at the limit |", "|---|---|---|"]
        name = node.targets[0].id
        value = ast.unparse(node.value)
        lines.append(
            f"| `{name}` | {int(value):,} | {behaviour.get(name, '')} |"
            if value.isdigit()
            else f"| `{name}` | {value} | {behaviour.get(name, '')} |"
        )
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Every code that is raised, by which kinds of error, in which modules."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for kind, code in _codes(ast.parse(path.read_text())):
            found[code][0].add(kind)
            found[code][1].add(module)
    lines = [
        "# Error codes",
        "",
        "The API answers `{code, message, hint, details}`; the command line prints them. The hint says",
        "what to do next. The kind decides the HTTP status: Invalid 400, Unauthenticated 401,",
        "Denied 403, NotFound 404, Conflict 409, TooLarge 413, TooMany 429, Unavailable 503,",
        "Full 507, others 500.",
        "",
        "| code | kind | raised in |",
        "|---|---|---|",
    ]
    for code, (kinds, modules) in sorted(found.items()):
        lines.append(f"| `{code}` | {', '.join(sorted(kinds))} | {', '.join(sorted(modules))} |")
    return "\n".join(lines) + "\n"


def collections() -> str:
    """Every collection and its fields."""
    from beira.host.apps import installed

    lines = ["# Collections", ""]
    for item in installed().collections:
        lines += [f"## {item.name}", "", item.doc, ""]
        kept = f"{item.retention_days} days" if item.retention_days else "for ever"
        lines += [
            f"{'Fact' if item.is_fact else 'State'} · flow {item.flow.value} · lane "
            f"{item.lane.name} · partition {item.scope.value} · kept on the node {kept} · "
            f"read: {', '.join(sorted(item.read)) or 'nobody'} · write: "
            f"{', '.join(sorted(item.write)) or 'by commands only'}",
            "",
            "| field | type | |",
            "|---|---|---|",
        ]
        for field in item.fields.values():
            notes = [
                n for n, on in (("required", field.required), ("personal", field.personal)) if on
            ]
            kind = field.type.value + (" or null" if field.nullable else "")
            lines.append(f"| `{field.name}` | {kind} | {', '.join(notes)} |")
        lines.append("")
    return "\n".join(lines)


def commands() -> str:
    """Every command of the apps installed and its parameters."""
    from beira.host.apps import installed

    lines = ["# Commands", "", "Callable by voice, page and `POST /rest/v1/rpc/<command>`.", ""]
    for item in sorted(installed().commands.values(), key=lambda command: command.name):
        lines += [f"## {item.name}", "", item.doc, ""]
        lines.append(
            f"Runs: {item.runs.value} · roles: {', '.join(sorted(item.roles))} · receipt lane: "
            f"{item.lane.name}"
        )
        if item.params:
            lines += ["", "| parameter | default |", "|---|---|"]
            for param in item.params.values():
                default = "required" if param.required else f"`{param.default!r}`"
                lines.append(f"| `{param.name}` | {default} |")
        lines.append("")
    return "\n".join(lines)


def command_line() -> str:
    """What `beira --help` says, command by command."""
    from beira.cli import app

    group = typer.main.get_command(app)
    lines = ["# The `beira` command", ""]
    for name, command in _leaves(group, "beira"):
        lines += [f"## {name}", "", (command.help or "").strip(), ""]
        rows = [(p, getattr(p, "help", None) or "") for p in command.params if p.name != "help"]
        if rows:
            lines += ["| option | meaning | default |", "|---|---|---|"]
        for param, text in rows:
            shown = (
                ", ".join(param.opts)
                if param.param_type_name == "option"
                else str(param.name).upper()
            )
            default = "" if param.default in (None, "", False) else f"`{param.default}`"
            lines.append(f"| `{shown}` | {text} | {default} |")
        lines.append("")
    return "\n".join(lines)


def _leaves(group: object, name: str) -> Iterator[tuple[str, object]]:
    for key, command in sorted(getattr(group, "commands", {}).items()):
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{name} {key}")
        else:
            yield f"{name} {key}", command


def _codes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if (
                    isinstance(item, ast.Assign)
                    and isinstance(item.targets[0], ast.Name)
                    and item.targets[0].id == "default_code"
                    and isinstance(item.value, ast.Constant)
                ):
                    yield node.name, str(item.value.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            code = {k.arg: k.value for k in node.keywords}.get("code")
            if isinstance(code, ast.Constant) and code.value and node.func.id[:1].isupper():
                yield node.func.id, str(code.value)


def _behaviour() -> dict[str, str]:
    """What happens at each limit: written by hand, beside this program, and complete by test."""
    told = {}
    for line in (ROOT / "tools" / "limits_behaviour.txt").read_text().splitlines():
        name, _, text = line.partition(": ")
        told[name] = text
    return told


PAGES_MADE = {
    "limits.md": limits,
    "errors.md": errors,
    "collections.md": collections,
    "commands.md": commands,
    "command-line.md": command_line,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES_MADE.items():
        path, text = PAGES / name, MADE + make()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text)
    if check and stale:
        print("Out of date: " + ", ".join(stale) + ". Run: make reference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Every error identity raises names its code, and says what to do next."""

from __future__ import annotations

import ast
from pathlib import Path

import beira.identity
from beira.kernel import errors

KINDS = {
    name for name in vars(errors) if isinstance(kind := getattr(errors, name), type)
    and issubclass(kind, errors.BeiraError)
}  # fmt: skip
GENERAL = {"NotFound", "Denied", "Invalid", "Full"}
"""These may go without a code of their own: the kind says all there is to say."""


def raised() -> list[tuple[str, str, set[str]]]:
    found = []
    for path in sorted(Path(beira.identity.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "id", "")
            if isinstance(node, ast.Call) and name in KINDS:
                found.append((f"{path.name}:{node.lineno}", name, {k.arg for k in node.keywords}))
    return found


def test_every_error_has_a_code_and_a_next_step() -> None:
    assert len(raised()) > 40
    bare = [
        (where, kind)
        for where, kind, given in raised()
        if ("hint" not in given and kind != "TooMany")
        or ("code" not in given and kind not in GENERAL)
    ]
    assert bare == []

"""The kernel asks nobody for the time or for chance: the simulator could not replay it otherwise."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import beira.kernel

KERNEL = Path(beira.kernel.__file__).parent
ASKING = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "random", "urandom", "uuid4"}
MODULES = {"time", "random", "secrets", "os", "socket", "uuid", "threading", "asyncio", "pathlib"}


@pytest.mark.parametrize("path", sorted(KERNEL.glob("*.py")), ids=lambda path: path.name)
def test_no_clock_no_chance_no_machine(path: Path) -> None:
    assert not list(_offences(ast.parse(path.read_text())))


def test_the_check_can_fail() -> None:
    assert list(_offences(ast.parse("import time")))
    assert list(_offences(ast.parse("from datetime import datetime\ndatetime.now()")))


def _offences(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if node.func.attr in ASKING and isinstance(owner, ast.Name) and owner.id == "datetime":
                found.append(node.func.attr)
    return found

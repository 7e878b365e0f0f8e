"""Every bound is in kernel/limits.py (law 9). A number that a module keeps for itself is not a bound:
`tools/limits_exempt.txt` names each with what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "beira"
LIMITS = "kernel/limits.py"


def is_number(value: ast.expr) -> bool:
    """A number, a sum of numbers, a tuple or a span of time made of numbers."""
    match value:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=inner):
            return is_number(inner)
        case ast.BinOp(left=left, right=right):
            return is_number(left) and is_number(right)
        case ast.Tuple(elts=parts):
            return bool(parts) and all(map(is_number, parts))
        case ast.Call(func=ast.Name(id="timedelta"), args=args, keywords=keywords):
            return all(map(is_number, [*args, *(one.value for one in keywords)]))
    return False


def constants(tree: ast.Module) -> Iterator[str]:
    """The names of a module's own numbers."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            yield from _named(target, value)


def _named(target: ast.expr, value: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from _named(one, its)
    elif isinstance(target, ast.Name) and target.id.isupper() and is_number(value):
        yield target.id


def exempt() -> dict[str, set[str]]:
    """Names by file, or by folder: nothing named, all of it."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "tools" / "limits_exempt.txt").read_text().splitlines():
        head, _, why = line.partition(": ")
        assert why, f"{line!r} has no reason"
        where, *names = head.split()
        found.setdefault(where, set()).update(names)
    return found


def kept_by_modules() -> dict[str, set[str]]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name != LIMITS and (own := set(constants(ast.parse(path.read_text())))):
            found[name] = own
    return found


def test_every_bound_is_in_the_one_place() -> None:
    listed = exempt()
    folders = tuple(where for where in listed if where.endswith("/"))
    kept = {name: own for name, own in kept_by_modules().items() if not name.startswith(folders)}
    strays = {name: own - listed.get(name, set()) for name, own in kept.items()}
    strays = {name: own for name, own in strays.items() if own}
    assert not strays, (
        "move these to kernel/limits.py, or say in tools/limits_exempt.txt what they are", strays
    )  # fmt: skip


def test_what_is_exempt_is_there() -> None:
    kept = kept_by_modules()
    gone = {
        where: names - kept.get(where, set())
        for where, names in exempt().items()
        if not where.endswith("/") and names - kept.get(where, set())
    }
    assert not gone


def test_a_stray_is_found() -> None:
    code = (
        "A = 3\nB = 4 * 60\nC = timedelta(hours=2)\n_D, E = 1, 'x'\nF = limits.A\ng = 5\nH = True\n"
    )
    assert list(constants(ast.parse(code))) == ["A", "B", "C", "_D"]

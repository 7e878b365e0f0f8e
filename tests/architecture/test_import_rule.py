"""The import rule is only worth what it catches: here it is shown to catch each kind of breach.

`lint-imports` itself runs in `make test`. It sees no package without an `__init__.py`, so a folder
that lacks one would be free of every rule; that is looked for first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")

# The contract's name as .importlinter says it, and a module that breaks that one.
BREACHES = {
    "Layers": ("store/breach.py", "import beira.host\n"),
    "The kernel imports no I/O library": ("kernel/breach.py", "import aiohttp\n"),
    "The SDK offers": ("sdk.py", "import beira.sync\n"),
    "Apps import the SDK and themselves": ("apps/one/breach.py", "import beira.store\n"),
    "Apps never import each other": ("apps/two/breach.py", "import beira.apps.one\n"),
    "The platform imports no app": ("host/breach.py", "import beira.apps.one\n"),
}


def lint(folder: Path) -> dict[str, str]:
    """Contract name to KEPT or BROKEN, for the tree in `folder`/src."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        [LINT, "--config", str(ROOT / ".importlinter"), "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)$", done.stdout, re.MULTILINE))
    assert found, done.stdout + done.stderr
    return found


def skeleton(folder: Path) -> Path:
    """Our packages, empty: what they truly import is `make imports`' business."""
    names = (
        "api apps apps/one apps/two backup blobs cli cloud host identity kernel node portal sdk "
        "store sync"
    )
    package = folder / "src" / "beira"
    for name in names.split():
        (package / name).mkdir(parents=True, exist_ok=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    shutil.rmtree(package / "sdk")
    (package / "sdk.py").touch()
    return package


def test_no_package_is_out_of_the_rules_sight() -> None:
    package = ROOT / "src" / "beira"
    folders = {path.parent for path in package.rglob("*.py")}
    between = {
        parent for folder in folders for parent in folder.parents if package in parent.parents
    }
    bare = [str(f.relative_to(ROOT)) for f in folders | between if not (f / "__init__.py").exists()]
    assert not bare, f"add an __init__.py, or the import rule does not see these: {sorted(bare)}"


def test_a_tree_without_breaches_is_kept(tmp_path: Path) -> None:
    skeleton(tmp_path)
    assert set(lint(tmp_path).values()) == {"KEPT"}


def test_each_contract_catches_its_breach(tmp_path: Path) -> None:
    package = skeleton(tmp_path)
    for place, line in BREACHES.values():
        (package / place).write_text(line)
    found = lint(tmp_path)
    missed = [
        name
        for name in BREACHES
        if not any(key.startswith(name) and found[key] == "BROKEN" for key in found)
    ]
    assert not missed, f"not caught: {missed} in {found}"
    assert len(found) == len(BREACHES), "a contract without a breach here proves nothing"

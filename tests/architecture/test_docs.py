"""Prose that must follow the code: the reference pages, every limit's behaviour, the glossary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from beira.kernel import limits

ROOT = Path(__file__).resolve().parents[2]


def test_reference_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "reference.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_happens_at_every_limit_is_told() -> None:
    told = {
        line.partition(": ")[0]
        for line in (ROOT / "tools" / "limits_behaviour.txt").read_text().splitlines()
    }
    assert told == {name for name in dir(limits) if name.isupper()}


def test_every_decision_says_context_decision_and_what_was_rejected() -> None:
    for path in (ROOT / "docs" / "decisions").glob("*.md"):
        text = path.read_text()
        for word in ("**Context.**", "**Decision.**"):
            assert word in text, f"{path.name} lacks {word}"
        assert len(text.splitlines()) <= 80, f"{path.name} is over a page"

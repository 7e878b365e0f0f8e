"""What README and docs tell people to type, open and look at is there: every `beira` command with its
options, make target, module, file, link, heading and picture; and the tutorial's code runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from beira import cli
from beira.host.apps import installed

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "tutorial" / "app_example"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OURS = ("src/", "docs/", "tests/", "tools/", "packaging/", "benchmarks/", "training/")

FENCE = re.compile(r"^([ ]*)```([^\n]*)\n(.*?)^\1```", re.S | re.M)
LINK = re.compile(r"\]\(([^()\s]+)\)")
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
MAKE = re.compile(r"(?:^|[\s;&(])make ([a-z][a-z-]*)")
MODULE = re.compile(r"python3? -m ((?:benchmarks|training|beira)[\w.]*)")
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


@every_page
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{target} is not there"
        if anchor:
            assert anchor in slugs(there.read_text()), f"{target}: no such heading"


@every_page
def test_commands_in_code_blocks_are_understood(page: Path) -> None:
    for line in shell_lines(page.read_text()):
        for words in beira_calls(line):
            command, rest, path = leaf(words)
            try:
                command.make_context(path, list(rest))
            except Exception as error:
                if type(error).__name__ != "Exit":  # what --version and --help end with
                    pytest.fail(f"{line}: {error or type(error).__name__}")


@every_page
def test_commands_in_sentences_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for code in INLINE.findall(text):
        for words in beira_calls(" ".join(code.split())):
            command, rest, _ = leaf(words)
            known = {name for param in command.params for name in param.opts} | {"--help"}
            unknown = [w for w in rest if w.startswith("--") and w.split("=")[0] not in known]
            assert not unknown, f"`{code}`: no option {unknown[0]}"


@every_page
def test_make_targets_modules_and_files_exist(page: Path) -> None:
    text = page.read_text()
    code = [*shell_lines(text), *INLINE.findall(FENCE.sub("", text))]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for piece in code:
        for target in MAKE.findall(piece):
            assert target in targets, f"`{piece}`: no target {target}"
        for module in MODULE.findall(piece):
            path = ROOT / ("src" if module.startswith("beira") else ".") / module.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").exists(), f"`{piece}`: no {module}"
        for word in piece.split():
            if word.startswith(OURS) and re.fullmatch(r"[\w./-]+", word):
                assert (ROOT / word).exists() or word.endswith("/..."), f"`{piece}`: no {word}"


@every_page
def test_files_shown_in_full_are_shown_as_they_are(page: Path) -> None:
    for _, info, body in FENCE.findall(page.read_text()):
        named = re.search(r"file=(\S+)", info)
        if named:
            assert body == (page.parent / named[1]).read_text(), f"{named[1]} has changed"


def test_every_page_of_the_docs_is_in_their_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / t.partition("#")[0]).resolve() for t in LINK.findall(index.read_text())
    }
    pages = {page for page in PAGES if page.parent.parent == index.parent} - {index}
    assert {str(page.relative_to(ROOT)) for page in pages - linked} == set()


def test_the_tutorials_app_passes_its_own_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_the_tutorials_app_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = (EXAMPLE / "pyproject.toml").read_text()
    points = toml.partition('[project.entry-points."beira.apps"]')[2].partition("\n\n")[0]
    metadata = tmp_path / "beira_fridges-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: beira-fridges\nVersion: 0.1.0\n"
    )
    (metadata / "entry_points.txt").write_text("[beira.apps]" + points.replace('"', "") + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    catalogue = installed(("fridges",))
    assert "temperatures" in catalogue.collections
    assert set(catalogue.commands) == {"note_temperature", "last_temperature"}


def test_the_tutorials_app_imports_the_sdk_only() -> None:
    imported = {
        name
        for path in (EXAMPLE / "fridges").glob("*.py")
        for name in re.findall(r"^\s*(?:from|import) (beira[\w.]*)", path.read_text(), re.M)
    }
    assert imported == {"beira.sdk"}


def shell_lines(text: str) -> Iterator[str]:
    """The commands of `sh` blocks, continued lines joined, comments left out."""
    for _, info, body in FENCE.findall(text):
        if info.split(" ")[0] in ("sh", "bash"):
            for line in body.replace("\\\n", " ").splitlines():
                if line.strip() and not line.strip().startswith("#"):
                    yield line.strip()


def beira_calls(line: str) -> Iterator[list[str]]:
    """The words after each `beira`, up to the end of that command; a unit's `ExecStart=` too."""
    try:
        words = shlex.split(line.removeprefix("ExecStart="), comments=True)
    except ValueError:
        return
    for at, word in enumerate(words):
        is_command = at == 0 or words[at - 1] in ("beira-node", "|", "&&", ";", "beira-cloud")
        if is_command and word.rsplit("/", 1)[-1] == "beira" and len(words) > at + 1:
            call = words[at + 1 :]
            ends = [i for i, w in enumerate(call) if w in ("|", "&&", ";", "&", ">")]
            yield call[: ends[0]] if ends else call


def leaf(words: list[str]) -> tuple[Any, list[str], str]:
    """The command that words name, what is left of them, and its name as typed."""
    command: Any = typer.main.get_command(cli.app)
    path, rest = "beira", list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        path, command = f"{path} {rest[0]}", command.commands[rest.pop(0)]
    if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        pytest.fail(f"there is no command `{path} {rest[0]}`")
    return command, rest, path


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", h).strip().lower() for h in headings)
    return {re.sub(r"[^\w\- ]", "", h).replace(" ", "-") for h in plain}

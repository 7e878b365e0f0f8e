"""Changing an encrypted node's keys, killed at any step: the old key opens it or the new one does, all
of it is there, and the change can be made again to its end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from beira.identity.node_key import NodeKey
from beira.identity.private_files import PrivateFiles
from beira.node import at_rest
from beira.store.sqlite import SqliteStore
from tests.contract.records import REGISTRY, one_stream, sale, thing

ROUNDS = int(os.environ.get("BEIRA_CRASH_ROUNDS", "1"))
SEED = int(os.environ.get("BEIRA_CRASH_SEED", "20261121"))
STEPS_APART = 9 if ROUNDS == 1 else 1
"""One kill in so many steps in the usual run; `BEIRA_CRASH_ROUNDS` asks for every one."""
SALES = 60


async def made(folder: Path, key_from: str) -> NodeKey:
    """A node with data, encrypted if there is a key; returns its own key."""
    data = folder / "node"
    data.mkdir(parents=True)
    rest = at_rest.begin(data, key_from)
    rest.files.write(data / "node.json", b'{"name": "balcao"}')
    (data / "voice").mkdir()
    rest.files.write(data / "voice" / "words.json", b"zuleica")
    key = rest.database_key(data / at_rest.DATABASE_FILE)
    store = await SqliteStore.open(data / at_rest.DATABASE_FILE, REGISTRY, key=key)
    await store.commit([sale(f"s{n}") for n in range(SALES)], route=one_stream)
    await store.commit([thing("t", name="x" * 9_000)])
    await store.close()
    return NodeKey.load(data / at_rest.KEY_FILE, rest.files)


async def check(data: Path, own: NodeKey) -> at_rest.AtRest:
    """All is there, by the key that the folder itself says opens it."""
    rest = at_rest.opened(data)
    path = data / at_rest.DATABASE_FILE
    assert rest.files.read(data / "node.json") == b'{"name": "balcao"}'
    assert rest.files.read(data / "voice" / "words.json") == b"zuleica"
    assert NodeKey.load(data / at_rest.KEY_FILE, rest.files).public_key == own.public_key
    store = await SqliteStore.open(path, REGISTRY, key=rest.database_key(path), reserve_bytes=0)
    try:
        assert await store.integrity() == []
        assert (await store.pending("s")).count == SALES
        row = await store.get("things", "t")
        assert row is not None and row.fields["name"] == "x" * 9_000
    finally:
        await store.close()
    return rest


def kills(template: Path, copies: Path, first: int, to: str) -> list[Path]:
    """The folder as each kill left it; the last is that of the run that came to its end."""
    copies.mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.crash.killed", str(template), str(copies), str(first),
         str(STEPS_APART), to],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    steps = [line.split() for line in ran.stdout.splitlines()]
    assert [what for what, _ in steps[-1:]] == ["done"]
    return [copies / step for _, step in steps]


@pytest.mark.parametrize("to", ["", "file:{folder}/other.key"])
async def test_a_change_of_keys_killed_at_any_step_leaves_one_that_opens_all(
    tmp_path: Path, to: str
) -> None:
    first = random.Random(SEED).randrange(1, STEPS_APART + 1)
    template = tmp_path / "template"
    own = await made(template, f"file:{template}/first.key")
    before, old = (template / "first.key").read_text(), at_rest.opened(template / "node").data_keys
    folders = kills(template, tmp_path / "copies", first, to)
    assert len(folders) > 5, f"seed {SEED}"
    for folder in folders:
        await check(folder / "node", own)
        at_rest.rekey(folder / "node")
        after = await check(folder / "node", own)
        assert len(after.data_keys) == 1 and after.data_keys != old
        where = Path(after.key_from.removeprefix("file:"))
        assert where.read_text() != before, f"seed {SEED}, step {folder.name}"
        assert_all_new(folder / "node", after.files)


def assert_all_new(data: Path, files: PrivateFiles) -> None:
    for path in at_rest._private(data):
        assert files.is_newest(path.read_bytes()), path
    assert not [path for path in data.rglob("*") if path.suffix in (".new", "-wal")]


async def test_a_first_encryption_killed_at_any_step_leaves_a_folder_that_opens(
    tmp_path: Path,
) -> None:
    first = random.Random(SEED).randrange(1, STEPS_APART + 1)
    template = tmp_path / "template"
    own = await made(template, "")
    folders = kills(template, tmp_path / "copies", first, "file:{folder}/first.key")
    assert len(folders) > 5, f"seed {SEED}"
    for folder in folders:
        await check(folder / "node", own)
        at_rest.rekey(folder / "node", f"file:{folder}/first.key")
        rest = await check(folder / "node", own)
        assert rest.encrypted and len(rest.data_keys) == 1
        assert_all_new(folder / "node", rest.files)
        for path in (folder / "node").rglob("*"):
            assert path.is_dir() or b"zuleica" not in path.read_bytes()

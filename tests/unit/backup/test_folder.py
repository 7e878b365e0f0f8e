"""A folder that keeps backups, and what goes wrong with folders: unplugged, full of what is no longer
needed, garbled."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.backup.places import MemoryPlace, source

from beira.backup import FolderPlace, Manifest, RecoveryKey, make, pull, verify
from beira.backup.folder import SPARED_S
from beira.backup.manifest import opened, sealed
from beira.kernel import limits
from beira.kernel.errors import BeiraError, Corrupt, Invalid, NotFound, Unavailable

SEALER = RecoveryKey(bytes(18)).sealer("n1")


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BACKUP_CHUNK_BYTES", 1_000)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    return tmp_path / "usb"


def place_in(root: Path) -> FolderPlace:
    return FolderPlace(root, "n1", lambda data: opened(data, SEALER).chunks)


async def backed_up(root: Path, content: bytes, taken_ms: int) -> Manifest:
    place = place_in(root)
    made = await make([source("node.db", content)], place, SEALER, {})
    manifest = Manifest(
        node="n1", node_name="Loja", tenant="t", cloud="", release="1", taken_ms=taken_ms,
        files=tuple(made.files),
    )  # fmt: skip
    assert await place.finish(taken_ms, sealed(manifest, SEALER), list(manifest.chunks)) == []
    return manifest


async def back(root: Path, manifest: Manifest, to: Path, *more: MemoryPlace) -> bytes:
    (file,) = manifest.files
    await pull([(file, to / "node.db")], [place_in(root), *more], SEALER)
    return (to / "node.db").read_bytes()


def chunk_files(root: Path) -> list[Path]:
    return sorted((root / "n1" / "chunks").glob("*/*"))


def garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


async def test_a_disk_that_is_not_mounted_is_said_and_not_filled(root: Path) -> None:
    missing = root / "not mounted"
    for work in (place_in(missing).generations(), place_in(missing).put([("ab" * 32, b"x")])):
        with pytest.raises(Unavailable) as caught:
            await work
        assert caught.value.code == "backup.place" and caught.value.hint
    assert not missing.exists()


async def test_a_node_cannot_lead_out_of_the_folder(root: Path) -> None:
    for name in ("..", "a/b", ""):
        with pytest.raises(Invalid):
            FolderPlace(root, name, lambda data: ())


async def test_so_many_backups_are_kept_and_what_only_older_ones_needed_goes(root: Path) -> None:
    old_s = time.time() - SPARED_S - 60
    manifests = []
    for number in range(limits.BACKUP_GENERATIONS + 3):
        content = bytes([number]) * 1_000 + b"the same" * 500
        manifests.append(await backed_up(root, content, number))
        for path in chunk_files(root):
            os.utime(path, (old_s, old_s))
    await backed_up(root, manifests and b"the last", 99)
    kept = await place_in(root).generations()
    assert [one.taken_ms for one in kept] == [99, *range(10, 10 - len(kept) + 1, -1)]
    assert len(kept) == limits.BACKUP_GENERATIONS
    needed = set()
    for one in kept:
        needed.update(opened(await place_in(root).manifest(one), SEALER).chunks)
    assert {path.name for path in chunk_files(root)} == needed


async def test_what_another_key_sealed_is_not_swept_away(root: Path) -> None:
    await backed_up(root, b"a" * 5_000, 1)
    before = chunk_files(root)
    for path in before:
        os.utime(path, (0, 0))
    stranger = RecoveryKey(bytes(range(18))).sealer("n1")
    place = FolderPlace(root, "n1", lambda data: opened(data, stranger).chunks)
    manifest = Manifest(
        node="n1", node_name="", tenant="", cloud="", release="", taken_ms=2, files=()
    )
    assert await place.finish(2, sealed(manifest, stranger), []) == []
    assert chunk_files(root) == before


async def test_a_garbled_chunk_is_found_and_taken_from_another_place(
    root: Path, tmp_path: Path
) -> None:
    content = os.urandom(5_500)
    manifest = await backed_up(root, content, 1)
    cloud = MemoryPlace()
    await make([source("node.db", content)], cloud, SEALER, {})
    garble(chunk_files(root)[2])
    with pytest.raises(Corrupt) as caught:
        await verify(manifest, place_in(root), SEALER, most=None, chance=random.Random(1))
    assert caught.value.code == "backup.chunk"
    with pytest.raises(Corrupt):
        await back(root, manifest, tmp_path / "alone")
    assert await back(root, manifest, tmp_path / "both", cloud) == content
    chunk_files(root)[0].unlink()
    assert await back(root, manifest, tmp_path / "anew", cloud) == content


async def test_a_lost_chunk_is_noticed_without_reading_everything(root: Path) -> None:
    manifest = await backed_up(root, os.urandom(5_500), 1)
    assert await verify(manifest, place_in(root), SEALER, most=2, chance=random.Random(1)) == 2
    chunk_files(root)[0].unlink()
    with pytest.raises(Corrupt):
        await verify(manifest, place_in(root), SEALER, most=0, chance=random.Random(1))


async def test_a_restore_that_was_cut_keeps_what_is_right(root: Path, tmp_path: Path) -> None:
    content = os.urandom(9_500)
    manifest = await backed_up(root, content, 1)
    (file,) = manifest.files
    half = bytearray(content[:6_200])
    half[1_500] ^= 1
    (tmp_path / "node.db").write_bytes(half)
    told = await pull([(file, tmp_path / "node.db")], [place_in(root)], SEALER)
    assert (tmp_path / "node.db").read_bytes() == content
    assert told.done_bytes == len(content) and told.kept_bytes == 5_000


async def test_a_backup_lacking_a_chunk_is_none(root: Path) -> None:
    assert await place_in(root).finish(1, b"manifest", ["ab" * 32]) == ["ab" * 32]
    assert await place_in(root).generations() == []


async def test_a_garbled_manifest_is_none(root: Path) -> None:
    await backed_up(root, b"content", 1)
    (path,) = (root / "n1" / "manifests").iterdir()
    garble(path)
    (generation,) = await place_in(root).generations()
    with pytest.raises(NotFound):
        await place_in(root).manifest(generation)


@pytest.mark.parametrize("text", ["", "ABCD", "AAAA-" * 7 + "AAAA", "é" * 32, "A" * 33])
def test_a_slip_of_the_pen_is_told(text: str) -> None:
    with pytest.raises(BeiraError) as caught:
        RecoveryKey.read(text)
    assert caught.value.code == "backup.key_text" and caught.value.hint

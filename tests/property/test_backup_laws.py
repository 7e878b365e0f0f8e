"""Backups, whatever the files are: what comes back is what was there, what has not changed is not
stored again, and nothing that was touched is taken for what it was."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backup.places import MemoryPlace, source

from beira.backup import FileEntry, Manifest, RecoveryKey, Sealer, make, pull
from beira.backup import making as making_module
from beira.backup.manifest import opened, sealed
from beira.kernel import limits
from beira.kernel.errors import Corrupt

CHUNK = 64
KEY = RecoveryKey(bytes(range(18)))
contents = st.one_of(
    st.binary(max_size=6 * CHUNK),
    st.builds(lambda piece, n: piece * n, st.binary(min_size=1, max_size=9), st.integers(0, 60)),
)
folders = st.dictionaries(
    st.text(alphabet="abcd/", min_size=1, max_size=6).filter(
        lambda name: all(name.split("/")) and not name.startswith("/")
    ),
    contents,
    max_size=4,
).filter(lambda found: not any(a != b and b.startswith(a + "/") for a in found for b in found))


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BACKUP_CHUNK_BYTES", CHUNK)
        patch.setattr(making_module, "BATCH_BYTES", 3 * CHUNK)
        yield


def sealer() -> Sealer:
    return KEY.sealer("n1")


async def pulled(files: list[FileEntry], places: list[MemoryPlace]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        wanted = [(file, Path(folder) / file.path) for file in files]
        await pull(wanted, places, sealer())
        return {file.path: path.read_bytes() for file, path in wanted}


@settings(max_examples=60, deadline=None)
@given(files=folders)
def test_what_comes_back_is_what_was_there(files: dict[str, bytes]) -> None:
    async def story() -> None:
        place = MemoryPlace()
        made = await make([source(*item) for item in files.items()], place, sealer(), {})
        assert made.whole and made.read_bytes == sum(map(len, files.values()))
        assert await pulled(made.files, [place]) == files
        assert all(count == 1 for count in place.puts.values())

    asyncio.run(story())


@settings(max_examples=60, deadline=None)
@given(content=contents, at=st.integers(0, 6 * CHUNK), change=st.binary(min_size=1, max_size=8))
def test_only_what_changed_is_stored_again(content: bytes, at: int, change: bytes) -> None:
    async def story() -> None:
        place, known = MemoryPlace(), {}
        await make([source("node.db", content)], place, sealer(), known)
        start = min(at, len(content))
        changed = content[:start] + change + content[start + len(change) :]
        made = await make([source("node.db", changed)], place, sealer(), known)
        assert made.new_chunks <= 2
        assert await pulled(made.files, [place]) == {"node.db": changed}

    asyncio.run(story())


@settings(max_examples=60, deadline=None)
@given(files=folders, cuts=st.lists(st.integers(0, 4), max_size=6))
def test_what_was_stored_before_a_cut_counts(files: dict[str, bytes], cuts: list[int]) -> None:
    async def story() -> None:
        place, known = MemoryPlace(), {}
        for cut in cuts:
            left = iter(range(cut))
            sources = [source(*item) for item in files.items()]
            await make(
                sources,
                place,
                sealer(),
                known,
                in_time=lambda left=left: next(left, None) is not None,
            )
        made = await make([source(*item) for item in files.items()], place, sealer(), known)
        assert made.whole and await pulled(made.files, [place]) == files
        assert all(count == 1 for count in place.puts.values())

    asyncio.run(story())


@settings(max_examples=80, deadline=None)
@given(content=st.binary(max_size=CHUNK), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_touched_chunk_never_passes(content: bytes, at: int, bit: int) -> None:
    name, data = sealer().name(content), bytearray(sealer().seal(content))
    assert sealer().open(bytes(data), name) == content
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(Corrupt):
        sealer().open(bytes(data), name)


@settings(max_examples=40, deadline=None)
@given(one=contents, other=contents)
def test_equal_chunks_are_equal_bytes_and_others_are_not(one: bytes, other: bytes) -> None:
    one, other = one[:CHUNK], other[:CHUNK]
    assert (sealer().seal(one) == sealer().seal(other)) == (one == other)
    assert (sealer().name(one) == sealer().name(other)) == (one == other)
    assert KEY.sealer("n2").seal(one) != sealer().seal(one)
    if one != other:
        with pytest.raises(Corrupt):
            sealer().open(sealer().seal(one), sealer().name(other))


@given(secret=st.binary(min_size=18, max_size=18))
def test_a_key_that_was_written_down_is_the_key(secret: bytes) -> None:
    text = RecoveryKey(secret).text
    assert len(text.split("-")) == 8
    for written in (text, text.lower(), text.replace("-", " "), text.replace("O", "0")):
        assert RecoveryKey.read(written).secret == secret


def test_a_manifest_opens_with_its_key_alone() -> None:
    manifest = Manifest(
        node="n1", node_name="Loja", tenant="t", cloud="", release="1", taken_ms=5, files=()
    )
    data = sealed(manifest, sealer())
    assert opened(data, sealer()) == manifest
    for wrong in (KEY.sealer("n2"), RecoveryKey(bytes(18)).sealer("n1")):
        with pytest.raises(Corrupt) as caught:
            opened(data, wrong)
        assert caught.value.code == "backup.key_wrong" and caught.value.hint

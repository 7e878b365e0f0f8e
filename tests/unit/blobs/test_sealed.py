"""Blobs of an encrypted node: nothing of them lies on its disk plain, and all works as on any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.blobs.world import Sound, Track, World, carried, content, put, sha, until

from beira.blobs import FolderBlobs, Shelf
from beira.kernel.blob import BlobRef
from beira.kernel.errors import Corrupt, NotFound

KEY = bytes(range(32))
DATA = content(3_000_000)


def plain_on_disk(folder: Path, data: bytes) -> bool:
    part = data[1_000:1_032]
    return any(part in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_what_is_added_fetched_and_sent_lies_there_encrypted(world: World) -> None:
    other = content(2_000_000, seed=9)
    await world.keeps(other)
    await put(world.cloud(), Track(id="t", audio=sha(other)))
    node = world.node(key=KEY)
    async with node.running():
        await put(node.host, Sound(audio=(await node.agent.add(DATA)).sha256))
        await carried(world.cloud(), node.host, Track(id="t"))
        await until(lambda: world.has(DATA))
        await until(lambda: node.agent.path(sha(other)))
        for data in (DATA, other):
            async with node.agent.file(sha(data)) as path:
                assert path.read_bytes() == data
            assert not plain_on_disk(world.folder / "n1", data)
            assert (world.folder / "n1" / "acme" / "blobs" / sha(data)[:2] / sha(data)).exists()


async def test_a_cut_download_goes_on_at_any_byte(world: World) -> None:
    folder = FolderBlobs(world.folder / "n", reserve_bytes=0, key=KEY)
    ref = BlobRef(sha256=sha(DATA), size_bytes=len(DATA))
    offset = 0
    for size in (1, 15, 17, 999, 70_001):
        chunk = DATA[offset : offset + size]
        offset = await folder.append("acme", "node", ref.sha256, offset, chunk)
    again = FolderBlobs(world.folder / "n", reserve_bytes=0, key=KEY)
    await again.append("acme", "node", ref.sha256, offset, DATA[offset:])
    await again.finish("acme", "node", ref)
    assert await again.read("acme", ref.sha256, 12_345, 33) == DATA[12_345:12_378]


async def test_another_key_opens_nothing(world: World) -> None:
    folder = FolderBlobs(world.folder / "n", reserve_bytes=0, key=KEY)
    shelf = Shelf(folder, "acme", world.wall)
    ref = await shelf.add(DATA)
    other = FolderBlobs(world.folder / "n", reserve_bytes=0, key=KEY[::-1])
    assert await other.digest("acme", ref.sha256) != ref.sha256
    await other.append("acme", "node", "a" * 64, 0, b"x")
    with pytest.raises(Corrupt):
        await other.finish("acme", "node", BlobRef(sha256="a" * 64, size_bytes=1))


async def test_what_lay_there_plain_is_sealed_with_what_is_known_of_it(world: World) -> None:
    plain = FolderBlobs(world.folder / "n", reserve_bytes=0)
    before = Shelf(plain, "acme", world.wall)
    unsent, added, confirmed = (content(5_000, seed=n) for n in (1, 2, 3))
    for data in (unsent, added, confirmed):
        await before.add(data)
    before.mark_sent_up(sha(unsent))
    before.mark_confirmed(sha(confirmed))
    sealed = FolderBlobs(world.folder / "n" / ".sealed", reserve_bytes=0, key=KEY)
    shelf = Shelf(sealed, "acme", world.wall)
    assert await shelf.take_over(plain) == 3
    states = {name: (held.outbox, held.sent_up) for name, held in shelf.listing().items()}
    assert states == {
        sha(unsent): (True, True),
        sha(added): (True, False),
        sha(confirmed): (False, False),
    }
    for data in (unsent, added, confirmed):
        async with shelf.file(sha(data)) as path:
            assert path.read_bytes() == data
        assert not plain_on_disk(world.folder / "n", data)
    assert await shelf.take_over(plain) == 0


async def test_what_is_not_here_has_no_file(world: World) -> None:
    with pytest.raises(NotFound):
        async with world.node().agent.file(sha(DATA)):
            pass


async def test_what_came_before_its_hash_was_known_is_sealed_by_its_name_at_the_end(
    world: World,
) -> None:
    folder = FolderBlobs(world.folder / "n", reserve_bytes=0, key=KEY)
    for start in (0, 1_500_001):
        piece = DATA[start : start + 1_500_001]
        await folder.append("acme", "up", "upload-7", start, piece)
    again = FolderBlobs(world.folder / "n", reserve_bytes=0, key=KEY)
    ref = await again.hashed("acme", "up", "upload-7")
    assert ref == BlobRef(sha256=sha(DATA), size_bytes=len(DATA))
    await again.finish("acme", "up", ref, staged_as="upload-7")
    assert await folder.digest("acme", ref.sha256) == ref.sha256
    assert await folder.read("acme", ref.sha256, 12_345, 33) == DATA[12_345:12_378]
    assert not plain_on_disk(world.folder / "n", DATA)

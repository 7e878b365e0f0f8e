"""Blobs of an app in the cloud: kept while a record names them, within the tenant's quota, apart from
every other tenant's."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.unit.blobs.world import World

from beira.kernel import limits
from beira.kernel.errors import Full, NotFound, TooLarge
from beira.sync.blobs.collector import Collector
from beira.sync.blobs.tenant import CloudBlobs

CONTENT = bytes(range(256)) * 40_000


async def slices(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def of(world: World, tenant: str = "acme") -> CloudBlobs:
    return CloudBlobs(world.gate, tenant, world.folder / "scratch")


@pytest.mark.parametrize("size", [1_000_003, len(CONTENT)])
async def test_what_was_added_in_pieces_is_there_whole(world: World, size: int) -> None:
    blobs = of(world)
    ref = await blobs.add(slices(CONTENT, size))
    assert ref.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert await blobs.size(ref.sha256) == ref.size_bytes == len(CONTENT)
    assert await blobs.read(ref.sha256, 5, 10) == CONTENT[5:15]
    async with blobs.file(ref.sha256) as path:
        assert path.read_bytes() == CONTENT
    assert await blobs.add(CONTENT) == ref, "once more is no second"


async def test_another_tenant_has_none_of_it(world: World) -> None:
    ref = await of(world).add(b"a")
    with pytest.raises(NotFound):
        await of(world, "other").size(ref.sha256)
    with pytest.raises(NotFound):
        async with of(world, "other").file(ref.sha256):
            pass
    for name in ("../acme", "", "x" * 64):
        with pytest.raises(Exception, match=r"blob"):
            await of(world).size(name)


async def test_over_a_limit_nothing_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BLOB_BYTES", 100)
    with pytest.raises(TooLarge):
        await of(world).add(slices(b"x" * 101, 10))
    monkeypatch.setattr(limits, "BLOB_TENANT_BYTES", 50)
    with pytest.raises(Full) as full:
        await of(world).add(b"x" * 51)
    assert full.value.code == "blob.quota"
    staged = list((world.folder / "cloud").glob("*/staged/*/*"))
    assert staged == [], "what was refused takes no room"


async def test_what_no_record_names_is_collected_and_what_is_just_being_collected_waits(
    world: World,
) -> None:
    blobs, host = of(world), world.cloud()
    ref = await blobs.add(CONTENT)
    await Collector(world.storage, host).collect()
    assert await blobs.size(ref.sha256), "it is spared at first"
    world.wall.ahead += timedelta(seconds=limits.BLOB_SPARED_S + 10)
    await Collector(world.storage, host).collect()
    with pytest.raises(NotFound):
        await blobs.size(ref.sha256)
    assert await asyncio.wait_for(blobs.add(CONTENT), 30) == ref

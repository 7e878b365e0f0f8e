"""What `blobs.port.BlobStore` promises, held against a folder and against a real S3 server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.blobs.s3_server import BUCKET, s3_server, settings_in_place

from beira.blobs import BlobStore, FolderBlobs, open_blobs, pieces
from beira.kernel import limits
from beira.kernel.blob import BlobRef
from beira.kernel.errors import BeiraError, Conflict, Corrupt, Invalid, NotFound

SMALL = b"bom dia " * 1_000
LARGE = bytes(range(256)) * 40_960  # more than one part of a multipart upload


def ref_of(content: bytes) -> BlobRef:
    return BlobRef(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url, settings_in_place(url):
        yield f"s3://{BUCKET}/some/prefix"


@pytest.fixture(params=["folder", "s3"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Where two replicas keep their blobs: the same place for both."""
    if request.param == "folder":
        return [str(tmp_path / "blobs")] * 2
    return [f"{request.getfixturevalue('s3')}/{tmp_path.name}"] * 2


@pytest.fixture
async def stores(places: list[str], tmp_path: Path) -> list[BlobStore]:
    return [await open_blobs(place, tmp_path / "unused") for place in places]


async def send(
    store: BlobStore, content: bytes, *, owner: str = "n1", chunk: int = 3_000
) -> BlobRef:
    ref = ref_of(content)
    for start in range(0, len(content), chunk):
        await store.append("acme", owner, ref.sha256, start, content[start : start + chunk])
    await store.finish("acme", owner, ref)
    return ref


async def all_of(store: BlobStore, ref: BlobRef, tenant: str = "acme") -> bytes:
    parts = pieces(store, tenant, ref.sha256, 0, ref.size_bytes)
    return b"".join([part async for part in parts])


@pytest.mark.parametrize("content", [b"", b"x", SMALL], ids=["empty", "one byte", "small"])
async def test_what_is_sent_in_chunks_is_there_whole(
    stores: list[BlobStore], content: bytes
) -> None:
    ref = await send(stores[0], content)
    assert await stores[1].size("acme", ref.sha256) == len(content)
    assert await all_of(stores[1], ref) == content


@pytest.mark.parametrize("content", [b"x", SMALL, LARGE], ids=["one byte", "small", "large"])
async def test_what_came_before_its_hash_was_known_gets_its_name_at_the_end(
    stores: list[BlobStore], content: bytes
) -> None:
    for start in range(0, len(content), limits.BLOB_CHUNK_BYTES):
        chunk = content[start : start + limits.BLOB_CHUNK_BYTES]
        await stores[0].append("acme", "n1", "upload-7", start, chunk)
    ref = await stores[1].hashed("acme", "n1", "upload-7")
    assert ref == ref_of(content) == await stores[0].hashed("acme", "n1", "upload-7")
    await stores[1].finish("acme", "n1", ref, staged_as="upload-7")
    assert await all_of(stores[0], ref) == content
    assert await stores[0].staged("acme", "n1", "upload-7") == 0
    with pytest.raises(Conflict):
        await stores[0].hashed("acme", "n1", "upload-7")


async def test_a_large_blob_goes_through_two_replicas_chunk_by_chunk(
    stores: list[BlobStore],
) -> None:
    ref = ref_of(LARGE)
    for turn, start in enumerate(range(0, len(LARGE), limits.BLOB_CHUNK_BYTES)):
        chunk = LARGE[start : start + limits.BLOB_CHUNK_BYTES]
        upto = await stores[turn % 2].append("acme", "n1", ref.sha256, start, chunk)
        assert await stores[(turn + 1) % 2].staged("acme", "n1", ref.sha256) == upto
    await stores[1].finish("acme", "n1", ref)
    assert await all_of(stores[0], ref) == LARGE
    assert await stores[0].staged("acme", "n1", ref.sha256) == 0


async def test_nothing_is_visible_before_it_is_verified(stores: list[BlobStore]) -> None:
    ref = ref_of(SMALL)
    await stores[0].append("acme", "n1", ref.sha256, 0, SMALL[:5_000])
    assert await stores[0].size("acme", ref.sha256) is None
    with pytest.raises(NotFound) as raised:
        await stores[0].read("acme", ref.sha256, 0, 10)
    assert raised.value.code == "blob.missing"
    with pytest.raises(Conflict) as early:
        await stores[0].finish("acme", "n1", ref)
    assert early.value.details == {"offset": 5_000}
    assert await stores[0].size("acme", ref.sha256) is None


@pytest.mark.parametrize("wrong", [SMALL[:-1] + b"!", SMALL + b"more"], ids=["other", "longer"])
async def test_another_content_is_thrown_away_and_can_be_sent_again(
    stores: list[BlobStore], wrong: bytes
) -> None:
    ref = ref_of(SMALL)
    await stores[0].append("acme", "n1", ref.sha256, 0, wrong)
    with pytest.raises(Corrupt) as raised:
        await stores[1].finish("acme", "n1", ref)
    assert raised.value.code == "blob.mismatch"
    assert await stores[0].size("acme", ref.sha256) is None
    assert await stores[0].staged("acme", "n1", ref.sha256) == 0
    await send(stores[0], SMALL)
    assert await all_of(stores[0], ref) == SMALL


async def test_a_chunk_elsewhere_is_refused_with_the_right_offset(stores: list[BlobStore]) -> None:
    ref = ref_of(SMALL)
    await stores[0].append("acme", "n1", ref.sha256, 0, SMALL[:100])
    for offset in (50, 200):
        with pytest.raises(Conflict) as raised:
            await stores[1].append("acme", "n1", ref.sha256, offset, b"chunk")
        assert raised.value.details == {"offset": 100}


async def test_owners_and_tenants_do_not_meet(stores: list[BlobStore]) -> None:
    """One who sends rubbish under a blob's name spoils it for nobody."""
    store, ref = stores[0], ref_of(SMALL)
    await store.append("acme", "bad", ref.sha256, 0, b"rubbish")
    assert await store.staged("acme", "n1", ref.sha256) == 0
    await send(store, SMALL)
    assert await store.size("other", ref.sha256) is None
    with pytest.raises(NotFound):
        await store.read("other", ref.sha256, 0, 1)
    assert await all_of(store, ref) == SMALL


async def test_sending_what_is_there_changes_nothing(stores: list[BlobStore]) -> None:
    ref = await send(stores[0], SMALL)
    await send(stores[1], SMALL, owner="n2", chunk=8_000)
    assert await all_of(stores[0], ref) == SMALL
    assert await stores[0].staged("acme", "n2", ref.sha256) == 0


async def test_who_has_not_sent_it_has_not_finished_it(stores: list[BlobStore]) -> None:
    """Or a name and a size would be enough to be taken for one who has it."""
    ref = await send(stores[0], SMALL)
    for owner in ("n1", "n2"):
        with pytest.raises(Conflict) as raised:
            await stores[1].finish("acme", owner, ref)
        assert raised.value.details == {"offset": 0}
    await stores[0].append("acme", "n2", ref.sha256, 0, b"!" * len(SMALL))
    with pytest.raises(Corrupt):
        await stores[1].finish("acme", "n2", ref)
    assert await all_of(stores[0], ref) == SMALL


async def test_ranges_and_deletion(stores: list[BlobStore]) -> None:
    ref = await send(stores[0], SMALL)
    assert await stores[0].read("acme", ref.sha256, 10, 20) == SMALL[10:30]
    assert await stores[0].read("acme", ref.sha256, len(SMALL) - 5, 100) == SMALL[-5:]
    await stores[0].delete("acme", ref.sha256)
    await stores[0].delete("acme", ref.sha256)
    assert await stores[1].size("acme", ref.sha256) is None


async def test_what_nobody_goes_on_with_is_tidied_and_only_that(stores: list[BlobStore]) -> None:
    store = stores[0]
    kept = await send(store, SMALL)
    await store.append("acme", "n1", ref_of(LARGE).sha256, 0, LARGE[:10])
    assert await store.tidy("acme", time.time() - 3_600) == 0
    assert await store.tidy("acme", time.time() + 3_600) == 1
    assert await store.staged("acme", "n1", ref_of(LARGE).sha256) == 0
    assert await all_of(store, kept) == SMALL


@pytest.mark.parametrize("bad", ["../other", "a/b", "", ".hidden", "nul\0"])
async def test_no_name_leads_out_of_its_tenant(stores: list[BlobStore], bad: str) -> None:
    with pytest.raises(Invalid):
        await stores[0].append(bad, "n1", "a" * 64, 0, b"x")
    with pytest.raises(Invalid):
        await stores[0].append("acme", bad, "a" * 64, 0, b"x")
    with pytest.raises(Invalid):
        await stores[0].size("acme", bad)


@pytest.mark.parametrize("place", ["ftp://somewhere", "s3://no-such-bucket-here/x"])
async def test_a_place_that_cannot_be_used_is_said_at_once(
    s3: str, tmp_path: Path, place: str
) -> None:
    with pytest.raises(BeiraError) as raised:
        await open_blobs(place, tmp_path)
    assert raised.value.code in ("blob.place", "blob.bucket")
    assert raised.value.hint


async def test_without_a_setting_it_is_a_folder(tmp_path: Path) -> None:
    store = await open_blobs("", tmp_path / "blobs")
    assert isinstance(store, FolderBlobs)
    assert store.root == tmp_path / "blobs"

"""What the cloud gives and takes, by plain HTTP: who may have what, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.unit.blobs.world import (
    Board,
    Sound,
    Track,
    World,
    carried,
    content,
    host_at,
    principal,
    put,
    sha,
)

from beira.kernel import limits
from beira.kernel.access import site_partition
from beira.kernel.blob import BlobRef, StoredBlob, content_digest, proving
from beira.kernel.collection import collection_of
from beira.kernel.errors import BeiraError, Denied, NotFound, TooMany
from beira.sync.blobs.gate import BlobGate
from beira.sync.cloud.doorway import Turnstile

DATA = content(100_000)
REF = BlobRef(sha256=sha(DATA), size_bytes=len(DATA))


async def ask(
    world: World, method: str, path: str, token: str = "acme/n1", body: Any = None, **headers: str
) -> tuple[int, Any, Any]:
    """Status, headers and body."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent["Authorization"] = f"Bearer {token}"
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, f"{world.address}/sync/v1/blobs{path}", data=data, headers=sent
        ) as answer,
    ):
        content_ = await answer.read()
        if answer.content_type == "application/json" and content_:
            content_ = json.loads(content_)
        return answer.status, answer.headers, content_


async def send(world: World, data: bytes = DATA, token: str = "acme/n1") -> None:
    status, _, told = await ask(
        world,
        "PUT",
        f"/{sha(data)}?size={len(data)}&offset=0",
        token,
        data,
        Content_Digest=content_digest(data),
    )
    assert (status, told["state"]) == (200, "present"), told


def track_path(id: str = "t", data: bytes = DATA) -> str:
    return f"/{sha(data)}?collection=test_tracks&record={id}"


async def test_a_name_alone_opens_nothing(world: World) -> None:
    await send(world)
    assert (await ask(world, "GET", f"/{sha(DATA)}"))[0] == 200
    for token in ("acme/n2", "other/n1"):
        status, _, told = await ask(world, "GET", f"/{sha(DATA)}", token)
        assert (status, told["code"]) == (404, "blob.missing")
    nowhere = (await ask(world, "GET", f"/{sha(b'nowhere')}", "acme/n2"))[2]
    there = (await ask(world, "GET", f"/{sha(DATA)}", "acme/n2"))[2]
    assert nowhere["code"] == there["code"]


async def test_a_name_and_a_size_are_no_proof(world: World) -> None:
    """Nor is rubbish of that size, nor the claim that all was sent."""
    await send(world)
    path = f"/{sha(DATA)}?size={len(DATA)}&offset="
    empty = {"Content_Digest": content_digest(b"")}
    status, _, told = await ask(world, "PUT", f"{path}{len(DATA)}", "acme/n2", b"", **empty)
    assert (status, told["details"]) == (409, {"offset": 0})
    rubbish = b"!" * len(DATA)
    digest = {"Content_Digest": content_digest(rubbish)}
    status, _, told = await ask(world, "PUT", f"{path}0", "acme/n2", rubbish, **digest)
    assert (status, told["code"]) == (422, "blob.mismatch")
    assert (await ask(world, "GET", f"/{sha(DATA)}", "acme/n2"))[0] == 404
    assert await world.has(DATA)


async def test_a_record_of_one_s_own_opens_nothing_either(world: World) -> None:
    """Whoever overhears a name could write it into a record of his own."""
    await send(world)
    board = Board(id="b", picture=sha(DATA))
    thief = host_at("acme", "n2", world.wall)
    await put(thief, board)
    await carried(thief, world.cloud(), board)
    path = f"/{sha(DATA)}?collection=test_boards&record=b"
    for token in ("acme/n2", "acme/n3"):
        assert (await ask(world, "GET", path, token))[0] == 404


async def test_a_record_whose_author_had_the_blob_opens_it(world: World) -> None:
    await send(world)
    board = Board(id="b", picture=sha(DATA))
    author = host_at("acme", "n1", world.wall)
    await put(author, board)
    await carried(author, world.cloud(), board)
    path = f"/{sha(DATA)}?collection=test_boards&record=b"
    assert (await ask(world, "GET", path, "acme/n2"))[2] == DATA
    assert (await ask(world, "GET", f"/{sha(DATA)}", "acme/n2"))[2] == DATA, "it had it once"


async def test_only_records_one_may_see_open_a_blob(world: World) -> None:
    await world.keeps(DATA)
    cloud = world.cloud()
    declared = collection_of(Track)
    for id, partition in (("mine", "site:s1"), ("theirs", "site:s2")):
        fields = declared.encode(Track(id=id, audio=sha(DATA)))
        await cloud.store.commit([cloud.stamped(declared, id, partition, fields)])
    sound = collection_of(Sound)
    up = cloud.stamped(sound, "up", site_partition("s1"), {"audio": sha(DATA)})
    await cloud.store.commit([up])
    refused = [track_path("theirs"), track_path("none"), f"/{sha(DATA)}"]
    refused.append(f"/{sha(DATA)}?collection=test_sounds&record=up")
    refused.append(f"/{sha(DATA)}?collection=no_such&record=up")
    for path in refused:
        assert (await ask(world, "GET", path))[0] == 404, path
    assert (await ask(world, "GET", track_path("mine")))[2] == DATA


async def test_nobody_is_let_in_without_a_token(world: World) -> None:
    for method, path in (("GET", f"/{sha(DATA)}"), ("POST", "/missing"), ("PUT", f"/{sha(DATA)}")):
        status, _, told = await ask(world, method, path, "")
        assert (status, told["code"]) == (401, "unauthenticated")


async def test_having_it_is_shown_without_sending_it(world: World) -> None:
    await send(world)
    asked = {"blobs": [{"sha256": sha(DATA), "size_bytes": len(DATA)}]}
    status, _, told = await ask(world, "POST", "/missing", "acme/n2", asked)
    (one,) = told["blobs"]
    assert (status, one["state"]) == (200, "prove")
    digest = proving(one["nonce"])
    digest.update(DATA)
    path = f"/{sha(DATA)}/proof?size={len(DATA)}"
    right = {"proof": digest.hexdigest()}
    status, _, told = await ask(world, "POST", path, "acme/n3", right)
    assert (status, told["code"]) == (403, "blob.unproven"), "another node's proof serves nobody"
    wrong = {"proof": sha(DATA)}
    assert (await ask(world, "POST", path, "acme/n2", wrong))[0] == 403
    assert (await ask(world, "POST", path, "acme/n2", right))[2]["state"] == "present"
    assert (await ask(world, "GET", f"/{sha(DATA)}", "acme/n2"))[2] == DATA
    nowhere = f"/{sha(b'nowhere')}/proof?size=7"
    assert (await ask(world, "POST", nowhere, "acme/n2", right))[0] == 404


async def test_asking_tells_each_node_what_it_must_do(world: World) -> None:
    await send(world)
    half = content(50_000, seed=3)
    path = f"/{sha(half)}?size={len(half)}&offset=0"
    await ask(world, "PUT", path, body=half[:20_000], Content_Digest=content_digest(half[:20_000]))
    names = [sha(DATA), sha(half), sha(b"new")]
    sizes = [len(DATA), len(half), 3]
    asked = {"blobs": [{"sha256": n, "size_bytes": s} for n, s in zip(names, sizes, strict=True)]}
    told = (await ask(world, "POST", "/missing", body=asked))[2]["blobs"]
    assert [(t["state"], t.get("offset", 0)) for t in told] == [
        ("present", 0),
        ("missing", 20_000),
        ("missing", 0),
    ]
    other = (await ask(world, "POST", "/missing", "other/n1", body=asked))[2]["blobs"]
    assert [t["state"] for t in other] == ["missing"] * 3, "another tenant learns nothing"


async def test_it_is_confirmed_only_once_it_is_verified(world: World) -> None:
    wrong = b"!" + DATA[1:]
    path = f"/{sha(DATA)}?size={len(DATA)}&offset=0"
    status, _, told = await ask(
        world, "PUT", path, body=wrong, Content_Digest=content_digest(wrong)
    )
    assert (status, told["code"]) == (422, "blob.mismatch")
    assert not await world.has(DATA)
    asked = {"blobs": [{"sha256": sha(DATA), "size_bytes": len(DATA)}]}
    (one,) = (await ask(world, "POST", "/missing", body=asked))[2]["blobs"]
    assert (one["state"], one.get("offset", 0)) == ("missing", 0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", f"/{REF.sha256}?size=100000&offset=0", b"x", 422, "blob.digest"),
        ("PUT", f"/{REF.sha256}?size=100000&offset=-1", b"", 400, "blob.ask"),
        ("PUT", f"/{REF.sha256}?size=100000", b"", 400, "blob.ask"),
        ("PUT", f"/{REF.sha256}?size=9999999999&offset=0", b"", 413, "blob.too_large"),
        ("PUT", f"/{REF.sha256}?size=5&offset=6", b"", 413, "blob.offset"),
        ("PUT", "/ABC?size=5&offset=0", b"", 400, "blob.name"),
        ("PUT", f"/{REF.sha256.upper()}?size=5&offset=0", b"", 400, "blob.name"),
        ("POST", "/missing", {"blobs": [{"sha256": "x", "size_bytes": 1}]}, 400, "blob.name"),
        (
            "POST",
            "/missing",
            {"blobs": [{"sha256": "a" * 64, "size_bytes": -1}]},
            400,
            "blob.name",
        ),
        ("POST", "/missing", ["no"], 400, "blob.ask"),
        (
            "POST",
            "/missing",
            {"blobs": [{"sha256": f"{n:064x}", "size_bytes": 1} for n in range(501)]},
            413,
            "blob.ask",
        ),
        ("GET", "/..%2f..%2fetc%2fpasswd", None, 404, None),
        ("GET", "/zz", None, 400, "blob.name"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_code(
    world: World, method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    digest = {"Content_Digest": content_digest(b"")} if body == b"" else {}
    found, _, told = await ask(world, method, path, body=body, **digest)
    assert found == status, told
    if code is not None:
        assert told["code"] == code
        assert not list((world.folder / "cloud").glob("*/blobs/*/*"))


async def test_a_body_over_a_chunk_is_refused(world: World) -> None:
    body = b"x" * (limits.BLOB_CHUNK_BYTES + 1)
    path = f"/{sha(body)}?size={len(body)}&offset=0"
    status, _, _ = await ask(world, "PUT", path, body=body, Content_Digest=content_digest(body))
    assert status == 413


async def test_a_chunk_at_another_place_is_told_the_right_one(world: World) -> None:
    path = f"/{sha(DATA)}?size={len(DATA)}&offset="
    first, second = DATA[:1_000], DATA[5_000:6_000]
    await ask(world, "PUT", f"{path}0", body=first, Content_Digest=content_digest(first))
    status, _, told = await ask(
        world, "PUT", f"{path}5000", body=second, Content_Digest=content_digest(second)
    )
    assert (status, told["code"], told["details"]) == (409, "blob.offset", {"offset": 1_000})


async def test_ranges_are_as_http_has_them(world: World) -> None:
    await send(world)
    path, size = f"/{sha(DATA)}", len(DATA)
    for asked, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=99990-200000", 99_990, size),
        ("bytes=500-", 500, size),
        ("bytes=-10", size - 10, size),
    ):
        status, headers, body = await ask(world, "GET", path, Range=asked)
        assert (status, body) == (206, DATA[start:end]), asked
        assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert headers["Content-Digest"] == content_digest(body)
        assert headers["ETag"] == f'"{sha(DATA)}"'
        assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, _ = await ask(world, "GET", path, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    other = await ask(world, "GET", path, Range="bytes=0-9", If_Range='"another"')
    assert (other[0], other[2]) == (200, DATA), "another blob's range would be of no use"
    assert (await ask(world, "GET", path, Range="furlongs=1-2"))[2] == DATA


async def test_a_long_range_comes_shortened_and_a_large_blob_only_in_ranges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(world)
    monkeypatch.setattr(limits, "BLOB_CHUNK_BYTES", 1_000)
    status, headers, body = await ask(world, "GET", f"/{sha(DATA)}", Range="bytes=0-")
    assert (status, len(body)) == (206, 1_000)
    assert headers["Content-Range"] == f"bytes 0-999/{len(DATA)}"
    status, _, told = await ask(world, "GET", f"/{sha(DATA)}")
    assert (status, told["code"]) == (400, "blob.range")


async def test_a_look_tells_the_size_and_sends_nothing(world: World) -> None:
    await send(world)
    status, headers, body = await ask(world, "HEAD", f"/{sha(DATA)}")
    assert (status, headers["Content-Length"], body) == (200, str(len(DATA)), b"")
    assert headers["Repr-Digest"] == content_digest(DATA)
    assert (await ask(world, "HEAD", f"/{sha(b'none')}"))[0] == 404


async def test_a_tenant_keeps_so_much_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(world)
    monkeypatch.setattr(limits, "BLOB_TENANT_BYTES", len(DATA) + 10)
    more = content(11, seed=4)
    path = f"/{sha(more)}?size={len(more)}&offset=0"
    status, _, told = await ask(world, "PUT", path, body=more, Content_Digest=content_digest(more))
    assert (status, told["code"]) == (507, "blob.quota")
    await send(world, content(10, seed=4))
    await send(world, more, "other/n1")


def _turnstile() -> Turnstile:
    return Turnstile("blobs", limits.BLOB_REQUESTS_PER_NODE, limits.BLOB_REQUESTS_IN_FLIGHT)


async def test_so_many_at_a_time_and_no_more() -> None:
    turnstile, node, other = _turnstile(), principal("acme/n1"), principal("acme/n2")
    passing = [turnstile.passing(node) for _ in range(limits.BLOB_REQUESTS_PER_NODE)]
    for one in passing:
        one.__enter__()
    with pytest.raises(TooMany), turnstile.passing(node):
        pass
    with turnstile.passing(other):
        pass
    passing[0].__exit__(None, None, None)
    with turnstile.passing(node):
        pass


async def test_all_nodes_together_are_bounded_too() -> None:
    turnstile = _turnstile()
    nodes = [principal(f"acme/n{n}") for n in range(limits.BLOB_REQUESTS_IN_FLIGHT)]
    passing = [turnstile.passing(node) for node in nodes]
    for one in passing:
        one.__enter__()
    with pytest.raises(TooMany), turnstile.passing(principal("acme/last")):
        pass


async def test_two_replicas_take_turns_with_one_upload(world: World) -> None:
    async def host_of(tenant: str) -> Any:
        return world.cloud(tenant)

    other = BlobGate(world.storage, host_of)
    node = principal("acme/n1")
    assert (await world.gate.append(node, REF, 0, DATA[:40_000])).offset == 40_000
    assert (await other.append(node, REF, 40_000, DATA[40_000:])).state == "present"
    both = await asyncio.gather(*(gate.ask(node, [REF]) for gate in (world.gate, other)))
    assert [told[0].state for told in both] == ["present"] * 2


async def test_the_same_end_from_two_replicas_at_once_is_one_blob(world: World) -> None:
    node = principal("acme/n1")
    await world.storage.append("acme", "n1", REF.sha256, 0, DATA)
    told = await asyncio.gather(
        *(world.gate.append(node, REF, len(DATA), b"") for _ in range(3)), return_exceptions=True
    )
    assert any(not isinstance(t, BaseException) and t.state == "present" for t in told)
    assert all(isinstance(t, BeiraError) or not isinstance(t, BaseException) for t in told)
    assert await world.has(DATA)


async def test_what_the_storage_lost_is_not_called_present(world: World) -> None:
    await send(world)
    await world.storage.delete("acme", sha(DATA))
    (told,) = await world.gate.ask(principal("acme/n1"), [REF])
    assert (told.state, told.offset) == ("missing", 0)
    with pytest.raises(NotFound):
        await world.gate.size(principal("acme/n1"), REF.sha256, None)


async def test_the_cloud_s_own_files_are_kept_and_counted(world: World, tmp_path: Path) -> None:
    ref = await world.keeps(DATA)
    assert ref == REF and await world.has(DATA)
    row = await world.cloud().store.get("blobs", ref.sha256)
    assert row is not None
    known = collection_of(StoredBlob).decode(row.id, row.fields)
    assert isinstance(known, StoredBlob) and known.stored_at is not None
    with pytest.raises(Denied):
        await world.gate.prove(principal("acme/n1"), REF, "0" * 64)

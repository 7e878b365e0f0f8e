# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""From a director's file to a shop that has it: upload, job, programme, manifest, and the file from a
real cache between; and those who have no business there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from beira.apps.player.compile import compiled, compiler_of
from beira.apps.player.manifest import Answer, AssetEntry, Manifest, Question, ShopEntry
from beira.apps.player.media import path_of
from beira.apps.player.wire import ASKED, opened, packed, unpacked
from beira.cloud import program as cloud_program
from beira.node.program import Node
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance import support
from tests.acceptance.player_support import (
    NGINX,
    SLICED,
    WHOLE,
    Meter,
    alone,
    direct,
    nginx,
    settled,
    upload,
)
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company_on,
    connected,
    fresh_database,
    postgres_directory,
    postgres_server,
    roomy_folder,
    row_of,
    until,
)
from tests.unit.player.sounds import sound

needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def company(postgres_server: EmbeddedPostgres) -> AsyncIterator[Company]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud_program, "installed", alone)
        patch.setattr(support, "deaf", alone)
        async with company_on(*await fresh_database(postgres_server)) as made:
            yield made


async def manifest_of(node: Node, held: Manifest | None = None) -> Manifest:
    """What the cloud tells a node, proven as a node does."""
    held = held or Manifest()
    question = packed(Question(root=held.root, marks=held.marks))
    answer = unpacked(await node.host.ask_cloud(ASKED, question), Answer)
    if answer.signed is None:
        return held
    made = held.replaced(answer.buckets)
    assert opened(node.host, answer.signed).root == made.root
    return made


def entries(manifest: Manifest, kind: type[Any]) -> list[Any]:
    return [entry for entry in manifest.entries if isinstance(entry, kind)]


async def on_air(company: Company, token: str, *assets: str) -> None:
    """A playlist of these in all shops, all day."""
    list_id = f"l-{assets[0][:8]}"
    await direct(
        company, token, "player_playlists", {"id": list_id, "name": "Dia", "assets": assets}
    )
    await direct(company, token, "player_slots", {"id": list_id, "playlist": list_id})


@pytest.mark.timeout(180)
async def test_from_the_directors_file_to_the_shops_manifest_and_back_out_of_it(
    company: Company,
) -> None:
    tenant = await company.tenant("radio")
    owner = await company.owner(tenant)
    data = await company.enrol(tenant)
    added = await upload(company, owner, sound("mp3", title="Wave", artist="Tom Jobim"), "1.mp3")
    assert added["duplicate"] is False
    again = await upload(company, owner, sound("mp3", title="Wave", artist="Tom Jobim"), "2.mp3")
    assert (again["duplicate"], again["asset"]) == (True, added["asset"])
    async with company.node(data) as node:
        await connected(node)
        asset = await settled(company, owner, added["asset"])
        assert (asset["state"], asset["title"], asset["artist"]) == ("ready", "Wave", "Tom Jobim")
        await on_air(company, owner, asset["id"])
        head = await until(lambda: _head_with_more(company, node, ""))
        manifest = await manifest_of(node)
        assert manifest.root == head
        (entry,) = entries(manifest, AssetEntry)
        (shop,) = entries(manifest, ShopEntry)
        path = path_of(tenant, shop.media_key, entry.file)
        async with company.web.session.get(company.address + path) as answer:
            assert answer.status == 200
            assert hashlib.sha256(await answer.read()).hexdigest() == entry.file

        change = {"recalled": True}
        where = f"/rest/v1/player_assets?id=eq.{asset['id']}"
        status, told = await company.web.ask("PATCH", where, change, owner)
        assert status in (200, 204), told
        await until(lambda: _head_with_more(company, node, head))
        assert entries(await manifest_of(node, manifest), AssetEntry) == []


async def _head_with_more(company: Company, node: Node, before: str) -> str:
    """The root of the head that the node has got, once it is another and comes to the programme."""
    row = await node.host.store.get("player_heads", node.host.place.node)
    host = await company.host(node.host.place.tenant)
    now = (await compiled(host, node.host.place.node)).root
    root = str(row.fields["root"]) if row is not None else ""
    return root if root not in ("", before) and root == now else ""


async def test_no_change_costs_less_than_a_kilobyte_in_all(company: Company) -> None:
    tenant = await company.tenant("radio")
    owner = await company.owner(tenant)
    added = await upload(company, owner, sound("wav"), "1.wav")
    await settled(company, owner, added["asset"])
    await on_air(company, owner, added["asset"])
    data = await company.enrol(tenant)
    async with company.node(data) as node:
        await connected(node)
        await until(lambda: _head_with_more(company, node, ""))
        manifest = await manifest_of(node)
    async with Meter(company.port).serving() as meter, company.node(data) as node:
        await connected(node)
        line = node.host.line
        line._requests._url = meter.url + "/apps/v1"  # type: ignore[union-attr]
        question = packed(Question(root=manifest.root, version=1))
        await node.host.ask_cloud(ASKED, question)
        first = meter.bytes
        answer = unpacked(await node.host.ask_cloud(ASKED, question), Answer)
        assert answer.signed is None
        print("no change:", first, "bytes, then", meter.bytes - first)
        assert first < 1_000
        assert meter.bytes - first < 1_000


async def media_of(
    company: Company, tenant: str, data: bytes, name: str = "a.wav"
) -> tuple[str, bytes]:
    """The address of what was made of a file, and its bytes."""
    owner = await company.owner(tenant)
    added = await upload(company, owner, data, name)
    assert (await settled(company, owner, added["asset"]))["state"] == "ready"
    host = await company.host(tenant)
    key = await compiler_of(host).media_key()
    page = await host.store.query(_renditions())
    sha256 = str(page.rows[0]["file"])
    assert host.blobs is not None
    content = await host.blobs.read(sha256, 0, 1 << 30)
    return path_of(tenant, key, sha256), content


def _renditions() -> Any:
    from beira.kernel.query import Query, where

    return Query(collection="player_renditions", where=where(profile="opus-64"))


async def test_a_file_is_given_out_whole_in_ranges_and_to_nobody_without_proof(
    company: Company,
) -> None:
    tenant, other = await company.tenant("radio"), await company.tenant("radio")
    path, content = await media_of(company, tenant, sound("wav", seconds=4))
    _, _, _, _, sha256, proof = path.split("/")
    etag = f'"{sha256}"'
    get = company.web.session.get
    url = company.address
    async with get(url + path) as answer:
        assert await answer.read() == content
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["ETag"] == etag
        assert answer.headers["Content-Type"] == "audio/ogg"
        assert "Set-Cookie" not in answer.headers
    size = len(content)
    for asked, status, expected in (
        ("bytes=0-9", 206, content[:10]),
        (f"bytes={size - 5}-", 206, content[-5:]),
        ("bytes=-7", 206, content[-7:]),
        (f"bytes=5-{size * 2}", 206, content[5:]),
        (f"bytes={size}-", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=9-5", 200, content),
        ("bytes=0-1,4-5", 200, content),
        ("items=0-1", 200, content),
    ):
        async with get(url + path, headers={"Range": asked}) as answer:
            assert (answer.status, await answer.read()) == (status, expected), asked
    async with get(url + path, headers={"Range": "bytes=3-", "If-Range": etag}) as answer:
        assert (answer.status, await answer.read()) == (206, content[3:])
    async with get(url + path, headers={"Range": "bytes=3-", "If-Range": '"x"'}) as answer:
        assert (answer.status, await answer.read()) == (200, content)
    async with get(url + path, headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    async with company.web.session.head(url + path) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))

    master = hashlib.sha256(sound("wav", seconds=4)).hexdigest()
    host = await company.host(tenant)
    key = await compiler_of(host).media_key()
    hosts_before = len(company.cloud.hosts)
    told = []
    for wrong in (
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        path[:-32],
        f"/media/v1/{other}/{sha256}/{proof}",
        f"/media/v1/nobody-{tenant}/{sha256}/{proof}",
        f"/media/v1/..%2f{tenant}/{sha256}/{proof}",
        path_of(tenant, key, master),
        path_of(tenant, key, "0" * 64),
        path_of(other, key, sha256),
        path.replace(sha256, sha256.upper()),
    ):
        async with get(url + wrong) as answer:
            body = await answer.read()
            told.append((wrong, answer.status, body if wrong.count("/") == 5 else b""))
    assert {status for _, status, _ in told} == {404}, told
    assert {body for wrong, _, body in told if "%2f" not in wrong and wrong[-1] != "/"} == {b""}
    assert len(company.cloud.hosts) <= hosts_before + 1, "no tenant is made of a made-up name"


async def test_masters_and_covers_are_for_the_tenants_people(company: Company) -> None:
    tenant, other = await company.tenant("radio"), await company.tenant("radio")
    owner, member = (
        await company.owner(tenant),
        await company.web.sign_in(f"member@{tenant}.example"),
    )
    data = sound("mp3", cover=True)
    added = await upload(company, owner, data, "a.mp3")
    await settled(company, owner, added["asset"])
    where = f"{company.address}/player/files/{added['asset']}"
    for token, status in (
        (owner, 200),
        (member, 200),
        (await company.owner(other), 404),
        ("", 401),
    ):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for which in ("master", "cover"):
            async with company.web.session.get(f"{where}/{which}", headers=headers) as answer:
                assert answer.status == status, await answer.text()
    headers = {"Authorization": f"Bearer {member}", "Range": "bytes=10-19"}
    async with company.web.session.get(f"{where}/master", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (206, data[10:20])
        assert answer.headers["Content-Type"] == "audio/mpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"].startswith("private")


@needs_nginx
@pytest.mark.parametrize("caching", [WHOLE, SLICED], ids=["whole", "sliced"])
async def test_a_real_cache_between_asks_the_cloud_once_and_resumes_cost_no_byte_twice(
    company: Company, caching: str
) -> None:
    tenant = await company.tenant("radio")
    seconds = 21.0 if caching is WHOLE else 22.0
    path, content = await media_of(company, tenant, sound("flac", seconds=seconds), "a.flac")
    with roomy_folder() as folder:
        async with nginx(folder, company.port, caching) as cache, aiohttp.ClientSession() as shop:
            got, cuts = b"", 0
            while len(got) < len(content):
                headers = {"Range": f"bytes={len(got)}-", "If-Range": f'"{path.split("/")[4]}"'}
                async with shop.get(cache.url + path, headers=headers if got else {}) as answer:
                    assert answer.status == (206 if got else 200)
                    async for piece in answer.content.iter_chunked(7_001):
                        got += piece
                        cuts += 1
                        if cuts % 5 == 0:
                            answer.close()
                            break
            assert got == content, "each byte once, in its place"
            assert cuts > 10
            statuses = []
            for _ in range(3):
                async with shop.get(cache.url + path) as answer:
                    assert await answer.read() == content
                    statuses.append(answer.headers["X-Cache"])
                    assert answer.headers["ETag"] == f'"{path.split("/")[4]}"'
            assert statuses[1:] == ["HIT", "HIT"]
            wrong = path[:-1] + ("0" if path[-1] != "0" else "1")
            for _ in range(2):
                async with shop.get(cache.url + wrong) as answer:
                    assert answer.status == 404
                    assert answer.headers.get("X-Cache") != "HIT", "what is not there is not kept"
            company.cloud.stopping


async def test_hostile_uploads_fail_with_a_reason_and_stop_nobody(company: Company) -> None:
    tenant = await company.tenant("radio")
    owner = await company.owner(tenant)
    bad = await asyncio.gather(
        upload(company, owner, b"#EXTM3U\nfile:///etc/passwd\n" * 10, "a.m3u8.mp3"),
        upload(company, owner, b"ffconcat version 1.0\nfile '/etc/passwd'\n", "../../x.mp3"),
        upload(company, owner, sound("flac")[:20_000], "<img src=x onerror=alert(1)>.flac"),
    )
    good = await upload(company, owner, sound("ogg"), "ok.ogg")
    assert (await settled(company, owner, good["asset"]))["state"] == "ready"
    for one in bad:
        asset = await settled(company, owner, one["asset"])
        assert asset["state"] == "failed"
        assert asset["problem"].startswith("player.")
        assert "passwd" not in asset["problem"]
        assert "/" not in asset["master_name"]


async def test_another_tenants_people_and_nodes_get_nothing_of_it(company: Company) -> None:
    tenant, other = await company.tenant("radio"), await company.tenant("radio")
    owner, stranger = await company.owner(tenant), await company.owner(other)
    added = await upload(company, owner, sound("wav"), "1.wav")
    await settled(company, owner, added["asset"])
    await on_air(company, owner, added["asset"])
    for name in ("player_assets", "player_playlists", "player_slots", "player_renditions"):
        _, rows = await company.web.ask("GET", f"/rest/v1/{name}", token=stranger)
        assert rows == []
    for command in ("player_asset_retry", "player_asset_remove"):
        params = {"asset": added["asset"]}
        status, _ = await company.web.ask("POST", f"/rest/v1/rpc/{command}", params, stranger)
        assert status in (400, 404)
    async with company.node(await company.enrol(other)) as node:
        await connected(node)
        assert entries(await manifest_of(node), AssetEntry) == []
    _, (asset,) = await company.web.ask("GET", "/rest/v1/player_assets", token=owner)
    assert asset["state"] == "ready"

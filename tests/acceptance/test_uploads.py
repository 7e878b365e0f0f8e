# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Files that people send to the cloud: cut anywhere, gone on with at any replica, never more than once
what was kept; and nobody touches another's."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from beira.cloud import program as cloud_program
from beira.identity.tenants import service
from beira.kernel import limits
from beira.kernel.errors import Unavailable
from beira.kernel.query import Query
from beira.kernel.upload import clean_name
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    Company,
    company_on,
    fresh_database,
    postgres_directory,
    postgres_server,
    roomy_folder,
    until,
)
from tests.acceptance.upload_app import alone

PATH = "/storage/v1/upload/resumable"
PIECE = "application/offset+octet-stream"
CONTENT = hashlib.shake_256(b"a photo").digest(9_000_001)
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Replicas:
    """Two replicas over one database and one folder of blobs."""

    one: Company
    two: Company


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replicas(postgres_server: EmbeddedPostgres) -> AsyncIterator[Replicas]:
    dsn = await fresh_database(postgres_server)
    with pytest.MonkeyPatch.context() as patch, roomy_folder() as folder:
        patch.setattr(cloud_program, "installed", alone)
        async with (
            company_on(*dsn, data=folder / "cloud") as one,
            company_on(*dsn, data=folder / "cloud") as two,
        ):
            yield Replicas(one, two)


def metadata(command: str = "photo_came", name: str = "praia.jpg", **params: Any) -> str:
    pairs = {"filename": name, "command": command, "params": json.dumps(params)}
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


@dataclass
class Client:
    """One person's tus client at one replica."""

    company: Company
    token: str

    def at(self, company: Company) -> Client:
        return Client(company, self.token)

    async def ask(
        self, method: str, path: str, data: Any = None, **headers: str
    ) -> tuple[int, Any, bytes]:
        told = {
            "Tus-Resumable": "1.0.0",
            **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
        }
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.company.address + path
        async with self.company.web.session.request(method, url, data=data, headers=told) as answer:
            return answer.status, answer.headers, await answer.read()

    async def create(self, size: int = len(CONTENT), meta: str = "", **headers: str) -> str:
        status, told, body = await self.ask(
            "POST", PATH, Upload_Length=str(size), Upload_Metadata=meta or metadata(), **headers
        )
        assert status == 201, (status, body)
        return told["Location"]

    async def patch(
        self, where: str, offset: int, data: Any, **headers: str
    ) -> tuple[int, Any, bytes]:
        return await self.ask(
            "PATCH", where, data, Content_Type=PIECE, Upload_Offset=str(offset), **headers
        )

    async def offset(self, where: str) -> int:
        status, told, _ = await self.ask("HEAD", where)
        assert status == 200
        assert told["Cache-Control"] == "no-store"
        return int(told["Upload-Offset"])

    async def report(self, where: str) -> dict[str, Any]:
        status, _, body = await self.ask("GET", where)
        assert status == 200, body
        return dict(json.loads(body))


async def client(replicas: Replicas, tenant: str = "", who: str = "owner") -> Client:
    tenant = tenant or await replicas.one.tenant("foto")
    return Client(replicas.one, await replicas.one.web.sign_in(f"{who}@{tenant}.example"))


async def photos(replicas: Replicas, client: Client) -> list[dict[str, Any]]:
    _, told = await replicas.one.web.ask("GET", "/rest/v1/photos", token=client.token)
    return list(told)


async def test_in_pieces_at_either_replica_and_handed_over_at_the_end(replicas: Replicas) -> None:
    here = await client(replicas)
    there = here.at(replicas.two)
    where = await here.create(meta=metadata(album="verão", name="../x/praia\u202e.jpg"))
    for turn, start in enumerate(range(0, len(CONTENT), 2_000_000)):
        assert await (there, here)[turn % 2].offset(where) == start
        piece = CONTENT[start : start + 2_000_000]
        status, told, body = await (here, there)[turn % 2].patch(where, start, piece)
        assert status == 204, body
        assert int(told["Upload-Offset"]) == start + len(piece)
    assert told["Beira-Code"] == ""
    (photo,) = await photos(replicas, here)
    assert (photo["name"], photo["album"], photo["file"]) == ("praia .jpg", "verão", SHA)
    assert await there.offset(where) == len(CONTENT)
    report = await there.report(where)
    assert (report["done"], report["sha256"]) == (True, SHA)
    assert report["receipt"]["id"] == told["Beira-Receipt"]
    assert len(await photos(replicas, here)) == 1, "asking again hands nothing over again"
    status, _, _ = await here.patch(where, len(CONTENT), b"more")
    assert status == 409


async def test_cut_off_anywhere_what_came_is_kept(replicas: Replicas) -> None:
    here = await client(replicas)
    where = await here.create()
    sent = 0
    for cut in (1, 70_000, 4_194_304, 5_000_001):
        upto = sent + cut

        async def pieces(
            start: int = sent, end: int = min(upto, len(CONTENT))
        ) -> AsyncIterator[bytes]:
            for at in range(start, end, 50_000):
                yield CONTENT[at : min(at + 50_000, end)]
            await asyncio.sleep(0.3)
            raise ConnectionResetError

        with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
            await here.patch(where, sent, pieces())
        came = await until(lambda: grown(here, where, sent), "some of it was kept")
        assert came <= min(upto, len(CONTENT))
        sent = came
        if sent == len(CONTENT):
            break
    if sent < len(CONTENT):
        status, _, body = await here.patch(where, sent, CONTENT[sent:])
        assert status == 204, body
    await until(lambda: photos(replicas, here))
    assert (await photos(replicas, here))[0]["file"] == SHA


async def grown(client: Client, where: str, than: int) -> int:
    offset = await client.offset(where)
    return offset if offset > than else 0


async def test_a_piece_with_a_wrong_checksum_is_not_kept(replicas: Replicas) -> None:
    here = await client(replicas)
    data = b"bom dia"
    where = await here.create(len(data))
    for algorithm, digest in (("sha1", hashlib.sha1), ("sha256", hashlib.sha256)):
        wrong = base64.b64encode(digest(b"boa noite").digest()).decode()
        status, _, _ = await here.patch(where, 0, data, Upload_Checksum=f"{algorithm} {wrong}")
        assert (status, await here.offset(where)) == (460, 0)
    for odd in ("md5 AAAA", "sha1", "sha1 ?"):
        assert (await here.patch(where, 0, data, Upload_Checksum=odd))[0] == 400
    right = base64.b64encode(hashlib.sha1(data[:3]).digest()).decode()
    assert (await here.patch(where, 0, data[:3], Upload_Checksum=f"sha1 {right}"))[0] == 204
    assert (await here.patch(where, 3, data[3:]))[0] == 204


async def test_creation_with_the_content_and_what_the_door_says_of_itself(
    replicas: Replicas,
) -> None:
    here = await client(replicas)
    status, told, _ = await here.ask("OPTIONS", PATH)
    assert status == 204
    assert told["Tus-Version"] == "1.0.0"
    assert "checksum" in told["Tus-Extension"]
    sent = {"Upload_Length": "3", "Upload_Metadata": metadata(), "Content_Type": PIECE}
    status, told, _ = await here.ask("POST", PATH, b"abc", **sent)
    assert (status, told["Upload-Offset"], told["Beira-Code"]) == (201, "3", "")
    refused = {**sent, "Upload_Metadata": metadata(album="closed")}
    status, told, _ = await here.ask("POST", PATH, b"abc", **refused)
    assert (status, told["Beira-Code"]) == (201, "photo.closed")
    report = await here.report(told["Location"])
    assert report["receipt"]["message"] == "That album is closed."
    status, told, _ = await here.ask("POST", PATH, **sent, Tus_Resumable="0.2.2")
    assert status == 412


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload_Length": "-1"}, 400),
        ({"Upload_Length": "x"}, 400),
        ({"Upload_Length": "9" * 15}, 413),
        ({"Upload_Length": "0"}, 413),
        ({"Upload_Metadata": ""}, 404),
        ({"Upload_Metadata": metadata("nothing")}, 404),
        ({"Upload_Metadata": metadata("at_a_node")}, 403),
        ({"Upload_Metadata": metadata(no_such="1")}, 400),
        ({"Upload_Metadata": "filename !!!"}, 400),
        ({"Upload_Metadata": "filename YQ==,filename YQ=="}, 400),
        ({"Upload_Metadata": "filename " + "YQ==" * 3_000}, 400),
    ],
)
async def test_what_makes_no_sense_is_refused_before_a_byte_is_sent(
    replicas: Replicas, headers: dict[str, str], status: int
) -> None:
    here = await client(replicas)
    given = {"Upload_Length": "10", "Upload_Metadata": metadata(), **headers}
    told, _, body = await here.ask("POST", PATH, **given)
    assert told == status, body


async def test_more_than_was_announced_is_refused(replicas: Replicas) -> None:
    here = await client(replicas)
    where = await here.create(5)
    assert (await here.patch(where, 0, b"123456"))[0] == 413
    assert (await here.patch(where, 3, b"123"))[0] in (409, 413)
    assert (await here.ask("PATCH", where, b"12", Upload_Offset="0"))[0] == 415


async def test_nobody_touches_anothers_upload(replicas: Replicas) -> None:
    tenant, other = [await replicas.one.tenant("foto") for _ in range(2)]
    mine = await client(replicas, tenant)
    where = await mine.create()
    member, stranger = await client(replicas, tenant, "member"), await client(replicas, other)
    for them, expected in ((member, 404), (stranger, 404), (Client(replicas.one, ""), 401)):
        for method in ("HEAD", "GET", "DELETE"):
            assert (await them.ask(method, where))[0] == expected
        assert (await them.patch(where, 0, b"x"))[0] == expected
    assert await mine.offset(where) == 0
    tenants = replicas.one.cloud.identity.tenants
    invited = await tenants.invite(service(tenant), f"guest@{tenant}.example", "guest")
    await tenants.accept(invited.code, PASSWORD, name="guest")
    guest = await client(replicas, tenant, "guest")
    status, _, _ = await guest.ask("POST", PATH, Upload_Length="1", Upload_Metadata=metadata())
    assert status == 403
    assert (await mine.ask("DELETE", where))[0] == 204
    assert (await mine.ask("HEAD", where))[0] == 404


async def test_a_page_of_another_site_cannot_send_with_ones_cookies(replicas: Replicas) -> None:
    tenant = await replicas.one.tenant("foto")
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(replicas.one.address, cookie_jar=jar) as browser:
        async with browser.get("/sign-in") as page:
            form = re.search(r'name="csrf" value="([0-9a-f]+)"', await page.text())
        assert form is not None
        given = {"csrf": form[1], "email": f"owner@{tenant}.example", "password": PASSWORD}
        async with browser.post("/sign-in", data=given) as page:
            assert page.status == 200
            form = re.search(r'name="csrf" value="([0-9a-f]+)"', await page.text())
        assert form is not None
        sent = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": metadata()}
        for more, status in (
            ({}, 403),
            ({"Beira-Form": "0" * 32}, 403),
            ({"Beira-Form": form[1], "Origin": "https://evil.example"}, 403),
            ({"Beira-Form": form[1], "Sec-Fetch-Site": "cross-site"}, 403),
            ({"Beira-Form": form[1]}, 201),
        ):
            async with browser.post(PATH, headers={**sent, **more}) as answer:
                assert answer.status == status, await answer.text()


async def test_what_a_crash_left_whole_is_seen_to_its_end_by_the_next_question(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await client(replicas)
    where = await here.create()
    keeper = replicas.one.cloud.blobs
    kept = keeper.keep

    async def crash(*given: Any, **more: Any) -> None:
        await kept(*given, **more)
        raise Unavailable("killed")

    monkeypatch.setattr(keeper, "keep", crash)
    assert (await here.patch(where, 0, CONTENT))[0] == 503
    monkeypatch.setattr(keeper, "keep", kept)
    assert await photos(replicas, here) == []
    assert await here.at(replicas.two).offset(where) == len(CONTENT)
    assert len(await photos(replicas, here)) == 1


async def test_two_replicas_asked_at_once_hand_over_once(replicas: Replicas) -> None:
    here = await client(replicas)
    where = await here.create()
    await here.patch(where, 0, CONTENT[:-1])
    last = [
        (here, here.at(replicas.two))[n % 2].patch(where, len(CONTENT) - 1, CONTENT[-1:])
        for n in range(4)
    ]
    told = [status for status, _, _ in await asyncio.gather(*last)]
    assert 204 in told or await here.offset(where) == len(CONTENT), told
    assert await here.offset(where) == len(CONTENT)
    assert len(await photos(replicas, here)) == 1


async def test_an_upload_that_expired_is_gone_and_so_is_what_came(replicas: Replicas) -> None:
    here = await client(replicas)
    tenant = (await replicas.one.cloud.identity.principal(here.token)).tenant
    where, left = await here.create(), await here.create()
    for one in (where, left):
        assert (await here.patch(one, 0, CONTENT[:100]))[0] == 204
    host = await replicas.one.host(tenant)
    soon = host.now() + timedelta(seconds=limits.UPLOAD_KEPT_S + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "now", lambda: soon)
        assert (await here.ask("HEAD", where))[0] == 410
        assert await replicas.one.cloud.uploads.tidy(host) == 1
    assert (await here.ask("HEAD", where))[0] == 404
    assert (await host.store.query(Query(collection="uploads"))).rows == []
    staged = replicas.one.folder.parent.glob(f"*/cloud/blobs/{tenant}/staged/*/*")
    assert list(staged) == []


async def test_so_many_at_once_and_no_more(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await client(replicas)
    monkeypatch.setattr(limits, "UPLOADS_OPEN", 2)
    for _ in range(2):
        await here.create()
    given = {"Upload_Length": "1", "Upload_Metadata": metadata()}
    assert (await here.ask("POST", PATH, **given))[0] == 507
    monkeypatch.setattr(limits, "UPLOADS_OPEN", 10)
    monkeypatch.setattr(limits, "BLOB_TENANT_BYTES", len(CONTENT) * 2)
    status, _, body = await here.ask("POST", PATH, **given)
    assert (status, json.loads(body)["code"]) == (507, "blob.quota")


def test_a_files_name_leads_nowhere_and_hides_nothing() -> None:
    for given, shown in (
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ana\\a.mp3", "a.mp3"),
        ("a\x00b\nc.mp3", "a b c.mp3"),
        ("moc.exe\u202e3pm", "moc.exe 3pm"),
        ("", "?"),
        ("x" * 400, "x" * 255),
    ):
        assert clean_name(given) == shown

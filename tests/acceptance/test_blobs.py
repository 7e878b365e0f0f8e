# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Files between real nodes and a real cloud: whatever is killed, garbled or full, what arrives is what
was sent, and what was carried once is not carried again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from beira.blobs import FolderBlobs
from beira.cloud import program as cloud_program
from beira.host.listen import Listen
from beira.kernel import limits
from beira.kernel.collection import CRITICAL
from beira.kernel.errors import Full
from beira.node import program as node_program
from beira.node.program import Node, NodeConfig
from beira.sync import put_off
from beira.sync.blobs import metrics
from tests.acceptance.blob_app import Film, Recording, alone, installed_in
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    Web,
    company_on,
    drained,
    free_port,
    fresh_database,
    postgres_directory,
    postgres_server,
    program,
    put,
    roomy_folder,
    row_of,
    until,
)
from tests.unit.blobs.s3_server import BUCKET, s3_server, settings
from tests.unit.blobs.test_lane import garbling

SIZE = 12_000_000
MARK = b"a mark to be garbled"


def content(seed: int, size: int = SIZE) -> bytes:
    """Bytes that repeat nowhere, with a mark in their midst."""
    made = hashlib.shake_256(seed.to_bytes(4, "big")).digest(size)
    return made[: size // 2] + MARK + made[size // 2 + len(MARK) :]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.asynccontextmanager
async def node_of(data: Path, url: str, **more: object) -> AsyncIterator[Node]:
    config = NodeConfig(data=data, listen=Listen(), cloud=url, **more)  # type: ignore[arg-type]
    async with node_program.running(config) as node:
        yield node


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Programs with the app of films alone; what failed is tried again within a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_program, "installed", alone)
        patch.setattr(cloud_program, "installed", alone)
        patch.setattr(limits, "RECONNECT_MOST_S", 1)
        patch.setattr(put_off, "AGAIN_S", 0.5)
        yield


async def has(node: Node, data: bytes) -> bool:
    path = await node.blobs.path(sha(data))
    return path is not None and path.read_bytes() == data


def carried(way: str) -> float:
    """How many bytes of blobs nodes of this process have carried."""
    return metrics.BYTES.labels(way)._value.get()


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def storage(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """The cloud's setting, and the variables that go with it."""
    if request.param == "folder":
        yield "", {}
        return
    with s3_server() as url:
        yield f"s3://{BUCKET}/blobs", settings(url)


@pytest.mark.timeout(240)
async def test_a_cloud_killed_on_the_way_up_and_on_the_way_down(
    storage: tuple[str, dict[str, str]],
) -> None:
    where, variables = storage
    with roomy_folder() as folder:
        async with company_on("", "", data=folder / "cloud") as made:
            tenant = await made.tenant("cinema")
            first, second = [(await made.enrol(tenant)).rename(folder / f"node{n}") for n in (1, 2)]
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        arguments = ["cloud", "run", "--data", str(folder / "cloud"), "--port", str(port)]
        arguments += ["--blobs", where] if where else []
        environment = {**os.environ, **variables, "PYTHONPATH": installed_in(folder / "apps")}
        async with (
            program(folder / "cloud.log", *arguments, env=environment) as cloud,
            aiohttp.ClientSession() as session,
        ):
            web = Web(session, url)
            await cloud.answers(url, session)
            data = content(1)

            async with node_of(first, url, blob_bytes_per_s=SIZE) as node:
                before = carried("up")
                ref = await node.blobs.add(data)
                await put(node.host, Recording(audio=ref.sha256))
                await until(lambda: carried("up") - before > SIZE / 4)
                assert node.blobs.ledger.unsent == [ref.sha256]
                cloud.kill()
                await until(lambda: not node.agent.state.connected)
                cloud.start()
                await cloud.answers(url, session)
                await until(lambda: not node.blobs.ledger.unsent, cloud.said()[-2_000:])
                await drained(node)
                assert carried("up") - before <= SIZE, "nothing the cloud had was sent again"

            owner = await web.sign_in(f"owner@{tenant}.example")
            film = {"id": "f1", "title": "O Auto", "file": ref.sha256}
            status, told = await web.ask("POST", "/rest/v1/films", film, owner)
            assert status == 201, told
            async with node_of(second, url, blob_bytes_per_s=SIZE) as node:
                before = carried("down")
                await until(lambda: carried("down") - before > SIZE / 4, cloud.said()[-2_000:])
                assert await node.blobs.path(ref.sha256) is None, "not before it is whole"
                cloud.kill()
                await until(lambda: not node.agent.state.connected)
                cloud.start()
                await cloud.answers(url, session)
                await until(lambda: has(node, data), cloud.said()[-2_000:])
                assert carried("down") - before == SIZE, "and nothing the node had came again"


async def test_what_is_garbled_on_its_way_is_refused_and_carried_again(
    postgres_server: object,
) -> None:
    async with company_on(*await fresh_database(postgres_server)) as company:  # type: ignore[arg-type]
        tenant = await company.tenant("cinema")
        up, down = content(2), content(3)
        film = await keep(company, tenant, down)
        data = await company.enrol(tenant)
        refused = metrics.REFUSED.labels("digest")._value.get()
        async with (
            garbling(company.port, MARK, 2) as (line, done),
            node_of(data, f"http://127.0.0.1:{line}") as node,
        ):
            await put(node.host, Recording(audio=(await node.blobs.add(up)).sha256))
            await until(lambda: stored(company, tenant, up).exists())
            await until(lambda: has(node, down))
            assert len(done) == 2
        host = await company.host(tenant)
        assert await host.store.get("films", film) is not None
        assert metrics.REFUSED.labels("digest")._value.get() - refused >= 2
        assert stored(company, tenant, up).read_bytes() == up


async def keep(company: Company, tenant: str, data: bytes) -> str:
    """A film of the cloud's own: its record's id."""
    path = company.folder / sha(data)
    path.write_bytes(data)
    ref = await company.cloud.blobs.add(tenant, path)
    film = Film(id=f"film-{ref.sha256[:8]}", title="O Auto", file=ref.sha256)
    await put(await company.host(tenant), film)
    return film.id


def stored(company: Company, tenant: str, data: bytes) -> Path:
    storage = company.cloud.blobs.storage
    assert isinstance(storage, FolderBlobs)
    return storage.path(tenant, sha(data))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk a little larger than what is kept for records."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=120m,mode=0700", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root: run the tests where one may mount")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path, *, leave_bytes: int) -> None:
    free = shutil.disk_usage(disk).free
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave_bytes)


async def test_a_node_with_a_full_disk_takes_records_and_waits_with_files(
    postgres_server: object, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_DISK_RESERVE_BYTES", limits.DISK_RESERVE_BYTES + 8_000_000)
    async with company_on(*await fresh_database(postgres_server)) as company:  # type: ignore[arg-type]
        tenant = await company.tenant("cinema")
        data = content(4)
        film = await keep(company, tenant, data)
        shutil.copytree(await company.enrol(tenant), disk / "node")
        fill(disk, leave_bytes=limits.BLOB_DISK_RESERVE_BYTES + SIZE // 2)
        async with node_of(disk / "node", company.address) as node:
            await row_of(node.store, "films", film)
            await until(lambda: node.blobs.state.no_room == 1)
            with pytest.raises(Full) as raised:
                await node.blobs.add(content(5))
            assert raised.value.code in ("blob.disk_full", "blob.budget") and raised.value.hint
            await put(node.host, Recording(id="r", audio=""), lane=CRITICAL)
            await row_of((await company.host(tenant)).store, "recordings", "r")
            assert not await has(node, data)
            (disk / "ballast").unlink()
            await until(lambda: has(node, data))


async def test_a_cloud_with_a_full_disk_confirms_nothing_and_goes_on_when_there_is_room(
    postgres_server: object, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_DISK_RESERVE_BYTES", 1_000_000)
    where = {"blobs": str(disk / "blobs")}
    dsn, owner = await fresh_database(postgres_server)  # type: ignore[arg-type]
    async with company_on(dsn, owner, **where) as company:
        tenant = await company.tenant("cinema")
        data = content(6)
        async with node_of(await company.enrol(tenant), company.address) as node:
            fill(disk, leave_bytes=1_000_000 + SIZE // 2)
            ref = await node.blobs.add(data)
            await put(node.host, Recording(id="r", audio=ref.sha256))
            await drained(node)
            seen = company.cloud.blobs.storage
            await until(lambda: seen.staged(tenant, node.host.place.node, ref.sha256))
            assert node.blobs.ledger.unsent == [ref.sha256]
            assert not stored(company, tenant, data).exists()
            (disk / "ballast").unlink()
            await until(lambda: not node.blobs.ledger.unsent)
        assert stored(company, tenant, data).read_bytes() == data

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""What can be wrong when a program starts: it says what, with a code and the next step, ends, and has
changed nothing on the disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from beira.apps.voice.records import CustomerRequest
from beira.identity.tenants import service
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    command,
    company,
    company_on,
    drained,
    fresh_database,
    postgres_directory,
    postgres_server,
    put,
    roomy_folder,
)

NOBODY = 65_534


def contents(folder: Path) -> dict[str, str]:
    """What lies in a folder: the hash of each file, but for locks."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


async def refused(
    arguments: tuple[str, ...],
    code: str,
    *says: str,
    folder: Path | None = None,
    nobody: bool = False,
) -> None:
    """The command ends with 1, names the code and the next step, and leaves `folder` as it was."""
    before = contents(folder) if folder else {}
    status, said = await asyncio.to_thread(command, *arguments, nobody=nobody)
    assert status == 1, said
    assert f"({code})" in said and "→" in said, said
    assert "Traceback" not in said, said
    for part in says:
        assert part in said, said
    if folder:
        assert contents(folder) == before


@pytest.fixture
async def data(company: Company) -> Path:
    """A node that has worked: its folder, with a record that was not sent yet."""
    folder = await company.enrol(await company.tenant("angeloni"))
    async with company.plug() as plug:
        plug.pull()
        async with company.node(folder, plug) as node:
            await put(node.host, CustomerRequest(id="unsent", text="x", at=node.host.now()))
    return folder


async def test_a_port_in_use(company: Company, data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        await refused(
            ("node", "run", "--data", str(data), "--port", port), "listen.failed", port, "--port"
        )
        cloud = ("cloud", "run", "--data", str(company.folder / "other"), "--port", port)
        await refused(cloud, "listen.failed", port, "--port")


async def test_nothing_enrolled_there(company: Company) -> None:
    await refused(
        ("node", "run", "--data", str(company.folder / "nowhere")),
        "node.not_enrolled",
        "beira node enrol",
    )
    assert not (company.folder / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as somebody else")
async def test_a_folder_one_may_not_write(company: Company, data: Path) -> None:
    data.chmod(0o755)
    for path in data.iterdir():
        path.chmod(0o644)
    (data / "node.key").chmod(0o600)
    await refused(
        ("node", "run", "--data", str(data)), "identity.key_file", "key", folder=data, nobody=True
    )
    os.chown(data / "node.key", NOBODY, NOBODY)
    (data / "node.db.lock").unlink(missing_ok=True)
    await refused(
        ("node", "run", "--data", str(data)),
        "store.denied",
        "right to write",
        folder=data,
        nobody=True,
    )
    place = company.folder / "closed"
    place.mkdir(mode=0o755)
    enrol = ("node", "enrol", company.address, "AAAA-AAAAAA", "--data", str(place / "n"))
    await refused(enrol, "misconfigured", "--data", folder=place, nobody=True)
    cloud = ("cloud", "run", "--data", str(place / "c"), "--port", "0")
    await refused(cloud, "store.denied", "--data", folder=place, nobody=True)
    await refused((*cloud, "--tls-self-signed"), "tls.certificate", folder=place, nobody=True)


@pytest.mark.parametrize(
    ("name", "spoil", "code"),
    [
        ("node.db", lambda b: b"not a database, certainly not one" * 100, "store.corrupt"),
        ("node.db", lambda b: b[:4_096] + os.urandom(len(b) - 4_096), "store.corrupt"),
        ("node.db", lambda b: b[: len(b) // 2 + 1_000], "store.corrupt"),
        ("node.json", lambda b: b[: len(b) // 2], "node.file"),
        ("node.json", lambda b: b"", "node.file"),
        ("node.json", lambda b: b"{}", "node.file"),
        ("node.key", lambda b: b[:7], "identity.key_invalid"),
    ],
)
async def test_damaged_files_are_left_as_they_are(
    data: Path, name: str, spoil: Callable[[bytes], bytes], code: str
) -> None:
    for beside in ("node.db-wal", "node.db-shm"):
        (data / beside).unlink(missing_ok=True)
    whole = (data / name).read_bytes()
    (data / name).write_bytes(spoil(whole))
    await refused(("node", "run", "--data", str(data), "--port", "0"), code, name, folder=data)
    (data / name).write_bytes(whole)


async def test_a_node_running_already(company: Company, data: Path) -> None:
    async with company.node(data):
        await refused(
            ("node", "run", "--data", str(data), "--port", "0"), "store.locked", "Stop the other"
        )


async def test_enrolling_with_what_is_wrong(company: Company, data: Path) -> None:
    fresh = str(company.folder / "fresh")
    enrol = ("node", "enrol", company.address, "AAAA-AAAAAA", "--data")
    await refused((*enrol, fresh), "enrol.code_wrong")
    await refused((*enrol, str(data)), "node.enrolled", "--data", folder=data)
    nobody = "http://127.0.0.1:9"
    await refused(("node", "enrol", nobody, "AAAA-AAAAAA", "--data", fresh), "unavailable", nobody)


async def test_a_node_whose_file_was_damaged_enrols_again_and_loses_nothing(
    company: Company, data: Path
) -> None:
    """What the message for a damaged node.json promises."""
    (me,) = await company.cloud.identity.nodes.of(service(company.tenants[-1]))
    code = await company.cloud.identity.nodes.make_code(
        service(company.tenants[-1]), me.site, node=me.id
    )
    (data / "node.json").write_bytes(b"{")
    status, said = await asyncio.to_thread(
        command, "node", "enrol", company.address, code.code, "--data", str(data)
    )
    assert status == 0, said
    async with company.node(data) as node:
        await drained(node)
        host = await company.host(company.tenants[-1])
        assert await host.store.get("customer_requests", "unsent") is not None


async def test_a_cloud_with_another_servers_key(postgres_server: EmbeddedPostgres) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    with roomy_folder() as folder:
        async with company_on(dsn, owner_dsn, data=folder / "one") as made:
            await made.tenant("angeloni")
        (folder / "two").mkdir()
        shutil.copy(folder / "one" / "secret.key", folder / "two" / "kept.key")
        run = ("cloud", "run", "--data", str(folder / "two"), "--port", "0")
        run += ("--database-url", dsn, "--owner-url", owner_dsn)
        await refused(run, "identity.key_wrong", "key")
        (folder / "two" / "secret.key").write_bytes(b"short")
        await refused(run, "identity.key_invalid")
        (folder / "two" / "secret.key").write_bytes(os.urandom(32))
        (folder / "two" / "secret.key").chmod(0o644)
        await refused(run, "identity.key_exposed")
        async with company_on(dsn, owner_dsn, data=folder / "one") as again:
            assert await again.owner(made.tenants[0])


async def test_a_cloud_whose_database_is_not_there(tmp_path: Path) -> None:
    run = ("cloud", "run", "--data", str(tmp_path), "--port", "0", "--database-url")
    status, said = await asyncio.to_thread(command, *run, "postgresql://x:y@127.0.0.1:9/none")
    assert status == 1 and "→" in said and "Traceback" not in said, said

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
from beira.kernel.errors import BeiraError
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    command,
    commands,
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


async def refused(*asked: tuple[tuple[str, ...], str, str], nobody: bool = False) -> None:
    """Each command ends with 1, and names the code, what is wrong and the next step."""
    told = await asyncio.to_thread(commands, *(a for a, _, _ in asked), nobody=nobody)
    for (status, said), (_, code, says) in zip(told, asked, strict=True):
        assert status == 1, said
        assert f"({code})" in said and says in said and "→" in said, said
        assert "Traceback" not in said, said


async def worked(company: Company) -> Path:
    """A node that has worked: its folder, with a record that was not sent yet."""
    folder = await company.enrol(await company.tenant("angeloni"))
    async with company.plug() as plug:
        plug.pull()
        async with company.node(folder, plug) as node:
            await put(node.host, CustomerRequest(id="unsent", text="x", at=node.host.now()))
    return folder


async def test_a_port_in_use_a_node_running_already_and_nothing_enrolled(company: Company) -> None:
    data, nowhere = await worked(company), company.folder / "nowhere"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cloud = ("cloud", "run", "--data", str(company.folder / "other"), "--port", port)
        await refused(
            (("node", "run", "--data", str(data), "--port", port), "listen.failed", port),
            (cloud, "listen.failed", "--port"),
            (("node", "run", "--data", str(nowhere)), "node.not_enrolled", "beira node enrol"),
        )
    assert not nowhere.exists()
    async with company.node(data):
        again = ("node", "run", "--data", str(data), "--port", "0")
        await refused((again, "store.locked", "Stop the other"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as somebody else")
async def test_a_folder_one_may_not_write(company: Company) -> None:
    closed, data = company.folder / "closed", await worked(company)
    data.chmod(0o755)
    for path in data.iterdir():
        path.chmod(0o644)
    (data / "node.key").chmod(0o600)
    (data / "node.db.lock").unlink(missing_ok=True)
    readable = shutil.copytree(data, company.folder / "readable")
    os.chown(readable / "node.key", NOBODY, NOBODY)
    closed.mkdir(mode=0o755)
    before = [contents(folder) for folder in (data, readable, closed)]
    enrol = ("node", "enrol", company.address, "AAAA-AAAAAA", "--data", str(closed / "n"))
    cloud = ("cloud", "run", "--data", str(closed / "c"), "--port", "0")
    await refused(
        (("node", "run", "--data", str(data)), "identity.key_file", "node.key"),
        (("node", "run", "--data", str(readable)), "store.denied", "right to write"),
        (enrol, "misconfigured", "--data"),
        (cloud, "store.denied", "--data"),
        ((*cloud, "--tls-self-signed"), "tls.certificate", "right to write"),
        nobody=True,
    )
    assert [contents(folder) for folder in (data, readable, closed)] == before


SPOILT: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    ("node.db", "store.corrupt", lambda b: b"not a database, certainly not one" * 100),
    ("node.db", "store.corrupt", lambda b: b[:4_096] + os.urandom(len(b) - 4_096)),
    ("node.db", "store.corrupt", lambda b: b[: len(b) // 2 + 1_000]),
    ("node.json", "node.file", lambda b: b[: len(b) // 2]),
    ("node.json", "node.file", lambda b: b""),
    ("node.json", "node.file", lambda b: b"{}"),
    ("node.key", "identity.key_invalid", lambda b: b[:7]),
)


async def test_damaged_files_are_said_and_left_as_they_are(company: Company) -> None:
    data = await worked(company)
    for beside in ("node.db-wal", "node.db-shm"):
        (data / beside).unlink(missing_ok=True)
    for name, code, spoil in SPOILT:
        whole = (data / name).read_bytes()
        (data / name).write_bytes(spoil(whole))
        before = contents(data)
        with pytest.raises(BeiraError) as said:
            async with company.node(data):
                pass
        assert said.value.code == code and name in said.value.message and said.value.hint
        assert contents(data) == before, f"{name} was left as it was"
        if spoil is SPOILT[0][2]:
            run = ("node", "run", "--data", str(data), "--port", "0")
            await refused((run, code, name))
        (data / name).write_bytes(whole)
    async with company.node(data) as node:
        await drained(node)


async def test_enrolling_with_what_is_wrong(company: Company) -> None:
    data, fresh = await worked(company), str(company.folder / "fresh")
    before, nobody = contents(data), "http://127.0.0.1:9"
    enrol = ("node", "enrol", company.address, "AAAA-AAAAAA", "--data")
    await refused(
        ((*enrol, fresh), "enrol.code_wrong", "code"),
        ((*enrol, str(data)), "node.enrolled", "--data"),
        (("node", "enrol", nobody, "AAAA-AAAAAA", "--data", fresh), "unavailable", nobody),
    )
    assert contents(data) == before


async def test_a_node_whose_file_was_damaged_enrols_again_and_loses_nothing(
    company: Company,
) -> None:
    """What the message for a damaged node.json promises."""
    data = await worked(company)
    tenant = company.tenants[-1]
    (me,) = await company.cloud.identity.nodes.of(service(tenant))
    code = await company.cloud.identity.nodes.make_code(service(tenant), me.site, node=me.id)
    (data / "node.json").write_bytes(b"{")
    status, said = await asyncio.to_thread(
        command, "node", "enrol", company.address, code.code, "--data", str(data)
    )
    assert status == 0, said
    async with company.node(data) as node:
        await drained(node)
        host = await company.host(tenant)
        assert await host.store.get("customer_requests", "unsent") is not None


async def test_a_cloud_with_another_servers_key(
    postgres_server: EmbeddedPostgres,
) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    with roomy_folder() as folder:
        async with company_on(dsn, owner_dsn, data=folder / "right") as made:
            await made.tenant("angeloni")
        for name, key, mode in (
            ("other", os.urandom(32), 0o600),
            ("short", b"short", 0o600),
            ("exposed", os.urandom(32), 0o644),
        ):
            (folder / name).mkdir()
            (folder / name / "secret.key").write_bytes(key)
            (folder / name / "secret.key").chmod(mode)

        def run(name: str, *database: str) -> tuple[str, ...]:
            return ("cloud", "run", "--data", str(folder / name), "--port", "0", *database)

        url = ("--database-url", dsn, "--owner-url", owner_dsn)
        await refused(
            (run("other", *url), "identity.key_wrong", "key"),
            (run("short", *url), "identity.key_invalid", "secret.key"),
            (run("exposed", *url), "identity.key_exposed", "chmod 600"),
        )
        async with company_on(dsn, owner_dsn, data=folder / "right") as again:
            assert await again.owner(made.tenants[0])

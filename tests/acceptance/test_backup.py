# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A machine is lost, and a bare one becomes it: what it held and had not sent arrives, what it sent
after its last backup comes back, and the old machine, should it wake, is told that it was replaced."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from beira.apps.voice.records import CustomerRequest, Person
from beira.identity.tenants import service
from beira.node import settled
from beira.node.program import Node
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    Web,
    command,
    commands,
    company,
    connected,
    drained,
    postgres_directory,
    postgres_server,
    program,
    put,
    row_of,
    until,
)

KEY = re.compile(r"(?:[A-Z2-7]{4}-){7}[A-Z2-7]{4}")


async def request(node: Node, id: str) -> None:
    await put(node.host, CustomerRequest(id=id, text=f"pedido {id}", at=node.host.now()))


async def asked(*arguments: str) -> tuple[int, str]:
    return await asyncio.to_thread(command, *arguments)


async def key_of(data: Path) -> str:
    """Make the recovery key, and write it down."""
    code, said = await asked("node", "backup-key", "--data", str(data))
    found = KEY.search(said)
    assert code == 0 and found, said
    return found[0]


async def code_for(company: Company, tenant: str, data: Path) -> str:
    node = settled.load(data).enrolled.node
    nodes = company.cloud.identity.nodes
    return (await nodes.make_code(service(tenant), f"{tenant}-1", node=node)).code


@pytest.fixture
def usb(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    return tmp_path / "usb"


@pytest.mark.parametrize("kept", ["folder", "cloud"])
async def test_a_lost_machine_comes_back_with_all_it_held(
    company: Company, tmp_path: Path, usb: Path, kept: str
) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    await put(cloud, *(Person(id=f"p{n}", name=f"João {n}") for n in range(20)))
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await row_of(node.store, "people", "p19")
        await request(node, "sent")
        await drained(node)
        (data / "voice").mkdir(exist_ok=True)
        node.host.private.write(data / "voice" / "voice.npz", b"a voice" * 1000)
        key = await key_of(data)
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        await request(node, "unsent")
        to = ("--to", str(usb)) if kept == "folder" else ()
        code, said = await asked("node", "backup", "--now", "--data", str(data), *to)
        assert code == 0 and "were new" in said, said
        await request(node, "only at the old machine")
        plug.put_back()
        await connected(node)
        await request(node, "sent after the backup")
        await drained(node)

    bare = tmp_path / "bare"
    one_time = await code_for(company, tenant, data)
    where = ("--from", str(usb)) if kept == "folder" else ()
    code, said = await asked(
        "node", "restore", one_time, "--cloud", company.address, *where,
        "--recovery-key", key, "--data", str(bare),
    )  # fmt: skip
    assert code == 0 and "beira node run" in said, said
    assert (bare / "voice" / "voice.npz").read_bytes() == b"a voice" * 1000
    assert not (bare / "restore").exists()

    async with company.node(bare) as restored:
        assert await restored.store.get("people", "p19") is not None
        assert await restored.store.get("customer_requests", "unsent") is not None
        await connected(restored)
        await drained(restored)
        await row_of(restored.store, "customer_requests", "sent after the backup")
        await row_of(restored.store, "customer_requests", "only at the old machine")
        await request(restored, "at the new machine")
        await row_of(cloud.store, "customer_requests", "at the new machine")
        for id in ("sent", "unsent", "sent after the backup"):
            assert await cloud.store.get("customer_requests", id) is not None

        async with company.node(data) as old:  # the old machine wakes
            await request(old, "written when it woke")
            await until(lambda: "Another machine" in old.agent.state.last_error)
            assert "--again" in old.agent.state.next_step
            code, said = await asked(
                "node", "backup", "--now", "--data", str(data), "--to", str(usb)
            )
            assert code == 1 and "node.replaced" in said, said
            held = await old.agent.pending()
            assert sum(lane.count for lane in held.values()) >= 1, "what is unsent is kept"
        await request(restored, "still the node")
        await row_of(cloud.store, "customer_requests", "still the node")


async def test_what_was_never_sent_arrives_once(
    company: Company, tmp_path: Path, usb: Path
) -> None:
    """The machine burns while it is offline: its backup is all there is of what it wrote."""
    tenant = await company.tenant("bistek")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await connected(node)
        key = await key_of(data)
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        for n in range(50):
            await request(node, f"r{n}")
        code, said = await asked("node", "backup", "--now", "--data", str(data), "--to", str(usb))
        assert code == 0, said
    one_time = await code_for(company, tenant, data)
    shutil.rmtree(data)
    bare = tmp_path / "bare"
    code, said = await asked(
        "node", "restore", one_time, "--cloud", company.address, "--from", str(usb),
        "--recovery-key", key, "--data", str(bare),
    )  # fmt: skip
    assert code == 0, said
    async with company.node(bare) as restored:
        await drained(restored)
    rows = [await cloud.store.get("customer_requests", f"r{n}") for n in range(50)]
    assert all(row is not None and not row.deleted for row in rows)

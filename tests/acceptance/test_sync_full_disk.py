# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A node's disk fills up: what is critical still gets in, the rest is refused in plain words, and once
there is room again everything goes on. On a real small disk where we may mount one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beira.apps.voice.records import CustomerRequest, Interaction, Person
from beira.host.wall import SystemWall
from beira.kernel import limits
from beira.kernel.collection import CRITICAL, IMPORTANT, Lane
from beira.kernel.errors import Full
from beira.node import program as node_program
from beira.node.program import Node
from beira.sync.node import conversation
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company,
    connected,
    drained,
    postgres_directory,
    postgres_server,
    put,
    row_of,
    until,
)

DISK_BYTES = limits.DISK_RESERVE_BYTES + 24_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk a little larger than what is kept for critical records."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    size = f"size={DISK_BYTES},mode=0700"
    asked = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip(
            "a small disk needs root: run the tests as root, or in a container that may mount"
        )
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path, *, leave_bytes: int) -> None:
    """Let so much of the disk be free, and no more."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave_bytes)


async def say(node: Node, id: str, lane: Lane = IMPORTANT, text: str = "x") -> None:
    await put(node.host, CustomerRequest(id=id, text=text, at=node.host.now()), lane=lane)


async def test_a_full_disk_keeps_its_last_room_for_what_is_critical_and_loses_nothing(
    company: Company, disk: Path
) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = (await company.enrol(tenant)).rename(company.folder / f"moved-{tenant}")
    shutil.copytree(data, disk / "node")
    async with company.plug() as plug, company.node(disk / "node", plug) as node:
        await connected(node)
        await say(node, "before")
        await row_of(cloud.store, "customer_requests", "before")
        plug.pull()
        await until(lambda: not node.agent.state.connected)

        fill(disk, leave_bytes=limits.DISK_RESERVE_BYTES // 2)
        with pytest.raises(Full) as refused:
            await say(node, "important")
        assert refused.value.code == "disk.full" and "disk" in refused.value.hint
        by = node.host.place.principal
        with pytest.raises(Full):
            await node.host.run("log_request", {"text": "x"}, principal=by, door="page")
        done = await node.host.run("raise_emergency", {"kind": "fire"}, principal=by, door="page")
        assert done.ok
        await say(node, "critical", CRITICAL)

        fill(disk, leave_bytes=65_536)
        taken = []
        with pytest.raises(Full) as refused:
            for n in range(10_000):
                await say(node, f"last-{n}", CRITICAL, "x" * 8_000)
                taken.append(f"last-{n}")
        assert refused.value.hint
        assert await node.store.get("customer_requests", "critical") is not None

        (disk / "ballast").unlink()
        await say(node, "after")
        plug.put_back()
        await drained(node)
        for id in ("before", "critical", "after", *taken):
            assert await cloud.store.get("customer_requests", id) is not None, id
        assert await cloud.store.get("customer_requests", "important") is None


@pytest.mark.parametrize("http_only", [False, True])
async def test_a_node_with_a_full_disk_still_sends_what_it_holds_and_later_hears_what_it_missed(
    company: Company, disk: Path, monkeypatch: pytest.MonkeyPatch, http_only: bool
) -> None:
    monkeypatch.setattr(conversation, "ROOM_AGAIN_S", 0.5)
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)
    shutil.copytree(data, disk / "node")
    async with (
        company.plug() as plug,
        company.node(disk / "node", plug, http_only=http_only) as node,
    ):
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        for n in range(20):
            await say(node, f"r{n}")
        await put(cloud, Person(id="joao", name="João"))
        fill(disk, leave_bytes=limits.DISK_RESERVE_BYTES // 2)
        plug.put_back()
        await drained(node)
        for n in range(20):
            assert await cloud.store.get("customer_requests", f"r{n}") is not None
        await say(node, "fire", CRITICAL)
        await row_of(cloud.store, "customer_requests", "fire")
        assert await node.store.get("people", "joao") is None
        (disk / "ballast").unlink()
        await row_of(node.store, "people", "joao", name="João")


async def test_a_disk_that_others_filled_to_the_last_byte_still_takes_an_alarm_and_a_restart(
    company: Company, disk: Path
) -> None:
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    shutil.copytree(await company.enrol(tenant), disk / "node")
    async with company.plug() as plug:
        async with company.node(disk / "node", plug) as node:
            await connected(node)
            await say(node, "before")
            await row_of(cloud.store, "customer_requests", "before")
            plug.pull()
            await until(lambda: not node.agent.state.connected)
            fill(disk, leave_bytes=0)
            await say(node, "fire", CRITICAL)
            with pytest.raises(Full):
                await say(node, "important")
        async with company.node(disk / "node", plug) as node:
            assert await node.store.get("customer_requests", "fire") is not None
            plug.put_back()
            await row_of(cloud.store, "customer_requests", "fire")
            (disk / "ballast").unlink()
            await say(node, "after")
            await row_of(cloud.store, "customer_requests", "after")


async def test_what_the_cloud_has_leaves_the_node_when_its_time_is_over(company: Company) -> None:
    """Talk is kept for ninety days; what the cloud did not get stays however old it is."""
    tenant = await company.tenant("angeloni")
    cloud = await company.host(tenant)
    data = await company.enrol(tenant)

    async def talk(node: Node, id: str) -> None:
        said = Interaction(
            id=id, at=node.host.now(), text="x", intent="", outcome="done", answer="y"
        )
        await put(node.host, said)

    async with company.plug() as plug:
        async with company.node(data, plug) as node:
            await talk(node, "sent")
            await row_of(cloud.store, "interactions", "sent")
            await drained(node)
            plug.pull()
            await until(lambda: not node.agent.state.connected)
            await talk(node, "unsent")
        with pytest.MonkeyPatch.context() as later:
            later.setattr(node_program, "SystemWall", NextYear)
            async with company.node(data, plug) as node:

                async def gone() -> bool:
                    return await node.store.get("interactions", "sent") is None

                await until(gone, "the talk that was sent is forgotten")
                assert await node.store.get("interactions", "unsent") is not None
        async with company.node(data, plug) as node:
            plug.put_back()
            await row_of(cloud.store, "interactions", "unsent")
    assert await cloud.store.get("interactions", "sent") is not None


class NextYear(SystemWall):
    def now_ms(self) -> int:
        return super().now_ms() + 365 * 86_400_000

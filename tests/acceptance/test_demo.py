"""`make run` as somebody would try it: pull the plug of a shop, go on working, put it back."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from beira.demo.program import Demo, running
from beira.kernel.errors import Misconfigured
from beira.node import asking
from tests.contract.postgres_fixture import postgres_place

WAIT_S = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    place = postgres_place()
    place.chmod(0o711)
    yield place / "demo"
    shutil.rmtree(place, ignore_errors=True)


def free_ports() -> int:
    """The first of twenty ports in a row that are free now."""
    for first in range(21_000, 60_000, 37):
        try:
            for port in range(first, first + 20):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no ports")


@pytest.mark.timeout(240)
async def test_work_goes_on_with_the_plug_pulled_and_drains_when_it_is_back(folder: Path) -> None:
    port = free_ports()
    async with running(folder, port) as demo:
        shop = demo.nodes[0]
        await _until(shop.address, lambda report: report.connected)
        await _switch(demo, shop.shop.site)
        said = await asking.say(shop.address, "registrar ponto do João Silva", None)
        assert "Ponto do João Silva registrado" in said.show
        alarm = await asking.say(shop.address, "emergência", None)
        assert alarm.understood
        waiting = await _until(shop.address, lambda report: report.lanes["critical"].waiting > 0)
        assert not waiting.connected and waiting.lanes["important"].waiting > 0
        await _switch(demo, shop.shop.site)
        await _until(shop.address, lambda r: not any(lane.waiting for lane in r.lanes.values()))
        passwords = [sign_in.password for sign_in in demo.sign_ins]
    async with running(folder, port) as again:
        assert [sign_in.password for sign_in in again.sign_ins] == passwords
        assert len(await _punches(again)) == 1


@pytest.mark.timeout(120)
async def test_a_port_in_use_is_said_with_the_next_step(folder: Path) -> None:
    port = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        with pytest.raises(Misconfigured) as error:
            async with running(folder, port):
                pass
    assert error.value.code == "listen.failed" and "--port" in error.value.hint


async def _switch(demo: Demo, site: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{demo.page}/plug/{site}") as response,
    ):
        assert response.status == 200


async def _until(address: str, holds: Any) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not holds(report := await asking.status(address)):
            await asyncio.sleep(0.1)
    return report


async def _punches(demo: Demo) -> list[Any]:
    """What the portal's API says, signed in as the first tenant's owner."""
    sign_in = demo.sign_ins[0]
    async with aiohttp.ClientSession() as session:
        body = {"email": sign_in.email, "password": sign_in.password}
        url = f"{demo.portal}/auth/v1/token?grant_type=password"
        async with session.post(url, json=body) as response:
            token = (await response.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(f"{demo.portal}/rest/v1/punches", headers=headers) as response:
            found: list[Any] = await response.json()
            return found

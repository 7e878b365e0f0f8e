# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A card loses a page of a node's database: the message says what to do, and what one does saves all
that can be read; the cloud gets what it lacked, and gives back what it had."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from beira.apps.voice.records import CustomerRequest, Person
from beira.kernel.errors import Corrupt
from beira.node.program import Node
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    command,
    company,
    connected,
    drained,
    postgres_directory,
    postgres_server,
    put,
    row_of,
    until,
)

REQUESTS = 60


async def worked_offline(company: Company, tenant: str, data: Path) -> None:
    """People came down, requests wait to go up."""
    cloud = await company.host(tenant)
    await put(cloud, *(Person(id=f"p{n}", name=f"João {n} " + "x" * 400) for n in range(40)))
    async with company.plug() as plug, company.node(data, plug) as node:
        await connected(node)
        await row_of(node.store, "people", "p39")
        await drained(node)
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        for n in range(REQUESTS):
            await put(node.host, CustomerRequest(id=f"r{n}", text="y" * 400, at=node.host.now()))


def lose_a_page(path: Path, table: str) -> None:
    """A leaf of the table, in the middle of it, is nothing but noise."""
    connection = apsw.Connection(str(path))
    query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'"
    pages = [number for (number,) in connection.execute(query, (table,))]
    connection.close()
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * 4_096)
        file.write(b"\xa5" * 4_096)


async def repaired(company: Company, data: Path) -> str:
    """What the message and the command say."""
    with pytest.raises(Corrupt) as caught:
        async with company.node(data):
            pass
    assert "beira node repair" in caught.value.hint
    code, said = await asyncio.to_thread(command, "node", "repair", "--data", str(data))
    assert code == 0, said
    assert len({path.name[:31] for path in data.glob("node.db.damaged-*")}) == 1
    return said


async def all_people(node: Node) -> None:
    for n in range(40):
        await row_of(node.store, "people", f"p{n}")


@pytest.mark.parametrize("table", ["_streams", "people"])
async def test_a_lost_page_costs_nothing_that_was_written(company: Company, table: str) -> None:
    """Neither a page of the log, which is written anew, nor one that the cloud can give again."""
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    await worked_offline(company, tenant, data)
    lose_a_page(data / "node.db", table)
    said = await repaired(company, data)
    assert f"Not all of {table} could be read" in said and "are lost" not in said
    async with company.node(data) as node:
        await all_people(node)
        await drained(node)
        cloud = await company.host(tenant)
        for n in range(REQUESTS):
            await row_of(cloud.store, "customer_requests", f"r{n}")
        await put(node.host, CustomerRequest(id="after", text="z", at=node.host.now()))
        await row_of(cloud.store, "customer_requests", "after")


async def test_what_is_lost_is_counted_and_the_rest_is_sent(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    await worked_offline(company, tenant, data)
    lose_a_page(data / "node.db", "customer_requests")
    said = await repaired(company, data)
    assert "rows the cloud did not have are lost" in said
    async with company.node(data) as node:
        await drained(node)
        cloud = await company.host(tenant)
        there = [n for n in range(REQUESTS) if await cloud.store.get("customer_requests", f"r{n}")]
        assert REQUESTS - 12 <= len(there) < REQUESTS
    code, said = await asyncio.to_thread(command, "node", "repair", "--data", str(data))
    assert code == 0 and "The database is whole" in said

"""A server over the memory store, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest_asyncio
from tests.unit.api.shop import Tickets, application, listening, memory_host
from yarl import URL

from beira.host import Host


@dataclass
class Answer:
    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.content)


class Client:
    """Asks the server as somebody."""

    def __init__(self, session: aiohttp.ClientSession, url: str, host: Host, tickets: Tickets):
        self.session = session
        self.url = url
        self.host = host
        self.tickets = tickets

    async def __call__(
        self, method: str, path: str, body: Any = None, *, who: str = "owner", **headers: str
    ) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who:
            sent["Authorization"] = f"Bearer {who}"
        data = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, data=data, headers=sent) as response:
            return Answer(response.status, response.headers, await response.read())


@pytest_asyncio.fixture(loop_scope="session")
async def tickets() -> Tickets:
    return Tickets()


@pytest_asyncio.fixture(loop_scope="session")
async def ask(tickets: Tickets) -> AsyncIterator[Client]:
    """A client of a cloud with tenants t1 and t2."""
    hosts = {"t1": memory_host(), "t2": memory_host(tenant="t2")}
    async with (
        listening(application(hosts, tickets)) as url,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, url, hosts["t1"], tickets)


@pytest_asyncio.fixture(loop_scope="session")
async def ask_node(tickets: Tickets) -> AsyncIterator[Client]:
    """A client of a node at site s1 of tenant t1."""
    host = memory_host(node=True)
    async with (
        listening(application({"t1": host}, tickets)) as url,
        aiohttp.ClientSession() as session,
    ):
        yield Client(session, url, host, tickets)

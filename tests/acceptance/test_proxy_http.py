# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A shop's proxy lets no WebSocket through: everything works over plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from beira.apps.voice.records import CustomerRequest, Person
from beira.kernel import limits
from beira.kernel.command import Call
from beira.kernel.query import Query, where
from beira.store.port import Store
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

REFUSALS = ("403 Forbidden", "400 Bad Request", "502 Bad Gateway", "200 OK", "cut", "deaf")
"""How proxies treat what they do not know. `cut` says nothing and closes; `deaf` lets the WebSocket be
opened and passes nothing through it."""


@dataclass
class Proxy:
    """An HTTP proxy of the strict sort: it passes requests on, and refuses to upgrade."""

    target: int
    refusal: str
    port: int = 0
    refused: int = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        answering: asyncio.Task[None] | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"\r\nupgrade:" in head.lower():
                    self.refused += 1
                    if self.refusal == "deaf":
                        back.write(head)
                        writer.write(await there.readuntil(b"\r\n\r\n"))
                        while await reader.read(65_536):
                            pass
                    elif self.refusal != "cut":
                        writer.write(
                            f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n".encode()
                        )
                        await writer.drain()
                    return
                if answering is None:
                    answering = asyncio.create_task(_copy(there, writer))
                body = await reader.readexactly(_length(head))
                back.write(head + body)
                await back.drain()
        finally:
            if answering is not None:
                answering.cancel()
            back.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def count(store: Store, collection: str, **fields: object) -> int:
    question = Query(collection=collection, where=where(**fields), count=True)  # type: ignore[arg-type]
    return (await store.query(question)).total or 0


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_where_websockets_are_refused_both_ways_work_over_http(
    company: Company, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELLO_TIMEOUT_S", 1)
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    cloud = await company.host(tenant)
    async with (
        Proxy(company.port, refusal).serving() as proxy,
        company.node(data, cloud=f"http://127.0.0.1:{proxy.port}") as node,
    ):
        await put(node.host, CustomerRequest(id="up", text="café", at=node.host.now()))
        await row_of(cloud.store, "customer_requests", "up", text="café")
        tried = proxy.refused
        await put(cloud, Person(id="down", name="João"))
        await row_of(node.store, "people", "down", name="João")
        assert node.agent.state.link == "http"
        assert 0 < tried == proxy.refused, "it is not tried again at every exchange"


async def test_commands_from_the_cloud_run_once_over_http_and_answer(company: Company) -> None:
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    cloud, owner = await company.host(tenant), await company.owner(tenant)
    async with company.node(data, http_only=True) as node:
        await connected(node)
        me = node.host.place.node
        ask = {"text": "pão de queijo"}
        headers = {"Beira_Node": me, "Prefer": "wait=25", "Idempotency_Key": "one-call"}
        for _ in range(2):
            status, told = await company.web.ask(
                "POST", "/rest/v1/rpc/log_request", ask, owner, **headers
            )
            assert (status, told["text"]) == (200, "pão de queijo"), told
        receipt = await row_of(cloud.store, "receipts", "one-call", ok=True)
        assert receipt.fields["door"] == "cloud"
    async with company.node(data, http_only=True) as node:
        await drained(node)
        await connected(node)
        assert await count(node.store, "customer_requests", text="pão de queijo") == 1
        assert await count(cloud.store, "customer_requests", text="pão de queijo") == 1


@pytest.mark.parametrize("http_only", [False, True])
async def test_a_command_that_comes_too_late_is_not_obeyed_and_says_so(
    company: Company, http_only: bool
) -> None:
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    cloud = await company.host(tenant)
    async with company.plug() as plug, company.node(data, plug, http_only=http_only) as node:
        await connected(node)
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        late = Call(
            id="late",
            command="log_request",
            params={"text": "tarde demais"},
            by="dona",
            role="owner",
            expires_at=cloud.now() - timedelta(seconds=1),
        )
        timely = Call(
            id="timely",
            command="log_request",
            params={"text": "a tempo"},
            by="dona",
            role="owner",
            expires_at=cloud.now() + timedelta(hours=1),
        )
        await put(cloud, late, timely, partition=f"node:{node.host.place.node}")
        plug.put_back()
        refused = await row_of(cloud.store, "receipts", "late", ok=False)
        assert refused.fields["code"] == "call.expired" and refused.fields["hint"]
        await row_of(cloud.store, "receipts", "timely", ok=True)
        assert await count(node.store, "customer_requests", text="tarde demais") == 0
        assert await count(node.store, "customer_requests", text="a tempo") == 1


async def test_a_command_no_role_of_the_caller_allows_is_refused_at_the_node(
    company: Company,
) -> None:
    tenant = await company.tenant("angeloni")
    data = await company.enrol(tenant)
    cloud = await company.host(tenant)
    async with company.node(data, http_only=True) as node:
        forbidden = Call(
            id="guest",
            command="log_request",
            params={"text": "x"},
            by="visita",
            role="guest",
            expires_at=cloud.now() + timedelta(hours=1),
        )
        await put(cloud, forbidden, partition=f"node:{node.host.place.node}")
        receipt = await row_of(cloud.store, "receipts", "guest", ok=False)
        assert receipt.fields["code"] == "denied"

"""A Python program with PyPI's `realtime` client hears of changes, broadcasts and sees who is there."""

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from realtime import AsyncRealtimeClient, RealtimePostgresChangesListenEvent

from tests.unit.api.serving import (  # noqa: F401 (fixtures)
    Served,
    cloud,
    kind,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
    served,
)

WAIT_S = 10
EVERY = RealtimePostgresChangesListenEvent.All


class Ear:
    """Keeps what a channel was told."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, payload: Any = None, *_: Any) -> None:
        self.queue.put_nowait(payload)

    async def next(self) -> Any:
        return await asyncio.wait_for(self.queue.get(), WAIT_S)


class States(Ear):
    """Keeps a channel's states: SUBSCRIBED, CLOSED, CHANNEL_ERROR."""

    def __call__(self, state: Any = None, error: Any = None, *_: Any) -> None:
        self.queue.put_nowait((state.value, str(error or "")))

    async def until(self, wanted: str) -> str:
        while True:
            state, error = await self.next()
            if state == wanted:
                return error


@pytest_asyncio.fixture(loop_scope="session")
async def connect(served: Served) -> AsyncIterator[Any]:
    clients = []

    async def as_somebody(who: str) -> AsyncRealtimeClient:
        client = AsyncRealtimeClient(f"{served.url}/realtime/v1", who, auto_reconnect=False)
        clients.append(client)
        await client.connect()
        return client

    yield as_somebody
    for client in clients:
        await client.close()


async def write(served: Served, method: str, path: str, body: Any = None) -> None:
    headers = {"Authorization": "Bearer owner"}
    url = f"{served.url}/rest/v1{path}"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, json=body) as response,
    ):
        assert response.status < 300, await response.text()


async def test_changes_of_a_record_arrive(served: Served, connect: Any) -> None:
    client, ear, states = await connect("owner"), Ear(), States()
    channel = client.channel("shop").on_postgres_changes(EVERY, ear, table="products")
    await channel.subscribe(states)
    await states.until("SUBSCRIBED")
    await write(served, "POST", "/products", {"id": "a", "name": "Café", "price": 1})
    told = (await ear.next())["data"]
    assert (told["type"], told["table"], told["record"]["name"]) == ("INSERT", "products", "Café")
    await write(served, "PATCH", "/products?id=eq.a", {"price": 2})
    told = (await ear.next())["data"]
    assert (told["type"], told["record"]["price"]) == ("UPDATE", 2)
    await write(served, "DELETE", "/products?id=eq.a")
    told = (await ear.next())["data"]
    assert (told["type"], told["old_record"]) == ("DELETE", {"id": "a"})


async def test_filters_hold_back_the_rest(served: Served, connect: Any) -> None:
    client, ear, states = await connect("owner"), Ear(), States()
    channel = client.channel("shop").on_postgres_changes(
        EVERY, ear, table="products", filter="price=gt.10,name=in.(Sal,Café)"
    )
    await channel.subscribe(states)
    await states.until("SUBSCRIBED")
    await write(served, "POST", "/products", {"name": "Sal", "price": 5})
    await write(served, "POST", "/products", {"name": "Mel", "price": 50})
    await write(served, "POST", "/products", {"name": "Café", "price": 50})
    assert (await ear.next())["data"]["record"]["name"] == "Café"
    assert ear.queue.empty()


async def test_a_guest_hears_nothing_personal(served: Served, connect: Any) -> None:
    client, ear, states = await connect("guest"), Ear(), States()
    await client.channel("x").on_postgres_changes(EVERY, ear, table="sales").subscribe(states)
    await states.until("SUBSCRIBED")
    await write(served, "POST", "/rpc/sell", {"product": "p", "amount": 3, "seller": "Ana"})
    record = (await ear.next())["data"]["record"]
    assert record["amount"] == 3 and "seller" not in record


async def test_another_site_and_another_tenant_hear_nothing(served: Served, connect: Any) -> None:
    near, far, ears = await connect("member"), await connect("elsewhere"), (Ear(), Ear())
    for client, ear in zip((near, far), ears, strict=True):
        states = States()
        channel = client.channel("x").on_postgres_changes(EVERY, ear, table="*")
        await channel.subscribe(states)
        await states.until("SUBSCRIBED")
    await write(served, "POST", "/rpc/sell", {"product": "p", "amount": 3})
    await write(served, "POST", "/products", {"id": "end", "name": "for the whole tenant"})
    kinds = [(await ears[0].next())["data"]["table"] for _ in range(3)]
    assert sorted(kinds) == ["products", "receipts", "sales"]
    heard = [(await ears[1].next())["data"]["table"]]
    while heard[-1] != "products":
        heard.append((await ears[1].next())["data"]["table"])
    assert "sales" not in heard


async def test_a_revoked_token_ends_the_channel_at_once(served: Served, connect: Any) -> None:
    client, ear, states = await connect("owner"), Ear(), States()
    await client.channel("x").on_postgres_changes(EVERY, ear, table="products").subscribe(states)
    await states.until("SUBSCRIBED")
    served.tickets.revoke("owner")
    await states.until("CLOSED")
    served.tickets.revoked.clear()
    await write(served, "POST", "/products", {"name": "unheard"})
    assert ear.queue.empty()


async def test_broadcast_and_presence(served: Served, connect: Any) -> None:
    ana, bia = await connect("owner"), await connect("member")
    said, joined, states = Ear(), Ear(), States()
    hers = bia.channel("room").on_broadcast("cursor", said).on_presence_join(joined)
    await hers.subscribe(states)
    await states.until("SUBSCRIBED")
    states = States()
    mine = ana.channel("room")
    await mine.subscribe(states)
    await states.until("SUBSCRIBED")
    await mine.send_broadcast("cursor", {"x": 1})
    assert (await said.next())["payload"] == {"x": 1}
    await mine.track({"page": "home"})
    await joined.next()
    assert [entry["page"] for metas in hers.presence_state().values() for entry in metas] == [
        "home"
    ]


async def test_a_channel_needs_a_token_and_the_right(served: Served, connect: Any) -> None:
    for who, why in (("nobody", "does not hold"), ("guest", "may not read notes")):
        client, states = await connect(who), States()
        channel = client.channel("x").on_postgres_changes(EVERY, Ear(), table="notes")
        await channel.subscribe(states)
        assert why in await states.until("CHANNEL_ERROR")


@pytest.mark.parametrize("kind", ["memory"])
async def test_broadcast_by_http(served: Served, connect: Any) -> None:
    client, said, states = await connect("owner"), Ear(), States()
    channel = client.channel("room").on_broadcast("news", said)
    await channel.subscribe(states)
    await states.until("SUBSCRIBED")
    await channel.http_send("news", {"x": 1})
    assert (await said.next())["payload"] == {"x": 1}

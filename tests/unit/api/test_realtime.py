"""Realtime's promises that a well-behaved client never meets: slow readers, old tokens, nonsense."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.api.conftest import Client
from tests.unit.api.shop import PEOPLE, memory_host

from beira.api import changes, realtime
from beira.api.changes import Change, Feed
from beira.api.phoenix import V1, V2, Message, decode, encode
from beira.kernel import limits
from beira.kernel.errors import Invalid, Unavailable
from beira.store.port import News

WAIT_S = 10
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)
PAYLOADS = st.dictionaries(
    TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS, max_size=3
)


class Line:
    """A WebSocket as a client holds it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, event: str, payload: Any = None, topic: str = "realtime:x") -> None:
        message = {"topic": topic, "event": event, "payload": payload or {}, "ref": "1"}
        await self.socket.send_str(msgspec.json.encode(message).decode())

    async def hear(self) -> Any:
        message = await self.socket.receive(WAIT_S)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return msgspec.json.decode(message.data)

    async def until(self, event: str) -> Any:
        while True:
            message = await self.hear()
            if message["event"] == event:
                return message

    async def join(self, who: str = "owner", **config: Any) -> Any:
        await self.say("phx_join", {"config": config, "access_token": who})
        return (await self.until("phx_reply"))["payload"]


@contextlib.asynccontextmanager
async def line(ask: Client) -> AsyncIterator[Line]:
    async with ask.session.ws_connect(f"{ask.url}/realtime/v1/websocket") as socket:
        yield Line(socket)


def wish(**more: Any) -> list[dict[str, Any]]:
    return [{"event": "*", "schema": "public", "table": "products", **more}]


async def test_a_slow_reader_is_told_to_fetch_again(
    ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line(ask) as slow:
        assert (await slow.join(postgres_changes=wish()))["status"] == "ok"
        await slow.until("system")
        transmit = realtime.Connection._transmit
        gate = asyncio.Event()

        async def held(self: Any, message: Message) -> None:
            await gate.wait()
            await transmit(self, message)

        monkeypatch.setattr(realtime.Connection, "_transmit", held)
        for start in range(2):
            rows = [{"name": "x"}] * (limits.SUBSCRIBER_QUEUE // 2 + 10)
            assert (await ask("POST", "/rest/v1/products", rows)).status == 201, start
        await asyncio.sleep(0.1)
        gate.set()
        told = await slow.until("phx_error")
        assert "fetch again" in told["payload"]["reason"]
        assert (await slow.join(postgres_changes=wish()))["status"] == "ok"
        await ask("POST", "/rest/v1/products", {"name": "after"})
        change = await slow.until("postgres_changes")
        assert change["payload"]["data"]["record"]["name"] == "after"


async def test_a_flood_of_news_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUBSCRIBER_QUEUE", 4)
    host = memory_host()
    feed, heard = Feed(host), asyncio.Queue[Change | None]()
    feed.listen(heard.put_nowait, [("products", None)])
    declared = host.store.registry["products"]
    for n in range(20):
        fields = declared.check({"name": "x"}, whole=True)
        await host.write([host.stamped(declared, str(n), "tenant", fields)])
    told = [await asyncio.wait_for(heard.get(), WAIT_S) for _ in range(5)]
    assert told[-1] is None and None not in told[:-1]
    await feed.close()


async def test_a_store_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    host = memory_host()

    async def away(*_: Any) -> Any:
        raise Unavailable("The database is away.")

    feed, heard = Feed(host), asyncio.Queue[Change | None]()
    feed.listen(heard.put_nowait, [("products", None)])
    monkeypatch.setattr(host.store, "get", away)
    feed._heard(News(tenant="t1", rows=(("products", "a", "tenant"),)))
    assert await asyncio.wait_for(heard.get(), WAIT_S) is None
    await feed.close()


async def test_a_feed_reads_only_what_somebody_listens_to(monkeypatch: pytest.MonkeyPatch) -> None:
    host = memory_host()
    feed, heard, read = Feed(host), asyncio.Queue[Change | None](), list[str]()
    feed.listen(heard.put_nowait, [("products", None)])
    get = host.store.get

    async def noted(collection: str, id: str) -> Any:
        read.append(collection)
        return await get(collection, id)

    monkeypatch.setattr(host.store, "get", noted)
    for name, fields in (("notes", {"text": "x"}), ("products", {"name": "x"})):
        declared = host.store.registry[name]
        checked = declared.check(fields, whole=True)
        await host.write([host.stamped(declared, "a", "tenant", checked)])
    change = await asyncio.wait_for(heard.get(), WAIT_S)
    assert change is not None and change.collection.name == "products"
    assert read == ["products"]
    await feed.close()


async def test_a_feed_stops_with_its_last_listener() -> None:
    host = memory_host()
    feed = Feed(host)
    end = feed.listen(lambda change: None, [])
    assert len(feed) == 1 and feed._task is not None
    end()
    end()
    assert len(feed) == 0 and feed._task is None


async def test_a_token_that_ran_out_ends_its_channel(
    ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "RECHECK_S", 0.05)
    async with line(ask) as client:
        await client.join(postgres_changes=wish())
        ask.tickets.revoked.add("owner")
        closed = await client.until("phx_close")
        assert "does not hold" in closed["payload"]["reason"]
        await ask("POST", "/rest/v1/products", {"name": "x"}, who="member")
        await client.say("heartbeat", topic="phoenix")
        assert (await client.hear())["event"] == "phx_reply"


async def test_a_token_is_renewed_but_not_by_another_person(ask: Client) -> None:
    async with line(ask) as client:
        await client.join(postgres_changes=wish())
        await client.until("system")
        await client.say("access_token", {"access_token": "owner"})
        await client.say("heartbeat", topic="phoenix")
        assert (await client.hear())["payload"]["status"] == "ok"
        await client.say("access_token", {"access_token": "member"})
        assert "somebody else" in (await client.until("phx_close"))["payload"]["reason"]


async def test_rights_that_changed_need_a_new_join(
    ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line(ask) as client:
        await client.join("member", postgres_changes=wish(table="sales", filter="seller=eq.Ana"))
        demoted = msgspec.structs.replace(PEOPLE["member"], role="guest")
        monkeypatch.setitem(PEOPLE, "member", demoted)
        ask.tickets.revoke("nobody")
        ended = await client.until("phx_error")
        assert "rights have changed" in ended["payload"]["reason"]
        again = await client.join(
            "member", postgres_changes=wish(table="sales", filter="seller=eq.A")
        )
        assert again["status"] == "error" and "no column" in again["response"]["reason"]


@pytest.mark.parametrize(
    ("who", "config", "why"),
    [
        ("", {}, "Nobody is signed in"),
        ("stranger", {}, "does not hold"),
        ("guest", {"postgres_changes": wish(table="notes")}, "may not read notes"),
        ("guest", {"postgres_changes": wish(table="sales", filter="seller=eq.Ana")}, "no column"),
        ("owner", {"postgres_changes": wish(table="none")}, "no collection"),
        ("owner", {"postgres_changes": wish(schema="auth")}, "not covered"),
        ("owner", {"postgres_changes": wish(event="TRUNCATE")}, "not covered"),
        ("owner", {"postgres_changes": wish(filter="price=eq.cheap")}, "not what it compares"),
        ("owner", {"postgres_changes": wish(filter="nonsense")}, "no comparison"),
        ("owner", {"postgres_changes": wish(table="*", filter="a=eq.1")}, "needs its table"),
        ("owner", {"postgres_changes": wish() * 51}, "at most"),
        ("owner", {"postgres_changes": "all"}, "at most"),
    ],
)
async def test_joins_that_are_refused(ask: Client, who: str, config: Any, why: str) -> None:
    async with line(ask) as client:
        refused = await client.join(who, **config)
        assert refused["status"] == "error" and why in refused["response"]["reason"]


async def test_nonsense_is_answered_and_ends_nothing(ask: Client) -> None:
    async with line(ask) as client:
        for raw in ("", "{", "[]", "[1,2,3,4,5]", '{"topic":1}', "[" * 5_000, "null"):
            await client.socket.send_str(raw)
            assert (await client.hear())["payload"]["status"] == "error"
        for raw in (b"", b"\x03", b"\x03\xff\xff\xff\xff\xff\x01", b"\x09abcdefgh"):
            await client.socket.send_bytes(raw)
            assert (await client.hear())["payload"]["status"] == "error"
        await client.say("broadcast", {"event": "x"})
        assert (await client.hear())["payload"]["status"] == "error", "not joined"
        await client.join()
        for event, payload in (
            ("broadcast", {}),
            ("broadcast", {"event": 5}),
            ("presence", {"event": "hide"}),
            ("presence", {"event": "track", "payload": {"x": "y" * 20_000}}),
            ("dance", {}),
        ):
            await client.say(event, payload)
            assert (await client.until("phx_reply"))["payload"]["status"] == "error"
        await client.say("heartbeat", topic="phoenix")
        assert (await client.hear())["payload"]["status"] == "ok"


async def test_channels_of_a_connection_are_bounded(ask: Client) -> None:
    async with line(ask) as client:
        for number in range(realtime.CHANNELS + 1):
            payload = {"config": {}, "access_token": "owner"}
            await client.say("phx_join", payload, topic=f"realtime:{number}")
            told = (await client.until("phx_reply"))["payload"]
        assert told["status"] == "error"
        assert told["response"]["reason"].startswith("ChannelRateLimitReached")


async def test_only_the_columns_asked_for(ask: Client) -> None:
    async with line(ask) as client:
        await client.join(postgres_changes=wish(select=["name"]))
        await ask("POST", "/rest/v1/products", {"id": "a", "name": "x", "price": 2})
        record = (await client.until("postgres_changes"))["payload"]["data"]["record"]
        assert record == {"id": "a", "name": "x", "_partition": "tenant"}


async def test_rooms_are_of_one_tenant(ask: Client) -> None:
    async with line(ask) as here, line(ask) as there:
        await here.join("owner")
        await there.join("other")
        await here.say("broadcast", {"event": "secret", "payload": 1})
        await there.say("heartbeat", topic="phoenix")
        assert (await there.hear())["event"] == "phx_reply"
        messages = {"messages": [{"topic": "x", "event": "e", "payload": {"n": 1}}]}
        sent = await ask("POST", "/realtime/v1/api/broadcast", messages)
        assert sent.status == 202
        assert (await here.until("broadcast"))["payload"]["payload"] == {"n": 1}
        bad = await ask("POST", "/realtime/v1/api/broadcast", {"messages": [{}]})
        assert bad.status == 400


def test_a_feed_forgets_the_oldest_it_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SEEN", 2)
    host = memory_host()
    feed, declared = Feed(host), host.store.registry["products"]
    fields = declared.check({"name": "x"}, whole=True)
    rows = [host.stamped(declared, id, "tenant", fields) for id in "aabca"]
    kinds = [feed._kind(declared, row) for row in rows]
    assert kinds == ["INSERT", "UPDATE", "INSERT", "INSERT", "INSERT"]


@given(TEXTS, TEXTS, PAYLOADS, st.none() | st.text("0123456789", min_size=1, max_size=5))
def test_messages_come_back_as_they_went(
    topic: str, event: str, payload: dict[str, Any], ref: str | None
) -> None:
    for version in (V1, V2):
        if version == V2 and event == "broadcast":
            continue
        message = Message(topic, event, payload, ref)
        assert decode(encode(message, version)) == message


@given(st.binary(max_size=60))
def test_no_frame_crashes_the_reader(raw: bytes) -> None:
    for read in (lambda: decode(raw), lambda: decode(raw.decode("latin-1"))):
        with contextlib.suppress(Invalid):
            assert isinstance(read(), Message)


def test_a_broadcast_travels_in_bytes() -> None:
    message = Message("realtime:é", "broadcast", {"event": "x", "payload": {"n": 1}})
    raw = encode(message, V2)
    assert isinstance(raw, bytes)
    topic, event = "realtime:é".encode(), b"x"
    assert raw == bytes((4, len(topic), len(event), 0, 1)) + topic + event + b'{"n":1}'

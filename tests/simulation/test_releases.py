"""Law 8: today's cloud and nodes with those of other releases, older and newer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from beira.kernel import limits
from beira.kernel.wire import Bye, Check, Feed, Fetch, Hello, Welcome, Wire
from beira.sync.codec import JsonCodec
from beira.sync.node.link import Link
from tests.simulation.links import SimConnector, SimSocket
from tests.simulation.virtual import run_virtual
from tests.simulation.world import EPOCH_MS, Good, Note, Rule, SimNode, World

JSON = JsonCodec()


class OlderCloud:
    """Links to a cloud that knows nothing of what was added since: its welcome does not say `can`, and
    it ends a session in which it is sent something it does not know."""

    def __init__(self, inner: SimConnector, greeted: list[Hello]) -> None:
        self._inner, self._greeted = inner, greeted

    async def connect(self, hello: Callable[[], Hello]) -> Link:
        link = await self._inner.connect(hello)
        assert isinstance(link, SimSocket)
        send, receive = link.send, link.receive

        async def sends(messages: Sequence[Wire]) -> int:
            self._greeted.extend(m for m in messages if isinstance(m, Hello))
            if any(isinstance(m, Check | Fetch) for m in messages):
                link._down.put_nowait([Bye(code="sync.unexpected", message="what?", retry=True)])
            return await send(messages)

        async def receives() -> list[Wire]:
            heard = await receive()
            return [
                msgspec.structs.replace(m, can=[]) if isinstance(m, Welcome) else m for m in heard
            ]

        link.send, link.receive = sends, receives  # type: ignore[method-assign]
        return link

    async def close(self) -> None:
        pass


def test_a_node_asks_an_older_cloud_nothing_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CHECK_EVERY_S", 100)

    async def story() -> None:
        world = World(1, nodes=1)
        node = world.nodes[0]
        greeted: list[Hello] = []
        for replica in world.replicas:
            await replica.start()
        await node.boot()
        node.agent._connector = OlderCloud(node.agent._connector, greeted)  # type: ignore[arg-type]
        await node.write(Note(text="x"))
        await world.quiet()
        await asyncio.sleep(1_000)
        assert len(greeted) == 1 and node.agent.state.connected

    run_virtual(story())


def test_an_older_node_says_little_and_is_served() -> None:
    """Plain JSON with only the fields of the first release; then its cursor counts another database."""

    async def story() -> None:
        world = World(2, nodes=0)
        for replica in world.replicas:
            await replica.start()
        async with world.host.writing() as ctx:
            ctx.put(Rule(id="r", text="from the cloud"))
        told = await _exchange(world, {}, {"type": "ping", "sent_ms": 1})
        assert told[0]["type"] == "welcome" and "pong" in [m["type"] for m in told]
        feed = next(m for m in told if m["type"] == "feed" and m["partition"] == "tenant")
        assert feed["groups"][0]["ids"] == ["r"]
        ahead = await _exchange(world, {"tenant": 500}, ticket=told[0]["ticket"])
        assert any(m["type"] == "feed" and m["partition"] == "tenant" for m in ahead)
        assert world.epoch == 1, "one node that knows no names of databases renames none"

    run_virtual(story())


def test_messages_that_only_a_newer_release_knows_are_ignored() -> None:
    async def story() -> None:
        world = World(3, nodes=0)
        for replica in world.replicas:
            await replica.start()
        told = await _exchange(
            world, {}, {"type": "sing", "verse": [1, {"a": 2}]}, {"type": "ping", "sent_ms": 7}
        )
        assert told[0]["type"] == "welcome" and "pong" in [m["type"] for m in told]

    run_virtual(story())
    assert [
        type(m) for m in JSON.decode(b'[{"type":"sing"},{"type":"bye","code":"a","message":"b"}]')
    ] == [Bye]


async def _exchange(
    world: World, cursors: dict[str, int], *messages: dict[str, object], ticket: int = 0
) -> list[dict[str, object]]:
    me = SimNode(world, "old", "s0").place.principal
    heard: list[Wire] = []

    async def hear(sent: list[Wire]) -> None:
        heard.extend(sent)

    hello = {"type": "hello", "protocol": 1, "release": "0", "ticket": ticket, "clock_ms": EPOCH_MS}
    text = msgspec.json.encode([hello | {"cursors": cursors}, *messages])
    conversation = await world.replicas[0].gate.open(me, hear)
    conversation.hear(JSON.decode(text))
    await conversation.step()
    await conversation.settled()
    world.replicas[0].gate.forget(conversation)
    assert not any(isinstance(m, Feed) and m.after for m in heard)
    told: list[dict[str, object]] = msgspec.json.decode(JSON.encode(heard))
    return told


def test_an_exchange_that_comes_twice_makes_nobody_a_duplicate() -> None:
    async def story() -> None:
        world = World(4, nodes=1)
        node = world.nodes[0]
        node.network.http, node.network.doubled = True, 1.0
        await world.boot()
        for i in range(20):
            await node.write(Good(id=f"g{i}", name="x"))
            await asyncio.sleep(1)
        await world.quiet()
        assert not node.agent.state.stopped
        assert len(await world.rows(world.store, "goods")) == 20

    run_virtual(story())

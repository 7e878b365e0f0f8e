"""Links that misbehave: a WebSocket, which keeps order until it is cut, and plain HTTP, whose
exchanges may be lost either way, come twice, and come late. Both carry real bytes through the real
codecs; over HTTP both ends are the product's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.errors import BeiraError, Denied, Unavailable
from beira.kernel.wire import Hello, Wire
from beira.sync.brief import BriefCodec
from beira.sync.cloud import routes
from beira.sync.cloud.conversation import Conversation
from beira.sync.codec import Codec, PackedCodec
from beira.sync.node.link import WAIT_PATH, HttpLink, Link

if TYPE_CHECKING:
    from tests.simulation.world import Replica, World

LATE_S = (0.0, 0.1, 1.0, 10.0, 100.0)
"""How late a second copy of an exchange may come: also long after the node has gone on."""
CODEC = PackedCodec()


@dataclass
class Network:
    """How one node's line is. `half_open`: what is sent vanishes and nobody says so. `doubled` is how
    often an exchange comes twice, `lossy` how often one is lost, its answer as likely as itself."""

    up: bool = True
    half_open: bool = False
    delay_s: float = 0.05
    jitter_s: float = 0.0
    http: bool = False
    brief: bool = False
    doubled: float = 0.0
    lossy: float = 0.0
    cuts: list[Callable[[], None]] = field(default_factory=list)

    def cut(self) -> None:
        for cut in self.cuts[:]:
            cut()


class SimSocket:
    """Ordered and reliable until it is cut, as TCP is."""

    name = "websocket"

    def __init__(self, world: World, replica: Replica, network: Network, node: Principal) -> None:
        self._world = world
        self._replica = replica
        self._network = network
        self._node = node
        ours: Codec = BriefCodec(is_node=True) if network.brief else CODEC
        theirs: Codec = BriefCodec(is_node=False) if network.brief else CODEC
        self._codec, self._cloud_codec = ours, theirs
        self._down: asyncio.Queue[list[Wire] | None] = asyncio.Queue()
        self._wire_down: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._up: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[Any]] = []
        self._open = True
        self._dead = False
        network.cuts.append(self.cut)
        replica.cuts.append(self.cut)

    async def start(self) -> None:
        self._conversation: Conversation = await self._replica.gate.open(
            self._node, self._from_cloud
        )
        self._replica.conversations.append(self._conversation)
        self._tasks = [
            asyncio.ensure_future(self._converse()),
            asyncio.ensure_future(self._carry_up()),
            asyncio.ensure_future(self._carry_down()),
        ]

    async def send(self, messages: Sequence[Wire]) -> int:
        if not self._open:
            raise Unavailable("cut")
        data = self._codec.encode(messages)
        self._world.said(self._node.id, messages)
        self._up.put_nowait(data)
        return len(data)

    async def receive(self) -> list[Wire]:
        messages = await self._down.get()
        if messages is None:
            raise Unavailable("cut")
        self._world.told(self._node.id, messages)
        return messages

    async def close(self) -> None:
        """The node is gone. The cloud hears of it, unless the line is dead: then by its silence."""
        self.cut()
        if not self._dead:
            await self._hang_up()

    def cut(self) -> None:
        self._open = False
        self._down.put_nowait(None)
        for cuts in (self._network.cuts, self._replica.cuts):
            if self.cut in cuts:
                cuts.remove(self.cut)

    async def _hang_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _converse(self) -> None:
        try:
            await self._conversation.run()
        finally:
            await self._replica.gate.close(self._conversation)
            self._replica.conversations.remove(self._conversation)
            self._tasks[1].cancel()
            self._wire_down.put_nowait(None)

    async def _carry_up(self) -> None:
        while True:
            data = await self._up.get()
            await self._travel()
            if self._passes():
                await self._conversation.room()
                self._conversation.hear(self._cloud_codec.decode(data))

    async def _from_cloud(self, messages: list[Wire]) -> None:
        self._wire_down.put_nowait(self._cloud_codec.encode(messages))

    async def _carry_down(self) -> None:
        while True:
            data = await self._wire_down.get()
            await self._travel()
            if data is None:  # the cloud has hung up
                if not self._dead:
                    self.cut()
                return
            if self._passes():
                self._down.put_nowait(self._codec.decode(data))

    async def _travel(self) -> None:
        await asyncio.sleep(
            self._network.delay_s + self._network.jitter_s * self._world.random.random()
        )

    def _passes(self) -> bool:
        """A link that lost something passes nothing any more: TCP never skips."""
        self._dead = self._dead or self._network.half_open
        return self._open and not self._dead


class SimConnector:
    """Connects to any replica that runs."""

    def __init__(self, world: World, node: Principal, network: Network) -> None:
        self._world, self._node, self._network = world, node, network

    async def connect(self, hello: Callable[[], Hello]) -> Link:
        await asyncio.sleep(self._network.delay_s)
        replica = self._world.replica()
        if not self._network.up or replica is None:
            raise Unavailable("no network")
        self._world.witness.connected(self._node.id)
        if self._network.http:
            return _http(self._world, self._node, self._network, hello)
        link = SimSocket(self._world, replica, self._network, self._node)
        await link.start()
        return link

    async def close(self) -> None:
        pass


def _http(
    world: World, node: Principal, network: Network, hello: Callable[[], Hello]
) -> _WatchedHttp:
    return _WatchedHttp(
        HttpSession(world, node, network),  # type: ignore[arg-type]
        "http://cloud",
        {},
        CODEC,
        hello,
        refusal=lambda status: Denied("The cloud refuses this node."),
        works=lambda: None,
        world=world,
        node=node.id,
    )


class _WatchedHttp(HttpLink):
    """The product's link; the world sees what is said and told."""

    def __init__(self, *args: Any, world: World, node: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._world, self._name = world, node

    async def send(self, messages: Sequence[Wire]) -> int:
        self._world.said(self._name, messages)
        return await super().send(messages)

    async def receive(self) -> list[Wire]:
        messages = await super().receive()
        self._world.told(self._name, messages)
        return messages


class HttpSession:
    """What an HTTP client is to `HttpLink`."""

    def __init__(self, world: World, node: Principal, network: Network) -> None:
        self.world, self.node, self.network = world, node, network

    def post(self, url: str, *, data: bytes, **kwargs: Any) -> _Request:
        return _Request(self, url, data)


class _Request:
    def __init__(self, session: HttpSession, url: str, data: bytes) -> None:
        self._session, self._url, self._data = session, url, data
        self.status = 0
        self._body = b""

    async def __aenter__(self) -> _Request:
        cut = asyncio.Event()
        self._session.network.cuts.append(cut.set)
        lost = asyncio.ensure_future(cut.wait())
        asking = asyncio.ensure_future(self._ask())
        try:
            async with asyncio.timeout(limits.SILENCE_TIMEOUT_S):
                await asyncio.wait({lost, asking}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise aiohttp.ServerDisconnectedError
            self.status, self._body = asking.result()
        finally:
            lost.cancel()
            asking.cancel()
            if cut.set in self._session.network.cuts:
                self._session.network.cuts.remove(cut.set)
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def read(self) -> bytes:
        return self._body

    async def _ask(self) -> tuple[int, bytes]:
        """There and back. The request may be lost, or its answer, or it may come twice: then the
        node gets either answer."""
        network, chance = self._session.network, self._session.world.random
        await self._travel()
        if not network.up:
            raise aiohttp.ServerDisconnectedError
        if chance.random() < network.lossy:
            raise aiohttp.ServerDisconnectedError
        served = asyncio.ensure_future(self._serve(0))
        if not self._url.endswith(WAIT_PATH) and chance.random() < network.doubled:
            late_s = chance.choice(LATE_S)
            twin = self._session.world.spawn(self._serve(late_s))
            if late_s < limits.SILENCE_TIMEOUT_S / 10:
                served = chance.choice([served, twin])
        status, body = await asyncio.shield(served)
        if chance.random() < network.lossy:
            raise aiohttp.ServerDisconnectedError
        await self._travel()
        return status, body

    async def _travel(self) -> None:
        network = self._session.network
        if network.half_open:
            await asyncio.sleep(10 * limits.SILENCE_TIMEOUT_S)
        await asyncio.sleep(
            network.delay_s + network.jitter_s * self._session.world.random.random()
        )

    async def _serve(self, late_s: float) -> tuple[int, bytes]:
        await asyncio.sleep(late_s * self._session.world.random.random())
        replica = self._session.world.replica()
        if replica is None:
            return 502, b""
        working = asyncio.ensure_future(self._at(replica))
        replica.cuts.append(working.cancel)
        try:
            return await working
        except asyncio.CancelledError:
            return 502, b""
        except BeiraError as error:
            return error.status, b""
        finally:
            if working.cancel in replica.cuts:
                replica.cuts.remove(working.cancel)

    async def _at(self, replica: Replica) -> tuple[int, bytes]:
        node = self._session.node
        if self._url.endswith(WAIT_PATH):
            cursors = msgspec.json.decode(self._data, type=dict[str, int])
            news = await replica.gate.wait_for_news(node, cursors, limits.POLL_WAIT_S)
            return 200, msgspec.json.encode({"news": news})

        async def still() -> Principal:
            return node

        answers = await routes._exchange(replica.gate, node, still, CODEC.decode(self._data))
        return 200, CODEC.encode(answers)

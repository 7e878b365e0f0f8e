"""A node of the benchmark: its store, its agent, and what is timed of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from beira.host.host import Host, Place
from beira.host.wall import SystemWall
from beira.kernel.collection import Lane
from beira.kernel.record import Record, Row, Value
from beira.kernel.wire import Hello, Push, Wire
from beira.store.port import Commit
from beira.store.sqlite import SqliteStore
from beira.sync.node.agent import Agent
from beira.sync.node.link import CloudConnector, Link
from beira.sync.streams import lane_stream, log_route
from benchmarks.sync.workload import CATALOGUE


class Token(str):
    """A node's name serves as its token here."""

    async def __call__(self) -> str:
        return str(self)

    def forget(self) -> None:
        pass


class Connector(CloudConnector):
    """The node's own, which adds up what its pushes come to."""

    push_bytes = 0

    async def connect(self, hello: Callable[[], Hello]) -> Link:
        link = await super().connect(hello)
        send = link.send

        async def counted(messages: Sequence[Wire]) -> int:
            size_bytes = await send(messages)
            if any(isinstance(message, Push) for message in messages):
                self.push_bytes += size_bytes
            return size_bytes

        link.send = counted  # type: ignore[method-assign]
        return link


class Store(SqliteStore):
    """The node's own, which tells of each mark it has on disk: asking again and again would slow down
    what is measured."""

    def watch(self) -> None:
        """Begin to tell."""
        self.durable: dict[str, int] = {}
        self.moved = asyncio.Event()

    async def commit(self, rows: Sequence[Row], **given: Any) -> Commit:
        done = await super().commit(rows, **given)
        self._told(given.get("marks"))
        return done

    async def trim(
        self, stream: str, upto: int, *, marks: Mapping[str, Value] | None = None
    ) -> None:
        await super().trim(stream, upto, marks=marks)
        self._told(marks)

    async def reached(self, ends: Mapping[str, int]) -> None:
        """Wait until marks are at least so great on disk."""
        while any(self.durable.get(name, 0) < end for name, end in ends.items()):
            self.moved.clear()
            await self.moved.wait()

    def _told(self, marks: Mapping[str, Value] | None) -> None:
        self.durable.update((marks or {}).items())
        self.moved.set()


class Node:
    """One node. `running` keeps its agent at work; all times are in seconds."""

    def __init__(self, host: Host, store: Store, agent: Agent, connector: Connector) -> None:
        self.host, self.store, self.agent, self.connector = host, store, agent, connector

    async def write(self, records: list[Record], partition: str | None = None) -> None:
        for i in range(0, len(records), 1_000):
            async with self.host.writing() as ctx:
                for record in records[i : i + 1_000]:
                    ctx.put(record, partition=partition)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.agent.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def connected(self) -> None:
        while not self.agent.state.connected:
            await asyncio.sleep(0.005)

    async def drained(self) -> float:
        """Until the cloud has confirmed all of the node's log, connection included."""
        started_s = time.perf_counter()
        async with self.running():
            await self.empty()
            return time.perf_counter() - started_s

    async def empty(self) -> None:
        """Until the log is: all that was written is struck out, on disk."""
        ends = {f"acked:{int(lane)}": await self.store.end(lane_stream(lane)) for lane in Lane}
        await self.store.reached(ends)

    async def pulled(self, end: int) -> float:
        """Until the tenant's feed is on disk up to `end`, connection included."""
        started_s = time.perf_counter()
        async with self.running():
            await self.store.reached({"cursor:tenant": end})
            return time.perf_counter() - started_s


@contextlib.asynccontextmanager
async def node(folder: Path, address: str, name: str) -> AsyncIterator[Node]:
    store = await Store.open(folder / f"{name}.db", CATALOGUE.collections)
    assert isinstance(store, Store)
    store.watch()
    host = Host(
        place=Place(tenant="acme", node=name, site="s1"),
        store=store,
        catalogue=CATALOGUE,
        wall=SystemWall(),
        route=log_route(CATALOGUE.collections),
    )
    await host.start()
    connector = Connector(address, Token(name))
    try:
        agent = Agent(host=host, store=store, connector=connector, release="bench")
        yield Node(host, store, agent, connector)
    finally:
        await connector.close()
        await store.close()

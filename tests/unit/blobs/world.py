"""A cloud's blobs behind a real socket, and nodes with shelves on disk: all of the blobs' lane, and of
sync only what the tests put into the stores themselves."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from litestar import Litestar

from beira.blobs import BlobStore, FolderBlobs, Shelf
from beira.host.host import Host, Place
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.host.wall import SystemWall
from beira.kernel.access import Kind, Principal, site_partition
from beira.kernel.app import App, catalogue
from beira.kernel.blob import BlobRef
from beira.kernel.collection import (
    BOTH,
    DOWN,
    LOCAL,
    NORMAL,
    UP,
    Blob,
    Fetch,
    Lane,
    collection,
    collection_of,
)
from beira.kernel.errors import Unauthenticated
from beira.kernel.record import DELETED, Fact, Record, Row, State
from beira.store.memory import MemoryStore
from beira.sync.blobs.agent import BlobAgent
from beira.sync.blobs.client import BlobClient
from beira.sync.blobs.gate import BlobGate
from beira.sync.blobs.routes import blob_routes
from beira.sync.cloud.conversation import Still

PATIENCE_S = 30.0


@collection("test_sounds", flow=UP, lane=NORMAL)
class Sound(Fact):
    """What a node recorded."""

    audio: Annotated[str, Blob]


@collection("test_notes", flow=LOCAL, lane=NORMAL)
class Note(State):
    """What never leaves the node."""

    audio: Annotated[str, Blob] = ""


@collection("test_tracks", flow=DOWN, lane=NORMAL)
class Track(State):
    """What the cloud sends to a site."""

    audio: Annotated[str, Blob] = ""
    extras: Annotated[list[str], Blob(Fetch.LAZY)] = []


@collection("test_boards", flow=BOTH, lane=NORMAL)
class Board(State):
    """What nodes of a site share."""

    picture: Annotated[str, Blob] = ""


APP = App(
    name="test_blobs",
    title="Blobs",
    collections=tuple(collection_of(record) for record in (Sound, Note, Track, Board)),
)


class Wall(SystemWall):
    """The machine's clock, which a test may put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead.total_seconds() * 1000)


class Token:
    """A node's tenant and name serve as its token here."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.forgotten = 0

    async def __call__(self) -> str:
        return self.text

    def forget(self) -> None:
        self.forgotten += 1


async def admit(token: str) -> tuple[Principal, Still]:
    if token.count("/") != 1:
        raise Unauthenticated("Who are you?")
    return principal(token), still


async def still() -> None:
    pass


def principal(token: str) -> Principal:
    tenant, node = token.split("/")
    return Principal(kind=Kind.NODE, id=node, tenant=tenant, sites=("s1",))


def content(size_bytes: int, seed: int = 1) -> bytes:
    """Bytes that repeat nowhere, the same for a seed."""
    block = b"".join(
        hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(size_bytes // 32 + 1)
    )
    return block[:size_bytes]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def host_at(tenant: str, node: str, wall: Wall, *, site: str | None = "s1") -> Host:
    installed = catalogue([APP])
    return Host(
        place=Place(tenant=tenant, node=node, site=site),
        store=MemoryStore(installed.collections, tenant=tenant),
        catalogue=installed,
        wall=wall,
        route=lambda row: None,
    )


async def put(host: Host, record: Record, *, lane: Lane | None = None) -> None:
    """Write a record as this host would, at the site s1."""
    declared = collection_of(record)
    record.id = record.id or host.wall.new_id()
    fields = {**declared.encode(record)}
    if not declared.is_fact:
        fields[DELETED] = False
    row = host.stamped(declared, record.id, site_partition("s1"), fields, lane)
    await host.store.commit([row])


async def gone(host: Host, record: Record) -> None:
    declared = collection_of(record)
    row = host.stamped(declared, record.id, site_partition("s1"), {DELETED: True})
    await host.store.commit([row])


async def carried(source: Host, target: Host, record: Record) -> None:
    """What sync does: the row as it is goes from one to the other."""
    row = await source.store.get(collection_of(record).name, record.id)
    assert isinstance(row, Row)
    await target.store.commit([row])


async def until(true: Any, why: str = "") -> Any:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + PATIENCE_S
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert loop.time() < deadline_s, f"It did not come true: {why or true}"
        await asyncio.sleep(0.01)


@dataclass
class World:
    """One cloud; `node` makes nodes."""

    folder: Path
    storage: BlobStore
    wall: Wall
    gate: BlobGate
    hosts: dict[str, Host]
    address: str = ""
    online: bool = True
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    def cloud(self, tenant: str = "acme") -> Host:
        if tenant not in self.hosts:
            self.hosts[tenant] = host_at(tenant, "cloud-test", self.wall, site=None)
        return self.hosts[tenant]

    async def has(self, data: bytes, tenant: str = "acme") -> bool:
        return await self.storage.size(tenant, sha(data)) == len(data)

    async def keeps(self, data: bytes, tenant: str = "acme") -> BlobRef:
        """A blob the cloud itself has added."""
        path = self.folder / f"added-{sha(data)[:8]}"
        path.write_bytes(data)
        return await self.gate.add(tenant, path)

    def client(self, name: str, tenant: str = "acme", address: str = "") -> BlobClient:
        client = BlobClient(address or self.address, Token(f"{tenant}/{name}"))
        self.stack.push_async_callback(client.close)
        return client

    def node(
        self, name: str = "n1", tenant: str = "acme", address: str = "", **more: Any
    ) -> BlobNode:
        host = host_at(tenant, name, self.wall)
        folder = FolderBlobs(self.folder / name, reserve_bytes=0, key=more.pop("key", None))
        shelf = Shelf(folder, tenant, self.wall)
        agent = BlobAgent(
            host=host,
            shelf=shelf,
            client=self.client(name, tenant, address),
            online=lambda: self.online,
            chance=lambda: 0.0,
            **more,
        )
        return BlobNode(host, shelf, agent)


@dataclass
class BlobNode:
    """A node as far as blobs go."""

    host: Host
    shelf: Shelf
    agent: BlobAgent

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[BlobNode]:
        task = asyncio.create_task(self.agent.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def has(self, data: bytes) -> bool:
        path = await self.agent.path(sha(data))
        return path is not None and path.read_bytes() == data


@contextlib.asynccontextmanager
async def world_in(folder: Path, storage: BlobStore | None = None) -> AsyncIterator[World]:
    storage = storage or FolderBlobs(folder / "cloud", reserve_bytes=0)
    hosts: dict[str, Host] = {}
    wall = Wall()

    async def host_of(tenant: str) -> Host:
        return world.cloud(tenant)

    world = World(folder, storage, wall, BlobGate(storage, host_of), hosts)
    app = Litestar(
        route_handlers=[blob_routes(world.gate, partial(admit))],
        openapi_config=None,
        logging_config=None,
    )
    async with world.stack, serving(app, Listen()) as world.address:
        yield world

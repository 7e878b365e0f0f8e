"""Blobs between a node and the cloud, over a real socket: up, down, cut, garbled, out of room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.blobs.world import (
    BlobNode,
    Note,
    Sound,
    Track,
    World,
    carried,
    content,
    gone,
    put,
    sha,
    until,
)

from beira.blobs import FolderBlobs
from beira.demo.plug import Plug
from beira.kernel import limits
from beira.kernel.blob import BlobRef, Told
from beira.kernel.collection import CRITICAL
from beira.kernel.errors import BeiraError, Full, Unavailable
from beira.sync.blobs.client import BlobClient
from beira.sync.node.marks import CLOUD_MARK

SMALL = content(100_000)
LARGE = content(3_000_000, seed=2)


async def test_what_a_node_s_record_names_goes_up(world: World) -> None:
    async with world.node().running() as node:
        ref = await node.agent.add(LARGE)
        assert ref == BlobRef(sha256=sha(LARGE), size_bytes=len(LARGE))
        await put(node.host, Sound(audio=ref.sha256))
        await until(lambda: world.has(LARGE))
        await until(lambda: not node.agent.ledger.unsent)
        held = node.shelf.held(ref.sha256)
        assert held is not None and not held.outbox
        assert await node.has(LARGE)


async def test_what_is_of_the_node_alone_stays_there(world: World) -> None:
    async with world.node().running() as node:
        await put(node.host, Note(audio=(await node.agent.add(SMALL)).sha256))
        await put(node.host, Sound(audio=(await node.agent.add(LARGE)).sha256))
        await until(lambda: world.has(LARGE))
        await until(lambda: not node.agent.ledger.unsent)
        assert not await world.has(SMALL)
        assert await world.storage.staged("acme", "n1", sha(SMALL)) == 0


async def test_what_a_record_from_the_cloud_names_comes_down(world: World) -> None:
    empty = b""
    for data in (SMALL, LARGE, empty):
        await world.keeps(data)
    track = Track(id="t1", audio=sha(SMALL), extras=[sha(LARGE)])
    await put(world.cloud(), track)
    await put(world.cloud(), Track(id="t2", audio=sha(empty)))
    async with world.node().running() as node:
        await carried(world.cloud(), node.host, track)
        await carried(world.cloud(), node.host, Track(id="t2"))
        await until(lambda: node.has(SMALL))
        await until(lambda: node.has(empty))
        await until(lambda: not node.agent.ledger.wanted)
        assert not await node.has(LARGE)
        async with asyncio.timeout(30):
            await node.agent.fetch(sha(LARGE))
        async with node.agent.file(sha(LARGE)) as path:
            assert path.read_bytes() == LARGE


async def test_the_urgent_goes_first_even_if_another_was_begun(world: World) -> None:
    for data in (LARGE, SMALL):
        await world.keeps(data)
    await put(world.cloud(), Track(id="slow", audio=sha(LARGE)))
    await put(world.cloud(), Track(id="fire", audio=sha(SMALL)), lane=CRITICAL)
    node = world.node(bytes_per_s=400_000)
    came: list[str] = []
    finish = node.shelf.finish

    async def noted(ref: BlobRef) -> None:
        await finish(ref)
        came.append(ref.sha256)

    node.shelf.finish = noted  # type: ignore[method-assign]
    async with node.running():
        await carried(world.cloud(), node.host, Track(id="slow"))
        await until(lambda: node.shelf.folder.staged("acme", "node", sha(LARGE)))
        await carried(world.cloud(), node.host, Track(id="fire"))
        await until(lambda: came)
        assert came == [sha(SMALL)]


@pytest.mark.parametrize("lost", ["the chunk", "the answer"])
async def test_an_upload_cut_over_and_over_goes_on_where_it_was(
    world: World, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_CHUNK_BYTES", 300_000)
    async with Plug(int(world.address.rsplit(":", 1)[1])).serving() as plug:
        client = Cut(world.client("n1", address=f"http://127.0.0.1:{plug.port}"), plug, lost)
        node = world.node()
        node.agent._uploads._client = client
        async with node.running():
            await put(node.host, Sound(audio=(await node.agent.add(LARGE)).sha256))
            await until(lambda: world.has(LARGE))
            await until(lambda: not node.agent.ledger.unsent)
    assert client.cuts == CUTS
    assert client.arrived_bytes == len(LARGE), "nothing that had arrived was sent again"


CUTS = 4


class Counting(BlobClient):
    """A client that counts what it sends."""

    def __init__(self, inner: BlobClient) -> None:
        self.__dict__.update(inner.__dict__)
        self.sent_bytes = 0

    async def append(self, ref: BlobRef, offset: int, data: bytes) -> Told:
        self.sent_bytes += len(data)
        return await super().append(ref, offset, data)


class Cut(Counting):
    """A client whose line is cut at every second chunk, before or after the cloud has it."""

    def __init__(self, inner: BlobClient, plug: Plug, lost: str) -> None:
        super().__init__(inner)
        self.plug = plug
        self.lost = lost
        self.cuts = 0
        self.turn = 0
        self.arrived_bytes = 0

    async def append(self, ref: BlobRef, offset: int, data: bytes) -> Told:
        self.turn += 1
        cut = self.turn % 2 == 0 and self.cuts < CUTS
        self.cuts += cut
        if cut and self.lost == "the chunk":
            self.plug.pull()
        try:
            told = await super().append(ref, offset, data)
        finally:
            self.plug.put_back()
        self.arrived_bytes += len(data)
        if cut and self.lost == "the answer":
            raise Unavailable("The line was cut.")
        return told


async def test_a_download_goes_on_after_the_node_s_program_ended(world: World) -> None:
    await world.keeps(LARGE)
    await put(world.cloud(), Track(id="t", audio=sha(LARGE)))
    first = world.node(bytes_per_s=1_000_000)
    await carried(world.cloud(), first.host, Track(id="t"))
    async with first.running():
        await until(lambda: first.shelf.folder.staged("acme", "node", sha(LARGE)))
    had = await first.shelf.folder.staged("acme", "node", sha(LARGE))
    assert 0 < had < len(LARGE) and not await first.has(LARGE)
    again = world.node()
    await carried(world.cloud(), again.host, Track(id="t"))
    async with again.running():
        await until(lambda: again.has(LARGE))


@asynccontextmanager
async def garbling(port: int, marker: bytes, times: int) -> AsyncIterator[tuple[int, list[int]]]:
    """A line that changes a byte, so many times, of what holds `marker`; its port, and where it did."""
    done: list[int] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            at = data.find(marker)
            if at >= 0 and len(done) < times:
                done.append(at)
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            writer.write(data)
            await writer.drain()
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], done


@pytest.mark.parametrize("times", [1, 2])
async def test_a_chunk_garbled_on_its_way_is_refused_and_sent_again(
    world: World, times: int
) -> None:
    port = int(world.address.rsplit(":", 1)[1])
    async with garbling(port, SMALL[50_000:50_008], times) as (line, done):
        node = world.node(address=f"http://127.0.0.1:{line}")
        async with node.running():
            await put(node.host, Sound(audio=(await node.agent.add(SMALL)).sha256))
            await until(lambda: world.has(SMALL))
    assert len(done) == times


async def test_a_chunk_garbled_on_its_way_down_is_never_used(world: World) -> None:
    await world.keeps(SMALL)
    await put(world.cloud(), Track(id="t", audio=sha(SMALL)))
    port = int(world.address.rsplit(":", 1)[1])
    async with garbling(port, SMALL[50_000:50_008], 1) as (line, done):
        node = world.node(address=f"http://127.0.0.1:{line}")
        await carried(world.cloud(), node.host, Track(id="t"))
        async with node.running():
            await until(lambda: node.has(SMALL))
    assert len(done) == 1


async def test_what_a_disk_garbled_is_fetched_again_rather_than_used(world: World) -> None:
    await world.keeps(SMALL)
    await put(world.cloud(), Track(id="t", audio=sha(SMALL)))
    first = world.node()
    await carried(world.cloud(), first.host, Track(id="t"))
    async with first.running():
        await until(lambda: first.has(SMALL))
    path = first.shelf.folder.path("acme", sha(SMALL))
    path.write_bytes(b"!" + SMALL[1:])
    again = world.node()
    await carried(world.cloud(), again.host, Track(id="t"))
    async with again.running():
        async with asyncio.timeout(30):
            await again.agent.fetch(sha(SMALL))
        assert await again.has(SMALL)


async def test_a_blob_spoilt_in_the_cloud_is_not_fetched_without_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_CHUNK_BYTES", 70_000)
    await world.keeps(SMALL)
    await put(world.cloud(), Track(id="t", audio=sha(SMALL)))
    assert isinstance(world.storage, FolderBlobs)
    world.storage.path("acme", sha(SMALL)).write_bytes(b"!" + SMALL[1:])
    node = world.node()
    await carried(world.cloud(), node.host, Track(id="t"))
    waiting = node.agent._downloads._off
    async with node.running():
        await until(lambda: node.agent.ledger.wanted and not waiting.free([sha(SMALL)], 1))
        assert not await node.has(SMALL)
        world.storage.path("acme", sha(SMALL)).write_bytes(SMALL)
        async with asyncio.timeout(30):
            await node.agent.fetch(sha(SMALL))


async def test_two_nodes_with_one_file_send_it_once(world: World) -> None:
    async with world.node("n1").running() as one:
        await put(one.host, Sound(audio=(await one.agent.add(LARGE)).sha256))
        await until(lambda: world.has(LARGE))
    two = world.node("n2")
    counting = Counting(world.client("n2"))
    two.agent._uploads._client = counting
    async with two.running():
        await put(two.host, Sound(audio=(await two.agent.add(LARGE)).sha256))
        await until(lambda: (held := two.shelf.held(sha(LARGE))) and not held.outbox)
    assert counting.sent_bytes == 0


async def test_what_the_cloud_lost_is_sent_again(world: World) -> None:
    """A cloud restored from a backup has another epoch, and confirmed nothing."""
    async with world.node().running() as node:
        await put(node.host, Sound(audio=(await node.agent.add(SMALL)).sha256))
        await until(lambda: world.has(SMALL))
        await until(lambda: not node.agent.ledger.unsent)
        await world.storage.delete("acme", sha(SMALL))
        await node.host.store.commit([], marks={CLOUD_MARK: "another"})
        await until(lambda: world.has(SMALL))


async def test_unsent_blobs_survive_the_record_and_the_program(world: World) -> None:
    """Retention may forget the record before the thin link has carried its blob."""
    world.online = False
    first = world.node()
    sound = Sound(id="s", audio="")
    async with first.running():
        sound.audio = (await first.agent.add(SMALL)).sha256
        await put(first.host, sound)
        await until(lambda: (held := first.shelf.held(sha(SMALL))) and held.sent_up)
    again = world.node()  # its store is empty: nothing names the blob
    world.online = True
    async with again.running():
        await until(lambda: world.has(SMALL))
        await until(lambda: (held := again.shelf.held(sha(SMALL))) and not held.outbox)


async def fetched(world: World, node: BlobNode, data: bytes, id: str) -> None:
    await world.keeps(data)
    await put(world.cloud(), Track(id=id, audio=sha(data)))
    await carried(world.cloud(), node.host, Track(id=id))


async def test_room_is_made_of_what_nothing_names_and_of_nothing_else(world: World) -> None:
    first, second, third = (content(300_000, seed=n) for n in (11, 12, 13))
    async with world.node(disk_bytes=700_000).running() as node:
        for data, id in ((first, "a"), (second, "b")):
            await fetched(world, node, data, id)
            await until(lambda data=data: node.has(data))
        await fetched(world, node, third, "c")
        await until(lambda: node.agent.state.no_room)
        assert await node.has(first) and await node.has(second)
        await gone(node.host, Track(id="a"))
        await until(lambda: node.has(third))
        assert await node.has(second) and not await node.has(first)


async def test_what_was_erased_is_gone_from_the_node_after_some_days(world: World) -> None:
    first = world.node()
    async with first.running():
        await fetched(world, first, SMALL, "a")
        await fetched(world, first, LARGE, "b")
        await until(lambda: first.has(SMALL))
        await until(lambda: first.has(LARGE))
        await put(first.host, Sound(audio=(await first.agent.add(content(10))).sha256))
        await until(lambda: world.has(content(10)))
    again = world.node()  # nothing names the first any longer
    await carried(world.cloud(), again.host, Track(id="b"))
    world.wall.ahead = timedelta(seconds=limits.BLOB_SPARED_S + 60)
    async with again.running():
        await until(lambda: again.shelf.held(sha(SMALL)) is None)
        assert await again.has(LARGE)


async def test_a_node_without_room_refuses_to_add_and_keeps_what_is_unsent(world: World) -> None:
    world.online = False
    async with world.node(disk_bytes=150_000).running() as node:
        await put(node.host, Sound(audio=(await node.agent.add(SMALL)).sha256))
        await put(node.host, Sound(audio=(await node.agent.add(content(60_000))).sha256))
        with pytest.raises(Full) as raised:
            await node.agent.add(b"one more")
        assert raised.value.code == "blob.budget"
        world.online = True
        await until(lambda: world.has(SMALL))
        assert await node.has(SMALL)


async def test_a_full_disk_is_said_and_nothing_half_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node()
    monkeypatch.setattr(node.shelf.folder, "free_bytes", lambda: 10)
    with pytest.raises(Full) as raised:
        await node.shelf.add(SMALL)
    assert raised.value.code == "blob.disk_full"
    assert not node.shelf.listing()
    assert not list((node.shelf.folder.root / "acme" / "scratch").iterdir())


async def test_what_the_cloud_has_no_room_for_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_TENANT_BYTES", 50_000)
    async with world.node().running() as node:
        await put(node.host, Sound(audio=(await node.agent.add(SMALL)).sha256))
        small = content(40_000, seed=5)
        await put(node.host, Sound(audio=(await node.agent.add(small)).sha256))
        await until(lambda: world.has(small))
        assert not await world.has(SMALL) and await node.has(SMALL)


async def test_a_stream_is_added_and_a_scratch_file_of_before_is_swept(
    world: World, tmp_path: Path
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 100_000):
            yield LARGE[start : start + 100_000]

    first = world.node()
    (first.shelf.folder.root / "acme" / "scratch" / "left").write_bytes(b"half")
    node = world.node()
    assert not list((node.shelf.folder.root / "acme" / "scratch").iterdir())
    assert (await node.agent.add(parts())).sha256 == sha(LARGE)
    assert await node.has(LARGE)


async def test_a_blob_over_the_limit_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOB_BYTES", 1_000)
    with pytest.raises(BeiraError) as raised:
        await world.node().agent.add(SMALL)
    assert raised.value.code == "blob.too_large"

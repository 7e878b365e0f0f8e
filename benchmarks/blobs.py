"""Files up and down, verified and durable at both ends, beside a plain PUT and GET of the same server.

    python -m benchmarks.blobs [--quick]

The peer is what one would write in an hour: a PUT that streams the body into a file and syncs it, a
GET that streams it out; no hash, no chunks, no resuming, no tenants. Both run in this process, over
loopback, on the same disk. Ours is the node's agent against the cloud's gate, with the records in an
embedded PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import structlog
from litestar import Litestar, Request, Response, get, put
from litestar.response import Stream

from beira.blobs import FolderBlobs, Shelf
from beira.host.host import Host, Place
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.host.wall import SystemWall
from beira.kernel import limits
from beira.kernel.access import Kind, Principal, site_partition
from beira.kernel.app import App, catalogue
from beira.kernel.collection import BOTH, Blob, collection, collection_of
from beira.kernel.record import DELETED, State
from beira.store.memory import MemoryStore
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.sync.blobs.agent import BlobAgent
from beira.sync.blobs.client import BlobClient
from beira.sync.blobs.gate import BlobGate
from beira.sync.blobs.routes import blob_routes
from beira.sync.cloud.conversation import Still
from benchmarks.figures import figure

LARGE_BYTES = 134_217_728
SMALL_BYTES = 50_000
CUTS = 20
CHUNKS = 64
PIECE_BYTES = 1_048_576
LINE_BYTES = 65_536


@collection("bench_files", flow=BOTH)
class File(State):
    """A record with a file."""

    file: Annotated[str, Blob] = ""


CATALOGUE = catalogue([App(name="bench", title="Bench", collections=(collection_of(File),))])


class Token(str):
    """A node's name serves as its token here."""

    async def __call__(self) -> str:
        return str(self)

    def forget(self) -> None:
        pass


async def admit(token: str) -> tuple[Principal, Still]:
    async def still() -> None:
        pass

    return Principal(kind=Kind.NODE, id=token, tenant="bench", sites=("s",)), still


class CutLine:
    """A line that is cut at given numbers of bytes sent, wherever in a chunk that is."""

    def __init__(self, port: int, cuts_at: list[float]) -> None:
        self.sent_bytes = 0
        self.cuts_at = cuts_at
        self._port = port

    async def passing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.ensure_future(_copy(there, writer))
        try:
            while data := await reader.read(LINE_BYTES):
                self.sent_bytes += len(data)
                if self.cuts_at and self.sent_bytes >= self.cuts_at[0]:
                    self.cuts_at.pop(0)
                    break
                back.write(data)
                await back.drain()
        except OSError:
            pass
        answers.cancel()
        for side in (writer, back):
            side.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(LINE_BYTES):
        writer.write(data)


class Node:
    """A node as far as blobs go."""

    def __init__(self, folder: Path, name: str, address: str) -> None:
        place = Place(tenant="bench", node=name, site="s")
        store = MemoryStore(CATALOGUE.collections, tenant="bench")
        self.host = Host(
            place=place,
            store=store,
            catalogue=CATALOGUE,
            wall=SystemWall(),
            route=lambda row: None,
        )
        self.shelf = Shelf(FolderBlobs(folder / name), "bench", self.host.wall)
        self.client = BlobClient(address, Token(name))
        self.agent = BlobAgent(
            host=self.host,
            shelf=self.shelf,
            client=self.client,
            online=lambda: True,
            chance=lambda: 0.0,
        )

    async def names(self, *names: str) -> None:
        await self.host.store.commit([named(self.host, name) for name in names])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        task = asyncio.create_task(self.agent.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.client.close()

    async def carry(self, count: int) -> float:
        """Seconds until so many blobs are at both ends."""
        began_s = time.perf_counter()
        ledger = self.agent.ledger
        async with self.running():
            while len(ledger.keys) < count or ledger.unsent or ledger.wants:
                await asyncio.sleep(0.002)
            return time.perf_counter() - began_s


def named(host: Host, sha256: str) -> Any:
    fields = collection_of(File).check({"file": sha256, DELETED: False}, whole=True)
    return host.stamped(collection_of(File), sha256[:32], site_partition("s"), fields)


def plain(folder: Path) -> list[Any]:
    """The peer's two handlers."""

    @put("/plain/{name:str}", status_code=200)
    async def take(request: Request[Any, Any, Any]) -> Response[bytes]:
        path = folder / request.path_params["name"]
        with path.open("wb") as file:
            async for piece in request.stream():
                await asyncio.to_thread(file.write, piece)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return Response(b"")

    @get("/plain/{name:str}")
    async def give(request: Request[Any, Any, Any]) -> Stream:
        path = folder / request.path_params["name"]
        return Stream(pieces(path), media_type="application/octet-stream")

    return [take, give]


async def pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while data := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield data


class Bench:
    """The cloud, with both kinds of handlers, and the folder for all that is made."""

    def __init__(self, folder: Path, host: Host, gate: BlobGate, address: str) -> None:
        self.folder = folder
        self.host = host
        self.gate = gate
        self.address = address
        self._nodes = 0

    def node(self, address: str = "") -> Node:
        self._nodes += 1
        return Node(self.folder / "nodes", f"n{self._nodes}", address or self.address)

    async def plain_up(self, path: Path) -> float:
        began_s = time.perf_counter()
        url = f"{self.address}/plain/{path.name}"
        async with (
            aiohttp.ClientSession() as session,
            session.put(url, data=pieces(path)) as answer,
        ):
            assert answer.status == 200
        return time.perf_counter() - began_s

    async def plain_down(self, name: str) -> float:
        began_s = time.perf_counter()
        path = self.folder / f"came-{name}"
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.address}/plain/{name}") as answer,
        ):
            with path.open("wb") as file:
                async for piece in answer.content.iter_chunked(PIECE_BYTES):
                    await asyncio.to_thread(file.write, piece)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        return time.perf_counter() - began_s


@contextlib.asynccontextmanager
async def bench_in(folder: Path) -> AsyncIterator[Bench]:
    server = await EmbeddedPostgres.start(folder / "postgres")
    database = await PostgresCloud.open(
        server.dsn, CATALOGUE.collections, owner_dsn=server.owner_dsn
    )
    host = Host(
        place=Place(tenant="bench", node="cloud-bench"),
        store=database.tenant("bench"),
        catalogue=CATALOGUE,
        wall=SystemWall(),
        route=lambda row: None,
    )

    async def host_of(tenant: str) -> Host:
        return host

    gate = BlobGate(FolderBlobs(folder / "cloud"), host_of)
    (folder / "plain").mkdir()
    app = Litestar(
        route_handlers=[blob_routes(gate, admit), *plain(folder / "plain")],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
    try:
        async with serving(app, Listen()) as address:
            yield Bench(folder, host, gate, address)
    finally:
        await database.close()
        await server.stop()


async def upload(bench: Bench, size: int, count: int) -> tuple[float, float]:
    """Seconds for ours and for the peer's, of so many files of that size."""
    node = bench.node()
    files = [os.urandom(size) for _ in range(count)]
    refs = [await node.agent.add(data) for data in files]
    await node.names(*(ref.sha256 for ref in refs))
    ours_s = await node.carry(count)
    theirs_s = 0.0
    for number, data in enumerate(files):
        path = bench.folder / f"file-{number}"
        path.write_bytes(data)
        theirs_s += await bench.plain_up(path)
        path.unlink()
    return ours_s, theirs_s


async def download(bench: Bench, size: int, count: int) -> tuple[float, float]:
    node = bench.node()
    refs = []
    for number in range(count):
        path = bench.folder / "plain" / f"down-{number}"
        path.write_bytes(os.urandom(size))
        refs.append(await bench.gate.add("bench", path))
    await bench.host.store.commit([named(bench.host, ref.sha256) for ref in refs])
    await node.names(*(ref.sha256 for ref in refs))
    ours_s = await node.carry(count)
    theirs_s = 0.0
    for number in range(count):
        theirs_s += await bench.plain_down(f"down-{number}")
    return ours_s, theirs_s


async def resume(bench: Bench, size: int) -> float:
    """Bytes put on the line over the file's size, with 20 cuts at even distances, in the midst of
    chunks; chunks are those of a link that takes half a minute for the file."""
    limits.BLOB_CHUNK_BYTES = size // CHUNKS
    line = CutLine(
        int(bench.address.rsplit(":", 1)[1]), [(n + 0.53) * size / CUTS for n in range(CUTS)]
    )
    server = await asyncio.start_server(line.passing, "127.0.0.1", 0)
    async with server:
        node = bench.node(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ref = await node.agent.add(os.urandom(size))
        await node.names(ref.sha256)
        await node.carry(1)
        assert await bench.gate.storage.size("bench", ref.sha256) == size
        assert not line.cuts_at
    return line.sent_bytes / size


Case = Callable[[Bench, int, int], Awaitable[tuple[float, float]]]


async def compare(bench: Bench, name: str, case: Case, size: int, count: int, rounds: int) -> None:
    times = [await case(bench, size, count) for _ in range(rounds)]
    ours, theirs = (statistics.median(t[side] for t in times) for side in (0, 1))
    each = count > 1
    value, unit = (count / ours, "files/s") if each else (size / ours / 1e6, "MB/s")
    peer = "plain PUT" if case is upload else "plain GET"
    figure(name, value, unit, peer=peer, ratio=theirs / ours)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    large, rounds, small = (LARGE_BYTES // 2, 2, 100) if quick else (LARGE_BYTES, 5, 500)
    with tempfile.TemporaryDirectory(prefix="beira-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with bench_in(folder) as bench:
            await compare(bench, "blobs_upload", upload, large, 1, rounds)
            await compare(bench, "blobs_download", download, large, 1, rounds)
            await compare(bench, "blobs_upload_small", upload, SMALL_BYTES, small, rounds)
            await compare(bench, "blobs_download_small", download, SMALL_BYTES, small, rounds)
            sent, most = await resume(bench, large), 1 + CUTS / CHUNKS
            figure(
                "blobs_sent_with_20_cuts",
                sent,
                "bytes sent / size",
                target=f"<= {most:.2f}: a chunk a cut",
                met=sent <= most,
            )


if __name__ == "__main__":
    asyncio.run(main())

"""100,000 assets and 1,000 shops on a real PostgreSQL: telling the shops, and answering them.

    python -m benchmarks.player.shops [assets] [shops]

Each shop plays some 2,000 assets of three playlists. The peer sends the whole manifest, compressed alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from beira.apps.player import app
from beira.apps.player.cloud import Heads, answer_manifest
from beira.apps.player.compile import compiled
from beira.apps.player.manifest import Answer, Manifest, Question
from beira.apps.player.records import Asset, Playlist, Rendition, Slot
from beira.apps.player.wire import packed, unpacked
from beira.host import Host, Place, Signature, SystemWall
from beira.kernel.access import Kind, Principal
from beira.kernel.app import catalogue
from beira.kernel.record import Record
from beira.kernel.system import NodeInfo, Site
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.sync.streams import feed_route
from benchmarks.figures import figure, percentile

ASSETS, SHOPS, LISTS, EACH = 100_000, 1_000, 150, 700
BATCH = 1_000
ASKED = 300
CHANGES = 10


class Keys:
    """Signs as identity does."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def sign(self, data: bytes) -> Signature:
        return Signature(key_id="k", signature=self._key.sign(data))

    def verify(self, data: bytes, signature: Signature) -> bool:
        return True


async def main(assets: int, shops: int) -> None:
    folder = Path(mkdtemp(prefix="beira-bench-"))
    folder.chmod(0o755)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = await EmbeddedPostgres.start(folder / "postgres")
        stack.push_async_callback(server.stop)
        host = await _host(server, stack)
        await _fill(host, assets, shops)
        await _measure(host, shops)


async def _host(server: EmbeddedPostgres, stack: AsyncExitStack) -> Host:
    declared = catalogue([app])
    database = await PostgresCloud.open(
        server.dsn, declared.collections, owner_dsn=server.owner_dsn
    )
    stack.push_async_callback(database.close)
    host = Host(
        place=Place(tenant="bench", node="cloud-1"),
        store=database.tenant("bench"),
        catalogue=declared,
        wall=SystemWall(),
        route=feed_route(declared.collections),
    )
    host.signer = host.verifier = Keys()
    await host.start()
    return host


async def _fill(host: Host, assets: int, shops: int) -> None:
    now = datetime.now(UTC)
    records: list[Record] = []
    for n in range(assets):
        id, file = f"a{n:06d}", hashlib.sha256(str(n).encode()).hexdigest()
        records.append(
            Asset(
                id=id,
                title=f"Faixa número {n}",
                artist=f"Artista {n % 900}",
                state="ready",
                master=hashlib.sha256(id.encode()).hexdigest(),
                duration_ms=180_000 + n % 90_000,
            )
        )
        records.append(
            Rendition(
                id=file, asset=id, profile="opus-64", file=file, size_bytes=1_500_000 + n,
                duration_ms=180_000 + n % 90_000, made_at=now,
            )
        )  # fmt: skip
    for n in range(LISTS):
        first = n * assets // LISTS
        songs = [f"a{(first + i) % assets:06d}" for i in range(EACH)]
        records.append(Playlist(id=f"p{n:03d}", name=f"Lista {n}", assets=songs))
    for n in range(LISTS):
        records.append(Slot(id=f"g{n:03d}", playlist=f"p{n:03d}", place=f"group:g{n // 3}"))
    for n in range(shops):
        groups = [f"g{n % (LISTS // 3)}"]
        records.append(Site(id=f"s{n}", name=f"Loja {n}", groups=groups))
        records.append(NodeInfo(id=f"n{n}", name=f"Nó {n}", site=f"s{n}"))
    for start in range(0, len(records), BATCH):
        async with host.writing() as ctx:
            for record in records[start : start + BATCH]:
                ctx.put(record, partition="tenant")


async def _measure(host: Host, shops: int) -> None:
    heads = Heads(host)
    started_s = time.perf_counter()
    await compiled(host, "n0")
    figure("player.library_read", time.perf_counter() - started_s, "s")
    started_s = time.perf_counter()
    told = await heads.settle()
    figure("player.first_heads", time.perf_counter() - started_s, "s", peer=f"{told} shops")

    held = {n: await compiled(host, f"n{n}") for n in range(0, shops, max(1, shops // ASKED))}
    took_ms, size = [], 0
    for n, manifest in held.items():
        took, asked, answer = await _asked(host, n, Question(root=manifest.root, version=1))
        took_ms.append(took)
        size = asked + len(answer)
    target = "p95 < 50, < 1,000 bytes"
    p95 = percentile(took_ms, 0.95)
    figure("player.no_change", p95, "ms (p95)", target=target, met=p95 < 50 and size < 1_000)
    figure("player.no_change_bytes", size, "bytes of body, both ways")
    await _changed_asset(host, heads, held)
    await _new_playlist(host, heads, held)


async def _changed_asset(host: Host, heads: Heads, held: dict[int, Manifest]) -> None:
    """One asset in a list of a fiftieth of the shops: until all of them are told."""
    took_s = []
    for n in range(CHANGES):
        async with host.writing() as ctx:
            ctx.patch(Asset, "a000003", title=f"Outro nome {n}")
        started_s = time.perf_counter()
        while not await heads.settle():
            await asyncio.sleep(0.005)
        took_s.append(time.perf_counter() - started_s)
    figure("player.one_change_told", percentile(took_s, 0.95), "s (p95)", target="< 5",
           met=percentile(took_s, 0.95) < 5)  # fmt: skip
    manifest = held[0]
    question = Question(root=manifest.root, version=1, marks=manifest.marks)
    took, asked, answer = await _asked(host, 0, question)
    whole = len(packed(Answer(buckets=manifest.lacking(b""))))
    figure("player.one_change", took, "ms")
    figure(
        "player.one_change_bytes",
        asked + len(answer),
        "bytes of body, both ways",
        peer=f"whole manifest: {whole}",
        ratio=(asked + len(answer)) / whole,
    )


async def _new_playlist(host: Host, heads: Heads, held: dict[int, Manifest]) -> None:
    """A list of 30, for all shops: each asks with its root, and then with its marks."""
    songs = [f"a{n:06d}" for n in range(5, 35)]
    async with host.writing() as ctx:
        ctx.put(Playlist(id="new", name="Nova", assets=songs))
        ctx.put(Slot(id="new", playlist="new", begins="18:00", ends="20:00"))
    started_s = time.perf_counter()
    while not await heads.settle():
        await asyncio.sleep(0.005)
    figure("player.all_told", time.perf_counter() - started_s, "s, all shops", target="< 10",
           met=time.perf_counter() - started_s < 10)  # fmt: skip
    size = whole = 0
    took_ms = []
    for n, manifest in held.items():
        _, asked, answer = await _asked(host, n, Question(root=manifest.root, version=1))
        size += asked + len(answer)
        question = Question(root=manifest.root, version=1, marks=manifest.marks)
        took, asked, answer = await _asked(host, n, question)
        size, took_ms = size + asked + len(answer), [*took_ms, took]
        got = manifest.replaced(unpacked(answer, Answer).buckets)
        assert got.root == (await compiled(host, f"n{n}")).root
        whole += len(packed(Answer(buckets=got.lacking(b""))))
    figure("player.new_playlist", percentile(took_ms, 0.95), "ms (p95)")
    figure(
        "player.new_playlist_bytes",
        size / len(held),
        "bytes a shop, both ways",
        peer=f"whole manifests: {whole / len(held):.0f}",
        ratio=size / whole,
        target="< 0.2 of the peer's",
        met=size / whole < 0.2,
    )


async def _asked(host: Host, n: int, question: Question) -> tuple[float, int, bytes]:
    """Milliseconds, the question's size, and the answer."""
    body = packed(question)
    who = Principal(kind=Kind.NODE, id=f"n{n}", tenant="bench")
    started_s = time.perf_counter()
    answer = await answer_manifest(host, who, body)
    return (time.perf_counter() - started_s) * 1000, len(body), answer


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    asyncio.run(main(*[*given, *(ASSETS, SHOPS)[len(given) :]]))

"""A shop's node for the tests: real SQLite, real engines, its page served on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from litestar import Litestar
from litestar.datastructures import State
from litestar.static_files import create_static_files_router

import beira.portal
from beira.apps.voice import app as voice_app
from beira.apps.voice.edge import VoiceEdge, edge
from beira.apps.voice.engines.espeak import Espeak, Tuning
from beira.apps.voice.engines.ports import HEARD_HZ, Pcm
from beira.apps.voice.engines.sound import resampled, write_wav
from beira.apps.voice.pages import pages
from beira.apps.voice.records import Person, Product
from beira.host import Host, Place, SystemWall
from beira.host.listen import Listen
from beira.host.serve import serving
from beira.kernel.app import catalogue
from beira.kernel.query import Query
from beira.kernel.system import Setting
from beira.sdk import Lane
from beira.store.sqlite import SqliteStore
from beira.sync.streams import lane_stream, log_route

PEOPLE = ("João Silva", "Maria Souza", "Carlos Lima")
PRODUCTS = (("leite integral", 549), ("café torrado", 1_890), ("arroz branco", 2_690))
CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(p).exists()), ""
)
BROWSER_ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
STATIC = Path(beira.portal.__file__).parent / "static"


@dataclass
class Shop:
    """A node with its voice. `url` is its page's, where it is served."""

    host: Host
    voice: VoiceEdge
    url: str = ""
    connected: bool = False

    async def rows(self, collection: str) -> list[dict[str, Any]]:
        page = await self.host.store.query(Query(collection=collection, limit=1_000))
        return page.rows

    async def put(self, *records: Any) -> None:
        async with self.host.writing() as ctx:
            for record in records:
                ctx.put(record)

    async def pending(self) -> dict[Lane, Any]:
        return {lane: await self.host.store.pending(lane_stream(lane)) for lane in Lane}


class Evening(SystemWall):
    """The machine's time, put to eight in the evening in São Paulo: "às oito e quinze" has been."""

    def __init__(self) -> None:
        local = datetime.now(ZoneInfo("America/Sao_Paulo"))
        evening = local.replace(hour=20, minute=0, second=0, microsecond=0)
        self._ahead_ms = round((evening - local).total_seconds() * 1000)

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms


@asynccontextmanager
async def shop(
    folder: Path, *, served: bool = False, settings: dict[str, Any] | None = None
) -> AsyncIterator[Shop]:
    """A running node of Angeloni with three people and three products."""
    async with AsyncExitStack() as stack:
        known = catalogue([voice_app])
        store = await SqliteStore.open(folder / "node.db", known.collections)
        stack.push_async_callback(store.close)
        place = Place(tenant="angeloni", node="n1", site="s1", name="Angeloni 1")
        host = Host(
            place=place, store=store, catalogue=known, wall=Evening(),
            route=log_route(known.collections),
        )  # fmt: skip
        await host.start()
        async with host.writing() as ctx:
            for name in PEOPLE:
                ctx.put(Person(name=name))
            for name, cents in PRODUCTS:
                ctx.put(Product(name=name, price_cents=cents, place="corredor 4"))
            if settings:
                ctx.put(Setting(id="voice@tenant", app="voice", values=settings))
        voice = await stack.enter_async_context(edge(host))
        made = Shop(host, voice)
        if served:
            state = State({"host": host, "place": place, "pending": made.pending,
                           "sync_state": lambda: made})  # fmt: skip
            static = create_static_files_router("/static", directories=[STATIC])
            site = Litestar([*pages, static], state=state, openapi_config=None, logging_config=None)
            made.url = await stack.enter_async_context(serving(site, Listen()))
        await voice.ready.wait()
        yield made


async def said(*texts: str, quiet_s: float = 1.2) -> Pcm:
    """Texts spoken by a voice that is not Aurora's, in a room that is not quite silent."""
    speaker = Espeak({"pt-BR": Tuning("pt-br+m3", rate=165, pitch=50, range=50, gap=0)})
    rng = np.random.default_rng(9)
    parts: list[Any] = [np.zeros(HEARD_HZ // 4)]
    try:
        for text in texts:
            pieces = [sound async for sound in speaker.speak(text, "pt-BR")]
            pcm = np.frombuffer(b"".join(p.pcm for p in pieces), "<i2")
            parts += [
                resampled(pcm, pieces[0].rate_hz, HEARD_HZ),
                np.zeros(int(HEARD_HZ * quiet_s)),
            ]
    finally:
        await speaker.close()
    whole = np.concatenate(parts)
    return (whole + rng.normal(0, 8, len(whole))).clip(-32_768, 32_767).astype(np.int16)


def as_wav(pcm: Pcm) -> bytes:
    return write_wav(pcm.astype("<i2").tobytes(), HEARD_HZ)

"""What the cloud answers a second, and how soon an open page shows what a node has just written.

    python -m benchmarks.portal [--quick]

The whole of it runs here: the cloud program over an embedded PostgreSQL, a node program over SQLite,
sync between them over loopback. For requests the peer is a handler of the same server that answers a
constant: what is lost to it is what sign-in, rights, the query and its JSON or page cost. For the page
the peer is the least it could take: a PostgreSQL commit told by NOTIFY to a listener.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import structlog

from beira.apps.voice.records import Interaction, Product
from beira.cloud.program import Cloud, CloudConfig
from beira.cloud.program import running as cloud_running
from beira.host.listen import Listen
from beira.identity.tenants import service
from beira.node.program import Node, NodeConfig, enrol
from beira.node.program import running as node_running
from benchmarks.figures import figure, percentile

IN_FLIGHT = 16
PRODUCTS = 1_000
TARGET_PAGE_S = 1.0
TARGET_API_SHARE = 0.2
EMAIL = "owner@bench.example"
PASSWORD = secrets.token_urlsafe(18)


@dataclass
class Bench:
    """A cloud with one company, a node of it, and the owner signed in."""

    cloud: Cloud
    url: str
    node: Node
    session: aiohttp.ClientSession
    token: str


@contextlib.asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """Everything running, the node connected."""
    async with contextlib.AsyncExitStack() as stack:
        config = CloudConfig(data=folder / "cloud", listen=Listen(), apps=("voice",))
        cloud, url = await stack.enter_async_context(cloud_running(config))
        await cloud.identity.people.create_first_owner("Bench", EMAIL, PASSWORD, tenant_id="bench")
        await cloud.identity.tenants.add_site(service("bench"), "Loja", id="loja")
        code = await cloud.identity.nodes.make_code(service("bench"), "loja", name="Balcão")
        await enrol(folder / "node", url, code.code)
        await cloud.follow_places("bench")
        setup = NodeConfig(data=folder / "node", listen=Listen(), apps=("voice",))
        node = await stack.enter_async_context(node_running(setup))
        session = await stack.enter_async_context(_session())
        yield Bench(cloud, url, node, session, await _sign_in(session, url))


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        connector=aiohttp.TCPConnector(limit=IN_FLIGHT * 2),
    )


async def _sign_in(session: aiohttp.ClientSession, url: str) -> str:
    """Sign in as a browser does, and to the API as a client does."""
    async with session.get(f"{url}/sign-in"):
        pass
    cookies = {cookie.key: cookie.value for cookie in session.cookie_jar}
    csrf = next(value for name, value in cookies.items() if name.startswith("beira_form"))
    form = {"email": EMAIL, "password": PASSWORD, "csrf": csrf}
    async with session.post(f"{url}/sign-in", data=form) as answer:
        assert answer.status == 200, await answer.text()
    body = {"email": EMAIL, "password": PASSWORD}
    async with session.post(f"{url}/auth/v1/token?grant_type=password", json=body) as answer:
        found: dict[str, Any] = await answer.json()
        return str(found["access_token"])


async def per_second(ask: Callable[[], Awaitable[None]], seconds: float) -> tuple[float, float]:
    """Requests a second with IN_FLIGHT at once, and the 99th percentile of one, in ms."""
    took: list[float] = []
    until = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            await ask()
            took.append((time.monotonic() - began) * 1000)

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return len(took) / (time.monotonic() - began), percentile(took, 0.99)


async def measure_requests(made: Bench, seconds: float) -> None:
    """The API, a page, and a constant from the same server."""
    host = await made.cloud.host_of_tenant("bench")
    async with host.writing() as ctx:
        for number in range(PRODUCTS):
            product = Product(id=f"p{number}", name=f"Produto {number}", price_cents=number)
            ctx.put(product, partition="tenant")
    headers = {"Authorization": f"Bearer {made.token}"}
    read = f"{made.url}/rest/v1/products?select=id,name,price_cents&order=name&limit=20"

    async def get(url: str, **more: Any) -> None:
        async with made.session.get(url, **more) as answer:
            await answer.read()
            assert answer.status == 200, (url, answer.status)

    constant, _ = await per_second(lambda: get(f"{made.url}/healthz"), seconds)
    api, api_p99 = await per_second(lambda: get(read, headers=headers), seconds)
    page, page_p99 = await per_second(lambda: get(f"{made.url}/products"), seconds)
    peer = f"a constant from the same server: {constant:.0f}/s"
    figure(
        "portal.api_requests", api, "1/s", peer=peer, ratio=api / constant,
        target=f"at least {TARGET_API_SHARE} of the constant", met=api / constant >= TARGET_API_SHARE,
    )  # fmt: skip
    figure("portal.api_p99", api_p99, "ms")
    figure("portal.pages", page, "1/s", peer=peer, ratio=page / constant)
    figure("portal.page_p99", page_p99, "ms")


async def measure_freshness(made: Bench, rounds: int) -> None:
    """From a node's confirmed write to the row in an open page: synced, told, asked for, rendered."""
    heard: asyncio.Queue[float] = asyncio.Queue()
    ready = asyncio.Event()
    listening = asyncio.create_task(_page(made, heard, ready))
    await asyncio.wait_for(ready.wait(), 20)
    took, told = [], []
    for number in range(rounds):
        mark = f"conversa {number} {secrets.token_hex(4)}"
        async with made.node.host.writing() as ctx:
            ctx.put(Interaction(text=mark, outcome="done", at=datetime.now(UTC), latency_ms=400.0))
        began = time.monotonic()
        while True:
            told_at = await asyncio.wait_for(heard.get(), 30)
            async with made.session.get(f"{made.url}/interactions/list") as answer:
                shown = mark in await answer.text()
            if shown:
                break
        told.append(told_at - began)
        took.append(time.monotonic() - began)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    least = await _notify(made, rounds)
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    peer = f"commit and NOTIFY of the same PostgreSQL: {least * 1000:.1f} ms"
    figure("portal.commit_to_page_p50", p50, "s", peer=peer, ratio=p50 / least)
    figure(
        "portal.commit_to_page_p95",
        p95,
        "s",
        target=f"under {TARGET_PAGE_S}",
        met=p95 < TARGET_PAGE_S,
    )
    figure("portal.commit_to_news_p50", percentile(told, 0.5), "s")


async def _page(made: Bench, heard: asyncio.Queue[float], ready: asyncio.Event) -> None:
    """An open page's stream."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with made.session.get(f"{made.url}/live", timeout=timeout) as stream:
        async for line in stream.content:
            if line.startswith(b"event: hello"):
                ready.set()
            if line == b"data: interactions\n":
                heard.put_nowait(time.monotonic())


async def _notify(made: Bench, rounds: int) -> float:
    """The median of a commit's way to a listener, in seconds."""
    told: asyncio.Queue[float] = asyncio.Queue()
    took = []
    async with (
        made.cloud.database.pool.acquire() as ear,
        made.cloud.database.pool.acquire() as mouth,
    ):

        def hear(*_: object) -> None:
            told.put_nowait(time.monotonic())

        await ear.add_listener("bench", hear)
        for _ in range(rounds):
            began = time.monotonic()
            await mouth.execute("SELECT pg_notify('bench', 'x')")
            took.append(await asyncio.wait_for(told.get(), 10) - began)
        with contextlib.suppress(asyncpg.PostgresError):
            await ear.remove_listener("bench", hear)
    return percentile(took, 0.5)


async def measure(folder: Path, quick: bool) -> None:
    async with bench(folder) as made:
        await measure_freshness(made, 20 if quick else 100)
        await measure_requests(made, 3.0 if quick else 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="under 50 s")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="beira-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        asyncio.run(measure(Path(folder), given.quick))


if __name__ == "__main__":
    main()

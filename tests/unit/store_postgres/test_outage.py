"""The database goes away and comes back: clear answers meanwhile, nothing confirmed is lost, and
nobody has to restart anything."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.contract.postgres_fixture import fresh_tenant, postgres_place
from tests.unit.store_postgres.collections_ import REGISTRY, sale

from beira.kernel.errors import Unavailable
from beira.store.port import News
from beira.store.postgres import EmbeddedPostgres, PostgresCloud, PostgresStore
from beira.store.postgres import cloud as cloud_module


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    made = postgres_place()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="session")
async def server(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Not the session's: these tests stop, freeze and kill it."""
    started = await EmbeddedPostgres.start(directory)
    yield started
    await started.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def cloud(server: EmbeddedPostgres) -> AsyncIterator[PostgresCloud]:
    opened = await PostgresCloud.open(server.dsn, REGISTRY, owner_dsn=server.owner_dsn, pool_size=4)
    yield opened
    await opened.close()


async def until_it_works(store: PostgresStore, id: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await store.commit([sale(id)], route=lambda _: "s")
                return
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_restart_in_mid_work(
    cloud: PostgresCloud, server: EmbeddedPostgres, directory: Path
) -> None:
    store = cloud.tenant(fresh_tenant())
    heard: list[News] = []
    store.subscribe(heard.append)
    await store.commit([sale("before")], route=lambda _: "s")
    await server.stop()
    for _ in range(5):
        with pytest.raises(Unavailable):
            await store.commit([sale("meanwhile")])
        with pytest.raises(Unavailable):
            await store.get("sales", "before")
    assert not await cloud.healthy()
    again = await EmbeddedPostgres.start(directory)
    try:
        await until_it_works(store, "after")
        assert await cloud.healthy()
        assert await store.get("sales", "before") == sale("before")
        assert await store.get("sales", "meanwhile") is None
        async with asyncio.timeout(20):
            while not any(news.rows == () for news in heard):
                await asyncio.sleep(0.05)
        await store.commit([sale("heard")])
        async with asyncio.timeout(5):
            while not any(news.rows == (("sales", "heard", "site:1"),) for news in heard):
                await asyncio.sleep(0.02)
    finally:
        await again.stop()


async def test_killed_in_mid_work(cloud: PostgresCloud, server: EmbeddedPostgres) -> None:
    """`kill -9` while many write: what was confirmed is there, once, and the server is started
    again by itself."""
    store = cloud.tenant(fresh_tenant())
    confirmed: list[str] = []

    async def write(at: int) -> None:
        for n in range(15):
            await until_it_works(store, f"{at}-{n}")
            confirmed.append(f"{at}-{n}")

    writers = [asyncio.create_task(write(at)) for at in range(6)]
    while len(confirmed) < 20:
        await asyncio.sleep(0.01)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.gather(*writers)
    found = await store.since("s", 0, most=1_000, most_bytes=10**7)
    assert sorted(r.id for r in found.rows) == sorted(confirmed)
    assert len(confirmed) == 6 * 15


async def test_a_frozen_database_does_not_hang_its_callers(
    cloud: PostgresCloud, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_module, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(cloud_module, "ACQUIRE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(cloud_module, "PAUSE_S", 60.0)
    store = cloud.tenant(fresh_tenant())
    async with cloud.pool.acquire() as connection:
        process = await connection.fetchval("SELECT pg_backend_pid()")
    backends = _children(server.pid)
    assert process in backends
    for pid in (server.pid, *backends):
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await store.commit([sale("1")])
            assert not await cloud.healthy()
            for _ in range(1_000):  # at once: it is known to be away
                with pytest.raises(Unavailable):
                    await store.get("sales", "1")
    finally:
        for pid in (server.pid, *backends):
            os.kill(pid, signal.SIGCONT)
    monkeypatch.setattr(cloud, "_paused_until", 0.0)
    monkeypatch.setattr(cloud_module, "ANSWER_TIMEOUT_S", 10.0)
    await until_it_works(store, "2")


def _children(pid: int | None) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(part) for part in text.split()]


async def test_a_pool_in_full_use_answers_in_time(
    cloud: PostgresCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_module, "ACQUIRE_TIMEOUT_S", 0.2)
    store = cloud.tenant(fresh_tenant())
    held = [await cloud.pool.acquire() for _ in range(4)]
    with pytest.raises(Unavailable):
        await store.commit([sale("1")])
    for connection in held:
        await cloud.pool.release(connection)
    await store.commit([sale("1")])


async def test_many_more_callers_than_connections(cloud: PostgresCloud) -> None:
    store = cloud.tenant(fresh_tenant())
    await asyncio.gather(*(store.commit([sale(str(n))], route=lambda _: "s") for n in range(100)))
    assert (await store.pending("s")).count == 100


async def test_writers_of_one_partition_leave_room_for_readers(cloud: PostgresCloud) -> None:
    store = cloud.tenant(fresh_tenant())
    release = asyncio.Event()

    async def hold(_connection: Any) -> None:
        await release.wait()

    locks = store._locks({("partition", "site:1")})
    holder = asyncio.create_task(cloud.run("t", hold, locks=locks))
    writers = [asyncio.create_task(store.commit([sale(str(n))])) for n in range(50)]
    await asyncio.sleep(0.05)
    assert await store.get("sales", "1") is None
    await cloud.tenant("another").commit([sale("1")])
    assert not any(writer.done() for writer in writers)
    release.set()
    await asyncio.gather(holder, *writers)
    assert await store.get("sales", "49") == sale("49")


async def test_a_cancelled_writer_leaves_nothing_behind(cloud: PostgresCloud) -> None:
    store = cloud.tenant(fresh_tenant())
    for wait_s in (0.0, 0.001, 0.002, 0.004, 0.008):
        writer = asyncio.create_task(store.commit([sale(f"c{n}") for n in range(500)]))
        await asyncio.sleep(wait_s)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await store.commit([sale("next")])  # no lock of the cancelled one is left
    assert cloud.pool.get_size() <= 4
    async with cloud.pool.acquire() as connection:
        assert not connection.is_in_transaction()


async def test_closed(cloud: PostgresCloud) -> None:
    store = cloud.tenant(fresh_tenant())
    await cloud.close()
    with pytest.raises(Unavailable):
        await store.commit([sale("1")])
    assert not await cloud.healthy()
    await cloud.close()


async def test_no_database_at_all(directory: Path) -> None:
    with pytest.raises(Unavailable) as error:
        await PostgresCloud.open(f"postgresql://x@/y?host={directory}", REGISTRY)
    assert error.value.code == "database.away"

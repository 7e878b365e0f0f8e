# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Twenty shops trade for thirty days with the network cut; then it comes back."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from beira.apps.voice.records import Interaction, Product
from beira.host.wall import SystemWall
from beira.kernel.collection import CRITICAL, IMPORTANT, NORMAL, Lane
from beira.kernel.query import Query
from beira.node import program as node_program
from beira.node.program import Node
from beira.store.port import Store
from beira.store.postgres import EmbeddedPostgres
from beira.store.postgres.schema import SCHEMA
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    company_on,
    drained,
    postgres_directory,
    postgres_server,
    row_of,
)
from tests.contract.postgres_fixture import fresh_database

SEED = 20_261_120
SHOPS = 20
DAYS = 30
A_DAY = 80
INTERACTIONS = SHOPS * DAYS * A_DAY
LANES: tuple[tuple[Lane, float], ...] = ((CRITICAL, 0.02), (IMPORTANT, 0.78), (NORMAL, 0.20))
"""The shares of Aurora's own: emergencies and alarms; punches, sales and talk; logs and history."""
NAMES = ("João Silva", "Ana Souza", "Maria Lima", "Pedro Alves", "Carla Reis")


class Calendar(SystemWall):
    """The machine's clock, moved to the day that a shop is living through."""

    back = timedelta()

    def now_ms(self) -> int:
        return super().now_ms() - int(Calendar.back.total_seconds() * 1000)


def interaction(i: int, at: datetime) -> Interaction:
    """One turn at a counter: about 300 bytes of JSON."""
    who = NAMES[i % len(NAMES)]
    return Interaction(
        at=at,
        text=f"registrar ponto do {who} às {8 + i % 10} e {i % 60:02}",
        intent="register_punch",
        outcome="done",
        answer=f"Ponto de {who} registrado às {8 + i % 10}:{i % 60:02}.",
        confidence=round(0.9 + (i % 97) / 1000, 3),
        latency_ms=400 + i * 7919 % 500,
        door="voice",
        stages_ms={"stt": 31.0 + i % 7, "intent": 1.5, "answer": 12.0},
    )


async def a_month_of_trade(nodes: list[Node]) -> None:
    """Each shop's days, one commit a day; every shop also changes a price the others know of."""
    chance = random.Random(SEED)
    lanes, weights = zip(*LANES, strict=True)
    opened = datetime.now(UTC)
    for day in range(DAYS):
        Calendar.back = timedelta(days=DAYS - day)
        for shop, node in enumerate(nodes):
            async with node.host.writing() as ctx:
                for turn in range(A_DAY):
                    at = opened - Calendar.back + timedelta(minutes=7 * turn)
                    record = interaction((shop * DAYS + day) * A_DAY + turn, at)
                    ctx.put(record, lane=chance.choices(lanes, weights)[0])
                price = Product(id="coffee", name="Café", price_cents=1_000 + day * SHOPS + shop)
                ctx.put(price)
    Calendar.back = timedelta()


async def all_of(store: Store) -> dict[str, dict[str, Any]]:
    """Every interaction by id, stamps and all."""
    page = await store.query(Query(collection="interactions", limit=2 * INTERACTIONS))
    return {str(row["id"]): row for row in page.rows}


async def arrival(owner_dsn: str, tenant: str) -> dict[str, list[tuple[int, int]]]:
    """By node, in the order PostgreSQL committed them: (lane, transaction) of each interaction."""
    connection = await asyncpg.connect(owner_dsn)
    try:
        rows = await connection.fetch(
            f"SELECT _node, _lane, xmin::text::bigint AS at FROM {SCHEMA}.interactions"
            " WHERE tenant_id = $1 ORDER BY 3",
            tenant,
        )
    finally:
        await connection.close()
    arrived: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        arrived.setdefault(row["_node"], []).append((row["_lane"], row["at"]))
    return arrived


@pytest.mark.timeout(300)
async def test_thirty_days_without_network_then_everything_arrives_once_critical_first(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_program, "SystemWall", Calendar)
    dsn, owner_dsn = await fresh_database(postgres_server)
    async with AsyncExitStack() as stack:
        company = await stack.enter_async_context(company_on(dsn, owner_dsn))
        plug = await stack.enter_async_context(company.plug())
        tenant = await company.tenant("angeloni")
        folders = []
        for shop in range(SHOPS):
            folders.append(await company.enrol(tenant, await company.site(tenant, f"shop-{shop}")))
        plug.pull()
        nodes = [await stack.enter_async_context(company.node(data, plug)) for data in folders]
        await a_month_of_trade(nodes)
        for node in nodes:
            held = await node.agent.pending()
            assert sum(lane.count for lane in held.values()) == DAYS * A_DAY + 1
        assert not await all_of((await company.host(tenant)).store)

        plug.put_back()
        await asyncio.gather(*(drained(node) for node in nodes))

        there = await all_of((await company.host(tenant)).store)
        assert len(there) == INTERACTIONS
        for node in nodes:
            here = await all_of(node.store)
            assert len(here) == DAYS * A_DAY
            assert all(there.pop(id) == row for id, row in here.items())
        assert not there
        latest = 1_000 + (DAYS - 1) * SHOPS + SHOPS - 1
        for store in [(await company.host(tenant)).store, *(node.store for node in nodes)]:
            await row_of(store, "products", "coffee", price_cents=latest)
        for node, arrived in (await arrival(owner_dsn, tenant)).items():
            when = {lane: [at for of, at in arrived if of == lane] for lane in Lane}
            assert max(when[CRITICAL]) < min(when[IMPORTANT]), node
            assert max(when[IMPORTANT]) < min(when[NORMAL]), node

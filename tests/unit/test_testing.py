"""What app authors test with: a node, and a node with its cloud, on a clock they move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.unit.api.shop import SHOP, Note, Product, Sale

from beira.kernel.query import where
from beira.testing import Clock, node, world


async def test_commands_and_rows_on_a_node_in_memory() -> None:
    async with node(SHOP) as here:
        sold = await here.run("sell", product="p", amount=2)
        here.clock.forward(90)
        await here.run("sell", product="q", amount=3, role="member")
        assert sold.ok
        first, second = await here.rows(Sale)
        assert [first.product, second.product] == ["p", "q"]
        assert second.at - first.at == timedelta(seconds=90)
        assert [s.id for s in await here.rows(Sale, where(product="q"))] == [second.id]
        refused = await here.run("sell", product="p", amount=1, role="guest")
        assert (refused.ok, refused.code) == (False, "denied")


async def test_on_sqlite_what_was_written_is_there_again(tmp_path: Path) -> None:
    async with node(SHOP, folder=tmp_path) as here:
        await here.put(Product(id="p", name="Pão"))
    async with node(SHOP, folder=tmp_path) as again:
        assert [p.name for p in await again.rows(Product)] == ["Pão"]


async def test_both_sides_have_it_after_a_sync_and_not_before() -> None:
    async with world(SHOP) as both:
        await both.node.run("sell", product="p", amount=2)
        await both.node.put(Note(text="stays here"))
        await both.cloud.put(Product(id="p", name="Pão", price=1.5))
        assert await both.cloud.rows(Sale) == [] and await both.node.rows(Product) == []
        await both.sync_once()
        assert [s.product for s in await both.cloud.rows(Sale)] == ["p"]
        assert [p.price for p in await both.node.rows(Product)] == [1.5]
        assert await both.cloud.rows(Note) == [], "LOCAL never leaves"
        await both.node.put(Product(id="p", name="Pão", price=2.0))
        await both.cloud.put(
            Sale(product="x", amount=1, at=both.cloud.host.now()), partition="site:s1"
        )
        await both.sync_once()
        assert [p.price for p in await both.cloud.rows(Product)] == [2.0]
        await both.sync_once()


async def test_runs_are_alike_to_the_last_id() -> None:
    told = []
    for _ in range(2):
        async with node(SHOP) as here:
            told.append(await here.run("sell", product="p", amount=2))
    assert told[0] == told[1]


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    before = clock.now_ms()
    assert clock.now_ms() == before
    clock.forward(1.5)
    assert clock.now_ms() - before == 1_500 and clock.monotonic_s() == 1.5

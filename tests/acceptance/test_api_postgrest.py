"""A Python program with PyPI's `postgrest` client reads and writes a shop's records."""

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from postgrest import APIError, AsyncPostgrestClient, CountMethod

from tests.unit.api.serving import (  # noqa: F401 (fixtures)
    Served,
    cloud,
    kind,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
    served,
)


@pytest_asyncio.fixture(loop_scope="session")
async def owner(served: Served) -> AsyncIterator[AsyncPostgrestClient]:
    headers = {"Authorization": "Bearer owner", "apikey": "anonymous"}
    async with AsyncPostgrestClient(f"{served.url}/rest/v1", headers=headers) as client:
        yield client


def guest(served: Served) -> AsyncPostgrestClient:
    return AsyncPostgrestClient(f"{served.url}/rest/v1", headers={"Authorization": "Bearer guest"})


async def test_insert_upsert_update_and_delete(owner: AsyncPostgrestClient) -> None:
    products = owner.from_("products")
    made = await products.insert({"id": "a", "name": "Café", "price": 9.5}).execute()
    assert made.data[0]["name"] == "Café" and made.data[0]["stock"] == 0
    with pytest.raises(APIError) as refused:
        await owner.from_("products").insert({"id": "a", "name": "again"}).execute()
    assert refused.value.code == "record.exists" and refused.value.hint
    rows = [{"id": "a", "name": "Café", "price": 10}, {"id": "b", "name": "Sal"}]
    both = await owner.from_("products").upsert(rows).execute()
    assert [row["price"] for row in both.data] == [10, 0]
    changed = await owner.from_("products").update({"stock": 3}).eq("id", "b").execute()
    assert changed.data[0]["stock"] == 3
    gone = await owner.from_("products").delete().eq("id", "b").execute()
    assert [row["id"] for row in gone.data] == ["b"]
    left = await owner.from_("products").select("id", count=CountMethod.exact).execute()
    assert left.data == [{"id": "a"}] and left.count == 1


async def test_filters_order_pages_and_counts(owner: AsyncPostgrestClient) -> None:
    rows = [
        {"id": f"p{n}", "name": f"Item {n}, (x)", "price": n, "note": None if n == 2 else f"n{n}"}
        for n in range(5)
    ]
    await owner.from_("products").insert(rows).execute()

    async def ids(query: object) -> list[str]:
        answer = await query.order("id").execute()  # type: ignore[attr-defined]
        return [row["id"] for row in answer.data]

    def select() -> object:
        return owner.from_("products").select("id")

    assert await ids(select().gte("price", 3)) == ["p3", "p4"]
    assert await ids(select().neq("price", 0).lt("price", 2)) == ["p1"]
    assert await ids(select().in_("name", ["Item 1, (x)", "Item 4, (x)"])) == ["p1", "p4"]
    assert await ids(select().is_("note", "null")) == ["p2"]
    assert await ids(select().not_.is_("note", "null").gt("price", 2)) == ["p3", "p4"]
    assert await ids(select().or_("price.eq.0,and(price.gt.3,active.is.true)")) == ["p0", "p4"]
    assert await ids(select().ilike("name", "%ITEM 3%")) == ["p3"]
    page = (
        await owner.from_("products")
        .select("id", count=CountMethod.exact)
        .order("price", desc=True)
        .range(1, 2)
        .execute()
    )
    assert [row["id"] for row in page.data] == ["p3", "p2"] and page.count == 5
    total = await owner.from_("products").select("total:price.sum(),count()").execute()
    assert total.data == [{"total": 10.0, "count": 5}]
    text = await owner.from_("products").select("id,price").eq("id", "p1").csv().execute()
    assert text.data.splitlines()[0] == "id,price"


async def test_one_record_or_none(owner: AsyncPostgrestClient) -> None:
    await (
        owner.from_("products")
        .insert([{"id": "a", "name": "A"}, {"id": "b", "name": "B"}])
        .execute()
    )
    one = await owner.from_("products").select("name").eq("id", "a").single().execute()
    assert one.data == {"name": "A"}
    none = await owner.from_("products").select().eq("id", "z").maybe_single().execute()
    assert none is None or none.data is None
    with pytest.raises(APIError) as refused:
        await owner.from_("products").select().single().execute()
    assert refused.value.code == "PGRST116"


async def test_commands_and_their_refusals(owner: AsyncPostgrestClient) -> None:
    sale = await owner.rpc("sell", {"product": "p", "amount": 4, "seller": "Ana"}).execute()
    assert sale.data["amount"] == 4
    with pytest.raises(APIError) as refused:
        await owner.rpc("sell", {"product": "p", "amount": 0}).execute()
    assert (refused.value.code, refused.value.hint) == ("sale.empty", "Say the amount.")


async def test_a_guest_sees_nothing_personal_and_writes_nothing(
    owner: AsyncPostgrestClient, served: Served
) -> None:
    await owner.rpc("sell", {"product": "p", "amount": 4, "seller": "Ana"}).execute()
    async with guest(served) as client:
        (sale,) = (await client.from_("sales").select().execute()).data
        assert sale["amount"] == 4 and "seller" not in sale
        with pytest.raises(APIError) as refused:
            await client.from_("sales").select("id").eq("seller", "Ana").execute()
        assert refused.value.code == "column.unknown"
        with pytest.raises(APIError) as refused:
            await client.from_("products").insert({"name": "x"}).execute()
        assert refused.value.code == "denied"


async def test_facts_never_change(owner: AsyncPostgrestClient) -> None:
    sale = (await owner.rpc("sell", {"product": "p", "amount": 4}).execute()).data
    for attempt in (
        owner.from_("sales").update({"amount": 1}).eq("id", sale["id"]),
        owner.from_("sales").delete().eq("id", sale["id"]),
        owner.from_("sales").upsert(
            {"id": sale["id"], "product": "p", "amount": 1, "at": sale["at"]}
        ),
    ):
        with pytest.raises(APIError) as refused:
            await attempt.execute()
        assert refused.value.code == "fact.immutable"
    again = await owner.from_("sales").upsert(sale).execute()
    assert again.data[0]["amount"] == 4

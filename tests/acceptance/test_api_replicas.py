# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""Two replicas of the cloud are sent the same call at once: it is carried out once, and both answer the
same. The loser's whole transaction is undone, so nothing of it remains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from beira.host import Host, Place, SystemWall
from beira.host.host import TURN_MARK, TURNS
from beira.kernel.app import catalogue
from beira.kernel.errors import Conflict
from beira.kernel.query import Query
from beira.store.port import Store
from beira.store.postgres import EmbeddedPostgres, PostgresCloud
from beira.store.postgres.store import PostgresStore
from tests.contract.postgres_fixture import (  # noqa: F401 (fixtures)
    fresh_database,
    fresh_tenant,
    postgres_directory,
    postgres_server,
)
from tests.unit.api.shop import PEOPLE, SHOP

ROUNDS = 60
OWNER, MEMBER = PEOPLE["owner"], PEOPLE["member"]
ASKED = {"product": "p", "amount": 2}


async def replica(database: PostgresCloud, tenant: str, name: str) -> Host:
    host = Host(
        place=Place(tenant=tenant, node=name),
        store=database.tenant(tenant),
        catalogue=catalogue([SHOP]),
        wall=SystemWall(),
        route=lambda row: f"feed:{row.partition}",
    )
    await host.start()
    return host


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(postgres_server: EmbeddedPostgres) -> AsyncIterator[tuple[Host, Host]]:
    """Each with its own pool of connections, as two programs have."""
    dsn, owner_dsn = await fresh_database(postgres_server)
    declared, tenant = catalogue([SHOP]).collections, fresh_tenant()
    databases = [await PostgresCloud.open(dsn, declared, owner_dsn=owner_dsn) for _ in range(2)]
    one, two = [await replica(d, tenant, f"cloud-{n}") for n, d in enumerate(databases)]
    yield one, two
    for database in databases:
        await database.close()


async def count(store: Store, collection: str) -> int:
    page = await store.query(Query(collection=collection, limit=1, count=True))
    assert page.total is not None
    return page.total


async def test_a_call_sent_to_both_at_once_is_carried_out_once(
    replicas: tuple[Host, Host],
) -> None:
    one, two = replicas
    for number in range(1, ROUNDS + 1):
        told = await asyncio.gather(
            *(
                host.run("sell", ASKED, principal=OWNER, door="api", call_id=f"call-{number}")
                for host in (one, two, one, two)
            )
        )
        assert all(receipt.ok for receipt in told)
        assert len({receipt.result["id"] for receipt in told}) == 1, "one answer for all"
        assert await count(one.store, "sales") == number
        assert await count(two.store, "receipts") == number
    assert len(await one.store.marks(TURN_MARK)) <= TURNS, "however many calls there were"


async def test_different_calls_at_once_are_all_carried_out(replicas: tuple[Host, Host]) -> None:
    before = await count(replicas[0].store, "sales")
    await asyncio.gather(
        *(
            replicas[n % 2].run("sell", ASKED, principal=OWNER, door="api", call_id=f"own-{n}")
            for n in range(40)
        )
    )
    assert await count(replicas[0].store, "sales") == before + 40


async def test_two_people_with_one_id_at_once_get_no_receipt_of_each_other(
    replicas: tuple[Host, Host],
) -> None:
    for number in range(10):
        told = await asyncio.gather(
            *(
                host.run(
                    "sell",
                    ASKED | {"seller": who.name},
                    principal=who,
                    door="api",
                    call_id=f"theirs-{number}",
                )
                for host, who in zip(replicas, (OWNER, MEMBER), strict=True)
            ),
            return_exceptions=True,
        )
        refused = [answer for answer in told if isinstance(answer, Conflict)]
        assert [error.code for error in refused] == ["idempotency.reused"]


async def test_another_tenants_call_of_the_same_id_is_a_call_of_its_own(
    replicas: tuple[Host, Host],
) -> None:
    """Neither is it answered with this one's receipt, nor kept from running by it."""
    one, two = replicas
    store = one.store
    assert isinstance(store, PostgresStore)
    theirs = await replica(store._cloud, fresh_tenant(), "cloud-0")
    first, other, again = await asyncio.gather(
        *(
            host.run("sell", ASKED, principal=OWNER, door="api", call_id="shared")
            for host in (one, theirs, two)
        )
    )
    assert first.result["id"] == again.result["id"] != other.result["id"]
    assert await count(theirs.store, "sales") == await count(theirs.store, "receipts") == 1


async def test_a_refused_call_is_refused_once_too(replicas: tuple[Host, Host]) -> None:
    asked = {"product": "nothing", "amount": 1}
    before = await count(replicas[0].store, "receipts")
    told = await asyncio.gather(
        *(
            host.run("sell", asked, principal=OWNER, door="api", call_id="refused")
            for host in replicas
        )
    )
    assert {(receipt.ok, receipt.code) for receipt in told} == {(False, "product.unknown")}
    assert await count(replicas[0].store, "receipts") == before + 1


async def test_an_id_of_another_command_is_refused(replicas: tuple[Host, Host]) -> None:
    one, two = replicas
    await one.run("sell", ASKED, principal=OWNER, door="api", call_id="first")
    with pytest.raises(Conflict) as refused:
        await two.run("broken", {}, principal=OWNER, door="api", call_id="first")
    assert refused.value.code == "idempotency.reused"

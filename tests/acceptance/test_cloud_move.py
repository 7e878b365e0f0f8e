# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A company's cloud moves from one PostgreSQL to another while its shop works on."""

from __future__ import annotations

import stat

import asyncpg
import pytest
from structlog.testing import capture_logs

from beira.apps.voice.records import CustomerRequest, Product
from beira.cloud.moving import Database, move_database, remembered
from beira.host.listen import Listen
from beira.kernel.errors import BeiraError, Conflict, Corrupt, Misconfigured
from beira.node.program import Node
from beira.store.postgres import EmbeddedPostgres, PostgresCloud, moving
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    company_on,
    drained,
    fresh_database,
    postgres_directory,
    postgres_server,
    put,
    roomy_folder,
    row_of,
    until,
)


async def request(node: Node, id: str) -> None:
    await put(node.host, CustomerRequest(id=id, text=f"pedido {id}", at=node.host.now()))


async def test_a_cloud_moves_and_its_node_loses_nothing(postgres_server: EmbeddedPostgres) -> None:
    old = Database(*await fresh_database(postgres_server))
    new = Database(*await fresh_database(postgres_server))
    told: list[tuple[str, int, int]] = []
    with roomy_folder() as data:
        async with company_on(old.url, old.owner_url, data=data) as company:
            company.folder = data
            tenant = await company.tenant("angeloni")
            other = await company.tenant("bistek")
            cloud = await company.host(tenant)
            folder = await company.enrol(tenant)
            async with company.node(folder) as node:
                for i in range(20):
                    await request(node, f"before-{i}")
                await put(cloud, Product(id="p", name="Leite", price_cents=499))
                await put(await company.host(other), Product(id="q", name="Pão", price_cents=99))
                await drained(node)
                await row_of(node.store, "products", "p")
                epoch = await company.cloud.epoch_of(tenant)
                owner = await asyncpg.connect(old.owner_url)
                await owner.execute(
                    'CREATE TABLE beira.of_an_app_that_is_gone (tenant_id text COLLATE "C" '
                    'NOT NULL, id text COLLATE "C" NOT NULL, PRIMARY KEY (tenant_id, id))'
                )
                await owner.execute(
                    "INSERT INTO beira.of_an_app_that_is_gone VALUES ($1, 'kept')", tenant
                )
                await owner.close()

                moved = await move_database(
                    data, (), old, new, lambda *progress: told.append(progress)
                )
                assert moved.rows == told[-1][1] == told[-1][2] > 40
                await request(node, "after the move, and before anybody restarted the cloud")
        with pytest.raises(Misconfigured) as refused:
            await PostgresCloud.open(old.url, company.cloud.catalogue.collections)
        assert refused.value.code == "database.moved" and new.url not in refused.value.message

        assert remembered(data) == new
        assert stat.S_IMODE((data / "database.json").stat().st_mode) == 0o600
        listen = Listen(port=company.port)
        with capture_logs() as log:
            async with company_on("", "", data=data, listen=listen) as restarted:
                restarted.folder = data
                assert await restarted.cloud.epoch_of(tenant) != epoch
                await restarted.owner(tenant)
                async with restarted.node(folder) as node:
                    await drained(node)
                    cloud = await restarted.host(tenant)
                    await row_of(
                        cloud.store,
                        "customer_requests",
                        "after the move, and before anybody restarted the cloud",
                    )
                    for i in range(20):
                        assert await cloud.store.get("customer_requests", f"before-{i}")
                    await until(
                        lambda: "sync.cloud_changed" in [line["event"] for line in log],
                        "the node notices the new database",
                    )
        assert "sync.mended" not in [line["event"] for line in log], "nothing was missing"
        owner = await asyncpg.connect(new.owner_url)
        gone = await owner.fetchval(
            "SELECT relforcerowsecurity FROM pg_class "
            "WHERE oid = 'beira.of_an_app_that_is_gone'::regclass"
        )
        await owner.close()
        assert gone, "what was walled stays walled"


async def test_what_cannot_be_moved_stays_as_it_was(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Database(*await fresh_database(postgres_server))
    taken = Database(*await fresh_database(postgres_server))
    fresh = Database(*await fresh_database(postgres_server))
    async with company_on(taken.url, taken.owner_url) as neighbour:
        await neighbour.tenant("bistek")
    async with company_on(old.url, old.owner_url) as company:
        tenant = await company.tenant("angeloni")
        with pytest.raises(Conflict) as full:
            await move_database(company.folder, (), old, taken, lambda *_: None)
        assert full.value.code == "move.not_empty" and full.value.hint
        monkeypatch.setattr(moving, "_copy", _forgetful(moving._copy))
        with pytest.raises(Corrupt) as differs:
            await move_database(company.folder, (), old, fresh, lambda *_: None)
        assert differs.value.code == "move.differs"
        monkeypatch.undo()
        nowhere = replace_host(fresh, "127.0.0.1:1")
        with pytest.raises(BeiraError):
            await move_database(company.folder, (), old, nowhere, lambda *_: None)
        assert remembered(company.folder) is None
        await put(await company.host(tenant), Product(id="p", name="Leite", price_cents=499))
        await move_database(company.folder, (), old, fresh, lambda *_: None)
        with pytest.raises(BeiraError):
            await put(await company.host(tenant), Product(id="r", name="Tarde", price_cents=1))


def _forgetful(copy):  # type: ignore[no-untyped-def]
    async def broken(source, target, table, tenant):  # type: ignore[no-untyped-def]
        await copy(source, target, table, tenant)
        if table.name == "tenants":
            await target.execute(f"DELETE FROM {table.sql_name} WHERE id LIKE 'angeloni%'")

    return broken


def replace_host(database: Database, place: str) -> Database:
    def at(url: str) -> str:
        head, _, name = url.rpartition("/")
        return f"{head.split('://')[0]}://x:y@{place}/{name}"

    return Database(at(database.url), at(database.owner_url))


def test_a_file_nobody_can_read_is_told(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "database.json").write_text("{")
    with pytest.raises(Corrupt) as broken:
        remembered(tmp_path)
    assert "database.json" in broken.value.message and broken.value.hint

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""`beira cloud status` beside a running cloud: what is there, what waits, what is open."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from beira.cloud.program import CloudConfig
from beira.cloud.status import CloudStatus, look, shown
from beira.host.listen import Listen
from beira.kernel.access import node_partition
from beira.kernel.query import Query
from beira.kernel.record import Record
from beira.kernel.system import LostValue, NodeStatus, Quarantined
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    command,
    company_on,
    fresh_database,
    postgres_directory,
    postgres_server,
    put,
)


def as_text(status: CloudStatus) -> str:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(shown(status))
    return console.export_text()


async def test_all_of_it_is_told(postgres_server: EmbeddedPostgres) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    async with company_on(dsn, owner_dsn) as made:
        tenant = await made.tenant("angeloni")
        host = await made.host(tenant)
        folders = [await made.enrol(tenant) for _ in range(3)]
        rows = (await host.store.query(Query(collection="node_info"))).rows
        assert len(rows) == len(folders) == 3
        now = host.now()
        hour = int(now.timestamp()) // 3_600
        for number, row in enumerate(rows[:2]):
            status = NodeStatus(
                id=row["id"], release="1", started_at=now, seen_at=now, online=number == 0,
                pending={"normal": 5}, oldest_s={"normal": 70 * number},
                hours={"important": [[hour, 90, 10 * number]]},
            )  # fmt: skip
            await put(host, status, partition=node_partition(row["id"]))
        for record in _open(now):
            await put(host, record, partition="tenant")
        config = CloudConfig(made.folder / "cloud", Listen(), dsn, owner_dsn)
        gone = "http://127.0.0.1:9"
        found = await look(config, [made.address, gone])
        epoch = (await made.cloud.epoch_of(tenant)).partition(".")[0]
        (one,) = [t for t in (await look(config, [])).tenants if t.id == tenant]
    assert [replica.state for replica in found.replicas] == ["ok", "unreachable"]
    assert (one.nodes, one.online, one.late) == (3, 1, 1)
    assert (one.quarantined, one.conflicts, one.epoch) == (1, 1, epoch)
    lanes = one.lanes
    assert (lanes["normal"].waiting, lanes["normal"].oldest_s) == (10, 70)
    assert (lanes["important"].met, lanes["important"].late) == (180, 10)
    text = as_text(found)
    assert "94.74 % of 190" in text and gone in text and "Angeloni" in text
    assert not found.good


async def test_the_command_prints_json_and_says_by_its_code_that_something_is_amiss(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    dsn, owner_dsn = await fresh_database(postgres_server)
    given = ("--database-url", dsn, "--owner-url", owner_dsn, "--data", str(tmp_path))
    code, said = command(
        "cloud", "status", "--json", "--replica", "http://127.0.0.1:9", *given
    )  # fmt: skip
    assert code == 1, said
    told = json.loads(said)
    assert told["replicas"][0]["state"] == "unreachable" and told["tenants"] == []


def _open(now: datetime) -> list[Record]:
    """One refused record and one conflict that are open, and one of each that is not."""
    refused = {
        "node": "n", "in_collection": "punches", "record": "r", "code": "c", "message": "m", "at": now,
    }  # fmt: skip
    lost = {
        "in_collection": "products", "record": "r", "place": "tenant", "field": "name", "at": now,
        "lost_by": "n", "lost_at": now, "kept_by": "m", "kept_at": datetime(2026, 11, 1, tzinfo=UTC),
    }  # fmt: skip
    return [
        Quarantined(**refused), Quarantined(**refused, state="discarded"),
        LostValue(**lost), LostValue(**lost, restored_by="Dona"),
    ]  # fmt: skip

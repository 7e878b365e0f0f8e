# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A record the cloud refuses: what is behind it goes on, an owner mends it, and every node has it."""

from __future__ import annotations

import re

from beira.kernel.collection import collection_of
from beira.kernel.query import Query
from beira.kernel.system import Alert
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PASSWORD,
    Company,
    company,
    drained,
    postgres_directory,
    postgres_server,
    put,
    row_of,
    until,
)
from tests.unit.portal.world import Browser

AT = "2026-11-20T12:00:00Z"


async def test_a_refused_alert_is_mended_and_reaches_its_own_node_and_the_others(
    company: Company,
) -> None:
    tenant = await company.tenant("angeloni")
    first, second = await company.enrol(tenant), await company.enrol(tenant)
    cloud = await company.host(tenant)
    async with company.node(first) as one, company.node(second) as two:
        fields = {
            "kind": "fire", "level": "fatal", "title": "Fogo", "at": AT, "text": "", "node": "",
            "seen_by": "", "seen_at": None, "_deleted": False,
        }  # fmt: skip
        declared, home = collection_of(Alert), f"site:{tenant}-1"
        await one.host.write([one.host.stamped(declared, "fire-1", home, fields)])
        good = Alert(id="good-1", kind="x", level="info", title="Tudo bem", at=one.host.now())
        await put(one.host, good)
        await row_of(cloud.store, "alerts", "good-1")
        await drained(one)

        async def refused() -> str | None:
            rows = (await cloud.store.query(Query(collection="quarantine", limit=10))).rows
            return next((str(row["id"]) for row in rows if row["record"] == "fire-1"), None)

        id = await until(refused)
        assert await cloud.store.get("alerts", "fire-1") is None
        async with Browser(company.web.url, "pt-BR") as owner:
            await owner.sign_in(f"owner@{tenant}.example", PASSWORD)
            text = await owner.get(f"/quarantine/{id}")
            form = dict(re.findall(r'<input id="p-\w+" name="(p\.\w+)" value="([^"]*)"', text))
            await owner.post(f"/quarantine/{id}/replay", mended="yes", **form, **{"p.level": "x"})
            assert owner.status == 400
            await owner.post(
                f"/quarantine/{id}/replay", mended="yes", **form, **{"p.level": "critical"}
            )
            assert "Admitido" in owner.text
        for host in (cloud, one.host, two.host):
            row = await row_of(host.store, "alerts", "fire-1", level="critical")
            assert row.fields["title"] == "Fogo"

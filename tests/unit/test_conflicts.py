"""A value that lost is taken back, once, by who may write the record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from beira.host import Host, Place, SystemWall
from beira.kernel.access import Kind, Principal
from beira.kernel.app import App, catalogue
from beira.kernel.collection import BOTH, SITE, collection, collection_of
from beira.kernel.errors import Conflict, Denied, NotFound
from beira.kernel.record import State
from beira.kernel.system import LostValue
from beira.store.memory import MemoryStore
from beira.sync.cloud.conflicts import restore
from beira.sync.streams import feed_route, feed_stream

AT = datetime(2026, 11, 21, tzinfo=UTC)


@collection("shelves", flow=BOTH, partition=SITE, write=("owner", "member"))
class Shelf(State):
    label: str


APP = App(name="t", title="T", collections=(collection_of(Shelf),), commands=())


def person(**more: Any) -> Principal:
    given = {"id": "p", "tenant": "t", "role": "member", "name": "Ana", **more}
    return Principal(kind=Kind.PERSON, **given)


@pytest.fixture
async def host() -> Host:
    made = catalogue([APP])
    store = MemoryStore(made.collections, tenant="t")
    host = Host(
        place=Place(tenant="t", node="cloud"),
        store=store,
        catalogue=made,
        wall=SystemWall(),
        route=feed_route(made.collections),
    )
    await host.start()
    lost = LostValue(
        id="c1",
        in_collection="shelves",
        record="s",
        place="site:s1",
        field="label",
        lost="by the first",
        lost_by="n1",
        lost_at=AT,
        kept="by the second",
        kept_by="n2",
        kept_at=AT,
        at=AT,
    )
    async with host.writing() as ctx:
        ctx.put(Shelf(id="s", label="by the second"), partition="site:s1")
        ctx.put(lost, partition=lost.place)
    return host


async def test_it_is_written_again_and_goes_to_the_shops(host: Host) -> None:
    before = await host.store.end(feed_stream("site:s1"))
    await restore(host, "c1", by=person())
    row = await host.store.get("shelves", "s")
    assert row is not None and row.fields["label"] == "by the first"
    assert await host.store.end(feed_stream("site:s1")) == before + 1
    ended = await host.store.get("conflicts", "c1")
    assert ended is not None and ended.fields["restored_by"] == "Ana"
    with pytest.raises(Conflict) as twice:
        await restore(host, "c1", by=person())
    assert twice.value.code == "conflict.restored" and twice.value.hint


@pytest.mark.parametrize(
    "by", [person(role="guest"), person(tenant="other"), person(sites=("s2",))]
)
async def test_others_are_refused_and_change_nothing(host: Host, by: Principal) -> None:
    with pytest.raises(Denied):
        await restore(host, "c1", by=by)
    row = await host.store.get("shelves", "s")
    assert row is not None and row.fields["label"] == "by the second"


async def test_one_that_is_not_there(host: Host) -> None:
    with pytest.raises(NotFound):
        await restore(host, "none", by=person())

"""Refused records over real PostgreSQL: mended, admitted again, discarded; and kept from all others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.portal.world import BAD, Browser, World

from beira.apps.voice import app as voice
from beira.apps.voice.records import CustomerRequest, Product
from beira.host import Host
from beira.kernel.access import Kind, Principal, node_partition
from beira.kernel.app import Catalogue
from beira.kernel.clock import Stamp
from beira.kernel.collection import collection_of
from beira.kernel.errors import BeiraError, Conflict, Denied, NotFound
from beira.kernel.merge import merge
from beira.kernel.quarantine import readmitted
from beira.kernel.query import Query, where
from beira.kernel.record import Row
from beira.kernel.system import Quarantined
from beira.sync.cloud.quarantine import discard, kept, replay

AT = "2026-11-20T14:30:00Z"
HOME = "site:angeloni-1"
REGISTRY = Catalogue((voice,)).collections
NODE = Principal(kind=Kind.NODE, id="n1", tenant="angeloni", sites=("angeloni-1",))


async def refuse(
    made: World, fields: dict[str, Any], *, collection: str = "customer_requests",
    record: str = "", partition: str = HOME, code: str = "field.invalid", node: str = "",
    row: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """Put a record into quarantine as the gate does; its id there."""
    host = await made.host()
    node = node or made.nodes["angeloni-1"]
    hlc = host.clock.tick(host.wall.now_ms())
    whole = {"fields": fields, "partition": partition, "stamp": [hlc, 1, node]}
    lost = Quarantined(
        node=node, in_collection=collection, record=record or host.wall.new_id(), code=code,
        message="why", at=host.now(), row=whole if row is None else row,
    )  # fmt: skip
    await made.write(host, [(lost, "tenant")])
    return lost.id


async def seen(host: Host, id: str) -> dict[str, Any]:
    page = await host.store.query(Query(collection="quarantine", where=where(id=id), limit=1))
    return page.rows[0]


def principal(made: World, tenant: str = "angeloni", role: str = "owner") -> Principal:
    return Principal(kind=Kind.PERSON, id="p1", tenant=made.tenants[tenant], name="Dona", role=role)


def node_of(made: World, site: str = "angeloni-1") -> Principal:
    tenant = site.partition("-")[0]
    return Principal(kind=Kind.NODE, id=made.nodes[site], tenant=tenant, sites=(site,))


async def test_a_refused_record_is_mended_in_the_portal_and_counts(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    id = await refuse(portal_world, {"text": "um bolo", "at": "ontem"}, record="request-bolo")
    page = await owner.get(f"/quarantine/{id}")
    assert 'value="ontem"' in page
    assert "Um campo tem um valor que não serve" in page
    assert "Dia e hora, como" in page
    form = {"mended": "yes", "p.text": "um bolo", "p.product": "", "p.trace": ""}
    await owner.post(f"/quarantine/{id}/replay", **form, **{"p.at": "ainda não"})
    assert owner.status == 400
    assert 'value="ainda não"' in owner.text
    assert (await seen(host, id))["state"] == "open"
    await owner.post(f"/quarantine/{id}/replay", **form, **{"p.at": "2026-11-20T14:30"})
    assert "Admitido: já conta" in owner.text
    row = await host.store.get("customer_requests", "request-bolo")
    assert row is not None
    assert row.fields["at"] == "2026-11-20T17:30:00Z"
    assert row.stamp.node == portal_world.nodes["angeloni-1"]
    after = await seen(host, id)
    assert (after["state"], after["ended_by"] != "") == ("replayed", True)
    assert after["row"]["fields"]["at"] == "ontem"
    assert after["mended"]["fields"]["at"] == "2026-11-20T17:30:00Z"
    assert id not in await owner.get("/quarantine")
    assert id in await owner.get("/quarantine?which=ended")
    assert "Admitiu um recusado" in await owner.get("/team/audit")
    await owner.post(f"/quarantine/{id}/replay")
    assert owner.status == 400
    assert "quarantine.ended" in owner.text


async def test_what_is_left_alone_goes_in_as_it_came(portal_world: World, owner: Browser) -> None:
    """A collection the cloud lacked yesterday, say: nothing is mended, nothing may change."""
    host = await portal_world.host()
    fields = {"text": "pão\nde  queijo", "at": AT, "unknown_yet": [1, {"a": None}]}
    id = await refuse(portal_world, fields, record="request-as-is", code="collection.unknown")
    page = await owner.get(f"/quarantine/{id}")
    assert "unknown_yet" in page
    await owner.post(
        f"/quarantine/{id}/replay", **{"mended": "yes", "p.text": "pão\r\nde  queijo",
        "p.at": "2026-11-20T11:30:00-03:00", "p.product": "", "p.trace": ""},
    )  # fmt: skip
    assert "Admitido" in owner.text
    row = await host.store.get("customer_requests", "request-as-is")
    assert row is not None
    assert {name: row.fields[name] for name in fields} == fields
    assert (await seen(host, id))["mended"] == {}


async def test_discarding_is_for_good_and_keeps_the_record(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    id = await refuse(portal_world, {"text": BAD, "at": "x"}, record="request-bad")
    await owner.post(f"/quarantine/{id}/discard")
    assert "Descartado" in owner.text
    after = await seen(host, id)
    assert (after["state"], after["row"]["fields"]["text"]) == ("discarded", BAD)
    assert await host.store.get("customer_requests", "request-bad") is None
    page = await owner.get(f"/quarantine/{id}")
    assert "<img src=x" not in page
    assert f"/quarantine/{id}/replay" not in page
    with pytest.raises(Conflict, match="discarded"):
        await replay(host, id, by=principal(portal_world), node=node_of(portal_world))


async def test_a_site_the_node_may_not_write_to_is_chosen_anew(
    portal_world: World, owner: Browser
) -> None:
    host = await portal_world.host()
    id = await refuse(
        portal_world, {"text": "x", "at": AT}, record="request-moved",
        partition="site:angeloni-2", code="partition.denied",
    )  # fmt: skip
    await owner.post(f"/quarantine/{id}/replay", partition="site:angeloni-2")
    assert (owner.status, "partition.denied" in owner.text) == (400, True)
    await owner.post(f"/quarantine/{id}/replay", partition="site:bistek-1")
    assert owner.status == 400
    assert "Pertence a" in owner.text
    await owner.post(f"/quarantine/{id}/replay", partition=HOME)
    row = await host.store.get("customer_requests", "request-moved")
    assert row is not None
    assert row.partition == HOME


@pytest.mark.parametrize(
    ("row", "collection"),
    [
        ({"json": '{"fields": {', "cut": True}, "punches"),
        ({"json": "not json", "cut": False}, "punches"),
        ({"at": "ontem"}, "punches"),
        ({"fields": 5, "partition": "tenant", "stamp": [1, 1, "n"]}, "punches"),
        ({"fields": {}, "partition": "tenant", "stamp": "now"}, "x" * 48),
        ({}, "nul\ufffd"),
    ],
)
async def test_what_was_not_kept_whole_can_be_read_and_discarded(
    portal_world: World, owner: Browser, row: dict[str, Any], collection: str
) -> None:
    id = await refuse(portal_world, {}, collection=collection, row=row)
    page = await owner.get(f"/quarantine/{id}")
    assert owner.status == 200
    assert "só pode ser lido e descartado" in page
    await owner.post(f"/quarantine/{id}/replay", mended="yes")
    assert owner.status == 400
    await owner.post(f"/quarantine/{id}/discard")
    assert "Descartado" in owner.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"collection": "settings", "partition": "tenant"}, "flow.down"),
        ({"collection": "nothing_such"}, "collection.unknown"),
        ({"partition": "node:n-other"}, "partition.denied"),
        ({"partition": "tenant:bistek"}, "partition.denied"),
    ],
)
async def test_admission_keeps_its_rules(
    portal_world: World, changes: dict[str, Any], code: str
) -> None:
    fields = {"app": "voice", "values": {}} if "collection" in changes else {"text": "x", "at": AT}
    id = await refuse(portal_world, fields, **changes)
    host = await portal_world.host()
    with pytest.raises(BeiraError) as caught:
        await replay(host, id, by=principal(portal_world), node=node_of(portal_world))
    assert caught.value.code == code
    assert (await seen(host, id))["state"] == "open"


async def test_a_record_signed_by_another_node_is_never_admitted(portal_world: World) -> None:
    theirs = {"fields": {"text": "x", "at": AT}, "partition": HOME, "stamp": [9, 1, "n-other"]}
    id = await refuse(portal_world, {}, row=theirs)
    with pytest.raises(BeiraError) as caught:
        await replay(
            await portal_world.host(), id, by=principal(portal_world), node=node_of(portal_world)
        )
    assert caught.value.code == "stamp.forged"


async def test_a_record_cannot_be_admitted_as_another_nodes(portal_world: World) -> None:
    id = await refuse(portal_world, {"text": "x", "at": AT})
    with pytest.raises(Denied):
        await replay(
            await portal_world.host(), id, by=principal(portal_world),
            node=node_of(portal_world, "angeloni-2"),
        )  # fmt: skip


async def test_what_is_there_already_is_not_overwritten(portal_world: World) -> None:
    """Another node wrote a fact of that id: it stays, and the refused one stays refused."""
    host = await portal_world.host()
    await portal_world.write(
        host, [(msgspec.convert({"id": "taken", "text": "first", "at": AT}, CustomerRequest), HOME)]
    )
    id = await refuse(portal_world, {"text": "second", "at": AT}, record="taken")
    with pytest.raises(Conflict):
        await replay(host, id, by=principal(portal_world), node=node_of(portal_world))
    row = await host.store.get("customer_requests", "taken")
    assert row is not None
    assert row.fields["text"] == "first"
    assert (await seen(host, id))["state"] == "open"


async def test_nobody_but_an_owner_of_the_company_gets_at_them(portal_world: World) -> None:
    host = await portal_world.host()
    id = await refuse(portal_world, {"text": "segredo", "at": AT}, record="request-secret")
    for role in ("member", "guest", "admin"):
        by = principal(portal_world, role=role)
        with pytest.raises(Denied):
            await kept(host, id, by)
        with pytest.raises(Denied):
            await replay(host, id, by=by, node=node_of(portal_world))
        with pytest.raises(Denied):
            await discard(host, id, by=by)
    stranger = principal(portal_world, "bistek")
    with pytest.raises(Denied):
        await replay(host, id, by=stranger, node=node_of(portal_world))
    theirs = await portal_world.host("bistek")
    with pytest.raises(NotFound):
        await kept(theirs, id, stranger)
    for who in ("other", "member", "clerk"):
        async with portal_world.browser() as browser:
            await browser.sign_in(portal_world.emails[who])
            for path in ("", "/replay", "/discard"):
                where_to = f"/quarantine/{id}{path}"
                text = await (browser.post(where_to) if path else browser.get(where_to))
                assert browser.status in (403, 404), (who, path)
                assert "segredo" not in text
            token = browser.cookie("access")
            answer = await browser.get("/rest/v1/quarantine", Authorization=f"Bearer {token}")
            assert browser.status == (200 if who == "other" else 403), who
            assert "segredo" not in answer
    assert (await seen(host, id))["state"] == "open"
    assert await host.store.get("customer_requests", "request-secret") is None


async def test_an_attackers_replay_stays_in_the_attackers_company(portal_world: World) -> None:
    """The owner of Bistek holds a record that names Angeloni's node and site."""
    theirs = await portal_world.host("bistek")
    node = portal_world.nodes["angeloni-1"]
    lost = Quarantined(
        node=node, in_collection="customer_requests", record="request-forged", code="x",
        message="", at=theirs.now(),
        row={"fields": {"text": "x", "at": AT}, "partition": HOME, "stamp": [9, 1, node]},
    )  # fmt: skip
    await portal_world.write(theirs, [(lost, "tenant")])
    async with portal_world.browser() as other:
        await other.sign_in(portal_world.emails["other"])
        page = await other.get(f"/quarantine/{lost.id}")
        assert "O nó que o enviou não existe mais" in page
        await other.post(f"/quarantine/{lost.id}/replay")
        assert (other.status, "quarantine.node_gone" in other.text) == (400, True)
    mine = await portal_world.host()
    for host in (mine, theirs):
        assert await host.store.get("customer_requests", "request-forged") is None


async def test_of_two_owners_at_once_one_is_heard(
    portal_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await portal_world.host()
    by = principal(portal_world)
    id = await refuse(portal_world, {"text": "x", "at": AT}, record="request-race")
    real, raced = host.store.commit, []

    async def slow(*args: Any, **more: Any) -> Any:
        if not raced:
            raced.append(True)
            await discard(host, id, by=by)
        return await real(*args, **more)

    monkeypatch.setattr(host.store, "commit", slow)
    with pytest.raises(Conflict) as caught:
        await replay(host, id, by=by, node=node_of(portal_world))
    assert caught.value.code == "quarantine.busy"
    assert (await seen(host, id))["state"] == "discarded"
    assert await host.store.get("customer_requests", "request-race") is None


async def test_a_mended_state_reaches_the_nodes(portal_world: World) -> None:
    """A price the cloud refused: mended, it goes out with the company's feed."""
    host = await portal_world.host()
    fields = {"name": "Bolo", "price_cents": "x", "_deleted": False}
    id = await refuse(
        portal_world, fields, collection="products", record="bolo", partition="tenant"
    )
    end = await host.store.end("feed:tenant")
    row = await replay(
        host, id, by=principal(portal_world), node=node_of(portal_world),
        fields={**fields, "price_cents": 990},
    )  # fmt: skip
    assert row.stamp_of("price_cents").node == host.place.node
    assert row.stamp_of("name").node == portal_world.nodes["angeloni-1"]
    told = await host.store.since("feed:tenant", end, whole=True, most=10, most_bytes=99_999)
    assert [r.fields["price_cents"] for r in told.rows if r.id == "bolo"] == [990]


@given(hlc=st.integers(1, 2**50), later=st.integers(1, 2**20), lane=st.integers(0, 2))
def test_what_is_mended_wins_over_what_was_refused_and_yields_to_what_came_since(
    hlc: int, later: int, lane: int
) -> None:
    row = Row(
        collection="products", id="p", partition="tenant",
        fields={"name": "Pao", "price_cents": -1}, stamp=Stamp(hlc, lane, "n1"),
    )  # fmt: skip
    mended = readmitted(row, NODE, REGISTRY, fields={"name": "Pão", "price_cents": -1}, cloud="c")
    products = collection_of(Product)
    assert merge(products, row, mended).fields == {"name": "Pão", "price_cents": -1}
    assert mended.stamp_of("price_cents") == row.stamp
    since = Row(
        collection="products", id="p", partition="tenant", fields={"name": "Broa"},
        stamp=Stamp(hlc + later, lane, "n1"),
    )  # fmt: skip
    assert merge(products, mended, since).fields["name"] == "Broa"


def test_unmended_it_is_the_very_row_that_came() -> None:
    row = Row(
        collection="products", id="p", partition="tenant",
        fields={"name": "Pão", "price_cents": 1}, stamp=Stamp(9, 1, "n1"),
        stamps={"name": Stamp(3, 1, "n1")},
    )  # fmt: skip
    assert readmitted(row, NODE, REGISTRY, cloud="c") == row


def test_every_partition_a_form_offers_is_one_the_node_may_write() -> None:
    row = Row(
        collection="customer_requests", id="r", partition="site:gone",
        fields={"text": "x", "at": AT}, stamp=Stamp(9, 1, "n1"),
    )  # fmt: skip
    for partition in ("site:angeloni-1", "tenant", node_partition("n1")):
        taken = readmitted(row, NODE, REGISTRY, partition=partition, cloud="c")
        assert taken.partition == partition

"""The commands by their own door, as the API calls them: rights, limits, the cloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.voice.shop import ZONE, Shop

from beira.apps.voice import app
from beira.apps.voice.demo import records
from beira.apps.voice.language import tongue
from beira.apps.voice.language.names import people as people_names
from beira.apps.voice.records import Person, Product
from beira.host import Host, Place
from beira.kernel.access import Kind, Principal
from beira.kernel.command import Receipt

OWNER = Principal(kind=Kind.PERSON, id="u1", tenant="angeloni", name="Dona", role="owner")
MEMBER = Principal(kind=Kind.PERSON, id="u2", tenant="angeloni", name="Zé", role="member")
GUEST = Principal(kind=Kind.PERSON, id="u3", tenant="angeloni", name="Eva", role="guest")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    yield await Shop().open()


async def run(shop: Shop, name: str, who: Principal = OWNER, /, **params: Any) -> Receipt:
    return await shop.host.run(name, params, principal=who, door="api")


def cloud_of(shop: Shop) -> Host:
    """The same tenant's data, as the cloud holds it."""
    place = Place(tenant="angeloni", node="cloud-1", zone=ZONE)
    return Host(place=place, store=shop.store, catalogue=shop.host.catalogue, wall=shop.wall,
                route=lambda row: None)  # fmt: skip


async def test_by_id_by_name_and_by_neither(shop: Shop) -> None:
    assert (await run(shop, "register_punch", employee="p-wesley")).ok
    shop.wall.turn(3_600)
    assert (await run(shop, "register_punch", employee="wesley santos")).ok
    unknown = await run(shop, "register_punch", employee="Uesley")
    assert (unknown.code, unknown.hint) == ("person.unknown", "Did you mean Wesley Santos?")
    both = await run(shop, "register_punch", employee="João")
    assert (both.code, both.hint) == ("person.ambiguous", "One of: João Silva, João Souza.")


@pytest.mark.parametrize(
    ("at", "code"),
    [("2026-11-20T23:00:00-03:00", "punch.future"), ("2026-11-10T08:00:00-03:00", "punch.too_old")],
)
async def test_times_a_punch_cannot_have(shop: Shop, at: str, code: str) -> None:
    assert (await run(shop, "register_punch", employee="p-wesley", at=at)).code == code
    assert await shop.rows("punches") == []


async def test_an_owner_corrects_any_punch_in_the_cloud(shop: Shop) -> None:
    made = await run(shop, "register_punch", employee="p-wesley")
    shop.wall.turn(5 * 86_400)
    cloud = cloud_of(shop)
    given = {"punch": made.result["punch"], "at": "2026-11-20T14:40:00-03:00", "reason": "esqueceu"}
    receipt = await cloud.run("correct_punch", given, principal=OWNER, door="portal")
    assert receipt.ok, receipt.message
    (fixed,) = await shop.rows("punch_corrections")
    assert (fixed["_partition"], fixed["by"], fixed["at"]) == (
        "site:s1", "Dona", "2026-11-20T17:40:00Z",
    )  # fmt: skip
    refused = await cloud.run("correct_punch", given, principal=MEMBER, door="portal")
    assert refused.code == "punch.owner_only"
    late = await run(shop, "correct_punch", punch=made.result["punch"], at=given["at"])
    assert late.code == "punch.too_old"


async def test_a_punch_taken_out_is_gone_from_the_days(shop: Shop) -> None:
    made = await run(shop, "register_punch", employee="p-wesley")
    assert (await run(shop, "correct_punch", punch=made.result["punch"], void=True)).ok
    shop.wall.turn(120)
    again = await run(shop, "register_punch", employee="p-wesley")
    assert again.result["kind"] == "in"


async def test_nodes_only_and_guests(shop: Shop) -> None:
    cloud = cloud_of(shop)
    receipt = await cloud.run("record_sale", {"items": []}, principal=OWNER, door="portal")
    assert receipt.code == "command.elsewhere"
    assert (await run(shop, "product_price", GUEST, product="coca")).ok
    assert (await run(shop, "record_sale", GUEST, items=[])).code == "denied"
    told = await cloud.run("product_place", {"product": "pao"}, principal=OWNER, door="portal")
    assert told.result["place"] == "padaria"


@pytest.mark.parametrize(
    ("name", "params", "code"),
    [
        ("record_sale", {"items": []}, "sale.items"),
        ("record_sale", {"items": [{"product": "coca", "quantity_milli": 0}]}, "quantity.invalid"),
        ("record_sale", {"items": [{"product": "coca", "quantity_milli": 1_500}]}, "quantity.unit"),
        ("record_sale", {"items": [{"product": "coca", "quantity_milli": 1_000}], "total_cents": -1},
         "money.invalid"),
        ("record_sale", {"items": [{"product": "coca", "quantity_milli": 10**13}]}, "quantity.invalid"),
        ("move_stock", {"product": "nada", "quantity_milli": 1_000}, "product.unknown"),
        ("move_stock", {"product": "coca", "quantity_milli": 1, "reason": "sale"}, "parameter.invalid"),
        ("register_product", {"name": "  "}, "product.name"),
        ("register_product", {"name": "x" * 200}, "text.too_long"),
        ("register_product", {"name": "Bolo", "price_cents": -5}, "money.invalid"),
        ("register_product", {"name": "COCA-cola 2 l"}, "product.twice"),
        ("log_request", {}, "request.empty"),
        ("report_failure", {"thing": ""}, "failure.thing"),
        ("correct_punch", {"punch": "none"}, "punch.none"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_and_nothing_is_written(
    shop: Shop, name: str, params: dict[str, Any], code: str
) -> None:
    receipt = await run(shop, name, **params)
    assert (receipt.ok, receipt.code) == (False, code), receipt.message
    for collection in ("sales", "stock_movements", "customer_requests", "alerts"):
        assert await shop.rows(collection) == []


async def test_a_total_is_shared_over_the_lines(shop: Shop) -> None:
    items = [
        {"product": "coca", "quantity_milli": 3_000},
        {"product": "ovo", "quantity_milli": 1_000},
    ]
    receipt = await run(shop, "record_sale", items=items, total_cents=1_000)
    assert receipt.ok
    (sale,) = await shop.rows("sales")
    assert sum(item["total_cents"] for item in sale["items"]) == sale["total_cents"] == 1_000


async def test_a_barcode_names_a_product(shop: Shop) -> None:
    await shop.write(Product(id="chips", name="Batata frita", price_cents=700, barcode="7891000"))
    assert (await run(shop, "product_price", product="7891000")).result["name"] == "Batata frita"


async def test_every_command_is_described_and_has_a_lane() -> None:
    assert {c.name for c in app.commands} >= {"say", "register_punch", "raise_emergency", "help"}
    for command in app.commands:
        assert command.doc, command.name
    lanes = {c.name: c.lane.name for c in app.commands}
    assert lanes["raise_emergency"] == lanes["report_failure"] == "CRITICAL"
    assert lanes["register_punch"] == lanes["register_product"] == "IMPORTANT"


def test_lanes_and_partitions_of_the_collections() -> None:
    lanes = {c.name: c.lane.name for c in app.collections}
    assert set(lanes.values()) == {"IMPORTANT"}
    personal = {c.name: {f.name for f in c.fields.values() if f.personal} for c in app.collections}
    assert {"text", "answer"} <= personal["interactions"] and "name" in personal["people"]


@pytest.mark.parametrize("tenant", ["Angeloni", "Bistek"])
def test_the_demonstration_has_two_joaos_and_25_products(tenant: str) -> None:
    made = records(tenant)
    people = [r for r in made if isinstance(r, Person)]
    products = [r for r in made if isinstance(r, Product)]
    assert (len(people), len(products)) == (8, 25)
    names = people_names([(p.id, p.name, p.also_said) for p in people], tongue("pt-BR"))
    assert len(names.find("joao")) == 2
    assert all(p.price_cents and p.place for p in products)
    assert len({r.id for r in made}) == 33

"""The fridges' commands on a node in memory: what they write, what they refuse, what the cloud gets."""

from collections.abc import AsyncIterator

import pytest
from fridges import app
from fridges.records import Temperature

from beira.sdk import Alert, Setting
from beira.testing import Side, node, world


@pytest.fixture
async def shop() -> AsyncIterator[Side]:
    async with node(app) as here:
        yield here


async def test_a_temperature_is_noted_and_told(shop: Side) -> None:
    assert (await shop.run("note_temperature", fridge="Leite", celsius=4.5)).ok
    shop.clock.forward(60)
    assert (await shop.run("note_temperature", fridge="Leite", celsius=5.0)).ok
    told = await shop.run("last_temperature", fridge="Leite", role="guest")
    assert told.result["celsius"] == 5.0
    assert told.result["too_warm"] is False


async def test_a_warm_fridge_raises_an_alert_in_the_same_transaction(shop: Side) -> None:
    assert (await shop.run("note_temperature", fridge="Carnes", celsius=9)).ok
    assert [t.celsius for t in await shop.rows(Temperature)] == [9.0]
    assert [a.title for a in await shop.rows(Alert)] == ["Carnes: 9.0 °C"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"fridge": "Leite"}, "parameter.invalid"),
        ({"fridge": "Leite", "celsius": "morna"}, "parameter.invalid"),
        ({"fridge": " ", "celsius": 4}, "fridge.name"),
        ({"fridge": "Leite", "celsius": 400}, "fridge.celsius"),
        ({"fridge": "Leite", "celsius": 4, "role": "guest"}, "denied"),
    ],
)
async def test_what_makes_no_sense_writes_nothing(
    shop: Side, params: dict[str, object], code: str
) -> None:
    refused = await shop.run("note_temperature", **params)
    assert (refused.ok, refused.code) == (False, code)
    assert await shop.rows(Temperature) == []


async def test_the_cloud_has_what_was_noted_and_the_node_what_the_owner_chose() -> None:
    async with world(app) as both:
        chosen = Setting(id="fridges@tenant", app="fridges", values={"warm_celsius": 5.0})
        await both.cloud.put(chosen)
        await both.node.run("note_temperature", fridge="Leite", celsius=6)
        await both.sync_once()
        assert [t.celsius for t in await both.cloud.rows(Temperature)] == [6.0]
        warm = await both.node.run("last_temperature", fridge="Leite")
        assert warm.result["too_warm"] is True

"""The fridges' commands on a node in memory: what they write, and what they refuse."""

import pytest
from fridges import app
from fridges.records import Temperature

from beira.host import Host, SystemWall
from beira.kernel.app import catalogue
from beira.sdk import Alert, Place, Receipt
from beira.store.memory import MemoryStore


@pytest.fixture
async def node() -> Host:
    declared = catalogue([app])
    host = Host(
        place=Place(tenant="padaria", node="n1", site="s1"),
        store=MemoryStore(declared.collections, tenant="padaria"),
        catalogue=declared,
        wall=SystemWall(),
        route=lambda row: None,
    )
    await host.start()
    return host


async def run(node: Host, command: str, **params: object) -> Receipt:
    return await node.run(command, params, principal=node.place.principal, door="test")


async def test_a_temperature_is_noted_and_told(node: Host) -> None:
    assert (await run(node, "note_temperature", fridge="Leite", celsius=4.5)).ok
    told = await run(node, "last_temperature", fridge="Leite")
    assert told.result["celsius"] == 4.5
    assert told.result["too_warm"] is False


async def test_a_warm_fridge_raises_an_alert_in_the_same_transaction(node: Host) -> None:
    assert (await run(node, "note_temperature", fridge="Carnes", celsius=9)).ok
    async with node.writing() as ctx:
        assert [t.celsius for t in await ctx.find(Temperature)] == [9.0]
        assert [a.title for a in await ctx.find(Alert)] == ["Carnes: 9.0 °C"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"fridge": "Leite"}, "parameter.invalid"),
        ({"fridge": "Leite", "celsius": "morna"}, "parameter.invalid"),
        ({"fridge": " ", "celsius": 4}, "fridge.name"),
        ({"fridge": "Leite", "celsius": 400}, "fridge.celsius"),
    ],
)
async def test_what_makes_no_sense_writes_nothing(
    node: Host, params: dict[str, object], code: str
) -> None:
    refused = await run(node, "note_temperature", **params)
    assert (refused.ok, refused.code) == (False, code)
    async with node.writing() as ctx:
        assert await ctx.find(Temperature) == []

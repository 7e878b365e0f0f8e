# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A cloud learns how a shop talks, its node fetches that and says the same in fewer bytes; nobody
else gets a word of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from beira.apps.voice.records import Interaction, StockMovement
from beira.kernel import limits
from beira.kernel.wire import Push, Wire
from beira.node.program import Node
from beira.sync.brief import BriefCodec, Dictionary, shipped
from beira.sync.node.link import SocketLink
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company,
    connected,
    drained,
    postgres_directory,
    postgres_server,
    put,
    until,
)

PERSON = "Zoraide"
THING = "Bicicleta aro 29 quadro de alumínio"


class Pushes:
    """Bytes of the pushes of one row, by the dictionary they were said with."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sizes: dict[int, list[int]] = {}
        send = SocketLink.send

        async def watched(link: SocketLink, messages: Sequence[Wire]) -> int:
            size_bytes = await send(link, messages)
            (first, *_) = messages
            if isinstance(first, Push) and sum(len(group.ids) for group in first.groups) == 1:
                assert isinstance(link._codec, BriefCodec)
                self.sizes.setdefault(link._codec.dictionary, []).append(size_bytes)
            return size_bytes

        patch.setattr(SocketLink, "send", watched)

    def mean(self, dictionary: int) -> float:
        return sum(self.sizes[dictionary]) / len(self.sizes[dictionary])


async def work(node: Node, count: int) -> None:
    """A day in a bicycle shop, one movement after the other."""
    for number in range(count):
        at = node.host.now()
        movement = StockMovement(
            product=f"p{number % 3}", name=f"{THING} {number % 3}", quantity_milli=1_000, unit="un",
            reason="in", at=at,
        )  # fmt: skip
        talk = Interaction(text=f"aurora registrar ponto da {PERSON}", answer=PERSON, at=at)
        await put(node.host, movement if number % 4 else talk)
        await drained(node)


async def again(node: Node, plug: Any) -> None:
    """A new session."""
    plug.pull()
    await until(lambda: not node.agent.state.connected, "cut off")
    plug.put_back()
    await connected(node)


async def token_of(node: Node) -> str:
    return str(await node.agent._connector._token())  # type: ignore[attr-defined]


async def test_a_node_says_it_in_fewer_bytes_and_strangers_get_nothing(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DICTIONARY_CHANGES_LEAST", 100)
    pushes = Pushes(monkeypatch)
    tenant, other_tenant = await company.tenant("bikes"), await company.tenant("other")
    other_site = await company.site(tenant, f"{tenant}-2")
    dictionaries = company.cloud.dictionaries
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await connected(node)
        await work(node, 110)
        await dictionaries.look()
        shelf = node.agent._connector._dictionaries  # type: ignore[attr-defined]
        assert shelf.held == {}
        await again(node, plug)
        await until(lambda: 16 in shelf.held, "fetched beside the session")
        await work(node, 1)
        await again(node, plug)
        await work(node, 12)
        assert set(pushes.sizes) == {1, 16}
        assert pushes.mean(16) < 0.95 * pushes.mean(1), pushes.sizes
        status, own = await company.web.ask(
            "GET", "/sync/v1/dictionaries/16", token=await token_of(node)
        )
        assert status == 200
        assert own == shelf.held[16].data
        assert THING.encode() in own
        assert PERSON.encode() not in own
        count = len(await node.store.rows("stock_movements", f"site:{tenant}-1", after=(0, ""),
                                           most=1_000))  # fmt: skip
        host = await company.host(tenant)
        there = await host.store.rows("stock_movements", f"site:{tenant}-1", after=(0, ""),
                                      most=1_000)  # fmt: skip
        assert len(there) == count > 80
    for stranger in (await company.enrol(other_tenant), await company.enrol(tenant, other_site)):
        async with company.node(stranger) as node:
            await connected(node)
            status, told = await company.web.ask(
                "GET", "/sync/v1/dictionaries/16", token=await token_of(node)
            )
            assert (status, told["code"]) == (404, "dictionary.missing")
    assert (await company.web.ask("GET", "/sync/v1/dictionaries/16"))[0] == 401


async def test_a_dictionary_garbled_on_its_way_is_refused_and_work_goes_on(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushes = Pushes(monkeypatch)
    tenant = await company.tenant("garbled")
    dictionaries = company.cloud.dictionaries
    asked: list[int] = []

    async def garbled(node: object, number: int) -> bytes:
        asked.append(number)
        return b"\x37\xa4\x30\xec" + bytes(500)

    monkeypatch.setattr(dictionaries, "get", garbled)
    there = Dictionary(16, shipped().data)
    marks = {
        f"dictionary:{tenant}-1": {"dictionaries": [msgspec.to_builtins(there.offered)]},
        f"dictionary.data:{tenant}-1:16": base64.b64encode(there.data).decode(),
    }
    await (await company.host(tenant)).store.commit([], marks=marks)
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        await connected(node)
        await until(lambda: asked, "the node asked for it")
        await again(node, plug)
        await work(node, 3)
        assert set(pushes.sizes) == {1}
        assert node.agent._connector._dictionaries.held == {}  # type: ignore[attr-defined]

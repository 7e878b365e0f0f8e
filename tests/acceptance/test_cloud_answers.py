# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""What a node asks an app in the cloud: by its token, within bounds; and what the cloud signed is known
without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from beira.cloud import program as cloud_program
from beira.host import Signature
from beira.kernel import limits
from beira.kernel.errors import Corrupt, Denied, Invalid, NotFound, TooLarge, TooMany, Unavailable
from beira.node import program as node_program
from beira.store.postgres import EmbeddedPostgres
from tests.acceptance import support
from tests.acceptance.answer_app import PURPOSE, alone
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    Company,
    company_on,
    connected,
    fresh_database,
    postgres_directory,
    postgres_server,
    until,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def company(postgres_server: EmbeddedPostgres) -> AsyncIterator[Company]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud_program, "installed", alone)
        patch.setattr(node_program, "installed", alone)
        patch.setattr(support, "deaf", alone)
        async with company_on(*await fresh_database(postgres_server)) as made:
            yield made


async def test_a_node_asks_and_is_answered_by_its_own_tenants_host(company: Company) -> None:
    tenant = await company.tenant("eco")
    data = await company.enrol(tenant)
    async with company.plug() as plug, company.node(data, plug) as node:
        host = node.host
        await connected(node)
        assert await host.ask_cloud("echo/echo", b"oi") == f"{tenant}/{host.place.node}:oi".encode()
        for name, error in (("echo/other", NotFound), ("voice/echo", NotFound)):
            with pytest.raises(error) as refused:
                await host.ask_cloud(name, b"")
            assert refused.value.code == "answer.unknown"
        with pytest.raises(Invalid) as wrong:
            await host.ask_cloud("echo/echo", b"wrong")
        assert (wrong.value.code, wrong.value.hint) == ("echo.wrong", "Say something else.")
        with pytest.raises(TooLarge):
            await host.ask_cloud("echo/echo", bytes(limits.ASKED_BYTES + 1))
        plug.pull()
        await until(lambda: not node.agent.state.connected)
        with pytest.raises(Unavailable):
            await host.ask_cloud("echo/echo", b"oi")


async def test_questions_are_bounded_in_time_number_and_size(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(limits, "ANSWER_BYTES", 1_000_000)
    data = await company.enrol(await company.tenant("eco"))
    async with company.node(data) as node:
        await connected(node)
        with pytest.raises(TooLarge) as large:
            await node.host.ask_cloud("echo/echo", b"long2000000")
        assert large.value.code == "answer.too_large"
        asked = [node.host.ask_cloud("echo/echo", b"slow") for _ in range(6)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in told} == {Unavailable, TooMany}
        assert [getattr(e, "code", "") for e in told].count("answer.timeout") == 2
        assert await node.host.ask_cloud("echo/echo", b"oi")


async def test_people_and_strangers_are_not_answered(company: Company) -> None:
    tenant = await company.tenant("eco")
    for token, expected in (("", 401), ("nonsense", 401), (await company.owner(tenant), 403)):
        status, _ = await company.web.ask("POST", "/apps/v1/echo/echo", {}, token)
        assert status == expected
    status, told = await company.web.ask("GET", f"/echo/{tenant}")
    assert (status, told) == (200, tenant.encode())
    status, told = await company.web.ask("GET", "/echo-me", token=await company.owner(tenant))
    assert (status, told) == (200, b"owner eco")
    status, _ = await company.web.ask("GET", "/echo-me")
    assert status == 401


async def test_what_the_cloud_signed_holds_at_the_tenants_nodes_only_and_offline(
    company: Company,
) -> None:
    one, other = await company.tenant("eco"), await company.tenant("eco")
    signed = (await company.host(one)).sign(PURPOSE, b"said")
    data, stranger = await company.enrol(one), await company.enrol(other)
    async with company.plug() as plug:
        plug.pull()
        async with company.node(data, plug) as node, company.node(stranger, plug) as theirs:
            node.host.verify(PURPOSE, b"said", signed)
            (await company.host(one)).verify(PURPOSE, b"said", signed)
            garbled = bytes([signed.signature[0] ^ 1]) + signed.signature[1:]
            for host, purpose, said, signature in (
                (node.host, PURPOSE, b"Said", signed),
                (node.host, "echo.other", b"said", signed),
                (theirs.host, PURPOSE, b"said", signed),
                (node.host, PURPOSE, b"said", Signature(key_id="x", signature=signed.signature)),
                (node.host, PURPOSE, b"said", Signature(key_id=signed.key_id, signature=garbled)),
                (node.host, PURPOSE, b"said", Signature(key_id=signed.key_id, signature=b"")),
            ):
                with pytest.raises(Corrupt) as wrong:
                    host.verify(purpose, said, signature)
                assert wrong.value.code == "signature.wrong"
            with pytest.raises(Denied):
                node.host.sign(PURPOSE, b"said")

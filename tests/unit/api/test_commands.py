"""Commands over HTTP: results, receipts, refusals, and calls that are repeated."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.api.conftest import Client

from beira.api.errors import status_of

SELL = "/rest/v1/rpc/sell"


async def test_a_result_with_its_receipt(ask: Client) -> None:
    done = await ask("POST", SELL, {"product": "p", "amount": 2})
    assert done.status == 200 and done.json["amount"] == 2
    receipt = await ask.host.store.get("receipts", done.headers["Beira-Receipt"])
    assert receipt is not None
    told = receipt.fields
    assert (told["command"], told["by"], told["door"], told["ok"]) == ("sell", "Ana", "api", True)


async def test_a_repeated_key_is_one_call(ask: Client) -> None:
    first = await ask("POST", SELL, {"product": "p", "amount": 2}, Idempotency_Key="k1")
    again = await ask("POST", SELL, {"product": "p", "amount": 2}, Idempotency_Key="k1")
    assert first.headers["Beira-Receipt"] == again.headers["Beira-Receipt"] == "k1"
    assert first.json["id"] == again.json["id"]
    assert len((await ask("GET", "/rest/v1/sales")).json) == 1


async def test_a_key_is_one_persons_and_one_commands(ask: Client) -> None:
    await ask("POST", SELL, {"product": "p", "amount": 2, "seller": "Ana"}, Idempotency_Key="k1")
    theirs = await ask(
        "POST", SELL, {"product": "p", "amount": 2}, who="member", Idempotency_Key="k1"
    )
    other = await ask("POST", "/rest/v1/rpc/broken", {}, Idempotency_Key="k1")
    for answer in (theirs, other):
        assert (answer.status, answer.json["code"]) == (409, "idempotency.reused")
        assert b"Ana" not in answer.content
    for key in ("x" * 65, "é"):
        bad = await ask("POST", SELL, {"product": "p", "amount": 2}, Idempotency_Key=key)
        assert bad.status == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (SELL, {"product": "p", "amount": 0}, 400, "sale.empty"),
        (SELL, {"product": "nothing", "amount": 1}, 404, "product.unknown"),
        (SELL, {"product": "p"}, 400, "parameter.invalid"),
        (SELL, {"product": "p", "amount": 1, "more": 1}, 400, "parameter.invalid"),
        (SELL, {"product": "p", "amount": "much"}, 400, "parameter.invalid"),
        (SELL, [1], 400, "body.invalid"),
        (SELL + "?product=p", {"amount": 1}, 400, "dialect.unsupported"),
        ("/rest/v1/rpc/at_a_node", None, 403, "command.elsewhere"),
        ("/rest/v1/rpc/none", {}, 404, "command.unknown"),
        ("/rest/v1/rpc/broken", {}, 500, "internal"),
    ],
)
async def test_refusals(ask: Client, path: str, body: object, status: int, code: str) -> None:
    refused = await ask("POST", path, body)
    assert (refused.status, refused.json["code"]) == (status, code)


async def test_a_call_sent_again_while_it_runs_is_one_call(ask: Client) -> None:
    body = {"product": "p", "amount": 2}
    sent = [ask("POST", SELL, body, Idempotency_Key="twice") for _ in range(5)]
    answers = await asyncio.gather(*sent)
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len((await ask("GET", "/rest/v1/sales")).json) == 1


async def settle(ask: Client, node: str, site: str) -> None:
    """Make a node known in the cloud."""
    declared = ask.host.store.registry["node_info"]
    fields = declared.check({"name": node, "site": site}, whole=True)
    await ask.host.write([ask.host.stamped(declared, node, "tenant", fields)])


async def test_a_call_to_a_node_is_a_record_and_its_receipt_the_answer(ask: Client) -> None:
    await settle(ask, "n7", "s1")
    sent = await ask("POST", "/rest/v1/rpc/at_a_node", {}, Beira_Node="n7", Idempotency_Key="c1")
    assert (sent.status, sent.json) == (202, {"call": "c1"})
    assert sent.headers["Location"] == "/rest/v1/receipts?id=eq.c1"
    call = await ask.host.store.get("calls", "c1")
    assert call is not None and call.partition == "node:n7"
    assert (call.fields["command"], call.fields["by"]) == ("at_a_node", "Ana")
    waiting = asyncio.create_task(
        ask(
            "POST",
            "/rest/v1/rpc/at_a_node",
            {},
            Beira_Node="n7",
            Idempotency_Key="c1",
            Prefer="wait=9",
        )
    )
    await asyncio.sleep(0.2)
    declared = ask.host.store.registry["receipts"]
    fields = {"command": "at_a_node", "by": "Ana", "door": "cloud", "ok": True, "result": "done"}
    fields = declared.check({**fields, "at": ask.host.now()}, whole=True)
    await ask.host.write([ask.host.stamped(declared, "c1", "node:n7", fields)])
    answer = await waiting
    assert (answer.status, answer.json) == (200, "done")
    assert len((await ask("GET", "/rest/v1/calls")).json) == 1


async def test_calls_to_nodes_that_are_refused(ask: Client) -> None:
    await settle(ask, "n7", "s1")
    path = "/rest/v1/rpc/at_a_node"
    for who, node, body, code in (
        ("owner", "n8", {}, "node.unknown"),
        ("elsewhere", "n7", {}, "node.unknown"),
        ("guest", "n7", {}, "denied"),
        ("owner", "n7", {"more": 1}, "parameter.invalid"),
        ("other", "n7", {}, "node.unknown"),
    ):
        refused = await ask("POST", path, body, who=who, Beira_Node=node)
        assert refused.json["code"] == code, (who, node)
    assert (await ask("GET", "/rest/v1/calls")).json == []


async def test_without_a_body(ask_node: Client) -> None:
    assert (await ask_node("POST", "/rest/v1/rpc/at_a_node")).json == "done"


def test_statuses_by_code() -> None:
    expected = {
        "unauthenticated": 401,
        "denied": 403,
        "too_many": 429,
        "full": 507,
        "unavailable": 503,
        "command.timeout": 503,
        "partition.fixed": 409,
        "internal": 500,
        "anything.else": 400,
    }
    assert {code: status_of(code) for code in expected} == expected

# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""A node that lies: a machine of Angeloni's, taken over, speaks the protocol by hand and tries to
reach Bistek, its neighbours, the past and the future. (docs/specs/sync.md, law 7)"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from beira.apps.voice.records import CustomerRequest, Person
from beira.identity.node_key import NodeKey
from beira.identity.shapes import Challenge
from beira.identity.tenants import service
from beira.kernel.batch import pack
from beira.kernel.clock import Stamp, hlc_at
from beira.kernel.query import Query
from beira.kernel.record import Row
from tests.acceptance.support import (  # noqa: F401 (fixtures)
    PATIENCE_S,
    Company,
    company,
    postgres_directory,
    postgres_server,
    put,
)
from tests.acceptance.test_attacks_identity import forged

AT = "2026-11-20T12:00:00Z"


@dataclass
class Intruder:
    """A node's key and token, used by hand: plain JSON over HTTP."""

    company: Company
    tenant: str
    node: str = ""
    token: str = ""
    ticket: int = 0
    upto: dict[int, int] = field(default_factory=dict)

    @property
    def site(self) -> str:
        return f"{self.tenant}-1"

    async def get_in(self) -> Intruder:
        web, key = self.company.web, NodeKey(os.urandom(32))
        made = await self.company.cloud.identity.nodes.make_code(service(self.tenant), self.site)
        request = key.enrol(made.code, await self._challenge())
        status, given = await web.ask("POST", "/auth/v1/nodes/enrol", msgspec.to_builtins(request))
        assert status == 200, given
        self.node = given["node"]
        assertion = key.assertion(self.node, await self._challenge(), time.time)
        _, told = await web.ask("POST", "/auth/v1/nodes/token", {"assertion": assertion})
        self.token = told["access_token"]
        return self

    async def _challenge(self) -> Challenge:
        _, told = await self.company.web.ask("POST", "/auth/v1/nodes/challenge")
        return msgspec.convert(told, Challenge)

    async def say(self, *messages: Any, **hello: Any) -> list[dict[str, Any]]:
        """One exchange: the cloud's answers, the ticket renewed."""
        greeting = {"type": "hello", "protocol": 1, "release": "x", "ticket": self.ticket}
        greeting |= {"clock_ms": int(time.time() * 1000), **hello}
        status, answers = await self.company.web.ask(
            "POST", "/sync/v1/exchange", [greeting, *messages], self.token
        )
        assert status == 200, (status, answers)
        for answer in answers:
            if answer["type"] == "welcome":
                self.ticket = answer["ticket"]
        return list(answers)

    async def push(self, *rows: Row, lane: int = 1, groups: Any = None) -> dict[str, Any]:
        """Push rows as the lane's next batch: the cloud's last word on it."""
        after = self.upto.get(lane, 0)
        groups = msgspec.to_builtins(pack(rows)) if groups is None else groups
        upto = after + max(1, len(rows))
        answers = await self.say(
            {"type": "push", "lane": lane, "after": after, "upto": upto, "groups": groups}
        )
        if answers[-1]["type"] == "ack":
            self.upto[lane] = answers[-1]["upto"]
        return answers[-1]

    def row(self, **changes: Any) -> Row:
        """An honest row, but for `changes`."""
        hlc = changes.pop("hlc", hlc_at(int(time.time() * 1000)))
        stamp = Stamp(hlc, changes.pop("lane", 1), changes.pop("by", self.node))
        fields = changes.pop("fields", {"text": "mine", "at": AT, "product": "", "trace": ""})
        given: dict[str, Any] = {
            "collection": "customer_requests",
            "id": os.urandom(6).hex(),
            "partition": f"site:{self.site}",
            **changes,
        }
        stamps = changes.pop("stamps", None) or dict.fromkeys(fields, stamp)
        given.pop("stamps", None)
        return Row.of(given["collection"], given["id"], given["partition"], fields, stamps)


@pytest_asyncio.fixture(loop_scope="session")
async def intruder(company: Company) -> Intruder:
    return await Intruder(company, await company.tenant("angeloni")).get_in()


async def every_id(company: Company, tenant: str) -> set[str]:
    """All ids of a tenant's rows, by its own host, but those that identity and sync themselves
    keep."""
    host = await company.host(tenant)
    found: set[str] = set()
    for declared in host.store.registry:
        if declared.name not in ("sites", "node_info", "rights", "quarantine", "node_status"):
            page = await host.store.query(Query(collection=declared.name, limit=10_000))
            found |= {str(row["id"]) for row in page.rows}
    return found


async def refused(intruder: Intruder, row: Row, code: str) -> None:
    """The row is refused with that code, lies in quarantine, and an honest one beside it is taken."""
    honest = intruder.row()
    answer = await intruder.push(row, honest)
    assert answer["type"] == "ack", answer
    assert [item["code"] for item in answer["refused"]] == [code], answer
    host = await intruder.company.host(intruder.tenant)
    assert await host.store.get("customer_requests", honest.id) is not None
    page = await host.store.query(Query(collection="quarantine", limit=1_000))
    assert any((kept["record"], kept["code"]) == (row.id[:64], code) for kept in page.rows)


async def test_a_neighbours_tenant_site_and_nodes_are_out_of_reach(
    company: Company, intruder: Intruder
) -> None:
    victim = await Intruder(company, await company.tenant("bistek")).get_in()
    other = await company.site(intruder.tenant, f"{intruder.tenant}-2")
    for partition in (
        f"site:{victim.site}",
        f"node:{victim.node}",
        f"site:{other}",
        "site:*",
        "group:everyone",
        "tenant:" + victim.tenant,
        "",
        "x" * 5_000,
    ):
        await refused(intruder, intruder.row(partition=partition), "partition.denied")
    assert not await every_id(company, victim.tenant)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"collection": "nothing_such"}, "collection.unknown"),
        ({"collection": "_marks"}, "collection.unknown"),
        ({"collection": "people", "fields": {"name": "x"}, "partition": "tenant"}, "flow.down"),
        (
            {"collection": "settings", "fields": {"app": "voice"}, "partition": "tenant"},
            "flow.down",
        ),
        ({"collection": "sites", "fields": {"name": "x"}, "partition": "tenant"}, "flow.down"),
        ({"collection": "calls", "fields": {"command": "x"}, "partition": "tenant"}, "flow.down"),
        ({"collection": "rights", "fields": {"role": "owner"}, "partition": "tenant"}, "flow.down"),
        ({"collection": "quarantine", "fields": {"node": "x"}, "partition": "tenant"}, "flow.down"),
        ({"collection": "node_status", "fields": {"release": "x"}}, "flow.down"),
        ({"by": "n-somebody-else"}, "stamp.forged"),
        ({"by": ""}, "stamp.forged"),
        ({"hlc": 0}, "stamp.invalid"),
        ({"hlc": -5}, "stamp.invalid"),
        ({"lane": 7}, "stamp.invalid"),
        ({"lane": -1}, "stamp.invalid"),
        ({"id": ""}, "id.invalid"),
        ({"id": "x" * 65}, "id.invalid"),
        ({"collection": "x" * 100_000}, "collection.unknown"),
        ({"collection": "nul\x00"}, "collection.unknown"),
        ({"fields": {"text": "x", "at": AT, "more": [1] * 200_000}}, "too_large"),
        ({"fields": {"text": 5, "at": AT}}, "field.invalid"),
        ({"fields": {"text": "no time"}}, "field.invalid"),
        ({"fields": {"text": "nul \x00", "at": AT}}, "field.invalid"),
        ({"fields": {"text": "x", "at": AT, "UPPER; DROP": 1}}, "field.invalid"),
        ({"fields": {"text": "x", "at": AT, "_deleted": True}}, "fact.immutable"),
        ({"fields": {"text": "x" * 20_000, "at": AT}}, "too_large"),
    ],
)
async def test_what_a_node_may_not_write_goes_to_quarantine_with_the_reason(
    intruder: Intruder, changes: dict[str, Any], code: str
) -> None:
    await refused(intruder, intruder.row(**changes), code)


async def test_one_field_stamped_as_anothers_is_refused_with_its_row(intruder: Intruder) -> None:
    now = hlc_at(int(time.time() * 1000))
    mine, theirs = Stamp(now, 1, intruder.node), Stamp(now - 5, 1, "n-other")
    fields = {"name": "Café", "price_cents": 1}
    row = intruder.row(
        collection="products",
        partition="tenant",
        fields=fields,
        stamps={"name": mine, "price_cents": theirs},
    )
    await refused(intruder, row, "stamp.forged")


async def test_a_fact_of_another_node_is_not_replaced_by_one_written_earlier(
    company: Company, intruder: Intruder
) -> None:
    other = await Intruder(company, intruder.tenant).get_in()
    sale = other.row(fields={"text": "theirs", "at": AT, "product": "", "trace": ""})
    assert "refused" not in await other.push(sale)
    forgery = intruder.row(id=sale.id, hlc=hlc_at(1_000_000_000_000))
    await refused(intruder, forgery, "fact.taken")
    host = await company.host(intruder.tenant)
    kept = await host.store.get("customer_requests", sale.id)
    assert kept is not None and kept.fields["text"] == "theirs"


async def test_the_same_id_in_two_tenants_is_two_records(
    company: Company, intruder: Intruder
) -> None:
    victim = await company.tenant("bistek")
    there = await company.host(victim)
    record = CustomerRequest(id="shared", text="theirs", at=there.now())
    await put(there, record, partition=f"site:{victim}-1")
    assert "refused" not in await intruder.push(intruder.row(id="shared"))
    kept = await there.store.get("customer_requests", "shared")
    assert kept is not None and kept.fields["text"] == "theirs"


@pytest.mark.parametrize("ahead_ms", [120_000, 10**12, 10**15])
async def test_stamps_of_the_future_are_handed_back_and_nothing_of_the_batch_is_taken(
    intruder: Intruder, ahead_ms: int
) -> None:
    hlc = min(hlc_at(int(time.time() * 1000) + ahead_ms), 2**62)
    row = intruder.row(hlc=hlc)
    answer = await intruder.push(row, intruder.row())
    assert answer["type"] == "ahead"
    host = await intruder.company.host(intruder.tenant)
    assert await host.store.get("customer_requests", row.id) is None


async def test_a_batch_that_is_none_ends_the_session_and_changes_nothing(
    intruder: Intruder,
) -> None:
    good = msgspec.to_builtins(pack([intruder.row()]))
    for spoilt in (
        [{**good[0], "ids": ["a", "b"]}],
        [{**good[0], "columns": []}],
        [{**good[0], "hlcs": []}],
        [{**good[0], "stamps": [[99, "text", [1, 1, "x"]]]}],
        [{**good[0], "stamps": [[-1, "text", [1, 1, "x"]]]}],
        [{**good[0], "nodes": ["a", "b", "c"]}],
    ):
        answer = await intruder.push(groups=spoilt)
        assert (answer["type"], answer["code"]) == ("bye", "batch.corrupt"), (spoilt, answer)
    assert (await intruder.push(intruder.row()))["type"] == "ack"


async def test_gaps_and_foreign_lanes_are_refused(intruder: Intruder) -> None:
    rows = msgspec.to_builtins(pack([intruder.row()]))
    gap = {"type": "push", "lane": 1, "after": 10, "upto": 11, "groups": rows}
    assert (await intruder.say(gap))[-1] == {"type": "gap", "lane": 1, "has": 0}
    backwards = {"type": "push", "lane": 1, "after": 0, "upto": -5, "groups": rows}
    assert (await intruder.say(backwards))[-1]["type"] in ("gap", "ack")
    odd = {"type": "push", "lane": 9, "after": 0, "upto": 1, "groups": rows}
    assert (await intruder.say(odd))[-1]["type"] == "bye"
    assert not await every_id(intruder.company, intruder.tenant)


async def test_no_feed_is_had_by_asking_for_it(company: Company, intruder: Intruder) -> None:
    victim = await company.tenant("bistek")
    await put(await company.host(victim), Person(id="secret", name="Segredo"))
    other = await company.site(intruder.tenant, f"{intruder.tenant}-2")
    foreign = [f"site:{victim}-1", f"site:{other}", f"tenant:{victim}", "node:n1", "group:x"]
    answers = await intruder.say(cursors=dict.fromkeys(foreign, 0))
    welcome = next(a for a in answers if a["type"] == "welcome")
    assert not set(welcome["partitions"]) & set(foreign)
    assert not {a.get("partition") for a in answers} & set(foreign)
    assert "Segredo" not in msgspec.json.encode(answers).decode()
    for partition in foreign:
        answers = await intruder.say({"type": "got", "partition": partition, "upto": 10**9})
        assert answers[-1]["type"] == "bye" and answers[-1]["code"] == "partition.denied"
    _, told = await intruder.company.web.ask(
        "POST", "/sync/v1/wait", {"tenant": -1}, intruder.token
    )
    assert told == {"news": True}


async def test_a_session_begins_with_hello_and_one_ticket_serves_one_machine(
    company: Company, intruder: Intruder
) -> None:
    web = company.web
    _, answers = await web.ask(
        "POST", "/sync/v1/exchange", [{"type": "ping", "sent_ms": 1}], intruder.token
    )
    assert answers[-1]["code"] == "sync.no_hello"
    await intruder.say()
    old = intruder.ticket
    await intruder.say({"type": "confirm", "ticket": old})
    await intruder.say()
    stale = await intruder.say(ticket=12_345)
    assert stale[-1]["code"] == "node.ticket_old" and stale[-1]["hint"]
    sure = await intruder.say(ticket=12_345, sure=True)
    assert sure[-1]["code"] == "node.duplicated" and sure[-1]["hint"]


async def test_forged_expired_and_borrowed_tokens_open_nothing(
    company: Company, intruder: Intruder
) -> None:
    web, owner = company.web, await company.owner(intruder.tenant)
    doors = [("POST", "/sync/v1/exchange"), ("POST", "/sync/v1/wait"), ("GET", "/rest/v1/people")]
    wrong: Iterable[str] = (
        *forged(intruder.token, tenant="bistek"),
        *forged(intruder.token, exp=2**40),
        *forged(intruder.token, sub="n-other"),
        intruder.token[:-2],
        intruder.token + "A",
        "x.y.z",
        "Bearer",
    )
    for method, path in doors:
        for token in wrong:
            assert (await web.ask(method, path, [], token))[0] == 401, (path, token[:20])
    for path in ("/sync/v1/exchange", "/sync/v1/wait"):
        assert (await web.ask("POST", path, [], owner))[0] in (401, 403), "people do not sync"


async def test_forged_tokens_open_no_live_door_either(company: Company, intruder: Intruder) -> None:
    session, owner = company.web.session, await company.owner(intruder.tenant)
    for token in (*forged(intruder.token, tenant="bistek"), "x.y.z", owner):
        headers = {"Authorization": f"Bearer {token}"}
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(company.address + "/sync/v1/ws", headers=headers)
    change = {"event": "*", "schema": "public", "table": "people"}
    for token in (*forged(owner, tenant="bistek"), *forged(owner, exp=2**40), "x.y.z", ""):
        url = company.address + "/realtime/v1/websocket?vsn=1.0.0"
        payload = {"config": {"postgres_changes": [change]}, "access_token": token}
        join = {"topic": "realtime:any", "event": "phx_join", "ref": "1", "payload": payload}
        async with session.ws_connect(url) as live:
            await live.send_json(join)
            told = await live.receive_json(timeout=PATIENCE_S)
            assert told["event"] == "phx_reply" and told["payload"]["status"] == "error", told


async def test_a_nodes_token_is_not_an_owners(company: Company, intruder: Intruder) -> None:
    """By the API a node reads what is its own, and writes nothing that flows down."""
    web = company.web
    await put(await company.host(intruder.tenant), Person(id="joao", name="João"))
    status, _ = await web.ask("POST", "/rest/v1/people", {"id": "x", "name": "x"}, intruder.token)
    assert status in (401, 403)
    other = await company.site(intruder.tenant, f"{intruder.tenant}-2")
    there = await company.host(intruder.tenant)
    secret = CustomerRequest(id="elsewhere", text="x", at=there.now())
    await put(there, secret, partition=f"site:{other}")
    status, seen = await web.ask("GET", "/rest/v1/customer_requests", None, intruder.token)
    assert status in (401, 403) or seen == []

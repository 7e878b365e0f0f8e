"""Records over HTTP: the dialect's statuses and headers, access, and what a node may write."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.api.conftest import Client

from beira.kernel import limits

REPRESENT = "return=representation"
SINGLE = "application/vnd.pgrst.object+json"
A, B = {"id": "a", "name": "Café", "price": 2}, {"id": "b", "name": "Sal", "price": 1}


async def test_statuses_and_headers_of_writes(ask: Client) -> None:
    made = await ask("POST", "/rest/v1/products", A)
    assert (made.status, made.content) == (201, b"")
    assert made.headers["Location"] == "/rest/v1/products?id=eq.a"
    again = await ask("POST", "/rest/v1/products", A)
    assert (again.status, again.json["code"]) == (409, "record.exists")
    merged = await ask("POST", "/rest/v1/products", A, Prefer="resolution=merge-duplicates")
    assert merged.status == 200
    both = await ask(
        "POST", "/rest/v1/products", [A, B], Prefer=f"resolution=ignore-duplicates,{REPRESENT}"
    )
    assert both.status == 201 and [row["id"] for row in both.json] == ["b"]
    patched = await ask("PATCH", "/rest/v1/products?id=eq.a", {"stock": 1}, Prefer="count=exact")
    assert (patched.status, patched.headers["Content-Range"]) == (204, "*/1")
    gone = await ask("DELETE", "/rest/v1/products?id=eq.a", Prefer=REPRESENT)
    assert gone.status == 200 and gone.json[0]["stock"] == 1
    assert (await ask("GET", "/rest/v1/products?select=id")).json == [{"id": "b"}]
    back = await ask("POST", "/rest/v1/products", {"id": "a", "name": "again"}, Prefer=REPRESENT)
    assert back.status == 201 and back.json[0]["stock"] == 0


async def test_pages_and_counts(ask: Client) -> None:
    rows = [{"id": f"p{n}", "name": "x", "price": n} for n in range(5)]
    await ask("POST", "/rest/v1/products", rows)
    path = "/rest/v1/products?select=id&order=price.desc"
    page = await ask("GET", path, Range="1-2", Prefer="count=exact")
    assert (page.status, page.headers["Content-Range"]) == (206, "1-2/5")
    assert page.json == [{"id": "p3"}, {"id": "p2"}]
    assert page.headers["Preference-Applied"] == "count=exact"
    all_of_it = await ask("GET", path)
    assert (all_of_it.status, all_of_it.headers["Content-Range"]) == (200, "0-4/*")
    beyond = await ask("GET", path + "&offset=9", Prefer="count=exact")
    assert (beyond.status, beyond.json["code"]) == (416, "range.invalid")
    none = await ask("GET", path + "&limit=0", Prefer="count=exact")
    assert (none.json, none.headers["Content-Range"]) == ([], "*/5")
    head = await ask("HEAD", path, Prefer="count=exact")
    assert (head.content, head.headers["Content-Range"]) == (b"", "0-4/5")
    assert (await ask("GET", path, Range="5-2")).status == 416


async def test_forms_of_answers(ask: Client) -> None:
    await ask("POST", "/rest/v1/products", [A, B])
    one = await ask("GET", "/rest/v1/products?id=eq.a&select=id,note", Accept=SINGLE)
    assert one.json == {"id": "a", "note": None}
    stripped = await ask(
        "GET", "/rest/v1/products?id=eq.a&select=id,note", Accept=f"{SINGLE};nulls=stripped"
    )
    assert stripped.json == {"id": "a"}
    many = await ask("GET", "/rest/v1/products", Accept=SINGLE)
    assert (many.status, many.json["code"]) == (406, "PGRST116")
    assert many.json["details"] == "The result contains 2 rows"
    text = await ask("GET", "/rest/v1/products?select=id,tags,note&order=id", Accept="text/csv")
    assert text.content == b"id,tags,note\na,[],\nb,[],\n"
    assert (await ask("GET", "/rest/v1/products", Accept="image/png")).status == 406
    cast = await ask("GET", "/rest/v1/products?id=eq.a&select=price::text,n:price::int")
    assert cast.json == [{"price": "2.0", "n": 2}]


async def test_there_is_one_schema(ask: Client) -> None:
    assert (await ask("GET", "/rest/v1/products", Accept_Profile="public")).status == 200
    other = await ask("GET", "/rest/v1/products", Accept_Profile="private")
    assert other.json["code"] == "dialect.unsupported"


async def test_hours_and_groups(ask: Client) -> None:
    for minute in (5, 50):
        sale = {"product": "p", "amount": 2, "at": f"2026-01-31T14:{minute:02}:00-03:00"}
        await ask("POST", "/rest/v1/sales", {**sale, "_partition": "site:s1"})
    found = await ask("GET", "/rest/v1/sales?select=hour:at.hour(),amount.sum(),n:count()")
    assert found.json == [{"hour": "2026-01-31T17:00:00Z", "sum": 4, "n": 2}]


async def test_nothing_is_written_when_the_answer_could_not_be_given(ask: Client) -> None:
    for path, headers in (
        ("/rest/v1/products?select=nothing", {"Prefer": REPRESENT}),
        ("/rest/v1/products?select=count()", {"Prefer": REPRESENT}),
        ("/rest/v1/products", {"Prefer": f"{REPRESENT},max-affected=1"}),
        ("/rest/v1/products", {"Prefer": "tx=rollback"}),
        ("/rest/v1/products", {"Prefer": REPRESENT, "Accept": SINGLE}),
    ):
        refused = await ask("POST", path, [A, B], **headers)
        assert 400 <= refused.status < 500, refused.content
    assert (await ask("GET", "/rest/v1/products")).json == []


async def test_a_row_that_was_read_can_be_written_back(ask: Client) -> None:
    await ask("POST", "/rest/v1/products", A)
    (row,) = (await ask("GET", "/rest/v1/products")).json
    row["stock"] = 9
    back = await ask(
        "POST", "/rest/v1/products", row, Prefer=f"resolution=merge-duplicates,{REPRESENT}"
    )
    assert back.status == 200 and back.json == [row]
    same = await ask("PATCH", "/rest/v1/products?id=eq.a", row, Prefer=REPRESENT)
    assert same.json == [row]


async def test_an_upsert_touches_only_what_is_given(ask: Client) -> None:
    await ask("POST", "/rest/v1/products", A)
    await ask("PATCH", "/rest/v1/products?id=eq.a", {"stock": 5})
    path = "/rest/v1/products?columns=id,price"
    body = {"id": "a", "price": 7, "name": "left out by columns"}
    await ask("POST", path, body, Prefer="resolution=merge-duplicates")
    (row,) = (await ask("GET", "/rest/v1/products?select=name,price,stock")).json
    assert row == {"name": "Café", "price": 7, "stock": 5}
    stamps = (await ask.host.store.get("products", "a")).stamps  # type: ignore[union-attr]
    assert "name" in stamps or "stock" in stamps


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "code"),
    [
        ("", "GET", "/products", None, "unauthenticated"),
        ("stranger", "GET", "/products", None, "auth.token_invalid"),
        ("guest", "POST", "/products", A, "denied"),
        ("guest", "DELETE", "/products?id=eq.a", None, "denied"),
        ("guest", "GET", "/sales?order=seller", None, "column.unknown"),
        ("guest", "GET", "/sales?select=seller.max()", None, "column.unknown"),
        ("guest", "GET", "/sales?or=(id.eq.1,seller.like.A*)", None, "column.unknown"),
        ("member", "GET", "/notes", None, "denied"),
        ("member", "POST", "/prices", {"value": 1}, "denied"),
        ("node", "POST", "/prices", {"value": 1}, "denied"),
        ("guest", "POST", "/rpc/sell", {"product": "p", "amount": 1}, "denied"),
        ("member", "POST", "/rpc/broken", {}, "denied"),
    ],
)
async def test_who_may_not(
    ask: Client, who: str, method: str, path: str, body: object, code: str
) -> None:
    refused = await ask(method, f"/rest/v1{path}", body, who=who)
    assert refused.json["code"] == code, refused.content
    assert refused.json["hint"] or code == "auth.token_invalid"
    assert refused.status in (400, 401, 403)


async def test_partitions_are_walls(ask: Client) -> None:
    sale = {"product": "p", "amount": 1, "at": "2026-01-31T14:00:00Z"}
    homeless = await ask("POST", "/rest/v1/sales", sale)
    assert homeless.json["code"] == "partition.missing"
    mine = await ask("POST", "/rest/v1/sales", {**sale, "id": "s"}, who="member")
    assert mine.status == 201, "a person of one site writes there without naming it"
    other = await ask("POST", "/rest/v1/sales", {**sale, "_partition": "site:s2"}, who="member")
    assert other.json["code"] == "partition.denied"
    for who, seen in (("owner", 1), ("member", 1), ("elsewhere", 0), ("other", 0)):
        assert len((await ask("GET", "/rest/v1/sales", who=who)).json) == seen
    note = {"id": "n", "text": "x", "_partition": "site:s1"}
    await ask("POST", "/rest/v1/notes", note)
    moved = await ask("PATCH", "/rest/v1/notes?id=eq.n", {"_partition": "site:s2"})
    assert (moved.status, moved.json["code"]) == (409, "partition.fixed")
    assert (await ask("GET", "/rest/v1/notes?_partition=eq.site:s1&select=id")).json == [
        {"id": "n"}
    ]


async def test_another_tenant_changes_nothing_here(ask: Client) -> None:
    await ask("POST", "/rest/v1/products", A)
    for method, path in (("PATCH", "/products?id=eq.a"), ("DELETE", "/products?id=eq.a")):
        body = {"name": "theirs"} if method == "PATCH" else None
        await ask(method, f"/rest/v1{path}", body, who="other")
    assert (await ask("POST", "/rest/v1/products", A, who="other")).status == 201
    assert (await ask("GET", "/rest/v1/products?select=name")).json == [{"name": "Café"}]


async def test_what_a_node_may_write(ask_node: Client) -> None:
    assert (await ask_node("POST", "/rest/v1/products", A)).status == 201
    sale = {"product": "p", "amount": 1, "at": "2026-01-31T14:00:00Z"}
    assert (await ask_node("POST", "/rest/v1/sales", sale)).status == 201
    (row,) = (await ask_node("GET", "/rest/v1/sales?select=_partition,_node")).json
    assert row == {"_partition": "site:s1", "_node": "n1"}
    down = await ask_node("POST", "/rest/v1/prices", {"value": 1})
    assert (down.status, down.json["code"]) == (403, "collection.elsewhere")
    away = await ask_node("POST", "/rest/v1/sales", {**sale, "_partition": "site:s2"})
    assert away.json["code"] == "partition.denied"
    stranger = await ask_node("GET", "/rest/v1/products", who="other")
    assert stranger.status == 403


async def test_two_inserts_of_one_fact_at_once(ask: Client) -> None:
    sale = {"id": "s", "product": "p", "at": "2026-01-31T14:00:00Z", "_partition": "site:s1"}
    tries = [ask("POST", "/rest/v1/sales", {**sale, "amount": n}) for n in range(1, 6)]
    statuses = sorted(answer.status for answer in await asyncio.gather(*tries))
    assert statuses == [201, 409, 409, 409, 409]


async def test_too_many_records_at_once(ask: Client) -> None:
    rows = [{"name": "x"}] * (limits.QUERY_ROWS + 1)
    refused = await ask("POST", "/rest/v1/products", rows)
    assert (refused.status, refused.json["code"]) == (413, "too_large")
    for start in (0, 1):
        part = [{"id": f"{start}-{n}", "name": "x"} for n in range(limits.QUERY_ROWS)]
        assert (await ask("POST", "/rest/v1/products", part)).status == 201
    wide = await ask("PATCH", "/rest/v1/products?id=not.is.null", {"stock": 1})
    assert wide.status == 413
    assert (await ask("GET", "/rest/v1/products?stock=eq.1")).json == []
    assert len((await ask("GET", "/rest/v1/products?select=id")).json) == limits.QUERY_ROWS


async def test_changing_everything_must_be_said(ask: Client) -> None:
    for method, body in (("PATCH", {"stock": 1}), ("DELETE", None)):
        refused = await ask(method, "/rest/v1/products", body)
        assert refused.json["code"] == "filter.missing"

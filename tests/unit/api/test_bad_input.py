"""Whatever a stranger or a broken client sends gets a clear refusal: never a 500, and no harm."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.api.conftest import Client

from beira.kernel import limits

SQL = "'; DROP TABLE products; --\" OR 1=1 \\ $1 %s {} /* */"
QUOTED = '"' + SQL.replace("\\", "\\\\").replace('"', '\\"') + '"'


def clear(answer: Any) -> None:
    assert 400 <= answer.status < 500, (answer.status, answer.content[:300])
    body = answer.json
    assert set(body) == {"code", "message", "details", "hint"}
    assert body["code"] and body["message"]
    assert "Traceback" not in body["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b'{"name": "a", "price": 1e999}',
        b'{"name": "a", "stock": 99999999999999999999}',
        b'{"name": "a\\u0000b"}',
        b"[" * 100_000,
        b'{"name": "a", "tags": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"name": "a", "tags": ' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}",
        b"[1, 2]",
        b'"text"',
        b"null",
        b'{"name": 5}',
        b'{"name": "a", "nothing": 1}',
        b'{"name": "a", "_node": "x"}',
        b'{"name": "a", "_deleted": true}',
        b'{"name": "a", "id": 5}',
        b'{"name": "a", "id": ""}',
        b'{"name": "a", "id": "a\\u0000"}',
        b'{"name": "a", "id": "' + b"x" * 65 + b'"}',
        b'{"name": "a", "_partition": "everything"}',
        b'{"name": "a", "_partition": 7}',
        b'{"name": "a", "since": "yesterday"}',
        b'{"price": 1}',
        b'[{"id": "a", "name": "x"}, {"id": "a", "name": "y"}]',
        b'{"name": "' + b"x" * (limits.TEXT_CHARS + 1) + b'"}',
    ],
)
async def test_bodies_that_are_refused(ask: Client, body: bytes) -> None:
    clear(await ask("POST", "/rest/v1/products", body))
    assert (await ask("GET", "/rest/v1/products")).json == []


@pytest.mark.parametrize(
    "query",
    [
        "price=cheap",
        "price=eq.cheap",
        "price=eq.NaN&stock=eq.1e400",
        "stock=eq.99999999999999999999",
        "active=is.maybe",
        "since=gt.tomorrow",
        "tags=cs.{a}",
        "name=fts.x",
        "name=match.(a+)+$",
        "tags=eq.[]",
        "nothing=eq.1",
        "name=in.(a",
        'name=in.("a',
        "or=(name.eq.a",
        "or=name.eq.a",
        "and=()",
        "select=nothing",
        "select=name,name",
        "select=name.sum()",
        "select=*,sites(*)",
        "order=nothing",
        "order=tags",
        "limit=-1",
        "limit=many",
        "limit=" + "9" * 5_000,
        "offset=1.5",
        "limit=1&limit=2",
        "on_conflict=name",
        "name=eq.%00",
        "name=eq.%ff%fe",
        "%ff=eq.1",
        "=eq.1",
        "a.b=eq.1",
        "data->>x=eq.1",
        "or=(" + ",".join(["stock.eq.1"] * 10_000)[:60_000] + ")",
        "or=" + "(and" * 10_000 + ")",
        "name=eq." + "x" * 70_000,
    ],
)
async def test_queries_that_are_refused(ask: Client, query: str) -> None:
    answer = await ask("GET", f"/rest/v1/products?{query}")
    if answer.headers.get("Content-Type", "").startswith("text/plain"):
        assert answer.status == 400, "refused by the server before it was read"
    else:
        clear(answer)


async def test_sql_in_every_text_is_only_text(ask: Client) -> None:
    row = {"id": "sql", "name": SQL, "note": SQL, "tags": [SQL]}
    assert (await ask("POST", "/rest/v1/products", row)).status == 201
    for query in (
        f"name=eq.{quote(SQL)}",
        f"name=in.({quote(QUOTED)})",
        f"note=like.{quote(SQL[:10])}*",
    ):
        (found,) = (await ask("GET", f"/rest/v1/products?{query}")).json
        assert found["name"] == SQL and found["tags"] == [SQL]
    clear(await ask("GET", f"/rest/v1/products?{quote(SQL)}=eq.1"))
    clear(await ask("GET", f"/rest/v1/{quote(SQL, safe='')}"))
    clear(await ask("GET", f"/rest/v1/products?select={quote(SQL)}"))
    clear(await ask("GET", f"/rest/v1/products?order={quote(SQL)}"))


async def test_bodies_that_are_too_large(ask: Client) -> None:
    answer = await ask("POST", "/rest/v1/products", b" " * (limits.BODY_BYTES + 1))
    assert (answer.status, answer.json["code"]) == (413, "too_large")


async def test_other_kinds_of_body(ask: Client) -> None:
    refused = await ask("POST", "/rest/v1/products", b"a,b\n1,2", Content_Type="text/csv")
    assert (refused.status, refused.json["code"]) == (415, "content.unsupported")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/rest/v1/none", 404),
        ("GET", "/rest/v1/products/extra/path", 404),
        ("PUT", "/rest/v1/products?id=eq.a", 405),
        ("GET", "/rest/v1/rpc/sell", 405),
        ("POST", "/rest/v1/rpc/none", 404),
        ("POST", "/auth/v1/nodes/challenge", 404),
        ("GET", "/auth/v1/none", 404),
    ],
)
async def test_addresses_that_are_not_there(
    ask: Client, method: str, path: str, status: int
) -> None:
    answer = await ask(method, path, {} if method == "POST" else None)
    assert answer.status == status
    assert {"code", "message", "hint"} <= set(answer.json)


async def test_an_unforeseen_fault_tells_nothing_of_the_inside(ask: Client) -> None:
    answer = await ask("POST", "/rest/v1/rpc/broken", {})
    assert answer.status == 500
    assert b"secret" not in answer.content


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    key=st.sampled_from(["name", "price", "and", "or", "select", "order", "limit", "x", "not.or"]),
    value=st.text(max_size=30) | st.from_regex(r"[a-z().,\"{}*:]{0,20}", fullmatch=True),
)
async def test_no_query_is_a_fault(ask: Client, key: str, value: str) -> None:
    text = quote(value.encode("utf-8", "surrogatepass"))
    path = f"/rest/v1/products?{key}={text}"
    answer = await ask("GET", path)
    assert answer.status < 500, (path, answer.content)

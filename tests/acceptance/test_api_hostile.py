# ruff: noqa: F811 (fixtures are imported by name and then asked for by it)
"""What strangers send, over each store: SQL stays text, values come back exactly, nothing is a fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.api.conftest import Client
from tests.unit.api.serving import (  # noqa: F401 (fixtures)
    Served,
    cloud,
    kind,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
    served,
)

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)
SQL = [
    "'; DROP TABLE products; --",
    '" OR 1=1 --',
    "') UNION SELECT * FROM pg_authid --",
    "$1 $2 ?1 :a @b %s %(x)s {0}",
    "\\'; \\\\ E'\\x00'",
    "/* */ ; SELECT pg_sleep(60)",
    "x' ESCAPE '\\",
    "NULL",
    "Robert'); DELETE FROM products WHERE ('1'='1",
    "\u202e‮﻿￿𝕊𝒬𝓛",
]
RELAXED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest_asyncio.fixture(loop_scope="session")
async def ask(served: Served) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, served.url, served.host, served.tickets)


def run(answer: Any) -> Any:
    return asyncio.get_event_loop().run_until_complete(answer)


@pytest.mark.parametrize("text", SQL)
async def test_sql_is_only_text(ask: Client, text: str) -> None:
    row = {"id": text[:60], "name": text, "note": text, "tags": [text]}
    assert (await ask("POST", "/rest/v1/products", row)).status == 201
    await ask("POST", "/rest/v1/products", {"id": "other", "name": "left alone"})
    exact = quote(text, safe="")
    listed = quote('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"', safe="")
    for query in (f"name=eq.{exact}", f"note=in.({listed})", f"and=(name.eq.{listed})"):
        (found,) = (await ask("GET", f"/rest/v1/products?{query}")).json
        assert (found["id"], found["name"], found["tags"]) == (text[:60], text, [text])
    for query in (f"{exact}=eq.1", f"select={exact}", f"order={exact}", f"limit={exact}"):
        assert 400 <= (await ask("GET", f"/rest/v1/products?{query}")).status < 500
    assert (await ask("GET", f"/rest/v1/{exact}")).status in (400, 404)
    assert (await ask("POST", f"/rest/v1/rpc/{exact}", {})).status in (400, 404)
    gone = await ask("DELETE", f"/rest/v1/products?name=eq.{exact}", Prefer="count=exact")
    assert gone.headers["Content-Range"] == "*/1"
    left = (await ask("GET", "/rest/v1/products?select=name")).json
    assert left == [{"name": "left alone"}]


@RELAXED
@given(name=TEXTS, note=TEXTS, price=st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_written_comes_back(ask: Client, name: str, note: str, price: float) -> None:
    body = {"id": "r", "name": name, "note": note, "price": price}
    made = run(
        ask(
            "POST",
            "/rest/v1/products",
            body,
            Prefer="resolution=merge-duplicates,return=representation",
        )
    )
    if "\x00" in name + note:
        assert made.status == 400
        return
    assert made.status in (200, 201), made.content
    (row,) = made.json
    assert (row["name"], row["note"], row["price"]) == (name, note, price)
    found = run(ask("GET", f"/rest/v1/products?id=eq.r&name=eq.{quote(name, safe='')}")).json
    assert [row["name"] for row in found] == [name]


@RELAXED
@given(
    column=st.sampled_from(["name", "price", "stock", "active", "since", "tags", "id", "_hlc"]),
    op=st.sampled_from(
        ["eq", "neq", "gt", "lte", "like", "ilike", "in", "is", "not.eq", "eq(any)"]
    ),
    value=TEXTS
    | st.sampled_from(["(1,2)", "{1}", "null", "1e999", "-0", "9" * 30, "\\", "%", "_"]),
)
def test_no_filter_is_a_fault(ask: Client, column: str, op: str, value: str) -> None:
    path = f"/rest/v1/products?{column}={op}.{quote(value, safe='')}"
    answer = run(ask("GET", path))
    assert answer.status < 500, (path, answer.content)


@RELAXED
@given(
    select=st.lists(
        st.sampled_from(["*", "id", "name", "price", "x:price", "tags", "stock::text"])
        | st.sampled_from(["count()", "price.sum()", "stock.avg()", "name.max()", "active.min()"])
        | st.sampled_from(["tags.count()", "since.hour()"]),
        max_size=3,
    ),
    order=st.lists(
        st.sampled_from(["id", "price.desc", "tags", "count", "sum", "name.nullsfirst"]), max_size=2
    ),
)
def test_no_selection_is_a_fault(ask: Client, select: list[str], order: list[str]) -> None:
    path = f"/rest/v1/products?select={','.join(select)}&order={','.join(order)}&limit=3"
    answer = run(ask("GET", path, Prefer="count=exact"))
    assert answer.status < 500, (path, answer.content)

"""What every answer of a program gets, its own description, and sign-in's odd corners."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
import pytest
from litestar import Litestar, get
from litestar.config.app import AppConfig
from litestar.exceptions import HTTPException
from litestar.plugins import InitPlugin
from litestar.response import Response
from tests.unit.api.conftest import Client
from tests.unit.api.shop import PEOPLE, Rooms, Tickets, application, listening, memory_host

from beira.api import Api, ApiSettings, Door
from beira.api.describe import openapi
from beira.api.door import Caller
from beira.host.listen import Listen
from beira.host.serve import bind
from beira.kernel.app import catalogue
from beira.kernel.errors import Misconfigured


async def test_safe_headers_and_trace_ids(ask: Client) -> None:
    answer = await ask("GET", "/rest/v1/products")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert len(answer.headers["X-Request-Id"]) == 32
    given = await ask("GET", "/rest/v1/products", X_Request_Id="till-7")
    assert given.headers["X-Request-Id"] == "till-7"
    odd = await ask("GET", "/rest/v1/products", X_Request_Id="a b\tc" * 30)
    assert len(odd.headers["X-Request-Id"]) == 32
    trace = "0af7651916cd43dd8448eb211c80319c"
    told = await ask(
        "POST",
        "/rest/v1/rpc/sell",
        {"product": "p", "amount": 1},
        traceparent=f"00-{trace}-b7ad6b7169203331-01",
    )
    receipt = await ask.host.store.get("receipts", told.headers["Beira-Receipt"])
    assert receipt is not None and receipt.fields["trace"] == trace


async def test_metrics_know_routes_and_no_addresses(ask: Client) -> None:
    await ask("GET", "/rest/v1/products")
    await ask("GET", "/rest/v1/secret-name")
    await ask("GET", "/anything/at/all")
    text = (await ask("GET", "/metrics", who="")).content.decode()
    assert 'route="/rest/v1/{collection}"' in text
    assert "secret-name" not in text and "anything" not in text
    assert "beira_http_request_seconds_bucket" in text
    assert (await ask("GET", "/healthz", who="")).json == {"status": "ok"}


async def test_metrics_are_for_this_machine_unless_a_network_is_named(ask: Client) -> None:
    far = await ask("GET", "/metrics", who="", X_Forwarded_For="203.0.113.9")
    assert (far.status, far.json["code"]) == (403, "metrics.denied")
    settings = ApiSettings(proxies=("127.0.0.1",), metrics_from=("203.0.113.0/24",))
    app = application({"t1": memory_host()}, Tickets(), settings)
    async with listening(app) as url, aiohttp.ClientSession() as session:
        for address, status in (("203.0.113.9", 200), ("127.0.0.1", 403), ("nowhere", 403)):
            headers = {"X-Forwarded-For": f"10.0.0.1, {address}"}
            async with session.get(f"{url}/metrics", headers=headers) as answer:
                assert answer.status == status, address
    with pytest.raises(Misconfigured):
        application({}, Tickets(), ApiSettings(metrics_from=("everybody",)))


async def test_origins_are_refused_unless_named() -> None:
    settings = ApiSettings(origins=("https://shop.example",))
    app = application({"t1": memory_host()}, Tickets(), settings)
    async with listening(app) as url, aiohttp.ClientSession() as session:
        for origin, allowed in (("https://shop.example", True), ("https://evil.example", False)):
            headers = {"Origin": origin, "Authorization": "Bearer owner"}
            async with session.get(f"{url}/rest/v1/products", headers=headers) as answer:
                assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed
                assert "Access-Control-Allow-Credentials" not in answer.headers
        asked = "authorization,apikey,prefer,x-client-info,content-type,idempotency-key"
        headers = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": asked,
        }
        async with session.options(f"{url}/rest/v1/products", headers=headers) as answer:
            assert answer.status == 204
            allowed = answer.headers["Access-Control-Allow-Headers"].lower()
            assert set(asked.split(",")) <= set(allowed.replace(" ", "").split(","))


async def test_pages_beside_the_api_keep_their_own_errors() -> None:
    @get("/page")
    async def page() -> str:
        return "page"

    def missing(request: Any, error: HTTPException) -> Response[str]:
        return Response("nothing here", status_code=error.status_code, media_type="text/html")

    class Pages(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.exception_handlers.setdefault(404, missing)
            return app_config

    api = Api(Door(Tickets(), Rooms({"t1": memory_host()})))
    app = Litestar(
        [page],
        plugins=[api, Pages()],
        openapi_config=None,
        logging_config=None,
    )
    async with listening(app) as url, aiohttp.ClientSession() as session:
        async with session.get(f"{url}/page") as answer:
            assert await answer.text() == "page"
        async with session.get(f"{url}/none") as answer:
            assert (answer.status, await answer.text()) == (404, "nothing here")
        async with session.get(f"{url}/rest/v1/a/b/c") as answer:
            assert (await answer.json())["code"] == "not_found"
        async with session.post(f"{url}/auth/v1/token?grant_type=password", json={}) as answer:
            assert (await answer.json())["code"] == "auth.elsewhere"


async def test_the_description_is_of_what_one_may_do(ask: Client) -> None:
    owner = (await ask("GET", "/rest/v1/")).json
    assert owner["openapi"].startswith("3.")
    assert {"/products", "/sales", "/notes", "/rpc/sell"} <= set(owner["paths"])
    assert "/rpc/at_a_node" not in owner["paths"], "it does not run in the cloud"
    assert set(owner["paths"]["/sales"]) == {"get", "post"}, "facts are only added"
    product = owner["components"]["schemas"]["products"]
    assert product["description"] == "What a shop sells."
    assert product["properties"]["price"] == {"type": "number", "default": 0.0}
    assert product["required"] == ["name"]
    assert owner["paths"]["/rpc/sell"]["post"]["summary"] == "Records a sale."
    guest = (await ask("GET", "/rest/v1/", who="guest")).json
    assert "/notes" not in guest["paths"] and "/rpc/sell" not in guest["paths"]
    assert set(guest["paths"]["/sales"]) == {"get"}
    assert "seller" not in guest["components"]["schemas"]["sales"]["properties"]
    assert (await ask("GET", "/rest/v1/", who="")).status == 401


def test_every_reference_in_a_description_leads_somewhere() -> None:
    described = openapi(Caller(PEOPLE["owner"], memory_host()))

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for item in node for r in references(item)] if isinstance(node, list) else []

    for reference in references(described):
        found: Any = described
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]


def test_a_host_without_apps_is_described_too() -> None:
    host = memory_host()
    host.catalogue = catalogue([])
    assert "/alerts" in openapi(Caller(PEOPLE["owner"], host))["paths"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/token?grant_type=password", {"email": "a@b.c", "password": "no"}, 401, "auth.wrong"),
        ("/token?grant_type=password", {"email": "a@b.c"}, 400, "body.invalid"),
        ("/token?grant_type=password", {"email": 1, "password": "x"}, 400, "body.invalid"),
        ("/token?grant_type=magic", {}, 400, "auth.grant_unsupported"),
        ("/token", {}, 400, "auth.grant_unsupported"),
        ("/factors/totp/verify", {"code": "1"}, 401, "auth.totp_wrong"),
        ("/signup", {}, 404, "not_found"),
    ],
)
async def test_sign_in_refused(
    ask: Client, path: str, body: object, status: int, code: str
) -> None:
    refused = await ask("POST", f"/auth/v1{path}", body)
    assert (refused.status, refused.json["code"]) == (status, code)
    assert refused.json["error_code"] == code and refused.json["msg"]


async def test_second_factors_and_sign_out(ask: Client) -> None:
    setup = (await ask("POST", "/auth/v1/factors", {"factor_type": "totp"})).json
    assert setup["totp"]["secret"] and setup["recovery_codes"]
    assert (await ask("POST", "/auth/v1/factors/totp/verify", {"code": "123456"})).status == 204
    assert (await ask("POST", "/auth/v1/logout?scope=local")).status == 204
    assert (await ask("POST", "/auth/v1/logout?scope=moon")).status == 400
    assert (await ask("GET", "/auth/v1/user", who="")).status == 401


async def test_a_password_changes_with_the_old_one(ask: Client) -> None:
    body = {"password": "new one here", "current_password": "owner"}
    assert (await ask("PUT", "/auth/v1/user", body)).status == 200
    wrong = await ask("PUT", "/auth/v1/user", {**body, "current_password": "x"})
    assert (wrong.status, wrong.json["code"]) == (401, "auth.wrong")
    assert (await ask("PUT", "/auth/v1/user", {"password": "new one here"})).status == 400


async def test_what_anybody_may_ask_of_sign_in(ask: Client) -> None:
    assert (await ask("GET", "/auth/v1/.well-known/jwks.json", who="")).json["keys"]
    assert (await ask("GET", "/auth/v1/health", who="")).json["name"] == "beira"
    assert (await ask("GET", "/auth/v1/settings", who="")).json["disable_signup"] is True


async def test_answers_do_not_wait_for_an_acknowledgement() -> None:
    """asyncio turns off Nagle's algorithm only for sockets that were made as TCP."""
    bound = bind(Listen())
    try:
        assert bound.proto == socket.IPPROTO_TCP
        client = socket.create_connection(bound.getsockname())
        accepted, _ = bound.accept()
        assert accepted.proto == socket.IPPROTO_TCP
        client.close()
        accepted.close()
    finally:
        bound.close()

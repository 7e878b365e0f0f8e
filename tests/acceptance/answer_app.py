"""An app that answers its nodes in the cloud, signs, and has a page of its own there."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, get

from beira.kernel.app import Catalogue, catalogue
from beira.sdk import App, Host, Invalid, Principal

PURPOSE = "echo.said"


async def echo(host: Host, node: Principal, body: bytes) -> bytes:
    """Who asked whom, and what."""
    if body == b"slow":
        await asyncio.sleep(60)
    if body == b"wrong":
        raise Invalid("That is wrong.", code="echo.wrong", hint="Say something else.")
    if body.startswith(b"long"):
        return bytes(int(body[4:]))
    return f"{host.place.tenant}/{node.id}:".encode() + body


@get("/echo/{tenant:str}")
async def page(request: Request[Any, Any, Any]) -> str:
    tenant = request.path_params["tenant"]
    return str((await request.app.state.host_of_tenant(tenant)).place.tenant)


@get("/echo-me")
async def me(request: Request[Any, Any, Any]) -> str:
    return str((await request.app.state.signed_in(request)).caller.principal.name)


HERE = "tests.acceptance.answer_app"
app = App(
    name="echo",
    title="Echo",
    answers={"echo": f"{HERE}:echo"},
    cloud_pages=f"{HERE}:pages",
)
pages = [page, me]


def alone(only: tuple[str, ...] = ()) -> Catalogue:
    return catalogue([app])

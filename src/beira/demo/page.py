"""The demonstration's own page: what runs where, and a switch that pulls each node's network plug."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from jinja2 import Environment, FileSystemLoader, select_autoescape
from litestar import Litestar, Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.static_files import create_static_files_router

if TYPE_CHECKING:
    from beira.demo.program import Demo, DemoNode

HERE = Path(__file__).parent
STATIC = HERE.parent / "portal" / "static"
CSP = "default-src 'none'; style-src 'self'; script-src 'self'; font-src 'self'; connect-src 'self'"
ASK_TIMEOUT_S = 1.0


def demo_app(demo: Demo) -> Litestar:
    """The page as an application of its own."""
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape()
    )

    @get("/")
    async def home() -> Response[str]:
        html = templates.get_template("demo.html").render(demo=demo)
        return Response(html, media_type="text/html", headers={"Content-Security-Policy": CSP})

    @get("/state")
    async def state() -> list[dict[str, Any]]:
        return [await _state(node) for node in demo.nodes]

    @post("/plug/{site:str}", status_code=200)
    async def plug(site: FromPath[str], request: Request[Any, Any, Any]) -> Response[Any]:
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return Response({"message": "Use the switch on the page."}, status_code=403)
        for node in demo.nodes:
            if node.shop.site == site:
                node.plug.pull() if node.plug.plugged else node.plug.put_back()
                return Response(await _state(node))
        return Response({"message": f"There is no node {site}."}, status_code=404)

    handlers: list[HTTPRouteHandler] = [home, state, plug]
    statics = [
        create_static_files_router("/static", [STATIC]),
        create_static_files_router("/demo", [HERE / "static"]),
    ]
    return Litestar([*handlers, *statics], openapi_config=None, logging_config=None)


async def _state(node: DemoNode) -> dict[str, Any]:
    """A node as its switch shows it; `lanes` is None while its program does not answer."""
    known: dict[str, Any] = {"site": node.shop.site, "plugged": node.plug.plugged, "lanes": None}
    timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(node.address + "/node/status") as response,
        ):
            report = await response.json()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return known
    return known | {"lanes": report["lanes"], "connected": report["connected"]}

"""What apps answer their nodes in the cloud: `POST /apps/v1/<app>/<name>`, bytes in and bytes out.

For what is neither a record nor a file: a question whose answer depends on what the node holds. A node
asks by `host.ask_cloud` (`sync.node.line`), is admitted by the same token as for sync, and gets few
answers at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from litestar import Request, Response, Router, post
from litestar.types import ControllerRouterHandler

from beira.host.apps import load
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.app import Catalogue
from beira.kernel.errors import BeiraError, Corrupt, NotFound, TooMany, Unavailable
from beira.sync.cloud.doorway import Turnstile
from beira.sync.cloud.routes import Admit, admitted_node
from beira.sync.requests import ANSWERS_PATH

MEDIA_TYPE = "application/octet-stream"
Answer: TypeAlias = Callable[[Host, Principal, bytes], Awaitable[bytes]]


class Answers:
    """All that the apps of a catalogue answer, by `<app>/<name>`."""

    def __init__(self, catalogue: Catalogue, host_of: Callable[[str], Awaitable[Host]]) -> None:
        self._host_of = host_of
        self._by_name: dict[str, Answer] = {
            f"{app.name}/{name}": load(reference)
            for app in catalogue.apps
            for name, reference in app.answers.items()
        }

    async def answer(self, node: Principal, name: str, body: bytes) -> bytes:
        """Raises NotFound `answer.unknown`, Unavailable `answer.timeout`, and as the app's own."""
        answer = self._by_name.get(name)
        if answer is None:
            raise NotFound(
                f"No app here answers {name[: limits.NAME_CHARS]}.",
                code="answer.unknown",
                hint="Install the app in the cloud as well, in the same release.",
            )
        host = await self._host_of(node.tenant)
        try:
            async with asyncio.timeout(limits.ANSWER_TIMEOUT_S):
                return await answer(host, node, body)
        except TimeoutError:
            raise Unavailable(f"{name} took too long.", code="answer.timeout") from None


def answer_routes(answers: Answers, admit: Admit) -> ControllerRouterHandler:
    """Handlers for `/apps/v1`."""
    turnstile = Turnstile("questions", limits.ANSWERS_PER_NODE, limits.ANSWERS_IN_FLIGHT)

    @post("/{app:str}/{name:str}", status_code=200, request_max_body_size=limits.ASKED_BYTES)
    async def answer(request: Request[Any, Any, Any]) -> Response[bytes]:
        node, _ = await admitted_node(admit, request.headers.get("authorization", ""))
        with turnstile.passing(node):
            named = f"{request.path_params['app']}/{request.path_params['name']}"
            told = await answers.answer(node, named, await request.body())
            return Response(told, media_type=MEDIA_TYPE)

    return Router(
        path=ANSWERS_PATH,
        route_handlers=[answer],
        exception_handlers={BeiraError: _told},
        include_in_schema=False,
    )


def _told(request: Request[Any, Any, Any], error: BeiraError) -> Response[bytes]:
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    headers = {"Retry-After": "1"} if isinstance(error, TooMany) else {}
    return Response(
        msgspec.json.encode(body),
        status_code=422 if isinstance(error, Corrupt) else error.status,
        media_type="application/json",
        headers=headers,
    )

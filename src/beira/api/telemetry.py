"""What every request gets, whichever page or path it is for: a trace id, safe headers, a count.

Nothing here may fail a request. Metrics are of the process, by route template, so that no address
a stranger makes up becomes a label.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any, cast

import structlog
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest

from beira.api.errors import answer
from beira.kernel.errors import Denied

REQUESTS = Counter(
    "beira_http_requests", "Requests answered.", ["method", "route", "status"], registry=REGISTRY
)
LATENCY = Histogram(
    "beira_http_request_seconds",
    "From a request's arrival to the first byte of its answer.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
_SAFE: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_SAFE_API = (
    *_SAFE,
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_SAFE_NODES = _SAFE[:1]
"""No browser is meant, and nodes pay for each byte."""
_API = ("/rest/", "/auth/", "/realtime/", "/storage/")
_NODES = ("/apps/", "/sync/")
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|\Z)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_STARTED = "beira.started_s"
_TRACE = "beira.trace_id"


class Traced:
    """Middleware: gives a request its trace id, in the log's context, before its handler runs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"][_STARTED] = time.perf_counter()
        scope["state"][_TRACE] = trace_id = _trace_id(scope)
        with structlog.contextvars.bound_contextvars(trace_id=trace_id, tenant=""):
            await self._app(scope, receive, send)


async def before_send(message: Message, scope: Scope) -> None:
    """Add headers to the start of every answer, and count it."""
    if message["type"] != "http.response.start":
        return
    headers = message["headers"] = list(message.get("headers", ()))
    given = {name.lower() for name, _ in headers}
    safe = _SAFE_API if scope["path"].startswith(_API) else _SAFE
    safe = _SAFE_NODES if scope["path"].startswith(_NODES) else safe
    headers += [header for header in safe if header[0] not in given]
    trace_id = scope["state"].get(_TRACE)
    if trace_id:
        headers.append((b"x-request-id", trace_id.encode()))
    _measure(cast("HTTPScope", scope), message["status"])


def _measure(scope: HTTPScope, status: int) -> None:
    route = scope.get("path_template") or "(none)"
    method = scope["method"] if scope["method"] in _METHODS else "(other)"
    REQUESTS.labels(method, route, str(status)).inc()
    started_s = scope["state"].get(_STARTED)
    if started_s is not None:
        LATENCY.labels(route).observe(time.perf_counter() - started_s)


def _trace_id(scope: Scope) -> str:
    headers = dict(scope["headers"])
    found = _TRACEPARENT.match(headers.get(b"traceparent", b"").decode("latin-1"))
    if found:
        return found[1]
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.match(given) else secrets.token_hex(16)


@get("/healthz", status_code=200)
async def healthz(request: Request[Any, Any, Any]) -> dict[str, str]:
    """That the program runs and answers: always 200, so that a restart is not the cure for a database
    that is away. It asks none; `degraded` is what the program knows of itself."""
    away = request.app.state.get("away")
    if away is not None and away():
        return {"status": "degraded", "database": "away"}
    return {"status": "ok"}


def metrics_route(may_see: Callable[[Request[Any, Any, Any]], bool]) -> HTTPRouteHandler:
    """The handler of `/metrics`, for those who may see it."""

    @get("/metrics", status_code=200)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Prometheus metrics of this process."""
        if not may_see(request):
            return answer(
                Denied(
                    "Metrics are not shown there.",
                    code="metrics.denied",
                    hint="Ask from this machine, or name your network in the settings.",
                )
            )
        content = generate_latest(REGISTRY)
        return Response(content=content, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return metrics

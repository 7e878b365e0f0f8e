"""Mounting the API: its routers with their own errors, and what every answer of the program gets."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from litestar import Litestar, Request, Router
from litestar.config.app import AppConfig
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.plugins import InitPlugin

from beira.api.auth import auth_routes
from beira.api.describe import describe_routes
from beira.api.door import Door
from beira.api.errors import AUTH_HANDLERS, HANDLERS, on_http_error
from beira.api.ports import NodeDoor, Revocations, SignIn
from beira.api.realtime import Realtime, realtime_routes
from beira.api.records import records_routes
from beira.api.rpc import rpc_routes
from beira.api.telemetry import Traced, before_send, healthz, metrics_route
from beira.kernel import limits
from beira.kernel.errors import Misconfigured

_PREFIXES = ("/rest/", "/auth/", "/realtime/", "/storage/")
_EXPOSED = ["Content-Range", "Location", "Preference-Applied", "Retry-After", "X-Request-Id"]
_EXPOSED += ["Beira-Receipt", "Beira-Took-Ms"]
_ALLOWED = [
    "Accept",
    "Accept-Profile",
    "Apikey",
    "Authorization",
    "Content-Profile",
    "Content-Type",
]
_EXPOSED += ["Beira-Code", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version"]
_EXPOSED += ["Upload-Expires", "Upload-Length", "Upload-Offset"]
_ALLOWED += ["Tus-Resumable", "Upload-Checksum", "Upload-Length", "Upload-Metadata"]
_ALLOWED += ["Upload-Offset", "X-Http-Method-Override"]
_ALLOWED += ["Prefer", "Range", "Range-Unit", "X-Client-Info", "X-Supabase-Api-Version"]
_ALLOWED += ["Beira-Node", "Idempotency-Key", "Traceparent", "X-Request-Id"]
AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True)
class ApiSettings:
    """`origins` are those whose pages may call the API from a browser (CORS): none by default.
    `proxies` are the addresses of reverse proxies whose X-Forwarded-For is believed; `metrics_from`
    the networks that may see `/metrics`: this machine, by default."""

    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    metrics_from: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


class Api(InitPlugin):
    """The API as a plugin. Paths of what is not given (sign-in, nodes) say that it is elsewhere."""

    def __init__(
        self,
        door: Door,
        *,
        sign_in: SignIn | None = None,
        nodes: NodeDoor | None = None,
        revocations: Revocations | None = None,
        settings: ApiSettings = ApiSettings(),
    ) -> None:
        self._door = door
        self._sign_in = sign_in
        self._nodes = nodes
        self._settings = settings
        self._metrics_from = [_network(text) for text in settings.metrics_from]
        self.realtime = Realtime(door, revocations)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.route_handlers.extend(self.routes())
        app_config.middleware.insert(0, Traced)
        app_config.before_send.append(before_send)
        app_config.on_shutdown.append(self.realtime.close)
        app_config.on_startup.append(_answer_unrouted)
        if self._settings.origins:
            app_config.cors_config = CORSConfig(
                allow_origins=list(self._settings.origins),
                allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"],
                allow_headers=_ALLOWED,
                expose_headers=_EXPOSED,
            )
        return app_config

    def routes(self) -> list[Router | BaseRouteHandler]:
        """The API's routers, with `/healthz` and `/metrics`."""
        rest = [*records_routes(self._door), *rpc_routes(self._door), *describe_routes(self._door)]
        return [
            _router("/rest/v1", rest),
            _router("/auth/v1", self._auth(), AUTH_HANDLERS),
            _router("/realtime/v1", realtime_routes(self._door, self.realtime)),
            healthz,
            metrics_route(self._may_see_metrics),
        ]

    def _auth(self) -> list[Any]:
        return auth_routes(self._door, self._sign_in, self._nodes, self._address)

    def _address(self, request: AnyRequest) -> str:
        """Where a request comes from: the last address that a proxy we know has seen."""
        near = request.client.host if request.client else ""
        if near not in self._settings.proxies:
            return near
        return request.headers.get("x-forwarded-for", near).rpartition(",")[2].strip()[:64]

    def _may_see_metrics(self, request: AnyRequest) -> bool:
        """What a proxy we do not know passes on comes from anywhere."""
        near = request.client.host if request.client else ""
        if "x-forwarded-for" in request.headers and near not in self._settings.proxies:
            return False
        try:
            address = ip_address(self._address(request))
        except ValueError:
            return False
        return any(address in network for network in self._metrics_from)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise Misconfigured(
            f"{text!r} is no network.",
            code="settings.invalid",
            hint="Write it like 10.0.0.0/8.",
        ) from None


def _router(path: str, handlers: list[Any], errors: Any = HANDLERS) -> Router:
    return Router(
        path=path,
        route_handlers=handlers,
        exception_handlers=errors,
        request_max_body_size=limits.BODY_BYTES,
        include_in_schema=False,
    )


def _answer_unrouted(app: Litestar) -> None:
    """At the start, when every plugin has set its own: the API answers for addresses under its
    paths that no route has, and pages for the rest."""
    handlers = app.exception_handlers
    for kind in (HTTPException, 404, 405):
        if kind in handlers or kind is HTTPException:
            handlers[kind] = _unrouted(handlers.get(kind))


def _unrouted(pages: Any) -> Any:
    """Tells of addresses that no route has: in the API's words under its paths, else as `pages`."""

    def tell(request: AnyRequest, error: HTTPException) -> Any:
        path = request.url.path
        if path.startswith("/auth/"):
            return AUTH_HANDLERS[HTTPException](request, error)
        if pages is None or path.startswith(_PREFIXES):
            return on_http_error(request, error)
        return pages(request, error)

    return tell

"""Mounting the portal: its pages, the apps' pages, static files and the live stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, Router, get, route
from litestar.config.app import AppConfig
from litestar.handlers import BaseRouteHandler
from litestar.plugins import InitPlugin
from litestar.response import Stream
from litestar.static_files import create_static_files_router

from beira.api import Door
from beira.api.accounts import CloudAccounts
from beira.api.ports import Revocations, SignIn
from beira.host import Host
from beira.host.apps import load
from beira.host.page import Page, Pages, Reply
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.app import Catalogue
from beira.kernel.errors import BeiraError, Misconfigured, Unauthenticated
from beira.portal.desk import Desk
from beira.portal.looks import STATIC
from beira.portal.pages import own_pages

if TYPE_CHECKING:
    from beira.identity.cloud import Identity
    from beira.identity.shapes import Revocation

STATIC_AGE_S = 31_536_000
AnyRequest = Request[Any, Any, Any]


class Portal(InitPlugin):
    """The pages as a plugin: give `identity` and `cloud` in the cloud, `sign_in`, `node` and its
    `revocations` on a node.

    `cloud` has `catalogue` and `follow_places(tenant)`; `proxies` are the addresses of reverse proxies
    whose X-Forwarded-For and -Proto are believed. A program that stops calls `close`, so that
    open pages' streams end at once.
    """

    def __init__(
        self,
        *,
        door: Door,
        identity: Identity | None = None,
        cloud: Any = None,
        sign_in: SignIn | None = None,
        node: Host | None = None,
        proxies: tuple[str, ...] = (),
        revocations: Revocations | None = None,
    ) -> None:
        catalogue: Catalogue | None = node.catalogue if node else getattr(cloud, "catalogue", None)
        self._apps = catalogue.apps if catalogue else ()
        if sign_in is None and identity is not None:
            sign_in = CloudAccounts(identity)
        if sign_in is None or catalogue is None:
            raise Misconfigured("A portal needs identity and cloud, or sign_in and node.")
        bundles = tuple(_bundle(app.portal_pages) for app in self._apps if app.portal_pages)
        start, manage = own_pages()
        self.desk = Desk(
            door=door,
            sign_in=sign_in,
            identity=identity,
            cloud=cloud,
            node=node,
            bundles=(start, *bundles, manage),
            proxies=proxies,
        )
        self._revocations: Any = identity or revocations
        self._end: Callable[[], None] | None = None

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.route_handlers.extend(self.routes())
        app_config.exception_handlers.setdefault(404, self._lost)
        app_config.on_startup.append(self._start)
        app_config.on_shutdown.append(self.close)
        return app_config

    def routes(self) -> list[Any]:
        """All handlers: the portal's own under `/`, the apps' where they say."""
        desk = self.desk
        found = [p for b in desk.bundles for p in b.pages if desk.fits(p.where)]
        handlers = [_handler(desk, page) for page in found]
        pages = Router(
            path="/",
            route_handlers=[*handlers, _live(desk)],
            request_max_body_size=limits.FORM_BYTES,
            include_in_schema=False,
        )
        statics = {b.name: b.static for b in desk.bundles if b.static}
        mine: list[Any] = [pages, _static("/static", STATIC)]
        mine += [_static(f"/static/{name}", folder) for name, folder in statics.items()]
        if not desk.in_cloud:
            for app in self._apps:
                mine += load(app.pages) if app.pages else []
        return mine

    async def close(self) -> None:
        """End the streams of open pages."""
        if self._end is not None:
            self._end()
            self._end = None
        await self.desk.live.close()

    async def _start(self) -> None:
        if self._revocations is not None and self._end is None:
            self._end = self._revocations.subscribe(self._revoked)

    def _revoked(self, news: Revocation) -> None:
        """Rights changed somewhere: open pages look again whether they may still listen."""
        desk = self.desk
        if news.kind in ("session", "account"):
            desk.kept.forget(news.id)
        desk.forget_standings()

        def touched(who: Principal) -> bool:
            return (
                news.kind in ("lost", "session") or news.id == who.id or news.tenant == who.tenant
            )

        desk.live.recheck(touched)

    def _lost(self, request: AnyRequest, _: Any) -> Response[Any]:
        """An address that no page has; who asks is not looked up for it."""
        return self.desk.nothing(request)


def _bundle(reference: str) -> Pages:
    found = load(reference)
    if not isinstance(found, Pages):
        raise Misconfigured(f"{reference} is not Pages.", code="app.invalid")
    return found


def _handler(desk: Desk, page: Page) -> BaseRouteHandler:
    async def show(request: AnyRequest) -> Response[Any]:
        return await desk.serve(request, page)

    name = f"{page.method.lower()} {page.path}"
    made: BaseRouteHandler = route(page.path, http_method=[page.method], name=f"portal {name}")(
        show
    )
    return made


def _live(desk: Desk) -> BaseRouteHandler:
    @get("/live", name="portal live")
    async def live(request: AnyRequest) -> Response[Any]:
        """What changed, as server-sent events."""
        visit = desk.visit(request)
        try:
            await desk.admit(request, visit)
            ear = desk.live.open(visit.principal, visit.host)
        except Unauthenticated:
            return desk.answer(request, visit, Reply("", 204))
        except BeiraError as error:
            return desk.answer(request, visit, Reply(error.message, error.status, "text/plain"))

        async def still() -> Principal:
            return await desk.principal(visit.token)

        stopping = request.app.state.get("stopping")
        stopping = stopping if isinstance(stopping, asyncio.Event) else None
        expires_at = visit.expires_at or time.time() + 900
        events = desk.live.events(ear, expires_at=expires_at, still=still, stopping=stopping)
        plain = desk.answer(request, visit, Reply(""))
        return Stream(
            events,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            cookies=plain.cookies,
        )

    return live


def _static(path: str, folder: Path) -> Router:
    return create_static_files_router(
        path=path,
        directories=[folder],
        include_in_schema=False,
        cache_control=None,
        after_request=_keep_static,
        name=f"portal {path}",
    )


async def _keep_static(response: Response[Any]) -> Response[Any]:
    response.headers.setdefault("Cache-Control", f"public, max-age={STATIC_AGE_S}, immutable")
    return response

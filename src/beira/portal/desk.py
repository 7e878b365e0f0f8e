"""The portal's desk: every request passes here, so that each page need only say what it shows.

It admits people (cookies, refreshed when they run out), refuses forged forms, gives pages their words
and looks, tells errors with their next step, and shows what it last had while the database is away.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import structlog
from jinja2 import Environment, FileSystemLoader, PrefixLoader
from litestar import Request, Response
from litestar.datastructures import UploadFile
from litestar.exceptions import HTTPException
from litestar.response import Stream

from beira.api import Door
from beira.api.door import Caller
from beira.api.ports import SignIn
from beira.host import Host
from beira.host.page import MenuItem, Page, Pages, Reply, SentFile
from beira.kernel import limits
from beira.kernel.access import Principal
from beira.kernel.errors import BeiraError, Denied, Invalid, NotFound, Unauthenticated, Unavailable
from beira.portal import looks
from beira.portal.kept import Kept, Shown, Whose
from beira.portal.live import Live
from beira.portal.visit import Asked, Look, Visit

if TYPE_CHECKING:  # the cloud's half needs asyncpg, which a node need not have
    from beira.identity.cloud import Identity

log = structlog.get_logger(__name__)
HERE = Path(__file__).parent
LANGUAGES = ("pt-BR", "en")
THEMES = ("auto", "light", "dark")
YEAR_S = 31_536_000
STANDING_S = 20.0
OUTAGE_MARK = "<!--outage-->"
CSRF = re.compile(r"[0-9a-f]{32}\Z")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True)
class Standing:
    """What the page's frame says of a person: their tenants, and whether they run the platform."""

    tenant_name: str = ""
    tenants: tuple[tuple[str, str], ...] = ()
    admin: bool = False


@dataclass(frozen=True)
class SignedIn:
    """Whoever asks for something that is no page. `dress` gives the answer the cookies it must carry:
    their session may have been renewed on the way."""

    caller: Caller
    dress: Callable[[Response[Any]], None] = lambda response: None


@dataclass
class Desk:
    """What all pages share. `identity` and `cloud` are there in the cloud only, `node` on a node."""

    door: Door
    sign_in: SignIn
    identity: Identity | None = None
    cloud: Any = None
    node: Host | None = None
    bundles: tuple[Pages, ...] = ()
    proxies: tuple[str, ...] = ()
    kept: Kept = field(default_factory=Kept)
    live: Live = field(default_factory=Live)

    def __post_init__(self) -> None:
        folders = {b.name: FileSystemLoader(b.templates) for b in self.bundles}
        self._templates = looks.environment(
            PrefixLoader({"portal": FileSystemLoader(HERE / "templates"), **folders}),
            statics={b.name: b.static for b in self.bundles if b.static},
            done={code: both for b in self.bundles for code, both in b.done.items()},
        )
        self.words = {name: both for b in self.bundles for name, both in b.words.items()}
        self._standings: dict[tuple[str, str], tuple[Standing, float]] = {}

    @property
    def in_cloud(self) -> bool:
        return self.node is None

    @property
    def environment(self) -> Environment:
        return self._templates

    def now(self) -> datetime:
        return datetime.now(UTC)

    @property
    def people(self) -> Identity:
        """The cloud's identity. Raises Denied on a node."""
        if self.identity is None:
            raise Denied("This is kept in the cloud.", code="auth.elsewhere")
        return self.identity

    def fits(self, where: str) -> bool:
        return where == "anywhere" or (where == "cloud") == self.in_cloud

    def menu(self, visit: Visit) -> list[MenuItem]:
        """What this person may find here."""
        role = visit.principal.role
        items = [item for bundle in self.bundles for item in bundle.menu]
        return [item for item in items if role in item.roles and self.fits(item.where)]

    def panels(self, role: str) -> list[Page]:
        """The apps' parts of the overview, by rank."""
        pages = [page for bundle in self.bundles for page in bundle.pages if page.panel]
        fitting = [p for p in pages if role in p.roles and self.fits(p.where)]
        return sorted(fitting, key=lambda page: page.panel)

    def template(self, name: str, visit: Visit, values: dict[str, Any]) -> str:
        """A page's HTML."""
        return self._templates.get_template(name).render(
            view=visit, t=visit.t, desk=self, OUTAGE=OUTAGE_MARK, **values
        )

    async def serve(self, request: AnyRequest, page: Page) -> Response[Any]:
        """Answer one request with a page, or with what stands in its way."""
        visit = self.visit(request)
        try:
            if page.method == "POST":
                visit.request = await _with_form(request, visit.request)
                self._check_forgery(request, visit)
            if not page.public:
                await self.admit(request, visit)
                self._check_role(visit, page)
            reply = await page.handler(visit)
            self._keep(visit, page, reply)
        except Unauthenticated:
            reply = _to_sign_in(visit)
        except Unavailable as error:
            reply = self._away(request, visit, error)
        except BeiraError as error:
            reply = self._told(visit, error)
        except HTTPException as error:
            failed = Invalid(error.detail or "Not understood.", code="request.invalid")
            reply = self._told(visit, failed)
        except Exception:
            log.exception("portal.failed", path=visit.request.route)
            reply = self._told(visit, BeiraError("Something failed here."))
        return self.answer(request, visit, reply)

    async def admit(self, request: AnyRequest, visit: Visit) -> None:
        """Find out who asks, with new tokens if the old ones ran out. Raises Unauthenticated."""
        token = _cookie(request, "access")
        visit.refresh = _cookie(request, "refresh")
        try:
            if not token:
                raise Unauthenticated("Nobody is signed in.")
            await self._take(visit, token)
        except Unauthenticated:
            if not visit.refresh:
                raise
            try:
                tokens = await self.sign_in.refresh(visit.refresh, address=visit.request.address)
            except Unauthenticated:
                visit.drop_cookies()
                raise
            visit.sign_cookies(
                tokens.access_token,
                tokens.expires_in_s,
                tokens.refresh_token,
                limits.REFRESH_TOKEN_S,
            )
            visit.refresh = tokens.refresh_token
            await self._take(visit, tokens.access_token)

    async def signed_in(self, request: AnyRequest) -> SignedIn:
        """Who asks for something that is no page: by a bearer token, or by the cookies of a page that is
        open. Then what changes anything must carry the page's form token in `Beira-Form`, as a form
        does. Raises Unauthenticated, Denied."""
        if request.headers.get("authorization"):
            return SignedIn(await self.door.caller(request.headers))
        if not (_cookie(request, "access") or _cookie(request, "refresh")):
            raise Unauthenticated("Nobody is signed in.", hint="Sign in, or send a bearer token.")
        visit = self.visit(request)
        if request.method not in ("GET", "HEAD"):
            self._check_origin(request, request.headers.get("beira-form", ""))
        await self.admit(request, visit)
        caller = Caller(visit.principal, visit.host)

        def dress(response: Response[Any]) -> None:
            self._give_cookies(request, visit, response)

        return SignedIn(caller, dress)

    async def _take(self, visit: Visit, token: str) -> None:
        visit.token = token
        if self.identity is not None:
            grant = await self.identity.grant(token)
            visit.who, visit.session = grant.principal, grant.session
            visit.expires_at = float(grant.expires_at)
            visit.standing = await self._standing(grant.principal)
            if not grant.principal.tenant:
                return
        else:
            visit.expires_at = time.time() + limits.ACCESS_TOKEN_S
        caller = await self.door.caller_of(token)
        visit.who = caller.principal
        await visit.settle(caller.host)

    async def _standing(self, who: Principal) -> Standing:
        """Asked seldom: the names of one's companies hardly change."""
        key = (who.id, who.tenant)
        known = self._standings.get(key)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        account = await self.people.people.account(who)
        tenants = tuple((m.tenant, m.name) for m in account.memberships)
        standing = Standing(dict(tenants).get(who.tenant, ""), tenants, account.admin)
        if len(self._standings) >= limits.STANDINGS_KEPT:
            self._standings.clear()
        self._standings[key] = (standing, time.monotonic() + STANDING_S)
        return standing

    async def principal(self, token: str) -> Principal:
        """Who a token speaks for, now. Raises Unauthenticated, Unavailable."""
        return (await self.door.caller_of(token)).principal

    async def follow_places(self, tenant: str) -> None:
        """Have the records of sites and nodes follow identity's tables."""
        await self.cloud.follow_places(tenant)

    def forget_standings(self) -> None:
        self._standings.clear()

    def nothing(self, request: AnyRequest) -> Response[Any]:
        """The answer at an address that no page has."""
        visit = self.visit(request)
        return self.answer(request, visit, self._told(visit, NotFound("There is nothing here.")))

    def away(self, request: AnyRequest, error: Unavailable) -> Response[Any]:
        """The answer at any address while the program has no database at all."""
        visit = self.visit(request)
        return self.answer(request, visit, self._away(request, visit, error))

    def visit(self, request: AnyRequest) -> Visit:
        csrf = _cookie(request, "form")
        made = not CSRF.match(csrf)
        visit = Visit(
            desk=self,
            request=_asked(request, self.proxies),
            look=_look(request),
            csrf=secrets.token_hex(16) if made else csrf,
        )
        if made:
            visit.cookies["form"] = (visit.csrf, YEAR_S)
        return visit

    def _check_forgery(self, request: AnyRequest, visit: Visit) -> None:
        """Raises Denied for a form that another site made, or that carries no token of ours."""
        self._check_origin(request, visit.form.get("csrf", ""))

    def _check_origin(self, request: AnyRequest, given: str) -> None:
        origin = request.headers.get("origin")
        near = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if origin and urlsplit(origin).netloc != request.headers.get("host"):
            near = False
        ours = _cookie(request, "form")
        if not near or not ours or not hmac.compare_digest(given.encode(), ours.encode()):
            raise Denied("This form was not ours.", code="portal.forged")

    def _check_role(self, visit: Visit, page: Page) -> None:
        if visit.principal.role not in page.roles:
            raise Denied(f"{visit.principal.role} may not open this page.")

    def _keep(self, visit: Visit, page: Page, reply: Reply) -> None:
        good = reply.status == 200 and page.method == "GET" and isinstance(reply.body, str)
        if not good or page.public or not visit.session or not visit.keepable or not self.in_cloud:
            return
        whose = Whose(visit.principal.id, visit.session, visit.principal.tenant)
        self.kept.know(visit.refresh, whose)
        body = reply.body if isinstance(reply.body, str) else ""
        self.kept.keep(whose, _address_shown(visit), body, time.time())

    def _told(self, visit: Visit, error: BeiraError) -> Reply:
        """An error as a page, or as the part of a page that was asked for."""
        name = "portal/error_part.html" if visit.request.fragment else "portal/error.html"
        values = {"error": visit.told(error), "status": error.status}
        return Reply(self.template(name, visit, values), error.status)

    def _away(self, request: AnyRequest, visit: Visit, error: Unavailable) -> Reply:
        """What this very session was last shown here, with its age; else a page that explains."""
        if visit.request.fragment or request.method != "GET":
            return self._told(visit, error)
        shown = self._last(request, visit)
        if shown is not None:
            at = datetime.fromtimestamp(shown.at_s, UTC)
            note = self.template("portal/outage_note.html", visit, {"at": at})
            html = shown.html.replace(OUTAGE_MARK, note, 1)
            return Reply(html.replace("<body", "<body data-stale", 1), 200)
        return self._told(visit, error)

    def _last(self, request: AnyRequest, visit: Visit) -> Shown | None:
        whose = self.kept.whose(_cookie(request, "refresh"))
        return self.kept.last(whose, _address_shown(visit), time.time()) if whose else None

    def answer(self, request: AnyRequest, visit: Visit, reply: Reply) -> Response[Any]:
        """The response, with the page's policy and cookies."""
        headers = {
            "Content-Security-Policy": POLICY,
            "Cache-Control": "no-store",
            "Vary": "Cookie, HX-Request",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            **reply.headers,
        }
        if visit.request.fragment and reply.status == 303:
            headers["HX-Redirect"] = headers.pop("Location")
            reply = Reply("", 200)
        made: Any = Response if isinstance(reply.body, str | bytes) else Stream
        response: Response[Any] = made(
            reply.body, status_code=reply.status, media_type=reply.media_type, headers=headers
        )
        self._give_cookies(request, visit, response)
        return response

    def _give_cookies(self, request: AnyRequest, visit: Visit, response: Response[Any]) -> None:
        secure = is_secure(request, self.proxies)
        for name, (value, age_s) in visit.cookies.items():
            response.set_cookie(
                key=cookie_name(request, name),
                value=value,
                max_age=age_s,
                path="/",
                secure=secure,
                httponly=True,
                samesite="lax",
            )


def local_path(asked: str) -> str:
    """Where to go on: a path of this portal, or its start."""
    parts = urlsplit(asked)
    plain = asked.startswith("/") and not asked.startswith("//") and "\\" not in asked
    safe = plain and not parts.scheme and not parts.netloc and asked.isprintable()
    return asked if safe else "/"


def cookie_name(request: AnyRequest, name: str) -> str:
    """Cookies know no ports: on one machine a cloud and nodes would overwrite each other's."""
    port = request.headers.get("host", "").rpartition("]")[2].rpartition(":")[2]
    return f"beira_{name}_{port}" if port.isdigit() else f"beira_{name}"


def _cookie(request: AnyRequest, name: str) -> str:
    return str(request.cookies.get(cookie_name(request, name), ""))[:8_192]


def is_secure(request: AnyRequest, proxies: tuple[str, ...]) -> bool:
    """Whether the browser came by HTTPS, as we see it or a proxy we know tells."""
    near = request.client.host if request.client else ""
    told = request.headers.get("x-forwarded-proto", "") if near in proxies else ""
    return request.url.scheme == "https" or told.lower() == "https"


def address_of(request: AnyRequest, proxies: tuple[str, ...]) -> str:
    """Where a request comes from: the last address that a proxy we know has seen."""
    near = request.client.host if request.client else ""
    if near not in proxies:
        return near
    return request.headers.get("x-forwarded-for", near).rpartition(",")[2].strip()[:64]


def _asked(request: AnyRequest, proxies: tuple[str, ...]) -> Asked:
    url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Asked(
        url=url,
        route=request.url.path,
        path={name: str(value) for name, value in request.path_params.items()},
        query={name: str(value)[:500] for name, value in request.query_params.multi_items()},
        form={},
        files={},
        address=address_of(request, proxies),
        base=f"{request.url.scheme}://{request.headers.get('host', '')}",
        agent=request.headers.get("user-agent", "")[:200],
        fragment=request.headers.get("hx-request") == "true",
    )


async def _with_form(request: AnyRequest, asked: Asked) -> Asked:
    data = await request.form()
    fields: dict[str, str] = {}
    files: dict[str, SentFile] = {}
    for name, value in list(data.multi_items())[: limits.FORM_FIELDS]:
        if isinstance(value, str):
            fields[name] = value[: limits.TEXT_CHARS]
        elif isinstance(value, UploadFile) and (sent := await value.read()):
            files[name] = SentFile(value.filename[: limits.NAME_CHARS], sent)
    return replace(asked, form=fields, files=files)


def _look(request: AnyRequest) -> Look:
    language, _, theme = _cookie(request, "look").partition(".")
    if language not in LANGUAGES:
        language = _accepted(request.headers.get("accept-language", ""))
    return Look(language, theme if theme in THEMES else "auto")


def _accepted(header: str) -> str:
    for part in header.split(",")[:20]:
        start = part.strip().lower()[:2]
        if start in ("pt", "en"):
            return "pt-BR" if start == "pt" else "en"
    return LANGUAGES[0]


def _address_shown(visit: Visit) -> str:
    """A page in one language and theme is not the page in another."""
    return f"{visit.look.language}.{visit.look.theme} {visit.request.url}"


def _to_sign_in(visit: Visit) -> Reply:
    url = "/" if visit.request.fragment else visit.request.url
    return visit.redirect("/sign-in" + (f"?next={quote(url)}" if url != "/" else ""))

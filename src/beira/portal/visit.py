"""One request to the portal: who asks, how they like it shown, and the answers a page can give.

Implements `host.page.View` for apps; the portal's own pages use a few things more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from beira.host import Host
from beira.host.host import DEFAULT_ZONE
from beira.host.page import Reply, SentFile
from beira.kernel import limits
from beira.kernel.access import (
    Principal,
    hidden_fields,
    may_read,
    node_partition,
    partitions,
    require,
)
from beira.kernel.command import Call, Receipt, Runs
from beira.kernel.errors import BeiraError, Denied, NotFound
from beira.kernel.query import Filter, Order, Query, both, checked, where
from beira.kernel.query import Page as Rows
from beira.portal.words import told

if TYPE_CHECKING:
    from beira.portal.desk import Desk

NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Look:
    """How the reader likes pages: language pt-BR or en; theme auto, light or dark."""

    language: str = "pt-BR"
    theme: str = "auto"


@dataclass(frozen=True, slots=True)
class Asked:
    """The plain parts of a request. `address` is whom it comes from; `fragment`: a part of a page
    is asked for, by the page's own script."""

    url: str
    route: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(repr=False)
    files: Mapping[str, SentFile] = field(repr=False)
    address: str
    base: str = ""
    agent: str = ""
    fragment: bool = False


@dataclass
class Visit:
    """A request under way. `token` and `session` are set once somebody was admitted."""

    desk: Desk
    request: Asked
    look: Look
    csrf: str = field(repr=False)
    who: Principal | None = None
    token: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)
    session: str = ""
    expires_at: float = 0.0
    cookies: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)
    _host: Host | None = None
    _sites: dict[str, str] | None = None
    zones: dict[str, str] = field(default_factory=dict)
    standing: Any = None
    keepable: bool = True

    @property
    def principal(self) -> Principal:
        if self.who is None:
            raise Denied("Nobody is signed in.")
        return self.who

    @property
    def host(self) -> Host:
        if self._host is None:
            raise Denied("The platform sees no tenant's data.", hint="Choose a company first.")
        return self._host

    @property
    def has_tenant(self) -> bool:
        return self._host is not None

    @property
    def in_cloud(self) -> bool:
        return self.desk.in_cloud

    @property
    def language(self) -> str:
        return self.look.language

    @property
    def path(self) -> Mapping[str, str]:
        return self.request.path

    @property
    def asked(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def form(self) -> Mapping[str, str]:
        return self.request.form

    @property
    def files(self) -> Mapping[str, SentFile]:
        return self.request.files

    @property
    def site(self) -> str:
        chosen = self.request.query.get("site", "")
        return chosen if self._sites is None or chosen in self._sites else ""

    @property
    def zone(self) -> tzinfo:
        if self._host is not None and not self._host.place.in_cloud:
            return self._host.place.zone
        name = self.zones.get(self.site) or next(iter(self.zones.values()), DEFAULT_ZONE)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError):
            return ZoneInfo(DEFAULT_ZONE)

    @property
    def now(self) -> datetime:
        return self.desk.now() if self._host is None else self._host.now()

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()

    @property
    def words(self) -> Mapping[str, tuple[str, str]]:
        """The apps' words for settings and parameters, where the reader's language has them."""
        return self.desk.words if self.look.language == "pt-BR" else {}

    def t(self, pt: str, en: str) -> str:
        return pt if self.look.language == "pt-BR" else en

    async def settle(self, host: Host | None) -> None:
        """Take up the tenant's host, and its sites with their time zones."""
        self._host = host
        if host is not None:
            page = await self.rows("sites", order=(Order("name"),), limit=limits.SITES_SHOWN)
            granted = self.principal.sites
            rows = [r for r in page.rows if granted is None or r["id"] in granted]
            self._sites = {str(r["id"]): str(r["name"]) for r in rows}
            self.zones = {str(r["id"]): str(r["zone"]) for r in rows}

    async def sites(self) -> Mapping[str, str]:
        return dict(self._sites or {})

    @property
    def site_names(self) -> dict[str, str]:
        return self._sites or {}

    async def rows(
        self,
        collection: str,
        where: Filter | None = None,
        *,
        order: tuple[Order, ...] = (),
        limit: int = 100,
        offset: int = 0,
        count: bool = False,
        columns: tuple[Any, ...] = (),
    ) -> Rows:
        declared = self.host.store.registry[collection]
        require(may_read(self.principal, declared), self.principal, "read", collection)
        asked = Query(
            collection=collection,
            columns=columns,
            where=both(where, self._of_site(declared.scope.value)),
            order=order,
            limit=limit,
            offset=offset,
            count=count,
        )
        question = checked(asked, declared, hidden_fields(self.principal, declared))
        return await self.host.store.query(question, partitions(self.principal))

    def _of_site(self, scope: str) -> Filter | None:
        return where(_partition=f"site:{self.site}") if self.site and scope == "site" else None

    async def row(self, collection: str, id: str) -> dict[str, Any]:
        """One row. Raises NotFound."""
        page = await self.rows(collection, where(id=id), limit=1)
        if not page.rows:
            raise NotFound(f"There is no {id[:64]} in {collection}.")
        return page.rows[0]

    async def run(self, command: str, params: Mapping[str, object]) -> Receipt:
        return await self.host.run(command, params, principal=self.principal, door="portal")

    async def call(self, node: str, command: str, params: Mapping[str, object]) -> str:
        known = self.host.catalogue.command(command[:64])
        allowed = self.principal.role in known.roles and known.runs is not Runs.CLOUD
        require(allowed and self.in_cloud, self.principal, "send", known.name)
        info = await self.row("node_info", node)
        if self.principal.sites is not None and info["site"] not in self.site_names:
            raise NotFound("There is no such node.")
        known.check(params)
        call = Call(
            command=known.name,
            params=dict(params),
            by=self.principal.name or self.principal.id,
            role=self.principal.role,
            expires_at=self.now + timedelta(seconds=limits.CALL_EXPIRES_S),
        )
        async with self.host.writing() as ctx:
            return ctx.put(call, partition=node_partition(node)).id

    def render(self, template: str, /, *, status: int = 200, **values: object) -> Reply:
        return Reply(self.desk.template(template, self, values), status)

    def redirect(self, path: str, *, done: str = "") -> Reply:
        if done:
            path += ("&" if "?" in path else "?") + urlencode({"done": done})
        return Reply("", 303, headers={"Location": path})

    def told(self, error: BeiraError) -> dict[str, str]:
        """An error in the reader's words: message, hint, code."""
        message, hint = told(error, self.language)
        return {"message": message, "hint": hint, "code": error.code}

    def sign_cookies(self, access: str, access_s: int, refresh: str, refresh_s: int) -> None:
        """Have the answer carry a session's tokens."""
        self.cookies["access"] = (access, access_s)
        self.cookies["refresh"] = (refresh, refresh_s)

    def drop_cookies(self) -> None:
        self.cookies["access"] = ("", 0)
        self.cookies["refresh"] = ("", 0)

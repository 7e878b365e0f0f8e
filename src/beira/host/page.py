"""Pages as an app declares them: plain async functions of a `View`, and nothing of a web framework.

    @page("/punches", roles=("owner", "member"))
    async def punches(view: View) -> Reply:
        rows = await view.rows("punches", where(person="p1"))
        return view.render("voice/punches.html", rows=rows)

Whoever mounts them (the portal) does the rest for every page alike: who is asking, forgery
protection, the tenant's wall, errors, and what is shown while the database is away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from beira.host.host import Host
from beira.kernel.access import Principal
from beira.kernel.command import Receipt
from beira.kernel.query import Filter, Order
from beira.kernel.query import Page as Rows

Where: TypeAlias = Literal["anywhere", "cloud", "node"]
EVERYONE = ("owner", "member", "guest")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a page answers. What is too much to hold, such as a long list to download, is given piece by
    piece; if that fails on the way, whoever asked sees that it broke off."""

    body: str | bytes | AsyncIterator[bytes] = ""
    status: int = 200
    media_type: str = "text/html"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SentFile:
    """A file that came with a form. Its name is whatever the sender's machine says."""

    name: str
    data: bytes = field(repr=False)


class View(Protocol):
    """One request as a page sees it: who asks, what was given, and how to answer."""

    @property
    def principal(self) -> Principal: ...
    @property
    def host(self) -> Host: ...
    @property
    def language(self) -> str:
        """pt-BR or en."""
        ...

    @property
    def zone(self) -> tzinfo:
        """The time zone of the site looked at, or of the tenant's first."""
        ...

    @property
    def today(self) -> date: ...
    @property
    def path(self) -> Mapping[str, str]:
        """The values of the path's parameters."""
        ...

    @property
    def asked(self) -> Mapping[str, str]:
        """The address's query parameters."""
        ...

    @property
    def form(self) -> Mapping[str, str]:
        """The fields of a form that was sent."""
        ...

    @property
    def files(self) -> Mapping[str, SentFile]:
        """The files that came with it, all together at most `limits.BODY_BYTES`; none that is empty.
        For larger ones there are uploads, in the cloud."""
        ...

    @property
    def site(self) -> str:
        """The site chosen to look at ("": all)."""
        ...

    def t(self, pt: str, en: str) -> str:
        """The text in the reader's language."""
        ...

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
        """Rows that the principal may see. Raises Denied, Unavailable."""
        ...

    async def sites(self) -> Mapping[str, str]:
        """Names of the sites that the principal may see, by id."""
        ...

    async def run(self, command: str, params: Mapping[str, object]) -> Receipt:
        """Run a command here, as the principal."""
        ...

    async def call(self, node: str, command: str, params: Mapping[str, object]) -> str:
        """In the cloud: send a command to a node, as the principal; gives the call's id, which is its
        receipt's too. Nodes that are offline do not carry it out later. Raises Denied, Invalid,
        NotFound."""
        ...

    def render(self, template: str, /, *, status: int = 200, **values: object) -> Reply: ...

    def redirect(self, path: str, *, done: str = "") -> Reply:
        """Go on at `path`; `done` names what happened: saved, added, removed, sent…"""
        ...


PageHandler: TypeAlias = Callable[[View], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Page:
    """One page or form. A `panel` is a fragment that is also shown on the overview, by its rank."""

    path: str
    handler: PageHandler
    method: Literal["GET", "POST"] = "GET"
    roles: frozenset[str] = frozenset(EVERYONE)
    where: Where = "anywhere"
    panel: int = 0
    public: bool = False


@dataclass(frozen=True, slots=True)
class MenuItem:
    """A page people should find; `icon` is one of the portal's."""

    path: str
    pt: str
    en: str
    icon: str = "dot"
    roles: frozenset[str] = frozenset(EVERYONE)
    where: Where = "anywhere"


@dataclass(frozen=True, slots=True)
class Pages:
    """What an app adds to the portal. Its templates are found under `<name>/`, the files of `static` by
    `asset("<name>/<file>")`. `words` gives settings, commands and parameters their label and
    explanation in Portuguese, by their names; `done` what a `redirect(done=…)` says, in both
    languages."""

    name: str
    pages: tuple[Page, ...]
    templates: Path
    menu: tuple[MenuItem, ...] = ()
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    static: Path | None = None
    done: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def page(
    path: str,
    *,
    method: Literal["GET", "POST"] = "GET",
    roles: Iterable[str] = EVERYONE,
    where: Where = "anywhere",
    panel: int = 0,
    public: bool = False,
) -> Callable[[PageHandler], Page]:
    """Declare the decorated async function as a page for people of `roles`."""

    def declare(handler: PageHandler) -> Page:
        return Page(path, handler, method, frozenset(roles), where, panel, public)

    return declare

"""The portal's own pages are declared as apps' are, but see the whole `Visit`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias, cast

from beira.host.page import EVERYONE, Page, PageHandler, Reply, Where
from beira.portal.visit import Visit

OwnHandler: TypeAlias = Callable[[Visit], Awaitable[Reply]]
OWNER = ("owner",)
STAFF = ("owner", "member")
ANYBODY = (*EVERYONE, "admin")


def own(
    path: str,
    *,
    method: Literal["GET", "POST"] = "GET",
    roles: Iterable[str] = EVERYONE,
    where: Where = "anywhere",
    public: bool = False,
) -> Callable[[OwnHandler], Page]:
    """Declare one of the portal's own pages."""

    def declare(handler: OwnHandler) -> Page:
        plain = cast(PageHandler, handler)
        return Page(path, plain, method, frozenset(roles), where, 0, public)

    return declare

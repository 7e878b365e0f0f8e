"""What the cloud says of people's rights, as a node last heard it: it holds here within moments.

Tokens last minutes and a node remembers sign-ins for weeks; the cloud's `rights` records, which come down
like any other, cut both short. The record of somebody unknown here says nothing, as does none at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog

from beira.host import Host
from beira.identity.local import LocalIdentity
from beira.identity.shapes import Revocation, Rights
from beira.kernel.collection import collection_of
from beira.kernel.errors import BeiraError
from beira.kernel.system import MemberRights
from beira.store.port import News

log = structlog.get_logger(__name__)
COLLECTION = collection_of(MemberRights)


class NodeRights:
    """Reads rights from the node's own records, and tells when they change.

    Implements `api.ports.Revocations`.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    async def of(self, account: str) -> Rights | None:
        """None if the cloud has said nothing of this account."""
        row = await self._host.store.get(COLLECTION.name, account)
        if row is None:
            return None
        told = COLLECTION.decode(row.id, row.fields)
        assert isinstance(told, MemberRights)
        return Rights(
            role="" if row.deleted else told.role,
            sites=None if told.sites is None else tuple(told.sites),
            since_s=0.0 if told.since is None else told.since.timestamp(),
        )

    def groups(self) -> tuple[str, ...]:
        """The groups of this node's site, as of now."""
        return self._host.place.groups

    def subscribe(self, listener: Callable[[object], None]) -> Callable[[], None]:
        """Call `listener` with a Revocation for each person whose rights have changed."""

        def heard(news: News) -> None:
            for collection, id, _ in news.rows:
                if collection == COLLECTION.name:
                    listener(Revocation(kind="account", id=id, tenant=news.tenant))

        return self._host.store.subscribe(heard)

    @contextlib.asynccontextmanager
    async def followed_by(self, identity: LocalIdentity) -> AsyncIterator[None]:
        """While the context lasts, whoever lost their rights is forgotten by the node's sign-in."""
        changed: set[str] = set()
        wake = asyncio.Event()

        def heard(news: object) -> None:
            assert isinstance(news, Revocation)
            changed.add(news.id)
            wake.set()

        async def follow() -> None:
            while True:
                await wake.wait()
                wake.clear()
                while changed:
                    account = changed.pop()
                    try:
                        await identity.reconsider(account)
                    except BeiraError as error:
                        log.warning("rights.not_followed", why=error.message)

        end = self.subscribe(heard)
        task = asyncio.create_task(follow(), name="beira-rights")
        try:
            yield
        finally:
            end()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

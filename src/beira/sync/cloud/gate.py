"""The cloud's half of sync: drives a `GateSession` for each connected node.

It holds nothing a replica could not take over: lanes, cursors and feeds are in the database, and a
node that is cut off comes back to any replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import Principal, partitions
from beira.kernel.gate_session import (
    GateSession,
)
from beira.sync import metrics
from beira.sync.cloud.conversation import Conversation, Sender, Still, Tenant, Tickets
from beira.sync.cloud.doorway import Doorway
from beira.sync.streams import feed_stream

log = structlog.get_logger(__name__)
SILENCE_LOOKS = 6
"""How often within the time that silence may last it is looked for."""


class Gate:
    """Serves nodes. `host_of` gives a tenant's host, `epoch_of` names its database, and
    `renew_epoch(tenant, old)` gives it another name once it turns out to be an older copy."""

    def __init__(
        self,
        *,
        host_of: Callable[[str], Awaitable[Host]],
        epoch_of: Callable[[str], Awaitable[str]],
        renew_epoch: Callable[[str, str], Awaitable[str]],
        tickets: Tickets,
        release: str,
    ) -> None:
        self._host_of = host_of
        self._epoch_of = epoch_of
        self._renew_epoch = renew_epoch
        self._tickets = tickets
        self._release = release
        self._live: dict[tuple[str, str], set[Conversation]] = {}
        self._waiting: set[_Wait] = set()
        self._tenants: dict[str, Tenant] = {}
        self._looking: asyncio.TimerHandle | None = None
        self.doorway = Doorway()

    async def open(self, node: Principal, send: Sender, still: Still | None = None) -> Conversation:
        """A conversation with `node`, not yet greeted. Call `close` when the link is gone.

        `still` is asked at once, for the node may have been revoked since it was let in, and again
        whenever `recheck` says so.
        """
        host = await self._host_of(node.tenant)
        session = GateSession(
            node=node,
            registry=host.store.registry,
            release=self._release,
            cloud=await self._epoch_of(node.tenant),
            acked={},
        )
        conversation = Conversation(self._tenant(host), session, send, still)
        self._live.setdefault((node.tenant, node.id), set()).add(conversation)
        metrics.CONNECTIONS.set(len(self._live))
        if self._looking is None:
            self._look_for_silence()
        await conversation.recheck()
        return conversation

    async def close(self, conversation: Conversation) -> None:
        """The link is gone; note it if it was the node's last here."""
        if self.forget(conversation):
            await conversation.went_offline()

    def forget(self, conversation: Conversation) -> bool:
        """The conversation is over; whether it was the node's last here."""
        key = (conversation.session.node.tenant, conversation.session.node.id)
        held = self._live.get(key, set())
        held.discard(conversation)
        if not held:
            self._live.pop(key, None)
        metrics.CONNECTIONS.set(len(self._live))
        return not held

    async def wait_for_news(
        self, node: Principal, cursors: Mapping[str, int], wait_s: float
    ) -> bool:
        """Whether a feed of the node's goes beyond its cursors, now or within `wait_s`. Says nothing
        of what is in it, and holds no ticket: a link without memory waits here between exchanges."""
        host = await self._host_of(node.tenant)
        granted = partitions(node) or frozenset()
        wait = _Wait(node)

        def heard(changed: frozenset[str] | None) -> None:
            wait.told.set()

        unsubscribe = self._tenant(host).hearing.listen(granted, heard)
        self._waiting.add(wait)
        try:
            async with asyncio.timeout(wait_s):
                while not await _is_behind(host, granted, cursors):
                    await wait.told.wait()
                    wait.told.clear()
                    if wait.answer is not None:
                        return wait.answer
            return True
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(wait)
            unsubscribe()

    def _tenant(self, host: Host) -> Tenant:
        tenant = self._tenants.get(host.place.tenant)
        if tenant is None or tenant.host is not host:
            tenant = self._tenants[host.place.tenant] = Tenant(
                host, self._tickets, self._renew_epoch, self.doorway
            )
        return tenant

    def _look_for_silence(self) -> None:
        """End conversations of which nothing was heard for too long: one clock for all of them."""
        loop = asyncio.get_running_loop()
        for held in list(self._live.values()):
            for conversation in list(held):
                conversation.end_if_silent(loop.time() - limits.SILENCE_TIMEOUT_S)
        self._looking = (
            loop.call_later(limits.SILENCE_TIMEOUT_S / SILENCE_LOOKS, self._look_for_silence)
            if self._live
            else None
        )

    def stop(self) -> None:
        """The program ends: nobody waits any longer."""
        for wait in self._waiting:
            wait.end(news=False)

    async def recheck(self, tenant: str = "", node: str = "") -> None:
        """Rights may have changed: ask for each live connection of the tenant and node ("": of all)
        whether it still holds, and end those that do not. Who waits over plain HTTP is told of news:
        its next exchange says whether it may be here."""
        for wait in self._waiting:
            if tenant in ("", wait.node.tenant) and node in ("", wait.node.id):
                wait.end(news=True)
        for (its_tenant, its_node), held in list(self._live.items()):
            if tenant in ("", its_tenant) and node in ("", its_node):
                for conversation in list(held):
                    await conversation.recheck()

    @property
    def connections(self) -> int:
        return sum(len(held) for held in self._live.values())


class _Wait:
    """A node that waits over plain HTTP. `answer` is what ended its wait before there was news."""

    def __init__(self, node: Principal) -> None:
        self.node = node
        self.told = asyncio.Event()
        self.answer: bool | None = None

    def end(self, *, news: bool) -> None:
        self.answer = news
        self.told.set()


async def _is_behind(host: Host, granted: Iterable[str], cursors: Mapping[str, int]) -> bool:
    for partition in granted:
        if await host.store.end(feed_stream(partition)) > cursors.get(partition, 0):
            return True
    return False

"""The node's half of sync: keeps a link to the cloud, and drives a `NodeSession` over it.

It reads the log, merges feeds, and survives anything the link does: a session that ends is thrown
away, and the next begins from what is on disk.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.collection import Lane
from beira.kernel.disguise import travelling
from beira.kernel.errors import BeiraError, Denied, Unauthenticated
from beira.kernel.lanes import Delivery
from beira.kernel.node_session import (
    Close,
    NodeSession,
)
from beira.kernel.policy import Conditions, retry_after_s
from beira.kernel.policy import Link as LinkState
from beira.kernel.record import Row, Value
from beira.kernel.runs import with_run
from beira.store.port import NodeStore, Pending
from beira.sync import metrics
from beira.sync.node.conversation import Conversation
from beira.sync.node.link import Connector
from beira.sync.node.marks import CLOUD_MARK, CURSOR_MARK, RUNS_MARK, SCHEMA_MARK, TICKET_MARK
from beira.sync.node.surroundings import CHECKED_MARK
from beira.sync.node.telling import SyncState
from beira.sync.streams import FLOOR_MARK, lane_stream, log_route

log = structlog.get_logger(__name__)


class Agent:
    """Runs sync for one node until it is stopped. `status` adds to what the cloud is told, `machine`
    says whether the link is metered and the battery low. `pseudonym_key` is what names that travel as
    pseudonyms are keyed with."""

    def __init__(
        self,
        *,
        host: Host,
        store: NodeStore,
        connector: Connector,
        release: str,
        status: Callable[[], dict[str, Any]] = dict,
        machine: Callable[[], Conditions] = Conditions,
        pseudonym_key: bytes = b"",
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.host = host
        self.store = store
        self.state = SyncState()
        self.deliveries = {lane: Delivery() for lane in Lane}
        self._connector = connector
        self.release = release
        self.more_status = status
        self._chance = chance
        self.machine = machine
        self._pseudonym_key = pseudonym_key
        self._link_state = LinkState()
        self._changed: Callable[[], None] = lambda: None
        self._runs: list[int] = []
        self._pushed_hlc = 0
        self._called_old: int | None = None

    async def run(self) -> None:
        """Connect, talk, and connect again; returns only when the cloud says not to come back."""
        await self._prepare()
        failures = 0
        while not self.state.stopped:
            try:
                async with self._connected() as conversation:
                    failures = 0 if await conversation.run() else failures + 1
            except BeiraError as error:
                failures += 1
                self.note(error)
            except Exception as error:
                failures += 1
                log.exception("sync.failed")
                self.note(BeiraError(f"Sync failed: {error}.", hint="The log has the details."))
            if not self.state.stopped:
                await asyncio.sleep(retry_after_s(failures, self._chance()))

    def disguise(self, row: Row) -> Row | None:
        """The row as it leaves this node; None if nothing of it does."""
        return travelling(self.host.store.registry[row.collection], row, self._pseudonym_key)

    async def pending(self) -> dict[Lane, Pending]:
        """What each lane's log holds."""
        return {lane: await self.store.pending(lane_stream(lane)) for lane in Lane}

    async def cursors(self) -> dict[str, int]:
        """How far each partition's feed is on disk."""
        return _named(CURSOR_MARK, await self.store.marks(CURSOR_MARK))

    async def _prepare(self) -> None:
        """Name this run of the program, and read feeds anew if other collections are declared than
        before."""
        marks = await self.store.marks()
        self._runs = with_run(marks.get(RUNS_MARK, []), int(self._chance() * 2**53))
        await self.store.commit([], marks={RUNS_MARK: self._runs})
        checked = [value[0] for name, value in marks.items() if name.startswith(CHECKED_MARK)]
        self.state.checked_ms = max(checked, default=None)
        declared = sorted(c.name for c in self.host.store.registry)
        if marks.get(SCHEMA_MARK) != declared:
            cursors = {name: 0 for name in marks if name.startswith(CURSOR_MARK)}
            await self._take_up_what_was_left(marks)
            await self.store.commit([], marks={SCHEMA_MARK: declared, **cursors})

    async def _take_up_what_was_left(self, marks: Mapping[str, Value]) -> None:
        """Changes of a collection that was not declared for a while stayed in the log, and the lane
        went on beyond them: name them anew, so that they are sent."""
        for lane in Lane:
            stream, acked = lane_stream(lane), int(marks.get(f"acked:{int(lane)}", 0))
            while True:
                first = await self.store.since(stream, 0, most=1, most_bytes=1)
                if not first.rows or first.upto > acked:
                    break
                left = await self.store.since(
                    stream, 0, most=limits.BATCH_CHANGES, most_bytes=limits.BATCH_BYTES
                )
                keys = [(row.collection, row.id) for row in left.rows]
                await self.store.relog(keys, log_route(self.store.registry))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Conversation]:
        session = await self._session()
        link = await self._connector.connect(lambda: session.hello(self.now_ms()))
        conversation = Conversation(self, session, link)
        unsubscribe = self.store.subscribe(conversation.heard_news)
        self.state.link, self.state.since_ms = link.name, self.now_ms()
        try:
            yield conversation
        finally:
            unsubscribe()
            self.state.connected = False
            metrics.CONNECTED.set(0)
            self._link_state, self._pushed_hlc = session.link, session.pushed_hlc
            await link.close()

    async def _session(self) -> NodeSession:
        marks = await self.store.marks()
        ticket = int(marks.get(TICKET_MARK, 0))
        return NodeSession(
            release=self.release,
            ticket=ticket,
            sure=ticket == self._called_old,
            runs=self._runs,
            pushed_hlc=self._pushed_hlc,
            cloud=str(marks.get(CLOUD_MARK, "")),
            cursors=await self.cursors(),
            floors=_named(FLOOR_MARK, marks),
            acked={lane: int(marks.get(f"acked:{int(lane)}", 0)) for lane in Lane},
            written={lane: await self.store.end(lane_stream(lane)) for lane in Lane},
            link=self._link_state,
        )

    def note(self, error: BeiraError) -> None:
        """What is in sync's way now, for people to see."""
        if isinstance(error, Unauthenticated | Denied):
            log.error("sync.refused", code=error.code, why=error.message, hint=error.hint)
        elif error.message != self.state.last_error:
            log.warning("sync.lost", code=error.code, why=error.message)
        self.state.last_error, self.state.next_step = error.message, error.hint
        self.state.last_code = error.code

    def ended(self, close: Close, ticket: int) -> None:
        """A session is over, in which the node showed `ticket`."""
        self.note(BeiraError(close.message, code=close.code, hint=close.hint))
        self._called_old = ticket if close.code == "node.ticket_old" else None
        if not close.retry:
            self.state.stopped = True
            log.error("sync.stopped", code=close.code, why=close.message, hint=close.hint)

    def acknowledged(self) -> dict[str, Value]:
        """The marks of a log trimmed in this run: no earlier one is of interest any more."""
        if len(self._runs) == 1:
            return {}
        self._runs = self._runs[-1:]
        return {RUNS_MARK: self._runs}

    def now_ms(self) -> int:
        """The clock, as the cloud has corrected it."""
        return self.host.clock.now_ms(self.host.wall.now_ms())


def _named(prefix: str, marks: Mapping[str, Value]) -> dict[str, int]:
    """Those marks that begin so, by what follows."""
    return {
        name.removeprefix(prefix): int(value)
        for name, value in marks.items()
        if name.startswith(prefix)
    }

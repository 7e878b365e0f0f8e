"""One connection of a node in the cloud: carries out what its `GateSession` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from beira.host import tracing
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import partitions
from beira.kernel.collection import Lane
from beira.kernel.contest import Contest
from beira.kernel.errors import BeiraError, Conflict, Denied, Invalid, Unauthenticated
from beira.kernel.gate_session import (
    Action,
    Close,
    Commit,
    Compare,
    ConfirmTicket,
    Floor,
    GateSession,
    PresentTicket,
    ReadBuckets,
    ReadFeed,
    SaveCursor,
    SaveStatus,
    Send,
)
from beira.kernel.record import Row, Value
from beira.kernel.runs import LaneMarks
from beira.kernel.wire import Push, Refused, Wire
from beira.sync import metrics
from beira.sync.cloud.beside import Beside
from beira.sync.cloud.commits import has_room, joined, one_lane
from beira.sync.cloud.crowd import Crowd, Pushed
from beira.sync.cloud.doorway import Doorway
from beira.sync.cloud.hearing import Hearing
from beira.sync.cloud.notes import Notes
from beira.sync.cloud.standing import Standing
from beira.sync.inspect import compare, read_buckets
from beira.sync.set_aside import losses_told, lost_value, quarantined
from beira.sync.streams import FLOOR_MARK, feed_route, feed_stream

log = structlog.get_logger(__name__)
Sender = Callable[[list[Wire]], Awaitable[None]]
Still = Callable[[], Awaitable[object]]
"""Asks again whether a node may still be here; raises as identity does when it may not."""

Moved = tuple[dict[str, Value], dict[str, Value]]
"""Marks as they are after a push, and as they must be before it."""


class Tickets(Protocol):
    """Who holds a node's ticket: the guard against two machines with one identity."""

    async def present_ticket(
        self, tenant: str, node: str, ticket: int, *, sure: bool = False
    ) -> int:
        """The next ticket. Raises Conflict `node.ticket_old` for one that was used before, and
        Denied `node.duplicated` if the node is `sure` that it has no other."""
        ...

    async def confirm_ticket(self, tenant: str, node: str, ticket: int) -> None:
        """Raises Conflict `node.ticket_old`."""
        ...


class Tenant:
    """What the conversations with one tenant's nodes have in common at a replica."""

    def __init__(
        self,
        host: Host,
        tickets: Tickets,
        renew_epoch: Callable[[str, str], Awaitable[str]],
        doorway: Doorway,
    ) -> None:
        self.host = host
        self.tickets = tickets
        self.renew_epoch = renew_epoch
        self.doorway = doorway
        self.route = feed_route(host.store.registry)
        self.notes = Notes(host.store)
        self.hearing = Hearing(host.store)
        self.crowd = Crowd(host.store, self.route)


class Conversation:
    """One node's connection: carries out what its session decides, in order.

    There are many, and nearly all of them have nothing to do: then they have no task either.
    """

    __slots__ = (
        "_commits", "_cut", "_failure", "_heard_s", "_host", "_inbox", "_inspections", "_lane",
        "_lanes", "_later",
        "_news", "_over", "_room", "_send", "_silent", "_standing", "_status", "_still", "_stirred",
        "_tenant", "_unsubscribe", "_up", "_working", "ended", "session",
    )  # fmt: skip

    def __init__(
        self, tenant: Tenant, session: GateSession, send: Sender, still: Still | None = None
    ) -> None:
        self.session = session
        self.ended = False
        self._tenant = tenant
        self._host = tenant.host
        self._send = send
        self._still = still
        self._news: set[str] | None = set()
        self._inbox: list[Wire] = []
        self._room: asyncio.Future[None] | None = None
        self._cut: BeiraError | None = None
        self._silent = False
        self._commits = Beside(self._failed)
        self._later = Beside(self._failed)
        self._inspections = Beside(self._failed)
        self._status: dict[str, object] | None = None
        self._standing = Standing(tenant.host, session.node, tenant.notes)
        self._lane: Lane | None = None
        self._up = f"up:{session.node.id}:"
        self._lanes = LaneMarks(self._up, {})
        self._heard_s = asyncio.get_running_loop().time()
        self._stirred = False
        self._working: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._over: Callable[[], None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def hear(self, messages: Iterable[Wire]) -> None:
        """Messages came; they are dealt with. The link must await `room` before it reads on."""
        self._inbox.extend(messages)
        self._heard_s = asyncio.get_running_loop().time()
        self._stir()

    @property
    def is_crowded(self) -> bool:
        return len(self._inbox) >= 2 * limits.PUSHES_IN_FLIGHT

    async def room(self) -> None:
        """Wait until the messages heard are few, so that a fast node is slowed down by its link."""
        while self.is_crowded and not self.ended:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def heard_news(self, changed: frozenset[str] | None) -> None:
        """Partitions have changed (None: any may have); their feeds are looked at."""
        if changed is None:
            self._news = None
        elif self._news is not None:
            self._news |= changed
        self._heard_s = asyncio.get_running_loop().time()
        self._stir()

    async def recheck(self) -> None:
        """End the conversation if the node may no longer be here."""
        try:
            if self._still is not None:
                await self._still()
        except (Unauthenticated, Denied) as error:
            self._cut = error
            self._stir()
        except BeiraError as error:
            log.warning("sync.not_rechecked", node=self.session.node.id, why=error.message)

    def end_if_silent(self, since_s: float) -> None:
        """End the conversation if nothing was heard and nothing done since then."""
        if self._over is not None and self._working is None and self._heard_s < since_s:
            self._silent = True
            self._stir()

    def begin(self, over: Callable[[], None]) -> None:
        """Serve from now on. `over` is called once the session has ended by itself."""
        self._over = over
        granted = partitions(self.session.node) or ()
        self._unsubscribe = self._tenant.hearing.listen(granted, self.heard_news)
        self._stir()

    async def finish(self) -> None:
        """The link is gone. What is under way is carried out: torn out of the database's hands it would
        cost it a connection."""
        self._leave()
        if self._working is not None:
            await asyncio.wait({self._working})
        await self.settled()

    async def run(self) -> None:
        """Serve until the node goes silent, the session ends, or the task is cancelled."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begin(lambda: over.set_result(None) if not over.done() else None)
        try:
            await over
            if self._failure is not None:
                raise self._failure
        finally:
            self._leave()
            if self._working is not None:
                self._working.cancel()
                await asyncio.wait({self._working})
            for beside in (self._commits, self._inspections, self._later):
                await beside.stop()

    async def step(self) -> None:
        """Deal with what has come in so far."""
        if self._cut is not None:
            await self.perform(self.session.refuse_with(self._cut))
            return
        if self._silent:
            await self.perform(self.session.refuse("sync.silent", "Nothing was heard.", retry=True))
            return
        while self._inbox and not self.ended:
            message = self._inbox.pop(0)
            actions = self.session.received(message, self._now_ms())
            while len(self._inbox) and has_room(actions) and isinstance(self._inbox[0], Push):
                actions += self.session.received(self._inbox.pop(0), self._now_ms())
                actions = joined(actions)
            self._make_room()
            lane = one_lane(actions)
            if lane is not None:
                await self._commits.room(limits.COMMITS_IN_FLIGHT if lane == self._lane else 1)
                self._lane = lane
                self._commits.start(self.perform(actions))
            else:
                if any(isinstance(action, Commit) for action in actions):
                    await self._commits.room(1)  # what a lane's push is behind goes first
                await self.perform(actions)
        news, self._news = self._news, set()
        if self.session.live and (news is None or news):
            await self.perform(self.session.news(news))

    async def settled(self) -> None:
        """Wait until all that `step` began has been carried out."""
        for beside in (self._commits, self._inspections, self._later):
            await beside.room(1)

    def _stir(self) -> None:
        """There is something to do."""
        self._stirred = True
        if self._over is not None and self._working is None and not self.ended:
            self._working = asyncio.ensure_future(self._work())
            self._working.add_done_callback(self._worked)

    async def _work(self) -> None:
        while self._stirred and not self.ended:
            self._stirred = False
            await self.step()

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._working = None
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            log.error("sync.failed", exc_info=self._failure)
            self.ended = True
        if self.ended:
            self._end()
        elif self._stirred and not task.cancelled():
            self._stir()

    def _end(self) -> None:
        """The session has ended by itself; what works on it now still says so."""
        self.ended = True
        self._make_room()
        if self._working is None and self._over is not None:
            over, self._over = self._over, None
            over()

    def _leave(self) -> None:
        self.ended, self._over = True, None
        self._make_room()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _failed(self) -> None:
        self._end()

    async def perform(self, actions: Sequence[Action]) -> None:
        """Carry out actions and what follows from them. A database that is away ends the session,
        and the node comes back later: nothing was acknowledged."""
        queue = list(actions)
        while queue and not self.ended:
            try:
                queue = [*await self._act(queue[0]), *queue[1:]]
            except BeiraError as error:
                queue = list(self._refused(error))

    def _refused(self, error: BeiraError) -> Sequence[Action]:
        node = self.session.node.id
        log.warning("sync.gate_error", node=node, code=error.code, why=error.message)
        again = error.status >= 500 or error.code == "node.ticket_old"
        return self.session.refuse_with(error, retry=again)

    async def went_offline(self) -> None:
        """Show the node as gone."""
        if self.session.hello is not None:
            await self._standing.left()

    async def _act(self, action: Action) -> Sequence[Action]:
        node = self.session.node
        match action:
            case Send(message):
                await self._send([message])
            case PresentTicket(ticket, sure):
                async with self._tenant.doorway.turn():
                    return await self._present(ticket, sure=sure)
            case ConfirmTicket(ticket):
                await self._tenant.tickets.confirm_ticket(node.tenant, node.id, ticket)
            case Commit():
                return await self._commit(action)
            case ReadFeed(partition, after):
                return await self._read_feed(partition, after)
            case Compare() | ReadBuckets():
                await self._inspections.room(1)
                self._inspections.start(self._inspect(action))
            case SaveStatus(fields):
                self._save_status(fields)
            case SaveCursor(partition, upto):
                self._later.start(self._save_cursor(partition, upto))
            case Close():
                self._end()
        return ()

    async def _present(self, ticket: int, *, sure: bool) -> Sequence[Action]:
        node = self.session.node
        given = await self._tenant.tickets.present_ticket(node.tenant, node.id, ticket, sure=sure)
        ends = await self._look()
        await self._look_for_older_copy(ends)
        return self.session.ticket_given(given, self._now_ms(), ends)

    async def _look(self) -> dict[str, int]:
        """Where the node's lanes and feeds are, read at once: much of what its coming costs. From
        before this on, news is heard."""
        up, granted = self._up, partitions(self.session.node) or ()
        names = {feed_stream(partition): partition for partition in granted}
        floors = [FLOOR_MARK + partition for partition in granted]
        marks, ends = await self._tenant.crowd.look([up, *floors], list(names))
        self._set_lanes(marks)
        self.session.floors = {
            name.removeprefix(FLOOR_MARK): Floor(*value)
            for name, value in marks.items()
            if name.startswith(FLOOR_MARK)
        }
        return {names[stream]: last for stream, last in ends.items()}

    async def _inspect(self, action: Compare | ReadBuckets) -> None:
        """Beside all else: what the node pushes meanwhile is not to wait for a million rows."""
        try:
            actions = await self._inspected(action)
        except BeiraError as error:
            actions = self._refused(error)
        await self.perform(actions)

    async def _inspected(self, action: Compare | ReadBuckets) -> Sequence[Action]:
        store, node = self._host.store, self.session.node.id
        if isinstance(action, Compare):
            differ = await compare(store, node, action.check)
            return self.session.compared(action.check.partition, differ)
        rows, upto, more = await read_buckets(store, node, action.fetch)
        return self.session.buckets_read(action.fetch, rows, upto, more=more)

    async def _look_for_older_copy(self, ends: Mapping[str, int]) -> None:
        """A node that has more of a feed than there is was fed by what this database has lost. Its
        name changes, so that every node begins its feeds anew, and compares what it holds. A node
        of a release that knows no such names is fed from the beginning itself."""
        hello = self.session.hello
        assert hello is not None
        if hello.cloud not in ("", self.session.cloud):
            return
        for partition in partitions(self.session.node) or ():
            cursor = hello.cursors.get(partition, 0)
            if cursor > ends[partition]:
                if not hello.cloud:
                    hello.cursors[partition] = 0
                    continue
                log.error("sync.older_copy", node=self.session.node.id, partition=partition)
                self.session.cloud = await self._tenant.renew_epoch(
                    self.session.node.tenant, self.session.cloud
                )
                return

    async def _commit(self, action: Commit) -> Sequence[Action]:
        refused = list(action.admitted.refused)
        rows: Sequence[Row] = action.admitted.rows
        node, lane = self.session.node.id, action.lane.name.lower()
        moved = self._lanes.moved(action.lane, action.has, action.upto, action.newest_hlc)
        try:
            with tracing.committing(rows, node=node, lane=lane):
                await self._write(moved, rows, refused)
        except Conflict as error:
            if error.code == "marks.moved":
                return await self._lane_moved(action.lane)
            rows, conflicting = await self._isolated(action.admitted.rows)
            refused += conflicting
            await self._write(moved, rows, refused)
        metrics.COMMITTED.labels(lane).inc(len(action.admitted.rows))
        metrics.REFUSED.labels(lane).inc(len(refused))
        return self.session.committed(action.lane, action.upto, [why for _, why in refused])

    async def _write(
        self, moved: Moved, rows: Sequence[Row], refused: list[tuple[Row, Refused]]
    ) -> None:
        node, (marks, expect) = self.session.node.id, moved
        if refused:
            rows = [*rows, *(quarantined(self._host, node, row, why) for row, why in refused)]
        rows = [*rows, *told] if (told := losses_told(rows)) else rows
        await self._tenant.crowd.push(Pushed(rows, expect, marks, self._dropped))

    def _dropped(self, contests: Sequence[Contest]) -> list[Row]:
        """What a push or the rows it met lose by it, each written over unseen."""
        lost = self.session.conflicts(contests)
        metrics.CONFLICTS.inc(len(lost))
        return [lost_value(self._host, contest) for contest in lost]

    async def _isolated(self, rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Refused]]]:
        """Commit the rows one by one, to find those that contradict what is there."""
        taken: list[Row] = []
        refused: list[tuple[Row, Refused]] = []
        for row in rows:
            try:
                await self._host.store.commit(
                    [row], route=self._tenant.route, dropped=self._dropped
                )
                taken.append(row)
            except (Conflict, Invalid) as error:
                why = Refused(
                    collection=row.collection, id=row.id, code=error.code, message=error.message
                )
                refused.append((row, why))
        return taken, refused

    async def _lane_moved(self, lane: Lane) -> Sequence[Action]:
        """Another conversation was first. If it was with another run of the node's program, what this
        one knows of the lanes is void."""
        self._set_lanes(await self._host.store.marks(self._up))
        if self._lanes.ours:
            return self.session.lane_moved(lane, self._lanes.has[lane])
        return self.session.refuse(
            "sync.log_moved", "Another run of this node has pushed.", retry=True
        )

    def _set_lanes(self, marks: Mapping[str, Value]) -> None:
        hello = self.session.hello
        assert hello is not None
        self._lanes = LaneMarks(self._up, marks, hello.logs, hello.acked)
        self.session.acked = dict(self._lanes.has)
        self.session.pushed_hlc = self._lanes.pushed_hlc

    async def _read_feed(self, partition: str, after: int) -> Sequence[Action]:
        read = await self._host.store.since(
            feed_stream(partition),
            after,
            whole=True,
            most=limits.FEED_CHANGES,
            most_bytes=limits.BATCH_BYTES,
        )
        metrics.FED.inc(len(read.rows))
        return self.session.feed_read(partition, after, read.upto, read.rows, read.more)

    async def _save_cursor(self, partition: str, upto: int) -> None:
        node = self.session.node.id
        try:
            await self._tenant.notes.write(marks={f"down:{node}:{partition}": upto})
        except BeiraError as error:
            log.info("sync.cursor_lost", node=node, why=error.message)

    def _save_status(self, fields: dict[str, object]) -> None:
        """One after the other; of those that come meanwhile only the last is kept."""
        if self._status is None:
            self._later.start(self._save_statuses())
        self._status = fields

    async def _save_statuses(self) -> None:
        while self._status is not None:
            fields = self._status
            await self._standing.told(fields)
            if self._status is fields:
                self._status = None

    def _now_ms(self) -> int:
        return self._host.clock.now_ms(self._host.wall.now_ms())

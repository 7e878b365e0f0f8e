"""The cloud's half of sync: drives a `GateSession` for each connected node.

It holds nothing a replica could not take over: lanes, cursors and feeds are in the database, and a
node that is cut off comes back to any replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from beira.host import tracing
from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import Principal, partitions
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
from beira.sync.beside import Beside
from beira.sync.commits import has_room, joined, one_lane
from beira.sync.doorway import Doorway
from beira.sync.hearing import Hearing
from beira.sync.inspect import compare, read_buckets
from beira.sync.notes import Notes
from beira.sync.set_aside import losses_told, lost_value, quarantined
from beira.sync.standing import Standing
from beira.sync.streams import FLOOR_MARK, feed_route, feed_stream

log = structlog.get_logger(__name__)
COMMITS_IN_FLIGHT = 2
"""While the database is at one commit of a lane, the next is made ready. No other lane overtakes."""
Sender = Callable[[list[Wire]], Awaitable[None]]
Still = Callable[[], Awaitable[object]]
"""Asks again whether a node may still be here; raises as identity does when it may not."""


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
        self._notes: dict[str, Notes] = {}
        self._hearing: dict[str, Hearing] = {}
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
        notes = self._notes.get(node.tenant)
        if notes is None or notes.store is not host.store:
            notes = self._notes[node.tenant] = Notes(host.store)
        renew, hearing = self._renew_epoch, self._hearing_of(host)
        conversation = Conversation(
            host, session, self._tickets, send, renew, notes, hearing, self.doorway, still
        )
        self._live.setdefault((node.tenant, node.id), set()).add(conversation)
        metrics.CONNECTIONS.set(len(self._live))
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

        unsubscribe = self._hearing_of(host).listen(granted, heard)
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

    def _hearing_of(self, host: Host) -> Hearing:
        """What tells the tenant's nodes here of news."""
        hearing = self._hearing.get(host.place.tenant)
        if hearing is None or hearing.store is not host.store:
            hearing = self._hearing[host.place.tenant] = Hearing(host.store)
        return hearing

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


class Conversation:
    """One node's connection: carries out what its session decides, in order."""

    def __init__(
        self,
        host: Host,
        session: GateSession,
        tickets: Tickets,
        send: Sender,
        renew_epoch: Callable[[str, str], Awaitable[str]],
        notes: Notes,
        hearing: Hearing,
        doorway: Doorway,
        still: Still | None = None,
    ) -> None:
        self.session = session
        self.ended = asyncio.Event()
        self._host = host
        self._tickets = tickets
        self._send = send
        self._renew_epoch = renew_epoch
        self._route = feed_route(host.store.registry)
        self._news: set[str] | None = set()
        self._events = asyncio.Event()
        self._inbox: list[Wire] = []
        self._room = asyncio.Event()
        self._room.set()
        self._still = still
        self._cut: BeiraError | None = None
        self._commits = Beside(self._failed)
        self._later = Beside(self._failed)
        self._notes = notes
        self._hearing = hearing
        self._doorway = doorway
        self._status: dict[str, object] | None = None
        self._standing = Standing(host, session.node, notes)
        self._lane: Lane | None = None
        self._up = f"up:{session.node.id}:"
        self._lanes = LaneMarks(self._up, {})

    def hear(self, messages: Iterable[Wire]) -> None:
        """Messages came; `run` deals with them. The link must await `room` before it reads on."""
        self._inbox.extend(messages)
        if len(self._inbox) >= 2 * limits.PUSHES_IN_FLIGHT:
            self._room.clear()
        self._events.set()

    async def room(self) -> None:
        """Wait until the messages heard are few, so that a fast node is slowed down by its link."""
        await self._room.wait()

    def heard_news(self, changed: frozenset[str] | None) -> None:
        """Partitions have changed (None: any may have); their feeds are looked at."""
        if changed is None:
            self._news = None
        elif self._news is not None:
            self._news |= changed
        self._events.set()

    async def recheck(self) -> None:
        """End the conversation if the node may no longer be here."""
        try:
            if self._still is not None:
                await self._still()
        except (Unauthenticated, Denied) as error:
            self._cut = error
            self._events.set()
        except BeiraError as error:
            log.warning("sync.not_rechecked", node=self.session.node.id, why=error.message)

    def subscribe(self) -> Callable[[], None]:
        """Hear of the node's partitions until the returned function is called."""
        return self._hearing.listen(partitions(self.session.node) or (), self.heard_news)

    async def events(self) -> None:
        """Wait until there is something for `step` to deal with."""
        await self._events.wait()
        self._events.clear()

    async def run(self) -> None:
        """Serve until the node goes silent, the session ends, or the task is cancelled."""
        unsubscribe = self.subscribe()
        try:
            while not self.ended.is_set():
                async with asyncio.timeout(limits.SILENCE_TIMEOUT_S):
                    await self.events()
                await self.step()
        except TimeoutError:
            await self.perform(self.session.refuse("sync.silent", "Nothing was heard.", retry=True))
        finally:
            unsubscribe()
            await self._commits.stop()
            await self._later.stop()

    async def step(self) -> None:
        """Deal with what has come in so far."""
        if self._cut is not None:
            await self.perform(self.session.refuse_with(self._cut))
            return
        while self._inbox and not self.ended.is_set():
            message = self._inbox.pop(0)
            actions = self.session.received(message, self._now_ms())
            while len(self._inbox) and has_room(actions) and isinstance(self._inbox[0], Push):
                actions += self.session.received(self._inbox.pop(0), self._now_ms())
                actions = joined(actions)
            self._room.set()
            lane = one_lane(actions)
            if lane is not None:
                await self._commits.room(COMMITS_IN_FLIGHT if lane == self._lane else 1)
                self._lane = lane
                self._commits.start(self.perform(actions))
            else:
                await self.perform(actions)
        news, self._news = self._news, set()
        if self.session.live and (news is None or news):
            await self.perform(self.session.news(news))

    async def settled(self) -> None:
        """Wait until all that `step` began has been carried out."""
        await self._commits.room(1)
        await self._later.room(1)

    def _failed(self) -> None:
        self.ended.set()
        self._events.set()

    async def perform(self, actions: Sequence[Action]) -> None:
        """Carry out actions and what follows from them. A database that is away ends the session,
        and the node comes back later: nothing was acknowledged."""
        queue = list(actions)
        while queue and not self.ended.is_set():
            try:
                queue = [*await self._act(queue[0]), *queue[1:]]
            except BeiraError as error:
                log.warning(
                    "sync.gate_error", node=self.session.node.id, code=error.code, why=error.message
                )
                again = error.status >= 500 or error.code == "node.ticket_old"
                queue = list(self.session.refuse_with(error, retry=again))

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
                async with self._doorway.turn():
                    return await self._present(ticket, sure=sure)
            case ConfirmTicket(ticket):
                await self._tickets.confirm_ticket(node.tenant, node.id, ticket)
            case Commit():
                return await self._commit(action)
            case ReadFeed(partition, after):
                return await self._read_feed(partition, after)
            case Compare() | ReadBuckets():
                return await self._inspect(action)
            case SaveStatus(fields):
                self._save_status(fields)
            case SaveCursor(partition, upto):
                self._later.start(self._save_cursor(partition, upto))
            case Close():
                self.ended.set()
        return ()

    async def _present(self, ticket: int, *, sure: bool) -> Sequence[Action]:
        node = self.session.node
        given = await self._tickets.present_ticket(node.tenant, node.id, ticket, sure=sure)
        ends = await self._look()
        await self._look_for_older_copy(ends)
        return self.session.ticket_given(given, self._now_ms(), ends)

    async def _look(self) -> dict[str, int]:
        """Where the node's lanes and feeds are, read at once: much of what its coming costs. From
        before this on, news is heard."""
        up, granted = self._up, partitions(self.session.node) or ()
        names = {feed_stream(partition): partition for partition in granted}
        marks, ends = await self._host.store.look([up, FLOOR_MARK], list(names))
        self._set_lanes(marks)
        self.session.floors = {
            name.removeprefix(FLOOR_MARK): Floor(*value)
            for name, value in marks.items()
            if name.startswith(FLOOR_MARK)
        }
        return {names[stream]: last for stream, last in ends.items()}

    async def _inspect(self, action: Compare | ReadBuckets) -> Sequence[Action]:
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
                self.session.cloud = await self._renew_epoch(
                    self.session.node.tenant, self.session.cloud
                )
                return

    async def _commit(self, action: Commit) -> Sequence[Action]:
        refused = list(action.admitted.refused)
        rows: Sequence[Row] = action.admitted.rows
        node, lane = self.session.node.id, action.lane.name.lower()
        try:
            with tracing.committing(rows, node=node, lane=lane):
                await self._write(action, rows, refused)
        except Conflict as error:
            if error.code == "marks.moved":
                return await self._lane_moved(action.lane)
            rows, conflicting = await self._isolated(action.admitted.rows)
            refused += conflicting
            await self._write(action, rows, refused)
        metrics.COMMITTED.labels(lane).inc(len(action.admitted.rows))
        metrics.REFUSED.labels(lane).inc(len(refused))
        return self.session.committed(action.lane, action.upto, [why for _, why in refused])

    async def _write(
        self, action: Commit, rows: Sequence[Row], refused: list[tuple[Row, Refused]]
    ) -> None:
        node = self.session.node.id
        marks, expect = self._lanes.moved(action.lane, action.has, action.upto)
        if refused:
            rows = [*rows, *(quarantined(self._host, node, row, why) for row, why in refused)]
        rows = [*rows, *told] if (told := losses_told(rows)) else rows
        await self._host.store.commit(
            rows, route=self._route, marks=marks, expect=expect, dropped=self._dropped
        )

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
                await self._host.store.commit([row], route=self._route, dropped=self._dropped)
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

    async def _read_feed(self, partition: str, after: int) -> Sequence[Action]:
        read = await self._host.store.since(
            feed_stream(partition),
            after,
            whole=True,
            most=limits.BATCH_CHANGES,
            most_bytes=limits.BATCH_BYTES,
        )
        metrics.FED.inc(len(read.rows))
        return self.session.feed_read(partition, after, read.upto, read.rows, read.more)

    async def _save_cursor(self, partition: str, upto: int) -> None:
        node = self.session.node.id
        try:
            await self._notes.write(marks={f"down:{node}:{partition}": upto})
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

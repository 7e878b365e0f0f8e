"""A node's side of one connection: carries out what its `NodeSession` decides, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import structlog

from beira.host import tracing
from beira.host.host import OFFSET_MARK
from beira.kernel import limits
from beira.kernel.batch import Block, pack
from beira.kernel.clock import hlc_at, ms_of, tolerated
from beira.kernel.collection import Lane
from beira.kernel.digest import Sums
from beira.kernel.errors import BeiraError, Full
from beira.kernel.inspection import Inspected, Mend, Sum
from beira.kernel.lanes import Delivery
from beira.kernel.node_session import (
    Action,
    Apply,
    Close,
    NodeSession,
    Now,
    ReadLane,
    SaveTicket,
    Send,
    SetClock,
    Trim,
)
from beira.kernel.record import Row, Value
from beira.kernel.system import Quarantined
from beira.kernel.wire import Feed, Push, Refused, Wire
from beira.store.port import News
from beira.sync import metrics
from beira.sync.inspect import Mender, add_up
from beira.sync.node import losing
from beira.sync.node.inspections import Inspections
from beira.sync.node.link import Link
from beira.sync.node.marks import CLOUD_MARK, CURSOR_MARK, TICKET_MARK
from beira.sync.node.surroundings import Surroundings
from beira.sync.node.telling import Tellings, told
from beira.sync.streams import FLOOR_MARK, lane_stream, log_route

if TYPE_CHECKING:
    from beira.sync.node.agent import Agent

log = structlog.get_logger(__name__)
TICK_S = 1.0
ROOM_AGAIN_S = limits.ROOM_AGAIN_S


class Conversation:
    """One connection: carries out what its session decides, in order."""

    def __init__(self, agent: Agent, session: NodeSession, link: Link) -> None:
        self._agent = agent
        self._store = agent.store
        self._session = session
        self._link = link
        self._news = asyncio.Event()
        self._news.set()  # what was written while it connected is in no news
        self._closed: Close | None = None
        self._warned = False
        self._tellings = Tellings()
        self._trims = Trims(agent)
        self._pushes = tracing.pushes()
        self._full_since_s: float | None = None
        self._adding: asyncio.Task[dict[str, Sums]] | None = None
        self._surroundings = Surroundings(agent.host, agent.machine)
        self._inspections = Inspections(agent.host, agent.store)
        route = log_route(agent.store.registry)
        self._mender = Mender(agent.host, agent.store, route, agent.disguise)

    def heard_news(self, news: News) -> None:
        self._news.set()

    async def run(self) -> bool:
        """Talk until the link or the session ends. Returns whether it ever was live."""
        await self._adapt()
        await self._perform(self._session.opened(self._now()))
        receiving = asyncio.ensure_future(self._link.receive())
        wake = asyncio.ensure_future(self._news.wait())
        try:
            while self._closed is None:
                await asyncio.wait(
                    {receiving, wake, *([self._adding] if self._adding else ())},
                    timeout=TICK_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if receiving.done():
                    for message in receiving.result():
                        await self._received(message)
                    receiving = asyncio.ensure_future(self._link.receive())
                if wake.done():
                    self._news.clear()
                    wake = asyncio.ensure_future(self._news.wait())
                    await self._look_at_log()
                await self._adapt()
                await self._perform(self._session.tick(self._now()))
                await self._tell_status()
                await self._added_up()
                await self._inspect()
                self._look_for_room()
        finally:
            receiving.cancel()
            wake.cancel()
            if self._adding is not None:
                self._adding.cancel()
                await asyncio.wait({self._adding})
            self._pushes.cut()
            with suppress(BeiraError):  # the next welcome trims again; an end must stay an end
                await self._trims.done()
        self._agent.ended(self._closed, self._session.ticket)
        return self._session.live

    async def _perform(self, actions: Sequence[Action]) -> None:
        queue = list(actions)
        while queue and self._closed is None:
            queue = [*await self._act(queue[0]), *queue[1:]]
        state = self._agent.state
        metrics.CONNECTED.set(self._session.live)
        state.connected, state.skew_ms = self._session.live, self._session.skew_ms
        state.rtt_ms = self._session.link.rtt_ms

    async def _act(self, action: Action) -> Sequence[Action]:
        match action:
            case Send(message):
                await self._send(message)
            case ReadLane(lane, after, most_bytes):
                return await self._read_lane(lane, after, most_bytes)
            case Trim(lane, upto, refused):
                await self._trim(lane, upto, refused)
            case Apply(feed):
                return await self._apply(feed)
            case SaveTicket():
                return await self._save_ticket(action)
            case Sum() | Mend() | Inspected():
                return await self._compare(action)
            case SetClock(offset_ms, restamp):
                return await self._set_clock(offset_ms, restamp)
            case Close():
                self._closed = action
        return ()

    async def _save_ticket(self, action: SaveTicket) -> Sequence[Action]:
        """Keep what the welcome said. A cloud that has less than it had confirmed, or another
        database, is compared with all that is here as soon as nothing else is to do."""
        marks: dict[str, Value] = {TICKET_MARK: action.ticket, CLOUD_MARK: action.cloud}
        marks |= {f"{CURSOR_MARK}{partition}": 0 for partition in action.restart}
        marks |= {f"{FLOOR_MARK}{partition}": number for partition, number in action.floors.items()}
        doubtful = not self._warned and (self._session.cloud_behind or bool(action.restart))
        if doubtful:
            marks |= await self._inspections.doubt(self._session.partitions, action.restart)
        await self._store.commit([], marks=marks)
        if doubtful:
            self._warned = True
            log.warning(
                "sync.cloud_changed",
                behind=self._session.cloud_behind,
                restarted=sorted(action.restart),
                why="The cloud's database is another or an older one, or this node was away long.",
                hint="What differs is found by digests and put right; nothing unsent is touched.",
            )
        return self._session.ticket_saved(action.ticket)

    async def _compare(self, action: Sum | Mend | Inspected) -> Sequence[Action]:
        match action:
            case Sum(partition, since, buckets):
                self._adding = asyncio.ensure_future(
                    add_up(
                        self._store,
                        self._agent.host.place.node,
                        partition,
                        since,
                        buckets=buckets,
                        disguise=self._agent.disguise,
                    )
                )
            case Mend():
                count = await self._mender.mend(action, await self._inspections.refused())
                return self._session.mended(action.found, count, self._now())
            case Inspected():
                await self._inspections.done(action)
                self._agent.state.checked_ms = self._now_ms()
                self._agent.state.mended += action.mended
        return ()

    async def _inspect(self) -> None:
        """Compare a partition with the cloud, if one is due and nothing is on its way."""
        if self._session.calm and self._full_since_s is None:
            due = await self._inspections.due(self._session.partitions)
            if due is not None:
                await self._perform(
                    self._session.inspect(
                        due.partition,
                        due.since,
                        began_hlc=due.began_hlc,
                        horizon_hlc=due.horizon_hlc,
                        full=due.full,
                    )
                )

    async def _added_up(self) -> None:
        """Go on with a comparison once the sums it needs are there. A million rows take half a minute,
        and nothing that must be sent waits for them."""
        if self._adding is not None and self._adding.done():
            adding, self._adding = self._adding, None
            await self._perform(self._session.summed(adding.result(), self._now()))

    async def _send(self, message: Wire) -> None:
        size_bytes = await self._link.send([message])
        self._agent.state.bytes_sent += size_bytes
        metrics.SENT_BYTES.inc(size_bytes)

    async def _read_lane(self, lane: Lane, after: int, most_bytes: int) -> Sequence[Action]:
        read = await self._store.since(
            lane_stream(lane), after, most=limits.BATCH_CHANGES, most_bytes=most_bytes
        )
        rows = self._mine(read.rows)
        push = Push(lane=int(lane), after=after, upto=read.upto, groups=pack(rows))
        size_bytes = len(msgspec.msgpack.encode(push))
        self._agent.state.bytes_raw += size_bytes
        self._pushes.begun(lane.name.lower(), read.upto, rows)
        return self._session.lane_read(lane, after, read.upto, push, rows, size_bytes, self._now())

    def _mine(self, rows: Sequence[Row]) -> Sequence[Row]:
        """What this node itself wrote of them, as it leaves the node."""
        me, registry = self._agent.host.place.node, self._store.registry
        if isinstance(rows, Block) and all(
            group.nodes == [me] and not registry[group.collection].disguised
            for group in rows.groups
        ):
            return rows
        return tuple(row for row in map(self._own, rows) if row is not None)

    def _own(self, row: Row) -> Row | None:
        me = self._agent.host.place.node
        names = {name for name in row.fields if row.stamp_of(name).node == me}
        own = row if len(names) == len(row.fields) else row.only(names)
        return None if own is None else self._agent.disguise(own)

    async def _trim(self, lane: Lane, upto: int, refused: Sequence[Refused]) -> None:
        if refused:
            await self._keep_refused(refused)
        self._pushes.confirmed(lane.name.lower(), upto)
        await self._trims.ask(lane, upto)
        self._agent.state.last_sync_ms = self._now_ms()
        state = self._agent.state
        state.last_error = state.next_step = state.last_code = ""
        self._agent.deliveries = _sum(self._agent.deliveries, self._session.deliveries)

    async def _keep_refused(self, refused: Sequence[Refused]) -> None:
        host = self._agent.host
        async with host.writing() as ctx:
            for item in refused:
                log.error(
                    "sync.refused_record", collection=item.collection, id=item.id, code=item.code
                )
                ctx.put(
                    Quarantined(
                        node=host.place.node,
                        in_collection=item.collection,
                        record=item.id,
                        code=item.code,
                        message=item.message,
                        at=host.now(),
                    )
                )

    async def _received(self, message: Wire) -> None:
        if isinstance(message, Feed) and self._full_since_s is not None:
            await asyncio.sleep(TICK_S)  # over plain HTTP the cloud tells it at each exchange
            return
        await self._perform(self._session.received(message, self._now()))

    async def _apply(self, feed: Feed) -> Sequence[Action]:
        """Merge a feed. With the disk full it is left aside, and so are those behind it: what the node
        has to send goes on, and makes room."""
        try:
            await self._merge(feed.partition, Block(feed.groups), feed.upto)
        except Full as error:
            self._full_since_s = self._agent.host.wall.monotonic_s()
            self._agent.note(error)
            return ()
        return self._session.applied(feed.partition, feed.upto)

    def _look_for_room(self) -> None:
        """Begin anew, from the cursors on disk, some time after feeds had to be left aside."""
        since_s = self._full_since_s
        if since_s is not None and self._agent.host.wall.monotonic_s() - since_s > ROOM_AGAIN_S:
            self._closed = Close("disk.full", "The feeds left aside are asked for again.", "", True)

    async def _merge(self, partition: str, rows: Block, upto: int) -> None:
        registry = self._store.registry
        known = Block([group for group in rows.groups if group.collection in registry])
        host, marks = self._agent.host, {f"{CURSOR_MARK}{partition}": upto}
        await losing.merge(host, self._store, known, marks)
        if any(group.collection == "sites" for group in known.groups):
            await self._agent.host.refresh_place()

    async def _set_clock(self, offset_ms: int, restamp: bool) -> Sequence[Action]:
        host = self._agent.host
        host.clock.offset_ms += offset_ms
        log.warning("clock.skewed", offset_ms=host.clock.offset_ms)
        await self._store.commit([], marks={OFFSET_MARK: host.clock.offset_ms})
        if not restamp:
            return ()
        ceiling = hlc_at(self._now_ms())
        async with host.clock_coming_down():
            lanes = [lane_stream(x) for x in Lane]
            floor = self._session.pushed_hlc
            last = await self._store.restamp(lanes, host.place.node, ceiling, floor)
            if ms_of(host.clock.last) > self._now_ms() + limits.DRIFT_MS:
                seen = min(host.clock.seen, tolerated(ceiling))
                host.clock.last = max(last, ceiling, seen)
        return self._session.restamped()

    async def _look_at_log(self) -> None:
        for lane in sorted(Lane, reverse=True):
            end = await self._store.end(lane_stream(lane))
            await self._perform(self._session.wrote(lane, end, self._now()))

    async def _adapt(self) -> None:
        """Heed the calendar, the battery and the price of the link."""
        found = await self._surroundings.changed()
        if found is not None:
            self._session.adapt(found)
            state = self._agent.state
            state.held = sorted(lane.name.lower() for lane in found.held)
            state.share = found.share
            state.metered, state.low_battery = found.metered, found.low_battery

    async def _tell_status(self) -> None:
        now_s = self._agent.host.wall.monotonic_s()
        if self._session.live and self._tellings.due(now_s):
            fields = await told(self._agent, self._session, self._link.name)
            if self._tellings.is_news(fields, now_s):
                await self._perform(self._session.status(fields))

    def _now_ms(self) -> int:
        return self._agent.now_ms()

    def _now(self) -> Now:
        host = self._agent.host
        return Now(int(host.wall.monotonic_s() * 1000), self._now_ms(), ms_of(host.clock.last))


class Trims:
    """Trims the log beside the conversation, which need not wait for the disk: of several confirmed
    meanwhile only the last counts. What is left undone, the next welcome asks for again."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._wanted: dict[Lane, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, lane: Lane, upto: int) -> None:
        """Trim a lane soon. Raises what the trim before raised."""
        self._wanted[lane] = upto
        if self._task is None or self._task.done():
            await self.done()
            self._task = asyncio.ensure_future(self._trim())

    async def done(self) -> None:
        """Wait until all asked for is done. Raises what that raised."""
        task, self._task = self._task, None
        if task is not None:
            await task

    async def _trim(self) -> None:
        while self._wanted:
            lane, upto = self._wanted.popitem()
            marks = {f"acked:{int(lane)}": upto, **self._agent.acknowledged()}
            await self._agent.store.trim(lane_stream(lane), upto, marks=marks)


def _sum(total: dict[Lane, Delivery], fresh: dict[Lane, Delivery]) -> dict[Lane, Delivery]:
    """Move what a session counted into the node's total."""
    for lane, delivery in fresh.items():
        metrics.BATCHES.labels(lane.name.lower(), "yes").inc(delivery.met)
        metrics.BATCHES.labels(lane.name.lower(), "no").inc(delivery.late)
        total[lane].met += delivery.met
        total[lane].late += delivery.late
        delivery.met = delivery.late = 0
    return total

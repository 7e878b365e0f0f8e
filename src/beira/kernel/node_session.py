"""The node's half of sync, without I/O: events in, actions out.

One object drives one connection, be it a WebSocket, plain HTTP or the simulator's link. Its driver
tells it what happened (a message came, a batch was read, time passed) and carries out what it
answers. What the session believes is rebuilt from the store at each connection, so it may be thrown
away at any moment (law 2): a change leaves the log only by `Trim`, and that follows an `Ack`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from beira.kernel import limits
from beira.kernel.batch import newest_hlc, oldest_hlc
from beira.kernel.clock import hlc_at, ms_of, tolerated
from beira.kernel.collection import Lane
from beira.kernel.digest import Sums
from beira.kernel.inspection import Ask, Inspected, Inspector, Mend, Step, Sum
from beira.kernel.lanes import Delivery, LaneState, Sent, flight_of
from beira.kernel.policy import Conditions, Link, measured, plan, rest_ms
from beira.kernel.record import Row
from beira.kernel.wire import (
    CAN,
    PROTOCOL,
    Ack,
    Ahead,
    Bye,
    Checked,
    Confirm,
    Feed,
    Found,
    Gap,
    Got,
    Hello,
    Ping,
    Pong,
    Push,
    Refused,
    Status,
    Welcome,
    Wire,
)


class Now(NamedTuple):
    """Times in ms: a steady one for waits, the corrected wall time, which may jump, and that of the
    newest stamp given, which stays ahead after a wall that jumped forth and back."""

    steady_ms: int
    wall_ms: int
    newest_ms: int


@dataclass(frozen=True, slots=True)
class Send:
    """Put the message on the link."""

    message: Wire


@dataclass(frozen=True, slots=True)
class SaveTicket:
    """Make the ticket durable, then call `ticket_saved`. The cursors of partitions in `restart` go
    back to 0 with it, and their horizons (see `Welcome`) are kept until they are inspected. `floors`
    are kept too."""

    ticket: int
    cloud: str
    restart: Mapping[str, int] = field(default_factory=dict)
    floors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetClock:
    """The machine's clock is off by `offset_ms` (cloud minus node). With `restamp`, bring unsent
    stamps down first, though not to `pushed_hlc` of the session, then call `restamped`."""

    offset_ms: int
    restamp: bool


@dataclass(frozen=True, slots=True)
class ReadLane:
    """Read the lane's log after `after`, then call `lane_read`."""

    lane: Lane
    after: int
    most_bytes: int


@dataclass(frozen=True, slots=True)
class Trim:
    """The cloud has the lane up to `upto`: forget it from the log, and keep what was refused."""

    lane: Lane
    upto: int
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class Apply:
    """Merge a feed and move its cursor, in one transaction, then call `applied`."""

    feed: Feed


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection. Without `retry` the driver must not connect again by itself."""

    code: str
    message: str
    hint: str
    retry: bool


Action: TypeAlias = (
    Send | SaveTicket | SetClock | ReadLane | Trim | Apply | Sum | Mend | Inspected | Close
)


_CLOCK_MOVED = Close("clock.jumped", "The clock jumped: its skew is measured anew.", "", True)
_CLOUD_CHANGED = Close("sync.cloud_changed", "The cloud's feeds begin anew.", "", True)


class NodeSession:
    """One connection of a node.

    `cursors` are how far each partition's feed is on disk, `floors` what the cloud had forgotten when
    each began (`Welcome`), `acked` how far each lane was trimmed,
    `written` the last number of each lane's log, `runs` as in `kernel.runs`. `pushed_hlc` is the
    greatest stamp number of its own that the cloud has or may yet get. `sure`: the cloud has called
    this ticket an old one.
    """

    def __init__(
        self,
        *,
        release: str,
        ticket: int,
        cloud: str,
        cursors: Mapping[str, int],
        acked: Mapping[Lane, int],
        written: Mapping[Lane, int],
        floors: Mapping[str, int] | None = None,
        runs: Sequence[int] = (),
        pushed_hlc: int = 0,
        sure: bool = False,
        link: Link | None = None,
    ) -> None:
        self.release = release
        self.ticket = ticket
        self.cloud = cloud
        self.cursors = dict(cursors)
        self.floors = dict(floors or {})
        self.runs = list(runs)
        self.pushed_hlc = pushed_hlc
        self.sure = sure
        self.lanes = {
            lane: LaneState(
                written=written.get(lane, 0), sent=acked.get(lane, 0), acked=acked.get(lane, 0)
            )
            for lane in Lane
        }
        self.link = link or Link()
        self.live = False
        self.partitions: list[str] = []
        self.deliveries = {lane: Delivery() for lane in Lane}
        self.skew_ms = 0
        self.cloud_behind = False
        self._heard_ms = 0
        self._pinged_ms = 0
        self._opened = Now(0, 0, 0)
        self._cloud_ahead_ms = 0
        self._held_back = False
        self._conditions = Conditions()
        self._resting_until_ms = 0.0
        self._steady_ms = 0
        self._feeding: set[str] = set()
        self._inspector = Inspector()
        self._cloud_compares = False

    @property
    def calm(self) -> bool:
        """Whether all that is known has arrived on both sides, and the cloud can compare."""
        drained = all(s.written <= s.acked and not s.reading for s in self.lanes.values())
        return (
            self.live
            and self._cloud_compares
            and not self._held_back
            and drained
            and not self._feeding
            and not self._inspector.busy
        )

    def opened(self, now: Now) -> list[Action]:
        """The link is up: present the node."""
        self._opened = now
        self._steady_ms = self._heard_ms = self._pinged_ms = now.steady_ms
        return [Send(self.hello(now.wall_ms))]

    def hello(self, wall_ms: int) -> Hello:
        """What presents this node. A link without memory (HTTP) sends it with each request."""
        return Hello(
            protocol=PROTOCOL,
            release=self.release,
            ticket=self.ticket,
            clock_ms=wall_ms,
            cursors=self.cursors,
            cloud=self.cloud,
            can=CAN,
            sure=self.sure,
            logs=self.runs,
            acked={int(lane): state.acked for lane, state in self.lanes.items() if state.acked},
            floors={p: n for p, n in self.floors.items() if 0 < self.cursors.get(p, 0) < n},
        )

    def received(self, message: Wire, now: Now) -> list[Action]:
        """A message came from the cloud."""
        self._steady_ms = self._heard_ms = now.steady_ms
        if self._clock_moved(now):
            return [_CLOCK_MOVED]
        match message:
            case Welcome():
                return self._welcomed(message, now)
            case Ack():
                return self._acknowledged(message, now)
            case Gap():
                return self._gap(message)
            case Ahead():
                return self._hold_back(message.clock_ms, now.wall_ms)
            case Feed():
                return self._fed(message)
            case Checked() | Found():
                return self._inspected(message, now)
            case Pong():
                self.link = measured(self.link, rtt_ms=now.steady_ms - message.sent_ms)
                return []
            case Bye():
                return [Close(message.code, message.message, message.hint, message.retry)]
            case _:
                return [
                    Close("sync.unexpected", f"The cloud sent {type(message).__name__}.", "", True)
                ]

    def wrote(self, lane: Lane, number: int, now: Now) -> list[Action]:
        """The log of a lane has grown to `number`."""
        self._steady_ms = now.steady_ms
        self.lanes[lane].grown(number, now.steady_ms)
        return self._next()

    def adapt(self, conditions: Conditions) -> None:
        """The calendar, the battery or the price of the link are different from now on."""
        self._conditions = conditions

    def lane_read(
        self,
        lane: Lane,
        after: int,
        upto: int,
        push: Push,
        rows: Sequence[Row],
        size_bytes: int,
        now: Now,
    ) -> list[Action]:
        """The batch asked for was read: `push` carries it, encoded in `size_bytes`."""
        self._steady_ms = now.steady_ms
        state = self.lanes[lane]
        state.reading = False
        if after != state.sent or not self.live or self._held_back:
            return self._next()
        state.sent = upto
        if upto == after:
            state.written = min(state.written, upto)
            return self._next()
        newest = newest_hlc(rows)
        if newest <= tolerated(hlc_at(now.steady_ms + self._cloud_ahead_ms)):
            self.pushed_hlc = max(self.pushed_hlc, newest)
        oldest_ms = ms_of(oldest_hlc(rows)) if rows else now.wall_ms
        due_from_ms = max(oldest_ms, self._opened.wall_ms)
        state.flying.append(Sent(upto, now.steady_ms, size_bytes, due_from_ms))
        state.waiting_since_ms = now.steady_ms
        if lane is not Lane.CRITICAL:
            rest = rest_ms(size_bytes, self.link, self._conditions)
            self._resting_until_ms = now.steady_ms + rest
        return [Send(push), *self._next()]

    def applied(self, partition: str, upto: int) -> list[Action]:
        """A feed is on disk."""
        self.cursors[partition] = max(upto, self.cursors.get(partition, 0))
        return [Send(Got(partition=partition, upto=upto))]

    def ticket_saved(self, ticket: int) -> list[Action]:
        """The new ticket is on disk."""
        self.ticket, self.sure = ticket, False
        return [Send(Confirm(ticket=ticket))]

    def restamped(self) -> list[Action]:
        """Unsent stamps were brought down: push again from what was acknowledged."""
        self._held_back = False
        return self._next()

    def tick(self, now: Now) -> list[Action]:
        """Time passed: notice a silent link or a clock that jumped, and keep a quiet link awake."""
        self._steady_ms = now.steady_ms
        silent_s = (now.steady_ms - self._heard_ms) / 1000
        if not self.live and now.steady_ms - self._opened.steady_ms > limits.HELLO_TIMEOUT_S * 1000:
            return [Close("sync.no_welcome", "The cloud did not answer.", "", True)]
        if silent_s > limits.SILENCE_TIMEOUT_S:
            return [Close("sync.silent", f"Nothing was heard for {silent_s:.0f} s.", "", True)]
        if self._stalled(now.steady_ms):
            return [Close("sync.stalled", "Batches were sent and never acknowledged.", "", True)]
        if self._clock_moved(now):
            return [_CLOCK_MOVED]
        self._inspector.overdue(now.steady_ms)
        if self.live and now.steady_ms - self._pinged_ms >= limits.PING_EVERY_S * 1000:
            self._pinged_ms = now.steady_ms
            return [Send(Ping(sent_ms=now.steady_ms)), *self._next()]
        return self._next()

    def status(self, fields: dict[str, object]) -> list[Action]:
        """Tell the cloud how the node is."""
        return [Send(Status(fields=fields))] if self.live else []

    def inspect(
        self,
        partition: str,
        since: Mapping[str, int],
        *,
        began_hlc: int,
        horizon_hlc: int,
        full: bool,
    ) -> list[Action]:
        """Compare a partition with the cloud; see `Inspector.begin`."""
        begun = self._inspector.begin(
            partition, since, began_hlc=began_hlc, horizon_hlc=horizon_hlc, full=full
        )
        return _actions(begun)

    def summed(self, sums: Mapping[str, Sums], now: Now) -> list[Action]:
        """The sums an inspection asked for."""
        return _actions(self._inspector.summed(sums, now.steady_ms))

    def mended(self, found: Found, count: int, now: Now) -> list[Action]:
        """A page that an inspection brought is merged; `count` rows were put right."""
        return _actions(self._inspector.mended(found, count, now.steady_ms))

    def _inspected(self, message: Checked | Found, now: Now) -> list[Action]:
        if isinstance(message, Found):
            return _actions(self._inspector.found(message))
        return _actions(self._inspector.checked(message, now.steady_ms))

    def _welcomed(self, message: Welcome, now: Now) -> list[Action]:
        if self.live and (message.cloud != self.cloud or message.restart):  # as over HTTP, where
            return [SaveTicket(message.ticket, self.cloud), _CLOUD_CHANGED]  # each exchange has one
        self.cursors.update(dict.fromkeys(message.restart, 0))
        begins = [p for p in message.partitions if not self.cursors.get(p)]
        told = {p: message.floors.get(p, 0) for p in begins}
        floors = {p: n for p, n in told.items() if n != self.floors.get(p, 0)}
        self.floors |= floors
        actions: list[Action] = [SaveTicket(message.ticket, message.cloud, message.restart, floors)]
        self.partitions = message.partitions
        self.cloud = message.cloud
        self._cloud_compares = "check" in message.can
        self._cloud_ahead_ms = message.clock_ms - now.steady_ms
        self.pushed_hlc = max(self.pushed_hlc, message.pushed)
        first = not self.live
        self.live = True
        if first:
            self.link = measured(self.link, rtt_ms=now.steady_ms - self._opened.steady_ms)
        for lane, state in self.lanes.items():
            has = message.acked.get(int(lane), 0)
            self.cloud_behind = self.cloud_behind or has < state.acked
            if has > state.acked:
                actions.append(Trim(lane, has))
                state.acked = has
                state.sent = max(state.sent, has)
            if first:
                state.sent = has
        travel_ms = (now.steady_ms - self._opened.steady_ms) / 2 if first else 0
        self.skew_ms = round(message.clock_ms + travel_ms - now.wall_ms)
        if (
            abs(self.skew_ms) > limits.DRIFT_MS
            or now.newest_ms > message.clock_ms + limits.DRIFT_MS
        ):
            return actions + self._hold_back(message.clock_ms, now.wall_ms)
        return actions + self._next()

    def _acknowledged(self, message: Ack, now: Now) -> list[Action]:
        lane = Lane(message.lane)
        state = self.lanes[lane]
        for sent in [s for s in state.flying if s.upto <= message.upto]:
            state.flying.remove(sent)
            self._measure(lane, sent, now)
        if message.upto <= state.acked and not message.refused:
            return self._next()
        state.acked = max(state.acked, message.upto)
        state.sent = max(state.sent, state.acked)
        return [Trim(lane, state.acked, tuple(message.refused)), *self._next()]

    def _measure(self, lane: Lane, sent: Sent, now: Now) -> None:
        took_ms = max(now.steady_ms - sent.sent_ms, 1)
        rtt_ms = self.link.rtt_ms or 0
        if sent.size_bytes >= 4_096 and took_ms > 2 * rtt_ms:
            rate = sent.size_bytes * 1000 / (took_ms - rtt_ms)
            self.link = measured(self.link, bytes_per_s=rate)
        late = now.wall_ms - sent.due_from_ms > lane.deadline_s * 1000
        delivery = self.deliveries[lane]
        delivery.late += late
        delivery.met += not late

    def _gap(self, message: Gap) -> list[Action]:
        state = self.lanes[Lane(message.lane)]
        state.flying.clear()
        state.sent = message.has
        return self._next()

    def _hold_back(self, clock_ms: int, wall_ms: int) -> list[Action]:
        """Push nothing until unsent stamps no longer lie in the cloud's future (law 10)."""
        self._held_back = True
        self._opened = self._opened._replace(wall_ms=self._opened.wall_ms + clock_ms - wall_ms)
        for state in self.lanes.values():
            state.flying.clear()
            state.sent = state.acked
        return [SetClock(offset_ms=clock_ms - wall_ms, restamp=True)]

    def _fed(self, message: Feed) -> list[Action]:
        have = self.cursors.get(message.partition, 0)
        if message.after > have:
            return [Close("sync.feed_gap", f"{message.partition} skipped from {have}.", "", True)]
        (self._feeding.add if message.more else self._feeding.discard)(message.partition)
        return [Apply(message)]

    def _next(self) -> list[Action]:
        """Read the next batch, of the most urgent lane. Lower lanes wait while a higher one is being
        read: only then is it known whether it has more."""
        if not self.live or self._held_back:
            return []
        backlogs = {}
        for lane in sorted(Lane, reverse=True):
            if self.lanes[lane].reading:
                break
            backlogs[lane] = self.lanes[lane].backlog(self._steady_ms)
        rested = self._steady_ms >= self._resting_until_ms
        flight = flight_of(self.lanes.values(), rested=rested)
        choice = plan(backlogs, self.link, flight, self._conditions)
        if choice is None:
            return []
        state = self.lanes[choice.lane]
        state.reading = True
        return [ReadLane(choice.lane, state.sent, choice.most_bytes)]

    def _clock_moved(self, now: Now) -> bool:
        """Whether the clock is no longer what was measured at the start. No feed may be merged then:
        a value of ours with a stamp too high would win, and lose again once it is brought down."""
        if not self.live or self._held_back:
            return False
        wall_ms = now.wall_ms - self._opened.wall_ms
        steady_ms = now.steady_ms - self._opened.steady_ms
        ahead_ms = now.newest_ms - now.wall_ms
        return max(abs(wall_ms - steady_ms), ahead_ms) > limits.DRIFT_MS

    def _stalled(self, steady_ms: int) -> bool:
        flying = [state.flying[0].sent_ms for state in self.lanes.values() if state.flying]
        return (steady_ms - min(flying, default=steady_ms)) / 1000 > limits.STALL_TIMEOUT_S


def _actions(steps: list[Step]) -> list[Action]:
    return [Send(step.message) if isinstance(step, Ask) else step for step in steps]

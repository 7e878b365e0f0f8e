"""The cloud's half of sync, without I/O: one object a connection, or a request over plain HTTP.

It decides what is acknowledged, refused or asked again; the driver commits, reads feeds and sends.
`Ack` follows `committed`, which the driver calls after the transaction is on disk (law 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from beira.kernel import limits
from beira.kernel.access import Principal, partitions
from beira.kernel.admit import Admitted, admit, without_echoes
from beira.kernel.batch import Block, newest_hlc, pack
from beira.kernel.clock import hlc_at, tolerated
from beira.kernel.collection import Lane, Registry
from beira.kernel.contest import Contest, is_conflict
from beira.kernel.errors import BeiraError
from beira.kernel.record import Row
from beira.kernel.wire import (
    CAN,
    PROTOCOL,
    Ack,
    Ahead,
    Bye,
    Check,
    Checked,
    Confirm,
    Feed,
    Fetch,
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


@dataclass(frozen=True, slots=True)
class Send:
    """Put the message on the link."""

    message: Wire


@dataclass(frozen=True, slots=True)
class PresentTicket:
    """Ask who holds this node's ticket, then call `ticket_given` (or `refuse`)."""

    ticket: int
    sure: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmTicket:
    """The node has its new ticket on disk."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Merge the admitted rows, keep the refused ones in quarantine and move the lane from `has` to
    `upto`, in one transaction; then call `committed` (or `lane_moved`). `newest_hlc` is the greatest
    stamp number pushed."""

    lane: Lane
    has: int
    upto: int
    admitted: Admitted
    newest_hlc: int


@dataclass(frozen=True, slots=True)
class ReadFeed:
    """Read the partition's feed after `after`, then call `feed_read`."""

    partition: str
    after: int


@dataclass(frozen=True, slots=True)
class Compare:
    """Add up the same rows and call `compared`."""

    check: Check


@dataclass(frozen=True, slots=True)
class ReadBuckets:
    """Read the rows asked for and call `buckets_read`."""

    fetch: Fetch


@dataclass(frozen=True, slots=True)
class SaveStatus:
    """Keep how the node says it is."""

    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class SaveCursor:
    """The node has the partition's feed up to `upto`."""

    partition: str
    upto: int


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection, once what was sent before is out."""


Action: TypeAlias = (
    Send
    | PresentTicket
    | ConfirmTicket
    | Commit
    | ReadFeed
    | Compare
    | ReadBuckets
    | SaveStatus
    | SaveCursor
    | Close
)


@dataclass(slots=True)
class FeedState:
    """One partition: sent up to, acknowledged up to, whether being read, whether there is news. A
    `fresh` node is told all, its own writes too, until it has heard all there is."""

    sent: int = 0
    got: int = 0
    reading: bool = False
    stale: bool = True
    flying: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Floor:
    """What was forgotten of a partition's deletions: those up to `number` of its feed, of rows
    written before `horizon_hlc`."""

    number: int = 0
    horizon_hlc: int = 0


class GateSession:
    """One connection of `node`. `acked` is how far the cloud has each of its lanes, `pushed_hlc` the
    greatest stamp number it was pushed, `floors` what deletions it has forgotten."""

    def __init__(
        self,
        *,
        node: Principal,
        registry: Registry,
        release: str,
        cloud: str,
        acked: Mapping[Lane, int],
        floors: Mapping[str, Floor] | None = None,
    ) -> None:
        self.node = node
        self.registry = registry
        self.release = release
        self.cloud = cloud
        self.acked = {lane: acked.get(lane, 0) for lane in Lane}
        self.pushed_hlc = 0
        self.floors = floors or {}
        self.feeds: dict[str, FeedState] = {}
        self.hello: Hello | None = None
        self.live = False
        self._committing: dict[Lane, int] = {}

    def received(self, message: Wire, now_ms: int) -> list[Action]:
        """A message came from the node."""
        if isinstance(message, Hello):
            return self._greeted(message)
        if not self.live:
            return self.refuse("sync.no_hello", "A session begins with hello.", retry=True)
        match message:
            case Confirm():
                return [ConfirmTicket(message.ticket)]
            case Push():
                return self._pushed(message, now_ms)
            case Got():
                return self._got(message)
            case Check() | Fetch():
                return self._asked(message)
            case Status():
                return [SaveStatus(message.fields)]
            case Ping():
                return [Send(Pong(sent_ms=message.sent_ms, clock_ms=now_ms))]
            case _:
                return self.refuse("sync.unexpected", f"A node sends no {type(message).__name__}.")

    def ticket_given(
        self, ticket: int, now_ms: int, ends: Mapping[str, int] | None = None
    ) -> list[Action]:
        """The node is the only one of its name: welcome it, and feed it from its cursors. `ends` says
        where partitions' feeds end, of a moment since which news would be heard: one that the node
        has whole is not read."""
        assert self.hello is not None
        self.live = True
        granted = sorted(partitions(self.node) or ())
        restart = self._restarting(granted, self.hello)
        for partition in granted:
            cursor = 0 if partition in restart else self.hello.cursors.get(partition, 0)
            stale = ends is None or cursor < ends.get(partition, cursor + 1)
            self.feeds[partition] = FeedState(
                sent=cursor, got=cursor, fresh=cursor == 0, stale=stale
            )
        welcome = Welcome(
            protocol=PROTOCOL,
            release=self.release,
            ticket=ticket,
            clock_ms=now_ms,
            cloud=self.cloud,
            acked={int(lane): has for lane, has in self.acked.items()},
            pushed=self.pushed_hlc,
            partitions=granted,
            restart=restart,
            floors={
                partition: floor.number
                for partition, floor in self.floors.items()
                if partition in self.feeds and self.feeds[partition].fresh
            },
            can=CAN,
        )
        return [Send(welcome), *self._feed()]

    def compared(self, partition: str, differ: Mapping[str, list[int]]) -> list[Action]:
        """The sums are compared."""
        return [Send(Checked(partition=partition, differ=dict(differ)))]

    def buckets_read(
        self, fetch: Fetch, rows: Iterable[Row], upto: tuple[int, str], *, more: bool
    ) -> list[Action]:
        """The rows asked for were read."""
        found = Found(
            partition=fetch.partition,
            collection=fetch.collection,
            upto=upto,
            groups=pack(rows),
            more=more,
        )
        return [Send(found)]

    def committed(self, lane: Lane, upto: int, refused: Iterable[Refused]) -> list[Action]:
        """A push is on disk; others of the lane may still be on their way."""
        if self._committing.get(lane, 0) <= upto:
            self._committing.pop(lane, None)
        self.acked[lane] = max(self.acked[lane], upto)
        return [Send(Ack(lane=int(lane), upto=self.acked[lane], refused=list(refused)))]

    def conflicts(self, contests: Iterable[Contest]) -> list[Contest]:
        """Which of the contests a push met were conflicts, and no ordinary changes. (Of what never
        leaves the cloud it may meet the conflicts themselves, found twice.)"""
        nothing = FeedState()
        return [
            contest
            for contest in contests
            if self.registry[contest.collection].goes_up
            and is_conflict(contest, self.feeds.get(contest.partition, nothing).got)
        ]

    def lane_moved(self, lane: Lane, has: int) -> list[Action]:
        """Another connection of this node has moved the lane meanwhile: say where it is."""
        self._committing.pop(lane, None)
        self.acked[lane] = has
        return [Send(Gap(lane=int(lane), has=has))]

    def news(self, changed: Iterable[str] | None) -> list[Action]:
        """Partitions have changed (None: look at all)."""
        for partition in self.feeds if changed is None else changed:
            if partition in self.feeds:
                self.feeds[partition].stale = True
        return self._feed()

    def feed_read(
        self, partition: str, after: int, upto: int, rows: Sequence[Row], more: bool
    ) -> list[Action]:
        """The feed asked for was read; what the node itself wrote is not sent back to it."""
        state = self.feeds[partition]
        state.reading = False
        state.stale = state.stale or more
        state.sent = upto
        groups = pack(rows if state.fresh else without_echoes(rows, self.node.id))
        state.fresh = state.fresh and more
        if upto == after:
            return self._feed()
        state.flying += 1
        feed = Feed(partition=partition, after=after, upto=upto, groups=groups, more=more)
        return [Send(feed), *self._feed()]

    def refuse(
        self, code: str, message: str, hint: str = "", *, retry: bool = False
    ) -> list[Action]:
        """End the session and say why."""
        self.live = False
        return [Send(Bye(code=code, message=message, hint=hint, retry=retry)), Close()]

    def refuse_with(self, error: BeiraError, *, retry: bool = False) -> list[Action]:
        return self.refuse(error.code, error.message, error.hint, retry=retry)

    def _greeted(self, message: Hello) -> list[Action]:
        if abs(message.protocol - PROTOCOL) > 1:
            return self.refuse(
                "sync.protocol",
                f"The node speaks protocol {message.protocol}, the cloud {PROTOCOL}.",
                "Update whichever is older; neighbouring releases understand each other.",
            )
        self.hello = message
        return [PresentTicket(message.ticket, message.sure)]

    def _restarting(self, granted: Iterable[str], hello: Hello) -> dict[str, int]:
        """Partitions whose cursor means nothing any more: it counts another database's feed, or
        deletions behind it are forgotten. One that begins anyway has nothing to be told, nor has one
        that began since and is on its way."""
        moved = bool(hello.cloud) and hello.cloud != self.cloud
        restart: dict[str, int] = {}
        for partition in granted:
            cursor, floor = hello.cursors.get(partition, 0), self.floors.get(partition, Floor())
            missed = cursor < floor.number != hello.floors.get(partition)
            if cursor and (missed or moved):
                restart[partition] = floor.horizon_hlc if missed else 0
        return restart

    def _asked(self, message: Check | Fetch) -> list[Action]:
        if message.partition not in self.feeds:
            return self.refuse("partition.denied", f"{message.partition} is not this node's.")
        return [Compare(message) if isinstance(message, Check) else ReadBuckets(message)]

    def _pushed(self, message: Push, now_ms: int) -> list[Action]:
        try:
            lane = Lane(message.lane)
            rows = Block(message.groups)
        except (ValueError, BeiraError) as error:
            return self.refuse("batch.corrupt", str(error), retry=True)
        has = self._committing.get(lane, self.acked[lane])
        if message.after > has or message.upto < message.after:
            return [Send(Gap(lane=int(lane), has=self.acked[lane]))]
        if message.upto <= self.acked[lane]:
            return [Send(Ack(lane=int(lane), upto=self.acked[lane]))]
        if len(rows) > limits.BATCH_CHANGES:
            return self.refuse(
                "batch.too_large", f"{len(rows)} rows; {limits.BATCH_CHANGES} at most."
            )
        newest = newest_hlc(rows)
        if newest > tolerated(hlc_at(now_ms)):
            return [Send(Ahead(lane=int(lane), clock_ms=now_ms))]
        self._committing[lane] = message.upto
        admitted = admit(rows, self.node, self.registry)
        return [Commit(lane, has, message.upto, admitted, newest)]

    def _got(self, message: Got) -> list[Action]:
        state = self.feeds.get(message.partition)
        if state is None:
            return self.refuse("partition.denied", f"{message.partition} was never sent.")
        state.flying = max(0, state.flying - 1)
        state.got = max(state.got, min(message.upto, state.sent))
        return [SaveCursor(message.partition, state.got), *self._feed()]

    def _feed(self) -> list[Action]:
        actions: list[Action] = []
        for partition, state in self.feeds.items():
            if state.stale and not state.reading and state.flying < limits.FEEDS_IN_FLIGHT:
                state.stale = False
                state.reading = True
                actions.append(ReadFeed(partition, state.sent))
        return actions

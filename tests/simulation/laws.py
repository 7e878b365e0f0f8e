"""The ten laws of docs/specs/sync.md, watched while a world lives and asked of it at its end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any

from beira.kernel import limits
from beira.kernel.access import partitions
from beira.kernel.batch import unpack
from beira.kernel.clock import ms_of
from beira.kernel.collection import Flow, Lane
from beira.kernel.record import Row, Value
from beira.kernel.wire import Ack, Confirm, Feed, Gap, Got, Hello, Push, Welcome, Wire
from beira.sync.streams import lane_stream

if TYPE_CHECKING:
    from tests.simulation.world import SimNode, World

Key = tuple[str, str]
FACTS = ("notes", "alarms", "logs", "visits")
REPLAYED = 40
WHOLE_EVERY = 15
"""What is asked of every row is asked so many times less often."""
SLACK_S = 3.0
"""What lines and disks of the world may add to a deadline, and news to a higher lane."""


@dataclass
class Written:
    """A write that a node confirmed, and when; `forbidden` once something excuses its being late."""

    node: SimNode
    key: Key
    lane: Lane
    at_s: float


@dataclass
class Line:
    """How far each lane went over a node's present link, as sent, and the cursors it began with."""

    sent: dict[int, int] = field(default_factory=dict)
    began: dict[str, int] | None = None


def _remembered(check: Callable[..., None]) -> Callable[..., None]:
    """What is asked in the midst of the product's own work is remembered when it fails: the product
    survives errors, and would log this one as any other."""

    @wraps(check)
    def checked(self: Witness, *args: Any) -> None:
        try:
            check(self, *args)
        except Exception as error:
            self._broken = self._broken or error
            raise

    return checked


class Witness:
    """Sees what is said, told and committed, and asserts what must hold at every moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.trail: list[tuple[str, int, int]] = []
        self.committed_rows: deque[Row] = deque(maxlen=REPLAYED)
        self.deadlines: Counter[tuple[Lane, bool]] = Counter()
        self.doubtful = False
        """The cloud lost what it had acknowledged; what it must hold now is asked at the end only."""
        self.gone: set[Key] = set()
        """Facts of which every durable copy was destroyed: no disk that runs has them."""
        self.values: dict[tuple[Key, str], list[Given]] = {}
        self.seen: dict[tuple[Key, str], set[Value]] = {}
        """Values that were on the disk of whoever wrote over them."""
        self._tickets: set[int] = set()
        self._broken: Exception | None = None
        self._watched = 0
        self._due: deque[Written] = deque()
        self._numbers: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        self._lines: dict[str, Line] = {}

    # What happens

    def wrote(self, written: Written) -> None:
        self._due.append(written)
        stream = written.node.store._streams[lane_stream(written.lane)]
        at = (written.node.place.node, int(written.lane))
        self._numbers.setdefault(at, deque(maxlen=2_000)).append((stream.last, written.at_s))

    @_remembered
    def said(self, node: str, messages: Sequence[Wire]) -> None:
        for message in messages:
            match message:
                case Hello():
                    self._lines[node] = Line(began=dict(message.cursors))
                case Push():
                    self.law_5_no_lane_waits_for_a_lower_one(node, message)
                    if message.groups:
                        size = sum(len(group.ids) for group in message.groups)
                        self.trail.append((node, message.lane, size))
                    line = self._lines.setdefault(node, Line())
                    line.sent[message.lane] = message.upto
                case Got():
                    self.law_1_durable_before_done(
                        node, f"cursor:{message.partition}", message.upto
                    )
                case Confirm():
                    self.law_1_durable_before_done(node, "sync.ticket", message.ticket)

    @_remembered
    def told(self, node: str, messages: Sequence[Wire]) -> None:
        for message in messages:
            match message:
                case Welcome():
                    self.a_ticket_is_given_once(message.ticket)
                    line = self._lines.setdefault(node, Line())
                    for lane, acked in message.acked.items():
                        line.sent[lane] = max(acked, line.sent.get(lane, 0))
                    if line.began is not None:
                        line.began |= dict.fromkeys(message.restart, 0)
                case Gap():
                    self._lines.setdefault(node, Line()).sent[message.lane] = message.has
                case Feed():
                    self.nothing_comes_back_to_who_wrote_it(node, message)
                case Ack():
                    line = self._lines.setdefault(node, Line())
                    line.sent[message.lane] = max(message.upto, line.sent.get(message.lane, 0))
                    mark = f"up:{node}:{message.lane}"
                    _, has, _ = self.world.store._marks.get(mark, (0, 0, 0))
                    known = self.doubtful or not self._is_one(node) or has >= message.upto
                    assert known, f"law 1: {mark} {message.upto} beyond {has}"

    @_remembered
    def committed(
        self, rows: Sequence[Row], marks: Mapping[str, Value], expect: Mapping[str, Value]
    ) -> None:
        """A replica committed."""
        self.committed_rows.extend(rows)
        for mark, upto in marks.items():
            if mark.startswith("up:"):
                _, node, lane = mark.split(":")
                self.law_6_no_gaps(node, lane, expect.get(mark), upto)

    def writes_over(self, node: str, old: Row, row: Row) -> None:
        """A node is about to commit `row` where `old` is. Whatever fields it gives values of its own, by
        a default too, it has seen what they were; what it hears only, it has not written."""
        for column in row.fields.keys() & old.fields.keys():
            at, stamp = ((row.collection, row.id), column), row.stamp_of(column)
            if at in self.values and stamp.node == node and stamp > old.stamp_of(column):
                self.seen.setdefault(at, set()).add(old.fields[column])

    def forgotten(self, row: Row) -> None:
        """A deleted record is no longer remembered, or rotted on a disk: whoever writes it again there
        cannot see what it was."""
        for column, value in row.fields.items():
            at = ((row.collection, row.id), column)
            if at in self.values:
                self.seen.setdefault(at, set()).add(value)

    def cloud_restored(self) -> None:
        self.doubtful = True
        self.committed_rows.clear()
        self.disk_lost()

    def disk_lost(self) -> None:
        """A disk was destroyed or went back to an older copy of itself: what is on no other is gone, and
        nobody can be asked for it. Nothing else is excused."""
        stores = [self.world.store, *(node.store for node in self.world.nodes)]
        confirmed = {key for node in self.world.nodes for key in node.confirmed}
        self.gone |= {
            key
            for key in confirmed - _aside(self.world)
            if not any(key[1] in store._tables.get(key[0], {}) for store in stores)
        }

    def intact(self) -> None:
        """Raise what was broken first."""
        if self._broken is not None:
            raise self._broken

    def watch(self) -> None:
        """Look at what must hold at every moment; asked every second."""
        self.intact()
        self.law_5_deadlines_hold()
        self.law_9_everything_is_bounded()
        self._watched += 1
        if self._watched % WHOLE_EVERY:
            return
        self.law_2_nothing_is_lost()
        self.law_7_nothing_strays()
        self.law_10_no_stamp_lies_in_the_future()

    def connected(self, node: str) -> None:
        """A link of its own begins, which nothing was sent over."""
        self._lines.pop(node, None)

    # The laws

    def law_1_durable_before_done(self, name: str, mark: str, value: int) -> None:
        """What a node says it has is on its disk."""
        kept = [n.store._marks.get(mark, 0) for n in self.world.nodes if n.place.node == name]
        assert any(has == value or has > value for has in kept), (
            f"law 1: {name} said {mark} {value}, its disk has {kept}"
        )

    def law_2_nothing_is_lost(self) -> None:
        """What a node confirmed is in its log or in the cloud, at every moment."""
        if self.doubtful:
            return
        safe = _aside(self.world) | self.gone
        for node in self.world.nodes:
            lost = node.confirmed - node.kept() - safe
            lost = {key for key in lost if key[1] not in self.world.store._tables.get(key[0], {})}
            assert not lost, f"law 2: {node.place.node} lost {sorted(lost)[:5]}"

    def law_2_nothing_is_invented(self) -> None:
        """Facts in the cloud were written by somebody, and nobody's confirmed one is missing."""
        aside = _aside(self.world)
        for name in FACTS:
            there = {(name, id) for id in self.world.store._tables[name]}
            written = {k for n in self.world.nodes for k in n.attempted if k[0] == name}
            confirmed = {k for n in self.world.nodes for k in n.confirmed if k[0] == name}
            assert not there - written, f"law 2: invented {sorted(there - written)[:5]}"
            held = {key for node in self.world.nodes for key in node.kept()}
            lost = confirmed - there - aside - held - self.gone
            assert not lost, f"law 2: lost {sorted(lost)[:5]}"

    def law_3_replay_is_harmless(self) -> None:
        """Merging again what was merged before, in any order, changes nothing."""
        store = self.world.store.copy()
        rows = [
            row
            for row in self.committed_rows
            if store._tables[row.collection].get(row.id) is not None
        ]
        self.world.random.shuffle(rows)
        before = {name: dict(table) for name, table in store._tables.items()}
        for row in rows:
            self._merge(store, row)
        assert before == store._tables, "law 3: a replay changed something"

    def law_4_all_converge(self) -> None:
        """Replicas of a partition hold equal rows, stamps and unknown fields included."""
        store = self.world.store
        for node in self.world.nodes:
            granted = partitions(node.place.principal) or frozenset()
            for declared in node.catalogue.collections:
                if declared.name not in store._tables or not declared.goes_down:
                    continue
                cloud = _living(store._tables[declared.name].values(), granted)
                mine = _living(node.store._tables[declared.name].values(), granted)
                assert mine == cloud, f"law 4: {declared.name} differ at {node.place.node}"

    def law_5_no_lane_waits_for_a_lower_one(self, node: str, push: Push) -> None:
        """When a batch leaves, nothing more urgent has been waiting."""
        if not self._is_one(node):
            return
        now_s, line = self.world.loop.time(), self._lines.get(node, Line())
        for lane in Lane:
            numbers = self._numbers.get((node, int(lane)))
            if int(lane) <= push.lane or not numbers:
                continue
            sent = line.sent.get(int(lane), 0)
            late = [n for n, at_s in numbers if n > sent and at_s < now_s - SLACK_S]
            late = late and [n for n in late if n in self._logged(node, lane)]
            assert not late, (
                f"law 5: {node} sends lane {push.lane} while {lane.name} waits: {late[:3]} > {sent}"
            )

    def law_5_deadlines_hold(self) -> None:
        """Where nothing was wrong with node, line and cloud since a write, it is in the cloud by its
        lane's deadline; those a window holds may wait."""
        now_s = self.world.loop.time()
        still: deque[Written] = deque()
        for written in self._due:
            name, id = written.key
            there = id in self.world.store._tables.get(name, {}) or written.key in _aside(
                self.world
            )
            if there or self._excused(written):
                self.deadlines[written.lane, there] += 1
            elif now_s > written.at_s + written.lane.deadline_s + SLACK_S:
                raise AssertionError(f"law 5: {written.key} waits for {now_s - written.at_s:.0f} s")
            else:
                still.append(written)
        self._due = still

    def law_6_no_gaps(self, name: str, lane: str, before: Value, now: Value) -> None:
        """Where a lane moves, all that the log of the run it moves for names up to there has arrived;
        what the run's release does not know of stays in the log."""
        (run, upto, _), (run_before, has, _) = now, before or (None, 0, 0)
        assert run != run_before or upto >= has, f"law 6: {name} lane {lane}: {before} to {now}"
        aside = _aside(self.world)
        for node in self.world.nodes:
            if node.place.node != name or node.agent._runs[-1:] != [run]:
                continue
            stream = node.store._streams.get(lane_stream(int(lane)))
            for key, (number, since_hlc) in stream.entries.items() if stream else ():
                if number <= upto and node.has_written(key, since_hlc):
                    there = key[1] in self.world.store._tables.get(key[0], {}) or key in aside
                    assert there, (
                        f"law 6: {name} lane {lane} is at {upto}, but {key} ({number}) is missing"
                    )

    def law_7_nothing_strays(self) -> None:
        """A node holds rows of its partitions only, the cloud none under a name that is not theirs."""
        for node in self.world.nodes:
            granted = partitions(node.place.principal) or frozenset()
            for table in node.store._tables.values():
                stray = [row for row in table.values() if row.partition not in granted]
                assert not stray, f"law 7: {node.place.node} holds {stray[:2]}"
        homes = {node.place.node: partitions(node.place.principal) for node in self.world.nodes}
        for declared in self.world.catalogue.collections:
            for row in self.world.store._tables[declared.name].values():
                assert not row.id.startswith("forged"), f"law 7: {row}"
                granted = homes.get(row.stamp.node)
                if granted is not None and declared.goes_up:
                    assert row.partition in granted, f"law 7: {row}"

    def law_8_versions_mix(self) -> None:
        """Fields that only a newer release knows reach every node through the others. (That nothing
        stands still is law 4's and law 5's to find out.) Asked where nothing is deleted and no disk is
        lost: then they may be gone."""
        for key, values in self.values.items():
            table = self.world.store._tables.get(key[0][0], {})
            row = table.get(key[0][1])
            told = any(given.confirmed for given in values)
            if key[1] == "colour" and row is not None and not row.deleted and told:
                assert "colour" in row.fields, f"law 8: {key} lost a field"

    def law_9_everything_is_bounded(self) -> None:
        """Inboxes, batches and feeds in flight, and who listens, keep to their bounds."""
        listening = 0
        for replica in self.world.replicas:
            if not replica.running:
                continue
            for conversation in replica.conversations:
                heard = len(conversation._inbox)
                assert heard <= 2 * limits.PUSHES_IN_FLIGHT + 1, f"law 9: {heard} in an inbox"
                for feed in conversation.session.feeds.values():
                    assert feed.flying <= limits.FEEDS_IN_FLIGHT, f"law 9: {feed.flying} feeds"
            listening += len(replica.disk._listeners)
        most = 8 * len(self.world.nodes)
        assert listening <= most, f"law 9: {listening} listen to the database"

    def law_10_no_stamp_lies_in_the_future(self) -> None:
        """However wrong clocks are: the cloud takes no stamp beyond its own time and the drift."""
        now_ms = max(replica.wall.now_ms() for replica in self.world.replicas)
        for name in ("notes", "alarms", "logs", "goods", "shelves"):
            for row in self.world.store._tables[name].values():
                ahead_ms = ms_of(row.stamp.hlc) - now_ms
                assert ahead_ms <= limits.DRIFT_MS + 1, f"law 10: {ahead_ms} ms ahead: {row}"

    def law_10_order_is_kept(self) -> None:
        """Of one node, what was written later has the later stamp."""
        for node in self.world.nodes:
            if not node.honest:
                continue
            mine = [
                (row.fields["turn"], row.stamp.hlc)
                for name in ("notes", "alarms", "logs")
                for row in self.world.store._tables[name].values()
                if row.stamp.node == node.place.node and row.fields.get("turn")
            ]
            stamps = [hlc for _, hlc in sorted(mine)]
            assert stamps == sorted(stamps), f"law 10: {node.place.node} reordered its own writes"

    def a_ticket_is_given_once(self, ticket: int) -> None:
        assert ticket not in self._tickets, f"the ticket {ticket} was given twice"
        self._tickets.add(ticket)

    def nothing_comes_back_to_who_wrote_it(self, node: str, feed: Feed) -> None:
        """But to who begins anew, all does, until that is all there is."""
        began = self._lines.get(node, Line()).began
        anew = began is not None and began.get(feed.partition, 0) == 0
        if anew and began is not None and not feed.more:
            began[feed.partition] = feed.upto or 1
        if anew or feed.after == 0:
            return
        for row in unpack(feed.groups):
            own = [name for name in row.fields if row.stamp_of(name).node == node]
            assert not own, f"{node} is told what it wrote itself: {row.id} {own}"

    def no_honest_node_is_called_a_clone(self) -> None:
        """However late, twice or not at all its requests came."""
        honest = {node.place.node for node in self.world.nodes if node.honest}
        assert not honest & self.world.tickets.duplicated, "an honest node was taken for a clone"

    def what_was_dropped_unseen_is_kept(self) -> None:
        """A value nobody had seen when it was written over is among the conflicts."""
        kept = {
            (
                row.fields["in_collection"],
                row.fields["record"],
                row.fields["field"],
                row.fields["lost"],
            )
            for row in self.world.store._tables["conflicts"].values()
        }
        for ((name, id), column), values in self.values.items():
            row = self.world.store._tables[name].get(id)
            if row is None:
                continue
            seen = self.seen.get(((name, id), column), ())
            for given in values:
                dropped = given.value not in seen and given.value != row.fields.get(column)
                if given.confirmed and dropped:
                    assert (name, id, column, given.value) in kept, (
                        f"{name} {id}.{column} = {given.value!r} was dropped, and nobody told"
                    )

    # Inside

    def _is_one(self, node: str) -> bool:
        """Whether there is one disk of this name: a clone's numbers are its own."""
        return all(n.honest for n in self.world.nodes if n.place.node == node)

    def _logged(self, node: str, lane: Lane) -> set[int]:
        """The numbers that are in a node's log: what was acknowledged once is not, whatever a cloud that
        went back to an older copy of itself has. What the node's release does not know waits there for
        one that does."""
        numbers = set()
        for n in self.world.nodes:
            stream = n.store._streams.get(lane_stream(lane)) if n.place.node == node else None
            for (collection, _), (number, _) in (stream.entries if stream else {}).items():
                if collection in n.store.registry:
                    numbers.add(number)
        return numbers

    def _excused(self, written: Written) -> bool:
        node = written.node
        connected = node.agent.state.connected
        wrong = node.troubled_s + limits.RECONNECT_MOST_S > written.at_s or not connected
        held = written.lane is not Lane.CRITICAL and bool(self.world.store._tables["sync_windows"])
        return wrong or held or not node.honest

    @staticmethod
    def _merge(store: Any, row: Row) -> None:
        work = store.commit([row])
        try:
            work.send(None)
        except StopIteration:
            return
        raise AssertionError("the memory store waits for nothing")


@dataclass
class Given:
    """A value that somebody wrote."""

    value: Value
    confirmed: bool = False


def _aside(world: World) -> set[Key]:
    """What the cloud has put into quarantine."""
    return {
        (row.fields["in_collection"], row.fields["record"])
        for row in world.store._tables["quarantine"].values()
    }


def _living(rows: Any, granted: frozenset[str]) -> dict[str, Row]:
    return {row.id: row for row in rows if row.partition in granted and not row.deleted}


def check_all(world: World) -> None:
    """What must hold once a world has come to rest."""
    witness = world.witness
    witness.intact()
    witness.law_2_nothing_is_invented()
    witness.law_3_replay_is_harmless()
    witness.law_4_all_converge()
    witness.law_7_nothing_strays()
    witness.law_9_everything_is_bounded()
    witness.law_10_no_stamp_lies_in_the_future()
    witness.law_10_order_is_kept()
    witness.no_honest_node_is_called_a_clone()
    if all(node.honest for node in world.nodes) and not witness.doubtful:
        witness.what_was_dropped_unseen_is_kept()


__all__ = ["Flow", "Given", "Witness", "Written", "check_all"]

"""What a node knows of its blobs: which records name them, which it holds, which the cloud has confirmed.
What to fetch, to send and to evict follows from that, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from beira.kernel import limits
from beira.kernel.blob import RecordKey
from beira.kernel.collection import Fetch


@dataclass(frozen=True, slots=True)
class Named:
    """How a record names a blob. `up`: the record goes to the cloud, so its blobs do too."""

    fetch: Fetch
    lane: int
    hlc: int
    up: bool


@dataclass(slots=True)
class Held:
    """A blob on this node's disk. `outbox`: it was made here and the cloud has not confirmed it;
    `sent_up`: a record that goes up has named it, so that it is sent even if that record is gone."""

    size_bytes: int
    used_s: float
    outbox: bool = False
    sent_up: bool = False


@dataclass
class Ledger:
    """All that a node knows of its blobs, and what follows from it. Times are seconds since 1970."""

    budget_bytes: int = limits.BLOB_NODE_BYTES
    held: dict[str, Held] = field(default_factory=dict)
    used_bytes: int = 0
    _names: dict[RecordKey, dict[str, Named]] = field(default_factory=dict)
    _named: dict[str, dict[RecordKey, Named]] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _confirmed_s: dict[str, float] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)
    _unsent: set[str] = field(default_factory=set)
    _to_mark: set[str] = field(default_factory=set)
    _orders: dict[str, list[str]] = field(default_factory=dict)
    _wishes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _rank: dict[str, int] = field(default_factory=dict)

    def refer(self, key: RecordKey, names: Mapping[str, Named]) -> None:
        """A record names these blobs from now on (none: it is gone)."""
        before = self._names.pop(key, {})
        if names:
            self._names[key] = dict(names)
        for name in before:
            self._named[name].pop(key, None)
            if not self._named[name]:
                del self._named[name]
        for name, named in names.items():
            self._named.setdefault(name, {})[key] = named
        for name in {*before, *names}:
            self._look_at(name)

    def holds(self, name: str, held: Held) -> None:
        """A verified blob is on the disk."""
        self.lost(name)
        self.held[name] = held
        self.used_bytes += held.size_bytes
        self._asked.discard(name)
        self._look_at(name)

    def lost(self, name: str) -> None:
        """A blob is no longer on the disk."""
        gone = self.held.pop(name, None)
        if gone is not None:
            self.used_bytes -= gone.size_bytes
            self._look_at(name)

    def used(self, name: str, now_s: float) -> None:
        if name in self.held:
            self.held[name].used_s = now_s

    def ask_for(self, name: str) -> None:
        """An app wants it, and now."""
        if name not in self.held:
            self._asked.add(name)
            self._look_at(name)

    def wish(self, by: str, names: Sequence[str]) -> None:
        """The app `by` wants these, in this order, and no longer what it wished before. They are
        fetched though lazily named, and go last of what may go."""
        self._wishes[by] = tuple(dict.fromkeys(names))[: limits.BLOB_WISHES]
        before, self._rank = self._rank, {}
        for wished in self._wishes.values():
            for rank, name in enumerate(wished):
                self._rank[name] = min(rank, self._rank.get(name, rank))
        for name in before.keys() ^ self._rank.keys():
            self._look_at(name)
        self._orders.clear()

    def confirmed(self, name: str, now_s: float) -> None:
        """The cloud has it, verified and durable."""
        self._confirmed_s[name] = now_s
        if name in self.held:
            self.held[name].outbox = self.held[name].sent_up = False
        self._look_at(name)

    def doubt(self, before_s: float | None = None) -> None:
        """Ask again about what was confirmed before then (None: about all, for it is another cloud)."""
        for name, at_s in list(self._confirmed_s.items()):
            if before_s is None or at_s < before_s:
                del self._confirmed_s[name]
                self._look_at(name)

    def to_mark(self) -> list[str]:
        """Blobs made here which a record that goes up names, and of which the disk must say so."""
        return sorted(self._to_mark)

    def marked(self, name: str) -> None:
        """The disk says so now: it is sent even if the record is forgotten first."""
        if name in self.held and self.held[name].outbox:
            self.held[name].sent_up = True
        self._look_at(name)

    def goes_up(self, name: str) -> bool:
        """Whether a record that goes to the cloud names it, or one did before it was confirmed."""
        there = self.held.get(name)
        return (there is not None and there.sent_up) or any(
            named.up for named in self._named.get(name, {}).values()
        )

    def keys_of(self, name: str) -> list[RecordKey]:
        """The records that name it: the cloud gives a blob for a record, never for its name alone.
        Those that the cloud sent come first."""
        keys = self._named.get(name, {})
        return sorted(keys, key=lambda key: (keys[key].up, key))

    @property
    def keys(self) -> set[RecordKey]:
        """The records that name any blob."""
        return set(self._names)

    @property
    def wants(self) -> Set[str]:
        """What is to be fetched, in no order."""
        return self._wanted

    @property
    def wanted(self) -> list[str]:
        """What to fetch, the most urgent first: what an app waits for, then by lane, then wishes in
        their order, then by age."""
        return self._ordered("wanted", self._wanted)

    @property
    def unsent(self) -> list[str]:
        """What the cloud must still get or confirm, the most urgent first."""
        return self._ordered("unsent", self._unsent)

    def room_for(
        self,
        size_bytes: int,
        disk_bytes: int,
        now_s: float,
        *,
        staged_bytes: int = 0,
        name: str = "",
    ) -> list[str] | None:
        """What to evict so that `size_bytes` more (of the blob `name`) fit into the budget, beside
        `staged_bytes` of others on their way, and into `disk_bytes` of disk; None if it cannot be.

        What a record names is not evicted, nor what the cloud lacks; but for a wished blob, what is
        only lazily named and not wished goes too, and then later wishes than it, the last first.
        """
        over = self.used_bytes + staged_bytes + size_bytes - self.budget_bytes
        short = max(over, size_bytes - disk_bytes)
        evicted: list[str] = []
        if short <= 0:
            return evicted
        for each in self._may_make_room(name, now_s):
            if short <= 0:
                break
            evicted.append(each)
            short -= self.held[each].size_bytes
        return evicted if short <= 0 else None

    def _may_make_room(self, name: str, now_s: float) -> Iterator[str]:
        by_use = sorted(self.held, key=lambda each: self.held[each].used_s)
        yield from (each for each in by_use if self._may_go(each, now_s))
        mine = self._rank.get(name)
        if mine is None:
            return
        cached = [each for each in by_use if each in self._named and self.may_drop(each)]
        yield from (each for each in cached if each not in self._rank)
        later = [each for each in cached if self._rank.get(each, mine) > mine]
        yield from sorted(later, key=lambda each: self._rank[each], reverse=True)

    def may_drop(self, name: str) -> bool:
        """Whether an app may throw it away: the cloud has it, and no record fetches it by itself."""
        there = self.held.get(name)
        if there is None or there.outbox or there.sent_up:
            return False
        named = self._named.get(name, {}).values()
        return all(each.fetch is Fetch.LAZY for each in named)

    def stale(self, now_s: float) -> list[str]:
        """What no record has named for days and the cloud lacks nothing of: it goes even where there
        is room, so that what was erased is gone."""
        before_s = now_s - limits.BLOB_SPARED_S
        return [
            name
            for name, held in self.held.items()
            if held.used_s < before_s and self._may_go(name, now_s)
        ]

    def _may_go(self, name: str, now_s: float) -> bool:
        there = self.held[name]
        if name in self._named or there.sent_up:
            return False
        return not there.outbox or there.used_s < now_s - limits.BLOB_SPARED_S

    def _look_at(self, name: str) -> None:
        """Put a blob among the wanted or the unsent, or take it out."""
        self._orders.clear()
        here, named = name in self.held, self._named.get(name, {})
        eager = any(each.fetch is Fetch.EAGER for each in named.values())
        wished = eager or name in self._asked or name in self._rank
        _put(self._wanted, name, not here and bool(named) and wished)
        up = any(each.up for each in named.values())
        unmarked = here and self.held[name].outbox and not self.held[name].sent_up
        _put(self._to_mark, name, up and unmarked)
        unconfirmed = name not in self._confirmed_s
        _put(self._unsent, name, here and unconfirmed and self.goes_up(name))

    def _ordered(self, what: str, names: set[str]) -> list[str]:
        """`names` by urgency, sorted again only once something has changed."""
        if what not in self._orders:
            self._orders[what] = sorted(names, key=self._urgency)
        return self._orders[what]

    def _urgency(self, name: str) -> tuple[bool, int, int, int, str]:
        named = self._named.get(name, {}).values()
        lane = max((each.lane for each in named), default=0)
        hlc = min((each.hlc for each in named), default=0)
        rank = self._rank.get(name, limits.BLOB_WISHES)
        return (name not in self._asked, -lane, rank, hlc, name)


def _put(names: set[str], name: str, wanted: bool) -> None:
    (names.add if wanted else names.discard)(name)

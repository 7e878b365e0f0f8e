"""What of one list can be played now, in the order in which it would be. Pure.

A list may have 100,000 assets, so nothing here goes through it at a decision. A pool follows what
changes: windows that open and close, files that come and go, tracks that were played. It is only ever
a quicker way to the same answer: one that is made anew gives the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from hashlib import blake2b

from beira.apps.player.local_time import day_of
from beira.apps.player.manifest import AssetEntry
from beira.apps.player.memory import Memory, Turn
from beira.apps.player.on_disk import OnDisk
from beira.apps.player.program import Program

Playable = Callable[[AssetEntry], bool]
MANY = 1_000
"""Changes after which it is quicker to lay out all anew."""
CHANCES = 1 << 62
OUT = -1
TICK = timedelta(microseconds=1)


class Pool(ABC):
    """The common part: which of `assets` are in. A place is an index into `assets`."""

    def __init__(self, program: Program, assets: Sequence[str]) -> None:
        self.program = program
        self.assets = [program.assets[one] for one in assets if one in program.assets]
        self._places: dict[str, list[int]] = {}
        self._of_file: dict[str, list[int]] = {}
        for place, asset in enumerate(self.assets):
            self._places.setdefault(asset.id, []).append(place)
            self._of_file.setdefault(asset.file, []).append(place)
        self._changes = self._window_changes()
        self._moments = [moment for moment, _ in self._changes]
        self._passed = 0
        self._disk: OnDisk | None = None
        self._disk_count = 0
        self._laid_out = False

    def next(
        self, memory: Memory, playable: Playable, now: datetime
    ) -> tuple[AssetEntry, int] | None:
        """What comes next at this moment (UTC), and its place; None if nothing can be played. Quick
        if `playable` is an OnDisk, or says no to few."""
        self._follow(memory, playable if isinstance(playable, OnDisk) else None, now)
        refused = []
        while (place := self._pick(memory)) is not None and not playable(self.assets[place]):
            refused.append(place)
            self._take(place)
        for one in refused:
            self._put(one)
        return None if place is None else (self.assets[place], place)

    @abstractmethod
    def in_order(self, memory: Memory, now: datetime) -> list[AssetEntry]:
        """All of it, playable or not, in the order in which it would be played."""

    def _follow(self, memory: Memory, disk: OnDisk | None, now: datetime) -> None:
        passed = bisect_right(self._moments, now)
        first, last = sorted((self._passed, passed))
        touched = [place for _, place in self._changes[first:last]]
        gone: Sequence[str] | None = ()
        if disk is not self._disk:
            gone = None
        elif disk is not None:
            gone = disk.since(self._disk_count)
        self._passed, self._disk, self._disk_count = passed, disk, disk.count if disk else 0
        if gone is None or len(gone) + len(touched) > MANY or not self._in_step(memory, now):
            self._laid_out = False
        if not self._laid_out:
            self._lay_out([p for p in range(len(self.assets)) if self._fits(p, now)], memory, now)
            self._laid_out = True
            return
        for file in gone or ():
            touched += self._of_file.get(file, ())
        for place in touched:
            self._take(place)
            if self._fits(place, now):
                self._put(place)

    def _fits(self, place: int, now: datetime) -> bool:
        asset = self.assets[place]
        return self.program.may_begin(asset.id, now) and (self._disk is None or self._disk(asset))

    def _window_changes(self) -> list[tuple[datetime, int]]:
        """When each asset's fitness changes by the clock, in order. It fits at its last moment still."""
        found = []
        for place, asset in enumerate(self.assets):
            window = self.program.windows.get(asset.id)
            if window is not None:
                found += [(window.opens, place), (window.last_start + TICK, place)]
        return sorted(found)

    @abstractmethod
    def _in_step(self, memory: Memory, now: datetime) -> bool:
        """Take in what was played since; False: lay out all anew."""

    @abstractmethod
    def _lay_out(self, fitting: list[int], memory: Memory, now: datetime) -> None: ...

    @abstractmethod
    def _pick(self, memory: Memory) -> int | None: ...

    @abstractmethod
    def _put(self, place: int) -> None: ...

    @abstractmethod
    def _take(self, place: int) -> None: ...


class Ring(Pool):
    """A list in its own order: what comes next is the first after the last that can be played."""

    def __init__(self, program: Program, assets: Sequence[str], key: str) -> None:
        super().__init__(program, assets)
        self._key = key
        self._in: list[int] = []

    def _in_step(self, memory: Memory, now: datetime) -> bool:
        return True

    def _lay_out(self, fitting: list[int], memory: Memory, now: datetime) -> None:
        self._in = fitting

    def _pick(self, memory: Memory) -> int | None:
        if not self._in:
            return None
        at = bisect_left(self._in, self._after(memory.turns.get(self._key)))
        return self._in[at % len(self._in)]

    def in_order(self, memory: Memory, now: datetime) -> list[AssetEntry]:
        after = self._after(memory.turns.get(self._key))
        return self.assets[after:] + self.assets[:after]

    def _after(self, turn: Turn | None) -> int:
        """The place after the last one. A list that was changed goes on after the same asset, or where
        that had been."""
        if turn is None:
            return 0
        places = self._places.get(turn.asset)
        if not places:
            return max(turn.place, 0)
        at = bisect_left(places, turn.place)
        return places[min(at, len(places) - 1)] + 1

    def _put(self, place: int) -> None:
        at = bisect_left(self._in, place)
        if self._in[at : at + 1] != [place]:
            self._in.insert(at, place)

    def _take(self, place: int) -> None:
        at = bisect_left(self._in, place)
        if self._in[at : at + 1] == [place]:
            del self._in[at]


class Rotation(Pool):
    """A shuffled list: the one heard longest ago, but none within `no_repeat` tracks, nor its artist
    within `artist_gap`, as far as there are enough: if there are not, first the artist may come again
    (the one longest ago), then the asset.

    What was never heard comes first, in an order by chance that is each shop's own and begins
    elsewhere each day.
    """

    def __init__(self, program: Program, assets: Sequence[str], no_repeat: int, gap: int) -> None:
        super().__init__(program, list(dict.fromkeys(assets)))
        self._no_repeat, self._gap = no_repeat, gap
        self._chances = [_chance(program.shop, asset.id) for asset in self.assets]
        self._new, self._heard = _ByArtist(self.assets), _ByArtist(self.assets)
        self._memory: Memory | None = None
        self._tracks = self._forgotten = 0
        self._day: date | None = None
        self._start = 0

    def in_order(self, memory: Memory, now: datetime) -> list[AssetEntry]:
        self._begin_day(now)
        return [self.assets[place] for place in sorted(self._all, key=self._order(memory))]

    @property
    def _all(self) -> range:
        return range(len(self.assets))

    def _order(self, memory: Memory) -> Callable[[int], tuple[int, int]]:
        def order(place: int) -> tuple[int, int]:
            heard = memory.played.get(self.assets[place].id, 0)
            return heard, (self._chances[place] - self._start) % CHANCES

        return order

    def _begin_day(self, now: datetime) -> None:
        day = day_of(now, self.program.zone)
        if day != self._day:
            self._day = day
            self._start = _chance(self.program.shop, day.isoformat())

    def _in_step(self, memory: Memory, now: datetime) -> bool:
        self._begin_day(now)
        same = memory is self._memory and memory.forgotten == self._forgotten
        since = memory.tracks - self._tracks
        if not same or not 0 <= since <= min(MANY, len(memory.recent)):
            return False
        self._tracks = memory.tracks
        for ago in range(since, 0, -1):
            for place in self._places.get(memory.recent[-ago][0], ()):
                if place in self._new or place in self._heard:
                    self._take(place)
                    self._put(place)
        return True

    def _lay_out(self, fitting: list[int], memory: Memory, now: datetime) -> None:
        self._begin_day(now)
        self._memory, self._tracks, self._forgotten = memory, memory.tracks, memory.forgotten
        new: list[tuple[int, int]] = []
        heard: list[tuple[int, int]] = []
        for place in fitting:
            number = memory.played.get(self.assets[place].id)
            if number is None:
                new.append((self._chances[place], place))
            else:
                heard.append((number, place))
        self._new.lay_out(new)
        self._heard.lay_out(heard)

    def _pick(self, memory: Memory) -> int | None:
        near = memory.artists_within(self._gap)
        passed: list[tuple[int, int]] = []
        last = memory.tracks - self._no_repeat
        for place in self._new.following(self._start):
            ago = near.get(self.assets[place].artist)
            if ago is None:
                return place
            passed.append((ago, place))
        for number, place in self._heard.heads:
            ago = near.get(self.assets[place].artist)
            if number > last:
                break
            if ago is None:
                return place
            passed.append((ago, place))
        if passed:
            return max(passed, key=_first)[1]
        return self._heard.heads[0][1] if self._heard.heads else None

    def _put(self, place: int) -> None:
        assert self._memory is not None
        number = self._memory.played.get(self.assets[place].id)
        if number is None:
            self._new.put(self._chances[place], place)
        else:
            self._heard.put(number, place)

    def _take(self, place: int) -> None:
        self._new.take(place)
        self._heard.take(place)


class _ByArtist:
    """Places under keys, those of each artist in order, and the first of all artists (`heads`) in
    order: so an artist that is too near is passed over in one step. An asset of no known artist is an
    artist of its own."""

    def __init__(self, assets: Sequence[AssetEntry]) -> None:
        self._artists = [asset.artist or f"\n{asset.id}" for asset in assets]
        self._keys: dict[int, int] = {}
        self._groups: dict[str, list[tuple[int, int]]] = {}
        self.heads: list[tuple[int, int]] = []

    def __contains__(self, place: int) -> bool:
        return place in self._keys

    def lay_out(self, entries: list[tuple[int, int]]) -> None:
        self._keys = {place: key for key, place in entries}
        self._groups = {}
        self.heads = []
        for entry in sorted(entries):
            group = self._groups.setdefault(self._artists[entry[1]], [])
            if not group:
                self.heads.append(entry)
            group.append(entry)

    def following(self, start: int) -> Iterator[int]:
        """The heads' places from this key on, round to before it."""
        first = bisect_left(self.heads, (start, OUT))
        for at in range(first, first + len(self.heads)):
            yield self.heads[at % len(self.heads)][1]

    def put(self, key: int, place: int) -> None:
        if place in self._keys:
            return
        self._keys[place] = key
        group = self._groups.setdefault(self._artists[place], [])
        before = group[0] if group else None
        insort(group, (key, place))
        self._new_head(before, group)

    def take(self, place: int) -> None:
        key = self._keys.pop(place, None)
        if key is None:
            return
        group = self._groups[self._artists[place]]
        before = group[0]
        del group[bisect_left(group, (key, place))]
        self._new_head(before, group)
        if not group:
            del self._groups[self._artists[place]]

    def _new_head(self, before: tuple[int, int] | None, group: list[tuple[int, int]]) -> None:
        after = group[0] if group else None
        if before == after:
            return
        if before is not None:
            del self.heads[bisect_left(self.heads, before)]
        if after is not None:
            insort(self.heads, after)


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _chance(shop: str, text: str) -> int:
    digest = blake2b(f"{shop}\n{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % CHANCES

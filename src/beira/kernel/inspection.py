"""Integrity, the node's side: compare digests with the cloud, find what differs, have it mended.

One inspection looks at one partition. The sums of whole collections come first, those of buckets
only where they differ, rows only of the buckets that differ: a replica that is whole costs a few
hundred bytes. A difference that is only something still on its way costs a little more and mends
nothing, because merging is a join.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from beira.kernel import limits
from beira.kernel.clock import hlc_at, ms_of
from beira.kernel.digest import Sums
from beira.kernel.wire import Check, Checked, Fetch, Found


@dataclass(frozen=True, slots=True)
class Sum:
    """Add up the partition's collections from the stamp numbers given, then call `summed`."""

    partition: str
    since: dict[str, int]
    buckets: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the message to the cloud."""

    message: Check | Fetch


@dataclass(frozen=True, slots=True)
class Mend:
    """Merge what was found; after the last page deal with what the cloud lacks. Then call `mended`."""

    found: Found
    since: int
    buckets: tuple[int, ...]
    horizon_hlc: int
    settled_hlc: int


@dataclass(frozen=True, slots=True)
class Inspected:
    """The partition is compared, and `mended` rows were put right."""

    partition: str
    full: bool
    began_hlc: int
    mended: int


Step: TypeAlias = Sum | Ask | Mend | Inspected


@dataclass(slots=True)
class Round:
    """One inspection under way. `work` holds (collection, buckets) still to be fetched."""

    partition: str
    since: dict[str, int]
    began_hlc: int
    horizon_hlc: int
    full: bool
    work: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    counts: dict[str, Sums] = field(default_factory=dict)
    mended: int = 0
    asked_ms: int = 0


class Inspector:
    """Runs one inspection at a time; forgotten with its connection, and begun again by the next."""

    def __init__(self) -> None:
        self._round: Round | None = None

    @property
    def busy(self) -> bool:
        return self._round is not None

    def begin(
        self,
        partition: str,
        since: Mapping[str, int],
        *,
        began_hlc: int,
        horizon_hlc: int,
        full: bool,
    ) -> list[Step]:
        """Compare the collections named in `since`, each from a stamp number on. Rows at or before
        `horizon_hlc` that the cloud does not have were deleted there."""
        if self._round is not None or not since:
            return []
        self._round = Round(partition, dict(since), began_hlc, horizon_hlc, full)
        return [Sum(partition, dict(since), buckets=False)]

    def summed(self, sums: Mapping[str, Sums], now_ms: int) -> list[Step]:
        """The sums asked for."""
        if self._round is None:
            return []
        self._round.counts = dict(sums)
        since = {name: self._round.since[name] for name in sums}
        check = Check(partition=self._round.partition, since=since, sums=dict(sums))
        return self._ask(check, now_ms)

    def checked(self, message: Checked, now_ms: int) -> list[Step]:
        """The cloud has compared: go closer where sums differ, or be done."""
        current = self._round
        if current is None or message.partition != current.partition:
            return []
        differ = {name: at for name, at in message.differ.items() if at and name in current.since}
        if not differ:
            return self._finish()
        coarse = [name for name in differ if len(current.counts.get(name, ())) == 1]
        if coarse:
            return [Sum(current.partition, {n: current.since[n] for n in coarse}, buckets=True)]
        for name, buckets in sorted(differ.items()):
            current.work += [(name, group) for group in _groups(buckets, current.counts[name])]
        return self._fetch(now_ms)

    def found(self, message: Found) -> list[Step]:
        """A page of what the cloud has in the buckets asked for."""
        current = self._round
        if current is None or not current.work or message.collection != current.work[0][0]:
            return []
        settled_ms = max(0, ms_of(current.began_hlc) - limits.DRIFT_MS)
        return [
            Mend(
                message,
                current.since[message.collection],
                current.work[0][1],
                current.horizon_hlc,
                hlc_at(settled_ms),
            )
        ]

    def mended(self, message: Found, count: int, now_ms: int) -> list[Step]:
        """A page is merged, and `count` rows were put right by it."""
        if self._round is None:
            return []
        self._round.mended += count
        if message.more:
            return self._fetch(now_ms, after=message.upto)
        self._round.work.pop(0)
        return self._fetch(now_ms) if self._round.work else self._finish()

    def overdue(self, now_ms: int) -> bool:
        """Whether the cloud owes an answer for too long; the inspection is given up."""
        current = self._round
        if current is None or not current.asked_ms:
            return False
        if now_ms - current.asked_ms > limits.STALL_TIMEOUT_S * 1000:
            self._round = None
            return True
        return False

    def _fetch(self, now_ms: int, after: tuple[int, str] | None = None) -> list[Step]:
        assert self._round is not None
        name, buckets = self._round.work[0]
        message = Fetch(
            partition=self._round.partition,
            collection=name,
            buckets=list(buckets),
            after=after or (self._round.since[name], ""),
        )
        return self._ask(message, now_ms)

    def _ask(self, message: Check | Fetch, now_ms: int) -> list[Step]:
        assert self._round is not None
        self._round.asked_ms = now_ms
        return [Ask(message)]

    def _finish(self) -> list[Step]:
        assert self._round is not None
        done, self._round = self._round, None
        return [Inspected(done.partition, done.full, done.began_hlc, done.mended)]


def _groups(buckets: list[int], mine: Sums) -> list[tuple[int, ...]]:
    """Buckets put together as long as they hold few enough rows to be remembered at once."""
    groups: list[tuple[int, ...]] = []
    room = 0
    for bucket in sorted(set(buckets)):
        rows = mine[bucket][0] if 0 <= bucket < len(mine) else 0
        if not groups or rows > room:
            groups.append(())
            room = limits.MENDED_ROWS
        groups[-1] += (bucket,)
        room -= rows
    return groups

"""What Beira asks of a database: rows, streams and marks, all changed in one transaction.

- *Rows* are the records, merged by `kernel.merge` as they come in.
- A *stream* numbers what was changed, in commit order and without holes that could still fill up.
  A node has one stream per lane (its log of what the cloud must still get); the cloud has one per
  partition (the feed nodes follow). A stream names each record once, at its latest change, so it
  holds no history: reading `(after, upto]` gives the rows as they are now.
- *Marks* are small named values: cursors, acknowledged numbers, tickets.

A store belongs to one tenant. tests/contract/ holds every implementation to this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from beira.kernel.collection import Registry
from beira.kernel.contest import Contest
from beira.kernel.query import Page, Query
from beira.kernel.record import Row, Value

Route: TypeAlias = Callable[[Row], str | None]
"""Asked with each row given to `commit` that changed something: the stream that must name it, or None.
The answer depends on collection, partition and stamp alone, so a store may ask once for rows that
come in columns (`kernel.batch.Block`) and have these in common."""


Dropped: TypeAlias = Callable[[Sequence[Contest]], Sequence[Row]]
"""Asked within the transaction with what a commit's rows met, if anything: the rows it gives are merged
and routed as the others are, in the same transaction. It may be called on another thread, and again if
the transaction has to be repeated."""


class Commit(msgspec.Struct, kw_only=True, frozen=True):
    """What a commit did: the rows as they are now, of those it changed (replays change nothing), and
    the fields for which different writers had different values."""

    rows: Sequence[Row] = ()
    contests: Sequence[Contest] = ()


class Slice(msgspec.Struct, kw_only=True, frozen=True):
    """All that changed in a stream after `after` up to `upto`; `more` if there is more behind it.

    With no change, `upto` is the end of what was looked at: it never lies before `after`.
    """

    stream: str
    after: int
    upto: int
    rows: Sequence[Row]
    more: bool


class Pending(msgspec.Struct, kw_only=True, frozen=True):
    """What a stream holds: records named, the hlc of the oldest change among them, the last number."""

    count: int
    oldest_hlc: int | None
    last: int


class News(msgspec.Struct, kw_only=True, frozen=True):
    """Told to subscribers after each commit that changed rows: (collection, id, partition) of each."""

    tenant: str
    rows: tuple[tuple[str, str, str], ...]


class Store(Protocol):
    """One tenant's data. All methods may raise Unavailable; writes may raise Full. Nothing is lost
    by either: what was confirmed stays."""

    @property
    def registry(self) -> Registry: ...

    async def commit(
        self,
        rows: Sequence[Row],
        *,
        route: Route | None = None,
        marks: Mapping[str, Value] | None = None,
        expect: Mapping[str, Value] | None = None,
        dropped: Dropped | None = None,
    ) -> Commit:
        """Merge `rows`, name those that changed in their streams, set `marks`, and write down what
        was `dropped`: all durable, or none.

        `expect` demands the present values of marks (None: absent), for writers that race.
        Raises: Conflict `marks.moved` when they differ, Conflict `partition.fixed`.
        """
        ...

    async def since(
        self, stream: str, after: int, *, whole: bool = False, most: int, most_bytes: int
    ) -> Slice:
        """What changed in `stream` after `after`, in order, at most `most` rows of `most_bytes`
        (roughly, as JSON; always at least one row).

        Each row holds only the fields changed since it was last trimmed from the stream, unless
        `whole` is set. Where there is no more, the slice reaches to the stream's end, beyond entries
        that are gone.
        """
        ...

    async def trim(
        self, stream: str, upto: int, *, marks: Mapping[str, Value] | None = None
    ) -> None:
        """Forget the stream's entries up to and including `upto`, and set `marks`, together."""
        ...

    async def pending(self, stream: str) -> Pending:
        """What waits in a stream. It counts, so its cost grows with the stream."""
        ...

    async def end(self, stream: str) -> int:
        """The last number a stream has given, at once however long it is; 0 for a new one."""
        ...

    async def look(
        self, prefixes: Sequence[str], streams: Sequence[str]
    ) -> tuple[dict[str, Value], dict[str, int]]:
        """The marks that begin with one of `prefixes`, and the last number of each of `streams`, as
        `marks` and `end` give them; all of one moment."""
        ...

    async def get(self, collection: str, id: str) -> Row | None:
        """The row, deleted or not."""
        ...

    async def rows(
        self, collection: str, partition: str, *, after: tuple[int, str], most: int
    ) -> tuple[Row, ...]:
        """A partition's rows, deleted ones too, in the order of (stamp number, id): at most `most`
        of those beyond `after`. `(hlc, "")` begins with what was last written at `hlc`."""
        ...

    async def query(self, query: Query, partitions: Iterable[str] | None = None) -> Page:
        """Answer a checked query over the rows that are not deleted, within `partitions`
        (None: all of the tenant)."""
        ...

    async def marks(self, prefix: str = "") -> dict[str, Value]: ...

    async def forget(self, collection: str, before_hlc: int, *, most: int = 1_000) -> int:
        """Retention: remove up to `most` rows last written before `before_hlc` that no stream names.
        Returns how many."""
        ...

    async def collect(
        self, stream: str, upto: int, before_hlc: int, *, floor: str, most: int = 1_000
    ) -> int:
        """Tombstones: remove up to `most` deleted rows that `stream` names at or below `upto`, last
        written before `before_hlc`, with their entries. If any went, the mark `floor` becomes
        [the greatest number removed, `before_hlc`], never less than it was. Returns how many."""
        ...

    def subscribe(self, listener: Callable[[News], None]) -> Callable[[], None]:
        """Call `listener` after each commit that changed rows, on the event loop; the returned
        function ends it."""
        ...

    async def close(self) -> None: ...


class NodeStore(Store, Protocol):
    """What only a node's store can do."""

    async def restamp(self, streams: Sequence[str], node: str, ceiling: int, floor: int = 0) -> int:
        """Bring the unsent stamps of `node` that lie too far above `ceiling` down to it, though not to
        `floor`, order kept (`kernel.clock.relaid`). Returns the greatest stamp number of `node` that
        is known now."""
        ...

    async def relog(self, keys: Sequence[tuple[str, str]], route: Route) -> int:
        """Name the rows (collection, id) in their streams as if each had just been written whole.
        Returns how many there are."""
        ...

    async def remove(self, keys: Sequence[tuple[str, str]]) -> int:
        """Take rows away without a trace; those that a stream names stay. Returns how many went."""
        ...

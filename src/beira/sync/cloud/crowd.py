"""What many nodes of one tenant ask of its database at the same moment, asked together: each coming in
reads where its lanes and feeds are, and each small push is a commit. One wait for the disk does for all
that came during the one before.

Row-level security is by tenant, so nodes of one tenant only. A push that cannot be committed as it is
fails alone: the others are committed without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beira.kernel import limits
from beira.kernel.contest import Contest
from beira.kernel.errors import BeiraError, Unavailable
from beira.kernel.record import Row, Value
from beira.store.gathering import Gathering
from beira.store.port import Dropped, Route, Store

LOOK_PAUSE_S = 0.02
PUSH_PAUSE_S = 0.03
"""From one group's beginning to the next one's. The first after a rest goes at once."""
Looked = tuple[dict[str, Value], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push's rows, with marks as they must be before, and as they are after it; `dropped` gives what
    to keep of the values that lose by it."""

    rows: Sequence[Row]
    expect: Mapping[str, Value]
    marks: Mapping[str, Value]
    dropped: Dropped | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    prefixes: Sequence[str]
    streams: Sequence[str]


class Crowd:
    """One tenant's, at one replica."""

    def __init__(self, store: Store, route: Route) -> None:
        self.store = store
        self._route = route
        self._looking: Gathering[_Asked, Looked] = Gathering(self._looked, pause_s=LOOK_PAUSE_S)
        self._pushing: Gathering[Pushed, None] = Gathering(self._pushed, pause_s=PUSH_PAUSE_S)

    async def look(self, prefixes: Sequence[str], streams: Sequence[str]) -> Looked:
        """Marks by prefixes and the ends of streams, all of one moment."""
        return await self._looking.ask(_Asked(prefixes, streams))

    async def push(self, pushed: Pushed) -> None:
        """Commit. Raises as `Store.commit`."""
        if len(pushed.rows) > limits.GATHERED_CHANGES:
            await self._alone(pushed)
        else:
            await self._pushing.ask(pushed)

    async def _looked(self, group: list[_Asked]) -> list[Looked]:
        prefixes = {prefix for asked in group for prefix in asked.prefixes}
        streams = {stream for asked in group for stream in asked.streams}
        marks, ends = await self.store.look(sorted(prefixes), sorted(streams))
        return [
            (
                {
                    name: value
                    for name, value in marks.items()
                    if name.startswith(tuple(a.prefixes))
                },
                {stream: ends[stream] for stream in a.streams},
            )
            for a in group
        ]

    async def _pushed(self, group: list[Pushed]) -> list[BeiraError | None]:
        answers: list[BeiraError | None] = []
        for part in _parts(group):
            answers += await self._part(part)
        return answers

    async def _part(self, part: list[Pushed]) -> list[BeiraError | None]:
        """Pushes that have nothing in common, as one commit; if that fails, each by itself."""
        if len(part) > 1:
            try:
                await self._as_one(part)
            except Unavailable as error:
                return [error] * len(part)
            except BeiraError:
                pass
            else:
                return [None] * len(part)
        answers: list[BeiraError | None] = []
        for one in part:
            try:
                await self._alone(one)
                answers.append(None)
            except BeiraError as error:
                answers.append(error)
        return answers

    async def _as_one(self, part: list[Pushed]) -> None:
        whose = {(row.collection, row.id): one for one in part for row in one.rows}

        def dropped(contests: Sequence[Contest]) -> list[Row]:
            kept: list[Row] = []
            for one in part:
                its = [c for c in contests if whose.get((c.collection, c.id)) is one]
                kept += one.dropped(its) if one.dropped and its else ()
            return kept

        await self.store.commit(
            [row for one in part for row in one.rows],
            route=self._route,
            marks={name: value for one in part for name, value in one.marks.items()},
            expect={name: value for one in part for name, value in one.expect.items()},
            dropped=dropped,
        )

    async def _alone(self, pushed: Pushed) -> None:
        await self.store.commit(
            pushed.rows,
            route=self._route,
            marks=pushed.marks,
            expect=pushed.expect,
            dropped=pushed.dropped,
        )


def _parts(group: list[Pushed]) -> list[list[Pushed]]:
    """Split where a lane or a record comes for the second time: what follows in it must be merged with
    what went before, not joined with it unseen."""
    parts: list[list[Pushed]] = []
    seen: set[object] = set()
    for one in group:
        names: set[object] = {
            *one.marks,
            *one.expect,
            *((row.collection, row.id) for row in one.rows),
        }
        if not parts or names & seen:
            parts.append([])
            seen = set()
        parts[-1].append(one)
        seen |= names
    return parts

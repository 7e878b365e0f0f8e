"""What the cloud writes down of its nodes: how they are and how far they got. None of it is acknowledged,
all of it is frequent, so what many nodes say meanwhile is committed together, and what is known of them
is read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beira.kernel import limits
from beira.kernel.query import Compare, Op, Query
from beira.kernel.record import Row, Value
from beira.store.gathering import Gathering
from beira.store.port import Store

PAUSE_S = limits.NOTES_EVERY_S
"""From one commit to the next: what hundreds of nodes say in that time costs as much as what one says.
The first after a rest goes at once."""
READ_PAUSE_S = 0.05
Known = dict[str, Value]


@dataclass(frozen=True, slots=True)
class _Note:
    rows: Sequence[Row]
    marks: dict[str, int]


class Notes:
    """One tenant's. While a commit is under way the next ones gather."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._writing: Gathering[_Note, None] = Gathering(
            self._written, pause_s=PAUSE_S, most=limits.NOTES_PER_COMMIT
        )
        self._reading: Gathering[tuple[str, str], Known | None] = Gathering(
            self._read, pause_s=READ_PAUSE_S, most=limits.NOTES_PER_COMMIT
        )

    async def write(self, *rows: Row, marks: dict[str, int] | None = None) -> None:
        """Returns once it is on disk. Raises what the commit raised."""
        await self._writing.ask(_Note(rows, marks or {}))

    async def known(self, collection: str, id: str) -> Known | None:
        """The fields of a record, None if there is none. Raises what the question raised."""
        return await self._reading.ask((collection, id))

    async def _written(self, group: list[_Note]) -> Sequence[None]:
        marks = {mark: upto for note in group for mark, upto in note.marks.items()}
        await self.store.commit([row for note in group for row in note.rows], marks=marks)
        return [None] * len(group)

    async def _read(self, group: list[tuple[str, str]]) -> Sequence[Known | None]:
        found: dict[tuple[str, str], Known] = {}
        for collection in {collection for collection, _ in group}:
            ids = tuple(sorted({id for name, id in group if name == collection}))
            asked = Query(collection=collection, where=Compare("id", Op.IN, ids), limit=len(ids))
            rows = (await self.store.query(asked)).rows
            found |= {(collection, str(row["id"])): row for row in rows}
        return [found.get(key) for key in group]

"""When a node compares which partition with the cloud, and from when on: kept in marks, so that a
node that is switched off every night comes round to everything all the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.clock import hlc_at, ms_of
from beira.kernel.collection import Collection
from beira.kernel.inspection import Inspected
from beira.kernel.query import Column, Query
from beira.kernel.record import Value
from beira.store.port import NodeStore
from beira.sync import metrics
from beira.sync.inspect import inspected
from beira.sync.node.surroundings import CHECKED_MARK, HORIZON_MARK

log = structlog.get_logger(__name__)
DAY_MS = 86_400_000
LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Due:
    """A partition to be compared now; `since` by collection."""

    partition: str
    since: dict[str, int]
    began_hlc: int
    horizon_hlc: int
    full: bool


class Inspections:
    """Decides what is due. The first comparison of a partition is a full one; later ones look at what
    was written since the last (and a day before), a full one comes round now and then."""

    def __init__(self, host: Host, store: NodeStore) -> None:
        self._host = host
        self._store = store
        self._looked_s = -LOOK_EVERY_S

    async def doubt(
        self, partitions: Iterable[str], horizons: Mapping[str, int]
    ) -> dict[str, Value]:
        """Something is known to be wrong: the marks that have all partitions compared fully."""
        self._looked_s = -LOOK_EVERY_S
        known = await self._store.marks(HORIZON_MARK)
        names = {f"{HORIZON_MARK}{partition}": partition for partition in partitions}
        return {
            name: max(int(known.get(name) or 0), horizons.get(partition, 0))
            for name, partition in names.items()
        }

    async def due(self, partitions: list[str]) -> Due | None:
        """What to compare now, if anything. Looks at most every few seconds."""
        now_s = self._host.wall.monotonic_s()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return None
        marks = await self._store.marks(CHECKED_MARK)
        horizons = await self._store.marks(HORIZON_MARK)
        for partition in partitions:
            known = marks.get(f"{CHECKED_MARK}{partition}")
            horizon_hlc = horizons.get(f"{HORIZON_MARK}{partition}")
            found = self._look(partition, known, horizon_hlc)
            if found is not None:
                return found
        self._looked_s = now_s
        return None

    async def done(self, inspected: Inspected) -> None:
        """A partition was compared."""
        now_ms = self._host.wall.now_ms()
        name = f"{CHECKED_MARK}{inspected.partition}"
        known = (await self._store.marks(name)).get(name) or [0, 0, 0]
        fully_ms = now_ms if inspected.full else known[1]
        marks: dict[str, Value] = {name: [now_ms, fully_ms, inspected.began_hlc]}
        if inspected.full:
            marks[f"{HORIZON_MARK}{inspected.partition}"] = None
        await self._store.commit([], marks=marks)
        metrics.INSPECTED.inc()
        metrics.MENDED.inc(inspected.mended)
        if inspected.mended:
            log.warning("sync.mended", partition=inspected.partition, rows=inspected.mended)

    async def refused(self) -> frozenset[tuple[str, str]]:
        """Records the cloud has said no to: they differ for good, until somebody mends them."""
        query = Query(
            collection="quarantine",
            columns=(Column("in_collection"), Column("record")),
            limit=limits.REFUSED_ROWS,
        )
        page = await self._store.query(query)
        return frozenset((row["in_collection"], row["record"]) for row in page.rows)

    def _look(self, partition: str, known: list[int] | None, horizon_hlc: int | None) -> Due | None:
        now_ms = self._host.wall.now_ms()
        checked_ms, fully_ms, hlc = known or (0, 0, 0)
        full = (
            horizon_hlc is not None
            or known is None
            or not 0 <= now_ms - fully_ms < limits.CHECK_FULLY_EVERY_S * 1000
        )
        if not full and 0 <= now_ms - checked_ms < limits.CHECK_EVERY_S * 1000:
            return None
        least = 0 if full else max(0, hlc_at(ms_of(hlc) - DAY_MS))
        since = {c.name: max(least, self._kept_since(c)) for c in inspected(self._store.registry)}
        began = hlc_at(self._host.clock.now_ms(now_ms))
        return Due(partition, since, began, horizon_hlc or 0, full)

    def _kept_since(self, declared: Collection) -> int:
        """A node forgets what it has kept for long enough: older rows are not compared."""
        if declared.retention_days is None:
            return 0
        now_ms = self._host.clock.now_ms(self._host.wall.now_ms())
        return hlc_at(max(0, now_ms - (declared.retention_days - 1) * DAY_MS))

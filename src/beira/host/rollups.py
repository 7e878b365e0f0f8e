"""Fills the figures of rollups on a node: whatever was written since last time says which hours are to
be added up anew, so that late records and a clock put right count too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import node_partition, site_partition
from beira.kernel.collection import Collection, Scope, timestamp
from beira.kernel.errors import BeiraError
from beira.kernel.query import Compare, Every, Op, Query
from beira.kernel.record import Row, Value
from beira.kernel.rollup import HOUR, SUFFIX, aggregate, hour_of, id_of

log = structlog.get_logger(__name__)
EVERY_S = 60.0
MARK = "rollup:"
"""Before a collection's name: the place, (stamp number, id), up to which it was looked at."""


class Rollups:
    """Adds up a node's rollups, once (`step`) or for as long as it runs (`run`)."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._declared = [item for item in host.store.registry if item.rollup is not None]

    async def run(self) -> None:
        """Add up every minute, for ever."""
        while self._declared:
            try:
                await self.step()
            except BeiraError as error:
                log.warning("rollup.put_off", code=error.code, why=error.message)
            await asyncio.sleep(EVERY_S)

    async def step(self) -> int:
        """Add up what was written since the last time. Returns how many figures changed."""
        changed = 0
        for item in self._declared:
            place = await self._place(item)
            while page := await self._page(item, place):
                hours = self._hours(item, page)
                rows = [row for hour in hours for row in await self._figures(item, hour)]
                place = (page[-1].stamp.hlc, page[-1].id)
                marks: dict[str, Value] = {MARK + item.name: list(place)}
                changed += len((await self._host.write(rows, marks=marks)).rows)
        return changed

    async def _place(self, item: Collection) -> tuple[int, str]:
        found = (await self._host.store.marks(MARK + item.name)).get(MARK + item.name)
        return (int(found[0]), str(found[1])) if found else (0, "")

    async def _page(self, item: Collection, place: tuple[int, str]) -> tuple[Row, ...]:
        partition = self._partition(item)
        return await self._host.store.rows(
            item.name, partition, after=place, most=limits.ROLLUP_PAGE_ROWS
        )

    def _hours(self, item: Collection, page: Iterable[Row]) -> list[str]:
        """The hours that the rows fall into, but for those of which some records are forgotten: they
        would be added up anew from what is left."""
        assert item.rollup is not None
        times = (row.fields.get(item.rollup.at) for row in page)
        hours = {hour_of(moment) for moment in times if moment}
        if item.retention_days is not None:
            kept = self._host.now() - timedelta(days=item.retention_days - 1)
            hours = {hour for hour in hours if hour >= timestamp(kept)}
        return sorted(hours)

    def _partition(self, item: Collection) -> str:
        place = self._host.place
        if item.scope is Scope.NODE:
            return node_partition(place.node)
        return site_partition(place.site or "") if item.scope is Scope.SITE else "tenant"

    async def _figures(self, item: Collection, hour: str) -> list[Row]:
        """The records of an hour's figures, for each group; those that are equal to what is stored
        already are left out."""
        assert item.rollup is not None
        declared = self._host.store.registry[item.name + SUFFIX]
        found: list[Row] = []
        for group, figures in aggregate(item.rollup, await self._hour(item, hour)).items():
            fields: dict[str, Any] = {HOUR: hour, **dict(zip(item.rollup.by, group, strict=True))}
            checked = declared.check(fields | figures, whole=True)
            id = id_of(self._host.place.node, hour, group)
            stored = await self._host.store.get(declared.name, id)
            if stored is None or any(stored.fields.get(n) != v for n, v in checked.items()):
                found.append(self._host.stamped(declared, id, self._partition(item), checked))
        return found

    async def _hour(self, item: Collection, hour: str) -> list[dict[str, Value]]:
        assert item.rollup is not None
        at, rows = item.rollup.at, list[dict[str, Value]]()
        until = f"{hour[:13]}:59:59.999999Z"
        within = Every((Compare(at, Op.GTE, hour), Compare(at, Op.LTE, until)))
        while len(rows) < limits.ROLLUP_ROWS:
            page = await self._host.store.query(
                Query(
                    collection=item.name,
                    where=within,
                    limit=limits.ROLLUP_PAGE_ROWS,
                    offset=len(rows),
                )
            )
            rows += page.rows
            if len(page.rows) < limits.ROLLUP_PAGE_ROWS:
                return rows
        log.warning("rollup.cut", collection=item.name, hour=hour, rows=limits.ROLLUP_ROWS)
        return rows

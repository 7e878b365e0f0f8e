"""What makes sync give way, looked up now and then: the calendar's windows and the machine itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.access import partitions
from beira.kernel.calendar import conditions
from beira.kernel.policy import Conditions
from beira.kernel.query import Query
from beira.kernel.system import SyncWindow

LOOK_EVERY_S = 10.0


class Surroundings:
    """`machine` tells of the price of the link and the battery."""

    def __init__(self, host: Host, machine: Callable[[], Conditions]) -> None:
        self._host = host
        self._machine = machine
        self._looked_s: float | None = None

    async def changed(self) -> Conditions | None:
        """The conditions now, or None if it is too soon to look again."""
        now_s = self._host.wall.monotonic_s()
        if self._looked_s is not None and now_s - self._looked_s < LOOK_EVERY_S:
            return None
        self._looked_s = now_s
        moment = self._host.now().astimezone(self._host.place.zone)
        places = partitions(self._host.place.principal) or ()
        calendar = conditions(await self._windows(), places, moment)
        return replace(self._machine(), held=calendar.held, share=calendar.share)

    async def _windows(self) -> list[SyncWindow]:
        page = await self._host.store.query(
            Query(collection="sync_windows", limit=limits.WINDOWS_READ)
        )
        names = set(SyncWindow.__struct_fields__)
        known = [{k: v for k, v in row.items() if k in names} for row in page.rows]
        return [msgspec.convert(row, SyncWindow, strict=False) for row in known]

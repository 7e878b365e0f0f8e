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

HORIZON_MARK = "horizon:"
"""Before a partition's name: it must be compared fully, whatever the clock says. The cloud had
forgotten deletions up to this stamp number before they were heard of here."""
CHECKED_MARK = "checked:"
"""Before a partition's name: [when it was compared last, when fully, the stamp number then]."""
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
        held = frozenset() if await self._in_doubt() else calendar.held
        return replace(self._machine(), held=held, share=calendar.share)

    async def _in_doubt(self) -> bool:
        """Whether what is here has yet to be compared with a cloud that is another one, or long should
        have been: that is done once all is sent, and the window that holds it back may be one the
        cloud has lost."""
        if await self._host.store.marks(HORIZON_MARK):
            return True
        known = await self._host.store.marks(CHECKED_MARK)
        least_ms = self._host.wall.now_ms() - limits.UNCHECKED_MOST_S * 1000
        return any(checked_ms < least_ms for checked_ms, *_ in known.values())

    async def _windows(self) -> list[SyncWindow]:
        page = await self._host.store.query(
            Query(collection="sync_windows", limit=limits.WINDOWS_READ)
        )
        names = set(SyncWindow.__struct_fields__)
        known = [{k: v for k, v in row.items() if k in names} for row in page.rows]
        return [msgspec.convert(row, SyncWindow, strict=False) for row in known]

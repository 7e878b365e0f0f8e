"""When a node backs itself up: every six hours, a little spread so that a fleet does not do it at once;
what was missed while it was off is made up after the start. Each is made by a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from beira.host.host import Host
from beira.kernel import limits
from beira.kernel.errors import BeiraError
from beira.kernel.system import Alert
from beira.node import backup_files
from beira.node.backup_files import BackupPlan, BackupStatus, PlaceStatus

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 30.0
SPREAD = 0.1


class Backups:
    """Runs a node's backups until it is cancelled."""

    def __init__(
        self,
        plan: BackupPlan,
        host: Host,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._plan, self._host = plan, host
        self._chance = chance
        self._data = Path(plan.data)
        self._later = chance() * SPREAD
        self._alerted = False
        self._begun_ms = self._now_ms()

    async def run(self) -> None:
        await asyncio.to_thread(backup_files.write_plan, self._plan)
        if self._plan.to and not backup_files.has_key(self._data):
            log.warning("backup.no_key", do=f"beira node backup-key --data {self._data}")
        while True:
            try:
                await self._look()
            except (BeiraError, OSError) as error:
                log.warning("backup.put_off", why=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        told = await asyncio.to_thread(backup_files.status, self._data)
        if await asyncio.to_thread(self._is_due, told):
            await self._make()
            self._later = self._chance() * SPREAD
            told = await asyncio.to_thread(backup_files.status, self._data)
        await self._tell_if_late(told)

    def _is_due(self, told: BackupStatus) -> bool:
        if not backup_files.has_key(self._data):
            return False
        return any(self._is_due_at(told.places.get(name, PlaceStatus())) for name in self._places())

    def _places(self) -> list[str]:
        return [name for name in (self._plan.to, "cloud" if self._plan.cloud else "") if name]

    def _is_due_at(self, place: PlaceStatus) -> bool:
        every_s = self._plan.every_s * (1 - self._later)
        if place.error:
            every_s = min(every_s, limits.BACKUP_AGAIN_S)
        age_ms = self._now_ms() - place.tried_ms
        return age_ms < 0 or age_ms >= every_s * 1000  # a clock that was in the future, too

    async def _make(self) -> None:
        """Run one to its end; it ends with this node."""
        here = sys.path[0] in ("", str(Path.cwd()))  # as in `node.__main__.become`
        program = [sys.executable, *([] if here else ["-P"]), "-m", "beira.node.backup"]
        given = msgspec.json.encode(self._plan).decode()
        process = await asyncio.create_subprocess_exec(
            *program, given, stdin=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(limits.BACKUP_MOST_S * 2):
                code = await process.wait()
            log.info("backup.ended", code=code)
        except TimeoutError:
            log.warning("backup.slow")
        finally:
            await _ended(process)

    async def _tell_if_late(self, told: BackupStatus) -> None:
        """People hear of it once for each time it goes wrong for long."""
        if not backup_files.has_key(self._data):
            return
        late_ms = self._plan.every_s * limits.BACKUPS_LATE * 1000
        for name in self._places():
            place = told.places.get(name, PlaceStatus())
            if place.error and self._now_ms() - max(place.taken_ms, self._begun_ms) > late_ms:
                if not self._alerted:
                    await self._alert(name, place)
                self._alerted = True
                return
        self._alerted = False

    async def _alert(self, name: str, place: PlaceStatus) -> None:
        alert = Alert(
            kind="backup_late",
            level="warning",
            title=f"Sem backup novo em {name}",
            text=f"{place.error} {place.next_step}",
            at=self._host.now(),
            node=self._host.place.node,
        )
        async with self._host.writing() as ctx:
            ctx.put(alert)

    def _now_ms(self) -> int:
        return self._host.wall.now_ms()


def latest(data: Path) -> datetime | None:
    """When the newest complete backup was taken."""
    taken_ms = backup_files.status(data).taken_ms
    return datetime.fromtimestamp(taken_ms / 1000, UTC) if taken_ms else None


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(limits.BACKUP_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

"""Making assets ready, one after another: any replica may, each asset is done by one.

Who works on what is a mark of the tenant: for each asset a lease with its epoch, until when it holds,
and how often it was taken. A result commits only together with that mark as it was read, so a replica
that was too slow, or thought dead, changes nothing. What a killed replica had begun is taken up again
when its lease has run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from weakref import WeakKeyDictionary

import msgspec
import structlog

from beira.apps.player.library import ffmpeg
from beira.apps.player.library.making import Ready, Steps, made_ready, profiles_in_use, recipe
from beira.apps.player.library.problems import problem_of
from beira.apps.player.records import Asset, Rendition
from beira.apps.player.settings import PlayerSettings
from beira.sdk import (
    BeiraError,
    Conflict,
    Context,
    Corrupt,
    Full,
    Host,
    Invalid,
    Misconfigured,
    News,
    NotFound,
    Unavailable,
    settings_at,
    where,
)

log = structlog.get_logger(__name__)
MARK = "player.jobs"
LEASE_S = 30.0
LOOK_S = 20.0
TRIES = 3
RACES = 50
AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
FOLDER = "beira-player-"
LEFT_S = 86_400
AGAIN_AT_ONCE = 500
"""So many assets are called back in one commit when the settings have changed."""
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class Lease(msgspec.Struct, kw_only=True):
    """Who works on an asset, until when (ms since 1970), and the how-manieth try that is."""

    epoch: int
    by: str
    until_ms: int
    tries: int = 1


class Leases(msgspec.Struct, kw_only=True):
    """All of a tenant, in one mark. `epoch` is the last one given."""

    epoch: int = 0
    held: dict[str, Lease] = {}


class Lost(Exception):
    """The lease is another's: nothing of this work may be kept."""


class Jobs:
    """One replica's work for one tenant. `look_s` and `lease_s` are for tests."""

    def __init__(self, host: Host, *, lease_s: float = LEASE_S, look_s: float = LOOK_S) -> None:
        self._host = host
        self._lease_s = lease_s
        self._look_s = look_s
        self._woken = asyncio.Event()
        self._settings_changed = True
        self.problem: BeiraError | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        end = self._host.store.subscribe(self._heard)
        await asyncio.to_thread(_clean)
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_s):
                        await self._woken.wait()
                self._woken.clear()
                try:
                    while await self.step():
                        pass
                    self.problem = None
                except BeiraError as error:
                    self._put_off(error)
                    await asyncio.sleep(self._look_s)
        finally:
            end()

    async def step(self) -> bool:
        """Take the asset that has waited longest and see it through; False if there is none to take.

        Raises Misconfigured without ffmpeg, Unavailable and Full when the work must wait.
        """
        async with _turn():
            taken = await self._take()
            if taken is None:
                return await self._called_back() > 0
            asset, epoch = taken
            with contextlib.suppress(Lost):
                await self._work(asset, epoch)
            return True

    def _heard(self, news: News) -> None:
        told = {row[0] for row in news.rows}
        if not told or "settings" in told:
            self._settings_changed = True
        if self._settings_changed or "player_assets" in told:
            self._woken.set()

    def _put_off(self, error: BeiraError) -> None:
        if self.problem is None or self.problem.code != error.code:
            log.warning("player.jobs_wait", code=error.code, why=error.message, hint=error.hint)
        self.problem = error

    async def _called_back(self) -> int:
        """What was made by other settings than today's is to be made again; how many."""
        if not self._settings_changed:
            return 0
        self._settings_changed = False
        try:
            called = await self._call_back()
        except BaseException:
            self._settings_changed = True
            raise
        self._settings_changed = self._settings_changed or called == AGAIN_AT_ONCE
        return called

    async def _call_back(self) -> int:
        rows = await self._host.settings_rows(PlayerSettings)
        here = settings_at(PlayerSettings, rows, self._host.place)
        today = recipe(profiles_in_use(rows, here), here)
        async with self._host.writing() as ctx:
            ready = where(state="ready", made_by__neq=today, made_by__gt="")
            found = await ctx.find(Asset, ready, limit=AGAIN_AT_ONCE)
            for asset in found:
                ctx.patch(Asset, asset.id, state="waiting", progress=0)
        return len(found)

    async def _take(self) -> tuple[Asset, int] | None:
        """Leases are read first: what another replica ends after that moves their mark."""
        for _ in range(RACES):
            leases, was = await self._leases()
            async with self._host.writing() as ctx:
                waiting = await ctx.find(Asset, where(state__in=("waiting", "working")), limit=100)
            now_ms = self._now_ms()
            free = [a for a in waiting if not _is_held(leases.held.get(a.id), now_ms)]
            if not free:
                return None
            ffmpeg.found()
            with contextlib.suppress(_Moved):
                epoch = await self._lease(free[0], leases, was)
                if epoch:
                    return free[0], epoch
        return None

    async def _lease(self, asset: Asset, leases: Leases, was: object) -> int:
        """Take an asset by a new epoch; 0 if it was tried too often, and is given up."""
        former = leases.held.get(asset.id)
        tries = 1 + (former.tries if former is not None else 0)
        leases.epoch += 1
        if tries > TRIES:
            del leases.held[asset.id]
            problem = problem_of(Invalid("It was begun three times.", code="player.crashed"))
            async with self._writing(leases, was) as ctx:
                ctx.patch(Asset, asset.id, state="failed", problem=problem)
            return 0
        leases.held[asset.id] = Lease(
            epoch=leases.epoch, by=self._host.place.node, until_ms=self._until_ms(), tries=tries
        )
        async with self._writing(leases, was) as ctx:
            ctx.patch(Asset, asset.id, state="working", progress=0, problem="")
        return leases.epoch

    async def _work(self, asset: Asset, epoch: int) -> None:
        keeping = asyncio.create_task(self._keep(asset.id, epoch))
        working = asyncio.create_task(self._made(asset, epoch))
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                ready = await working
                await self._commit(asset.id, epoch, lambda ctx: _keep_ready(ctx, asset, ready))
                log.info("player.asset_ready", asset=asset.id, tenant=self._host.place.tenant)
            else:
                await keeping
        except (Invalid, Corrupt, NotFound, Misconfigured) as error:
            problem = problem_of(error)
            log.warning("player.asset_failed", asset=asset.id, why=problem)
            await self._commit(
                asset.id,
                epoch,
                lambda ctx: ctx.patch(Asset, asset.id, state="failed", problem=problem),
            )
        except (Unavailable, Full):
            await self._commit(
                asset.id, epoch, lambda ctx: ctx.patch(Asset, asset.id, state="waiting")
            )
            raise
        finally:
            for task in (keeping, working):
                task.cancel()
            await asyncio.gather(keeping, working, return_exceptions=True)

    async def _made(self, asset: Asset, epoch: int) -> Ready:
        settings = await self._host.settings_rows(PlayerSettings)

        async def progress(percent: int) -> None:
            await self._commit(
                asset.id,
                epoch,
                lambda ctx: ctx.patch(Asset, asset.id, progress=percent),
                ends=False,
            )

        with TemporaryDirectory(prefix=FOLDER) as folder:
            return await made_ready(self._host, asset, settings, Steps(Path(folder), progress))

    async def _keep(self, id: str, epoch: int) -> None:
        """Hold on to the lease; ends when it is lost."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self._commit(id, epoch, lambda ctx: None, ends=False)
            except BeiraError as error:  # it may come back before the lease ends
                log.info("player.lease", asset=id, why=error.message)

    async def _commit(
        self, id: str, epoch: int, change: Callable[[Context], object], *, ends: bool = True
    ) -> None:
        """Write what was made, if the lease is still ours; it is renewed, or `ends`. Raises Lost."""
        for _ in range(RACES):
            leases, was = await self._leases()
            mine = leases.held.get(id)
            if mine is None or mine.epoch != epoch:
                raise Lost
            mine.until_ms = self._until_ms()
            if ends:
                del leases.held[id]
            with contextlib.suppress(_Moved):
                async with self._writing(leases, was) as ctx:
                    change(ctx)
                return
        raise Unavailable("Other replicas are always faster.", code="player.jobs_busy")

    async def _leases(self) -> tuple[Leases, object]:
        was = (await self._host.store.marks(MARK)).get(MARK)
        return (Leases() if was is None else msgspec.convert(was, Leases)), was

    @asynccontextmanager
    async def _writing(self, leases: Leases, was: object) -> AsyncIterator[Context]:
        marks = {MARK: msgspec.to_builtins(leases)}
        try:
            async with self._host.writing(marks=marks, expect={MARK: was}) as ctx:
                yield ctx
        except Conflict as error:
            if error.code != "marks.moved":
                raise
            raise _Moved from None

    def _now_ms(self) -> int:
        return self._host.wall.now_ms()

    def _until_ms(self) -> int:
        return self._now_ms() + int(self._lease_s * 1000)


class _Moved(Exception):
    """Another replica changed the leases meanwhile: look again."""


def _is_held(lease: Lease | None, now_ms: int) -> bool:
    return lease is not None and lease.until_ms > now_ms


def _keep_ready(ctx: Context, asset: Asset, ready: Ready) -> None:
    for rendition in ready.renditions:
        ctx.put(rendition)
    for id in ready.outdated:
        ctx.delete(Rendition, id)
    ctx.patch(Asset, asset.id, state="ready", progress=100, problem="", **ready.fields)


def _turn() -> asyncio.Semaphore:
    """So many at a time in this program, for whichever tenant."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


def _clean() -> None:
    """Remove what a program that was killed left behind."""
    for left in Path(gettempdir()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            old = left.stat().st_mtime < time.time() - LEFT_S
            if old and left.stat().st_uid == os.geteuid():
                shutil.rmtree(left, ignore_errors=True)

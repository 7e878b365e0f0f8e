"""A shop's sound, minute by minute: what is chosen is played, one after the other without a gap, and
each play is written down when it ends.

One task does it all, a message at a time: what the engine tells, what people ask for, what the clock
brings. After each it looks whether what is heard may still be heard, and whether what was lined up is
still what comes next. Nothing here waits for a network, and nothing but a file's first use for a disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from beira.apps.player.engines.port import Ended, Engine, Event, Restarted, Silenced, Started
from beira.apps.player.health import Health
from beira.apps.player.log import PlayLog
from beira.apps.player.memory import JINGLE, Choice, Memory
from beira.apps.player.on_disk import OnDisk
from beira.apps.player.program import Program
from beira.apps.player.records import Outcome, Play
from beira.apps.player.rules import choose, next_boundary, sure
from beira.apps.player.settings import PlayerSettings
from beira.apps.player.under_way import JINGLE as JINGLE_FILE
from beira.apps.player.under_way import UnderWay, begun
from beira.sdk import BeiraError, Host

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 15.0
NOTE_EVERY_S = 30.0
FILES_TRIED = 50
JINGLE_FACT = timedelta(hours=1)
"""A jingle that goes on and on is one play; each hour another begins."""
FAILURES_MOST = 20
FAILURES_WAIT_S = 2.0
ANNOUNCEMENTS_MOST = 20
UNHEARD_S = 5.0
"""What an engine has ended it tells within milliseconds. If for so long it has another cue than the one
that counts as heard, it is given that one again: the last resort of a shop that would fall silent."""
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Announcement:
    """What cuts in: a file, and the id of its play."""

    id: str
    title: str
    file: str
    duration_ms: int


class Playing:
    """Plays `program` by `engine`. What people may ask is in its public methods; each is done when it
    returns."""

    def __init__(self, host: Host, engine: Engine, notes: PlayLog, on_disk: OnDisk) -> None:
        self.memory = Memory()
        self.program = Program.of([])
        self.settings = PlayerSettings()
        self.paused = False
        self.health = Health(host, notes.fact)
        self.current: UnderWay | None = None
        self.lined: UnderWay | None = None
        self._suspended: UnderWay | None = None
        self._announcements: deque[Announcement] = deque()
        self._host = host
        self._engine = engine
        self._notes = notes
        self._on_disk = on_disk
        self._inbox: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._ahead = timedelta()
        self._failures = 0
        self._volume: tuple[int, int] | None = None
        self._told_volume = -1
        self._noted_s = 0.0
        self._unheard_from_s: float | None = None
        self.was_heard = False

    def now(self) -> datetime:
        """The time to decide by: never behind the programme's issue, nor behind the last play."""
        return self._host.now() + self._ahead

    def trust_clock(self) -> None:
        """The time is known for sure, as after the cloud was heard."""
        self.memory.trust(self._host.now())
        self._ahead = timedelta()
        self._set_clock()

    def _set_clock(self) -> None:
        wall = self._host.now()
        self._ahead = max(timedelta(), sure(self.program, self.memory, wall) - wall)

    async def begin(self, plays: list[Play]) -> None:
        """What was played last, oldest first, is remembered."""
        self.memory = Memory.of(plays)
        self._set_clock()
        await self.health.load()

    # What others ask for

    async def do(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have the loop do something between two other things; done when this returns."""
        done = asyncio.get_running_loop().create_future()

        async def carried_out() -> None:
            try:
                await work()
            except BaseException as error:
                done.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                done.set_result(None)

        self._inbox.put_nowait(carried_out)
        await done

    def take(self, program: Program, settings: PlayerSettings) -> None:
        """Go by this, before the loop begins."""
        self.program, self.settings = program, settings
        self._set_clock()
        self._engine.expect(
            silence_s=float(settings.silence_s),
            crossfade_ms=settings.crossfade_ms,
            output=settings.output,
        )

    async def use(self, program: Program, settings: PlayerSettings) -> None:
        """Go by another programme, or other settings, from now on."""

        async def work() -> None:
            self.take(program, settings)

        await self.do(work)

    async def pause(self, paused: bool) -> None:
        async def work() -> None:
            self.paused = paused
            self._engine.pause(paused and not self._announcing)

        await self.do(work)

    async def skip(self) -> str:
        """On to what comes next; the title of what was skipped ("" if nothing was heard)."""
        skipped = ""

        async def work() -> None:
            nonlocal skipped
            if self.current is not None:
                skipped = self.current.play.title
                await self._end(self.current, "skipped")

        await self.do(work)
        return skipped

    async def set_volume(self, percent: int) -> None:
        """From now on, until the hour asks for another."""

        async def work() -> None:
            self._volume = (self._scheduled_volume(), percent)

        await self.do(work)

    async def announce(self, announcement: Announcement) -> None:
        """Cut in with this, and give the music back where it stopped. Its file must be here."""

        async def work() -> None:
            if len(self._announcements) < ANNOUNCEMENTS_MOST:
                self._announcements.append(announcement)

        await self.do(work)

    @property
    def volume(self) -> int:
        scheduled = self._scheduled_volume()
        if self._volume is not None and self._volume[0] == scheduled:
            return self._volume[1]
        return scheduled

    @property
    def _announcing(self) -> bool:
        return self.current is not None and self.current.is_announcement

    def _scheduled_volume(self) -> int:
        """The settings' at this hour of the shop's clock."""
        local = f"{self.now().astimezone(self.program.zone):%H:%M}"
        hours = sorted(one.split("=") for one in self.settings.volume_by_hour)
        passed = [int(percent) for at, percent in hours if at <= local]
        if passed:
            return passed[-1]
        return int(hours[-1][1]) if hours else self.settings.volume

    # The loop

    async def run(self) -> None:
        """Play until cancelled."""
        ear = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    await self._attend()
                except Exception:
                    log.exception("player.attend_failed")
                work = await self._next_work()
                if work is not None:
                    await work()
        finally:
            ear.cancel()
            self._note_begun()
            for each in (self.current, self.lined, self._suspended):
                if each is not None:
                    await each.open.aclose()

    async def _listen(self) -> None:
        while True:
            event = await self._engine.event()
            self._inbox.put_nowait(lambda event=event: self._heard(event))  # type: ignore[misc]

    async def _next_work(self) -> Callable[[], Awaitable[None]] | None:
        try:
            async with asyncio.timeout(self._wait_s()):
                return await self._inbox.get()
        except TimeoutError:
            return None

    def _wait_s(self) -> float:
        """Until the clock alone may change something."""
        now = self.now()
        moments = [next_boundary(self.program, now)]
        if self.current is not None and self.current.play.asset:
            moments.append(self.program.closes(self.current.play.asset))
        soonest_s = min((at - now).total_seconds() for at in moments)
        return min(LOOK_EVERY_S, max(0.05, soonest_s))

    async def _heard(self, event: Event) -> None:
        if isinstance(event, Ended):
            await self._ended(event)
        elif isinstance(event, Started):
            self._failures = 0
            if not self.was_heard and self.current is not None:
                self.was_heard = True
                log.info("player.heard", title=self.current.play.title)
        elif isinstance(event, Silenced | Restarted):
            self.health.heard(event)

    async def _ended(self, event: Ended) -> None:
        ended = self.current
        if ended is None or ended.id != event.id:
            return
        if event.failed:
            self._failures += 1
            log.warning("player.not_played", title=ended.play.title, why=event.why)
            await self._doubt(ended)
        elif ended.is_jingle and self._jingle_goes_on(ended, event.then):
            return
        await self._end(ended, "failed" if event.failed else "whole", event.position_ms)
        if self.lined is not None and self.lined.id == event.then:
            self._promote()

    def _jingle_goes_on(self, jingle: UnderWay, then: str) -> bool:
        """If there is still nothing else, the same play goes on."""
        if self.lined is None or not self.lined.is_jingle or self.lined.id != then:
            return False
        if self.now() - jingle.play.at > JINGLE_FACT:
            return False
        jingle.again(self.lined.id)
        self.lined = None
        return True

    def _promote(self) -> None:
        """The engine has gone on by itself to what was lined up."""
        assert self.lined is not None
        self.current, self.lined = self.lined, None
        self.current.play.at = self.now()
        self._is_begun(self.current)

    async def _doubt(self, failed: UnderWay) -> None:
        """It cannot be played: it is not tried again before it was fetched anew, or the next start."""
        file = failed.play.file
        self._on_disk.discard(file)
        if file and self._host.wishes is not None:
            try:
                await self._host.wishes.check(file)
            except (BeiraError, OSError) as error:
                log.warning("player.not_checked", why=str(error))

    async def _end(self, ended: UnderWay, outcome: Outcome, position_ms: int | None = None) -> None:
        """Write it down; the next turn plays what comes next."""
        at_ms = self._engine.position_ms if position_ms is None else position_ms
        self._notes.fact(ended.so_far(at_ms, outcome))
        if self.current is ended:
            self.current = None
        await ended.open.aclose()
        self._note_begun()

    async def _attend(self) -> None:
        """See that what is heard may be, and that what comes next is ready."""
        await self._cut_what_may_not_be_heard()
        if self._announcements and not self._announcing:
            await self._cut_in()
        if self.current is None:
            await self._go_on()
        await self._line_up()
        self._see_that_it_is_heard()
        if self.volume != self._told_volume:
            self._told_volume = self.volume
            self._engine.volume(self.volume)
        loop_s = asyncio.get_running_loop().time()
        if loop_s - self._noted_s > NOTE_EVERY_S:
            self._note_begun()
        await self._look_after_health()
        self._tell()

    def _see_that_it_is_heard(self) -> None:
        has, now_s = self._engine.cue, asyncio.get_running_loop().time()
        if self.current is None or (has is not None and has.id == self.current.id):
            self._unheard_from_s = None
        elif self._unheard_from_s is None:
            self._unheard_from_s = now_s
        elif now_s - self._unheard_from_s > UNHEARD_S:
            log.error("player.unheard", title=self.current.play.title, heard=has and has.path)
            self._unheard_from_s = None
            self._engine.play(self.current.cue)
            if self.lined is not None:
                self._engine.follow(self.lined.cue)

    async def _look_after_health(self) -> None:
        try:
            await self.health.look(self._engine.trouble)
        except BeiraError as error:
            log.warning("player.not_told", why=error.message)

    def _may_be_heard(self, one: UnderWay) -> bool:
        """Neither recalled nor beyond its window or licence."""
        asset = one.play.asset
        if not asset or one.is_announcement:
            return True
        known = self.program.assets.get(asset)
        same = known is not None and known.file == one.play.file
        return same and self.program.closes(asset) > self.now()

    async def _cut_what_may_not_be_heard(self) -> None:
        if self._suspended is not None and not self._may_be_heard(self._suspended):
            gone, self._suspended = self._suspended, None
            await self._end(gone, "cut", gone.from_ms)
        if self.current is not None and not self._may_be_heard(self.current):
            await self._end(self.current, "cut")

    async def _cut_in(self) -> None:
        """The announcement, now; what it cuts goes on where it was. The jingle need not."""
        announcement = self._announcements.popleft()
        made = await self._opened_announcement(announcement)
        if made is None:
            return
        cut = self.current
        if cut is not None and cut.is_jingle:
            await self._end(cut, "cut")
        elif cut is not None:
            cut.interrupted(self._engine.position_ms)
            self._suspended = cut
        await self._unline()
        self._play(made)
        self._engine.pause(False)

    async def _opened_announcement(self, announcement: Announcement) -> UnderWay | None:
        play = Play(
            id=announcement.id, asset="", title=announcement.title, kind="announcement",
            reason="announcement", outcome="cut", at=self.now(), played_ms=0,
            duration_ms=announcement.duration_ms, file=announcement.file,
        )  # fmt: skip
        return await self._opened(play, None)

    async def _opened(self, play: Play, choice: Choice | None) -> UnderWay | None:
        """Its file open, verified; None if it is not there or not sound."""
        made = UnderWay(play, str(JINGLE_FILE), choice, AsyncExitStack())
        if not play.file:
            return made
        if self._host.blobs is None:
            return None
        try:
            path = await made.open.enter_async_context(self._host.blobs.file(play.file))
        except (BeiraError, OSError) as error:
            log.warning("player.file_not_there", title=play.title, why=str(error))
            self._on_disk.discard(play.file)
            return None
        made.path = str(path)
        return made

    async def _go_on(self) -> None:
        """Nothing is heard: what was cut in goes on, else something begins."""
        self._engine.pause(self.paused)
        if self._suspended is not None:
            self.current, self._suspended = self._suspended, None
            self._engine.play(self.current.cue)
            self._note_begun()
            return
        if self._failures > FAILURES_MOST:
            await asyncio.sleep(FAILURES_WAIT_S)
        lined, self.lined = self.lined, None
        if lined is not None and self._still_fits(lined):
            self._play(lined)
            return
        if lined is not None:
            await lined.open.aclose()
        self._play(await self._chosen(self.now(), self.memory))

    def _still_fits(self, lined: UnderWay) -> bool:
        choice = choose(self.program, self.memory, self.now(), self._on_disk)
        return lined.same_as(choice)

    async def _chosen(self, at: datetime, memory: Memory) -> UnderWay:
        """What is to be heard at this moment, with its file open."""
        for _ in range(FILES_TRIED):
            choice = choose(self.program, memory, at, self._on_disk)
            made = await self._opened(begun(choice, self._host.wall.new_id(), at), choice)
            if made is not None:
                return made
        made = await self._opened(begun(JINGLE, self._host.wall.new_id(), at), JINGLE)
        assert made is not None, "the jingle is in the package"
        return made

    def _play(self, made: UnderWay) -> None:
        made.play.at = self.now()
        self.current = made
        self._engine.play(made.cue)
        self._is_begun(made)

    def _is_begun(self, made: UnderWay) -> None:
        if made.choice is not None:
            self.memory.add(made.choice, made.play.at)
        self._note_begun()

    async def _line_up(self) -> None:
        """Have the next one ready, so that it joins without a gap."""
        current = self.current
        if current is None or current.is_announcement:
            await self._unline()
            return
        left_ms = max(0, current.play.duration_ms - self._engine.position_ms)
        at = self.now() + timedelta(milliseconds=left_ms)
        choice = choose(self.program, self.memory, at, self._on_disk)
        if self.lined is not None and self.lined.same_as(choice):
            return
        await self._unline()
        self.lined = await self._chosen(at, self.memory)
        self._engine.follow(self.lined.cue)

    async def _unline(self) -> None:
        if self.lined is not None:
            self._engine.follow(None)
            await self.lined.open.aclose()
            self.lined = None

    # What is written down

    def _note_begun(self) -> None:
        """What a power cut at this moment would leave."""
        self._noted_s = asyncio.get_running_loop().time()
        plays = []
        if self._suspended is not None:
            plays.append(self._suspended.so_far(self._suspended.from_ms))
        if self.current is not None:
            plays.append(self.current.so_far(self._engine.position_ms))
        self._notes.begun(plays)

    def _tell(self) -> None:
        current, lined, trouble = self.current, self.lined or self._suspended, self._engine.trouble
        play = current.play if current else None
        self._notes.now(
            asset=play.asset if play else "",
            title=play.title if play else "",
            artist=play.artist if play else "",
            reason=play.reason if play else "",
            playlist=play.playlist if play else "",
            since=play.at if play else None,
            duration_ms=play.duration_ms if play else 0,
            next_asset=lined.play.asset if lined else "",
            next_title=lined.play.title if lined else "",
            paused=self.paused,
            volume=self.volume,
            silent_ms=self.health.silent_ms,
            output=self.settings.output,
            problem=trouble.code if trouble else "",
            next_step=trouble.hint if trouble else "",
        )

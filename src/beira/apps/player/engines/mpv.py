"""A deck: one mpv that is kept running, and kept playing what it was told to.

What should be heard is kept here, so that an mpv that died, hangs or fell silent is replaced by
another that goes on where it was. Commands are put down and carried out in order by one task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog

from beira.apps.player.engines.lineup import NEXT, NOW, Held, Lineup
from beira.apps.player.engines.mpv_process import LEVEL, MpvProcess, output_options
from beira.apps.player.engines.port import Cue, Ended, Event, Restarted, Silenced, Started, Trouble
from beira.apps.player.engines.watch import Watch
from beira.sdk import BeiraError

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 0.25
AT_ONCE = 3
RETRY_FIRST_S = 0.25
RETRY_MOST_S = 15.0
STEADY_S = 10.0
"""An mpv that ran for so long was no failure: the next is started at once."""
DEATHS_MOST = 2
"""An mpv that dies so often over one file dies of it."""
OFF = "off"
"""As an output: no mpv is started."""
NEAR_MS = 2_000
"""mpv tells of an end a little early, and positions are looked at some times a second."""
NO_OUTPUT = "audio output initialization failed"


class Deck:
    """Implements `Engine`; `crossfade_ms` is none of its business. `options` are further ones of
    mpv's, in place of an output."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.trouble: Trouble | None = None
        self.position_ms = 0
        self.level_db: float | None = None
        self.pid = 0
        self._options = list(options)
        self._output = ""
        self._silence_s = 8.0
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._lineup = Lineup()
        self._paused = False
        self._volume = 100
        self._process: MpvProcess | None = None
        self._changed = asyncio.Event()
        self._to_set: set[str] = set()
        self._again = asyncio.Event()
        self._watch = Watch()
        self._silent_from_s = 0.0
        self._lost_s = 0.0
        self._mute = False

    async def event(self) -> Event:
        return await self._events.get()

    def play(self, cue: Cue) -> None:
        self._lineup.play(cue)
        self.position_ms = cue.start_ms
        self._changed.set()

    def follow(self, cue: Cue | None) -> None:
        self._lineup.follow(cue)
        self._changed.set()

    @property
    def cue(self) -> Cue | None:
        now = self._lineup.now
        return None if now is None else now.cue

    def stop(self) -> None:
        """Hear nothing."""
        self._lineup.play(None)
        self._changed.set()

    def pause(self, paused: bool) -> None:
        self._paused = paused
        self._set("pause")

    def volume(self, percent: int) -> None:
        self._volume = percent
        self._set("volume")

    def expect(self, *, silence_s: float, crossfade_ms: int, output: str) -> None:
        self._silence_s = silence_s
        if output != self._output:
            self._output = output
            self._again.set()

    async def run(self) -> None:
        failures = 0
        while True:
            began_s = time.monotonic()
            try:
                why = await self._one_life()
            except BeiraError as error:
                self._in_trouble(error)
                why = error.message
            finally:
                await self._bury()
            failures = 0 if time.monotonic() - began_s > STEADY_S else failures + 1
            log.warning("player.mpv_ended", why=why, failures=failures)
            self._lost_s = self._lost_s or time.monotonic()
            await self._wait_before(failures)

    async def _wait_before(self, failures: int) -> None:
        """A few times at once; then longer each time, unless settings change."""
        more = failures - AT_ONCE
        if more <= 0:
            return
        try:
            async with asyncio.timeout(min(RETRY_MOST_S, RETRY_FIRST_S * 2.0**more)):
                await self._again.wait()
        except TimeoutError:
            pass

    async def _one_life(self) -> str:
        """Start an mpv, go on where the last one was, and look after it; why it ended."""
        self._again.clear()
        self._mute = False
        if self._output == OFF:
            self.trouble = Trouble("player.off", "Sound is switched off here.", "Choose an output.")
            return await self._anew()
        process = self._process = MpvProcess(self._heard)
        await process.start([*output_options(self._output), *self._options])
        self.pid = process.pid
        self._lineup.anew(self.position_ms)
        self._to_set |= {"volume", "pause"}
        self._changed.set()
        self._watch = Watch()
        tasks = [
            asyncio.create_task(work)
            for work in (process.ended(), self._obey(process), self._look(process), self._anew())
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
            died = tasks[0].done()
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if died and not self._mute:
            self._of_this_file()
        for end in ends:
            if isinstance(end, BeiraError):
                raise end
            if isinstance(end, Exception) and not isinstance(end, asyncio.CancelledError):
                log.error("player.mpv_trouble", why=repr(end))
        return next((end for end in ends if isinstance(end, str)), "it ended")

    async def _anew(self) -> str:
        await self._again.wait()
        return "another output was chosen"

    def _of_this_file(self) -> None:
        """mpv died while it played this: once may be chance, more often is the file."""
        now = self._lineup.now
        if now is None:
            return
        now.deaths += 1
        if now.deaths > DEATHS_MOST:
            self._give_up("mpv dies of it")

    async def _bury(self) -> None:
        if self._process is not None:
            await self._process.kill()
            self._process, self.pid = None, 0

    def _set(self, what: str) -> None:
        self._to_set.add(what)
        self._changed.set()

    async def _obey(self, process: MpvProcess) -> str:
        """Have mpv be as it should be, each time that changes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            to_set, self._to_set = self._to_set, set()
            to_load, self._lineup.to_load = self._lineup.to_load, set()
            if "volume" in to_set:
                await process.ask("set_property", "volume", self._volume)
            if "pause" in to_set:
                await process.ask("set_property", "pause", self._paused)
            if NOW in to_load:
                await self._load_now(process)
                self._lineup.replaced()
            if to_load & {NOW, NEXT}:
                await self._load_next(process)

    async def _load_now(self, process: MpvProcess) -> None:
        held = self._lineup.now
        if held is None:
            await process.ask("stop")
            return
        start = f"start={held.cue.start_ms / 1000:.3f}"
        await process.ask("loadfile", held.cue.path, "replace", start, then=held.replaces)

    async def _load_next(self, process: MpvProcess) -> None:
        await process.ask("playlist-clear")
        held = self._lineup.next
        if held is not None:
            await process.ask("loadfile", held.cue.path, "append-play", then=held.joins)

    def _heard(self, message: dict[str, Any]) -> None:
        """mpv tells of an entry of its playlist; once it found no output, it is not ours to care what
        it makes of the others before it is stopped."""
        if self._mute:
            return
        event, entry = message["event"], int(message.get("playlist_entry_id", 0))
        if event == "playback-restart" and self._lineup.is_entered:
            self._is_heard()
        elif event == "start-file":
            self._lineup.starts(entry)
            if self._lineup.to_load:
                self._changed.set()
        elif event == "end-file" and message.get("reason") not in ("stop", "quit"):
            self._file_ended(entry, message)

    def _file_ended(self, entry: int, message: dict[str, Any]) -> None:
        now, error = self._lineup.now, str(message.get("file_error") or "")
        if now is None or now.entry != entry:
            return
        if error == NO_OUTPUT:
            self.trouble = Trouble(
                "player.no_output",
                "mpv finds no sound device, or it is in use.",
                "Plug one in, or choose it in the player's settings (output).",
            )
            self._mute = True
            if self._process is not None:
                asyncio.get_running_loop().create_task(self._process.kill())
            return
        ended = self._lineup.ends(entry)
        if ended is not None:
            why = "" if message["reason"] == "eof" else error or "mpv cannot play it"
            self._over(ended, why)
            self._changed.set()

    def _give_up(self, why: str) -> None:
        ended = self._lineup.give_up()
        self._changed.set()
        if ended is not None:
            self._over(ended, why)

    def _over(self, ended: Held, why: str) -> None:
        """Tell of it; what was to follow is heard now."""
        at_ms, whole_ms, now = self.position_ms, ended.cue.duration_ms, self._lineup.now
        if not why and whole_ms - at_ms < NEAR_MS:
            at_ms = max(at_ms, whole_ms)
        self.position_ms = 0 if now is None else now.cue.start_ms
        then = "" if now is None else now.cue.id
        self._events.put_nowait(Ended(ended.cue.id, at_ms, bool(why), why, then))

    async def _look(self, process: MpvProcess) -> str:
        """Where it is, how loud it is, and whether anything is heard at all."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            position_s = await process.ask("get_property", "time-pos")
            metered = await process.ask("get_property", "af-metadata/meter")
            self.level_db = _level(metered)
            held = self._lineup.now
            position_ms = None if position_s is None else max(0, round(float(position_s) * 1000))
            if position_ms is not None and self._lineup.is_entered:
                self.position_ms = position_ms
                self._is_heard()
            silent_s = self._watch.look(
                time.monotonic(),
                playing=held is not None and not self._paused,
                position_ms=position_ms,
                level_db=self.level_db,
            )
            if self._fell_silent(silent_s):
                return "nothing is heard"

    def _is_heard(self) -> None:
        held = self._lineup.now
        if held is not None and not held.heard:
            held.heard = True
            self.trouble = None
            self._events.put_nowait(Started(held.cue.id))
        if self._lost_s:
            ms = round((time.monotonic() - self._lost_s) * 1000)
            self._lost_s = 0.0
            self._events.put_nowait(Restarted("mpv was started anew", ms))

    def _fell_silent(self, silent_s: float) -> bool:
        """Tell of it; whether mpv is to be replaced. If that does not help it is the file."""
        now_s = time.monotonic()
        if silent_s < self._silence_s:
            if self._silent_from_s and silent_s == 0:
                ms = round((now_s - self._silent_from_s) * 1000)
                self._silent_from_s = 0.0
                self._events.put_nowait(Silenced(ms, "", over=True))
            return False
        self._silent_from_s = self._silent_from_s or now_s - silent_s
        why = self._watch.why(self.level_db)
        ms = round((now_s - self._silent_from_s) * 1000)
        self._events.put_nowait(Silenced(ms, why, over=False))
        self._watch = Watch()
        held = self._lineup.now
        if held is None:
            return True
        held.restarts += 1
        if held.restarts > 1:
            self._give_up("it is silent")
            return False
        return True

    def _in_trouble(self, error: BeiraError) -> None:
        code = error.code
        known = code in ("player.mpv_missing", "player.no_output")
        if known or self.trouble is None:
            self.trouble = Trouble(
                code if known else "player.mpv_failed",  # type: ignore[arg-type]
                error.message,
                error.hint,
            )


def _level(metered: Any) -> float | None:
    try:
        return float(metered[LEVEL])
    except (KeyError, TypeError, ValueError):
        return None

"""A deck: one mpv that is kept running, and kept playing what it was told to.

What should be heard is kept here, so that an mpv that died, hangs or fell silent is replaced by
another that goes on where it was. Commands are put down and carried out in order by one task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

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


@dataclass
class _Held:
    """A cue that mpv was given, by mpv's number for it."""

    cue: Cue
    entry: int = 0
    heard: bool = False
    deaths: int = 0
    restarts: int = 0

    def given(self, answer: Any) -> None:
        self.entry = int(answer["playlist_entry_id"])


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
        self._now: _Held | None = None
        self._next: _Held | None = None
        self._paused = False
        self._volume = 100
        self._process: MpvProcess | None = None
        self._changed = asyncio.Event()
        self._to_load: set[str] = set()
        self._again = asyncio.Event()
        self._watch = Watch()
        self._silent_from_s = 0.0
        self._lost_s = 0.0
        self._entered = 0
        self._mute = False

    async def event(self) -> Event:
        return await self._events.get()

    def play(self, cue: Cue) -> None:
        self._now, self._next = _Held(cue), None
        self.position_ms = cue.start_ms
        self._change("now")

    def follow(self, cue: Cue | None) -> None:
        self._next = _Held(cue) if cue else None
        self._change("next")

    def holds(self, cue: Cue) -> bool:
        """Whether it is heard, or follows."""
        return any(held is not None and held.cue.id == cue.id for held in (self._now, self._next))

    def stop(self) -> None:
        """Hear nothing."""
        self._now = self._next = None
        self._change("now")

    def pause(self, paused: bool) -> None:
        self._paused = paused
        self._change("pause")

    def volume(self, percent: int) -> None:
        self._volume = percent
        self._change("volume")

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
        if self._now is not None:
            at_ms = max(self._now.cue.start_ms, self.position_ms)
            self._now = replace(self._now, cue=replace(self._now.cue, start_ms=at_ms))
        self._to_load |= {"volume", "pause", "now"}
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
        if self._now is None:
            return
        self._now.deaths += 1
        if self._now.deaths > DEATHS_MOST:
            self._over(self._now, failed=True, why="mpv dies of it")

    async def _bury(self) -> None:
        if self._process is not None:
            await self._process.kill()
            self._process, self.pid = None, 0

    def _change(self, what: str) -> None:
        self._to_load.add(what)
        self._changed.set()

    async def _obey(self, process: MpvProcess) -> str:
        """Have mpv be as it should be, each time that changes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            todo, self._to_load = self._to_load, set()
            if "volume" in todo:
                await process.ask("set_property", "volume", self._volume)
            if "pause" in todo:
                await process.ask("set_property", "pause", self._paused)
            if "now" in todo:
                await self._load_now(process)
            if todo & {"now", "next"}:
                await self._load_next(process)

    async def _load_now(self, process: MpvProcess) -> None:
        held = self._now
        if held is None:
            await process.ask("stop")
            return
        start = f"start={held.cue.start_ms / 1000:.3f}"
        await process.ask("loadfile", held.cue.path, "replace", start, then=held.given)

    async def _load_next(self, process: MpvProcess) -> None:
        await process.ask("playlist-clear")
        held = self._next
        if held is not None:
            await process.ask("loadfile", held.cue.path, "append-play", then=held.given)

    def _heard(self, message: dict[str, Any]) -> None:
        """mpv tells of an entry of its playlist. Of entries we replaced it is not ours to care; nor,
        once it found no output, what it makes of the others before it is stopped."""
        if self._mute:
            return
        entry = int(message.get("playlist_entry_id", 0))
        if message["event"] == "playback-restart":
            if self._now is not None and self._now.entry == self._entered:
                self._is_heard(self._now)
            return
        if message["event"] == "start-file":
            self._entered = entry
            if self._next is not None and entry == self._next.entry:
                self._now, self._next, self.position_ms = self._next, None, 0
            return
        ended = message["event"] == "end-file" and message.get("reason") not in ("stop", "quit")
        if ended and self._now is not None and entry == self._now.entry:
            self._file_ended(self._now, message)

    def _file_ended(self, held: _Held, message: dict[str, Any]) -> None:
        error = str(message.get("file_error") or "")
        if message["reason"] == "eof":
            self._over(held)
        elif error == NO_OUTPUT:
            self.trouble = Trouble(
                "player.no_output",
                "mpv finds no sound device, or it is in use.",
                "Plug one in, or choose it in the player's settings (output).",
            )
            self._mute = True
            if self._process is not None:
                asyncio.get_running_loop().create_task(self._process.kill())
        else:
            self._over(held, failed=True, why=error or "mpv cannot play it")

    def _over(self, held: _Held, *, failed: bool = False, why: str = "") -> None:
        at_ms, whole_ms = self.position_ms, held.cue.duration_ms
        if not failed and whole_ms - at_ms < NEAR_MS:
            at_ms = max(at_ms, whole_ms)
        self._events.put_nowait(Ended(held.cue.id, at_ms, failed, why))
        if self._now is held:
            self._now = None

    async def _look(self, process: MpvProcess) -> str:
        """Where it is, how loud it is, and whether anything is heard at all."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            position_s = await process.ask("get_property", "time-pos")
            metered = await process.ask("get_property", "af-metadata/meter")
            self.level_db = _level(metered)
            held = self._now
            position_ms = None if position_s is None else max(0, round(float(position_s) * 1000))
            if held is not None and position_ms is not None and held.entry:
                self.position_ms = position_ms
                self._is_heard(held)
            silent_s = self._watch.look(
                time.monotonic(),
                playing=held is not None and not self._paused,
                position_ms=position_ms,
                level_db=self.level_db,
            )
            if self._fell_silent(silent_s):
                return "nothing is heard"

    def _is_heard(self, held: _Held) -> None:
        if not held.heard:
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
        held = self._now
        if held is None:
            return True
        held.restarts += 1
        if held.restarts > 1:
            self._over(held, failed=True, why="it is silent")
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

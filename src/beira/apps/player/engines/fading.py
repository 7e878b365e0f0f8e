"""Tracks that overlap: two decks by turns, one fading out while the other fades in.

Two mpvs rather than one with a filter over both files: what comes next may still change until it is
heard, either may die alone, and without a crossfade nothing of this is in the way: then one deck plays
everything, and joins tracks to the sample. Two decks need a sound device that mixes (PulseAudio,
PipeWire, ALSA's default); a device that one program holds alone plays without overlap, by setting 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from beira.apps.player.engines.mpv import Deck
from beira.apps.player.engines.port import Cue, Ended, Event, Started, Trouble

TICK_S = 0.05


class Fading:
    """Implements `Engine` on one deck, and on two while `crossfade_ms` is set. `options` go to mpv."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._decks = (Deck(options), Deck(options))
        self._at = 0
        self._crossfade_ms = 0
        self._volume = 100
        self._paused = False
        self._now: Cue | None = None
        self._next: Cue | None = None
        self._fading_from: Cue | None = None
        self._fade_s = 0.0
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._second: asyncio.Task[None] | None = None

    @property
    def deck(self) -> Deck:
        """The one whose cue is heard, or comes up."""
        return self._decks[self._at]

    @property
    def other(self) -> Deck:
        return self._decks[1 - self._at]

    @property
    def trouble(self) -> Trouble | None:
        return self.deck.trouble

    @property
    def position_ms(self) -> int:
        return self.deck.position_ms

    @property
    def cue(self) -> Cue | None:
        return self._now

    async def event(self) -> Event:
        return await self._events.get()

    def play(self, cue: Cue) -> None:
        self._end_fade()
        self._now, self._next = cue, None
        self.deck.play(cue)

    def follow(self, cue: Cue | None) -> None:
        self._next = cue
        self.deck.follow(None if self._will_fade else cue)

    def pause(self, paused: bool) -> None:
        self._paused = paused
        self.deck.pause(paused)
        if self._fading_from is not None:
            self.other.pause(paused)

    def volume(self, percent: int) -> None:
        self._volume = percent
        if self._fading_from is None:
            self.deck.volume(percent)

    def expect(self, *, silence_s: float, crossfade_ms: int, output: str) -> None:
        self._crossfade_ms = crossfade_ms
        for deck in self._decks:
            deck.expect(silence_s=silence_s, crossfade_ms=0, output=output)
        if self._next is not None:
            self.follow(self._next)

    async def run(self) -> None:
        works = [self.deck.run(), *(self._listen(deck) for deck in self._decks), self._tick()]
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            if self._second is not None:
                tasks.append(self._second)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _will_fade(self) -> bool:
        """Whether what is heard is to overlap what comes: music with music, each long enough."""
        now, coming = self._now, self._next
        if not self._crossfade_ms or now is None or coming is None:
            return False
        long = min(now.duration_ms, coming.duration_ms) > 3 * self._crossfade_ms
        return long and now.fades and coming.fades

    async def _listen(self, deck: Deck) -> None:
        """Pass on what concerns the cue that counts: what fades out has ended already."""
        while True:
            event = await deck.event()
            if isinstance(event, Ended | Started) and deck is not self.deck:
                continue
            if isinstance(event, Ended):
                if self._now is None or event.id != self._now.id:
                    continue
                event = replace(event, then=self._go_on())
            self._events.put_nowait(event)

    def _go_on(self) -> str:
        """What is heard after what ended. What was to fade in, or was changed too late for the deck, is
        joined on at least."""
        self._now, self._next = self._next, None
        if self._now is None:
            return ""
        if self.deck.cue is None or self.deck.cue.id != self._now.id:
            self.deck.play(self._now)
        return self._now.id

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S if self._crossfade_ms else 10 * TICK_S)
            if self._fading_from is not None:
                self._fade(loop.time())
            elif self._will_fade and self._now is not None and not self._paused:
                left_ms = self._now.duration_ms - self.deck.position_ms
                if left_ms <= self._crossfade_ms and self._is_up():
                    self._begin_fade(loop.time())

    def _is_up(self) -> bool:
        """Whether the second deck runs; it is started when it is first needed."""
        if self._second is None or self._second.done():
            self._second = asyncio.create_task(self.other.run())
        return self.other.pid != 0

    def _begin_fade(self, now_s: float) -> None:
        assert self._now is not None and self._next is not None
        ended = self._now
        at_ms = ended.duration_ms
        self._fading_from, self._fade_s = ended, now_s
        self._at = 1 - self._at
        self.deck.volume(0)
        self.deck.pause(False)
        self.deck.play(self._next)
        self._now, self._next = self._next, None
        self._events.put_nowait(Ended(ended.id, at_ms, then=self._now.id))

    def _fade(self, now_s: float) -> None:
        share = min(1.0, (now_s - self._fade_s) * 1000 / max(1, self._crossfade_ms))
        self.deck.volume(round(self._volume * share**0.5))
        self.other.volume(round(self._volume * (1 - share) ** 0.5))
        if share >= 1.0:
            self._end_fade()

    def _end_fade(self) -> None:
        if self._fading_from is None:
            return
        self._fading_from = None
        self.other.stop()
        self.deck.volume(self._volume)

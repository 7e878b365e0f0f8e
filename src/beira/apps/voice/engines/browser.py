"""The browser at the counter as microphone and speaker: one WebSocket, both ways.

Sound comes up as binary frames of int16 mono at a rate the page names; answers go down the same way.
The page says when the first sound is audible and when it fell silent, so that the time to the first
sound is a person's, not ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import numpy as np

from beira.apps.voice.engines.ports import HEARD_HZ, Pcm, Sound
from beira.apps.voice.engines.sound import RATES_HZ, Resampler
from beira.sdk import Invalid, Unavailable

BLOCKS_QUEUED = 600
BLOCK_BYTES = 65_536
FRAME_TIMEOUT_S = 5.0
PLAY_SLACK_S = 2.0


class BrowserIn:
    """Frames of one utterance. When BLOCKS_QUEUED wait, the utterance is given up and the person told."""

    def __init__(self, rate_hz: int) -> None:
        if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            raise Invalid(f"{rate_hz} Hz is no rate of a microphone.", code="audio.rate")
        self._resampler = Resampler(rate_hz, HEARD_HZ)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(BLOCKS_QUEUED)
        self._overflowed = False

    def put(self, data: bytes) -> None:
        """A block as it came. Raises Invalid for one that is not int16 or too large."""
        if len(data) % 2 or len(data) > BLOCK_BYTES:
            raise Invalid("Blocks are int16, 64 kB at most.", code="voice.bad_audio")
        try:
            self._queue.put_nowait(data)
        except asyncio.QueueFull:
            self._overflowed = True

    def end(self) -> None:
        """The button was let go."""
        if self._queue.full():
            self._overflowed = True
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def frames(self) -> AsyncGenerator[Pcm, None]:
        """See `ports.AudioIn`; a page that sends nothing for five seconds has ended its utterance."""
        while True:
            try:
                async with asyncio.timeout(FRAME_TIMEOUT_S):
                    data = await self._queue.get()
            except TimeoutError:
                return
            if self._overflowed:
                raise Unavailable("Sound comes faster than it is heard.", code="audio.overload")
            if data is None:
                return
            yield self._resampler.feed(np.frombuffer(data, "<i2"))


class BrowserOut:
    """The page's loudspeaker. `finish` waits until the page fell silent."""

    def __init__(
        self,
        tell: Callable[[dict[str, Any]], Awaitable[None]],
        send: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._tell, self._send = tell, send
        self._silent = asyncio.Event()
        self._lasts_s = 0.0
        self._rate_hz = 0
        self.first_sound_at: float | None = None

    async def play(self, sound: Sound) -> None:
        if not self._rate_hz:
            self._rate_hz, self._lasts_s, self.first_sound_at = sound.rate_hz, 0.0, None
            self._silent.clear()
            await self._tell({"type": "sound", "rate": sound.rate_hz})
        self._lasts_s += len(sound.pcm) / 2 / sound.rate_hz
        await self._send(sound.pcm)

    async def finish(self) -> None:
        if not self._rate_hz:
            return
        self._rate_hz = 0
        await self._tell({"type": "sound-end"})
        try:
            async with asyncio.timeout(self._lasts_s + PLAY_SLACK_S):
                await self._silent.wait()
        except TimeoutError:
            return

    async def stop(self) -> None:
        self._rate_hz = 0
        await self._tell({"type": "hush"})

    def sounding(self) -> None:
        """The page says that the first piece is audible now."""
        self.first_sound_at = self.first_sound_at or time.monotonic()

    def silent(self) -> None:
        """The page says that it has played all."""
        self._silent.set()


class Mute:
    """No loudspeaker: for those who read the answer."""

    first_sound_at: float | None = None

    async def play(self, sound: Sound) -> None:
        return None

    async def finish(self) -> None:
        return None

    async def stop(self) -> None:
        return None

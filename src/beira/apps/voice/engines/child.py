"""A child process that answers requests with frames, restarted when it crashes or hangs.

Speech engines that are GPL, or crash, or leak, live in such a child: its end is not ours. The frames
are those of espeak_worker.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog

from beira.sdk import Unavailable

log = structlog.get_logger(__name__)
ERROR_BIT = 1 << 31
FRAME_BYTES = 1_048_576
START_TIMEOUT_S = 30.0
TRIES = 2


class FramesChild:
    """One child; requests are answered one after the other."""

    def __init__(self, program: Sequence[str], *, what: str, frame_timeout_s: float) -> None:
        self._program = [sys.executable, "-I", *program]
        self._what = what
        self._timeout_s = frame_timeout_s
        self._process: Process | None = None
        self._owed = False
        self._lock = asyncio.Lock()
        self.rate_hz = 0
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Be ready for a request. Raises Unavailable with the child's own words."""
        async with self._lock:
            await self._ready()

    async def ask(self, request: bytes) -> AsyncGenerator[bytes, None]:
        """Frames of the answer. After a crash or a hang the child is started anew and the answer
        goes on where it broke off. Raises Unavailable when that fails too."""
        async with self._lock:
            given = 0
            for attempt in range(TRIES):
                try:
                    async with aclosing(self._answer(request, given)) as pieces:
                        async for piece in pieces:
                            given += len(piece)
                            yield piece
                    return
                except (OSError, EOFError, TimeoutError) as error:
                    self.restarts += 1
                    log.warning("child.restarted", child=self._what, why=repr(error))
                    await self._kill()
                    if attempt == TRIES - 1:
                        raise self._unavailable("it crashed or hung twice on this text") from error

    async def close(self) -> None:
        async with self._lock:
            await self._kill()

    async def _answer(self, request: bytes, skip: int) -> AsyncGenerator[bytes, None]:
        process = await self._ready()
        assert process.stdin is not None
        process.stdin.write(request + b"\n")
        await process.stdin.drain()
        self._owed = True
        while piece := await self._frame(process, self._timeout_s):
            fresh = piece[skip:]
            skip = max(0, skip - len(piece))
            if fresh:
                yield fresh
        self._owed = False

    async def _ready(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            if not self._owed:
                return self._process
            await self._settle(self._process)
            if self._process is not None:
                return self._process
        await self._kill()
        process = await asyncio.create_subprocess_exec(*self._program, stdin=PIPE, stdout=PIPE)
        self._process = process
        try:
            self.rate_hz = int(await self._frame(process, START_TIMEOUT_S))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            await self._kill()
            raise self._unavailable("it does not start") from error
        return process

    async def _settle(self, process: Process) -> None:
        """Take the rest of an answer whose asker went away."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while await self._frame(process, self._timeout_s):
                    pass
            self._owed = False
        except (OSError, EOFError, TimeoutError, Unavailable):
            await self._kill()

    async def _frame(self, process: Process, timeout_s: float) -> bytes:
        assert process.stdout is not None
        async with asyncio.timeout(timeout_s):
            (head,) = struct.unpack("<I", await process.stdout.readexactly(4))
            size = head & ~ERROR_BIT
            if size > FRAME_BYTES:
                raise EOFError("a frame is too large")
            content = await process.stdout.readexactly(size)
        if head & ERROR_BIT:
            raise self._unavailable(content.decode(errors="replace"))
        return content

    async def _kill(self) -> None:
        process, self._process, self._owed = self._process, None, False
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self._what}: {why}.",
            code="tts.failed",
            hint="`beira node doctor` says what is missing.",
        )

"""ffmpeg in a process of its own, which may do little: files that people send are not to be trusted.

It gets bounded processor time, memory and output, reads only files and pipes, only the formats we take,
and nothing of our environment. It writes to a pipe, so that it ends when we do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from beira.sdk import Invalid, Misconfigured

DEMUXERS = "mp3,flac,wav,w64,mov,mp4,m4a,3gp,3g2,mj2,ogg,aac,aiff"
CPU_S = 1_200
WALL_S = 1_800
MEMORY_KIB = 2_097_152
FILES = 64
STDERR_BYTES = 65_536
READ_BYTES = 262_144
OUTPUT_BYTES = 536_870_912
_SHELL = (
    'ulimit -c 0; ulimit -t "$1"; ulimit -v "$2"; ulimit -n "$3"; shift 3; exec nice -n 10 "$@"'
)
_QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+level+info")
INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS, "-threads", "1")
"""What stands before `-i` for any file that somebody sent."""
SOUND = ("-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1")
"""What stands behind it: the first sound, and nothing else of the file."""


@dataclass(frozen=True)
class Ran:
    """How a run ended: `said` is the end of its log, `errors` those lines that tell of errors."""

    code: int
    said: str

    @property
    def errors(self) -> list[str]:
        lines = (line for line in self.said.splitlines() if "[error]" in line or "[fatal]" in line)
        return [line.partition("] ")[2].replace("[error] ", "").strip() for line in lines]


def found() -> str:
    """The ffmpeg to use. Raises Misconfigured `player.ffmpeg` with what to install."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise Misconfigured(
            "There is no ffmpeg here: what was uploaded waits.",
            code="player.ffmpeg",
            hint="pip install 'beira[player]' in the cloud, or set IMAGEIO_FFMPEG_EXE to an ffmpeg "
            "with libopus.",
        ) from None


async def run(
    *arguments: str,
    heard: Callable[[bytes], object] = len,
    program: str = "",
    cpu_s: int = CPU_S,
    wall_s: float = WALL_S,
    most_bytes: int = OUTPUT_BYTES,
) -> Ran:
    """Run ffmpeg (or `program`, as it is) and hand what it writes to `heard`, piece by piece.

    Raises: Invalid `player.too_much` if it took more time or wrote more than it may; Misconfigured.
    """
    command = [program, *arguments] if program else [found(), *_QUIET, *arguments]
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", _SHELL, "sh", str(cpu_s), str(MEMORY_KIB), str(FILES), *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        cwd="/",
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    passing = asyncio.ensure_future(_pass_on(process.stdout, heard, most_bytes))
    saying = asyncio.ensure_future(_end_of(process.stderr))
    try:
        async with asyncio.timeout(wall_s):
            _, said = await asyncio.gather(passing, saying)
            code = await process.wait()
    except TimeoutError:
        raise _too_much("time") from None
    finally:
        await _gone(process, passing, saying)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # by its own limit, or the system's
        raise _too_much("processor time")
    return Ran(code, said)


async def _pass_on(
    reader: asyncio.StreamReader, heard: Callable[[bytes], object], most_bytes: int
) -> None:
    while data := await reader.read(READ_BYTES):
        most_bytes -= len(data)
        if most_bytes < 0:
            raise _too_much("output")
        heard(data)


async def _end_of(reader: asyncio.StreamReader) -> str:
    held = bytearray()
    while data := await reader.read(READ_BYTES):
        held += data
        del held[:-STDERR_BYTES]
    return held.decode(errors="replace")


async def _gone(process: asyncio.subprocess.Process, *reading: asyncio.Future[Any]) -> None:
    """However it came about: nothing of it goes on running. What it still wrote is read and thrown
    away, for asyncio calls a process ended only when its pipes are."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    pipes = [_end_of(pipe) for pipe in (process.stdout, process.stderr) if pipe is not None]
    await asyncio.gather(*pipes)
    await process.wait()


def _too_much(of: str) -> Invalid:
    return Invalid(f"Reading this file takes too much {of}.", code="player.too_much")

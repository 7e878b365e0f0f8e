"""How fast a master becomes what shops play, against real time and against one plain pass of ffmpeg.

    python -m benchmarks.player.encoding [seconds of sound]

Ours decodes and measures the master, encodes it, and decodes and measures what came out; again with less
gain if its true peak is too high. The peer is what people type: one pass with `loudnorm`, not verified.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from beira.apps.player.library import ffmpeg, sound
from benchmarks.figures import figure

SECONDS = 180
MUSIC = (
    "aevalsrc=0.3*sin(2*PI*110*t)*(0.5+0.5*sin(2*PI*1.9*t))+0.2*sin(2*PI*(440+30*sin(2*PI*5*t))*t)"
    "+0.1*(random(0)-0.5)|0.3*sin(2*PI*165*t)+0.15*sin(2*PI*880*t)*(0.5+0.5*sin(2*PI*3*t))"
    "+0.1*(random(1)-0.5):s=44100"
)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + ours.ru_utime + ours.ru_stime


async def timed(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), _cpu_s()
    await work()
    return time.perf_counter() - wall, _cpu_s() - cpu


async def main(seconds: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for suffix, options in (("mp3", ("-b:a", "256k")), ("flac", ())):
            master = folder / f"master.{suffix}"
            await ffmpeg.run(
                "-f", "lavfi", "-t", str(seconds), "-i", MUSIC, *options, "-y", str(master)
            )

            async def ours(master: Path = master) -> None:
                of = await sound.measured(master)
                made = await sound.made(master, of, folder, "opus-64", -16.0)
                made.path.unlink()

            async def peer(master: Path = master) -> None:
                ran = await ffmpeg.run(
                    "-threads", "1", "-i", str(master), "-af", "loudnorm=I=-16:TP=-1:LRA=11",
                    "-ar", "48000", "-c:a", "libopus", "-b:a", "64k", "-f", "ogg", "pipe:1",
                )  # fmt: skip
                assert ran.code == 0, ran.said

            theirs_wall, theirs_cpu = await timed(peer)
            wall, cpu = await timed(ours)
            about = f"one ffmpeg pass with loudnorm: {seconds / theirs_wall:.0f} x"
            figure(
                f"player.ready_{suffix}",
                seconds / wall,
                "x real time",
                peer=about,
                ratio=theirs_wall / wall,
                target=">= 10",
                met=seconds / wall >= 10,
            )
            figure(
                f"player.ready_{suffix}_cpu",
                seconds / cpu,
                "s of sound a CPU second",
                peer=f"{seconds / theirs_cpu:.0f}",
                ratio=theirs_cpu / cpu,
            )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))

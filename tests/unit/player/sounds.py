"""Small files of every sort, made by ffmpeg itself, and files that mean harm."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from beira.apps.player.library import ffmpeg

FORMATS = ("mp3", "flac", "wav", "m4a", "ogg")
TONE = "sine=frequency=440:sample_rate=44100"
MUSIC = (
    "aevalsrc=0.5*sin(2*PI*220*t)*(0.6+0.4*sin(2*PI*2*t))+0.2*sin(2*PI*1234*t)"
    "|0.5*sin(2*PI*330*t):s=44100"
)


def ffmpeg_run(*arguments: str) -> None:
    subprocess.run([ffmpeg.found(), "-v", "error", "-y", *arguments], check=True)


@lru_cache
def sound(
    suffix: str = "mp3",
    seconds: float = 3.0,
    gain_db: float = 0.0,
    source: str = MUSIC,
    cover: bool = False,
    **tags: str,
) -> bytes:
    """A file of this sort, with these tags."""
    with TemporaryDirectory() as folder:
        path, picture = Path(folder) / f"a.{suffix}", Path(folder) / "c.png"
        named = [a for key, text in tags.items() for a in ("-metadata", f"{key}={text}")]
        more: list[str] = []
        if cover:
            ffmpeg_run("-f", "lavfi", "-i", "testsrc=size=900x700", "-frames:v", "1", str(picture))
            more = [
                "-i",
                str(picture),
                "-map",
                "0:a",
                "-map",
                "1:v",
                "-c:v",
                "png",
                "-disposition:v",
                "attached_pic",
            ]
        ffmpeg_run(
            "-f", "lavfi", "-t", str(seconds), "-i", source, *more,
            "-af", f"volume={gain_db}dB", *named, str(path),
        )  # fmt: skip
        return path.read_bytes()

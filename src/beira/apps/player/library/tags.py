"""What a file says of itself: title, artist, album, genre, how long it is, and its cover.

Read by mutagen in a process of its own with little memory and time, since tags can be made to unpack
without end. A cover is made anew by ffmpeg, so that browsers get a picture and nothing else.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from beira.apps.player.library import ffmpeg
from beira.sdk import BeiraError

CHILD = Path(__file__).with_name("tags_child.py")
CPU_S = 20
WALL_S = 60
COVER_BYTES = 8_388_608
COVER_PIXELS = 600
ANSWER_BYTES = 16_777_216


class Tags(msgspec.Struct):
    """What was found; empty texts and 0 where nothing was."""

    title: str = ""
    artist: str = ""
    album: str = ""
    genre: str = ""
    length_s: float = 0.0
    cover: str = ""


async def read(path: Path) -> Tags:
    """The tags of a file; none if they cannot be read: it may play all the same."""
    told = bytearray()
    try:
        await ffmpeg.run(
            "-I", str(CHILD), str(path), program=sys.executable, heard=told.extend,
            cpu_s=CPU_S, wall_s=WALL_S, most_bytes=ANSWER_BYTES,
        )  # fmt: skip
        return msgspec.json.decode(told, type=Tags)
    except (BeiraError, msgspec.MsgspecError):
        return Tags()


async def cover(of: Tags) -> bytes:
    """Its cover as a JPEG of at most 600 pixels a side, made anew; b"" if none can be read."""
    if not of.cover:
        return b""
    made = bytearray()
    with NamedTemporaryFile() as file:
        file.write(base64.b64decode(of.cover))
        file.flush()
        side = f"'min({COVER_PIXELS},iw)':'min({COVER_PIXELS},ih)'"
        ran = await ffmpeg.run(
            "-protocol_whitelist", "file,pipe", "-format_whitelist", "jpeg_pipe,png_pipe,image2",
            "-threads", "1", "-i", file.name, "-frames:v", "1", "-map_metadata", "-1",
            "-vf", f"scale={side}:force_original_aspect_ratio=decrease,format=yuvj420p",
            "-c:v", "mjpeg", "-q:v", "4", "-fflags", "+bitexact", "-flags:v", "+bitexact",
            "-f", "image2pipe", "pipe:1",
            heard=made.extend, cpu_s=CPU_S, wall_s=WALL_S, most_bytes=COVER_BYTES,
        )  # fmt: skip
    return bytes(made) if ran.code == 0 else b""

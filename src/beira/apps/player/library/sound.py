"""What a file sounds like, and what shops get of it: measured, brought to one loudness, encoded, and
decoded again to see that it is right.

Loudness is EBU R128. The gain is one number for the whole file, as much as the target wants and the
true peak allows: nothing is compressed or clipped. The same master gives the same bytes, so that making
it again changes no name.
"""

from __future__ import annotations

import array
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from beira.apps.player.library import ffmpeg
from beira.sdk import Invalid, Misconfigured

RATE = 48_000
LONGEST_S = 14_400
SHORTEST_MS = 100
ERRORS_FORGIVEN = 2
"""Lines of complaint about a file that decodes to its end: many carry rubbish behind the last frame."""
PEAKS = 200
PEAK_DBTP = -1.0
PEAK_MARGIN_DB = 0.1
SILENT_LUFS = -69.0
ENCODINGS = 4
FRAME = 960
SHORT_OF = 0.97
_LOOK_RATE = 8_000
_STEP = 80
_SUMMARY = re.compile(r"I:\s+(-?[\d.]+|-?inf|nan) LUFS.*?Peak:\s+(-?[\d.]+|-?inf|nan) dBFS", re.S)
_SAMPLES = re.compile(r"Number of samples: (\d+)")


@dataclass(frozen=True)
class Measured:
    """A file that was decoded to its end. `samples` at 48 kHz; `waveform` has `PEAKS` of 0 to 100."""

    samples: int
    loudness_lufs: float
    peak_dbtp: float
    waveform: list[int]

    @property
    def duration_ms(self) -> int:
        return round(self.samples * 1000 / RATE)


@dataclass(frozen=True)
class Made:
    """A rendition as it was verified."""

    path: Path
    gain_db: float
    measured: Measured


async def measured(path: Path, *, told_s: float = 0.0) -> Measured:
    """Decode a whole file and measure it; `told_s` is how long it claims to be, if it does.

    Raises Invalid with why it cannot be played: `player.undecodable`, `player.cut_short`,
    `player.too_long`, `player.too_short`, `player.silent`, `player.too_much`.
    """
    look = _Look()
    filters = (
        f"aresample={RATE},aformat=channel_layouts=stereo,ebur128=peak=true:framelog=quiet,"
        "astats=measure_perchannel=none:measure_overall=Number_of_samples,"
        f"aresample={_LOOK_RATE},aformat=s16:channel_layouts=mono"
    )
    ran = await ffmpeg.run(
        *ffmpeg.INPUT, "-i", str(path), *ffmpeg.SOUND, "-t", str(LONGEST_S + 1), "-af", filters,
        "-f", "s16le", "pipe:1", heard=look.hear,
    )  # fmt: skip
    found, counted = _SUMMARY.findall(ran.said), _SAMPLES.findall(ran.said)
    if ran.code or not found or not counted or len(ran.errors) > ERRORS_FORGIVEN:
        raise _undecodable(ran)
    loudness, peak = (_level(text) for text in found[-1])
    made = Measured(int(counted[-1]), loudness, peak, look.waveform())
    _check_length(made, told_s)
    if made.loudness_lufs <= SILENT_LUFS:
        raise Invalid("Nothing is to be heard in this file.", code="player.silent")
    return made


def gain_db(of: Measured, target_lufs: float) -> float:
    """How much louder to make it: to the target, unless its true peak would go over the limit."""
    return round(min(target_lufs - of.loudness_lufs, PEAK_DBTP - of.peak_dbtp), 2)


async def made(master: Path, of: Measured, folder: Path, profile: str, target_lufs: float) -> Made:
    """Encode `master` for shops into `folder`, and see by decoding that it is whole, joins without a
    gap, and stays below the true peak that is allowed.

    Raises: Invalid `player.encoding` when it is not right, Misconfigured `player.fdkaac`.
    """
    encode = _ENCODERS[profile]
    gain = gain_db(of, target_lufs)
    for turn in range(ENCODINGS):
        path = folder / f"{profile}-{turn}"
        with path.open("wb") as out:
            await encode(master, gain, out, folder)
        got = await measured(path)
        if abs(got.samples - of.samples) > FRAME:
            raise Invalid(
                f"What was encoded has {got.samples} samples, not {of.samples}.",
                code="player.encoding",
            )
        over = got.peak_dbtp - PEAK_DBTP
        if over <= 0:
            return Made(path, gain, got)
        path.unlink()
        gain = round(gain - over - PEAK_MARGIN_DB, 2)
    raise Invalid("What was encoded goes over the true peak allowed.", code="player.encoding")


async def _opus(master: Path, gain: float, out: BinaryIO, folder: Path) -> None:
    encoding = (
        "-c:a", "libopus", "-b:a", "64k", "-vbr", "on", "-application", "audio",
        "-frame_duration", "20", "-ac", "2", "-f", "ogg",
    )  # fmt: skip
    await _converted(master, gain, encoding, out.write)


async def _he_aac(master: Path, gain: float, out: BinaryIO, folder: Path) -> None:
    """By fdkaac alone: ffmpeg's own encoder for it writes, without a word, what nothing plays.

    The delay it is told to count is the one that our decoders take: without it each track would begin
    with 18 ms of silence. It writes the time of day into its file; put into another one, as it is, the
    sound comes out the same each time.
    """
    fdkaac = shutil.which("fdkaac")
    if fdkaac is None:
        raise Misconfigured(
            "HE-AAC v2 needs fdkaac, which is not installed here.",
            code="player.fdkaac",
            hint="apt-get install fdkaac (Debian: contrib, non-free), or choose the profile opus-64.",
        )
    wave, dated, made = (folder / name for name in ("wave.wav", "dated.m4a", "made.m4a"))
    with wave.open("wb") as file:
        await _converted(
            master, gain, ("-c:a", "pcm_s16le", "-ac", "2", "-ar", "44100", "-f", "wav"), file.write
        )
    options = ("-p", "29", "-b", "32k", "--include-sbr-delay", "-o", str(dated), str(wave))
    ran = await ffmpeg.run("--silent", "--ignorelength", *options, program=fdkaac)
    wave.unlink()
    if ran.code:
        raise Invalid(f"fdkaac failed: {ran.said[-200:]}", code="player.encoding")
    ran = await ffmpeg.run(
        *ffmpeg.INPUT, "-i", str(dated), *ffmpeg.SOUND, "-c", "copy", "-map_metadata", "-1",
        "-fflags", "+bitexact", "-f", "ipod", str(made),
    )  # fmt: skip
    dated.unlink()
    if ran.code:
        raise Invalid(f"Encoding failed: {_last(ran)}", code="player.encoding")
    out.write(made.read_bytes())
    made.unlink()


_ENCODERS = {"opus-64": _opus, "he-aac-v2": _he_aac}


async def _converted(
    master: Path, gain: float, encoding: tuple[str, ...], heard: Callable[[bytes], object]
) -> None:
    """One pass from the master to `encoding`, with nothing in it that differs from run to run."""
    ran = await ffmpeg.run(
        *ffmpeg.INPUT, "-i", str(master), *ffmpeg.SOUND,
        "-af", f"aresample={RATE},volume={gain}dB:precision=float",
        *encoding, "-fflags", "+bitexact", "-flags:a", "+bitexact", "pipe:1", heard=heard,
    )  # fmt: skip
    if ran.code:
        raise Invalid(f"Encoding failed: {_last(ran)}", code="player.encoding")


class _Look:
    """Listens to quiet, small sound (8 kHz, mono), and keeps what a waveform is drawn of."""

    def __init__(self) -> None:
        self._left = b""
        self._peaks: list[int] = []

    def hear(self, data: bytes) -> None:
        data = self._left + data
        whole = len(data) // (2 * _STEP) * 2 * _STEP
        self._left = data[whole:]
        samples = array.array("h", data[:whole])
        for start in range(0, len(samples), _STEP):
            step = samples[start : start + _STEP]
            self._peaks.append(max(max(step), -min(step)))

    def waveform(self) -> list[int]:
        """`PEAKS` of 0 to 100, in equal steps."""
        peaks = self._peaks or [0]
        drawn = []
        for n in range(PEAKS):
            start, end = n * len(peaks) // PEAKS, (n + 1) * len(peaks) // PEAKS
            drawn.append(min(100, round(max(peaks[start : max(end, start + 1)]) * 100 / 32_768)))
        return drawn


def _check_length(made: Measured, told_s: float) -> None:
    if made.samples > LONGEST_S * RATE:
        raise Invalid(f"It is longer than {LONGEST_S // 3600} hours.", code="player.too_long")
    if made.duration_ms < SHORTEST_MS:
        raise Invalid("It has next to no sound.", code="player.too_short")
    if told_s and made.duration_ms < told_s * 1000 * SHORT_OF - 500:
        raise Invalid(
            f"It ends after {made.duration_ms // 1000} s and says it has {round(told_s)} s.",
            code="player.cut_short",
        )


def _level(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else -99.0


def _undecodable(ran: ffmpeg.Ran) -> Invalid:
    return Invalid(f"It cannot be decoded: {_last(ran)}", code="player.undecodable")


def _last(ran: ffmpeg.Ran) -> str:
    """What ffmpeg said first, without our paths."""
    told = re.sub(r"(/[^\s:']+)+", "…", (ran.errors or ["?"])[0])
    return told[:200]

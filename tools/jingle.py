"""Make the player's jingle: what a shop hears when it holds nothing else that may be played.

Eight seconds of soft bells over four chords, computed from nothing but these numbers, so that no
licence stands behind it. It is laid out on a circle: its echoes run on from the end into the beginning,
and played over and over it has no seam and no gap. `python tools/jingle.py` writes it anew.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "src/beira/apps/player/sound/jingle.opus"
RATE_HZ = 48_000
BEAT_S = 0.25
BEATS = 32
LOUDNESS_LUFS = -18.0
BITRATE = "34k"
CHORDS = ((57, 64, 72, 76), (53, 60, 69, 72), (48, 60, 67, 76), (55, 62, 71, 74))
"""One for eight beats each, as MIDI notes: A minor, F, C and G, spread out."""
FIGURE = (0, 1, 2, 3, 2, 1, 2, 3)
TUNE = {0: 81, 6: 79, 8: 77, 14: 76, 16: 79, 20: 84, 24: 83, 28: 79}
"""Beat to MIDI note, sung over the chords."""


def hertz(note: int) -> float:
    return float(440.0 * 2 ** ((note - 69) / 12))


def bell(note: int, length_s: float, decay_s: float) -> np.ndarray:
    """A struck bar: its tone, and two partials that die sooner."""
    at = np.arange(int(length_s * RATE_HZ)) / RATE_HZ
    tone = np.zeros_like(at)
    for ratio, level, haste in ((1.0, 1.0, 1.0), (2.0, 0.28, 1.8), (3.98, 0.12, 4.5)):
        tone += level * np.exp(-at * haste / decay_s) * np.sin(2 * np.pi * hertz(note) * ratio * at)
    return tone * np.minimum(1.0, at / 0.004)


def pad(note: int, length_s: float) -> np.ndarray:
    """A held, breathing tone under the bells."""
    at = np.arange(int(length_s * RATE_HZ)) / RATE_HZ
    swell = np.sin(np.pi * at / length_s) ** 0.6
    return swell * sum(np.sin(2 * np.pi * hertz(note) * drift * at) for drift in (0.9985, 1.0015))


def laid(loop: np.ndarray, tone: np.ndarray, beat: float, level: float, pan: float) -> None:
    """Add a tone at a beat, going round at the end; `pan` is 0 left to 1 right."""
    places = (int(beat * BEAT_S * RATE_HZ) + np.arange(len(tone))) % len(loop)
    for side, share in ((0, np.cos(pan * np.pi / 2)), (1, np.sin(pan * np.pi / 2))):
        np.add.at(loop[:, side], places, tone * level * share)


def room(loop: np.ndarray) -> np.ndarray:
    """The loop in a small hall: its echoes go round too."""
    chance = np.random.default_rng(8)
    at = np.arange(len(loop)) / RATE_HZ
    heard = loop.copy()
    for side in (0, 1):
        echo = chance.standard_normal(len(loop)) * np.exp(-at / 0.45)
        spectrum = np.fft.rfft(echo) * np.exp(-np.arange(len(loop) // 2 + 1) / len(loop) * 9)
        wet = np.fft.irfft(np.fft.rfft(loop[:, side]) * spectrum, len(loop))
        heard[:, side] += 0.16 * wet * np.abs(loop).max() / np.abs(wet).max()
    return heard


def composed() -> np.ndarray:
    """The loop as samples from -1 to 1, two channels."""
    loop = np.zeros((int(BEATS * BEAT_S * RATE_HZ), 2))
    for bar, chord in enumerate(CHORDS):
        for voice, note in enumerate(chord[:3]):
            laid(loop, pad(note, 8.6 * BEAT_S), bar * 8 - 0.3, 0.035, 0.3 + 0.2 * voice)
        for beat, voice in enumerate(FIGURE):
            laid(loop, bell(chord[voice] + 12, 2.2, 0.5), bar * 8 + beat, 0.11, 0.25 + 0.15 * voice)
    for beat, note in TUNE.items():
        laid(loop, bell(note, 3.0, 0.9), beat, 0.17, 0.5)
    heard = room(loop)
    return heard / np.abs(heard).max() * 0.7


def loudness_lufs(samples: np.ndarray) -> float:
    """As EBU R128 has it, by ffmpeg."""
    told = _ffmpeg(samples, "-af", "ebur128", "-f", "null", "-").stderr.decode()
    return float(re.findall(r"I:\s+(-?[\d.]+) LUFS", told)[-1])


def _ffmpeg(samples: np.ndarray, *rest: str) -> subprocess.CompletedProcess[bytes]:
    given = ("-f", "f32le", "-ar", str(RATE_HZ), "-ac", "2", "-i", "-")
    command = (imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostats", "-y", *given, *rest)
    body = samples.astype("<f4").tobytes()
    return subprocess.run(command, input=body, capture_output=True, check=True)


def main() -> None:
    made = composed()
    made = made * 10 ** ((LOUDNESS_LUFS - loudness_lufs(made)) / 20)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    exact = ("-fflags", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1")
    _ffmpeg(made, "-c:a", "libopus", "-b:a", BITRATE, *exact, str(TARGET))
    peak, size_bytes = np.abs(made).max(), TARGET.stat().st_size
    print(f"{TARGET.name}: {len(made) / RATE_HZ:.1f} s, {size_bytes} bytes, peak {peak:.2f}")


if __name__ == "__main__":
    main()

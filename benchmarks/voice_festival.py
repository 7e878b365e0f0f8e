"""Another synthesiser, for speech unlike any that training heard: festival's Italian voices.

They are cut from recordings of people, and read our phones with an Italian's accent and the same
length for every vowel. Used where Debian's festival, festvox-italp16k and festvox-itapc16k are
installed; never in training.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.phones import PHONES

VOICES = ("lp_diphone", "pc_diphone")
_FOLDER = Path("/usr/share/festival/voices/italian")
_TO_ITALIAN = {
    "a": "a", "ã": "a", "e": "e", "i": "i", "o": "o", "u": "u", "N": "n", "m": "m", "n": "n",
    "ñ": "J", "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g", "f": "f", "v": "v",
    "s": "s", "z": "z", "S": "S", "Z": "Z", "tS": "tS", "dZ": "dZ", "h": "r", "r": "r", "l": "l",
}  # fmt: skip


def available() -> bool:
    """Whether festival and both voices are installed."""
    return shutil.which("festival") is not None and all((_FOLDER / v).is_dir() for v in VOICES)


def say(spoken: list[tuple[int, ...]], seed: int) -> list[npt.NDArray[np.float32] | None]:
    """Each sequence of phones spoken, voices in turn: 16 kHz floats, or None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        for number, voice in enumerate(VOICES):
            lines = [f"(voice_{voice})"]
            for index in range(number, len(spoken), len(VOICES)):
                rng = np.random.default_rng([seed, index])
                lines += _script(spoken[index], rng, 190 if "lp" in voice else 115,
                                 Path(folder) / f"{index}.wav")  # fmt: skip
            script = Path(folder) / "say.scm"
            script.write_text("\n".join(lines))
            subprocess.run(["festival", "-b", str(script)], capture_output=True, timeout=120)
        return [_read(Path(folder) / f"{index}.wav") for index in range(len(spoken))]


def _script(
    phones: tuple[int, ...], rng: np.random.Generator, f0_hz: float, target: Path
) -> list[str]:
    pace = rng.uniform(0.85, 1.2)
    segments = ['("#" 0.1)']
    for index, phone in enumerate(phones):
        name = PHONES[phone]
        vowel = name in "aãeiou"
        long_s = pace * (rng.normal(0.092, 0.015) if vowel else rng.normal(0.078, 0.012))
        long_s = max(0.04, long_s)
        fall = f0_hz * (1.1 - 0.25 * index / len(phones)) * rng.normal(1.0, 0.04)
        mark = f" ({long_s / 2:.3f} {fall:.0f})" if vowel else ""
        segments.append(f'("{_TO_ITALIAN[name]}" {long_s:.3f}{mark})')
    segments.append('("#" 0.15)')
    return [
        f"(set! utt (Utterance Segments ({' '.join(segments)})))",
        "(utt.synth utt)",
        f'(utt.save.wave utt "{target}" \'riff)',
    ]


def _read(path: Path) -> npt.NDArray[np.float32] | None:
    if not path.exists():
        return None
    with wave.open(str(path)) as source:
        raw = np.frombuffer(source.readframes(source.getnframes()), "<i2")
    return (raw / 32768.0).astype(np.float32) if len(raw) > 3200 else None

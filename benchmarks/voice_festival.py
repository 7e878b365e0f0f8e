"""Another synthesiser, for speech unlike any that training heard: festival's voices.

They are cut from recordings of people, and read our phones with a foreigner's accent and the same
length for every vowel. The Italian ones are for measuring (Debian's festvox-italp16k and
festvox-itapc16k), the Finnish ones for calibrating the second opinion (festvox-suopuhe-lj and
festvox-suopuhe-mv); neither trains the network.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from beira.apps.voice.recogniser.phones import PHONES

_ROOT = Path("/usr/share/festival/voices")
_TO_ITALIAN = {
    "a": "a", "ã": "a", "e": "e", "i": "i", "o": "o", "u": "u", "N": "n", "m": "m", "n": "n",
    "ñ": "J", "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g", "f": "f", "v": "v",
    "s": "s", "z": "z", "S": "S", "Z": "Z", "tS": "tS", "dZ": "dZ", "h": "r", "r": "r", "l": "l",
}  # fmt: skip
_TO_FINNISH = _TO_ITALIAN | {
    "N": "N", "ñ": "n j", "z": "s", "Z": "S", "tS": "t S", "dZ": "d S", "h": "h",
}  # fmt: skip


@dataclass(frozen=True)
class Voices:
    """People of one language: (festival's name, pitch in Hz) each, and our phones as theirs."""

    folder: Path
    people: tuple[tuple[str, float], ...]
    phones: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.people)

    def available(self) -> bool:
        """Whether festival and all of these voices are installed."""
        there = all((self.folder / name).is_dir() for name in self.names)
        return shutil.which("festival") is not None and there


ITALIAN = Voices(_ROOT / "italian", (("lp_diphone", 190.0), ("pc_diphone", 115.0)), _TO_ITALIAN)
FINNISH = Voices(
    _ROOT / "finnish", (("suo_fi_lj_diphone", 190.0), ("hy_fi_mv_diphone", 110.0)), _TO_FINNISH
)


def say(
    spoken: list[tuple[int, ...]], seed: int, voices: Voices = ITALIAN
) -> list[npt.NDArray[np.float32] | None]:
    """Each sequence of phones spoken, voices in turn: 16 kHz floats, or None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (voice, f0_hz) in enumerate(voices.people):
            lines = [f"(voice_{voice})"]
            for index in range(number, len(spoken), len(voices.people)):
                rng = np.random.default_rng([seed, index])
                said = [voices.phones[PHONES[phone]].split() for phone in spoken[index]]
                target = Path(folder) / f"{index}.wav"
                lines += _script([one for phone in said for one in phone], rng, f0_hz, target)
            script = Path(folder) / "say.scm"
            script.write_text("\n".join(lines))
            subprocess.run(["festival", "-b", str(script)], capture_output=True, timeout=120)
        return [_read(Path(folder) / f"{index}.wav") for index in range(len(spoken))]


def _script(
    phones: Sequence[str], rng: np.random.Generator, f0_hz: float, target: Path
) -> list[str]:
    pace = rng.uniform(0.85, 1.2)
    segments = ['("#" 0.1)']
    for index, name in enumerate(phones):
        vowel = name in "aeiou"
        long_s = pace * (rng.normal(0.092, 0.015) if vowel else rng.normal(0.078, 0.012))
        long_s = max(0.04, long_s)
        fall = f0_hz * (1.1 - 0.25 * index / len(phones)) * rng.normal(1.0, 0.04)
        mark = f" ({long_s / 2:.3f} {fall:.0f})" if vowel else ""
        segments.append(f'("{name}" {long_s:.3f}{mark})')
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

"""The speakers: espeak-ng's named variants, and random ones made by us; some kept apart for tests.

A random variant is a throat (formants scaled together and each a little by itself), a pitch, a
breath and a roughness. They are files in a copy of espeak-ng's data, `voices/!v/xNNN`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import espeakng_loader
import numpy as np

# Kept apart: these variants, rates and pitches are heard only by tests and benchmarks.
UNSEEN_VARIANTS = (
    "Alicia", "Andy", "Diogo", "Hugo", "Mario", "Michael", "adam", "anika", "belinda", "caleb",
    "edward", "f3", "f5", "gustave", "iven2", "klatt3", "linda", "m2", "m5", "m7", "miguel",
    "quincy", "sandro", "steph2",
)  # fmt: skip
# Of these, the first are for calibrating confidence and the rest for measuring.
CALIBRATION_VARIANTS = UNSEEN_VARIANTS[1::3]
TEST_VARIANTS = tuple(name for name in UNSEEN_VARIANTS if name not in CALIBRATION_VARIANTS)
UNSEEN_RATES = (118, 152, 186, 214)
UNSEEN_PITCHES = (33, 52, 71)
# Effects rather than people.
_NOT_PEOPLE = (
    "AnxiousAndy", "Demonic", "UniRobot", "anikaRobot", "whisper", "whisperf", "croak", "fast",
    "announcer", "Storm", "Tweaky", *(f"robosoft{i or ''}" for i in range(9)),
)  # fmt: skip
RANDOM_VARIANTS = 200  # espeak-ng lists at most 349 voices


def train_variants() -> list[str]:
    """Named variants that training may hear."""
    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    names = sorted(path.name for path in folder.iterdir())
    return [n for n in names if n not in UNSEEN_VARIANTS and n not in _NOT_PEOPLE and " " not in n]


def train_rate(rng: np.random.Generator) -> int:
    """Words a minute, never within 3 of an unseen rate."""
    while True:
        rate = int(np.clip(rng.normal(165, 35), 95, 260))
        if all(abs(rate - unseen) > 3 for unseen in UNSEEN_RATES):
            return rate


def train_pitch(rng: np.random.Generator) -> int:
    """espeak-ng's pitch (0 to 99), never within 2 of an unseen one."""
    while True:
        pitch = int(rng.integers(15, 90))
        if all(abs(pitch - unseen) > 2 for unseen in UNSEEN_PITCHES):
            return pitch


def make_data_folder(target: Path, seed: int = 11, count: int = RANDOM_VARIANTS) -> Path:
    """Copy espeak-ng's data to `target` and add `count` random variants; returns `target`."""
    if not (target / "done").exists():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(espeakng_loader.get_data_path(), target)
        for folder in (target / "lang").iterdir():
            if folder.name != "roa":
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        for number in range(count):
            text = _variant(np.random.default_rng([seed, number]), number)
            (target / "voices" / "!v" / f"x{number:03d}").write_text(text)
        (target / "done").touch()
    return target


def _variant(rng: np.random.Generator, number: int) -> str:
    woman = rng.random() < 0.5
    throat = rng.uniform(0.98, 1.28) if woman else rng.uniform(0.82, 1.1)
    pitch = rng.uniform(130, 240) if woman else rng.uniform(62, 150)
    lines = ["language variant", f"name x{number:03d}",
             f"pitch {pitch:.0f} {pitch * rng.uniform(1.15, 1.9):.0f}"]  # fmt: skip
    for formant in range(9):
        scale = 100 * throat * rng.normal(1.0, 0.045)
        height = rng.uniform(65, 135) * (0.75 if formant > 4 and rng.random() < 0.4 else 1.0)
        lines.append(f"formant {formant} {scale:.0f} {height:.0f} {rng.uniform(65, 160):.0f}")
    lines.append(f"roughness {rng.integers(0, 5)}")
    lines.append(f"flutter {rng.integers(0, 9)}")
    lines.append(f"voicing {rng.integers(60, 140)}")
    lines.append(f"consonants {rng.integers(60, 150)} {rng.integers(60, 150)}")
    lines.append(f"intonation {rng.integers(1, 5)}")
    if rng.random() < 0.4:
        lines.append("breath " + " ".join(str(rng.integers(0, 4)) for _ in range(8)))
    if rng.random() < 0.3:
        lines.append(f"tone 600 {rng.integers(120, 220)} 1200 {rng.integers(80, 200)} "
                     f"2400 {rng.integers(60, 200)} 4800 {rng.integers(40, 200)}")  # fmt: skip
    if rng.random() < 0.2:
        lines.append(f"klatt {rng.choice([1, 2, 4, 5, 6])}")
    return "\n".join(lines) + "\n"

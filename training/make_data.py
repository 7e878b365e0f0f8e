"""Make the training set: `python -m training.make_data [--hours 20] [--out DIR]`.

Features are computed here, after room, microphone and noise, and stored as one flat array of
float16 with offsets; labels likewise. Everything follows from --seed.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from beira.apps.voice.recogniser.features import features_of, mel_matrix, to_float
from beira.apps.voice.recogniser.phones import phones_of_ipa
from training import augment, text, voices
from training.synth import Synth

WORK = Path("/tmp/beira-training")  # noqa: S108 - rebuilt at will, and too large for the tree
PART = 200
LANGUAGES = ("pt-br",) * 17 + ("pt", "es", "it")
Floats = npt.NDArray[np.float32]


def spoken(
    rng: np.random.Generator, synth: Synth, variants: list[str]
) -> tuple[Floats, tuple[int, ...]] | None:
    """A clean sentence by a random speaker, with its phones."""
    language = str(rng.choice(LANGUAGES))
    name = str(rng.choice(variants))
    if rng.random() < 0.6:
        name = f"x{int(rng.integers(voices.RANDOM_VARIANTS)):03d}"
    said = synth.say(
        text.training_sentence(rng), f"{language}+{name}", voices.train_rate(rng),
        voices.train_pitch(rng), int(rng.integers(20, 85)),
    )  # fmt: skip
    if said is None or not 0.3 < len(said[0]) / augment.RATE_HZ < 9.0:
        return None
    phones = phones_of_ipa(said[1])
    return None if not phones else (said[0], phones)


@dataclass(frozen=True)
class Loud:
    """How much of the speech has noise, and how far under the speech it is."""

    share: float = 0.7
    least_db: float = 4.0
    most_db: float = 35.0


def scene(rng: np.random.Generator, speech: Floats, others: list[Floats], loud: Loud) -> Floats:
    """The sentence as a node's microphone might hear it."""
    before, after = rng.uniform(0.05, 0.5), rng.uniform(0.0, 0.5)
    speech = np.pad(speech, (int(before * augment.RATE_HZ), int(after * augment.RATE_HZ)))
    if rng.random() < 0.45:
        speech = augment.room(rng, speech, float(rng.uniform(0.1, 0.6)))
    if rng.random() < 0.7:
        speech = augment.microphone(rng, speech)
    if rng.random() < loud.share:
        snr_db = float(rng.uniform(loud.least_db, loud.most_db))
        speech = augment.add_noise(speech, noise(rng, len(speech), others), snr_db)
    return augment.at_level(speech, float(rng.uniform(-30, 1.5)))


def noise(rng: np.random.Generator, count: int, others: list[Floats]) -> Floats:
    """Noise of a random kind, power 1."""
    kind = rng.random()
    if kind < 0.35:
        return augment.shaped_noise(rng, count, float(rng.uniform(-6, 1)))
    if kind < 0.55:
        return augment.hum(rng, count)
    if kind < 0.7:
        return augment.clatter(rng, count)
    return augment.babble(rng, count, others)


def make_part(
    seed: int, data: Path, loud: Loud, part: int
) -> tuple[list[npt.NDArray[np.float16]], list[bytes]]:
    """PART sentences: features and phone labels."""
    rng = np.random.default_rng([seed, part])
    synth, variants = Synth(data), voices.train_variants()
    clean: list[tuple[Floats, tuple[int, ...]]] = []
    for _ in range(PART):
        said = spoken(rng, synth, variants)
        if said is not None:
            clean.append(said)
    synth.close()
    others = [samples for samples, _ in clean]
    features, labels = [], []
    for samples, phones in clean:
        pcm = (scene(rng, samples, others, loud) * 32767).astype(np.int16)
        mel = mel_matrix(float(rng.uniform(0.88, 1.14)))
        features.append(features_of(to_float(pcm), mel).astype(np.float16))
        labels.append(bytes(phones))
    return features, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=WORK / "train")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--noise", type=float, nargs=3, default=(0.7, 4.0, 35.0), help="share, least and most dB"
    )
    args = parser.parse_args()
    data = voices.make_data_folder(WORK / "espeak")
    args.out.mkdir(parents=True, exist_ok=True)
    parts = max(1, round(args.hours * 3600 / (PART * 3.9)))
    features: list[npt.NDArray[np.float16]] = []
    labels: list[bytes] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        made = pool.map(partial(make_part, args.seed, data, Loud(*args.noise)), range(parts))
        for one, names in track(made, "speaking", total=parts):
            features += one
            labels += names
    np.save(args.out / "features.npy", np.concatenate(features))
    np.save(args.out / "lengths.npy", np.array([len(one) for one in features]))
    np.save(args.out / "labels.npy", np.frombuffer(b"".join(labels), np.uint8))
    np.save(args.out / "label_lengths.npy", np.array([len(one) for one in labels]))
    print(f"{len(features)} sentences, {sum(map(len, features)) / 360_000:.1f} h in {args.out}")


if __name__ == "__main__":
    main()

"""Fit the confidence on speech kept apart: `python -m training.calibrate [--count 150]`.

Voices, names, products and outside speech here are neither training's nor the benchmark's. What is
learnt: the weights of the evidence, how fast rivals fade, and the two thresholds (act, ask).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from benchmarks.voice_data import Domain, Maker, Utterance, shop

from beira.apps.voice.recogniser import Recogniser, compile_grammar
from beira.apps.voice.recogniser.recogniser import LONGEST_S
from training import augment, text, voices
from training.export import MODEL
from training.make_data import noise

NAMES = (
    "Aline", "Bruno", "Carlos Eduardo", "Daniela", "Emerson", "Fabiana", "Geraldo", "Helena", "Igor",
    "Joana", "Kelly", "Lucas", "Mariana", "Nelson", "Otávio", "Priscila", "Renato", "Sandra", "Tereza",
    "Ulisses", "Vinícius", "Viviane", "Wagner", "Yasmin", "Zilda", "Paulo Roberto", "Paulo César",
)  # fmt: skip
THINGS = (
    "aveia", "batata", "berinjela", "bolacha recheada", "caldo de galinha", "cenoura", "creme de leite",
    "desinfetante", "doce de leite", "ervilha", "esponja", "farofa", "fósforo", "gelatina", "iogurte",
    "laranja", "leite condensado", "lentilha", "mamão", "mel", "milho verde", "mortadela", "ovos",
    "pilha", "pimenta", "queijo prato", "refrigerante", "requeijão", "suco de uva", "vassoura", "vela",
)  # fmt: skip
UNKNOWN_NAMES = (
    "Bartolomeu",
    "Clementina",
    "Dagoberto",
    "Eulália",
    "Firmino",
    "Gertrudes",
    "Hilário",
)
UNKNOWN_THINGS = (
    "parafuso",
    "guarda roupa",
    "bicicleta",
    "violão",
    "cimento",
    "tinta azul",
    "pneu",
)
UNKNOWN_SHARE = 0.05
LONGEST = int(LONGEST_S * 16_000)
ANSWERS = frozenset({"answer", "yes", "no", "cancel"})  # said when a question waits
Rows = npt.NDArray[np.float64]


def utterances(known: Domain, count: int) -> list[tuple[Utterance, bool]]:
    """Recordings, and whether the grammar can hold what is said."""
    unknown = shop(UNKNOWN_NAMES, UNKNOWN_THINGS)
    named = {k: [t for t in v if "{employee}" in t or "{product" in t]
             for k, v in unknown.sentences.items()}  # fmt: skip
    strange = replace(unknown, sentences={k: v for k, v in named.items() if v})
    made: list[tuple[Utterance, bool]] = []
    for seed, snr_db in enumerate((None, 20.0, 10.0, 5.0)):
        maker = Maker(seed=500 + seed, variants=voices.CALIBRATION_VARIANTS)
        made += [(one, True) for one in maker.commands(known, count, snr_db)]
        made += [(one, False) for one in maker.commands(strange, count // 4, snr_db)]
        for number in range(count // 2):
            rng = np.random.default_rng([900 + seed, number])
            said = text.generic_sentence(rng).split()
            made += [(one, False) for one in maker.utter(rng, "", said, [], snr_db)]
        for number in range(count // 10):
            rng = np.random.default_rng([950 + seed, number])
            pcm = augment.at_level(noise(rng, 32_000, [one[0].pcm / 32_768 for one in made]), -20.0)
            empty = Utterance((pcm * 32_767).astype(np.int16), [], "", [], 0.0)
            made.append((empty, False))
        maker.synth.close()
    return made


def fit(rows: Rows, right: Rows, steps: int = 4000) -> tuple[Rows, float]:
    """Logistic regression with a little shrinkage; gives weights and bias."""
    scale = rows.std(axis=0) + 1e-6
    centre = rows.mean(axis=0)
    x = np.column_stack([(rows - centre) / scale, np.ones(len(rows))])
    weights = np.zeros(x.shape[1])
    for _ in range(steps):
        wrong = 1 / (1 + np.exp(-x @ weights)) - right
        weights -= 0.5 * (x.T @ wrong / len(x) + 1e-3 * np.append(weights[:-1], 0))
    plain = weights[:-1] / scale
    return plain, float(weights[-1] - plain @ centre)


def threshold(confidence: Rows, right: Rows, weight: Rows, most_wrong: float) -> float:
    """The lowest threshold at which at most `most_wrong` of what passes is wrong, by weight."""
    order = np.argsort(-confidence)
    passed = np.cumsum(weight[order])
    wrong = np.cumsum((weight * (1 - right))[order])
    fine = np.flatnonzero(wrong <= most_wrong * passed)
    return float(confidence[order[fine[-1]]]) if len(fine) else 1.0


def calibration(x: Rows, y: Rows, possible: Rows, outside: Rows) -> dict[str, Any]:
    """What goes into the model's description.

    `act`: at most 1 in 400 wrong, where one command in twenty names somebody unknown. `ask`: 1.5 %
    of outside speech passes.
    """
    weights, bias = fit(x, y)
    confidence = 1 / (1 + np.exp(-(x @ weights + bias)))
    strange = (possible == 0) & (outside == 0)
    weight = np.where(possible == 1, 1.0, 0.0)
    weight[strange] = UNKNOWN_SHARE * possible.sum() / max(1, strange.sum())
    return {
        "weights": [round(float(w), 5) for w in weights], "bias": round(bias, 5), "sharpness": 0.5,
        "act": round(threshold(confidence, y, weight, 1 / 400), 4),
        "ask": round(float(np.quantile(confidence[outside == 1], 0.985)), 4),
    }  # fmt: skip


def listen(model: Path, count: int, second: bool) -> tuple[Rows, Rows, Rows, Rows, list[str]]:
    """Evidence, whether right, possible, outside; and the texts, of every recording."""
    known = shop(NAMES, THINGS)
    grammar = compile_grammar(known.sentences, known.lists, known.rules)
    recogniser = Recogniser(model, grammar, second_opinion=second)
    recogniser.second_wait_s = 5.0
    rows, marks, told = [], [], []
    for one, possible in track(utterances(known, count), "listening"):
        heard = recogniser.recognise(one.pcm[:LONGEST], asked=one.intent in ANSWERS)
        if heard.evidence is None:
            continue
        meant = known.meaning(one.words)
        same = list(heard.words) == one.words
        right = same or (meant is not None and known.meaning(heard.words) == meant)
        rows.append(astuple(heard.evidence))
        marks.append((right, possible, not one.intent))
        told.append(f"{' '.join(one.words)} | {heard.text}")
    y, inside, outside = np.array(marks, float).T
    return np.array(rows, float), y, inside, outside, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--second", action="store_true", help="with pocketsphinx too")
    args = parser.parse_args()
    x, y, inside, outside, told = listen(args.model, args.count, args.second)
    fitted = calibration(x, y, inside, outside)
    described = args.model / "model.json"
    stored = json.loads(described.read_text(encoding="utf-8"))
    stored["calibration"] = fitted
    described.write_text(json.dumps(stored, ensure_ascii=False) + "\n", encoding="utf-8")
    confidence = 1 / (1 + np.exp(-(x @ np.array(fitted["weights"]) + fitted["bias"])))
    for at in np.argsort(-confidence * (1 - y))[:12]:
        print(f"  surest wrong: {confidence[at]:.3f} {told[at]}")
    acted = (confidence >= fitted["act"])[inside == 1].mean()
    print(fitted, f"{len(y)} utterances, acted on {acted:.3f} of commands")


if __name__ == "__main__":
    main()

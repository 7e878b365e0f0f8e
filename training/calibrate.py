"""Fit the confidence on speech kept apart: `python -m training.calibrate [--count 150]`.

Voices, names, products and outside speech here are neither training's nor the benchmark's. What is
learnt: the weights of the evidence, how fast rivals fade, and the two thresholds (act, ask). With
`--second` these stay, and what is learnt is the worth of a second opinion: on further such speech and
on festival's Finnish voices, cut from recordings of people (the Italian ones are the benchmark's).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from benchmarks.voice_data import Domain, Maker, Utterance, shop
from benchmarks.voice_festival import FINNISH

from beira.apps.voice.recogniser import Recogniser, Recognition, compile_grammar
from beira.apps.voice.recogniser.confidence import AGREES, DIFFERS, Calibration, SecondWeights
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
SHORTEST = 4_800
PULL = 0.25
ANSWERS = frozenset({"answer", "yes", "no", "cancel"})  # said when a question waits
Rows = npt.NDArray[np.float64]


def utterances(known: Domain, count: int, base: int = 500) -> list[tuple[Utterance, bool]]:
    """Recordings, and whether the grammar can hold what is said."""
    unknown = shop(UNKNOWN_NAMES, UNKNOWN_THINGS)
    named = {k: [t for t in v if "{employee}" in t or "{product" in t]
             for k, v in unknown.sentences.items()}  # fmt: skip
    strange = replace(unknown, sentences={k: v for k, v in named.items() if v})
    made: list[tuple[Utterance, bool]] = []
    for seed, snr_db in enumerate((None, 20.0, 10.0, 5.0)):
        maker = Maker(seed=base + seed, variants=voices.CALIBRATION_VARIANTS)
        made += [(one, True) for one in maker.commands(known, count, snr_db)]
        made += [(one, False) for one in maker.commands(strange, count // 4, snr_db)]
        for number in range(count // 2):
            rng = np.random.default_rng([base + 400 + seed, number])
            said = text.generic_sentence(rng).split()
            made += [(one, False) for one in maker.utter(rng, "", said, [], snr_db)]
        for number in range(count // 10):
            rng = np.random.default_rng([base + 450 + seed, number])
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


def listen(model: Path, count: int) -> tuple[Rows, Rows, Rows, Rows, list[str]]:
    """Evidence, whether right, possible, outside; and the texts, of every recording."""
    known = shop(NAMES, THINGS)
    grammar = compile_grammar(known.sentences, known.lists, known.rules)
    recogniser = Recogniser(model, grammar, second_opinion=False)
    rows, marks, told = [], [], []
    for one, possible in track(utterances(known, count), "listening"):
        heard = recogniser.recognise(one.pcm[:LONGEST], asked=one.intent in ANSWERS)
        if heard.evidence is None:
            continue
        rows.append(astuple(heard.evidence))
        marks.append((is_right(known, one, heard), possible, not one.intent))
        told.append(f"{' '.join(one.words)} | {heard.text}")
    y, inside, outside = np.array(marks, float).T
    return np.array(rows, float), y, inside, outside, told


def is_right(known: Domain, one: Utterance, heard: Recognition) -> bool:
    """Whether the app would do what was said."""
    meant = known.meaning(one.words)
    same = list(heard.words) == one.words
    return same or (meant is not None and known.meaning(heard.words) == meant)


@dataclass(frozen=True)
class Judged:
    """Recordings on which a second opinion was asked for, or could have been.

    `odds` of the first recogniser (log), `right`, `weight` (how often such a recording comes) and
    what the second one said.
    """

    odds: Rows
    right: Rows
    weight: Rows
    opinion: npt.NDArray[np.str_]

    @classmethod
    def of(
        cls, recogniser: Recogniser, known: Domain, made: Sequence[tuple[Utterance, bool]]
    ) -> Judged:
        """Listen to (recording, whether the grammar can hold it)."""
        rows = []
        commands = sum(possible for _, possible in made)
        strange = sum(bool(one.intent) and not possible for one, possible in made)
        for one, possible in track(made, "asking"):
            pcm = one.pcm[: min(LONGEST, int((one.speech_end_s + 0.5) * 16_000) or LONGEST)]
            if len(pcm) < SHORTEST or (one.intent and one.speech_end_s > LONGEST_S - 0.5):
                continue
            heard = recogniser.recognise(pcm, asked=one.intent in ANSWERS)
            if heard.evidence is None:
                continue
            alone = recogniser.calibration.confidence(heard.evidence)
            often = UNKNOWN_SHARE * commands / max(1, strange) if one.intent else 0.0
            rows.append((np.log(alone / (1 - alone)), is_right(known, one, heard),
                         1.0 if possible else often, heard.second))  # fmt: skip
        odds, right, weight, opinion = zip(*rows, strict=True)
        return cls(np.array(odds), np.array(right, float), np.array(weight), np.array(opinion))

    def worth(self, other: Judged, opinion: str) -> float:
        """Log odds to add where the second one said this: the likeliest, pulled a little to 0."""
        both = [(j.odds[m], j.right[m], j.weight[m])
                for j in (self, other) for m in [(j.opinion == opinion) & (j.weight > 0)]]  # fmt: skip
        odds, right, weight = (np.concatenate(part) for part in zip(*both, strict=True))
        signed = np.where(right == 1, -1.0, 1.0)

        def loss(more: float) -> float:
            return float(np.sum(weight * np.logaddexp(0, signed * (odds + more))) + PULL * more**2)

        return float(min(np.arange(-6.0, 6.0, 0.01), key=loss))

    def wrong_unasked(self, calibration: Calibration) -> float:
        """Share, by weight, of what would be done without asking that is wrong."""
        pairs = zip(1 / (1 + np.exp(-self.odds)), self.opinion, strict=True)
        done = np.array([calibration.judged(float(c), str(o)) for c, o in pairs]) >= calibration.act
        weight = self.weight * done
        return float((weight * (1 - self.right)).sum() / max(1e-9, weight.sum()))


def second_weights(recogniser: Recogniser, speech: Judged, people: Judged) -> SecondWeights:
    """What an opinion is worth. Agreement is worth no more than keeps wrong actions as rare as `act`
    has them; up to `most` it is asked for: above lies less than 1 wrong in 1,000."""
    confidence = 1 / (1 + np.exp(-speech.odds))
    most = threshold(confidence, speech.right, speech.weight, 1 / 1_000)
    differs = min(0.0, speech.worth(people, DIFFERS))
    agrees = max(0.0, speech.worth(people, AGREES))
    print(f"likeliest: agrees {agrees:.2f}, differs {differs:.2f}")
    while True:
        found = SecondWeights(round(agrees, 2), round(differs, 2), round(most, 3))
        judged = replace(recogniser.calibration, second=found)
        if agrees == 0 or speech.wrong_unasked(judged) <= 1 / 400:
            return found
        agrees = max(0.0, agrees - 0.1)


def teach_second(model: Path, count: int) -> dict[str, float]:
    """Ask about everything that is neither unheard nor certain, and weigh what came of it."""
    known = shop(NAMES, THINGS)
    recogniser = Recogniser(model, compile_grammar(known.sentences, known.lists, known.rules))
    recogniser.second_wait_s = 20.0
    recogniser.calibration = replace(recogniser.calibration, second=SecondWeights(most=0.985))
    assert recogniser.second is not None and recogniser.second.prepare(), "no pocketsphinx"
    if not FINNISH.available():
        raise SystemExit("Install festival, festvox-suopuhe-lj and festvox-suopuhe-mv.")
    finnish = [(one, True) for one in Maker(seed=5_200).festival(known, 3 * count, None, FINNISH)]
    speech = Judged.of(recogniser, known, utterances(known, count, base=7_000))
    people = Judged.of(recogniser, known, finnish)
    recogniser.close()
    for name, one in (("espeak-ng", speech), ("Finnish", people)):
        for said in ("", AGREES, DIFFERS):
            fit = (one.opinion == said) & (one.weight > 0)
            print(f"{name}, {said or 'none':7s}: {fit.sum()}, right {one.right[fit].mean():.3f}")
    found = second_weights(recogniser, speech, people)
    for name, one in (("espeak-ng", speech), ("Finnish", people)):
        for label, weights in (("without", SecondWeights()), ("with", found)):
            judged = replace(recogniser.calibration, second=weights)
            print(f"{name}, {label}: wrong unasked {one.wrong_unasked(judged):.4f}")
    return asdict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--second", action="store_true", help="only what a second opinion is worth")
    args = parser.parse_args()
    described = args.model / "model.json"
    stored = json.loads(described.read_text(encoding="utf-8"))
    if args.second:
        stored["calibration"]["second"] = teach_second(args.model, args.count)
        print(stored["calibration"]["second"])
    else:
        stored["calibration"] = teach(args.model, args.count)
    described.write_text(json.dumps(stored, ensure_ascii=False) + "\n", encoding="utf-8")


def teach(model: Path, count: int) -> dict[str, Any]:
    """The first recogniser's calibration; what a second opinion is worth must be taught after it."""
    x, y, inside, outside, told = listen(model, count)
    fitted = calibration(x, y, inside, outside)
    confidence = 1 / (1 + np.exp(-(x @ np.array(fitted["weights"]) + fitted["bias"])))
    for at in np.argsort(-confidence * (1 - y))[:12]:
        print(f"  surest wrong: {confidence[at]:.3f} {told[at]}")
    acted = (confidence >= fitted["act"])[inside == 1].mean()
    print(fitted, f"{len(y)} utterances, acted on {acted:.3f} of commands")
    return fitted


if __name__ == "__main__":
    main()

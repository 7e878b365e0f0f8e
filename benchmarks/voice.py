"""How well and how fast the voice app hears: `python -m benchmarks.voice [--quick] [--recordings DIR]`.

One JSON object a line and figure: name, value, unit, peer, ratio, target, met. Speech is made from
seeds by voices, at rates and with noise that training never had; real people's comes by
--recordings: WAV files at 16 kHz, each with a text of the same stem.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import wave
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from beira.apps.voice.dialogue import Bars
from beira.apps.voice.recogniser import Recogniser, Recognition, compile_grammar
from beira.apps.voice.recogniser.confidence import Calibration
from beira.apps.voice.recogniser.grammar import Grammar, normal_words
from benchmarks import voice_decisions, voice_extra, voice_memory
from benchmarks.voice_data import Domain, Maker, Utterance, shop
from benchmarks.voice_opinion import Opinions
from benchmarks.voice_peer import Peer

MODEL = Path(__file__).parent.parent / "src/beira/apps/voice/model"
CHUNK = 1_920
ANSWERS = frozenset({"answer", "yes", "no", "cancel"})  # said when a question waits


def show(
    name: str, value: float, unit: str, *, target: float | None = None, least: bool = False,
    peer: str | None = None, ratio: float | None = None,
) -> None:  # fmt: skip
    """Print one figure; `least` says that the target is the least, not the most."""
    met = None if target is None else (value >= target if least else value <= target)
    shown = None if ratio is None else round(ratio, 3)
    line = {"name": f"voice.{name}", "value": round(value, 4), "unit": unit, "peer": peer,
            "ratio": shown, "target": target, "met": met}  # fmt: skip
    print(json.dumps(line, ensure_ascii=False), flush=True)


@dataclass
class Score:
    """Tallies of one set of recordings."""

    total: int = 0
    intents: int = 0
    wholes: int = 0
    acted: int = 0
    acted_wrong: int = 0
    asked: int = 0
    edits: int = 0
    words: int = 0
    audio_s: float = 0.0
    work_s: float = 0.0
    outside_accepted: int = 0
    outside_acted: int = 0
    outside: int = 0
    finish_ms: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    early: int = 0
    heard: list[tuple[Recognition, bool]] = field(default_factory=list)
    opinions: Opinions = field(default_factory=Opinions)

    def add(self, what: Domain, one: Utterance, heard: Recognition, by: Calibration) -> None:
        """Count one recording and what was heard: right is what the app would understand alike."""
        act, ask = by.act, by.ask
        self.audio_s += len(one.pcm) / 16_000
        self.work_s += sum(heard.timings_ms.values()) / 1e3
        self.finish_ms.append(sum(v for k, v in heard.timings_ms.items() if k != "while_listening"))
        if not one.intent:
            self.outside += 1
            self.opinions.add(heard, by, right=False)
            self.outside_accepted += heard.confidence >= ask
            self.outside_acted += heard.confidence >= act
            return
        said, understood = what.meaning(one.words), what.meaning(heard.words)
        whole = list(heard.words) == one.words or (said is not None and said == understood)
        self.opinions.add(heard, by, right=whole)
        self.total += 1
        self.intents += whole or heard.intent == one.intent
        self.wholes += whole
        if one.intent not in ANSWERS:
            self.heard.append((heard, whole))
        self.acted += heard.confidence >= act
        self.acted_wrong += heard.confidence >= act and not whole
        self.asked += ask <= heard.confidence < act
        self.edits += edits(heard.words, one.words)
        self.words += len(one.words)

    def show(self, name: str, intent: float | None, whole: float | None) -> None:
        """Print the accuracy figures of the set."""
        if not self.total:
            return
        show(f"{name}.wer", self.edits / max(1, self.words), "share")
        show(f"{name}.intent", self.intents / self.total, "share", target=intent, least=True)
        show(
            f"{name}.intent_and_slots", self.wholes / self.total, "share", target=whole, least=True
        )
        show(f"{name}.acted_without_asking", self.acted / self.total, "share")


def edits(heard: Iterable[str], said: Iterable[str]) -> int:
    """Words to insert, delete or change."""
    one, other = list(heard), list(said)
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def listen(recogniser: Recogniser, what: Domain, made: list[Utterance]) -> Score:
    """Every recording, heard as in a shop: until the recogniser says that speech is over.

    Waits are of audio, so the machine's speed enters only by the work after the decision.
    """
    score = Score()
    for one in made:
        stream = recogniser.stream(asked=one.intent in ANSWERS)
        heard_s, reason = 0.0, ""
        for at in range(0, len(one.pcm), CHUNK):
            reason = stream.feed(one.pcm[at : at + CHUNK]).ended
            heard_s = min(len(one.pcm), at + CHUNK) / 16_000
            if reason:
                break
        heard = stream.finish()
        score.add(what, one, heard, recogniser.calibration)
        score.early += bool(reason) and heard_s < one.speech_end_s - 0.05
        score.waits_s.append(max(0.0, heard_s - one.speech_end_s) + score.finish_ms[-1] / 1e3)
    return score


def endpoints(score: Score) -> None:
    """How long after speech the words were there."""
    show("decision_to_result.p95", float(np.percentile(score.finish_ms, 95)), "ms", target=150)
    show("speech_end_to_result.p50", float(np.percentile(score.waits_s, 50)), "s", target=0.7)
    show("speech_end_to_result.p95", float(np.percentile(score.waits_s, 95)), "s", target=1.2)
    show("cut_off_early", score.early / max(1, len(score.waits_s)), "share")


def decisions(recogniser: Recogniser, what: Domain, maker: Maker, scores: list[Score]) -> None:
    """What the dialogue does with what was heard, and with names nobody here has."""
    bars = Bars(books=recogniser.calibration.act, heard=recogniser.calibration.ask)
    pairs = [pair for score in scores for pair in score.heard]
    done, wrong, asked = voice_decisions.counts(what, pairs, bars)
    show("dialogue.written_unasked", done / max(1, len(pairs)), "share of commands")
    show("dialogue.wrong_unasked", wrong / max(1, done), "share of written", target=1 / 200)
    show("dialogue.asked_back", asked / max(1, len(pairs)), "share of commands")
    count = max(20, len(pairs) // 3)
    for name, share in voice_decisions.strangers(recogniser, what, maker, count, bars).items():
        show(f"unknown_names.{name}", share, "share")


def recordings(recogniser: Recogniser, folder: Path) -> None:
    """Real people: word error rate of WAV files against their texts."""
    wrong = total = files = 0
    for path in sorted(folder.glob("*.wav")):
        said = normal_words(path.with_suffix(".txt").read_text(encoding="utf-8"))
        with wave.open(str(path)) as source:
            if source.getframerate() != 16_000 or source.getnchannels() != 1:
                print(f"{path}: not mono at 16 kHz, left out", file=sys.stderr)
                continue
            pcm = np.frombuffer(source.readframes(source.getnframes()), np.int16)
        heard = recogniser.recognise(pcm[: voice_extra.LONGEST])
        wrong, total, files = wrong + edits(heard.words, said), total + len(said), files + 1
    show("recordings.files", files, "files")
    if total:
        show("recordings.wer", wrong / total, "share")


def peer(recogniser: Recogniser, what: Domain, grammar: Grammar, made: list[Utterance]) -> None:
    """pocketsphinx alone with the same grammar, on the same recordings."""
    alone = Peer(recogniser.graph, recogniser.sounds(grammar))
    wrong = sum(edits(alone.hear(one.pcm), one.words) for one in made)
    total = sum(len(one.words) for one in made)
    ours = listen(recogniser, what, made)
    mine, theirs = ours.edits / max(1, ours.words), wrong / max(1, total)
    show("peer.pocketsphinx.wer", theirs, "share")
    show("peer.wer", mine, "share", peer="pocketsphinx", ratio=mine / max(1e-9, theirs))


def memory(made: list[Utterance], doubtful: list[Utterance]) -> None:
    """A node with voice that has heard these at its own door: the program whole, not its parts."""
    found = voice_memory.node_memory(made, doubtful)
    after = found.after
    show("memory_node_voice_at_rest_mb", found.rest.rss, "MB (RSS)", target=150)
    show("memory_node_voice_mb", after.rss, f"MB (RSS, after {len(made)} sentences)", target=150)
    show("memory_node_voice_with_children_mb", after.family_rss, "MB (sum of RSS)", target=150)
    show("memory_node_voice_pss_mb", after.pss, "MB (PSS)")
    show("memory_node_voice_understood", found.understood, "share", target=0.5, least=True)
    show("memory_opinion_child_mb", found.opinion_mb, "MB (RSS, while it lives)")
    show("memory_node_voice_with_opinion_mb", found.with_opinion.family_rss,
         "MB (sum of RSS, while doubts are fresh)", target=175)  # fmt: skip


def best_of(name: str, work: Callable[[], object], target_ms: float, times: int = 7) -> None:
    """The least of several times: what the work takes where nothing else takes the processor."""
    took_ms = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took_ms.append((time.perf_counter() - began) * 1e3)
    show(name, min(took_ms), "ms", target=target_ms)


def longer(recogniser: Recogniser, what: Domain, maker: Maker) -> None:
    """Wake word and enrolment, which need many recordings."""
    for name, value in voice_extra.wake_figures(recogniser, what, maker, 200).items():
        show(name, value, "alarms/h" if "alarms" in name else "share")
    for voice, before, after, took_s in voice_extra.enrolment(recogniser, what, maker, 60):
        show(f"enrolment.{voice}.before", before, "share")
        show(f"enrolment.{voice}.after", after, "share", ratio=after / max(1e-9, before))
        show(f"enrolment.{voice}.seconds", took_s, "s", target=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer recordings; under 50 s")
    parser.add_argument("--recordings", type=Path, help="WAV files with texts of the same stem")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--alone", action="store_true", help="without the second opinion")
    args = parser.parse_args()
    count = 20 if args.quick else 300
    what = shop()
    grammar = compile_grammar(what.sentences, what.lists, what.rules)
    began = time.perf_counter()
    recogniser = Recogniser(args.model, grammar, second_opinion=not args.alone)
    show("recogniser.start", (time.perf_counter() - began) * 1e3, "ms")
    best_of("grammar.compile", lambda: compile_grammar(what.sentences, what.lists, what.rules), 100)
    best_of("grammar.set", lambda: recogniser.set_grammar(grammar), 100)
    if args.recordings:
        recordings(recogniser, args.recordings)
        return
    maker = Maker()
    noisy = Maker(variants=maker.variants, seed=maker.seed + 9, synth=maker.synth)
    memory(maker.commands(what, voice_memory.HEARD, None),
           noisy.commands(what, voice_memory.DOUBTFUL, 5.0))  # fmt: skip
    if recogniser.second is not None:
        recogniser.second.prepare()  # in a shop the first doubt does
    scores = accuracy(recogniser, maker, what, count)
    endpoints(scores[1])
    decisions(recogniser, what, maker, scores)
    show(
        "real_time_factor", sum(s.work_s for s in scores) / sum(s.audio_s for s in scores), "ratio"
    )
    if not args.quick:
        longer(recogniser, what, maker)
    peer(recogniser, what, grammar, maker.commands(what, 3 if args.quick else 30, None))
    maker.synth.close()
    recogniser.close()


def opinions(scores: list[Score]) -> None:
    """How often a second opinion was wanted, was had, and changed what would be done."""
    wanted, had, changed, total = map(
        sum, zip(*((s.opinions.asked, s.opinions.had, s.opinions.changed, s.opinions.total)
                   for s in scores), strict=True))  # fmt: skip
    show("opinion_asked_share", wanted / max(1, total), "share of recordings")
    show("opinion_had_share", had / max(1, wanted), "share of asked")
    show("opinion_changed_share", changed / max(1, total), "share of recordings")


def compared(name: str, found: Opinions) -> None:
    """What would be done, done wrongly and asked back, without the second opinion and with it."""
    for how, counts in (("without", found.without), ("with", found.with_it)):
        for what, count in counts.items():
            show(f"{name}.{what}_{how}_opinion", count / max(1, found.total), "share of commands")


def accuracy(recogniser: Recogniser, maker: Maker, what: Domain, count: int) -> list[Score]:
    """Sets by noise, the unseen synthesiser, outside speech; and what was done wrongly."""
    sets = (
        ("quiet", None, 0.98, 0.92), ("noise_20db", 20.0, None, None),
        ("noise_10db", 10.0, 0.95, 0.85),
    )  # fmt: skip
    scores: list[Score] = []
    for name, snr_db, intent, whole in sets:
        scores.append(listen(recogniser, what, maker.commands(what, count, snr_db)))
        scores[-1].show(name, intent, whole)
    acted, wrong = sum(s.acted for s in scores), sum(s.acted_wrong for s in scores)
    show("wrong_actions", wrong / max(1, acted), "share of acted", target=1 / 200)
    other = listen(recogniser, what, maker.festival(what, count // 2, None))
    other.show("unseen_synthesiser", None, None)
    if other.acted:
        show("unseen_synthesiser.wrong_actions", other.acted_wrong / other.acted, "share of acted")
    outside = listen(recogniser, what, maker.outside(count, None))
    show("outside.accepted", outside.outside_accepted / outside.outside, "share", target=0.02)
    opinions([*scores, other, outside])
    for name, score in (("quiet", scores[0]), ("noise_10db", scores[2]),
                        ("unseen_synthesiser", other)):  # fmt: skip
        compared(name, score.opinions)
    show("outside.acted", outside.outside_acted / outside.outside, "share", target=0.02)
    return scores


if __name__ == "__main__":
    main()

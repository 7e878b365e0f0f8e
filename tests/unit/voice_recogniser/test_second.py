"""The second opinion comes in time or not at all, and never stops the first.

The child is the real one with pocketsphinx, but where a test says otherwise.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beira.apps.voice.recogniser import Recogniser, compile_grammar, second
from beira.apps.voice.recogniser.confidence import AGREES, DIFFERS, SecondWeights
from beira.apps.voice.recogniser.second import MOST_FAILURES, SecondOpinion

from .conftest import LISTS, MODEL, SENTENCES, Say, until

PATIENT_S = 60.0
NICENESS = 10
ALERT, PUNCH = "alerta de segurança", "registrar ponto do joão"
Opinions = Callable[..., SecondOpinion]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def opinions() -> Iterator[Opinions]:
    """Second opinions that are ended after the test."""
    made: list[SecondOpinion] = []

    def make(**how: object) -> SecondOpinion:
        made.append(SecondOpinion(**how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def said(recogniser: Recogniser) -> Callable[..., list[list[tuple[int, ...]]]]:
    """Sentences as the phones of their words."""
    return lambda *texts: [[recogniser.spoken[word] for word in text.split()] for text in texts]


def test_it_chooses_what_was_said_wherever_it_stands(
    opinions: Opinions, say: Say, said: Callable[..., list[list[tuple[int, ...]]]]
) -> None:
    asked, pcm = opinions(), say(ALERT)
    assert asked.prepare(PATIENT_S)
    assert asked.ask(pcm, said(ALERT, PUNCH), PATIENT_S) == 0
    assert asked.ask(pcm, said(PUNCH, "quanto custa o café", ALERT), PATIENT_S) == 2


def test_the_first_doubt_only_starts_it(
    opinions: Opinions, say: Say, said: Callable[..., list[list[tuple[int, ...]]]]
) -> None:
    asked = opinions()
    assert asked.pid is None
    assert asked.ask(say(ALERT), said(ALERT, PUNCH), PATIENT_S) is None
    assert asked.prepare(PATIENT_S) and asked.pid is not None
    assert asked.ask(say(ALERT), said(ALERT, PUNCH), PATIENT_S) == 0


def test_it_gives_way_to_the_node(opinions: Opinions) -> None:
    asked = opinions()
    assert asked.prepare(PATIENT_S) and asked.pid is not None
    ours, its = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, asked.pid))
    assert its == min(19, ours + NICENESS)
    assert len(list(Path(f"/proc/{asked.pid}/task").iterdir())) == 1


def test_a_child_too_slow_is_not_waited_for_and_its_late_answer_is_nobodys(
    opinions: Opinions, say: Say, said: Callable[..., list[list[tuple[int, ...]]]]
) -> None:
    asked, pcm = opinions(), say(ALERT)
    assert asked.prepare(PATIENT_S) and asked.pid is not None
    before = asked.pid
    os.kill(before, signal.SIGSTOP)
    assert asked.ask(pcm, said(PUNCH, ALERT), 0.01) is None
    assert asked.ask(pcm, said(ALERT, PUNCH), PATIENT_S) is None  # still at the first: not asked
    os.kill(before, signal.SIGCONT)
    assert until(lambda: asked.ask(pcm, said(ALERT, PUNCH), PATIENT_S) == 0)
    assert asked.pid == before


def test_a_child_that_hangs_is_ended_and_another_started(
    opinions: Opinions, say: Say, said: Callable[..., list[list[tuple[int, ...]]]]
) -> None:
    asked, pcm = opinions(hang_s=0.0), say(ALERT)
    assert asked.prepare(PATIENT_S) and asked.pid is not None
    before = asked.pid
    os.kill(before, signal.SIGSTOP)

    def gone() -> bool:
        asked.ask(pcm, said(ALERT, PUNCH), 0.01)
        return not alive(before)

    assert until(gone)
    assert asked.prepare(PATIENT_S) and asked.pid != before


def test_a_killed_child_is_only_a_missing_opinion(
    opinions: Opinions, say: Say, said: Callable[..., list[list[tuple[int, ...]]]]
) -> None:
    asked, pcm = opinions(), say(ALERT)
    assert asked.prepare(PATIENT_S) and asked.pid is not None
    before = asked.pid
    os.kill(before, signal.SIGKILL)
    assert asked.ask(pcm, said(ALERT, PUNCH), PATIENT_S) is None
    assert until(lambda: asked.pid is None)
    assert asked.prepare(PATIENT_S) and asked.pid != before
    assert asked.ask(pcm, said(ALERT, PUNCH), PATIENT_S) == 0


def test_one_that_never_starts_is_given_up(opinions: Opinions, tmp_path: Path) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("raise SystemExit(3)")
    asked = opinions(program=broken)
    assert [asked.prepare(PATIENT_S) for _ in range(MOST_FAILURES + 2)] == [False] * 5
    broken.write_text("print('ready', flush=True); input()")
    assert not asked.prepare(PATIENT_S)


def test_after_a_while_without_doubts_it_ends_and_may_come_back(opinions: Opinions) -> None:
    asked = opinions(keep_s=0.0)
    for _ in range(MOST_FAILURES + 1):  # ending so is no failure
        asked.prepare(PATIENT_S)
        assert until(lambda: asked.pid is None)
    assert opinions().prepare(PATIENT_S)


def test_without_pocketsphinx_it_is_said_once(
    opinions: Opinions, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(second, "find_spec", lambda _name: None)
    monkeypatch.setattr(second.log, "warning", lambda event, **_more: told.append(event))
    asked = opinions()
    assert [asked.prepare(PATIENT_S) for _ in range(3)] == [False] * 3
    assert told == ["voice.second_opinion_missing"] and asked.pid is None


def test_closed_it_starts_nothing(opinions: Opinions) -> None:
    asked = opinions()
    assert asked.prepare(PATIENT_S) and asked.pid is not None
    before = asked.pid
    asked.close()
    assert until(lambda: not alive(before))
    assert not asked.prepare(PATIENT_S)


class Answers(SecondOpinion):
    """Says what it is told to; counts how often it is asked."""

    def __init__(self, best: int | None) -> None:
        super().__init__()
        self.best, self.asked = best, 0

    def ask(self, *_about: object, **_how: object) -> int | None:
        self.asked += 1
        return self.best


def heard_with(best: int | None, pcm: np.ndarray, *, doubtful: bool = True):  # type: ignore[no-untyped-def]
    made = Recogniser(MODEL, compile_grammar(SENTENCES, LISTS, {}), second_opinion=False)
    made.second = answers = Answers(best)
    band = SecondWeights(1.0, -1.0, 1.0 if doubtful else 0.0)
    made.calibration = replace(made.calibration, ask=0.01, second=band)
    return made.recognise(pcm), answers, made.calibration


@pytest.mark.parametrize(("best", "opinion"), [(0, AGREES), (1, DIFFERS), (None, "")])
def test_what_it_says_counts_and_changes_no_words(best: int | None, opinion: str, say: Say) -> None:
    pcm = say("registrar ponto do joão", rate=230)
    heard, answers, calibration = heard_with(best, pcm)
    assert answers.asked == 1 and heard.second == opinion
    assert heard.text == heard_with(None, pcm)[0].text
    assert heard.evidence is not None
    alone = calibration.confidence(heard.evidence)
    assert heard.confidence == calibration.judged(alone, opinion)


def test_of_what_is_certain_it_is_not_asked(say: Say) -> None:
    heard, answers, _ = heard_with(1, say("registrar ponto do joão"), doubtful=False)
    assert answers.asked == 0 and heard.second == ""


def test_the_shipped_recogniser_asks_it(say: Say) -> None:
    made = Recogniser(MODEL, compile_grammar(SENTENCES, LISTS, {}))
    assert made.second is not None and made.calibration.second.most > made.calibration.ask
    made.close()

"""A second opinion: pocketsphinx with its English model, asked which of a few sentences was said.

It is much the worse of the two recognisers, and wrong for other reasons. It runs in a child process
that starts with the first doubt and ends when there was none for a minute: a node at rest pays
nothing, its work takes no turn of the node's, and a crash of it is only a missing opinion.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from beira.apps.voice.recogniser.phones import PHONES

log = structlog.get_logger(__name__)

DEADLINE_S = 0.25
KEEP_S = 60.0
HANG_S = 10.0  # a child that owes an answer for so long is ended
START_S = 30.0
MOST_HYPOTHESES = 5
MOST_FAILURES = 3  # in a row; then there is no second opinion until the recogniser is made anew
CHILD = Path(__file__).with_name("sphinx_child.py")
_ARPABET = {
    "a": "AA", "ã": "AH N", "e": "EH", "i": "IY", "o": "OW", "u": "UW", "N": "N", "m": "M",
    "n": "N", "ñ": "N Y", "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "g": "G", "f": "F",
    "v": "V", "s": "S", "z": "Z", "S": "SH", "Z": "ZH", "tS": "CH", "dZ": "JH", "h": "HH",
    "r": "R", "l": "L",
}  # fmt: skip
_OTHER = {"a": "AH", "e": "EY", "o": "AO", "ã": "AA N", "r": "D", "u": "UH", "i": "IH"}

Sounds = tuple[int, ...]


def arpabet(sounds: Sounds) -> tuple[str, str]:
    """A word in the English model's phones, said in two ways."""
    names = [PHONES[phone] for phone in sounds]
    return (
        " ".join(_ARPABET[n] for n in names),
        " ".join(_OTHER.get(n, _ARPABET[n]) for n in names),
    )


class SecondOpinion:
    """Owns the child: starts it on demand, lets it go, and lives without it. Safe in any thread."""

    def __init__(
        self, *, program: Path = CHILD, keep_s: float = KEEP_S, hang_s: float = HANG_S
    ) -> None:
        self._program, self._keep_s, self._hang_s = program, keep_s, hang_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._failures = 0
        self._off = False

    def ask(
        self, pcm: npt.NDArray[np.int16], hypotheses: Sequence[Sequence[Sounds]],
        wait_s: float = DEADLINE_S,
    ) -> int | None:  # fmt: skip
        """Which of these sentences (words, each its phones) fits the audio (16 kHz) best.

        None where there is no opinion: the child is only now starting, busy, too slow or gone, or
        hears none of them. Waits no longer than `wait_s`.
        """
        child = self._there()
        if child is None or not child.ready.is_set():
            return None
        said = [[arpabet(word) for word in words] for words in hypotheses[:MOST_HYPOTHESES]]
        answer = child.put(_part(json.dumps(said).encode()) + _part(pcm.tobytes()))
        if answer is None:
            return None
        try:
            best = answer.result(wait_s)
        except TimeoutError:
            log.info("voice.second_opinion_late", waited_ms=round(wait_s * 1e3))
            return None
        if best is None:
            return None
        self._failures = 0
        return best if 0 <= best < len(said) else None

    def prepare(self, timeout_s: float = START_S) -> bool:
        """Start the child and wait for it; whether it can be asked now."""
        child = self._there()
        return child is not None and child.ready.wait(timeout_s) and not child.ended.is_set()

    @property
    def pid(self) -> int | None:
        """The child's process, or None where there is none."""
        child = self._child
        return child.pid if child is not None and not child.ended.is_set() else None

    def close(self) -> None:
        """End the child, and ask no more."""
        with self._lock:
            self._off = True
            if self._child is not None:
                self._child.end()

    def _there(self) -> _Child | None:
        """The child, started if need be; None where none can be had."""
        with self._lock:
            child = self._child
            if child is not None and child.overdue(self._hang_s):
                log.warning("voice.second_opinion_hung", pid=child.pid)
                child.end()
            elif child is not None and not child.ended.is_set():
                return child
            if child is not None and (child.failed or not child.ended.is_set()):
                self._failures += 1
            self._child = None
            if self._may_start():
                self._child = _Child(self._program, self._keep_s)
            return self._child

    def _may_start(self) -> bool:
        if not self._off and find_spec("pocketsphinx") is None:
            self._off = True
            log.warning("voice.second_opinion_missing", hint="pip install 'beira[voice]'")
        elif not self._off and self._failures >= MOST_FAILURES:
            self._off = True
            log.warning("voice.second_opinion_off", failures=self._failures,
                        hint="`beira node doctor` says what is missing.")  # fmt: skip
        return not self._off


def _part(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@dataclass(frozen=True)
class _Question:
    body: bytes
    answer: Future[int | None] = field(default_factory=Future)


class _Child:
    """One child process and the thread that feeds it, which end together."""

    def __init__(self, program: Path, keep_s: float) -> None:
        self._command = [sys.executable, "-I", str(program)]
        self._keep_s = keep_s
        self._questions: queue.Queue[_Question | None] = queue.Queue(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False
        self._since_s: float | None = time.monotonic()  # since when it owes something
        self.ready, self.ended = threading.Event(), threading.Event()
        self.failed = False
        threading.Thread(target=self._run, name="second-opinion", daemon=True).start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def put(self, body: bytes) -> Future[int | None] | None:
        """Ask; None where it is still at another question."""
        question = _Question(body)
        if self._since_s is not None:
            return None
        try:
            self._questions.put_nowait(question)
        except queue.Full:
            return None
        if self.ended.is_set():  # it went while we asked
            self._refuse()
        return question.answer

    def overdue(self, hang_s: float) -> bool:
        """Whether it owes an answer, or its start, for too long."""
        since_s = self._since_s
        allowed_s = hang_s if self.ready.is_set() else max(hang_s, START_S)
        return since_s is not None and time.monotonic() - since_s > allowed_s

    def end(self) -> None:
        """End the process; its thread follows."""
        self._closing = True
        with contextlib.suppress(queue.Full):
            self._questions.put_nowait(None)
        if self._process is not None:
            self._process.kill()

    def _run(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if not self._closing:
                self._serve(self._process)
        except (OSError, ValueError) as error:
            self.failed = not self._closing
            if self.failed:
                log.warning("voice.second_opinion_failed", why=str(error))
        finally:
            self._finish()

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """Answer questions until none came for a while. Raises OSError where the process is gone."""
        assert process.stdin is not None
        self._line(process)
        self._since_s = None
        self.ready.set()
        while (question := self._next()) is not None:
            self._since_s = time.monotonic()
            best: int | None = None
            try:
                process.stdin.write(question.body)
                process.stdin.flush()
                best = int(self._line(process))
            finally:
                self._since_s = None
                question.answer.set_result(best)

    def _next(self) -> _Question | None:
        with contextlib.suppress(queue.Empty):
            return self._questions.get(timeout=self._keep_s)
        return None

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise OSError(f"it ended with code {process.wait()}")
        return line

    def _finish(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what it did not read
                    if pipe is not None:
                        pipe.close()
        self.ended.set()
        self.ready.set()  # whoever waits for it need not
        self._refuse()

    def _refuse(self) -> None:
        """No opinion on what is still asked."""
        with contextlib.suppress(queue.Empty):
            if (question := self._questions.get_nowait()) is not None:
                question.answer.set_result(None)

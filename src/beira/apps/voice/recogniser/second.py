"""A second opinion: pocketsphinx with its English model, made to hear Portuguese words.

It is much the worse of the two, and wrong for other reasons: where both agree, hardly anything is
wrong. It runs in a child process, so that its work takes no turn of the node's and a crash of it is
only a missing opinion.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from beira.apps.voice.recogniser.graph import Graph
from beira.apps.voice.recogniser.phones import PHONES

log = structlog.get_logger(__name__)

DEADLINE_S = 0.12
_PIPE_BYTES = 524_288  # 16 s of audio may wait
_CHUNK = 3_840  # under a pipe's atomic 4,096, so that a write is whole or not at all
MOST_ARCS = 40_000
MOST_STARTS = 3
_ARPABET = {
    "a": "AA", "ã": "AH N", "e": "EH", "i": "IY", "o": "OW", "u": "UW", "N": "N", "m": "M",
    "n": "N", "ñ": "N Y", "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "g": "G", "f": "F",
    "v": "V", "s": "S", "z": "Z", "S": "SH", "Z": "ZH", "tS": "CH", "dZ": "JH", "h": "HH",
    "r": "R", "l": "L",
}  # fmt: skip
_OTHER = {"a": "AH", "e": "EY", "o": "AO", "ã": "AA N", "r": "D", "u": "UH", "i": "IH"}


def arpabet(sounds: tuple[int, ...], *, other: bool = False) -> str:
    """The word in the English model's phones; `other` gives a second way to say it."""
    names = (PHONES[phone] for phone in sounds)
    return " ".join(_OTHER.get(n, _ARPABET[n]) if other else _ARPABET[n] for n in names)


class SecondOpinion:
    """Owns the child. Streams share it, one at a time; a busy or slow child gives no opinion."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._setup: dict[str, Any] | None = None
        self._number = 0
        self._starts = 0
        self._read = b""

    def set_grammar(self, graph: Graph, sounds: Mapping[str, tuple[int, ...]]) -> None:
        """Hear this graph from the next stream on; none at all where it is too large."""
        if len(graph.arcs) > MOST_ARCS:
            log.info("voice.second_opinion_off", arcs=len(graph.arcs), most=MOST_ARCS)
            self._setup = None
            self.close()
            return
        words = sorted({arc.word for arc in graph.arcs})
        out = np.maximum(1, np.bincount(graph.source, minlength=graph.nodes))
        self._setup = {
            "words": [[w, arpabet(sounds[w]), arpabet(sounds[w], other=True)] for w in words],
            "arcs": [
                [int(a), int(b), float(1 / out[a]), arc.word]
                for a, b, arc in zip(graph.source, graph.target, graph.arcs, strict=True)
            ],
            "ends": sorted(graph.ends),
            "nodes": graph.nodes,
        }
        with self._lock:
            self._starts = 0
            self._restart()

    def _restart(self) -> None:
        self._stop()
        if self._setup is None or self._starts >= MOST_STARTS:
            return
        self._starts += 1
        command = [sys.executable, str(Path(__file__).with_name("sphinx_child.py"))]
        body = json.dumps(self._setup).encode()
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
            assert self._child.stdin
            self._child.stdin.write(len(body).to_bytes(4, "big") + body)
            os.set_blocking(self._child.stdin.fileno(), False)
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(self._child.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError as error:
            log.warning("voice.second_opinion_failed", error=str(error))
            self._stop()

    def stream(self) -> SecondStream | None:
        """An utterance for the child, or None where it is not there."""
        if not self._lock.acquire(blocking=False):
            return None
        if self._child is None or self._child.poll() is not None:
            log.warning("voice.second_opinion_ended", starts=self._starts)
            self._restart()
        if self._child is None:
            self._lock.release()
            return None
        self._number += 1
        return SecondStream(self, self._number)

    def send(self, kind: bytes, body: bytes) -> bool:
        """Pass one message on, whole; False if the child has no room for it or is gone."""
        if self._child is None or self._child.stdin is None:
            return False
        message = kind + len(body).to_bytes(4, "big") + body
        try:
            return self._child.stdin.write(message) == len(message)
        except OSError:
            return False

    def answer(self, number: int, until: float) -> str:
        """The child's text for utterance `number`, or '' if it has not come by `until`."""
        while self._child is not None and self._child.stdout is not None:
            line, found, self._read = self._read.partition(b"\n")
            if found:
                said = json.loads(line)
                if said["number"] == number:
                    return str(said["text"])
                continue
            self._read = line
            wait = until - time.monotonic()
            if wait <= 0 or not select.select([self._child.stdout], [], [], wait)[0]:
                return ""
            more = self._child.stdout.read(65_536)
            if not more:
                return ""
            self._read += more
        return ""

    def release(self) -> None:
        """Let the next stream ask."""
        self._lock.release()

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        self._read = b""

    def close(self) -> None:
        """Stop the child."""
        self._stop()


class SecondStream:
    """One utterance put to the child. Once it cannot keep up, it has no opinion."""

    def __init__(self, owner: SecondOpinion, number: int) -> None:
        self._owner = owner
        self._number = number
        self._open = True
        self._well = owner.send(b"S", str(number).encode())

    def feed(self, pcm: npt.NDArray[np.int16]) -> None:
        """Pass audio on; never waits."""
        raw = pcm.tobytes()
        for at in range(0, len(raw), _CHUNK):
            self._well = self._well and self._owner.send(b"A", raw[at : at + _CHUNK])

    def finish(self, wait_s: float = DEADLINE_S) -> str:
        """The words it heard, or ''; waits no longer than `wait_s`."""
        if not self._open:
            return ""
        until = time.monotonic() + wait_s
        text = ""
        if self._well and self._owner.send(b"F", b""):
            text = self._owner.answer(self._number, until)
        self.close()
        return text

    def close(self) -> None:
        """Give the child back, with or without an answer."""
        if self._open:
            self._open = False
            self._owner.release()

    def __del__(self) -> None:
        self.close()

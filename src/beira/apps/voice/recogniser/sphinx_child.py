"""The process that holds pocketsphinx for `second.py`. It knows nothing of Beira, nor of any words.

It says `ready` once it is. A question on stdin is a length of 4 bytes and that much JSON, the
hypotheses (each a list of words, each word its pronunciations), then a length of 4 bytes and that
much audio (int16, 16 kHz). The answer on stdout is a line: the index of the hypothesis that fits
best, or -1 where none does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO

import pocketsphinx  # type: ignore[import-untyped, unused-ignore]

MOST_WORDS = 4_000  # a decoder never forgets a word; past these, one begins anew
NICENESS = 10
Hypotheses = list[list[list[str]]]


class Ear:
    """A decoder and the words it knows, named by how they are pronounced."""

    def __init__(self) -> None:
        # Half the frames and half the densities: as right as all of them, in a third of the time.
        self._decoder: Any = pocketsphinx.Decoder(
            hmm=pocketsphinx.get_model_path("en-us/en-us"), lm=None, dict=None, samprate=16_000,
            loglevel="FATAL", beam=1e-48, wbeam=1e-30, pbeam=1e-48, ds=2, topn=2,
        )  # fmt: skip
        self._names: dict[tuple[str, ...], str] = {}

    @property
    def words(self) -> int:
        return len(self._names)

    def best(self, hypotheses: Hypotheses, audio: bytes) -> int:
        """The index of the hypothesis that fits the audio best, or -1."""
        named = [[self._name(tuple(ways)) for ways in words] for words in hypotheses]
        self._expect(named)
        self._decoder.start_utt()
        self._decoder.process_raw(audio, no_search=False, full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        words = [word.split("(")[0] for word in heard.hypstr.split()] if heard else []
        return named.index(words) if words in named else -1

    def _name(self, ways: tuple[str, ...]) -> str:
        if ways not in self._names:
            name = self._names[ways] = f"w{len(self._names)}"
            for number, way in enumerate(dict.fromkeys(ways), 1):
                self._decoder.add_word(name if number == 1 else f"{name}({number})", way, False)
        return self._names[ways]

    def _expect(self, named: list[list[str]]) -> None:
        """Hear these sentences and nothing else: chains of words from node 0 to node 1."""
        arcs: list[tuple[int, int, float, str]] = []
        fresh = 2
        for words in named:
            at = 0
            for word in words[:-1]:
                arcs.append((at, fresh, 1.0, word))
                at, fresh = fresh, fresh + 1
            arcs.append((at, 1, 1.0, words[-1]))
        self._decoder.add_fsg("these", self._decoder.create_fsg("these", 0, 1, arcs))
        self._decoder.activate_search("these")


def take(source: BinaryIO) -> bytes:
    """One part of a question; empty where stdin has ended."""
    size = int.from_bytes(source.read(4), "big")
    return source.read(size)


def main() -> None:
    """Serve until stdin closes."""
    os.nice(NICENESS)
    ear = Ear()
    print("ready", flush=True)
    while body := take(sys.stdin.buffer):
        audio = take(sys.stdin.buffer)
        if ear.words > MOST_WORDS:
            ear = Ear()
        print(ear.best(json.loads(body), audio), flush=True)


if __name__ == "__main__":
    main()

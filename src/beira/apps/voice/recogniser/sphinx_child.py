"""The process that holds pocketsphinx for `second.py`. It knows nothing of Beira.

stdin: a length of 4 bytes and the grammar in JSON (words with two pronunciations, arcs, ends), then
messages of a kind byte, a length of 4 bytes and a body: S starts utterance number n, A is audio
(int16, 16 kHz), F finishes it. stdout: a line of JSON `{"number", "text"}` for each F.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pocketsphinx  # type: ignore[import-untyped, unused-ignore]


def load(setup: dict[str, Any]) -> Any:
    """A decoder that hears the grammar only."""
    folder = pocketsphinx.get_model_path("en-us/en-us")
    decoder = pocketsphinx.Decoder(
        hmm=folder, lm=None, dict=None, samprate=16_000, loglevel="FATAL",
        beam=1e-48, wbeam=1e-30, maxhmmpf=8_000, ds=2, topn=4,
    )  # fmt: skip
    for word, one, other in setup["words"]:
        decoder.add_word(word, one, False)
        if other != one:
            decoder.add_word(f"{word}(2)", other, False)
    end = setup["nodes"]
    arcs = [tuple(arc) for arc in setup["arcs"]]
    arcs += [(node, end, 1.0) for node in setup["ends"]]
    decoder.add_fsg("shop", decoder.create_fsg("shop", 0, end, arcs))
    decoder.activate_search("shop")
    return decoder


def main() -> None:
    """Serve until stdin closes."""
    source = sys.stdin.buffer
    size = int.from_bytes(source.read(4), "big")
    decoder = load(json.loads(source.read(size)))
    number, listening = 0, False
    while head := source.read(5):
        body = source.read(int.from_bytes(head[1:], "big"))
        if head[:1] == b"S":
            if listening:
                decoder.end_utt()
            number, listening = int(body), True
            decoder.start_utt()
        elif head[:1] == b"A" and listening:
            decoder.process_raw(body, no_search=False, full_utt=False)
        elif listening:
            decoder.end_utt()
            listening = False
            hyp = decoder.hyp()
            words = [w.split("(")[0] for w in (hyp.hypstr.split() if hyp else [])]
            sys.stdout.write(json.dumps({"number": number, "text": " ".join(words)}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

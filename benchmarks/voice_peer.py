"""pocketsphinx by itself, with its English model and a whole grammar: the peer to be measured by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pocketsphinx

from beira.apps.voice.recogniser.graph import Graph
from beira.apps.voice.recogniser.second import arpabet


class Peer:
    """Hears the sentences of one graph."""

    def __init__(self, graph: Graph, sounds: Mapping[str, tuple[int, ...]]) -> None:
        self._decoder = pocketsphinx.Decoder(
            hmm=pocketsphinx.get_model_path("en-us/en-us"), lm=None, dict=None, samprate=16_000,
            loglevel="FATAL", beam=1e-48, wbeam=1e-30, maxhmmpf=8_000, ds=2, topn=4,
        )  # fmt: skip
        for word in sorted({arc.word for arc in graph.arcs}):
            one, other = arpabet(sounds[word])
            self._decoder.add_word(word, one, False)
            if other != one:
                self._decoder.add_word(f"{word}(2)", other, False)
        out = np.maximum(1, np.bincount(graph.source, minlength=graph.nodes))
        rows = zip(graph.source, graph.target, graph.arcs, strict=True)
        arcs = [(int(a), int(b), float(1 / out[a]), arc.word) for a, b, arc in rows]
        ends = [(node, graph.nodes, 1.0) for node in graph.ends]
        self._decoder.add_fsg("shop", self._decoder.create_fsg("shop", 0, graph.nodes, arcs + ends))
        self._decoder.activate_search("shop")

    def hear(self, pcm: npt.NDArray[np.int16]) -> list[str]:
        """The words of a whole recording."""
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=False)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return [word.split("(")[0] for word in heard.hypstr.split()] if heard else []
